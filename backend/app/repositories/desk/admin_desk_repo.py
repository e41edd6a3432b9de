"""Admins as those look at them who manage them: sql/admin_desk.sql. Nothing is written here."""

from typing import Final
from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.admin_desk import OpenSession, Person
from backend.app.domain.people.console_session import IDLE_TIMEOUT, LIFETIME
from backend.app.repositories.database import Connection

SQL = sql.load("admin_desk")

_LIMITS: Final = {"idle_timeout": IDLE_TIMEOUT, "lifetime": LIFETIME}


async def list_people(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    limit: int,
    before_id: UUID | None = None,
    admin_id: UUID | None = None,
) -> list[Person]:
    """Admins of a tenant, or of everywhere when it is None, newest first; with admin_id, that one."""
    # Planned anew each time, as every query here whose tenant may be left open.
    cursor = await conn.execute(
        SQL.list_people,
        {"tenant_id": tenant_id, "admin_id": admin_id, "before_id": before_id, "limit": limit, **_LIMITS},
        prepare=False,
    )
    return [Person._make(row) for row in await cursor.fetchall()]


async def list_sessions(
    conn: Connection, tenant_id: UUID | None, *, admin_id: UUID, own_token_hash: bytes, limit: int
) -> list[OpenSession]:
    """An admin's sessions at the console that are good, the latest first."""
    cursor = await conn.execute(
        SQL.list_sessions,
        {"tenant_id": tenant_id, "admin_id": admin_id, "own_token_hash": own_token_hash, "limit": limit, **_LIMITS},
        prepare=False,
    )
    return [OpenSession._make(row) for row in await cursor.fetchall()]
