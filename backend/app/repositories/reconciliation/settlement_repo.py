"""How settlement files are to be read, and which were compared: sql/settlement.sql."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories.database import Connection

SQL = sql.load("settlement")


class DeclaredMapping(NamedTuple):
    """A declaration as it was given, and since when it holds."""

    provider: str
    document: dict[str, Any]
    updated_at: datetime


async def find_mapping(conn: Connection, tenant_id: UUID, *, provider: str) -> DeclaredMapping | None:
    """What a tenant has declared for a provider."""
    cursor = await conn.execute(SQL.find_mapping, {"tenant_id": tenant_id, "provider": provider})
    row = await cursor.fetchone()
    return None if row is None else DeclaredMapping._make(row)


async def lock_mapping(conn: Connection, tenant_id: UUID, *, provider: str) -> DeclaredMapping | None:
    """The same, its row kept for this transaction."""
    cursor = await conn.execute(SQL.lock_mapping, {"tenant_id": tenant_id, "provider": provider})
    row = await cursor.fetchone()
    return None if row is None else DeclaredMapping._make(row)


async def list_mappings(conn: Connection, tenant_id: UUID, *, after_provider: str, limit: int) -> list[DeclaredMapping]:
    """What a tenant has declared, by provider, from after one."""
    cursor = await conn.execute(
        SQL.list_mappings, {"tenant_id": tenant_id, "after_provider": after_provider, "limit": limit}
    )
    return [DeclaredMapping._make(row) for row in await cursor.fetchall()]


async def save_mapping(
    conn: Connection, tenant_id: UUID, *, provider: str, document: Mapping[str, Any], now: datetime
) -> None:
    """Declare it, in the place of what was declared before. Raises InvalidTenant; the transaction is then lost."""
    try:
        await conn.execute(
            SQL.save_mapping,
            {"tenant_id": tenant_id, "provider": provider, "mapping": Jsonb(dict(document)), "now": now},
        )
    except psycopg.errors.ForeignKeyViolation:
        raise InvalidTenant from None


async def find_compared_file(
    conn: Connection,
    tenant_id: UUID,
    *,
    provider: str,
    sha256: str,
    mapping_sha256: str,
    window_start: datetime,
    window_end: datetime,
) -> UUID | None:
    """The last run that compared this file completely, read in this way and over this window."""
    cursor = await conn.execute(
        SQL.find_compared_file,
        {
            "tenant_id": tenant_id,
            "provider": provider,
            "digest": sha256,
            "mapping_digest": mapping_sha256,
            "window_start": window_start,
            "window_end": window_end,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))
