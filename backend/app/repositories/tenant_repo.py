"""Tenants in PostgreSQL."""

from uuid import UUID

import psycopg

from backend.app import sql
from backend.app.domain.tenant import CreateTenant, PspAccount, Tenant, TenantExists
from backend.app.repositories.database import Connection

SQL = sql.load("tenant")


async def insert(conn: Connection, command: CreateTenant) -> UUID:
    """Write a new tenant; its id. Raises TenantExists, after which the transaction is good for nothing."""
    try:
        cursor = await conn.execute(
            SQL.insert_tenant,
            {"name": command.name, "slug": command.slug, "base_currency": command.base_currency},
        )
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "tenants_slug_key":
            raise
        raise TenantExists(f"there is a tenant with the slug {command.slug}") from None
    row = await cursor.fetchone()
    assert row is not None, "an insert returns its row"
    return UUID(str(row[0]))


async def insert_psp_account(conn: Connection, tenant_id: UUID, account: PspAccount) -> None:
    """Write an account of the tenant at a provider."""
    await conn.execute(
        SQL.insert_psp_account,
        {"tenant_id": tenant_id, "provider": account.provider, "account_id": account.account_id},
    )


async def find_base_currency(conn: Connection, tenant_id: UUID) -> str | None:
    """The currency of the tenant's players unless they ask for another; None for an unknown tenant."""
    row = await (await conn.execute(SQL.find_base_currency, {"tenant_id": tenant_id})).fetchone()
    return None if row is None else str(row[0])


async def find_id(conn: Connection, *, slug: str) -> UUID | None:
    """The tenant with a slug."""
    row = await (await conn.execute(SQL.find_tenant_id, {"slug": slug})).fetchone()
    return None if row is None else UUID(str(row[0]))


async def lock_name(conn: Connection, tenant_id: UUID) -> str | None:
    """The tenant's name, its row kept for this transaction; None for an unknown tenant."""
    row = await (await conn.execute(SQL.lock_tenant, {"tenant_id": tenant_id})).fetchone()
    return None if row is None else str(row[0])


async def rename(conn: Connection, tenant_id: UUID, *, name: str) -> None:
    """Give the tenant another name."""
    await conn.execute(SQL.rename_tenant, {"tenant_id": tenant_id, "name": name})


async def list_page(conn: Connection, tenant_id: UUID | None, *, limit: int, offset: int) -> tuple[list[Tenant], int]:
    """A page of all tenants, or the one tenant, newest first; and how many there are."""
    page = {"tenant_id": tenant_id, "limit": limit, "offset": offset}
    rows = await (await conn.execute(SQL.list_tenants, page, prepare=False)).fetchall()
    total = await (await conn.execute(SQL.count_tenants, {"tenant_id": tenant_id}, prepare=False)).fetchone()
    assert total is not None, "a count returns a row"
    tenants = [
        Tenant(
            id=id_,
            slug=slug,
            name=name,
            base_currency=base_currency,
            ledger_enforce_override=override,
            psp_accounts=tuple(map(PspAccount._make, zip(providers, account_ids, strict=True))),
            created_at=created_at,
            updated_at=updated_at,
        )
        for id_, slug, name, base_currency, override, providers, account_ids, created_at, updated_at in rows
    ]
    return tenants, int(total[0])
