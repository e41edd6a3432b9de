"""Imported players in PostgreSQL: a chunk goes in by COPY, is judged by sets, and becomes players in one statement."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import UUID

import psycopg

from backend.app import sql
from backend.app.domain.backfill.player_import import CurrencyTotal, Outcome, PlayerRow
from backend.app.repositories.database import Connection
from backend.app.repositories.faults import DatabaseUnsuitable

SQL = sql.load("player_import")

# Beside the ledger's namespaces (functions/ledger_post_v1.sql), presence's and the backfill's.
_LOCK_NAMESPACE: Final = 4711006


class ImportTenant(NamedTuple):
    """What an import needs to know of its tenant."""

    number: int
    base_currency: str


class JudgedRow(NamedTuple):
    """A row that is not a new player; `first_line` is set where it repeats an earlier line of the file."""

    line_number: int
    outcome: Outcome
    first_line: int | None


async def find_tenant(conn: Connection, tenant_id: UUID) -> ImportTenant | None:
    """The tenant, or None for an unknown one."""
    cursor = await conn.execute(SQL.find_tenant, {"tenant_id": tenant_id})
    row = await cursor.fetchone()
    return None if row is None else ImportTenant._make(row)


@asynccontextmanager
async def import_tables(conn: Connection) -> AsyncIterator[None]:
    """The temporary tables of one run, on a connection in autocommit. Raises DatabaseUnsuitable without the right."""
    await conn.execute(SQL.drop_tables)
    try:
        await conn.execute(SQL.create_tables, prepare=False)
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseUnsuitable(
            "the service's role may not make temporary tables. Let the database's owner run: "
            f"GRANT TEMPORARY ON DATABASE {conn.info.dbname} TO hakem_service"
        ) from error
    try:
        yield
    finally:
        if not conn.closed:
            await conn.execute(SQL.drop_tables)


async def forbid_writes(conn: Connection) -> None:
    """Make the transaction that has just begun unable to write to any table that stays."""
    await conn.execute(SQL.forbid_writes)


async def stage_chunk(conn: Connection, rows: Sequence[PlayerRow]) -> bool:
    """Take the rows in, in a transaction; whether each of them is the first of its player in the file so far."""
    async with conn.cursor() as cursor:
        async with cursor.copy(SQL.copy_chunk) as copy:
            for row in rows:
                await copy.write_row(row[:-1])
        await cursor.execute(SQL.claim_firsts)
        return cursor.rowcount == len(rows)


async def lock_imports(conn: Connection, tenant: ImportTenant) -> None:
    """Wait until no other import writes into the tenant; held until the transaction ends."""
    await conn.execute(SQL.lock_imports, {"namespace": _LOCK_NAMESPACE, "tenant_number": tenant.number})


async def judge_chunk(conn: Connection, tenant_id: UUID, *, has_repeats: bool, rows_max: int) -> list[JudgedRow]:
    """The staged rows that are not new players, in the order of the file."""
    await conn.execute(SQL.keep_to_unique_indexes)
    await conn.execute(SQL.judge_existing, {"tenant_id": tenant_id})
    if has_repeats:
        await conn.execute(SQL.judge_repeats)
    cursor = await conn.execute(SQL.list_outcomes, {"limit": rows_max})
    return [JudgedRow(line, Outcome(outcome), first) for line, outcome, first in await cursor.fetchall()]


async def total_new(conn: Connection) -> list[CurrencyTotal]:
    """The judged chunk's new players and their money, by currency."""
    cursor = await conn.execute(SQL.total_new)
    return [
        CurrencyTotal(currency, players, int(available), int(held))
        for currency, players, available, held in await cursor.fetchall()
    ]


async def insert_players(conn: Connection, tenant_id: UUID) -> int:
    """Write the judged chunk's new players; how many were written. Fewer than expected: somebody was faster."""
    cursor = await conn.execute(SQL.insert_players, {"tenant_id": tenant_id})
    return cursor.rowcount
