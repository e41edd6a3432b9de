"""Reading wallets: both sides, and a player's deposits and withdrawals."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg.rows import dict_row

from backend.app import sql
from backend.app.domain.ledger import Arbiter
from backend.app.repositories.database import Connection

SQL = sql.load("wallet")


class BothBalances(NamedTuple):
    """One player's two sides in minor units, in the order of the query's columns. ledger_* None: no wallet row."""

    currency: str
    is_active: bool
    arbiter: Arbiter
    legacy_available: int
    legacy_held: int
    ledger_available: int | None
    ledger_pending: int | None
    opened_at: datetime | None


async def find_balances(conn: Connection, tenant_id: UUID, *, player_id: UUID) -> BothBalances | None:
    """Both sides of a player, or None for an unknown one."""
    cursor = await conn.execute(SQL.find_balances, {"tenant_id": tenant_id, "player_id": player_id})
    row = await cursor.fetchone()
    return None if row is None else BothBalances._make(row)


async def list_player_money(
    conn: Connection, tenant_id: UUID, *, player_id: UUID, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """A page of a player's deposits and withdrawals, newest first, and how many there are."""
    key = {"tenant_id": tenant_id, "player_id": player_id}
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL.list_player_money, {**key, "limit": limit, "offset": offset})
        rows = await cursor.fetchall()
        await cursor.execute(SQL.count_player_money, key)
        total = await cursor.fetchone()
    assert total is not None, "a count returns a row"
    return rows, int(total["total"])
