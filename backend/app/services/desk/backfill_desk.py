"""Backfills that people look at and ask for at the console; a job carries them out by services/backfill/backfill.py."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.backfill.backfill import BackfillCounts, BackfillRefused, BackfillWallets
from backend.app.domain.desk.backfill_desk import AskedBackfill, BackfillBusy, BackfillKind, BackfillPage
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.job import Arguments, DeferredJob
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import audit_repo, job_repo
from backend.app.repositories.database import Database
from backend.app.repositories.desk import attention_repo, backfill_desk_repo
from backend.app.repositories.schema import one_line
from backend.app.services.backfill.backfill import BackfillProgress, BackfillReport, WalletBackfill

log = structlog.get_logger()

JOB: Final = "backfill.run"
# A tenant of ten million takes an hour; what a process leaves unfinished, the next one goes on with.
DEADLINE_SECONDS: Final = 14_400.0
NOTE_SECONDS: Final = 1.0
# Whoever works on a request says so every second, and a queue without a worker for so long has none.
SILENCE: Final = timedelta(minutes=10)
CENSUSES: Final = 100


class BackfillDesk:
    """The desk's service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job(self) -> DeferredJob:
        """The kind of job that `ask` defers."""
        return DeferredJob(name=JOB, run=self.perform, deadline_seconds=DEADLINE_SECONDS)

    async def page(self, scope_tenant_id: UUID | None, *, before_id: UUID | None, limit: int) -> BackfillPage:
        """Runs of a tenant, or of all when it is None, some at a time."""
        async with self._database.connection() as conn:
            found = await backfill_desk_repo.list_runs(conn, scope_tenant_id, before_id=before_id, limit=limit + 1)
            return BackfillPage(
                runs=found[:limit],
                has_more=len(found) > limit,
                censuses=await attention_repo.list_last_censuses(conn, scope_tenant_id, limit=CENSUSES),
            )

    async def ask(self, tenant_id: UUID, *, kind: BackfillKind, reason: str | None, actor: Actor) -> UUID:
        """Ask for a backfill of a tenant that exists; the request's id. Raises BackfillBusy."""
        async with self._database.transaction() as conn:
            await backfill_desk_repo.give_up(conn, tenant_id, silence=SILENCE)
            request_id = await backfill_desk_repo.insert_request(conn, tenant_id, kind=kind, reason=reason, actor=actor)
            if request_id is None:
                raise BackfillBusy
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="backfill.asked",
                    object_kind="backfill",
                    object_id=str(request_id),
                    reason=reason,
                    after={"kind": kind.value},
                ),
            )
            await job_repo.defer(conn, JOB, {"request_id": str(request_id)})
        # From here on it is asked for.
        return request_id

    async def perform(self, arguments: Arguments) -> None:
        """The deferred job: carry a request out, or go on with what a process that died has left of it."""
        request_id = UUID(str(arguments["request_id"]))
        async with self._database.connection() as conn:
            asked = await backfill_desk_repo.begin_request(conn, request_id)
        if asked is None:
            return
        error: str | None = None
        result: dict[str, Any] = {}
        try:
            report = await self._carry_out(asked, request_id=request_id)
            result, error = _result(report), "; ".join(report.refusals) or None
            state = "refused" if report.refusals else "completed"
        except (BackfillRefused, TenantNotFound) as refusal:
            state, error = "refused", refusal.detail
        except TemporarilyUnavailable:
            # The queue tries again, and goes on where this ended.
            raise
        except Exception as failure:
            state, error = "failed", one_line(failure) or type(failure).__name__
            log.error("backfill.request_failed", request_id=str(request_id), exc_info=True)
        async with self._database.connection() as conn:
            await backfill_desk_repo.end_request(
                conn, asked.tenant_id, request_id=request_id, state=state, result=result, error=error
            )

    async def _carry_out(self, asked: AskedBackfill, *, request_id: UUID) -> BackfillReport:
        command = BackfillWallets(
            tenant_id=asked.tenant_id,
            actor=asked.actor,
            is_dry_run=asked.is_dry_run,
            is_forced=asked.is_forced,
            is_resumed=asked.is_begun and not asked.is_dry_run,
            reason=asked.reason,
        )
        async with self._noting(asked.tenant_id, request_id) as notes:
            report = await WalletBackfill(self._database, command, on_progress=notes.note).run()
        await self._note(asked.tenant_id, request_id, counts=report.counts, progress=notes.last)
        return report

    @asynccontextmanager
    async def _noting(self, tenant_id: UUID, request_id: UUID) -> AsyncIterator["_Notes"]:
        """Writes down how far it is, every second of the block; that it cannot be written ends nothing."""
        notes = _Notes()

        async def keep_noting() -> None:
            while True:
                with contextlib.suppress(TemporarilyUnavailable):
                    counts = BackfillCounts() if notes.last is None else notes.last.counts
                    await self._note(tenant_id, request_id, counts=counts, progress=notes.last)
                await asyncio.sleep(NOTE_SECONDS)

        noting = asyncio.create_task(keep_noting(), name="backfill-noting")
        try:
            yield notes
        finally:
            noting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await noting

    async def _note(
        self, tenant_id: UUID, request_id: UUID, *, counts: BackfillCounts, progress: BackfillProgress | None
    ) -> None:
        async with self._database.connection() as conn:
            await backfill_desk_repo.note_progress(
                conn,
                tenant_id,
                request_id=request_id,
                counts=counts,
                players_total=None if progress is None else progress.players_total,
                rows_per_second=None if progress is None else round(progress.rows_per_second),
                throttled_by=None if progress is None else progress.throttled_by,
            )


@dataclass(slots=True)
class _Notes:
    """How far a backfill is, as it said last."""

    last: BackfillProgress | None = None

    def note(self, progress: BackfillProgress) -> None:
        self.last = progress


def _result(report: BackfillReport) -> dict[str, Any]:
    """What the request's row keeps: money by outcome, and by name those who need a look."""
    totals = () if report.plan is None else report.plan.totals
    return {
        "totals": [
            {
                "outcome": str(total.outcome),
                "currency": total.currency,
                "players": int(total.players),
                "available_minor": int(total.available_minor),
                "held_minor": int(total.held_minor),
            }
            for total in totals
        ],
        "named": [
            {
                "player_id": str(player.player_id),
                "code": str(player.code),
                "currency": player.currency,
                "legacy_minor": player.legacy_available + player.legacy_held,
                "ledger_minor": None
                if player.ledger_available is None
                else player.ledger_available + (player.ledger_pending or 0),
            }
            for player in report.noted
        ],
    }
