"""Players as people look at them: sql/player_desk.sql. Nothing is written here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.player_desk import FoundPlayer, MismatchSeen, MoneyMovement, StatementLine, TypeSum
from backend.app.domain.ledger import TransactionType
from backend.app.domain.player import Player
from backend.app.repositories.database import Connection

SQL = sql.load("player_desk")

_TYPES: Final = [each.value for each in TransactionType]


async def list_matching_ids(conn: Connection, tenant_id: UUID | None, *, text: str, limit: int) -> list[UUID]:
    """Players whose address or name begins with the text, or whose id elsewhere is the text."""
    pattern = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    # Planned anew each time: only a pattern that is known can be looked up in an index.
    cursor = await conn.execute(
        SQL.list_matching_ids,
        {
            "tenant_id": tenant_id,
            "email_pattern": pattern.lower(),
            "name_pattern": pattern,
            "external_id": text,
            "limit": limit,
        },
        prepare=False,
    )
    return [row[0] for row in await cursor.fetchall()]


async def list_newest_ids(
    conn: Connection, tenant_id: UUID | None, *, before_id: UUID | None, limit: int
) -> list[UUID]:
    """The newest players, from before one."""
    cursor = await conn.execute(
        SQL.list_newest_ids, {"tenant_id": tenant_id, "before_id": before_id, "limit": limit}, prepare=False
    )
    return [row[0] for row in await cursor.fetchall()]


async def list_players(conn: Connection, tenant_id: UUID | None, *, player_ids: Sequence[UUID]) -> list[FoundPlayer]:
    """The players with these ids, in the order of the ids, as far as they are in view."""
    cursor = await conn.execute(
        SQL.list_players, {"tenant_id": tenant_id, "player_ids": list(player_ids), "limit": len(player_ids)}
    )
    return [FoundPlayer(Player._make(row[:-1]), row[-1]) for row in await cursor.fetchall()]


async def list_statement(
    conn: Connection, tenant_id: UUID, *, player: Player, before_version: int | None, limit: int
) -> list[StatementLine]:
    """A page of a player's ledger, the latest first."""
    cursor = await conn.execute(
        SQL.list_statement,
        {
            "tenant_id": tenant_id,
            "player_id": player.id,
            "currency": player.currency,
            "before_version": before_version,
            "limit": limit,
        },
    )
    return [StatementLine._make(row) for row in await cursor.fetchall()]


async def list_type_sums(
    conn: Connection, tenant_id: UUID, *, player: Player, from_version: int, limit: int
) -> list[TypeSum]:
    """What the transactions after a wallet version add up to, by type, in the order in which types are declared."""
    cursor = await conn.execute(
        SQL.list_type_sums,
        {
            "tenant_id": tenant_id,
            "player_id": player.id,
            "currency": player.currency,
            "from_version": from_version,
            "types": _TYPES,
            "limit": limit,
        },
    )
    return [TypeSum._make(row) for row in await cursor.fetchall()]


async def find_after_image(
    conn: Connection, tenant_id: UUID, *, player: Player, wallet_version: int
) -> tuple[int, int] | None:
    """(available, pending) after a transaction."""
    cursor = await conn.execute(
        SQL.find_after_image,
        {
            "tenant_id": tenant_id,
            "player_id": player.id,
            "currency": player.currency,
            "wallet_version": wallet_version,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def list_movements(
    conn: Connection, tenant_id: UUID, *, player_id: UUID, before_at: datetime | None, limit: int
) -> list[MoneyMovement]:
    """A player's deposits and withdrawals, the latest first, from before a time."""
    cursor = await conn.execute(
        SQL.list_movements,
        {"tenant_id": tenant_id, "player_id": player_id, "before_at": before_at, "limit": limit},
    )
    return [MoneyMovement._make(row) for row in await cursor.fetchall()]


async def list_mismatches(conn: Connection, tenant_id: UUID, *, player_id: UUID) -> list[MismatchSeen]:
    """Where the player's two sides were seen to differ."""
    cursor = await conn.execute(SQL.list_mismatches, {"tenant_id": tenant_id, "player_id": player_id})
    return [MismatchSeen._make(row) for row in await cursor.fetchall()]
