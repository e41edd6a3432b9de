"""Flags in PostgreSQL: what they come to, and what is said about them."""

from datetime import datetime
from typing import Final
from uuid import UUID

from backend.app import sql
from backend.app.domain.audit import Actor
from backend.app.domain.rollout.flags import EffectiveFlag, Flag, FlagLevels, FlagSource
from backend.app.repositories.database import Connection
from backend.app.repositories.rollout.rollout_documents import actor_document

SQL = sql.load("flag")

OWN_VALUES_MAX: Final = 50_000
EXPIRED_MAX: Final = 100


async def list_effective(
    conn: Connection, tenant_id: UUID | None, *, provider: str | None = None
) -> list[EffectiveFlag]:
    """What each flag comes to for a tenant, for a provider, or for who has nothing of its own."""
    cursor = await conn.execute(SQL.list_effective, {"tenant_id": tenant_id, "provider": provider})
    return [EffectiveFlag(Flag(row[0]), row[1], FlagSource(row[2]), *row[3:]) for row in await cursor.fetchall()]


async def write(
    conn: Connection,
    flag: Flag,
    *,
    scope: str,
    holder: str,
    value: bool | None,
    expires_at: datetime | None,
    reason: str,
    actor: Actor,
) -> None:
    """Set or remove what is said about a flag, with its audit row. scope: global, provider or tenant."""
    await conn.execute(
        SQL.write_flag,
        {
            "flag": flag.value,
            "scope": scope,
            "holder": holder,
            "value": value,
            "expires_at": expires_at,
            "reason": reason,
            "actor": actor_document(actor),
        },
    )


async def write_tenant_shadow(
    conn: Connection,
    tenant_id: UUID,
    *,
    value: bool | None,
    expires_at: datetime | None,
    reason: str,
    actor: Actor,
) -> None:
    """Switch shadow writing of one tenant. Raises psycopg.errors.ObjectNotInPrerequisiteState where the ledger
    decides.
    """
    await conn.execute(
        SQL.write_tenant_shadow,
        {
            "tenant_id": tenant_id,
            "value": value,
            "expires_at": expires_at,
            "reason": reason,
            "actor": actor_document(actor),
        },
    )


async def list_refused(conn: Connection) -> list[str]:
    """Slugs of tenants that would be enforced while shadow writing is off, the first of them."""
    return [row[0] for row in await (await conn.execute(SQL.list_refused)).fetchall()]


async def find_levels(conn: Connection, flag: Flag) -> FlagLevels:
    """What is said about a flag at the levels that bind everybody."""
    row = await (await conn.execute(SQL.find_levels, {"flag": flag.value})).fetchone()
    assert row is not None, "every flag has its row"
    return FlagLevels(default_value=row[0], is_killed=row[1], global_value=row[2], environment_value=row[3])


async def list_levels(conn: Connection) -> dict[Flag, bool]:
    """Every flag as it is for who has nothing of its own."""
    return {Flag(flag): value for flag, value in await (await conn.execute(SQL.list_levels)).fetchall()}


async def list_own_values(conn: Connection) -> dict[tuple[Flag, str], bool]:
    """What tenants and providers have of their own, by flag and holder."""
    cursor = await conn.execute(SQL.list_own_values, {"limit": OWN_VALUES_MAX})
    return {(Flag(flag), holder): value for flag, holder, value in await cursor.fetchall()}


async def list_expired(conn: Connection) -> list[tuple[Flag, UUID, datetime]]:
    """Tenants' own values of the ledger's flags whose time has come."""
    cursor = await conn.execute(SQL.list_expired, {"limit": EXPIRED_MAX})
    return [(Flag(flag), tenant_id, expires_at) for flag, tenant_id, expires_at in await cursor.fetchall()]
