"""Reconciliation: asks for runs, carries them out, and sees to it that none is left lying.

StartRun ─▶ row, and a job in the same transaction ─▶ a worker takes the run's lock
  [read]    the provider's statement into staging, with checkpoints (reconciliation_feed.py)
  [compare] everything at once, in one transaction (reconciliation_compare.py)
Run(status, counts, control totals)

A run belongs to the session that holds its lock. When its process dies the lock is free, and the next one goes on at
the feed's checkpoint: by its job, by the sweep of this module, or by a person at the command line.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import psycopg
import structlog

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.job import Arguments
from backend.app.domain.reconciliation.reconciliation import (
    RUN_ATTEMPTS_MAX,
    SCHEDULE_EVERY,
    SCHEDULE_FULL_EVERY,
    Run,
    RunInProgress,
    RunNotFound,
    RunStatus,
    RunTaken,
    StartRun,
    UnsupportedProvider,
    ensure_window,
)
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories import job_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.reconciliation import reconciliation_repo
from backend.app.repositories.reconciliation.reconciliation_repo import Balance
from backend.app.services.reconciliation import reconciliation_telemetry
from backend.app.services.reconciliation.reconciliation_feed import Source
from backend.app.services.reconciliation.reconciliation_run import account_ids_of, execute_one

log = structlog.get_logger()

JOB: Final = "reconciliation.run"
# A run on which nobody has written for so long may have lost its process; its lock tells.
IDLE_AFTER: Final = timedelta(minutes=2)
IDLE_MAX: Final = 100
DUE_MAX: Final = 1_000
ERROR_CHARS_MAX: Final = 500
FILE_IS_GONE: Final = (
    "the process that read {name} has died before anything was compared; give the file again: hakem reconcile file"
)
FINISHED: Final = frozenset({RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED})


class Reconciliation:
    """Runs reconciliations. Built once per process. sources: by provider, those whose statements can be had."""

    def __init__(
        self,
        database: Database,
        sources: Mapping[str, Source],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._sources = sources
        self._clock = clock

    @property
    def providers(self) -> tuple[str, ...]:
        """Those whose statements can be had."""
        return tuple(self._sources)

    async def start(self, command: StartRun, *, is_deferred: bool = True, is_known: bool = False) -> UUID:
        """Ask for a run; its id. is_deferred: a worker carries it out. is_known: the caller brings the source.

        Raises UnsupportedProvider, FieldError, InvalidTenant or RunInProgress.
        """
        now = self._clock()
        if command.provider not in self._sources and not is_known:
            raise UnsupportedProvider(f"there are no statements to be had from {command.provider!r}")
        ensure_window(command.window_start, command.window_end, now=now)
        async with self._database.transaction() as conn:
            tenant_id = command.tenant_id
            if tenant_id is not None:
                if not await reconciliation_repo.tenant_exists(conn, tenant_id):
                    raise InvalidTenant
                await account_ids_of(conn, tenant_id, provider=command.provider)
            run_id = await reconciliation_repo.insert_run(conn, tenant_id, command, now=now)
            if run_id is None:
                running = await reconciliation_repo.find_open_run(conn, tenant_id, provider=command.provider)
                raise RunInProgress(run_id=None if running is None else str(running))
            if is_deferred:
                await job_repo.defer(conn, JOB, {"run_id": str(run_id)})
        # From here on the run is asked for.
        log.info("reconciliation.asked", run_id=str(run_id), provider=command.provider, tenant_id=str(tenant_id))
        return run_id

    async def get(self, scope_tenant_id: UUID | None, *, run_id: UUID) -> Run:
        """A run of a tenant, or of any when it is None. Raises RunNotFound."""
        async with self._database.connection() as conn:
            run = await reconciliation_repo.find_run(conn, scope_tenant_id, run_id=run_id)
        if run is None:
            raise RunNotFound
        return run

    async def list_page(
        self,
        scope_tenant_id: UUID | None,
        *,
        asked_tenant_id: UUID | None,
        provider: str | None,
        status: RunStatus | None,
        before_id: UUID | None,
        limit: int,
        offset: int,
    ) -> tuple[list[Run], int]:
        """A page of a tenant's runs, or of all when it is None, newest first; and how many match."""
        async with self._database.connection() as conn:
            return await reconciliation_repo.list_page(
                conn,
                scope_tenant_id,
                asked_tenant_id=asked_tenant_id,
                provider=provider,
                status=status,
                before_id=before_id,
                limit=limit,
                offset=offset,
            )

    async def list_balances(self, tenant_id: UUID, *, provider: str, limit: int, offset: int) -> list[Balance]:
        """What both sides moved day by day, as of the last run that looked."""
        async with self._database.connection() as conn:
            return await reconciliation_repo.list_balances(
                conn, tenant_id, provider=provider, limit=limit, offset=offset
            )

    async def perform(self, arguments: Arguments) -> None:
        """The deferred job: carry a run out, unless somebody else does."""
        try:
            await self.execute(UUID(str(arguments["run_id"])))
        except RunTaken:
            log.info("reconciliation.taken", run_id=arguments["run_id"])

    async def execute(self, run_id: UUID, *, source: Source | None = None) -> Run:
        """Carry a run out, from where it stands; the run with its outcome. source: in the place of the provider's.

        Raises RunTaken when somebody else works on it.
        """
        async with self._database.connection() as conn:
            run = await reconciliation_repo.find_run(conn, None, run_id=run_id)
            if run is None:
                raise RunNotFound
            if run.status in FINISHED:
                return run
            if not await reconciliation_repo.try_lock(conn, run):
                raise RunTaken
            try:
                # Read again under the lock: whoever had it may have gone on.
                now_known = await reconciliation_repo.find_run(conn, None, run_id=run_id)
                assert now_known is not None, "runs are not deleted"
                if now_known.status not in FINISHED:
                    await self._carry_out(conn, now_known, source=source or self._source_of(now_known))
            finally:
                if not conn.closed:
                    await reconciliation_repo.unlock(conn, run)
            done = await reconciliation_repo.find_run(conn, None, run_id=run_id)
        assert done is not None, "runs are not deleted"
        _tell(done)
        return done

    async def resume_or_start(self, command: StartRun) -> UUID:
        """For a person who waits: a new run, or the one that a process that died has left. Raises as `start`, and
        RunInProgress when somebody works on it. A dead run of a settlement file is ended, and a new one begun.
        """
        is_known = command.file is not None
        try:
            return await self.start(command, is_deferred=False, is_known=is_known)
        except RunInProgress as busy:
            run_id = UUID(str(busy.extras["run_id"]))
            run = await self._find_abandoned(run_id)
            if run is None:
                raise
            if run.file is None and command.file is None:
                return run_id
            if run.file is None:
                # A worker goes on with it; a file cannot.
                raise
        with contextlib.suppress(RunTaken):
            await self.execute(run_id)
        return await self.start(command, is_deferred=False, is_known=is_known)

    async def run_due(self, now: datetime) -> int:
        """One tick of the schedule: ask for what is due, have what lies idle taken up, measure; how many runs."""
        asked = 0
        for provider in self._sources:
            async with self._database.connection() as conn:
                due = await reconciliation_repo.list_due(
                    conn,
                    provider,
                    due_before=now - SCHEDULE_EVERY,
                    full_before=now - SCHEDULE_FULL_EVERY,
                    limit=DUE_MAX,
                )
            for tenant in due:
                try:
                    await self.start(
                        StartRun(
                            provider=provider,
                            tenant_id=tenant.tenant_id,
                            started_by="schedule",
                            is_scheduled=True,
                            is_full=tenant.is_full_due,
                        )
                    )
                except RunInProgress:
                    continue
                asked += 1
        async with self._database.transaction() as conn:
            idle = await reconciliation_repo.list_idle(conn, before=now - IDLE_AFTER, limit=IDLE_MAX)
            for run_id in idle:
                await job_repo.defer(conn, JOB, {"run_id": str(run_id)})
        await reconciliation_telemetry.measure(self._database, now=now)
        return asked + len(idle)

    async def _find_abandoned(self, run_id: UUID) -> Run | None:
        """The run, if nobody works on it. One that was asked for a moment ago is somebody's who is about to begin."""
        async with self._database.connection() as conn:
            run = await reconciliation_repo.find_run(conn, None, run_id=run_id)
            if run is None:
                return None
            is_about_to = run.file is None or run.created_at > self._clock() - IDLE_AFTER
            if run.status == RunStatus.QUEUED and is_about_to:
                return None
            if not await reconciliation_repo.try_lock(conn, run):
                return None
            await reconciliation_repo.unlock(conn, run)
        return run

    def _source_of(self, run: Run) -> Source | None:
        """Where the run's statement comes from, when nobody brings it. Of a file: from nowhere but the file. What the
        provider's interface lists is another statement, and would be taken for this one.
        """
        return self._sources.get(run.provider) if run.file is None else None

    async def _carry_out(self, conn: Connection, run: Run, *, source: Source | None) -> None:
        try:
            if run.resumes >= RUN_ATTEMPTS_MAX:
                await _fail(conn, run, f"cut off {run.resumes} times")
            elif run.tenant_id is None:
                await self._execute_all(conn, run)
            elif source is None and run.file is not None:
                await _fail(conn, run, FILE_IS_GONE.format(name=run.file.get("name", "the file")))
            elif source is None:
                await _fail(conn, run, "there is no statement to be had from the provider any more")
            else:
                await execute_one(conn, run, tenant_id=run.tenant_id, source=source, now=self._clock())
        except (psycopg.OperationalError, TemporarilyUnavailable):
            # The database is away: whoever finds it again goes on.
            raise
        except Exception as error:
            log.exception("reconciliation.failed", run_id=str(run.id))
            if not conn.closed:
                await _fail(conn, run, f"{type(error).__name__}: {error}")
            raise

    async def _execute_all(self, conn: Connection, run: Run) -> None:
        """An order to run all tenants: each by itself, one after the other."""
        await reconciliation_repo.begin_run(
            conn, None, run_id=run.id, window_start=run.window_start, window_end=run.window_end, now=self._clock()
        )
        parts = {part.tenant_id: part for part in await reconciliation_repo.list_parts(conn, run.id)}
        skipped = 0
        for tenant_id in await reconciliation_repo.list_tenants(conn, run.provider):
            part = parts.get(tenant_id)
            if part is not None and part.status in FINISHED:
                continue
            try:
                part_id = part.id if part is not None else await self._start_part(run, tenant_id)
                await self.execute(part_id)
            except (RunInProgress, RunTaken):
                # Somebody compares this tenant already.
                skipped += 1
        parts = {part.tenant_id: part for part in await reconciliation_repo.list_parts(conn, run.id)}
        statuses = Counter(part.status for part in parts.values())
        findings: Counter[str] = Counter()
        for part in parts.values():
            findings.update(part.counts.get("findings", {}))
        is_whole = statuses[RunStatus.COMPLETED] == len(parts)
        await reconciliation_repo.finish_run(
            conn,
            None,
            run_id=run.id,
            status=RunStatus.COMPLETED if is_whole else RunStatus.PARTIAL,
            is_feed_complete=is_whole,
            counts={
                "tenants": len(parts),
                "skipped": skipped,
                **{str(status): count for status, count in statuses.items()},
                "findings": dict(findings),
            },
        )

    async def _start_part(self, run: Run, tenant_id: UUID) -> UUID:
        return await self.start(
            StartRun(
                provider=run.provider,
                tenant_id=tenant_id,
                started_by=run.started_by,
                window_start=run.window_start if run.is_window_asked else None,
                window_end=run.window_end if run.is_window_asked else None,
                is_full=run.is_full,
                is_dry_run=run.is_dry_run,
                parent_id=run.id,
            ),
            is_deferred=False,
        )


async def _fail(conn: Connection, run: Run, reason: str) -> None:
    await reconciliation_repo.finish_run(
        conn, run.tenant_id, run_id=run.id, status=RunStatus.FAILED, error=reason[:ERROR_CHARS_MAX]
    )


def _tell(run: Run) -> None:
    facts = {"run_id": str(run.id), "provider": run.provider, "tenant_id": str(run.tenant_id), "counts": run.counts}
    if run.status == RunStatus.COMPLETED:
        log.info("reconciliation.completed", **facts)
    else:
        log.error(f"reconciliation.{run.status}", **facts, error=run.error)
