"""Runs of the census and what they found: sql/census_run.sql."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.backfill.census import (
    FIRST_PLAYER_ID,
    PLACES_PER_CLASS,
    CensusReport,
    CensusRun,
    CensusTotal,
    ClassCount,
    Difference,
    DifferenceClass,
    HouseAccount,
)
from backend.app.repositories.database import Connection

SQL = sql.load("census_run")

# Beside the ledger's (functions/ledger_post_v1.sql) and those of the other repositories.
LOCK_NAMESPACE: Final = 4711006
TENANTS_PER_PAGE: Final = 500


class RunKey(NamedTuple):
    """A run, and the number of its lock."""

    id: UUID
    number: int


class TenantMetrics(NamedTuple):
    """What is known of a tenant from its past runs."""

    tenant_id: UUID
    clean_at: datetime | None
    differences: Mapping[str, int]


async def find_unfinished(conn: Connection, tenant_id: UUID, *, is_scheduled: bool, within: timedelta) -> RunKey | None:
    """The newest run of this kind that was not finished and went on lately."""
    row = await (
        await conn.execute(
            SQL.find_unfinished_run,
            {"tenant_id": tenant_id, "is_scheduled": is_scheduled, "within": within},
        )
    ).fetchone()
    return None if row is None else RunKey._make(row)


async def insert(conn: Connection, tenant_id: UUID, *, is_scheduled: bool, started_by: str) -> RunKey:
    """Begin a run."""
    row = await (
        await conn.execute(
            SQL.insert_run,
            {"tenant_id": tenant_id, "is_scheduled": is_scheduled, "started_by": started_by},
        )
    ).fetchone()
    assert row is not None, "an insert returns its row"
    return RunKey._make(row)


async def try_lock(conn: Connection, run: RunKey) -> bool:
    """Make the run this connection's until `unlock` or its end; False when another one works on it."""
    row = await (await conn.execute(SQL.try_lock_run, {"namespace": LOCK_NAMESPACE, "number": run.number})).fetchone()
    return row is not None and bool(row[0])


async def unlock(conn: Connection, run: RunKey) -> None:
    """Give the run back."""
    await conn.execute(SQL.unlock_run, {"namespace": LOCK_NAMESPACE, "number": run.number})


async def abandon_others(conn: Connection, tenant_id: UUID, *, run_id: UUID, is_scheduled: bool) -> None:
    """End the runs of this kind that nobody works on, but for one."""
    await conn.execute(
        SQL.abandon_runs,
        {
            "tenant_id": tenant_id,
            "run_id": run_id,
            "is_scheduled": is_scheduled,
            "namespace": LOCK_NAMESPACE,
        },
    )


async def get(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> CensusRun:
    """A run that exists."""
    row = await (await conn.execute(SQL.find_run, {"tenant_id": tenant_id, "run_id": run_id})).fetchone()
    assert row is not None, f"no run {run_id} of tenant {tenant_id}"
    return CensusRun._make(row)


async def note_resume(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> None:
    """Count that the run was taken up again."""
    await conn.execute(SQL.resume_run, {"tenant_id": tenant_id, "run_id": run_id})


async def advance(
    conn: Connection,
    tenant_id: UUID,
    *,
    run: CensusRun,
    next_player_id: UUID,
    sides_compared: bool,
    unconfirmed: int,
    paused_ms: int,
) -> bool:
    """Move the checkpoint; False when it is not where `run` says, because the run is somebody else's by now."""
    row = await (
        await conn.execute(
            SQL.advance_run,
            {
                "tenant_id": tenant_id,
                "run_id": run.id,
                "chunks": run.chunks,
                "next_player_id": next_player_id,
                "sides_compared": sides_compared,
                "unconfirmed": unconfirmed,
                "paused_ms": paused_ms,
            },
        )
    ).fetchone()
    return row is not None


async def add_sums(
    conn: Connection,
    tenant_id: UUID,
    *,
    run_id: UUID,
    totals: Sequence[Mapping[str, Any]],
    accounts: Sequence[Mapping[str, Any]],
) -> None:
    """Add a chunk's sums to the run's."""
    key = {"tenant_id": tenant_id, "run_id": run_id}
    await conn.execute(SQL.add_totals, {**key, "totals": Jsonb(list(totals))})
    await conn.execute(SQL.add_accounts, {**key, "accounts": Jsonb(list(accounts))})


async def add_differences(
    conn: Connection,
    tenant_id: UUID,
    *,
    run_id: UUID,
    counts: Sequence[ClassCount],
    differences: Sequence[Difference],
) -> None:
    """Count differences, and keep those that are given as far as their class has places."""
    key = {"tenant_id": tenant_id, "run_id": run_id}
    classes = [
        {
            "class": count.difference_class.value,
            "differences": count.differences,
            "amount": count.amount_minor,
        }
        for count in counts
    ]
    await conn.execute(SQL.add_classes, {**key, "classes": Jsonb(classes)})
    kept = [
        {
            "class": each.difference_class.value,
            "player_id": None if each.player_id is None else str(each.player_id),
            "currency": each.currency,
            "wallet_version": each.wallet_version,
            "reference": None if each.reference is None else str(each.reference),
            "amount": each.amount_minor,
            "evidence": each.evidence,
        }
        for each in differences
    ]
    await conn.execute(SQL.insert_differences, {**key, "differences": Jsonb(kept), "places": PLACES_PER_CLASS})


async def list_zero_sums(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> list[Difference]:
    """The currencies whose players and house do not add up to nothing, by what the run has read."""
    cursor = await conn.execute(SQL.list_zero_sums, {"tenant_id": tenant_id, "run_id": run_id})
    return [
        Difference(
            difference_class=DifferenceClass.ZERO_SUM,
            player_id=None,
            currency=currency,
            wallet_version=None,
            reference=None,
            amount_minor=abs(int(players + house)),
            evidence={"players": int(players), "house": int(house)},
        )
        for currency, players, house in await cursor.fetchall()
    ]


async def finish(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> None:
    """End the run; what it counted is its verdict."""
    await conn.execute(SQL.finish_run, {"tenant_id": tenant_id, "run_id": run_id})


async def read_report(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> CensusReport:
    """All that is kept of a run."""
    key = {"tenant_id": tenant_id, "run_id": run_id}
    totals = await (await conn.execute(SQL.list_totals, key)).fetchall()
    accounts = await (await conn.execute(SQL.list_accounts, key)).fetchall()
    counts = await (await conn.execute(SQL.list_classes, key)).fetchall()
    return CensusReport(
        run=await get(conn, tenant_id, run_id=run_id),
        totals=[CensusTotal(row[0], *map(int, row[1:])) for row in totals],
        accounts=[HouseAccount(currency, account, int(balance)) for currency, account, balance in accounts],
        counts=[
            ClassCount(difference_class=DifferenceClass(name), differences=differences, amount_minor=int(amount))
            for name, differences, amount in counts
        ],
        differences=await list_kept(conn, tenant_id, run_id=run_id),
    )


async def list_kept(conn: Connection, tenant_id: UUID, *, run_id: UUID) -> list[Difference]:
    """The differences that the run names, by class and place."""
    cursor = await conn.execute(
        SQL.list_differences,
        {"tenant_id": tenant_id, "run_id": run_id, "limit": PLACES_PER_CLASS * len(DifferenceClass)},
    )
    return [
        Difference(
            difference_class=DifferenceClass(name),
            place=place,
            player_id=player_id,
            currency=currency,
            wallet_version=wallet_version,
            reference=reference,
            amount_minor=int(amount),
            evidence=evidence,
        )
        for name, place, player_id, currency, wallet_version, reference, amount, evidence in await cursor.fetchall()
    ]


async def list_due_tenant_ids(conn: Connection, *, started_before: datetime, limit: int) -> list[UUID]:
    """Tenants without a finished run since a time, the longest waiting first."""
    cursor = await conn.execute(SQL.list_due_tenants, {"started_before": started_before, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def delete_old(conn: Connection, *, started_before: datetime) -> int:
    """Remove old runs that a newer one has made unimportant; how many."""
    return (await conn.execute(SQL.delete_old_runs, {"started_before": started_before})).rowcount


async def list_metrics(conn: Connection) -> list[TenantMetrics]:
    """What every tenant's past runs say."""
    metrics: list[TenantMetrics] = []
    while True:
        after_id = metrics[-1].tenant_id if metrics else FIRST_PLAYER_ID
        cursor = await conn.execute(SQL.list_metrics, {"after_id": after_id, "limit": TENANTS_PER_PAGE})
        page = [TenantMetrics._make(row) for row in await cursor.fetchall()]
        metrics += page
        if len(page) < TENANTS_PER_PAGE:
            return metrics
