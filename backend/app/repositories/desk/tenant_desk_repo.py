"""Tenants as an owner looks at them: sql/tenant_desk.sql. Nothing is written here."""

from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.tenant_desk import COUNTED_MAX, TenantSeen
from backend.app.repositories.database import Connection

SQL = sql.load("tenant_desk")


async def list_tenants(
    conn: Connection, tenant_id: UUID | None, *, limit: int, before_id: UUID | None = None
) -> list[TenantSeen]:
    """All tenants but the sandbox, newest first; or the one."""
    cursor = await conn.execute(
        SQL.list_tenants,
        {"tenant_id": tenant_id, "before_id": before_id, "limit": limit, "counted_max": COUNTED_MAX},
        prepare=False,
    )
    return [TenantSeen._make(row) for row in await cursor.fetchall()]
