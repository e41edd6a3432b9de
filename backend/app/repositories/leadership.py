"""One process at a time: a session that holds an advisory lock leads, the others stand by.

A lock of the database, not a lease in a table: it costs nothing while it is held, the server gives it back at once when
a process dies, and no clocks have to agree. A leader that hangs instead of dying says nothing for so long that the
server ends its session (idle_session_timeout), and one whose machine is gone stops answering the server's keep-alives.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import structlog
from psycopg import sql as compose

from backend.app.repositories.database import Connection
from backend.app.repositories.engine import Engine

log = structlog.get_logger()

LOCK_NAMESPACE: Final = 4711004
WATCH_SECONDS: Final = 2.0
STANDBY_SECONDS: Final = 5.0
ANSWER_SECONDS_MAX: Final = 5.0
_OPTIONS: Final = {
    "idle_session_timeout": 20_000,
    "statement_timeout": 5_000,
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 2,
}


class Leadership:
    """The place of this process in line. key: what is led. is_over: set when the process stops."""

    def __init__(self, engine: Engine, *, key: int, is_over: asyncio.Event) -> None:
        self._engine = engine
        self._key = key
        self._is_over = is_over

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` whenever this process leads, until `is_over`; it is cancelled when the session is lost.

        For the seconds in which a lost session is noticed two processes may work: what they do must bear that.
        """
        while not self._is_over.is_set():
            try:
                async with await self._connect() as conn:
                    if await self._await_turn(conn):
                        await self._work_while_alive(conn, work)
            except (psycopg.OperationalError, TimeoutError) as error:
                log.warning("leadership.lost", error=type(error).__name__)
                await self._pause(WATCH_SECONDS)

    async def _connect(self) -> Connection:
        conn = await psycopg.AsyncConnection.connect(
            self._engine.service_url,
            autocommit=True,
            connect_timeout=5,
            application_name="hakem-leader",
            options=" ".join(f"-c {option}={value}" for option, value in _OPTIONS.items()),
        )
        if self._engine.set_role is not None:
            await conn.execute(compose.SQL("SET ROLE {}").format(compose.Identifier(self._engine.set_role)))
        return conn

    async def _await_turn(self, conn: Connection) -> bool:
        """True when this process leads, False when it stops. Asks now and then instead of waiting inside the server,
        where a statement that waits for hours would keep vacuum from removing dead rows.
        """
        while not self._is_over.is_set():
            cursor = await conn.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_NAMESPACE, self._key))
            if await cursor.fetchone() == (True,):
                return True
            await self._pause(STANDBY_SECONDS)
        return False

    async def _work_while_alive(self, conn: Connection, work: Callable[[], Awaitable[None]]) -> None:
        log.info("leadership.taken")
        working = asyncio.ensure_future(work())
        try:
            while not working.done():
                await asyncio.wait({working}, timeout=WATCH_SECONDS)
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    await conn.execute("SELECT 1")
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_over.wait(), seconds)
