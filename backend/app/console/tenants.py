"""Tenants, for owners: a list with who decides in each, one with what is set and by whom, making and renaming them."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.list_filter import place_of
from backend.app.console.visit import action, page
from backend.app.domain.desk.tenant_desk import COUNTED_MAX
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.ids import path_uuid
from backend.app.domain.money import CURRENCY_EXPONENTS, parse_currency
from backend.app.domain.tenant import (
    BASE_CURRENCY_DEFAULT,
    NAME_LENGTH_MAX,
    CreateTenant,
    TenantNotFound,
    parse_slug,
)
from backend.app.services.desk.tenant_desk import TenantDesk
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.finance import Finance
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.tenants import Tenants

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50


@page("/tenants", of=Page.TENANTS)
async def list_tenants(request: AnyRequest, tenant_desk: NamedDependency[TenantDesk]) -> Response[Any]:
    """All tenants, or the one in view; and the form for a new one."""
    return await _show_list(request, tenant_desk)


@action("/tenants", of=Page.TENANT_DEEDS)
async def post_tenant(
    request: AnyRequest,
    tenants: NamedDependency[Tenants],
    tenant_desk: NamedDependency[TenantDesk],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Makes a tenant, with an account of its own at MockPSP; a refusal shows the form as it was filled in."""
    form = await visit.form_of(request)
    try:
        command = CreateTenant(
            name=_name(form),
            slug=parse_slug(form.get("slug", "").strip()),
            base_currency=parse_currency(form.get("base_currency", "").strip().upper(), field="base_currency"),
        )
        made = await tenants.create(command, actor=visit.actor_of(request))
    except AppError as refusal:
        return await _show_list(request, tenant_desk, refusal=refusal, typed=form)
    # Made everywhere, so shown everywhere: an owner who looks at one tenant alone would not find the new one.
    session = visit.own_session(request)
    if session.admin.scope_tenant_id is not None:
        await console_sessions.choose_tenant(session, None)
    await console_sessions.say(session, {"kind": "success", "code": "tenant.created"})
    return render.redirect(request, f"/console/tenants/{made.id}")


@page("/tenants/{tenant_id:str}", of=Page.TENANTS)
async def get_tenant(
    request: AnyRequest,
    tenant_id: FromPath[str],
    tenant_desk: NamedDependency[TenantDesk],
    finance: NamedDependency[Finance],
    deposits: NamedDependency[Deposits],
) -> Response[Any]:
    """One tenant: its flags with where each comes from, its limits and its accounts. Raises TenantNotFound."""
    return await _show(request, tenant_desk, finance, deposits, tenant_id=_tenant_id(tenant_id))


@action("/tenants/{tenant_id:str}/name", of=Page.TENANT_DEEDS)
async def post_name(
    request: AnyRequest,
    tenant_id: FromPath[str],
    tenants: NamedDependency[Tenants],
    tenant_desk: NamedDependency[TenantDesk],
    finance: NamedDependency[Finance],
    deposits: NamedDependency[Deposits],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Gives the tenant another name."""
    id_ = _tenant_id(tenant_id)
    form = await visit.form_of(request)
    try:
        await tenants.rename(
            visit.admin_of(request).scope_tenant_id, tenant_id=id_, name=_name(form), actor=visit.actor_of(request)
        )
    except TenantNotFound:
        raise
    except AppError as refusal:
        return await _show(request, tenant_desk, finance, deposits, tenant_id=id_, refusal=refusal, typed=form)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": "tenant.renamed"})
    return render.redirect(request, f"/console/tenants/{id_}")


async def _show_list(
    request: AnyRequest,
    desk: TenantDesk,
    *,
    refusal: AppError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response[Any]:
    scope = visit.admin_of(request).scope_tenant_id
    before_id = place_of(request)
    found, has_more = await desk.list_page(scope, before_id=before_id, limit=ROWS)
    return await render.show(
        request,
        "tenant/list.html",
        status=200 if refusal is None else refusal.status,
        found=found,
        has_more=has_more,
        is_later_page=before_id is not None,
        is_everywhere=scope is None,
        counted_max=COUNTED_MAX,
        currencies=sorted(CURRENCY_EXPONENTS),
        currency=BASE_CURRENCY_DEFAULT,
        name_length_max=NAME_LENGTH_MAX,
        refusal=refusal,
        typed=typed or {},
    )


async def _show(
    request: AnyRequest,
    desk: TenantDesk,
    finance: Finance,
    deposits: Deposits,
    *,
    tenant_id: UUID,
    refusal: AppError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response[Any]:
    detail = await desk.get(visit.admin_of(request).scope_tenant_id, tenant_id=tenant_id)
    currency = detail.tenant.base_currency
    return await render.show(
        request,
        "tenant/page.html",
        status=200 if refusal is None else refusal.status,
        detail=detail,
        tenant=detail.tenant,
        counted_max=COUNTED_MAX,
        four_eyes_minor=finance.four_eyes_minor(currency),
        cap_minor=deposits.unverified_cap_minor(currency),
        name_length_max=NAME_LENGTH_MAX,
        refusal=refusal,
        typed=typed or {},
    )


def _name(form: Mapping[str, str]) -> str:
    """A tenant's name as it is kept: one line. Raises FieldError."""
    name = " ".join(form.get("name", "").split())
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise FieldError("name", f"has 1 to {NAME_LENGTH_MAX} printable characters")
    return name


def _tenant_id(text: str) -> UUID:
    return path_uuid(text, missing=TenantNotFound())


HANDLERS: Final = (list_tenants, post_tenant, get_tenant, post_name)
