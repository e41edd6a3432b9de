"""What differs between both sides: sql/reconciliation_find.sql, on the tables that matching has filled."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from backend.app import sql
from backend.app.repositories.database import Connection
from backend.app.repositories.reconciliation.reconciliation_match_repo import Scope

SQL = sql.load("reconciliation_find")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """From when on what is missing or open counts. missing_in_psp_before None: nothing counts as missing there.

    What is missing at the provider counts within the run's window and within what was covered before.
    from_day and until_day: the days whose sums are compared, the second one excluded.
    """

    missing_in_ledger_before: datetime
    missing_in_psp_before: datetime | None
    window_end: datetime
    covered_from: datetime | None
    covered_until: datetime | None
    stale_before: datetime
    orphan_before: datetime
    from_day: date
    until_day: date
    # Transactions before this one are of days before.
    balance_from: UUID


async def find_differences(conn: Connection, tenant_id: UUID, *, scope: Scope, judgement: Judgement) -> None:
    """Fill the table of what was found: pairs that differ, leftovers of both sides, and what is open for too long."""
    assert tenant_id == scope.tenant_id, "a run compares one tenant"
    parameters: dict[str, Any] = {
        **scope.parameters,
        "missing_in_ledger_before": judgement.missing_in_ledger_before,
        "missing_in_psp_before": judgement.missing_in_psp_before,
        "window_end": judgement.window_end,
        "covered_from": judgement.covered_from,
        "covered_until": judgement.covered_until,
        "stale_before": judgement.stale_before,
        "orphan_before": judgement.orphan_before,
    }
    for query in (
        SQL.find_pair_differences,
        SQL.find_repeated_lines,
        SQL.find_their_leftovers,
        SQL.find_our_leftovers,
        SQL.find_stale_attempts,
        SQL.find_orphans,
        SQL.find_invariants,
    ):
        await conn.execute(query, parameters, prepare=False)


async def find_drift(conn: Connection, tenant_id: UUID, *, scope: Scope, judgement: Judgement) -> None:
    """Write the sums of the days, and what they differ by beyond what was found."""
    assert tenant_id == scope.tenant_id, "a run compares one tenant"
    if judgement.from_day >= judgement.until_day:
        return
    parameters = {
        **scope.parameters,
        "from_day": judgement.from_day,
        "until_day": judgement.until_day,
        "ledger_from": judgement.balance_from,
    }
    await conn.execute(SQL.write_balances, parameters, prepare=False)
    await conn.execute(SQL.find_drift, parameters, prepare=False)
