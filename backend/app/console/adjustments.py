"""Adjustments: what was proposed, and the approval or rejection by somebody else."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.finding_page import parse_note
from backend.app.console.list_filter import FieldReader, Fields, place_of
from backend.app.console.visit import action, page
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.ids import path_uuid
from backend.app.domain.reconciliation.adjustment import REASON_LENGTH_MAX, AdjustmentNotFound, AdjustmentStatus
from backend.app.services.desk.reconciliation_desk import ReconciliationDesk
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.reconciliation.adjustments import Adjustments

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
# What one of them can be found in: nothing stays approved, which is what an applied one passes through.
STATUSES: Final = (AdjustmentStatus.PROPOSED, AdjustmentStatus.APPLIED, AdjustmentStatus.REJECTED)


@page("/adjustments", of=Page.ADJUSTMENTS)
async def list_adjustments(
    request: AnyRequest, reconciliation_desk: NamedDependency[ReconciliationDesk]
) -> Response[Any]:
    """The newest adjustments, or those of one status."""
    scope = visit.admin_of(request).scope_tenant_id
    reader = FieldReader(request, ("status",))
    status = reader.read("status", AdjustmentStatus, "filter.problem.choice")
    before_id = place_of(request)
    found, has_more = await reconciliation_desk.adjustments(scope, status=status, before_id=before_id, limit=ROWS)
    return await render.show(
        request,
        "adjustments/list.html",
        asked=Fields(fields=reader.fields, problems=reader.problems),
        found=found,
        has_more=has_more,
        before_id=before_id,
        statuses=STATUSES,
        current=status,
        is_everywhere=scope is None,
    )


@page("/adjustments/{adjustment_id:str}", of=Page.ADJUSTMENTS)
async def get_adjustment(
    request: AnyRequest, adjustment_id: FromPath[str], reconciliation_desk: NamedDependency[ReconciliationDesk]
) -> Response[Any]:
    """One adjustment, and what can be decided. Raises AdjustmentNotFound."""
    return await _show(request, reconciliation_desk, adjustment_id=_adjustment_id(adjustment_id))


@action("/adjustments/{adjustment_id:str}/decision", of=Page.ADJUSTMENT_DECISIONS)
async def post_decision(
    request: AnyRequest,
    adjustment_id: FromPath[str],
    reconciliation_desk: NamedDependency[ReconciliationDesk],
    adjustments: NamedDependency[Adjustments],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Approves and carries out, or rejects; a refusal shows it as it is now."""
    found_id = _adjustment_id(adjustment_id)
    form = await visit.form_of(request)
    try:
        if form.get("action") not in ("approve", "reject"):
            raise FieldError("action", "is none that can be done here")
        decided = await adjustments.decide(
            visit.admin_of(request).scope_tenant_id,
            adjustment_id=found_id,
            is_approved=form["action"] == "approve",
            note=parse_note(form.get("note", ""), length_max=REASON_LENGTH_MAX) or None,
            actor=visit.actor_of(request),
        )
    except AdjustmentNotFound:
        raise
    except AppError as refusal:
        return await _show(request, reconciliation_desk, adjustment_id=found_id, refusal=refusal, typed=form)
    flash = {"kind": "success", "code": f"adjustment.{decided.status}"}
    await console_sessions.say(visit.own_session(request), flash)
    return render.redirect(request, f"/console/adjustments/{found_id}")


async def _show(
    request: AnyRequest,
    desk: ReconciliationDesk,
    *,
    adjustment_id: UUID,
    refusal: AppError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response[Any]:
    admin = visit.admin_of(request)
    seen = await desk.adjustment(admin.scope_tenant_id, adjustment_id=adjustment_id)
    return await render.show(
        request,
        "adjustments/page.html",
        status=200 if refusal is None else refusal.status,
        seen=seen,
        adjustment=seen.adjustment,
        is_waiting=seen.adjustment.status == AdjustmentStatus.PROPOSED,
        is_own=seen.adjustment.proposed_by == admin.admin_id,
        refusal=refusal,
        typed=typed or {},
        is_everywhere=admin.scope_tenant_id is None,
    )


def _adjustment_id(text: str) -> UUID:
    return path_uuid(text, missing=AdjustmentNotFound())


HANDLERS: Final = (list_adjustments, get_adjustment, post_decision)
