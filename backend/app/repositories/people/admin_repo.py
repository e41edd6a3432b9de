"""Admins in PostgreSQL."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import psycopg

from backend.app import sql
from backend.app.domain.identity import Role
from backend.app.domain.people.admin import Admin, AdminExists, ChangeAdmin
from backend.app.domain.people.console_session import IDLE_TIMEOUT, LIFETIME
from backend.app.domain.people.sign_in import Credentials
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories.database import Connection

SQL = sql.load("admin")


class Identified(NamedTuple):
    """The active admin behind a token, in the order of the query's columns."""

    email: str
    role: Role
    tenant_id: UUID | None
    asked_tenant_exists: bool


async def identify(
    conn: Connection, *, admin_id: UUID, issued_at: datetime | None, asked_tenant_id: UUID | None
) -> Identified | None:
    """The admin a token stands for, or None when one is no longer good; and whether the tenant it asks for exists."""
    cursor = await conn.execute(
        SQL.identify_admin, {"admin_id": admin_id, "issued_at": issued_at, "asked_tenant_id": asked_tenant_id}
    )
    row = await cursor.fetchone()
    return None if row is None else Identified._make(row)


async def find_credentials(conn: Connection, *, email: str) -> Credentials | None:
    """What signing in needs to know of the admin with an address."""
    row = await (await conn.execute(SQL.find_credentials, {"email": email})).fetchone()
    return None if row is None else Credentials._make(row)


async def insert(
    conn: Connection, tenant_id: UUID | None, *, email: str, password_hash: str, role: Role, is_active: bool
) -> Admin:
    """Write a new admin. Raises AdminExists; InvalidTenant, after which the transaction is good for nothing."""
    try:
        cursor = await conn.execute(
            SQL.insert_admin,
            {
                "tenant_id": tenant_id,
                "email": email,
                "password_hash": password_hash,
                "role": role.value,
                "is_active": is_active,
            },
        )
    except psycopg.errors.ForeignKeyViolation as error:
        if error.diag.constraint_name != "admins_tenant_fkey":
            raise
        raise InvalidTenant from None
    row = await cursor.fetchone()
    if row is None:
        raise AdminExists
    return Admin._make(row)


async def lock_owners(conn: Connection) -> tuple[UUID, ...]:
    """Two active owners, or as many as there are, kept active for this transaction. Take before any other admin."""
    return tuple(row[0] for row in await (await conn.execute(SQL.lock_two_owners)).fetchall())


async def lock(conn: Connection, tenant_id: UUID | None, *, admin_id: UUID) -> Admin | None:
    """An admin of the tenant, or of anywhere when it is None, kept for this transaction."""
    row = await (await conn.execute(SQL.lock_admin, {"tenant_id": tenant_id, "admin_id": admin_id})).fetchone()
    return None if row is None else Admin._make(row)


async def update(
    conn: Connection, tenant_id: UUID | None, *, admin_id: UUID, change: ChangeAdmin, password_hash: str | None
) -> Admin:
    """Write what is to change of a locked admin. Raises AdminExists; the transaction is then good for nothing."""
    try:
        cursor = await conn.execute(
            SQL.update_admin,
            {
                "tenant_id": tenant_id,
                "admin_id": admin_id,
                "email": change.email,
                "password_hash": password_hash,
                "role": None if change.role is None else change.role.value,
                "is_active": change.is_active,
            },
        )
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "admins_email_key":
            raise
        raise AdminExists from None
    row = await cursor.fetchone()
    assert row is not None, "the row is locked, so it is there"
    return Admin._make(row)


async def end_sessions(conn: Connection, tenant_id: UUID | None, *, admin_id: UUID) -> int:
    """End every console session of a locked admin; how many were good."""
    cursor = await conn.execute(
        SQL.end_sessions,
        {"tenant_id": tenant_id, "admin_id": admin_id, "idle_timeout": IDLE_TIMEOUT, "lifetime": LIFETIME},
    )
    row = await cursor.fetchone()
    assert row is not None, "a count returns a row"
    return int(row[0])


async def note_sign_in(conn: Connection, *, admin_id: UUID) -> None:
    """Keep that the admin's password was right just now."""
    await conn.execute(SQL.note_sign_in, {"admin_id": admin_id})


async def upgrade_hash(conn: Connection, *, admin_id: UUID, outdated_hash: str, password_hash: str) -> None:
    """Replace a hash made with weaker parameters, unless the password was changed meanwhile."""
    await conn.execute(
        SQL.upgrade_password_hash,
        {"admin_id": admin_id, "outdated_hash": outdated_hash, "password_hash": password_hash},
    )


async def list_page(conn: Connection, tenant_id: UUID | None, *, limit: int, offset: int) -> tuple[list[Admin], int]:
    """A page of the admins of a tenant, or of everywhere when it is None, newest first; and how many there are."""
    page = {"tenant_id": tenant_id, "limit": limit, "offset": offset}
    rows = await (await conn.execute(SQL.list_admins, page, prepare=False)).fetchall()
    total = await (await conn.execute(SQL.count_admins, {"tenant_id": tenant_id}, prepare=False)).fetchone()
    assert total is not None, "a count returns a row"
    return [Admin._make(row) for row in rows], int(total[0])
