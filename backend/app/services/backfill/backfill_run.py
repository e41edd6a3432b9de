"""One tenant's backfill run: chunk after chunk until it is done, each in a transaction of its own."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

from backend.app.domain import pace
from backend.app.domain.backfill.backfill import BackfillCounts, BackfillRefused, Outcome, RunState, TenantToFill
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.repositories.backfill import backfill_repo
from backend.app.repositories.backfill.backfill_repo import Chunk, Lease
from backend.app.repositories.database import Connection
from backend.app.repositories.group_commit import ROLLED_BACK
from backend.app.repositories.schema import one_line
from backend.app.services.backfill.pacer import Pacer

log = structlog.get_logger()

ATTEMPTS_MAX: Final = 6
SHADOW_OFF: Final = "shadow writing is off (ledger_shadow_write): a wallet opened now would be wrong at once"
_REFUSED: Final = {
    "arbiter_changed": "the arbiter was changed while the run was under way: look, then run again",
    "shadow_off": SHADOW_OFF,
    "lease_lost": "another process has taken the run over",
}

# Called after each chunk: the chunk, how many players this process has worked through, and why it is slow now.
OnChunk = Callable[[Chunk, int, str | None], None]


class BackfillStalled(TemporarilyUnavailable):
    """503: a chunk could not be written for a long time; what was committed stays, and --resume goes on."""

    error_code = "BACKFILL_STALLED"
    title = "The backfill could not go on because others kept the same rows busy; resume it"


class BackfillRun:
    """A run whose lease this process holds. `conn` is the session that holds the tenant's lock."""

    def __init__(
        self,
        conn: Connection,
        tenant: TenantToFill,
        lease: Lease,
        *,
        pacer: Pacer,
        batch_size: int,
        on_chunk: OnChunk,
    ) -> None:
        self.conn = conn
        self.tenant = tenant
        self.lease = lease
        self._pacer = pacer
        self._batch_size = self._size = batch_size
        self._on_chunk = on_chunk
        self._failures = 0
        self._started_at = time.monotonic()
        self._scanned_before: int | None = None
        self._throttled_by: str | None = None
        self._last = Chunk("worked", "scan", BackfillCounts())

    async def work(self) -> BackfillCounts:
        """Work until the run is done; its counters. Raises BackfillRefused or BackfillStalled."""
        while self._last.phase != "done":
            started_at = time.monotonic()
            chunk = await self._next_chunk()
            if chunk is None:
                continue
            seconds = time.monotonic() - started_at
            if chunk.code != "worked":
                raise BackfillRefused(_REFUSED[chunk.code])
            if self._scanned_before is None:
                # What an earlier process did is not this one's speed.
                self._scanned_before = max(0, chunk.counts.scanned - self._size)
            self._last = chunk
            self._failures = 0
            self._size = pace.next_size(
                self._size, seconds=seconds, size_max=self._batch_size, seconds_target=self._pacer.chunk_seconds
            )
            await self._pacer.rest(seconds, self._note_pace)
            await self._note_pace()
        return self._last.counts

    async def end(self, state: RunState, *, error: str | None) -> None:
        """Write how the run ended; a run that was taken over is left alone."""
        await backfill_repo.end_run(self.conn, self.tenant.id, lease=self.lease, state=state, error=error)

    @property
    def counts(self) -> BackfillCounts:
        """What the run has come to so far."""
        return self._last.counts

    @property
    def _worked(self) -> int:
        return self._last.counts.scanned - (self._scanned_before or 0)

    async def _next_chunk(self) -> Chunk | None:
        """The next chunk; None when it was rolled back and a smaller one has to be tried."""
        rate = round(self._worked / max(time.monotonic() - self._started_at, 0.001))
        try:
            return await backfill_repo.work_chunk(self.conn, self.lease, rows=self._size, rows_per_second=rate)
        except backfill_repo.LIMIT_REACHED as error:
            raise BackfillRefused(f"{error.diag.message_primary}; say how many with --max-rows") from None
        except (*ROLLED_BACK, *backfill_repo.SPOILED) as error:
            return await self._retry_smaller(error, rate=rate)

    async def _retry_smaller(self, error: psycopg.Error, *, rate: int) -> Chunk | None:
        """Half the size, down to the one player it is about; that one is noted as an error and gone past."""
        is_spoiled = isinstance(error, backfill_repo.SPOILED)
        log.warning("backfill.chunk_repeated", size=self._size, error=type(error).__name__)
        if self._size > 1:
            self._size = max(1, self._size // 2)
            return None
        self._failures += 1
        if not is_spoiled and self._failures < ATTEMPTS_MAX:
            await asyncio.sleep(random.uniform(0, min(1.0, 0.05 * 2**self._failures)))
            return None
        try:
            return await backfill_repo.work_chunk(
                self.conn,
                self.lease,
                rows=1,
                rows_per_second=rate,
                error_code=Outcome.DATABASE_ERROR if is_spoiled else Outcome.LOCKED,
                error_detail=one_line(error)[:500],
            )
        except ROLLED_BACK:
            # Not this player is busy but what every chunk needs.
            raise BackfillStalled from error

    async def _note_pace(self) -> None:
        if self._pacer.reason != self._throttled_by:
            self._throttled_by = self._pacer.reason
            await backfill_repo.note_throttle(
                self.conn, self.tenant.id, lease=self.lease, throttled_by=self._throttled_by
            )
        self._on_chunk(self._last, self._worked, self._throttled_by)
