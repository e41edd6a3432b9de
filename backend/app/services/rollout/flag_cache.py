"""A copy of the flags for what no money decision hangs on: whether mismatches are logged, what metrics show.

Who decides about money is read in the money's own transaction, after the fence; nothing here is ever asked about that.

A session of its own listens; a notification, a new session and five seconds without either each make it read everything
anew. So a notification that was lost costs five seconds, and one that came twice costs a read.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import psycopg
import structlog
from prometheus_client import Gauge
from psycopg import sql as compose

from backend.app.domain.rollout.flags import Flag
from backend.app.repositories.database import Connection
from backend.app.repositories.engine import Engine
from backend.app.repositories.rollout import flag_repo

log = structlog.get_logger()

CHANNEL: Final = "hakem_flags"
RELOAD_SECONDS: Final = 5.0
# A session that does not answer for so long is given up, although nobody has closed it.
ANSWER_SECONDS_MAX: Final = 5.0
RECONNECT_SECONDS: Final = 1.0
# So old a copy is told about; it is used all the same, since there is no better one.
STALE_SECONDS: Final = 30.0

flag_gauge: Final = Gauge(
    "ledger_rollout_flag",
    "A flag as it is for tenants and providers without a value of their own: 1 on, 0 off",
    ("flag",),
    multiprocess_mode="mostrecent",
)


class FlagCache:
    """Keeps the copy. Built once per process; before the first read the defaults hold.

    defaults: what this process's own settings say.
    """

    def __init__(self, engine: Engine, *, defaults: Mapping[Flag, bool]) -> None:
        self._engine = engine
        self._levels = dict(defaults)
        self._own: dict[tuple[Flag, str], bool] = {}
        self._read_at = time.monotonic()
        self._reads = 0
        self._keeper: asyncio.Task[None] | None = None

    def is_on(self, flag: Flag, *, holder: UUID | str | None = None) -> bool:
        """The flag, for a tenant or a provider, as of the last read."""
        default = self._levels[flag]
        return default if holder is None else self._own.get((flag, str(holder)), default)

    def is_mismatch_logged(self, tenant_id: UUID) -> bool:
        """Whether mismatches of the tenant are evidence to be kept."""
        return self.is_on(Flag.LEDGER_BALANCE_MISMATCH_LOG, holder=tenant_id)

    @property
    def reads(self) -> int:
        """How often everything was read."""
        return self._reads

    def warnings(self) -> Sequence[str]:
        """A sentence for readiness when the copy is old."""
        age_seconds = time.monotonic() - self._read_at
        if self._keeper is None or age_seconds < STALE_SECONDS:
            return ()
        return (f"the copy of the flags is {age_seconds:.0f} s old; no money decision uses it",)

    async def start(self) -> None:
        """Begin; returns at once. The first read may come later, when the database does."""
        self._read_at = time.monotonic()
        self._keeper = asyncio.create_task(self._keep(), name="flag-cache")

    async def stop(self) -> None:
        """End."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper

    async def _keep(self) -> None:
        while True:
            try:
                async with await self._connect() as conn:
                    await conn.execute(compose.SQL("LISTEN {}").format(compose.Identifier(CHANNEL)))
                    # After LISTEN: what changes from here on is told.
                    while True:
                        await self._read(conn)
                        async for _ in conn.notifies(timeout=RELOAD_SECONDS, stop_after=1):
                            pass
            except (psycopg.Error, TimeoutError) as error:
                log.warning("flag_cache.lost", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _connect(self) -> Connection:
        conn = await psycopg.AsyncConnection.connect(
            self._engine.service_url, autocommit=True, connect_timeout=5, application_name="hakem-flags"
        )
        if self._engine.set_role is not None:
            await conn.execute(compose.SQL("SET ROLE {}").format(compose.Identifier(self._engine.set_role)))
        return conn

    async def _read(self, conn: Connection) -> None:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            levels = await flag_repo.list_levels(conn)
            own = await flag_repo.list_own_values(conn)
        self._levels, self._own = levels, own
        self._read_at = time.monotonic()
        self._reads += 1
        for flag, value in levels.items():
            flag_gauge.labels(flag.value).set(value)
