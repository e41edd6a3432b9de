"""What the demo needs the owner's rights for. Call it with a connection of the owner, in dev only.

Money in the demo comes in by the one door like everybody's, so its rows carry the time at which the demo was made. A
history has to lie in the past, so afterwards, and only here, the owner of the database rewrites WHEN something was;
what happened, to whom and with how much money is left as the door wrote it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app import sql
from backend.app.repositories.database import Connection

SQL = sql.load("demo")

# Beside the ledger's namespaces (functions/ledger_post_v1.sql), presence's, the backfill's and the import's.
_LOCK_NAMESPACE: Final = 4711900


class Piece(NamedTuple):
    """A piece of time: [real_from, real_to) is to have been [past_from, past_to)."""

    real_from: datetime
    real_to: datetime
    past_from: datetime
    past_to: datetime


class HistoryState(NamedTuple):
    """How far a tenant's history is."""

    is_written: bool
    is_begun: bool


async def lock_seeding(conn: Connection) -> None:
    """Wait for whoever is seeding; held until the connection ends."""
    await conn.execute(SQL.lock_seeding, {"namespace": _LOCK_NAMESPACE})


async def find_history(conn: Connection, tenant_id: UUID) -> HistoryState:
    """Whether the tenant's history is there, whole or in part."""
    row = await (await conn.execute(SQL.find_history, {"tenant_id": tenant_id})).fetchone()
    assert row is not None, "it answers with one row"
    return HistoryState._make(row)


async def change_legacy_balance(conn: Connection, tenant_id: UUID, *, player_id: UUID, change_minor: int) -> None:
    """Write the legacy column past the ledger, as another system would."""
    await conn.execute(
        SQL.change_legacy_balance, {"tenant_id": tenant_id, "player_id": player_id, "change_minor": change_minor}
    )


async def resolve_findings(
    conn: Connection, tenant_id: UUID, *, admin_id: UUID, note: str, keep: int
) -> list[tuple[UUID, str]]:
    """Close findings but for the last `keep` that are not critical; (id, type) of those that were closed."""
    cursor = await conn.execute(
        SQL.resolve_findings, {"tenant_id": tenant_id, "admin_id": admin_id, "note": note, "keep": keep}
    )
    return [(UUID(str(finding_id)), str(finding_type)) for finding_id, finding_type in await cursor.fetchall()]


async def forget_webhooks(conn: Connection, account_ids: Sequence[str]) -> None:
    """MockPSP does not send any more what it has not sent yet."""
    await conn.execute(SQL.forget_webhooks, {"account_ids": list(account_ids)})


async def count_webhooks_under_way(conn: Connection, account_ids: Sequence[str]) -> int:
    """How many webhooks are due or not applied yet."""
    row = await (await conn.execute(SQL.count_webhooks_under_way, {"account_ids": list(account_ids)})).fetchone()
    assert row is not None, "a count returns a row"
    return int(row[0])


async def move_into_the_past(
    conn: Connection, tenant_ids: Sequence[UUID], *, account_ids: Sequence[str], pieces: Sequence[Piece]
) -> None:
    """Rewrite the times of everything that these tenants have, by the pieces, and note that their history is there.

    One transaction: whoever else looks sees the tables append-only all the time, and the history whole or not at all.
    """
    whose = {"tenant_ids": list(tenant_ids), "account_ids": list(account_ids)}
    async with conn.transaction():
        await conn.execute(SQL.create_clock)
        await conn.execute(
            SQL.set_clock,
            {
                "real_froms": [piece.real_from for piece in pieces],
                "real_tos": [piece.real_to for piece in pieces],
                "past_froms": [piece.past_from for piece in pieces],
                "past_tos": [piece.past_to for piece in pieces],
            },
        )
        await conn.execute(SQL.allow_changes)
        for query in (
            SQL.move_people,
            SQL.note_sign_ins,
            SQL.move_ledger,
            SQL.move_payments,
            SQL.move_runs,
            SQL.move_provider,
            SQL.note_history,
        ):
            await conn.execute(query, whose)
        await conn.execute(SQL.refuse_changes)
