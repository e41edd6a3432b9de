"""This process in the register of running processes, and what its environment says about the flags.

One session is kept for the life of the process; the advisory lock it holds is the proof of life.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import psycopg
import structlog
from psycopg import sql as compose

from backend.app import sql
from backend.app.repositories.database import Connection
from backend.app.repositories.engine import Engine
from backend.app.repositories.faults import EnvironmentFault

SQL = sql.load("instance")
log = structlog.get_logger()

LOCK_NAMESPACE: Final = 4711003
WATCH_SECONDS: Final = 1.0
# For the fences of the tenants whose arbiter a start changes; then it goes on without those that did not come.
FENCE_BUDGET_MS: Final = 1000
# As long as a reason may be that is stored with a flip.
REASON_LENGTH_MAX: Final = 500


async def find_revision(conn: Connection) -> str | None:
    """The migration the database stands at, or None before the first."""
    row = await (await conn.execute(SQL.find_revision)).fetchone()
    return None if row is None else str(row[0])


class FlagsRefused(EnvironmentFault):
    """The flags contradict each other for some tenant; the service does not start."""


class Presence:
    """Registers on `start`, again whenever the session is lost, and leaves on `stop`."""

    def __init__(self, engine: Engine, *, app_version: str, environment_flags: Mapping[str, bool]) -> None:
        self._engine = engine
        self._app_version = app_version
        self._environment_flags = environment_flags
        self._conn: Connection | None = None
        self._number: int | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def number(self) -> int | None:
        """This process's number in the register, the last one it had; None before the first."""
        return self._number

    async def start(self) -> None:
        """Register. Raises FlagsRefused when a tenant would be enforced while shadow writing is off."""
        await self._register()
        self._watcher = asyncio.create_task(self._watch(), name="presence")

    async def stop(self) -> None:
        """Leave. What the environment said stays until the next process starts and sweeps."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        if self._conn is not None:
            await self._conn.close()

    async def _register(self) -> None:
        conn = await psycopg.AsyncConnection.connect(
            self._engine.service_url, autocommit=True, connect_timeout=5, application_name="hakem-presence"
        )
        try:
            if self._engine.set_role is not None:
                await conn.execute(compose.SQL("SET ROLE {}").format(compose.Identifier(self._engine.set_role)))
            async with conn.transaction():
                await self._enter(conn)
        except BaseException:
            await conn.close()
            raise
        self._conn = conn

    async def _enter(self, conn: Connection) -> None:
        cursor = await conn.execute(
            SQL.register_instance, {"app_version": self._app_version, "lock_namespace": LOCK_NAMESPACE}
        )
        row = await cursor.fetchone()
        assert row is not None, "an insert returns its row"
        number, is_locked = row
        assert is_locked, "the number is new, so nobody else can hold its lock"
        self._number = number
        await conn.execute(SQL.lock_flags)
        enforced = await (await conn.execute(SQL.find_enforced)).fetchone()
        assert enforced is not None, "a function returns its row"
        await conn.execute(SQL.sweep_dead_instances, {"lock_namespace": LOCK_NAMESPACE})
        await conn.execute(SQL.sweep_orphaned_flags)
        for flag, value in self._environment_flags.items():
            await conn.execute(SQL.state_environment_flag, {"flag": flag, "holder": str(number), "value": value})
        refused = [slug for (slug,) in await (await conn.execute(SQL.list_refused_tenants)).fetchall()]
        if refused:
            raise FlagsRefused(
                "ledger_shadow_write is off while ledger_enforce_balance is on for: "
                f"{', '.join(refused)}; the ledger cannot decide about balances that it does not write"
            )
        await self._settle(conn, number, before=enforced[0])

    async def _settle(self, conn: Connection, number: int, *, before: Sequence[UUID]) -> None:
        """Epochs and evidence for the tenants whose arbiter is another one by what was stated, or is not any more."""
        stated = ", ".join(f"{flag}={value}" for flag, value in sorted(self._environment_flags.items()))
        cursor = await conn.execute(
            SQL.settle_statement,
            {
                "before": list(before),
                "reason": f"process {number} started with {stated or 'no flag'} in its environment"[:REASON_LENGTH_MAX],
                "label": f"process {number}",
                "budget_ms": FENCE_BUDGET_MS,
            },
        )
        changed = [arbiter for _, arbiter in await cursor.fetchall()]
        if changed:
            log.warning(
                "presence.arbiters_changed",
                stated=stated,
                enforced=changed.count("ledger"),
                rolled_back=changed.count("legacy"),
            )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._conn is not None:
                try:
                    await self._conn.execute("SELECT 1")
                    continue
                except psycopg.OperationalError as error:
                    log.warning("presence.lost", error=type(error).__name__)
                    await self._conn.close()
                    self._conn = None
            # At once, not a tick later: until it is back, a process that starts would sweep what this one states.
            try:
                await self._register()
            except (psycopg.OperationalError, EnvironmentFault) as error:
                log.warning("presence.not_registered", error=type(error).__name__)


async def ensure_flags_agree(engine: Engine, *, app_version: str, environment_flags: Mapping[str, bool]) -> None:
    """Register and leave at once: raises FlagsRefused before a server is built around flags that contradict."""
    trial = Presence(engine, app_version=app_version, environment_flags=environment_flags)
    await trial.start()
    await trial.stop()
