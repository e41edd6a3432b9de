"""Admins as a list, and making one."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.list_filter import place_of
from backend.app.console.visit import action, page
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.people.admin import CreateAdmin, tenant_of_new_admin
from backend.app.domain.people.email import parse_email
from backend.app.domain.people.password import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, parse_password
from backend.app.domain.tenant import Tenant
from backend.app.services.desk.admin_desk import AdminDesk
from backend.app.services.people.admins import Admins
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.tenants import Tenants

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
# More tenants than anybody looks through in a choice; whoever has more chooses the tenant in view first.
TENANTS_MAX: Final = 200


@page("/admins", of=Page.ADMINS)
async def list_admins(
    request: AnyRequest, admin_desk: NamedDependency[AdminDesk], tenants: NamedDependency[Tenants]
) -> Response[Any]:
    """The people who manage, decide and look; and the form for a new one."""
    return await _show(request, admin_desk, tenants)


@action("/admins", of=Page.ADMIN_DEEDS)
async def post_admin(
    request: AnyRequest,
    admins: NamedDependency[Admins],
    admin_desk: NamedDependency[AdminDesk],
    tenants: NamedDependency[Tenants],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Makes an admin; a refusal shows the form as it was filled in, but for the password."""
    form = await visit.form_of(request)
    try:
        command = _read_new(form, by=visit.admin_of(request))
        made = await admins.create(command, actor=visit.actor_of(request))
    except AppError as refusal:
        return await _show(request, admin_desk, tenants, refusal=refusal, typed=form)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": "admin.created"})
    return render.redirect(request, f"/console/admins/{made.id}")


def roles_for(admin: AdminIdentity) -> tuple[Role, ...]:
    """The roles that an admin may give to somebody new."""
    is_everywhere = admin.is_platform_owner and admin.scope_tenant_id is None
    return tuple(role for role in Role if role is not Role.OWNER or is_everywhere)


def parse_role(text: str) -> Role:
    """A role in a form. Raises FieldError."""
    try:
        return Role(text)
    except ValueError:
        raise FieldError("role", "is none that exists") from None


def _read_new(form: Mapping[str, str], *, by: AdminIdentity) -> CreateAdmin:
    role = parse_role(form.get("role", ""))
    asked = form.get("tenant_id", "")
    try:
        # A tenant that was chosen for an owner means nothing: they belong to none.
        asked_id = UUID(asked) if asked and role is not Role.OWNER else None
    except ValueError:
        raise FieldError("tenant_id", "is no id") from None
    return CreateAdmin(
        tenant_id=tenant_of_new_admin(by, role=role, asked=asked_id),
        email=parse_email(form.get("email", "").strip()),
        password=parse_password(form.get("password", "")),
        role=role,
    )


async def _show(
    request: AnyRequest,
    desk: AdminDesk,
    tenants: Tenants,
    *,
    refusal: AppError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response[Any]:
    admin = visit.admin_of(request)
    before_id = place_of(request)
    found, has_more = await desk.list_page(admin.scope_tenant_id, before_id=before_id, limit=ROWS)
    choices: list[Tenant] = []
    if admin.scope_tenant_id is None:
        choices, _ = await tenants.list_page(None, limit=TENANTS_MAX, offset=0)
    return await render.show(
        request,
        "admins/list.html",
        status=200 if refusal is None else refusal.status,
        found=found,
        has_more=has_more,
        is_later_page=before_id is not None,
        is_everywhere=admin.scope_tenant_id is None,
        roles=roles_for(admin),
        tenants=choices,
        refusal=refusal,
        typed=typed or {},
        password_length=(PASSWORD_LENGTH_MIN, PASSWORD_LENGTH_MAX),
    )


HANDLERS: Final = (list_admins, post_admin)
