"""The sandbox in PostgreSQL: the one tenant whose balances and arbiter the service may set.

It does so through functions that know no other tenant.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from backend.app import sql
from backend.app.domain.ledger import Arbiter
from backend.app.repositories.database import Connection

SQL = sql.load("sandbox")


class Sandbox(NamedTuple):
    """The tenant and its players."""

    tenant_id: UUID
    player_ids: list[UUID]


class SandboxMode(NamedTuple):
    """Who decides in the sandbox, in which epoch, and whether both sides are written."""

    arbiter: Arbiter
    epoch: int
    shadow_write: bool


async def try_lock(conn: Connection) -> bool:
    """Take the sandbox for the life of the session; False when somebody has it."""
    return await (await conn.execute(SQL.try_lock)).fetchone() == (True,)


async def unlock(conn: Connection) -> None:
    """Give it back."""
    await conn.execute(SQL.unlock)


async def ensure(conn: Connection, *, players: int) -> Sandbox:
    """The sandbox with so many players."""
    row = await (await conn.execute(SQL.ensure_sandbox, {"players": players})).fetchone()
    assert row is not None, "the function returns the sandbox"
    return Sandbox._make(row)


async def plant(conn: Connection, player_ids: Sequence[UUID], *, available: int) -> int:
    """Write the legacy balance of the sandbox's players behind the ledger's back, in minor units; of how many."""
    row = await (await conn.execute(SQL.plant, {"player_ids": list(player_ids), "available": available})).fetchone()
    assert row is not None, "the function returns a number"
    return int(row[0])


async def enforce(conn: Connection, *, is_enforced: bool) -> SandboxMode:
    """Make the ledger the sandbox's arbiter, or leave that to the levels below."""
    row = await (await conn.execute(SQL.enforce, {"is_enforced": is_enforced})).fetchone()
    assert row is not None, "there is a sandbox"
    return SandboxMode(arbiter=Arbiter(row[0]), epoch=row[1], shadow_write=row[2])


async def forget_deliveries(conn: Connection, provider: str) -> None:
    """Remove what was counted of the sandbox's provider."""
    await conn.execute(SQL.forget_deliveries, {"provider": provider})
