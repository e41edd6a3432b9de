"""Backfill in PostgreSQL: its runs, its chunks, and the plan of one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from backend.app import sql
from backend.app.domain.audit import Actor
from backend.app.domain.backfill.backfill import (
    BackfillCounts,
    NotedPlayer,
    Outcome,
    OutcomeTotal,
    RunMode,
    RunState,
    TenantToFill,
)
from backend.app.domain.ledger import Arbiter
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.domain.pace import Load
from backend.app.repositories.database import Connection

SQL = sql.load("backfill")

# Beside the ledger's namespaces (functions/ledger_post_v1.sql).
LOCK_NAMESPACE: Final = 4711005
_CURRENCIES: Final = " ".join(sorted(CURRENCY_EXPONENTS))
TENANTS_PAGE: Final = 200

# A row that the database will not take: the wallet's own fault, not the moment's.
SPOILED: Final = (psycopg.DataError, psycopg.IntegrityError)
LIMIT_REACHED: Final = psycopg.errors.ConfigurationLimitExceeded


class LatestRun(NamedTuple):
    """A tenant's latest run, in the order of the query's columns."""

    id: UUID
    mode: RunMode
    state: RunState
    arbiter: Arbiter
    epoch: int
    lease_token: int
    players_total: int
    forced_max: int
    runner: str


class Lease(NamedTuple):
    """A run that is this process's: what every later call names."""

    run_id: UUID
    token: int
    players_total: int


class Chunk(NamedTuple):
    """What a chunk came to: its code, the phase that the run is in now, and the run's counters."""

    code: str
    phase: str
    counts: BackfillCounts


class PlanPage(NamedTuple):
    """Players of a plan, by outcome and currency; `last_id` is where the next page begins."""

    totals: tuple[OutcomeTotal, ...]
    last_id: UUID


async def list_tenants(conn: Connection, tenant_id: UUID | None, *, after_id: UUID | None) -> list[TenantToFill]:
    """A page of the tenants to backfill, by id; only one when it is named, none when it does not exist."""
    cursor = await conn.execute(SQL.list_tenants, {"tenant_id": tenant_id, "after_id": after_id, "limit": TENANTS_PAGE})
    return [
        TenantToFill(tenant, slug, number, Arbiter(arbiter), epoch, is_writable)
        for tenant, slug, number, arbiter, epoch, is_writable in await cursor.fetchall()
    ]


async def count_players(conn: Connection, tenant_id: UUID | None) -> int:
    """How many players the tenant has, or all tenants together."""
    return int((await _one(conn, SQL.count_players, {"tenant_id": tenant_id}))[0])


async def try_lock(conn: Connection, tenant: TenantToFill) -> bool:
    """Take the tenant's backfill for the life of this session; False while another session has it."""
    key = {"namespace": LOCK_NAMESPACE, "tenant_number": tenant.number}
    return bool((await _one(conn, SQL.try_lock_tenant, key))[0])


async def unlock(conn: Connection, tenant: TenantToFill) -> None:
    """Give it back."""
    await conn.execute(SQL.unlock_tenant, {"namespace": LOCK_NAMESPACE, "tenant_number": tenant.number})


async def find_latest_run(conn: Connection, tenant_id: UUID) -> LatestRun | None:
    """The tenant's latest run, or None before the first."""
    row = await (await conn.execute(SQL.find_latest_run, {"tenant_id": tenant_id})).fetchone()
    if row is None:
        return None
    run_id, mode, state, arbiter, *rest = row
    return LatestRun(run_id, RunMode(mode), RunState(state), Arbiter(arbiter), *rest)


async def abandon_run(conn: Connection, tenant_id: UUID) -> None:
    """Close a run that says it is running. Call under the tenant's lock, when its process must be gone."""
    await conn.execute(SQL.abandon_run, {"tenant_id": tenant_id})


async def insert_run(
    conn: Connection,
    tenant_id: UUID,
    *,
    mode: RunMode,
    reason: str | None,
    actor: Actor,
    runner: str,
    batch_size: int,
    forced_max: int,
    arbiter: Arbiter,
    epoch: int,
) -> Lease:
    """Begin a run of the players that the tenant has now."""
    row = await _one(
        conn,
        SQL.insert_run,
        {
            "tenant_id": tenant_id,
            "mode": mode.value,
            "reason": reason,
            "actor_kind": actor.kind.value,
            "actor_id": actor.actor_id,
            "actor_label": actor.label,
            "runner": runner,
            "batch_size": batch_size,
            "rows_max": forced_max,
            "arbiter": arbiter.value,
            "epoch": epoch,
        },
    )
    return Lease._make(row)


async def take_over_run(conn: Connection, tenant_id: UUID, *, run_id: UUID, runner: str, batch_size: int) -> Lease:
    """Go on with a run that another process left; what that process still sends is refused from now on."""
    row = await _one(
        conn,
        SQL.take_over_run,
        {"tenant_id": tenant_id, "run_id": run_id, "runner": runner, "batch_size": batch_size},
    )
    return Lease._make(row)


@asynccontextmanager
async def committing_later(conn: Connection) -> AsyncIterator[None]:
    """Within the block commits of this session do not wait for the disk: for chunks, which a crash may take back."""
    await conn.execute(SQL.commit_later)
    try:
        yield
    finally:
        if not conn.closed:
            await conn.execute(SQL.commit_at_once)


async def work_chunk(
    conn: Connection,
    lease: Lease,
    *,
    rows: int,
    rows_per_second: int,
    error_code: Outcome | None = None,
    error_detail: str | None = None,
) -> Chunk:
    """Work the next players of the run in one transaction; with an error code, note the one next player as that.

    Raises SPOILED, LIMIT_REACHED or what group_commit.ROLLED_BACK lists: then nothing has happened.
    """
    row = await _one(
        conn,
        SQL.work_chunk,
        {
            "run_id": lease.run_id,
            "lease_token": lease.token,
            "rows": rows,
            "currencies": _CURRENCIES,
            "rows_per_second": rows_per_second,
            "error_code": error_code,
            "error_detail": error_detail,
        },
    )
    code, phase, scanned, created, skipped_exists, updated_forced, errors, differing, unexplained_holds = row
    counts = BackfillCounts(
        scanned=scanned or 0,
        created=created or 0,
        skipped_exists=skipped_exists or 0,
        updated_forced=updated_forced or 0,
        errors=errors or 0,
        differing=differing or 0,
        unexplained_holds=unexplained_holds or 0,
    )
    return Chunk(code, phase, counts)


async def note_throttle(conn: Connection, tenant_id: UUID, *, lease: Lease, throttled_by: str | None) -> None:
    """Say in the run's row why it is slow now."""
    await conn.execute(
        SQL.note_throttle,
        {
            "tenant_id": tenant_id,
            "run_id": lease.run_id,
            "lease_token": lease.token,
            "throttled_by": throttled_by,
        },
    )


async def end_run(conn: Connection, tenant_id: UUID, *, lease: Lease, state: RunState, error: str | None) -> bool:
    """End the run; False when it is no longer this process's."""
    cursor = await conn.execute(
        SQL.end_run,
        {
            "tenant_id": tenant_id,
            "run_id": lease.run_id,
            "lease_token": lease.token,
            "state": state.value,
            "error": error,
        },
    )
    return cursor.rowcount == 1


async def find_outcome(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> tuple[dict[str, int], dict[str, Any]]:
    """A run's errors by code, and by currency what it opened: players, and minor units available and held."""
    error_counts, money = await _one(conn, SQL.find_outcome, {"tenant_id": tenant_id, "run_id": run_id})
    return error_counts, money


async def list_errors(conn: Connection, tenant_id: UUID, *, run_id: UUID, limit: int) -> list[NotedPlayer]:
    """The first players that a run could not take or saw differ."""
    cursor = await conn.execute(SQL.list_errors, {"tenant_id": tenant_id, "run_id": run_id, "limit": limit})
    return [NotedPlayer._make(row) for row in await cursor.fetchall()]


@asynccontextmanager
async def one_moment(conn: Connection) -> AsyncIterator[None]:
    """A transaction that sees one moment of the database and can write nothing."""
    async with conn.transaction():
        await conn.execute(SQL.begin_plan, prepare=False)
        yield


async def plan_page(
    conn: Connection, tenant_id: UUID, *, after_id: UUID | None, rows: int, arbiter: Arbiter, is_forced: bool
) -> PlanPage | None:
    """What a run would make of the tenant's next players; None after the last."""
    cursor = await conn.execute(
        SQL.plan_page,
        {
            "tenant_id": tenant_id,
            "after_id": after_id,
            "rows": rows,
            "currencies": _CURRENCIES,
            "arbiter": arbiter.value,
            "is_forced": is_forced,
        },
    )
    found = await cursor.fetchall()
    if not found:
        return None
    return PlanPage(
        tuple(
            OutcomeTotal(Outcome(outcome), currency, players, int(available), int(held))
            for outcome, currency, players, available, held, _ in found
        ),
        found[0][-1],
    )


async def list_largest(
    conn: Connection,
    tenant_id: UUID,
    *,
    after_id: UUID | None,
    rows: int,
    arbiter: Arbiter,
    is_forced: bool,
    outcomes: Sequence[Outcome],
    limit: int,
) -> list[NotedPlayer]:
    """Of the same page of a plan the players with these outcomes, the largest difference first."""
    cursor = await conn.execute(
        SQL.list_largest,
        {
            "tenant_id": tenant_id,
            "after_id": after_id,
            "rows": rows,
            "currencies": _CURRENCIES,
            "arbiter": arbiter.value,
            "is_forced": is_forced,
            "outcomes": [outcome.value for outcome in outcomes],
            "limit": limit,
        },
    )
    return [NotedPlayer._make(row) for row in await cursor.fetchall()]


async def read_load(conn: Connection, *, own_pids: Sequence[int]) -> Load:
    """How busy the database is with others than these sessions."""
    return Load._make(await _one(conn, SQL.read_load, {"own_pids": list(own_pids)}))


async def _one(conn: Connection, query: bytes, parameters: dict[str, Any]) -> TupleRow:
    row = await (await conn.execute(query, parameters)).fetchone()
    assert row is not None, "the query always returns a row"
    return row
