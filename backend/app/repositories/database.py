"""Connections of the service's role: one pool, and the one place where a lost database becomes a clear answer."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
from psycopg import AsyncConnection, IsolationLevel, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.repositories.engine import Engine
from backend.config import Settings

Connection = AsyncConnection[TupleRow]

# More callers than this waiting for a connection are told to come back instead of piling up.
WAITING_MAX = 2_000
# How long what is urgent waits for a connection of the pool before it makes one of its own.
URGENT_SECONDS_MAX = 0.2

LOCK_TIMEOUT_MS = 5_000
# A batch of strangers' requests must not wait long for one player's row that somebody holds (see group_commit).
BATCH_LOCK_TIMEOUT_MS = 500
BATCH_CONNECTIONS_MAX = 6


class DatabaseAway(TemporarilyUnavailable):
    """503: the database does not answer. Nothing was lost that had been answered."""

    error_code = "DATABASE_UNAVAILABLE"
    title = "The database is not available; repeat the request with the same key"


class Database:
    """The pools. Open once per process; all connections are in autocommit until `transaction()`."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._pool = self._new_pool("hakem", LOCK_TIMEOUT_MS, max_size=settings.database_pool_max_size)
        self._batch_pool = self._new_pool("hakem-batch", BATCH_LOCK_TIMEOUT_MS, max_size=BATCH_CONNECTIONS_MAX)

    def _new_pool(self, name: str, lock_timeout_ms: int, *, max_size: int) -> AsyncConnectionPool[Connection]:
        settings = self._settings
        options = {
            "statement_timeout": int(settings.database_statement_timeout_seconds * 1000),
            "lock_timeout": lock_timeout_ms,
            "idle_in_transaction_session_timeout": 15_000,
            "timezone": "UTC",
            # The queries are short: compiling one costs more than running it.
            "jit": "off",
        }
        return AsyncConnectionPool(
            self._engine.service_url,
            min_size=min(settings.database_pool_min_size, max_size),
            max_size=max_size,
            timeout=settings.database_connect_timeout_seconds,
            max_waiting=WAITING_MAX,
            reconnect_timeout=5.0,
            open=False,
            name=name,
            configure=self._configure,
            kwargs={
                "autocommit": True,
                "application_name": name,
                "connect_timeout": max(2, round(settings.database_connect_timeout_seconds)),
                "options": " ".join(f"-c {option}={value}" for option, value in options.items()),
                "prepare_threshold": 1,
            },
        )

    async def open(self) -> None:
        """Open the pools and prove that connections can be had. Raises DatabaseAway."""
        try:
            await self._pool.open(wait=True, timeout=10.0)
            await self._batch_pool.open(wait=True, timeout=10.0)
        except PoolTimeout as error:
            raise DatabaseAway from error

    async def close(self) -> None:
        """Close all connections."""
        await self._batch_pool.close(timeout=5.0)
        await self._pool.close(timeout=5.0)

    @asynccontextmanager
    async def connection(self, *, is_for_batch: bool = False) -> AsyncIterator[Connection]:
        """A connection in autocommit: each statement is its own transaction. Raises DatabaseAway.

        `is_for_batch`: one that waits only briefly for row locks, since strangers would wait with it.
        """
        pool = self._batch_pool if is_for_batch else self._pool
        try:
            async with pool.connection() as conn:
                yield conn
        except (PoolTimeout, PoolClosed, TooManyRequests, psycopg.OperationalError) as error:
            # QueryCanceled, lock timeouts and lost connections are operational too: nothing is known to have happened.
            raise DatabaseAway from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in one READ COMMITTED transaction, committed when the block ends well. Raises DatabaseAway."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def urgent_transaction(self) -> AsyncIterator[Connection]:
        """The same for what must not wait behind everybody else's requests for a connection: when the pool has none to
        give right away, on a further connection. Raises DatabaseAway.
        """
        async with AsyncExitStack() as stack:
            try:
                try:
                    conn = await stack.enter_async_context(self._pool.connection(timeout=URGENT_SECONDS_MAX))
                except (PoolTimeout, TooManyRequests):
                    conn = await stack.enter_async_context(await self._connect_apart())
                async with conn.transaction():
                    yield conn
            except (PoolClosed, psycopg.OperationalError) as error:
                raise DatabaseAway from error

    async def _connect_apart(self) -> Connection:
        conn = await psycopg.AsyncConnection.connect(
            self._engine.service_url, autocommit=True, connect_timeout=2, application_name="hakem-urgent"
        )
        await self._configure(conn)
        return conn

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A connection in one transaction that only reads, as all is at its first query. Raises DatabaseAway."""
        async with self.connection() as conn:
            await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            await conn.set_read_only(True)
            try:
                async with conn.transaction():
                    yield conn
            finally:
                # Back to the pool as it came; one that broke does not go back.
                if not conn.closed:
                    await conn.set_isolation_level(None)
                    await conn.set_read_only(None)

    async def _configure(self, conn: Connection) -> None:
        if self._engine.set_role is not None:
            await conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self._engine.set_role)))
