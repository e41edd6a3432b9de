"""Players in PostgreSQL."""

from uuid import UUID

import psycopg

from backend.app import sql
from backend.app.domain.people.sign_in import Credentials
from backend.app.domain.player import CreatePlayer, KycStatus, Player, PlayerExists, PlayerFilter
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories.database import Connection

SQL = sql.load("player")


async def find_credentials(conn: Connection, tenant_id: UUID, *, email: str) -> Credentials | None:
    """What signing in needs to know of the player with an address."""
    row = await (await conn.execute(SQL.find_credentials, {"tenant_id": tenant_id, "email": email})).fetchone()
    return None if row is None else Credentials._make(row)


async def upgrade_hash(
    conn: Connection, tenant_id: UUID, *, player_id: UUID, outdated_hash: str, password_hash: str
) -> None:
    """Replace a hash made with weaker parameters, unless the password was changed meanwhile."""
    await conn.execute(
        SQL.upgrade_password_hash,
        {
            "tenant_id": tenant_id,
            "player_id": player_id,
            "outdated_hash": outdated_hash,
            "password_hash": password_hash,
        },
    )


async def insert(conn: Connection, tenant_id: UUID, *, command: CreatePlayer, password_hash: str | None) -> UUID:
    """Write a new player; its id. Raises PlayerExists; or InvalidTenant: the transaction is then good for nothing."""
    legacy = command.legacy_balances
    try:
        cursor = await conn.execute(
            SQL.insert_player,
            {
                "tenant_id": tenant_id,
                "email": command.email,
                "username": command.username,
                "password_hash": password_hash,
                "currency": command.currency,
                "kyc_status": command.kyc_status.value,
                "available": legacy.available_minor if legacy else 0,
                "held": legacy.held_minor if legacy else 0,
            },
        )
    except psycopg.errors.ForeignKeyViolation as error:
        if error.diag.constraint_name != "players_tenant_fkey":
            raise
        raise InvalidTenant from None
    row = await cursor.fetchone()
    if row is None:
        raise PlayerExists
    return UUID(str(row[0]))


async def lock_kyc_status(conn: Connection, tenant_id: UUID | None, *, player_id: UUID) -> KycStatus | None:
    """The status of a player of the tenant, or of anywhere when it is None, kept for this transaction."""
    cursor = await conn.execute(SQL.lock_kyc_status, {"tenant_id": tenant_id, "player_id": player_id})
    row = await cursor.fetchone()
    return None if row is None else KycStatus(row[0])


async def update_kyc_status(
    conn: Connection, tenant_id: UUID | None, *, player_id: UUID, kyc_status: KycStatus
) -> UUID:
    """Set the status of a locked player; the player's tenant."""
    cursor = await conn.execute(
        SQL.update_kyc_status,
        {"tenant_id": tenant_id, "player_id": player_id, "kyc_status": kyc_status.value},
    )
    row = await cursor.fetchone()
    assert row is not None, "the row is locked, so it is there"
    return UUID(str(row[0]))


async def find(conn: Connection, tenant_id: UUID | None, *, player_id: UUID) -> Player | None:
    """A player of the tenant, or of anywhere when it is None, with both sides."""
    row = await (await conn.execute(SQL.find_player, {"tenant_id": tenant_id, "player_id": player_id})).fetchone()
    return None if row is None else Player._make(row)


async def list_page(
    conn: Connection, tenant_id: UUID | None, *, asked: PlayerFilter, before_id: UUID | None, limit: int, offset: int
) -> tuple[list[Player], int]:
    """A page of the players of a tenant, or of everywhere when it is None, newest first; and how many match in all."""
    filters = {
        "tenant_id": tenant_id,
        "asked_tenant_id": asked.tenant_id,
        "email": asked.email,
        "kyc_status": None if asked.kyc_status is None else asked.kyc_status.value,
    }
    # Planned anew each time (prepare=False): which filters are given decides which index serves.
    page = {**filters, "before_id": before_id, "limit": limit, "offset": offset}
    rows = await (await conn.execute(SQL.list_players, page, prepare=False)).fetchall()
    total = await (await conn.execute(SQL.count_players, filters, prepare=False)).fetchone()
    assert total is not None, "a count returns a row"
    return [Player._make(row) for row in rows], int(total[0])
