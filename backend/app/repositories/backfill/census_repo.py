"""Reading and judging for the census: sql/census.sql. Shares nothing with what writes the ledger."""

from typing import Any, Final
from uuid import UUID

from backend.app import sql
from backend.app.domain.backfill.census import (
    FIRST_PLAYER_ID,
    LAST_PLAYER_ID,
    SAMPLES_PER_CHUNK,
    Chunk,
    ClassCount,
    Difference,
    DifferenceClass,
    Load,
)
from backend.app.repositories.database import Connection

SQL = sql.load("census")

TENANTS_PER_PAGE: Final = 500


async def tenant_exists(conn: Connection, tenant_id: UUID) -> bool:
    """Whether there is such a tenant."""
    return await (await conn.execute(SQL.find_tenant, {"tenant_id": tenant_id})).fetchone() is not None


async def list_tenant_ids(conn: Connection) -> list[UUID]:
    """All tenants, in the order of their ids."""
    tenant_ids: list[UUID] = []
    while True:
        after_id = tenant_ids[-1] if tenant_ids else FIRST_PLAYER_ID
        cursor = await conn.execute(SQL.list_tenants, {"after_id": after_id, "limit": TENANTS_PER_PAGE})
        page = [row[0] for row in await cursor.fetchall()]
        tenant_ids += page
        if len(page) < TENANTS_PER_PAGE:
            return tenant_ids


async def keep_to_ranges(conn: Connection, *, timeout_seconds: float) -> None:
    """Prepare the transaction that has just begun for `read_chunk`."""
    await conn.execute(SQL.keep_to_ranges, {"timeout_ms": round(timeout_seconds * 1000)})


async def find_chunk_end(conn: Connection, tenant_id: UUID, *, first_id: UUID, players: int) -> UUID:
    """The last id of a range that begins with `first_id` and has so many players; the largest of all ids at the end."""
    cursor = await conn.execute(
        SQL.find_chunk_end, {"tenant_id": tenant_id, "first_id": first_id, "players_before": players - 1}
    )
    row = await cursor.fetchone()
    return LAST_PLAYER_ID if row is None else UUID(str(row[0]))


async def read_chunk(conn: Connection, tenant_id: UUID, *, first_id: UUID, last_id: UUID) -> Chunk:
    """Judge everything of the tenant in a range of player ids, both ends included, as of one moment."""
    # Planned anew each time (prepare=False): how much there is in a range differs from range to range.
    cursor = await conn.execute(
        SQL.read_chunk,
        {"tenant_id": tenant_id, "first_id": first_id, "last_id": last_id, "samples": SAMPLES_PER_CHUNK},
        prepare=False,
    )
    row = await cursor.fetchone()
    assert row is not None, "a statement without FROM returns a row"
    sides_compared, totals, accounts, classes = row
    return Chunk(
        sides_compared=sides_compared,
        totals=totals,
        accounts=accounts,
        counts=[
            ClassCount(
                difference_class=DifferenceClass(each["class"]),
                differences=each["differences"],
                amount_minor=each["amount"],
            )
            for each in classes
        ],
        samples=[_difference(DifferenceClass(each["class"]), sample) for each in classes for sample in each["samples"]],
    )


async def find_evidence(conn: Connection, tenant_id: UUID, difference: Difference) -> dict[str, Any]:
    """What a person needs to see of the wallet, and of the row where one is meant."""
    cursor = await conn.execute(
        SQL.find_evidence,
        {
            "tenant_id": tenant_id,
            "player_id": difference.player_id,
            "currency": difference.currency,
            "wallet_version": difference.wallet_version,
        },
        prepare=False,
    )
    row = await cursor.fetchone()
    assert row is not None, "a statement without FROM returns a row"
    return {key: value for key, value in row[0].items() if value is not None}


async def observe_load(conn: Connection) -> Load:
    """What else goes on in this database."""
    row = await (await conn.execute(SQL.observe_load)).fetchone()
    assert row is not None, "an aggregate returns a row"
    return Load._make(row)


def _difference(difference_class: DifferenceClass, sample: dict[str, Any]) -> Difference:
    player_id, reference = sample["player_id"], sample["reference"]
    return Difference(
        difference_class=difference_class,
        player_id=None if player_id is None else UUID(player_id),
        currency=sample["currency"],
        wallet_version=sample["wallet_version"],
        reference=None if reference is None else UUID(reference),
        amount_minor=sample["amount"],
        evidence=sample["evidence"],
    )
