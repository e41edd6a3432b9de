"""Withdrawals as finance looks for them, and the keys under which something was done to them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.payments.finance import Deed, FinanceWithdrawal, Position, Sort, WithdrawalFilter
from backend.app.domain.withdrawal import WithdrawalState
from backend.app.repositories.database import Connection

SQL = sql.load("withdrawal")

_IDS_BY_SORT: Final[Mapping[Sort, bytes]] = {
    Sort.NEWEST: SQL.list_newest_ids,
    Sort.OLDEST: SQL.list_oldest_ids,
    Sort.LARGEST: SQL.list_largest_ids,
    Sort.SMALLEST: SQL.list_smallest_ids,
}


class DeedKey(NamedTuple):
    """What was done under a key. answered None: the process that did it died before it answered."""

    request_hash: bytes
    withdrawal_id: UUID
    answered: FinanceWithdrawal | None


async def find(conn: Connection, tenant_id: UUID | None, *, withdrawal_id: UUID) -> FinanceWithdrawal | None:
    """A withdrawal of the tenant, or of any when it is None."""
    cursor = await conn.execute(SQL.find_withdrawal, {"tenant_id": tenant_id, "withdrawal_id": withdrawal_id})
    row = await cursor.fetchone()
    return None if row is None else _withdrawal(row)


async def list_page(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    asked: WithdrawalFilter,
    sort: Sort,
    after: Position | None,
    limit: int,
    offset: int,
) -> list[FinanceWithdrawal]:
    """A page of the withdrawals of a tenant, or of everywhere when it is None, from after a position."""
    position = after or Position(None, None, None)  # type: ignore[arg-type]  # no position: from the beginning
    last = {"last_at": position.last_at} if not sort.is_by_amount else {"last_amount": position.last_amount}
    # Planned anew each time (prepare=False): which filters are given decides which index serves.
    cursor = await conn.execute(
        _IDS_BY_SORT[sort],
        {**filter_parameters(tenant_id, asked), **last, "last_id": position.last_id, "limit": limit, "offset": offset},
        prepare=False,
    )
    ids = [row[0] for row in await cursor.fetchall()]
    return await list_by_id(conn, tenant_id, withdrawal_ids=ids)


async def list_by_id(
    conn: Connection, tenant_id: UUID | None, *, withdrawal_ids: Sequence[UUID]
) -> list[FinanceWithdrawal]:
    """The withdrawals with these ids that are the tenant's, or anybody's when it is None, in the order of the ids."""
    cursor = await conn.execute(
        SQL.list_withdrawals,
        {"tenant_id": tenant_id, "withdrawal_ids": list(withdrawal_ids), "limit": len(withdrawal_ids)},
    )
    return [_withdrawal(row) for row in await cursor.fetchall()]


async def count(conn: Connection, tenant_id: UUID | None, *, asked: WithdrawalFilter) -> int:
    """How many withdrawals match in all."""
    cursor = await conn.execute(SQL.count_withdrawals, filter_parameters(tenant_id, asked), prepare=False)
    row = await cursor.fetchone()
    assert row is not None, "a count returns a row"
    return int(row[0])


async def list_ledger(conn: Connection, tenant_id: UUID, *, withdrawal_id: UUID, limit: int) -> list[dict[str, Any]]:
    """The ledger's transactions for a withdrawal, in order."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL.list_ledger, {"tenant_id": tenant_id, "withdrawal_id": withdrawal_id, "limit": limit})
        return await cursor.fetchall()


async def find_deed_key(conn: Connection, tenant_id: UUID, *, player_id: UUID, deed: Deed) -> DeedKey | None:
    """What was done under the deed's key; None when nothing was, or the deed has none."""
    if deed.idempotency_key is None:
        return None
    row = await (await conn.execute(SQL.find_deed_key, _key(tenant_id, player_id, deed))).fetchone()
    if row is None:
        return None
    return DeedKey(bytes(row[0]), row[1], None if row[2] is None else _withdrawal(row[2:]))


async def insert_deed_key(conn: Connection, tenant_id: UUID, *, player_id: UUID, deed: Deed) -> bool:
    """Keep the key with the deed; False when another deed has taken it meanwhile. Without a key: True."""
    if deed.idempotency_key is None:
        return True
    cursor = await conn.execute(
        SQL.insert_deed_key,
        {
            **_key(tenant_id, player_id, deed),
            "request_hash": deed.request_hash,
            "withdrawal_id": deed.withdrawal_id,
        },
    )
    return await cursor.fetchone() is not None


async def keep_answer(conn: Connection, tenant_id: UUID, *, player_id: UUID, deed: Deed) -> None:
    """Keep the withdrawal as it is now as the answer to a deed, unless it has one. Without a key: nothing."""
    if deed.idempotency_key is not None:
        await conn.execute(SQL.keep_answer, _key(tenant_id, player_id, deed))


def _key(tenant_id: UUID, player_id: UUID, deed: Deed) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "player_id": player_id,
        "operation": deed.operation,
        "idempotency_key": deed.idempotency_key,
    }


def filter_parameters(tenant_id: UUID | None, asked: WithdrawalFilter) -> dict[str, object]:
    """What withdrawal_matching_v1 takes, for every query that calls it."""
    least, greatest = asked.least_amounts, asked.greatest_amounts
    return {
        "tenant_id": tenant_id,
        "asked_tenant_id": asked.tenant_id,
        "state": None if asked.state is None else asked.state.value,
        "player_id": asked.player_id,
        "method": asked.method,
        "currency": asked.currency,
        "least_amount": None if least is None else min(least.values()),
        "greatest_amount": None if greatest is None else max(greatest.values()),
        "least_amounts": None if least is None else Jsonb(least),
        "greatest_amounts": None if greatest is None else Jsonb(greatest),
        "date_from": asked.date_from,
        "date_to": asked.date_to,
    }


def _withdrawal(row: Sequence[Any]) -> FinanceWithdrawal:
    withdrawal = FinanceWithdrawal._make(row)
    return withdrawal._replace(state=WithdrawalState(withdrawal.state))
