"""One admin: how they are signed in, what they did last, and what can be done about their account."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import changes, render, visit
from backend.app.console.access import Page
from backend.app.console.admins import parse_role
from backend.app.console.audit import shown_at
from backend.app.console.cookies import language_of
from backend.app.console.visit import Form, action, page
from backend.app.console.withdrawal_page import parse_reason
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.identity import Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.people.admin import AdminNotFound, ChangeAdmin
from backend.app.domain.people.password import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, parse_password
from backend.app.services.desk.admin_desk import AdminDesk
from backend.app.services.people.admins import Admins
from backend.app.services.people.console_sessions import ConsoleSessions

AnyRequest = Request[Any, Any, Any]
# What an owner's role never becomes, and what never becomes one.
TENANT_ROLES: Final = tuple(role for role in Role if role is not Role.OWNER)


@page("/admins/{admin_id:str}", of=Page.ADMINS)
async def get_admin(
    request: AnyRequest, admin_id: FromPath[str], admin_desk: NamedDependency[AdminDesk]
) -> Response[Any]:
    """The admin with sessions and latest deeds. Raises AdminNotFound."""
    return await _show(request, admin_desk, admin_id=_admin_id(admin_id))


@action("/admins/{admin_id:str}/role", of=Page.ADMIN_DEEDS)
async def post_role(
    request: AnyRequest,
    admin_id: FromPath[str],
    admins: NamedDependency[Admins],
    admin_desk: NamedDependency[AdminDesk],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Gives another role, which counts from the next request on."""

    def read(form: Form) -> ChangeAdmin:
        return ChangeAdmin(role=parse_role(form.get("role", "")), reason=_reason(form), seen_at=_seen_at(form))

    return await _change(request, _admin_id(admin_id), read, admins, admin_desk, console_sessions, done="role_changed")


@action("/admins/{admin_id:str}/active", of=Page.ADMIN_DEEDS)
async def post_active(
    request: AnyRequest,
    admin_id: FromPath[str],
    admins: NamedDependency[Admins],
    admin_desk: NamedDependency[AdminDesk],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Locks the account out, or lets it in again."""
    is_active = (await request.form()).get("is_active") == "true"

    def read(form: Form) -> ChangeAdmin:
        if form.get("is_active") not in ("true", "false"):
            raise FieldError("is_active", "is true or false")
        return ChangeAdmin(is_active=is_active, reason=_reason(form), seen_at=_seen_at(form))

    done = "activated" if is_active else "deactivated"
    return await _change(request, _admin_id(admin_id), read, admins, admin_desk, console_sessions, done=done)


@action("/admins/{admin_id:str}/password", of=Page.ADMIN_DEEDS)
async def post_password(
    request: AnyRequest,
    admin_id: FromPath[str],
    admins: NamedDependency[Admins],
    admin_desk: NamedDependency[AdminDesk],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Sets a new password, after which every session is over."""

    def read(form: Form) -> ChangeAdmin:
        return ChangeAdmin(password=parse_password(form.get("password", "")), reason=_reason(form))

    return await _change(request, _admin_id(admin_id), read, admins, admin_desk, console_sessions, done="password_set")


@action("/admins/{admin_id:str}/end-sessions", of=Page.ADMIN_DEEDS)
async def post_end_sessions(
    request: AnyRequest,
    admin_id: FromPath[str],
    admins: NamedDependency[Admins],
    admin_desk: NamedDependency[AdminDesk],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Signs the admin out everywhere; also oneself."""
    id_, scope = _admin_id(admin_id), visit.admin_of(request).scope_tenant_id

    async def end(form: Form) -> object:
        return await admins.end_sessions(scope, admin_id=id_, reason=_reason(form), actor=visit.actor_of(request))

    return await _perform(request, id_, end, admin_desk, console_sessions, done="sessions_ended")


async def _change(
    request: AnyRequest,
    admin_id: UUID,
    read: Callable[[Form], ChangeAdmin],
    admins: Admins,
    desk: AdminDesk,
    sessions: ConsoleSessions,
    *,
    done: str,
) -> Response[Any]:
    by = visit.admin_of(request)

    async def change(form: Form) -> object:
        return await admins.change(
            by.scope_tenant_id, admin_id=admin_id, change=read(form), by=by, actor=visit.actor_of(request)
        )

    return await _perform(request, admin_id, change, desk, sessions, done=done)


async def _perform(
    request: AnyRequest,
    admin_id: UUID,
    deed: Callable[[Form], Awaitable[object]],
    desk: AdminDesk,
    sessions: ConsoleSessions,
    *,
    done: str,
) -> Response[Any]:
    """Do it and go back to the page, or show what refused it on the page as it is now."""
    form = await visit.form_of(request)
    try:
        await deed(form)
    except AdminNotFound:
        raise
    except AppError as refusal:
        return await _show(request, desk, admin_id=admin_id, refusal=refusal)
    # Nothing is said in a session that has just been ended; the way back then leads to the door.
    await sessions.say(visit.own_session(request), {"kind": "success", "code": f"admin.{done}"})
    return render.redirect(request, f"/console/admins/{admin_id}")


async def _show(
    request: AnyRequest, desk: AdminDesk, *, admin_id: UUID, refusal: AppError | None = None
) -> Response[Any]:
    session = visit.own_session(request)
    detail = await desk.get(session.admin.scope_tenant_id, admin_id=admin_id, own_token=session.token)
    return await render.show(
        request,
        "admins/page.html",
        status=200 if refusal is None else refusal.status,
        detail=detail,
        person=detail.person,
        is_oneself=detail.person.id == session.admin.admin_id,
        roles=TENANT_ROLES,
        refusal=refusal,
        changes_of=partial(changes.shown, language=language_of(request)),
        shown_at=shown_at,
        is_everywhere=session.admin.scope_tenant_id is None,
        password_length=(PASSWORD_LENGTH_MIN, PASSWORD_LENGTH_MAX),
    )


def _reason(form: Form) -> str | None:
    return parse_reason(form.get("reason", ""))


def _seen_at(form: Form) -> datetime:
    """The moment of the account's last change that a form was made for. Raises FieldError."""
    try:
        seen_at = datetime.fromisoformat(form.get("seen_at", ""))
    except ValueError:
        raise FieldError("seen_at", "must be the time that was seen") from None
    if seen_at.tzinfo is None:
        raise FieldError("seen_at", "must be the time that was seen")
    return seen_at


def _admin_id(text: str) -> UUID:
    return path_uuid(text, missing=AdminNotFound())


HANDLERS: Final = (get_admin, post_role, post_active, post_password, post_end_sessions)
