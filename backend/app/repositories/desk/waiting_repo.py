"""What waits, read from PostgreSQL."""

from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.waiting import WaitingItem, WaitingQueue
from backend.app.repositories.database import Connection

SQL = sql.load("waiting")


async def list_items(conn: Connection, tenant_id: UUID | None, *, limit: int) -> list[WaitingItem]:
    """Payouts, deposits and provider events that are not finished, the longest waiting of each first; of all tenants
    when tenant_id is None, and then with events whose tenant is not known. At most `limit` of each kind.
    """
    items = []
    for query in (SQL.list_waiting_payouts, SQL.list_waiting_deposits, SQL.list_waiting_events):
        # Planned anew each time (prepare=False): with a tenant and without one are two different questions.
        cursor = await conn.execute(query, {"tenant_id": tenant_id, "limit": limit}, prepare=False)
        items += [WaitingItem._make(row) for row in await cursor.fetchall()]
    return items


async def list_queues(conn: Connection, tenant_id: UUID | None, *, limit: int) -> list[WaitingQueue]:
    """Withdrawals that wait for a person, counted; the queue with the oldest first."""
    cursor = await conn.execute(SQL.count_waiting_withdrawals, {"tenant_id": tenant_id, "limit": limit}, prepare=False)
    return [WaitingQueue._make(row) for row in await cursor.fetchall()]
