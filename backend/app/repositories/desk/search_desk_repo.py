"""What the search finds by ids and references: sql/search_desk.sql."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from psycopg.rows import TupleRow

from backend.app import sql
from backend.app.domain.desk.search_desk import Found, FoundKind
from backend.app.domain.payments.payout import AttemptName
from backend.app.repositories.database import Connection

SQL = sql.load("search_desk")

# Providers name their own things once; a name that many tenants' accounts share is cut off here.
LOOKED_AT_MAX: Final = 200


async def find_by_id(
    conn: Connection, tenant_id: UUID | None, *, id_: UUID, kinds: Collection[FoundKind], limit: int
) -> list[Found]:
    """What an id names in a tenant, or anywhere when it is None, in the order of the kinds."""
    cursor = await conn.execute(
        SQL.find_by_id, {"tenant_id": tenant_id, "id": id_, "kinds": _names(kinds), "limit": limit}
    )
    return [_found(row) for row in await cursor.fetchall()]


async def find_attempt(conn: Connection, tenant_id: UUID | None, *, name: AttemptName) -> list[Found]:
    """The attempt of a name, in a tenant, or anywhere when it is None; or none."""
    cursor = await conn.execute(
        SQL.find_attempt, {"tenant_id": tenant_id, "withdrawal_id": name.withdrawal_id, "number": name.number}
    )
    return [_found(row) for row in await cursor.fetchall()]


async def find_by_reference(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    reference: str,
    providers: Sequence[str],
    kinds: Collection[FoundKind],
    limit: int,
) -> list[Found]:
    """What a provider calls so, in a tenant, or anywhere when it is None, in the order of the kinds."""
    cursor = await conn.execute(
        SQL.find_by_reference,
        {
            "tenant_id": tenant_id,
            "reference": reference,
            "providers": list(providers),
            "kinds": _names(kinds),
            "looked_at_max": LOOKED_AT_MAX,
            "limit": limit,
        },
        # Planned anew: with a tenant and without one are two different questions.
        prepare=False,
    )
    return [_found(row) for row in await cursor.fetchall()]


def _names(kinds: Collection[FoundKind]) -> list[str]:
    return [kind.value for kind in FoundKind if kind in kinds]


def _found(row: TupleRow) -> Found:
    return Found(FoundKind(row[0]), *row[1:])
