"""Which line of a statement is which transaction of ours: sql/reconciliation_match.sql, in one transaction.

The queries work on temporary tables of that transaction; they are planned anew each time, because what is in them
differs from a handful to a million rows.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app import sql
from backend.app.repositories.database import Connection

SQL = sql.load("reconciliation_match")

ANALYZE_THEIRS: Final = b"ANALYZE their_items"
ANALYZE_OURS: Final = b"ANALYZE our_items"
ANALYZE_PAIRS: Final = b"ANALYZE item_pairs"


class Compared(NamedTuple):
    """How much of either side was looked at, how many pairs each rule made, and when, on the database's clock."""

    their_items: int
    our_items: int
    rules: dict[str, int]
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one run compares. ledger_from: transactions with a later id are new to it.

    complete_until None: the feed is not complete, and what it does not list may still be there.
    """

    tenant_id: UUID
    provider: str
    run_id: UUID
    account_ids: tuple[str, ...]
    window_start: datetime
    complete_until: datetime | None
    ledger_from: UUID
    is_full: bool
    now: datetime

    @property
    def parameters(self) -> dict[str, Any]:
        """As the queries take them."""
        return {
            "tenant_id": self.tenant_id,
            "provider": self.provider,
            "run_id": self.run_id,
            "account_ids": list(self.account_ids),
            "window_start": self.window_start,
            "complete_until": self.complete_until,
            "ledger_from": self.ledger_from,
            "is_full": self.is_full,
            "now": self.now,
        }


async def be_patient(conn: Connection, tenant_id: UUID) -> None:  # noqa: ARG001 - the rule of repositories
    """Give the transaction that has just begun the time and memory that a first run needs."""
    await conn.execute(SQL.be_patient)


async def count_lines(conn: Connection, run_id: UUID) -> int:
    """How many lines are staged for a run."""
    row = await (await conn.execute(SQL.count_lines, {"run_id": run_id})).fetchone()
    assert row is not None, "a count is a row"
    return int(row[0])


async def refresh_statistics(conn: Connection, *, of_items: bool) -> None:
    """Let the planner know what was staged, or what a run has added to the items; outside any transaction, because it
    takes a lock until the end of one.
    """
    await conn.execute(SQL.refresh_statistics, {"of_items": of_items})


async def match(conn: Connection, tenant_id: UUID, scope: Scope) -> Compared:
    """Take both sides in, find the pairs, and keep what was learnt; what differs is then to be found."""
    assert tenant_id == scope.tenant_id, "a run compares one tenant"
    parameters = scope.parameters

    async def run(query: bytes) -> None:
        await conn.execute(query, parameters, prepare=False)

    # Several commands in one text go without parameters only.
    await conn.execute(SQL.make_tables, prepare=False)
    await run(SQL.change_items)
    if scope.complete_until is not None:
        await run(SQL.let_items_go)
    if scope.is_full:
        await run(SQL.unmatch_untrue)
    await run(SQL.take_new_items)
    await run(SQL.take_old_items)
    await conn.execute(ANALYZE_THEIRS, prepare=False)
    await run(SQL.take_new_transactions)
    await run(SQL.take_released_transactions)
    await run(SQL.take_old_transactions)
    await conn.execute(ANALYZE_OURS, prepare=False)
    await run(SQL.pair_again)
    await run(SQL.pair_by_event)
    await conn.execute(ANALYZE_PAIRS, prepare=False)
    await run(SQL.pair_by_provider_ref)
    await conn.execute(ANALYZE_PAIRS, prepare=False)
    await run(SQL.pair_by_reference)
    await conn.execute(ANALYZE_PAIRS, prepare=False)
    await run(SQL.store_new_items)
    waiting = await (await conn.execute(SQL.count_waiting, prepare=False)).fetchone()
    assert waiting is not None, "a count is a row"
    # Not only to save time: of a table that was filled a moment ago the planner knows nothing.
    if waiting[0]:
        await run(SQL.store_new_pairs)
    if waiting[1]:
        await run(SQL.drop_matched)
    await run(SQL.keep_unmatched)
    row = await (await conn.execute(SQL.count_compared, prepare=False)).fetchone()
    assert row is not None, "a statement without FROM returns a row"
    return Compared._make(row)
