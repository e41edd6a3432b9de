"""Keeps a long job out of the way of live traffic: looks at the load now and then, and waits as the signals ask."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID, uuid4

from backend.app.domain import pace
from backend.app.domain.ledger import LedgerEvent, TransactionType
from backend.app.domain.money import Money
from backend.app.domain.pace import NO_THROTTLE, Throttle
from backend.app.repositories import ledger_repo
from backend.app.repositories.backfill import backfill_repo
from backend.app.repositories.database import Connection

LOOK_EVERY_SECONDS: Final = 0.5


class Pacer:
    """One job's pace. `watch` is a connection of its own: what it measures must not wait for the job."""

    def __init__(self, watch: Connection, work: Connection, *, tenant_id: UUID) -> None:
        self._watch = watch
        self._own_pids = (watch.info.backend_pid, work.info.backend_pid)
        self._tenant_id = tenant_id
        self._throttle: Throttle = NO_THROTTLE
        self._looked_at = 0.0
        self._idle_seconds: float | None = None

    @property
    def reason(self) -> str | None:
        """Why the job is slow now, or None."""
        return self._throttle.reason

    @property
    def chunk_seconds(self) -> float:
        """How long the next chunk may take."""
        return self._throttle.chunk_seconds

    async def rest(self, worked_seconds: float, on_stop: Callable[[], Awaitable[None]]) -> None:
        """Wait as long as the load asks for after so much work; `on_stop` is called each second of a full stop."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_SECONDS:
            await self._look()
        while self._throttle.is_stop:
            await on_stop()
            await asyncio.sleep(pace.STOP_SECONDS)
            await self._look()
        if self._throttle.rest_share:
            await asyncio.sleep(worked_seconds * self._throttle.rest_share)

    async def _look(self) -> None:
        door_seconds = await self._time_the_door()
        load = await backfill_repo.read_load(self._watch, own_pids=self._own_pids)
        if self._idle_seconds is None:
            self._idle_seconds = door_seconds
        self._throttle = pace.judge(
            pace.signals_of(
                load,
                cores=os.cpu_count() or 1,
                door_seconds=door_seconds,
                door_seconds_idle=self._idle_seconds,
            )
        )
        self._looked_at = time.monotonic()

    async def _time_the_door(self) -> float:
        """Seconds that the money path takes for an event of nobody: answered under its locks, stored nowhere."""
        event = LedgerEvent(
            tenant_id=self._tenant_id,
            player_id=uuid4(),
            type=TransactionType.MANUAL_ADJUSTMENT,
            money=Money(amount_minor=1, currency="XXX"),
            idempotency_key="pace",
            request_hash=b"",
        )
        started_at = time.monotonic()
        await ledger_repo.append_event(self._watch, event)
        return time.monotonic() - started_at
