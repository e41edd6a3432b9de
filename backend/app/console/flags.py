"""Flags: what each comes to and why, what another value would come to, and setting it with a reason.

What decides who judges money is not set here: the page leads to the flip, which has its gates, and to the way back.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.rollout_page import ensure_confirmed, tenant_id_of
from backend.app.console.visit import Form, action, page
from backend.app.domain.audit import AuditEvent
from backend.app.domain.desk.flag_desk import VALUES, FlagDetail
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.rollout.flags import Flag, FlagScope, SetFlag, parse_flag, parse_reason
from backend.app.psp.registry import PROVIDERS
from backend.app.services.desk.flag_desk import FLAG_OF_PROVIDERS, FlagDesk
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.rollout.flags import Flags

AnyRequest = Request[Any, Any, Any]
# For how long a value can stand; the empty one is until somebody sets another.
HOURS: Final = ("", "1", "6", "24", "168")
# A value of shadow writing ends only by writing again; the form says so where it can be chosen.
ENDS_ONLY_OFF: Final = frozenset({Flag.LEDGER_SHADOW_WRITE})


class Past(NamedTuple):
    """A time that the flag was set: the value before and after, None where it was left to the levels below."""

    at: datetime
    by: str
    reason: str | None
    before: bool | None
    after: bool | None
    until: datetime | None


class FlagNotSetHere(AppError):
    """409: the flag is not set at this place; the page says why, and where."""

    error_code = "FLAG_NOT_SET_HERE"
    status = 409
    title = "The flag is not set here"


class FlagNotConfirmed(AppError):
    """422: the name that was typed is not the flag's."""

    error_code = "FLAG_NAME_NOT_CONFIRMED"
    status = 422
    title = "The name that was typed is not the flag's"


@page("/tenants/flags", of=Page.FLAGS)
async def list_flags(request: AnyRequest, flag_desk: NamedDependency[FlagDesk]) -> Response[Any]:
    """What every flag comes to for who has nothing of its own, and for providers."""
    flags, of_providers = await flag_desk.list_platform()
    return await render.show(
        request,
        "tenant/flags.html",
        flags=flags,
        of_providers=of_providers,
        is_everywhere=visit.admin_of(request).scope_tenant_id is None,
    )


@page("/tenants/flags/{flag:str}", of=Page.FLAGS)
async def get_platform_flag(
    request: AnyRequest, flag: FromPath[str], flag_desk: NamedDependency[FlagDesk]
) -> Response[Any]:
    """A flag for everybody, or for a provider. Raises UnknownFlag, TenantNotFound."""
    return await _show(request, await _read_platform(request, flag_desk, flag, request.query_params.get("provider"))())


@action("/tenants/flags/{flag:str}", of=Page.FLAG_DEEDS)
async def post_platform_flag(
    request: AnyRequest,
    flag: FromPath[str],
    flag_desk: NamedDependency[FlagDesk],
    flags: NamedDependency[Flags],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Sets a flag for everybody, or for a provider."""
    form = await visit.form_of(request)
    read = _read_platform(request, flag_desk, flag, form.get("provider"))
    return await _change(request, form, read, flags, console_sessions)


@page("/tenants/{tenant_id:str}/flags/{flag:str}", of=Page.FLAGS)
async def get_tenant_flag(
    request: AnyRequest, tenant_id: FromPath[str], flag: FromPath[str], flag_desk: NamedDependency[FlagDesk]
) -> Response[Any]:
    """A flag of a tenant. Raises UnknownFlag, TenantNotFound."""
    return await _show(request, await _read_tenant(request, flag_desk, tenant_id, flag)())


@action("/tenants/{tenant_id:str}/flags/{flag:str}", of=Page.FLAG_DEEDS)
async def post_tenant_flag(
    request: AnyRequest,
    tenant_id: FromPath[str],
    flag: FromPath[str],
    flag_desk: NamedDependency[FlagDesk],
    flags: NamedDependency[Flags],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Sets a flag of a tenant, or leaves it to the levels below."""
    form = await visit.form_of(request)
    return await _change(request, form, _read_tenant(request, flag_desk, tenant_id, flag), flags, console_sessions)


def _read_tenant(request: AnyRequest, desk: FlagDesk, tenant_id: str, flag: str) -> Callable[[], Awaitable[FlagDetail]]:
    scope, id_, known = visit.admin_of(request).scope_tenant_id, tenant_id_of(tenant_id), parse_flag(flag)
    return lambda: desk.of_tenant(scope, tenant_id=id_, flag=known)


def _read_platform(
    request: AnyRequest, desk: FlagDesk, flag: str, provider: str | None
) -> Callable[[], Awaitable[FlagDetail]]:
    scope, known = visit.admin_of(request).scope_tenant_id, parse_flag(flag)
    return lambda: desk.of_platform(scope, flag=known, provider=provider or None)


async def _change(
    request: AnyRequest,
    form: Form,
    read: Callable[[], Awaitable[FlagDetail]],
    flags: Flags,
    sessions: ConsoleSessions,
) -> Response[Any]:
    """Set it; a refusal shows the flag as it is now, with what was typed."""
    now = datetime.now(UTC)
    before = await read()
    try:
        if before.fixed is not None:
            raise FlagNotSetHere
        wish = _wish(form, before, now=now)
        await flags.set(wish, actor=visit.actor_of(request), now=now, seen=form.get("seen", ""))
    except AppError as refusal:
        return await _show(request, await read(), refusal=refusal, typed=form)
    await sessions.say(visit.own_session(request), {"kind": "success", "code": "flag.set"})
    return render.redirect(request, place_of(before.flag, tenant_id=before.tenant_id, provider=before.provider))


def _wish(form: Form, detail: FlagDetail, *, now: datetime) -> SetFlag:
    """What the form asks for. Raises FieldError, NotConfirmed, FlagNotConfirmed."""
    chosen, hours = form.get("value", ""), form.get("hours", "")
    if chosen not in VALUES:
        raise FieldError("value", "is none of the choices")
    if hours not in HOURS:
        raise FieldError("hours", "is none of the choices")
    if detail.tenant_name is not None:
        ensure_confirmed(form.get("name", ""), name=detail.tenant_name)
    elif form.get("name", "").strip() != detail.flag:
        raise FlagNotConfirmed
    return SetFlag(
        flag=detail.flag,
        value=VALUES[chosen],
        scope=FlagScope.GLOBAL if detail.tenant_id is None else FlagScope.TENANT,
        tenant_id=detail.tenant_id,
        provider=detail.provider,
        reason=parse_reason(form.get("reason", "")),
        expires_at=now + timedelta(hours=int(hours)) if hours else None,
    )


def place_of(flag: Flag, *, tenant_id: UUID | None, provider: str | None) -> str:
    """Where a flag is shown and set."""
    if tenant_id is not None:
        return f"/console/tenants/{tenant_id}/flags/{flag}"
    return f"/console/tenants/flags/{flag}" + (f"?provider={provider}" if provider else "")


async def _show(
    request: AnyRequest, detail: FlagDetail, *, refusal: AppError | None = None, typed: Form | None = None
) -> Response[Any]:
    return await render.show(
        request,
        "tenant/flag.html",
        status=200 if refusal is None else refusal.status,
        detail=detail,
        flag=detail.effective,
        levels=_levels(detail),
        action=place_of(detail.flag, tenant_id=detail.tenant_id, provider=None),
        hours_choices=HOURS,
        ends_only_off=detail.flag in ENDS_ONLY_OFF,
        providers=PROVIDERS if detail.flag is FLAG_OF_PROVIDERS and detail.tenant_id is None else (),
        confirmed_by=detail.tenant_name or detail.flag.value,
        past=[_past(deed) for deed in detail.history],
        refusal=refusal,
        typed=typed or {},
    )


def _past(deed: AuditEvent) -> Past:
    before, after = (
        value if isinstance(value := (state or {}).get("value"), bool) else None
        for state in (deed.state_before, deed.state_after)
    )
    until = (deed.state_after or {}).get("expires_at")
    return Past(
        at=deed.recorded_at,
        by=deed.actor_label,
        reason=deed.reason,
        before=before,
        after=after,
        until=datetime.fromisoformat(until) if isinstance(until, str) else None,
    )


def _levels(detail: FlagDetail) -> list[tuple[str, bool | None]]:
    """What each level says, the strongest first; None: nothing."""
    levels = detail.levels
    own = [] if detail.tenant_id is None else [("tenant", detail.effective.own_value)]
    own += [] if detail.provider is None else [("provider", detail.effective.own_value)]
    return [
        *([("environment_false", False)] if levels.is_killed else []),
        *own,
        ("global", levels.global_value),
        *([] if levels.is_killed else [("environment", levels.environment_value)]),
        ("default", levels.default_value),
    ]


HANDLERS: Final = (list_flags, get_platform_flag, post_platform_flag, get_tenant_flag, post_tenant_flag)
