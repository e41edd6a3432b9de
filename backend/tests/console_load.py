"""A tenant with a long past, made by SQL in bulk, for looking at: not a sound ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from backend.tests import console_load_sql

Owner = AsyncConnection[TupleRow]

# Every table that grows with use; a page must never read one of them from end to end.
GROWING: Final = (
    "players",
    "wallet_balances",
    "ledger_transactions",
    "ledger_mismatches",
    "withdrawals",
    "deposits",
    "payout_attempts",
    "psp_events",
    "reconciliation_findings",
    "reconciliation_runs",
    "ledger_adjustments",
    "audit_events",
    "evidence_buckets",
    "evidence_subjects",
    "delivery_buckets",
    "monitor_decisions",
    "census_runs",
    "census_totals",
    "arbiter_changes",
    "rollout_holds",
    "backfill_runs",
    "backfill_requests",
    "backfill_errors",
    "psp_statement_items",
    "console_sessions",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much a tenant has. days: of the monitor's samples; rejects: players that each of fifty backfills refused."""

    players: int
    transactions: int
    withdrawals: int
    events: int
    statement_items: int
    audit_events: int
    findings: int
    runs: int
    adjustments: int
    days: int = 14
    rejects: int = 100


# Large enough for the planner to choose as it does in a large one, and small enough for a test.
TEST: Final = Scale(
    players=3_000,
    transactions=40_000,
    withdrawals=40_000,
    events=40_000,
    statement_items=4_000,
    audit_events=40_000,
    findings=30_000,
    runs=3_000,
    adjustments=3_000,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A loaded tenant, and somebody and something in it. no_approver: the address of somebody with many deeds, none
    of them an approval.
    """

    tenant_id: UUID
    player_id: UUID
    busiest_player_id: UUID
    withdrawal_id: UUID
    finding_id: UUID
    run_id: UUID
    adjustment_id: UUID
    event_id: UUID
    no_approver: str
    hold_id: UUID
    backfill_id: UUID


async def load(owner: Owner, tenant_id: UUID, scale: Scale) -> Load:
    """Fill a tenant; then the planner's statistics are fresh."""
    await _run(owner, console_load_sql.TENANT, {"tenant_id": tenant_id, "mark": uuid4().hex, **asdict(scale)})
    await _analyze(owner)
    cursor = await owner.execute(
        "SELECT player_id, id, "
        "(SELECT id FROM reconciliation_findings WHERE tenant_id = %(tenant_id)s AND status = 'OPEN' LIMIT 1), "
        "(SELECT id FROM reconciliation_runs WHERE tenant_id = %(tenant_id)s LIMIT 1), "
        "(SELECT id FROM ledger_adjustments WHERE tenant_id = %(tenant_id)s AND status = 'proposed' LIMIT 1), "
        "(SELECT id FROM psp_events WHERE tenant_id = %(tenant_id)s AND state = 'applied' LIMIT 1), "
        "(SELECT player_id FROM wallet_balances WHERE tenant_id = %(tenant_id)s ORDER BY version DESC LIMIT 1), "
        "(SELECT email FROM admins WHERE tenant_id = %(tenant_id)s AND role = 'recon'), "
        "(SELECT id FROM rollout_holds WHERE tenant_id = %(tenant_id)s LIMIT 1), "
        "(SELECT id FROM backfill_runs WHERE tenant_id = %(tenant_id)s LIMIT 1) "
        "FROM withdrawals WHERE tenant_id = %(tenant_id)s AND state = 'paid' LIMIT 1",
        {"tenant_id": tenant_id},
    )
    row = await cursor.fetchone()
    assert row is not None
    player_id, withdrawal_id, finding_id, run_id, adjustment_id, event_id, busiest_player_id, *others = row
    no_approver, hold_id, backfill_id = others
    return Load(
        tenant_id=tenant_id,
        player_id=player_id,
        busiest_player_id=busiest_player_id,
        withdrawal_id=withdrawal_id,
        finding_id=finding_id,
        run_id=run_id,
        adjustment_id=adjustment_id,
        event_id=event_id,
        no_approver=no_approver,
        hold_id=hold_id,
        backfill_id=backfill_id,
    )


async def load_fleet(owner: Owner, *, tenants: int) -> None:
    """So many more tenants with a little of everything; then the planner's statistics are fresh."""
    await _run(owner, console_load_sql.FLEET, {"tenants": tenants})
    await _analyze(owner)


async def _run(owner: Owner, statements: Sequence[str], values: Mapping[str, object]) -> None:
    for statement in statements:
        given = {name: value for name, value in values.items() if f"%({name})s" in statement}
        # Without parameters a percent sign stands for itself.
        await owner.execute(statement.encode(), given if given or "%%" in statement else None)


async def _analyze(owner: Owner) -> None:
    for table in GROWING:
        await owner.execute(f"ANALYZE {table}".encode())
