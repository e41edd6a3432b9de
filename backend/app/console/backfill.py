"""Backfills: what ran and what it came to, beside the last time; and asking for a dry run, or for a real one."""

from typing import Any, Final

from litestar import Request, Response
from litestar.di import NamedDependency

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.list_filter import place_of
from backend.app.console.live import Live, live_of
from backend.app.console.rollout_page import ensure_confirmed, tenant_id_of
from backend.app.console.visit import action, page
from backend.app.domain.desk.backfill_desk import BackfillKind
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.domain.rollout.flags import parse_reason
from backend.app.services.desk.backfill_desk import BackfillDesk
from backend.app.services.desk.rollout_desk import RolloutDesk
from backend.app.services.people.console_sessions import ConsoleSessions

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 25
# While one runs, somebody is watching it.
SECONDS_UNDER_WAY: Final = 3


@page("/backfill", of=Page.BACKFILL)
async def list_backfills(request: AnyRequest, backfill_desk: NamedDependency[BackfillDesk]) -> Response[Any]:
    """Runs and dry runs of every tenant in view, the newest first."""
    return await _show(request, backfill_desk)


@page("/backfill/runs", of=Page.BACKFILL, is_live=True)
async def get_runs(request: AnyRequest, backfill_desk: NamedDependency[BackfillDesk]) -> Response[Any]:
    """The same without its frame, for the page that refreshes it."""
    return render.part(request, "backfill/runs.html", **await _values(request, backfill_desk))


@action("/backfill/ask", of=Page.BACKFILL_DEEDS)
async def post_ask(
    request: AnyRequest,
    backfill_desk: NamedDependency[BackfillDesk],
    rollout_desk: NamedDependency[RolloutDesk],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Asks for a backfill; a real one with the tenant's name and a reason. Raises TenantNotFound."""
    form = await request.form()
    typed = {name: str(value) for name, value in form.items()}
    if not typed.get("tenant_id"):
        return await _show(request, backfill_desk, refusal=FieldError("tenant_id", "is required"), typed=typed)
    tenant_id = tenant_id_of(typed["tenant_id"])
    tenant = await rollout_desk.find(visit.admin_of(request).scope_tenant_id, tenant_id=tenant_id)
    try:
        kind = _kind(typed.get("kind", ""))
        if not kind.is_dry_run:
            ensure_confirmed(typed.get("name", ""), name=tenant.name)
        given = typed.get("reason", "").strip()
        # What writes nothing needs no reason.
        reason = parse_reason(given) if given or not kind.is_dry_run else None
        await backfill_desk.ask(tenant_id, kind=kind, reason=reason, actor=visit.actor_of(request))
    except AppError as refusal:
        return await _show(request, backfill_desk, refusal=refusal, typed=typed)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": f"backfill.{kind}"})
    return render.redirect(request, "/console/backfill")


async def _show(
    request: AnyRequest, desk: BackfillDesk, *, refusal: AppError | None = None, typed: dict[str, str] | None = None
) -> Response[Any]:
    return await render.show(
        request,
        "backfill/page.html",
        status=200 if refusal is None else refusal.status,
        **await _values(request, desk),
        refusal=refusal,
        typed=typed or {},
        kinds=tuple(BackfillKind),
    )


async def _values(request: AnyRequest, desk: BackfillDesk) -> dict[str, Any]:
    before_id = place_of(request)
    scope = visit.admin_of(request).scope_tenant_id
    found = await desk.page(scope, before_id=before_id, limit=ROWS)
    live = live_of(request)
    return {
        "page": found,
        "before": "" if before_id is None else str(before_id),
        "live": Live(beat=live.beat, seconds=SECONDS_UNDER_WAY) if found.is_under_way else live,
        "is_everywhere": scope is None,
        "currencies": CURRENCY_EXPONENTS,
    }


def _kind(given: str) -> BackfillKind:
    try:
        return BackfillKind(given)
    except ValueError:
        raise FieldError("kind", "is none that can be asked for here") from None


HANDLERS: Final = (list_backfills, get_runs, post_ask)
