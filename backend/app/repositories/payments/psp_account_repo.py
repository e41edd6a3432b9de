"""Accounts at payment providers in PostgreSQL."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import psycopg

from backend.app import sql
from backend.app.domain.payments.psp_account import AccountKey, PspAccountExists, SignedAccount
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories.database import Connection

SQL = sql.load("psp_account")


class Candidate(NamedTuple):
    """An account that a delivery may be for. is_named: the delivery says so."""

    account_id: str
    tenant_id: UUID
    secret_name: str | None
    is_named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Whether a provider's deliveries must be signed, and for whom one may be."""

    is_enforced: bool
    accounts: tuple[Candidate, ...]


class SecretUse(NamedTuple):
    """A secret (None: the shared one) that an account of a provider is signed with."""

    provider: str
    secret_name: str | None
    account_id: str


async def list_signed(conn: Connection, keys: Collection[AccountKey]) -> dict[AccountKey, SignedAccount]:
    """Those of the accounts that exist: whose they are, and what they are signed with."""
    cursor = await conn.execute(
        SQL.list_named_accounts,
        {
            "providers": [key.provider for key in keys],
            "account_ids": [key.account_id for key in keys],
            "limit": len(keys),
        },
    )
    accounts = [SignedAccount._make(row) for row in await cursor.fetchall()]
    return {AccountKey(account.provider, account.account_id): account for account in accounts}


async def find_signed(conn: Connection, *, provider: str, account_id: str) -> SignedAccount | None:
    """An account: whose it is, and what it is signed with."""
    key = AccountKey(provider, account_id)
    return (await list_signed(conn, [key])).get(key)


async def find_tenant(conn: Connection, *, provider: str, account_id: str) -> UUID | None:
    """Whose account it is."""
    account = await find_signed(conn, provider=provider, account_id=account_id)
    return None if account is None else account.tenant_id


async def list_candidates(
    conn: Connection, *, provider: str, account_ids: Sequence[str], is_named_only: bool, limit: int
) -> Candidates:
    """The accounts of these ids or, if there are none and others may do, one for each secret; at most `limit`."""
    cursor = await conn.execute(
        SQL.list_candidates,
        {
            "provider": provider,
            "account_ids": list(account_ids),
            "is_named_only": is_named_only,
            "limit": limit,
        },
    )
    rows = await cursor.fetchall()
    return Candidates(
        is_enforced=bool(rows[0][0]),
        accounts=tuple(Candidate._make(row[1:]) for row in rows if row[1] is not None),
    )


async def insert(conn: Connection, tenant_id: UUID, *, key: AccountKey, secret_name: str | None) -> None:
    """Write an account. Raises PspAccountExists or InvalidTenant; the transaction is then good for nothing."""
    try:
        await conn.execute(
            SQL.insert_account,
            {
                "tenant_id": tenant_id,
                "provider": key.provider,
                "account_id": key.account_id,
                "webhook_secret_name": secret_name,
            },
        )
    except psycopg.errors.UniqueViolation:
        raise PspAccountExists(f"{key.account_id} at {key.provider} belongs to a tenant already") from None
    except psycopg.errors.ForeignKeyViolation:
        raise InvalidTenant from None


async def lock(conn: Connection, *, key: AccountKey) -> SignedAccount | None:
    """An account, its row kept for this transaction."""
    cursor = await conn.execute(SQL.lock_account, {"provider": key.provider, "account_id": key.account_id})
    row = await cursor.fetchone()
    return None if row is None else SignedAccount(*key, tenant_id=row[0], secret_name=row[1])


async def set_secret_name(conn: Connection, *, key: AccountKey, secret_name: str | None) -> None:
    """Name the secret that an account is signed with."""
    await conn.execute(
        SQL.set_secret_name,
        {"provider": key.provider, "account_id": key.account_id, "webhook_secret_name": secret_name},
    )


async def list_page(conn: Connection, tenant_id: UUID | None, *, after: AccountKey, limit: int) -> list[SignedAccount]:
    """Accounts of a tenant, or of all when it is None, from after a key."""
    cursor = await conn.execute(
        SQL.list_accounts,
        {
            "tenant_id": tenant_id,
            "after_provider": after.provider,
            "after_account_id": after.account_id,
            "limit": limit,
        },
    )
    return [SignedAccount._make(row) for row in await cursor.fetchall()]


async def list_secret_names(conn: Connection, *, limit: int) -> list[SecretUse]:
    """The secrets in use where deliveries must be signed, each with one account that uses it."""
    cursor = await conn.execute(SQL.list_secret_names, {"limit": limit})
    return [
        SecretUse(provider=provider, secret_name=secret_name, account_id=account_id)
        for provider, secret_name, account_id in await cursor.fetchall()
    ]
