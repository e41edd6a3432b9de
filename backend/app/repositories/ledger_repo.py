"""The ledger's one door, seen from Python; and reading what stands behind it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg.rows import TupleRow, dict_row

from backend.app import sql
from backend.app.domain.ledger import LedgerEvent, PostResult, TransactionType
from backend.app.domain.mismatch import Mismatch
from backend.app.repositories.database import Connection

SQL = sql.load("ledger")

# The door's own limit (functions/ledger_post_v1.sql).
EVENTS_MAX = 1000


async def append_event(conn: Connection, event: LedgerEvent) -> PostResult:
    """Post one event: a batch of one. Idempotent by the client's key and by the provider's event id."""
    return (await post(conn, [event]))[0]


async def post(conn: Connection, events: Sequence[LedgerEvent]) -> list[PostResult]:
    """Post events through the one door; one result per event, in order. At most EVENTS_MAX.

    A refusal is a result, not an exception: on a connection in autocommit it is committed when this returns.
    """
    if not events:
        return []
    cursor = await conn.execute(
        SQL.post_events,
        {
            "tenant_ids": [event.tenant_id for event in events],
            "player_ids": [event.player_id for event in events],
            "currencies": [event.money.currency for event in events],
            "types": [event.type.value for event in events],
            "amounts": [event.money.amount_minor for event in events],
            "idempotency_keys": [event.idempotency_key for event in events],
            "request_hashes": [event.request_hash for event in events],
            "reference_ids": _column(events, "reference"),
            "providers": _column(events, "provider"),
            "provider_refs": _column(events, "provider_ref"),
            "provider_event_ids": _column(events, "provider_event_id"),
            "debit_accounts": _column(events, "debit_account"),
            "credit_accounts": _column(events, "credit_account"),
            "journal_ids": _column(events, "journal_id"),
            "occurred_ats": _column(events, "occurred_at"),
            "by_player": [event.is_by_player for event in events],
        },
    )
    return results_in_order(await cursor.fetchall())


def results_in_order(rows: Sequence[TupleRow]) -> list[PostResult]:
    """The door's rows as results, in the order of the events: it answers replays last."""
    results = [PostResult._make(row) for row in rows]
    if any(result.is_replay for result in results):
        results.sort(key=lambda result: result.event_no)
    return results


async def is_answered(
    conn: Connection, tenant_id: UUID, *, player_id: UUID, transaction_type: TransactionType, idempotency_key: str
) -> bool:
    """Whether the door has given an answer to the key, a refusal included."""
    cursor = await conn.execute(
        SQL.is_answered,
        {
            "tenant_id": tenant_id,
            "player_id": player_id,
            "type": transaction_type.value,
            "idempotency_key": idempotency_key,
        },
    )
    return await cursor.fetchone() == (True,)


async def open_wallets(conn: Connection, tenant_id: UUID, *, player_ids: Sequence[UUID]) -> int:
    """Open these players' wallets from their legacy balances; how many were opened now. Call inside a transaction."""
    cursor = await conn.execute(SQL.open_wallets, {"tenant_id": tenant_id, "player_ids": list(player_ids)})
    row = await cursor.fetchone()
    assert row is not None, "a function returns a row"
    return int(row[0])


async def list_player_transactions(
    conn: Connection,
    tenant_id: UUID,
    *,
    player_id: UUID,
    currency: str,
    after_version: int,
    limit: int,
    offset: int,
) -> list[dict[str, Any]]:
    """A page of a player's ledger, oldest first."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            SQL.list_player_transactions,
            {
                "tenant_id": tenant_id,
                "player_id": player_id,
                "currency": currency,
                "after_version": after_version,
                "limit": limit,
                "offset": offset,
            },
        )
        return await cursor.fetchall()


async def count_player_transactions(conn: Connection, tenant_id: UUID, *, player_id: UUID, currency: str) -> int:
    """How many transactions a player's ledger has."""
    cursor = await conn.execute(
        SQL.count_player_transactions, {"tenant_id": tenant_id, "player_id": player_id, "currency": currency}
    )
    row = await cursor.fetchone()
    assert row is not None, "an aggregate returns a row"
    return int(row[0])


async def record_mismatches(conn: Connection, mismatches: Sequence[Mismatch]) -> None:
    """Keep evidence of differences: one row per wallet and class."""
    newest = {(each.tenant_id, each.player_id, each.currency, each.mismatch_class): each for each in mismatches}
    rows = list(newest.values())
    await conn.execute(
        SQL.record_mismatches,
        {
            "tenant_ids": [row.tenant_id for row in rows],
            "player_ids": [row.player_id for row in rows],
            "currencies": [row.currency for row in rows],
            "classes": [row.mismatch_class.value for row in rows],
            "legacy_available": [row.legacy_available for row in rows],
            "legacy_held": [row.legacy_held for row in rows],
            "ledger_available": [row.ledger_available for row in rows],
            "ledger_pending": [row.ledger_pending for row in rows],
            "arbiters": [row.arbiter.value for row in rows],
        },
    )


def _column(events: Sequence[LedgerEvent], name: str) -> list[Any] | None:
    """An optional attribute of every event; None, which the door reads as all NULL, when no event has it."""
    values = [getattr(event, name) for event in events]
    return values if any(value is not None for value in values) else None
