"""Sessions of the console in PostgreSQL, by the hash of the browser's token. All times are the database's own."""

from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.people.console_session import IDLE_TIMEOUT, LIFETIME, NOTE_ACTIVITY_EVERY, Flash, SessionRow
from backend.app.repositories.database import Connection

SQL = sql.load("console_session")

_LIMITS: Final = {"idle_timeout": IDLE_TIMEOUT, "lifetime": LIFETIME}


async def insert(conn: Connection, *, token_hash: bytes, admin_id: UUID, checked_at: datetime) -> bool:
    """Open a session; False when the account was disabled or got another password after `checked_at`."""
    cursor = await conn.execute(
        SQL.insert_session, {"token_hash": token_hash, "admin_id": admin_id, "checked_at": checked_at}
    )
    return await cursor.fetchone() is not None


async def find(conn: Connection, *, token_hash: bytes, is_activity: bool) -> SessionRow | None:
    """A session that is good now; with is_activity it stays good for the length of the idle timeout."""
    cursor = await conn.execute(
        SQL.find_session,
        {"token_hash": token_hash, "is_activity": is_activity, "note_every": NOTE_ACTIVITY_EVERY, **_LIMITS},
    )
    row = await cursor.fetchone()
    return None if row is None else SessionRow._make(row)


async def delete(conn: Connection, *, token_hash: bytes) -> None:
    """End a session."""
    await conn.execute(SQL.delete_session, {"token_hash": token_hash})


async def set_scope(conn: Connection, tenant_id: UUID | None, *, token_hash: bytes) -> bool:
    """Choose the tenant of an owner's session, None for all. False: no such tenant, or not an owner's session."""
    cursor = await conn.execute(SQL.set_scope, {"token_hash": token_hash, "tenant_id": tenant_id})
    return await cursor.fetchone() is not None


async def set_flash(conn: Connection, flash: Flash | None, *, token_hash: bytes) -> None:
    """Keep what the next page has to say, or that it was said."""
    await conn.execute(SQL.set_flash, {"token_hash": token_hash, "flash": None if flash is None else Jsonb(flash)})


async def sweep(conn: Connection, *, limit: int) -> int:
    """Remove up to `limit` sessions that are over; how many there were."""
    return (await conn.execute(SQL.sweep_sessions, {"idle_timeout": IDLE_TIMEOUT, "limit": limit})).rowcount
