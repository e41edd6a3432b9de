"""The census: is the ledger right? Looks at everything that a tenant has, and writes nothing but what it found.

tenant ─▶ ranges of player ids ─ one statement each ─▶ sums, counts, the first of each class
  [read]    a range as of one moment (sql/census.sql, read_chunk)
  [confirm] what was found is read once more, player by player, before it counts
  [write]   checkpoint, sums and differences of the range, in one transaction
CensusReport(run, totals, differences)

It takes no lock that money waits for, steps back while the database is busy, and goes on at its checkpoint when it was
cut off. It shares no code with what writes: the rules of the ledger stand in its own statement once more.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

import prometheus_client
import psycopg
import structlog

from backend.app.domain.backfill.census import (
    CHUNK_PLAYERS_FIRST,
    CHUNK_PLAYERS_MAX,
    CYCLE,
    KEEP_RUNS,
    LAST_PLAYER_ID,
    PLACES_PER_CLASS,
    RESUME_WITHIN,
    CensusReport,
    CensusRun,
    Chunk,
    ClassCount,
    Difference,
    DifferenceClass,
    Progress,
    chunk_players_next,
    reason_to_pause,
)
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.backfill import census_repo, census_run_repo
from backend.app.repositories.backfill.census_run_repo import RunKey
from backend.app.repositories.database import Connection, Database

log = structlog.get_logger()

CHUNK_TIMEOUT_SECONDS: Final = 30.0
# One wallet cannot be read in parts, however long its history is.
WALLET_TIMEOUT_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 0.25
# Then one chunk is read all the same: a census that never ends protects nobody. However busy the database, the census
# gets a little less than a tenth of the time.
PAUSE_SECONDS_MAX: Final = 5.0
# What a scheduled run rests after each chunk, as a share of the time that the chunk took.
SCHEDULED_REST: Final = 1.0
SCHEDULED_BUDGET_SECONDS: Final = 240.0
SCHEDULED_TENANTS_MAX: Final = 10_000

census_differences: Final = prometheus_client.Gauge(
    "hakem_census_differences",
    "Differences that a tenant's last finished census found, by class",
    ("tenant", "difference_class"),
    multiprocess_mode="mostrecent",
)
# A moment, not an age: an age would stand still together with the process that ought to update it.
census_clean_timestamp_seconds: Final = prometheus_client.Gauge(
    "hakem_census_clean_timestamp_seconds",
    "When a tenant's last clean census began, in Unix time; 0 without one. Its age is time() minus this",
    ("tenant",),
    multiprocess_mode="mostrecent",
)


class CensusTaken(TemporarilyUnavailable):
    """503: somebody else works on this run."""

    error_code = "CENSUS_TAKEN"
    title = "Another process works on this census; its result will be there when it is done"


class Census:
    """Runs censuses. Built once per process; needs the service's rights only.

    chunk_players_max: how many players a statement reads at most; within that the time that it takes decides.
    """

    def __init__(self, database: Database, *, chunk_players_max: int = CHUNK_PLAYERS_MAX) -> None:
        self._database = database
        self._chunk_players_max = chunk_players_max

    async def run(
        self,
        tenant_id: UUID,
        *,
        started_by: str,
        is_scheduled: bool = False,
        is_fresh: bool = False,
        budget_seconds: float | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> CensusReport:
        """Look at one tenant and say what is wrong; the report's run is still running if the budget did not suffice.

        A run of the same kind (scheduled or not) that was cut off within RESUME_WITHIN is gone on with, unless
        `is_fresh`. Raises TenantNotFound, CensusTaken, or DatabaseAway: what was read until then is kept.
        """
        async with self._database.connection() as conn:
            if not await census_repo.tenant_exists(conn, tenant_id):
                raise TenantNotFound(f"there is no tenant {tenant_id}")
            key = await _begin(conn, tenant_id, started_by=started_by, is_scheduled=is_scheduled, is_fresh=is_fresh)
            try:
                walk = _Walk(
                    conn,
                    await census_run_repo.get(conn, tenant_id, run_id=key.id),
                    chunk_players_max=self._chunk_players_max,
                    rest=SCHEDULED_REST if is_scheduled else 0.0,
                    on_progress=on_progress,
                )
                if await walk.walk(budget_seconds=budget_seconds):
                    await _finish(conn, tenant_id, run_id=key.id)
                report = await census_run_repo.read_report(conn, tenant_id, run_id=key.id)
            finally:
                if not conn.closed:
                    await census_run_repo.unlock(conn, key)
        _tell(report)
        return report

    async def list_tenant_ids(self) -> list[UUID]:
        """All tenants."""
        async with self._database.connection() as conn:
            return await census_repo.list_tenant_ids(conn)

    async def run_due(self, now: datetime, *, budget_seconds: float = SCHEDULED_BUDGET_SECONDS) -> int:
        """One tick of the continuous census: tenants not looked at for CYCLE, the longest waiting first, as far as the
        budget goes; returns how many were finished. Bears being run twice, by any process, and being cut off.
        """
        started = time.monotonic()
        finished = 0
        async with self._database.connection() as conn:
            due = await census_run_repo.list_due_tenant_ids(
                conn, started_before=now - CYCLE, limit=SCHEDULED_TENANTS_MAX
            )
        for tenant_id in due:
            remaining_seconds = budget_seconds - (time.monotonic() - started)
            if remaining_seconds <= 0:
                break
            try:
                report = await self.run(
                    tenant_id, started_by="schedule", is_scheduled=True, budget_seconds=remaining_seconds
                )
            except CensusTaken:
                continue
            finished += report.run.finished_at is not None
        async with self._database.connection() as conn:
            await census_run_repo.delete_old(conn, started_before=now - KEEP_RUNS)
        await self.refresh_metrics()
        return finished

    async def refresh_metrics(self) -> None:
        """Set the gauges from what the database knows of every tenant's past runs."""
        async with self._database.connection() as conn:
            metrics = await census_run_repo.list_metrics(conn)
        for tenant in metrics:
            label = str(tenant.tenant_id)
            census_clean_timestamp_seconds.labels(label).set(tenant.clean_at.timestamp() if tenant.clean_at else 0)
            for each in DifferenceClass:
                census_differences.labels(label, each.value).set(tenant.differences.get(each.value, 0))


class _Walk:
    """One run on its way through the players, as far as this process takes it."""

    def __init__(
        self,
        conn: Connection,
        run: CensusRun,
        *,
        chunk_players_max: int,
        rest: float,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._conn = conn
        self._run = run
        self._rest = rest
        self._on_progress = on_progress
        self._chunk_players_max = chunk_players_max
        self._chunk_players = min(CHUNK_PLAYERS_FIRST, chunk_players_max)
        self._named: Counter[DifferenceClass] = Counter()
        self._paused_ms = 0
        self._progress = Progress(
            tenant_id=run.tenant_id, players=0, transactions=0, differences=0, chunk_players=self._chunk_players
        )

    async def walk(self, *, budget_seconds: float | None) -> bool:
        """Go on to the end; False when the budget was used up before."""
        started = time.monotonic()
        kept = await census_run_repo.list_kept(self._conn, self._run.tenant_id, run_id=self._run.id)
        self._named.update(each.difference_class for each in kept)
        while True:
            await self._give_way()
            chunk_started = time.monotonic()
            last_id, chunk = await self._read()
            seconds = time.monotonic() - chunk_started
            await self._keep(chunk, last_id=last_id)
            if last_id == LAST_PLAYER_ID:
                return True
            self._chunk_players = min(chunk_players_next(self._chunk_players, seconds=seconds), self._chunk_players_max)
            if budget_seconds is not None and time.monotonic() - started >= budget_seconds:
                return False
            await asyncio.sleep(seconds * self._rest)

    async def _read(self) -> tuple[UUID, Chunk]:
        """The next range, smaller if need be."""
        while True:
            is_one = self._chunk_players == 1
            try:
                async with self._conn.transaction():
                    await census_repo.keep_to_ranges(
                        self._conn, timeout_seconds=WALLET_TIMEOUT_SECONDS if is_one else CHUNK_TIMEOUT_SECONDS
                    )
                    first_id = self._run.next_player_id
                    last_id = await census_repo.find_chunk_end(
                        self._conn, self._run.tenant_id, first_id=first_id, players=self._chunk_players
                    )
                    chunk = await census_repo.read_chunk(
                        self._conn, self._run.tenant_id, first_id=first_id, last_id=last_id
                    )
                    return last_id, chunk
            except psycopg.errors.QueryCanceled:
                if is_one:
                    raise
                self._chunk_players = max(1, self._chunk_players // 4)
                log.warning("census.chunk_too_slow", chunk_players=self._chunk_players)

    async def _keep(self, chunk: Chunk, *, last_id: UUID) -> None:
        """Confirm what was found, then write the results of a range together with the checkpoint behind it."""
        tenant_id, run_id = self._run.tenant_id, self._run.id
        asked = [each for each in chunk.samples if self._named[each.difference_class] < PLACES_PER_CLASS]
        confirmed = await _confirm(self._conn, tenant_id, differences=asked)
        subjects = {each.subject for each in confirmed}
        gone = [each for each in asked if each.subject not in subjects]
        next_player_id = last_id if last_id == LAST_PLAYER_ID else UUID(int=last_id.int + 1)
        async with self._conn.transaction():
            if not await census_run_repo.advance(
                self._conn,
                tenant_id,
                run=self._run,
                next_player_id=next_player_id,
                sides_compared=chunk.sides_compared,
                unconfirmed=len(gone),
                paused_ms=self._paused_ms,
            ):
                raise CensusTaken
            # From here on the run is this process's.
            await census_run_repo.add_sums(
                self._conn, tenant_id, run_id=run_id, totals=chunk.totals, accounts=chunk.accounts
            )
            await census_run_repo.add_differences(
                self._conn, tenant_id, run_id=run_id, counts=_without(chunk.counts, gone), differences=confirmed
            )
        self._paused_ms = 0
        self._named.update(each.difference_class for each in confirmed)
        self._run = self._run._replace(next_player_id=next_player_id, chunks=self._run.chunks + 1)
        self._progress = replace(
            self._progress,
            players=self._progress.players + chunk.players,
            transactions=self._progress.transactions + chunk.transactions,
            differences=self._progress.differences + sum(each.differences for each in chunk.counts) - len(gone),
            chunk_players=self._chunk_players,
            paused_because="",
        )
        self._on_progress(self._progress)

    async def _give_way(self) -> None:
        """Wait while the database is busy with others, but not for ever."""
        started = time.monotonic()
        while reason := reason_to_pause(await census_repo.observe_load(self._conn)):
            if time.monotonic() - started >= PAUSE_SECONDS_MAX:
                break
            self._on_progress(replace(self._progress, paused_because=reason))
            await asyncio.sleep(PAUSE_SECONDS)
        self._paused_ms += round((time.monotonic() - started) * 1000)


async def _begin(conn: Connection, tenant_id: UUID, *, started_by: str, is_scheduled: bool, is_fresh: bool) -> RunKey:
    """A run that is locked for this connection: one that was cut off, or a new one."""
    key = None
    if not is_fresh:
        key = await census_run_repo.find_unfinished(conn, tenant_id, is_scheduled=is_scheduled, within=RESUME_WITHIN)
    if key is not None and await census_run_repo.try_lock(conn, key):
        kept = await census_run_repo.list_kept(conn, tenant_id, run_id=key.id)
        if len(await _confirm(conn, tenant_id, differences=kept)) == len(kept):
            await census_run_repo.note_resume(conn, tenant_id, run_id=key.id)
            return key
        # Somebody has put things right since: the sums of what was read before are those of another ledger.
        await census_run_repo.unlock(conn, key)
    elif key is not None and is_scheduled:
        raise CensusTaken
    async with conn.transaction():
        key = await census_run_repo.insert(conn, tenant_id, is_scheduled=is_scheduled, started_by=started_by)
        # Locked before anybody can see it.
        if not await census_run_repo.try_lock(conn, key):
            raise CensusTaken
        await census_run_repo.abandon_others(conn, tenant_id, run_id=key.id, is_scheduled=is_scheduled)
    return key


async def _confirm(conn: Connection, tenant_id: UUID, *, differences: Sequence[Difference]) -> list[Difference]:
    """Those that are still so, each wallet read again in a statement of its own, with what a person needs to see."""
    confirmed: list[Difference] = []
    again: dict[UUID, dict[object, Difference]] = {}
    for difference in differences:
        player_id = difference.player_id
        assert player_id is not None, "only whole currencies have no player, and they are not confirmed"
        if player_id not in again:
            async with conn.transaction():
                await census_repo.keep_to_ranges(conn, timeout_seconds=WALLET_TIMEOUT_SECONDS)
                chunk = await census_repo.read_chunk(conn, tenant_id, first_id=player_id, last_id=player_id)
            again[player_id] = {each.subject: each for each in chunk.samples}
        if (known := again[player_id].get(difference.subject)) is not None:
            evidence = await census_repo.find_evidence(conn, tenant_id, known)
            confirmed.append(replace(known, evidence={**known.evidence, **evidence}))
    return confirmed


async def _finish(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> None:
    """What only the whole can tell, and the verdict."""
    async with conn.transaction():
        zero_sums = await census_run_repo.list_zero_sums(conn, tenant_id, run_id=run_id)
        counts = [
            ClassCount(difference_class=each.difference_class, differences=1, amount_minor=each.amount_minor)
            for each in zero_sums
        ]
        for count, difference in zip(counts, zero_sums, strict=True):
            await census_run_repo.add_differences(
                conn, tenant_id, run_id=run_id, counts=[count], differences=[difference]
            )
        await census_run_repo.finish(conn, tenant_id, run_id=run_id)


def _without(counts: Sequence[ClassCount], gone: Sequence[Difference]) -> list[ClassCount]:
    """The counts without the differences that were not there any more."""
    number = Counter(each.difference_class for each in gone)
    amount: Counter[DifferenceClass] = Counter()
    for each in gone:
        amount[each.difference_class] += each.amount_minor
    return [
        ClassCount(
            difference_class=count.difference_class,
            differences=count.differences - number[count.difference_class],
            amount_minor=count.amount_minor - amount[count.difference_class],
        )
        for count in counts
    ]


def _tell(report: CensusReport) -> None:
    facts = {
        "tenant_id": str(report.run.tenant_id),
        "run_id": str(report.run.id),
        "players": report.players,
        "transactions": report.transactions,
        "unconfirmed": report.run.unconfirmed,
    }
    if report.run.finished_at is None:
        log.info("census.interrupted", **facts)
    elif report.is_clean:
        log.info("census.clean", **facts)
    else:
        classes = {count.difference_class.value: count.differences for count in report.counts}
        log.error("census.differences_found", **facts, classes=classes)
