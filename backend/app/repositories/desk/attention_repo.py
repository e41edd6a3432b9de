"""What needs attention: sql/attention.sql. Nothing is written here."""

from datetime import datetime
from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.attention import ATTENTION_MAX, LastCensus, OpenCount
from backend.app.repositories.database import Connection

SQL = sql.load("attention")


async def list_open_counts(
    conn: Connection, tenant_id: UUID | None, *, waiting_since: datetime, seen_since: datetime
) -> list[OpenCount]:
    """What is open, by kind. waiting_since: deposits from before it wait long; seen_since: mismatches since then."""
    cursor = await conn.execute(
        SQL.list_open_counts,
        {
            "tenant_id": tenant_id,
            "waiting_since": waiting_since,
            "seen_since": seen_since,
            "counted_max": ATTENTION_MAX,
        },
        prepare=False,
    )
    return [OpenCount._make(row) for row in await cursor.fetchall()]


async def list_last_censuses(conn: Connection, tenant_id: UUID | None, *, limit: int) -> list[LastCensus]:
    """The newest finished census of each tenant in view, the most urgent first."""
    cursor = await conn.execute(SQL.list_last_censuses, {"tenant_id": tenant_id, "limit": limit}, prepare=False)
    return [LastCensus._make(row) for row in await cursor.fetchall()]
