"""Withdrawals as a finance desk looks at them: sql/withdrawal_desk.sql. Nothing is written here."""

from collections.abc import Sequence
from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.withdrawal_desk import COUNTED_MAX, QUEUE_STATES, PersonName, QueueSum, WebhookSeen
from backend.app.domain.payments.finance import WithdrawalFilter
from backend.app.domain.withdrawal import WithdrawalState
from backend.app.repositories.database import Connection
from backend.app.repositories.payments.finance_repo import filter_parameters

SQL = sql.load("withdrawal_desk")


async def list_queues(conn: Connection, tenant_id: UUID | None) -> list[QueueSum]:
    """What waits, by state and currency, of a tenant or of all when it is None."""
    # Planned anew each time, as every query here whose tenant may be left open.
    cursor = await conn.execute(
        SQL.list_queues,
        {
            "tenant_id": tenant_id,
            "states": [state.value for state in QUEUE_STATES],
            "counted_max": COUNTED_MAX,
        },
        prepare=False,
    )
    sums = [QueueSum._make(row) for row in await cursor.fetchall()]
    return [each._replace(state=WithdrawalState(each.state)) for each in sums]


async def count_matching(conn: Connection, tenant_id: UUID | None, *, asked: WithdrawalFilter) -> int:
    """How many withdrawals match; COUNTED_MAX + 1 for any number above COUNTED_MAX."""
    parameters = {**filter_parameters(tenant_id, asked), "counted_max": COUNTED_MAX}
    row = await (await conn.execute(SQL.count_matching, parameters, prepare=False)).fetchone()
    assert row is not None, "a count returns a row"
    return int(row[0])


async def list_people(conn: Connection, tenant_id: UUID | None, *, player_ids: Sequence[UUID]) -> list[PersonName]:
    """Who these players are."""
    cursor = await conn.execute(
        SQL.list_people, {"tenant_id": tenant_id, "player_ids": list(player_ids), "limit": len(player_ids)}
    )
    return [PersonName._make(row) for row in await cursor.fetchall()]


async def list_webhooks(conn: Connection, tenant_id: UUID, *, tx_id: UUID, limit: int) -> list[WebhookSeen]:
    """What providers told us about a deposit or a withdrawal, the latest first."""
    cursor = await conn.execute(SQL.list_webhooks, {"tenant_id": tenant_id, "tx_id": tx_id, "limit": limit})
    return [WebhookSeen._make(row) for row in await cursor.fetchall()]
