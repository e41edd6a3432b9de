"""Runs of reconciliation: asked for, watched while they go on, and what each compared."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.list_filter import place_of
from backend.app.console.live import live_of
from backend.app.console.visit import action, page
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.ids import path_uuid
from backend.app.domain.reconciliation.reconciliation import Run, RunNotFound, RunStatus, StartRun
from backend.app.services.desk.reconciliation_desk import ReconciliationDesk
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.reconciliation.reconciliation import Reconciliation

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 25
ENDED: Final = (RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED)


@page("/reconciliation/runs", of=Page.RECONCILIATION)
async def list_runs(
    request: AnyRequest,
    reconciliation_desk: NamedDependency[ReconciliationDesk],
    reconciliation: NamedDependency[Reconciliation],
) -> Response[Any]:
    """The newest runs, and the form that asks for another."""
    return await _show(request, reconciliation_desk, reconciliation)


@page("/reconciliation/runs/live", of=Page.RECONCILIATION, is_live=True)
async def get_live_runs(request: AnyRequest, reconciliation_desk: NamedDependency[ReconciliationDesk]) -> Response[Any]:
    """The list alone, for the page that refreshes it."""
    return render.part(request, "reconciliation/runs_table.html", **await _runs(request, reconciliation_desk))


@action("/reconciliation/runs", of=Page.RECONCILIATION_DEEDS)
async def post_run(
    request: AnyRequest,
    reconciliation_desk: NamedDependency[ReconciliationDesk],
    reconciliation: NamedDependency[Reconciliation],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Asks for a run of the tenant in view, or of all; where one is going on, shows that one."""
    admin = visit.admin_of(request)
    form = await visit.form_of(request)
    try:
        run_id = await reconciliation.start(
            StartRun(
                provider=form.get("provider", ""),
                tenant_id=admin.scope_tenant_id,
                started_by=admin.email,
                started_by_id=admin.admin_id,
                window_start=_day(form, "date_from"),
                window_end=_end_of(form),
                is_full="full" in form,
                is_dry_run="dry_run" in form,
            )
        )
    except AppError as refusal:
        return await _show(request, reconciliation_desk, reconciliation, refusal=refusal, typed=form)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": "run.asked"})
    return render.redirect(request, f"/console/reconciliation/runs/{run_id}")


@page("/reconciliation/runs/{run_id:str}", of=Page.RECONCILIATION)
async def get_run(
    request: AnyRequest, run_id: FromPath[str], reconciliation_desk: NamedDependency[ReconciliationDesk]
) -> Response[Any]:
    """One run: window, control totals, counts and what it found. Raises RunNotFound."""
    return await render.show(request, "reconciliation/run.html", **await _run(request, reconciliation_desk, run_id))


@page("/reconciliation/runs/{run_id:str}/live", of=Page.RECONCILIATION, is_live=True)
async def get_live_run(
    request: AnyRequest, run_id: FromPath[str], reconciliation_desk: NamedDependency[ReconciliationDesk]
) -> Response[Any]:
    """The same without its frame, until it has ended."""
    return render.part(request, "reconciliation/run_state.html", **await _run(request, reconciliation_desk, run_id))


def totals_of(run: Run) -> list[dict[str, Any]]:
    """What the feed said and what was read, by account and currency, in minor units; while it is read as well."""
    accounts: Mapping[str, Any] = run.control_totals or {
        name: {
            "arrived": {"count": each.get("lines", 0), "sums": each.get("sums", {})},
            "claimed": {"count": each.get("claimed_lines", 0), "sums": each.get("claimed_sums", {})},
        }
        for name, each in run.feed.items()
    }
    rows = []
    for account_id, each in sorted(accounts.items()):
        claimed, arrived = each["claimed"], each["arrived"]
        rows.append(
            {
                "account_id": account_id,
                "claimed": claimed["count"],
                "arrived": arrived["count"],
                "sums": [
                    (currency, claimed["sums"].get(currency, 0), arrived["sums"].get(currency, 0))
                    for currency in sorted({*claimed["sums"], *arrived["sums"]})
                ],
            }
        )
    return rows


def changes_of(run: Run) -> list[tuple[str, int, int, int, int]]:
    """(type, found, opened, reopened, cleared) of every type of finding that the run had to do with."""
    parts = [run.counts.get(name) or {} for name in ("findings", "opened", "reopened", "auto_cleared")]
    types = sorted({finding_type for part in parts for finding_type in part})
    return [
        (each, parts[0].get(each, 0), parts[1].get(each, 0), parts[2].get(each, 0), parts[3].get(each, 0))
        for each in types
    ]


async def _run(request: AnyRequest, desk: ReconciliationDesk, text: str) -> dict[str, Any]:
    run_id = path_uuid(text, missing=RunNotFound())
    run, tenant_name = await desk.run(visit.admin_of(request).scope_tenant_id, run_id=run_id)
    return {
        "run": run,
        "tenant_name": tenant_name,
        "is_ended": run.status in ENDED,
        "totals": totals_of(run),
        "changes": changes_of(run),
        "live": live_of(request),
    }


async def _runs(request: AnyRequest, desk: ReconciliationDesk) -> dict[str, Any]:
    scope = visit.admin_of(request).scope_tenant_id
    before_id = place_of(request)
    runs, has_more, names = await desk.runs(scope, before_id=before_id, limit=ROWS)
    return {
        "runs": runs,
        "found_by": {run.id: sum((run.counts.get("findings") or {}).values()) for run in runs},
        "totals": {run.id: totals_of(run) for run in runs},
        "has_more": has_more,
        "names": names,
        "before_id": before_id,
        "ended": ENDED,
        "live": live_of(request),
        "is_everywhere": scope is None,
    }


async def _show(
    request: AnyRequest,
    desk: ReconciliationDesk,
    reconciliation: Reconciliation,
    *,
    refusal: AppError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response[Any]:
    return await render.show(
        request,
        "reconciliation/runs.html",
        status=200 if refusal is None else refusal.status,
        **await _runs(request, desk),
        providers=reconciliation.providers,
        refusal=refusal,
        running_id=None if refusal is None else refusal.extras.get("run_id"),
        typed=typed or {},
    )


def _day(form: Mapping[str, str], field: str) -> datetime | None:
    text = form.get(field, "").strip()
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        raise FieldError(field, "is not a day") from None
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def _end_of(form: Mapping[str, str]) -> datetime | None:
    """The end of the last day, which belongs to the window."""
    day = _day(form, "date_to")
    return None if day is None else min(day, datetime.max.replace(tzinfo=UTC) - timedelta(days=2)) + timedelta(days=1)


HANDLERS: Final = (list_runs, get_live_runs, post_run, get_run, get_live_run)
