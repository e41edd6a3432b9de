"""The backfill (OPS-01): opens the wallets of existing players while they play.

BackfillWallets ─ plan ─▶ BackfillPlan                        one moment, nothing written; force is refused by its size
  [lease]  the tenant's lock, a run row with a token          a run whose process died is resumed or abandoned
  [chunks] backfill_chunk_v1: lock, open, verify, checkpoint  one transaction each; kill -9 loses at most one
  [effect] the run ends in its row and in the audit
BackfillReport(counts, plan, noted players, refusals)

`hakem backfill` is one caller; a job calls `run` likewise, with the system as actor.
"""

import asyncio
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from backend.app.domain.audit import AuditEntry
from backend.app.domain.backfill.backfill import (
    NAMED_MAX,
    RESUMABLE,
    BackfillCounts,
    BackfillRefused,
    BackfillWallets,
    NotedPlayer,
    RunState,
    TenantToFill,
)
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import audit_repo, statistics_repo
from backend.app.repositories.backfill import backfill_repo
from backend.app.repositories.backfill.backfill_repo import Chunk, Lease
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.schema import one_line
from backend.app.services.backfill.backfill_plan import BackfillPlan, plan_backfill
from backend.app.services.backfill.backfill_run import SHADOW_OFF, BackfillRun
from backend.app.services.backfill.pacer import Pacer

log = structlog.get_logger()

# After kill -9 the database still ends the statement that was under way, with the dead process's lock.
LOCK_SECONDS_MAX: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillProgress:
    """How far a call is: all tenants together. `throttled_by` says why it is slow now."""

    tenant: str
    phase: str
    counts: BackfillCounts
    players_total: int
    rows_per_second: float
    throttled_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillReport:
    """What a call did or, when dry, would do. `plan` is there when one was made; `refusals` name tenants left out."""

    counts: BackfillCounts
    plan: BackfillPlan | None = None
    noted: tuple[NotedPlayer, ...] = ()
    refusals: tuple[str, ...] = ()


OnProgress = Callable[[BackfillProgress], None]
OnPlan = Callable[[BackfillPlan], None]


class WalletBackfill:
    """One call of the backfill."""

    def __init__(
        self,
        database: Database,
        command: BackfillWallets,
        *,
        on_progress: OnProgress | None = None,
        on_plan: OnPlan | None = None,
    ) -> None:
        self._database = database
        self._command = command
        self._on_progress: OnProgress = on_progress or (lambda _: None)
        self._on_plan: OnPlan = on_plan or (lambda _: None)
        # What tenants before the present one came to.
        self._done = BackfillCounts()
        self._noted: list[NotedPlayer] = []
        self._players_total = 0
        self._started_at = time.monotonic()

    async def run(self) -> BackfillReport:
        """Backfill the tenant, or every tenant in turn.

        Tenants that a gate or a limit stands against are named in the report's refusals. Raises TenantNotFound;
        BackfillRefused when force would touch more than it may; BackfillStalled or DatabaseAway between chunks, and
        what was committed before stays.
        """
        tenants = await self._list_tenants()
        plan = None
        if self._command.is_dry_run or self._command.is_forced:
            plan = await self._plan(tenants)
            if self._command.is_dry_run:
                return BackfillReport(counts=plan.counts, plan=plan, noted=(*plan.rejected, *plan.differences))
            self._on_plan(plan)
            if plan.counts.updated_forced > self._command.forced_max:
                raise BackfillRefused(
                    f"{plan.counts.updated_forced} wallets would be forced, and at most {self._command.forced_max} "
                    "may be: look at a dry run, then say how many with --max-rows"
                )
        # From here on wallets are written.
        refusals = [refusal for tenant in tenants if (refusal := await self._fill(tenant)) is not None]
        return BackfillReport(counts=self._done, plan=plan, noted=tuple(self._noted), refusals=tuple(refusals))

    async def _list_tenants(self) -> list[TenantToFill]:
        wanted = self._command.tenant_id
        tenants: list[TenantToFill] = []
        async with self._database.connection() as conn:
            while page := await backfill_repo.list_tenants(conn, wanted, after_id=tenants[-1].id if tenants else None):
                tenants += page
            if wanted is not None and not tenants:
                raise TenantNotFound(f"there is no tenant {wanted}")
            self._players_total = await backfill_repo.count_players(conn, wanted)
        return tenants

    async def _plan(self, tenants: Sequence[TenantToFill]) -> BackfillPlan:
        def show(tenant: TenantToFill, plan: BackfillPlan) -> None:
            self._show(tenant, phase="plan", counts=plan.counts, throttled_by=None, worked=plan.counts.scanned)

        async with self._database.connection() as conn:
            return await plan_backfill(conn, tenants, is_forced=self._command.is_forced, on_progress=show)

    async def _fill(self, tenant: TenantToFill) -> str | None:
        """Backfill one tenant; a sentence when it was left out."""
        if not tenant.is_writable:
            return f"tenant {tenant.slug}: {SHADOW_OFF}"
        async with self._database.connection() as work, self._database.connection() as watch:
            if not await _lock(work, tenant):
                return f"tenant {tenant.slug}: another backfill of it is running"
            try:
                lease = await self._begin(work, tenant)
                if isinstance(lease, str):
                    return f"tenant {tenant.slug}: {lease}"
                self._started_at = time.monotonic()
                run = BackfillRun(
                    work,
                    tenant,
                    lease,
                    pacer=Pacer(watch, work, tenant_id=tenant.id),
                    batch_size=self._command.batch_size,
                    on_chunk=partial(self._show_chunk, tenant),
                )
                return await self._work(run)
            finally:
                if not work.closed:
                    await backfill_repo.unlock(work, tenant)

    async def _begin(self, conn: Connection, tenant: TenantToFill) -> Lease | str:
        """The run to work on, or why there is none. The tenant's lock is held, so no other process works on one."""
        command = self._command
        runner = f"{platform.node()} {os.getpid()}"
        async with conn.transaction():
            latest = await backfill_repo.find_latest_run(conn, tenant.id)
            if command.is_resumed and latest is not None and latest.state in RESUMABLE:
                if latest.mode != command.mode:
                    return f"the run to resume was one of mode {latest.mode}, and this is {command.mode}"
                if (latest.arbiter, latest.epoch) != (tenant.arbiter, tenant.epoch):
                    return "the arbiter was changed since the run to resume began: run without --resume"
                return await backfill_repo.take_over_run(
                    conn, tenant.id, run_id=latest.id, runner=runner, batch_size=command.batch_size
                )
            await backfill_repo.abandon_run(conn, tenant.id)
            lease = await backfill_repo.insert_run(
                conn,
                tenant.id,
                mode=command.mode,
                reason=self._reason(),
                actor=command.actor,
                runner=runner,
                batch_size=command.batch_size,
                # What earlier tenants of this call used up is gone.
                forced_max=command.forced_max - self._done.updated_forced,
                arbiter=tenant.arbiter,
                epoch=tenant.epoch,
            )
            await self._audit(conn, tenant, lease=lease, action="backfill.started", after={"mode": command.mode.value})
            return lease

    def _reason(self) -> str | None:
        if self._command.reason is not None or not self._command.is_forced:
            return self._command.reason
        return f"forced backfill by {self._command.actor.label}, who gave no reason"

    async def _work(self, run: BackfillRun) -> str | None:
        try:
            async with backfill_repo.committing_later(run.conn):
                counts = await run.work()
        except BackfillRefused as error:
            await run.end(RunState.REFUSED, error=error.detail)
            self._done += run.counts
            return f"tenant {run.tenant.slug}: {error.detail}"
        except BaseException as error:
            state = RunState.STOPPED if isinstance(error, asyncio.CancelledError) else RunState.FAILED
            if not run.conn.closed:
                await asyncio.shield(run.end(state, error=one_line(error) or type(error).__name__))
            raise
        self._done += counts
        await self._complete(run, counts)
        if counts.created >= statistics_repo.WORTH_IT_FROM:
            await statistics_repo.refresh(run.conn)
        return None

    async def _complete(self, run: BackfillRun, counts: BackfillCounts) -> None:
        error_counts, money = await backfill_repo.find_outcome(run.conn, run.tenant.id, run_id=run.lease.run_id)
        async with run.conn.transaction():
            await run.end(RunState.COMPLETED, error=None)
            after: dict[str, str | int | bool | None] = {**counts.summary, "differing": counts.differing}
            for currency, opened in sorted(money.items()):
                after |= {f"opened_{name}_minor_{currency}": int(opened[name]) for name in ("available", "held")}
            await self._audit(run.conn, run.tenant, lease=run.lease, action="backfill.completed", after=after)
        log.info(
            "backfill.completed",
            tenant_id=str(run.tenant.id),
            run_id=str(run.lease.run_id),
            **counts.summary,
            differing=counts.differing,
            errors_by_code=error_counts,
        )
        if counts.has_differences and len(self._noted) < NAMED_MAX:
            self._noted += await backfill_repo.list_errors(
                run.conn, run.tenant.id, run_id=run.lease.run_id, limit=NAMED_MAX - len(self._noted)
            )

    async def _audit(
        self, conn: Connection, tenant: TenantToFill, *, lease: Lease, action: str, after: dict[str, Any]
    ) -> None:
        await audit_repo.insert(
            conn,
            tenant.id,
            AuditEntry(
                actor=self._command.actor,
                action=action,
                object_kind="backfill",
                object_id=str(lease.run_id),
                reason=self._reason(),
                after=after,
            ),
        )

    def _show(
        self, tenant: TenantToFill, *, phase: str, counts: BackfillCounts, throttled_by: str | None, worked: int
    ) -> None:
        self._on_progress(
            BackfillProgress(
                tenant=tenant.slug,
                phase=phase,
                counts=counts,
                players_total=self._players_total,
                rows_per_second=worked / max(time.monotonic() - self._started_at, 0.001),
                throttled_by=throttled_by,
            )
        )

    def _show_chunk(self, tenant: TenantToFill, chunk: Chunk, worked: int, throttled_by: str | None) -> None:
        counts = self._done + chunk.counts
        self._show(tenant, phase=chunk.phase, counts=counts, throttled_by=throttled_by, worked=worked)


async def _lock(conn: Connection, tenant: TenantToFill) -> bool:
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while not await backfill_repo.try_lock(conn, tenant):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.1)
    return True


async def backfill_wallets(
    database: Database, command: BackfillWallets, *, on_progress: OnProgress | None = None
) -> BackfillReport:
    """Run a backfill: what a periodic job calls. Raises what WalletBackfill.run raises."""
    return await WalletBackfill(database, command, on_progress=on_progress).run()
