"""Compares what was staged with what we booked, and writes what differs: one transaction, all of it or nothing.

staged lines ─▶ match ─▶ differences ─▶ floods become one ─▶ findings opened ─▶ what is gone cleared
                                                             └─▶ reach, balances, the run's outcome

A process that dies in it has done nothing; whoever takes the run up does it all, with the same outcome. A dry run is
rolled back before its outcome is written.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from backend.app.domain.reconciliation.reconciliation import (
    ORPHAN_AFTER,
    SAMPLE_SIZE,
    STALE_AFTER,
    Reach,
    Run,
    RunStatus,
    flooded_types,
)
from backend.app.repositories.database import Connection
from backend.app.repositories.reconciliation import (
    reconciliation_find_repo,
    reconciliation_match_repo,
    reconciliation_outcome_repo,
    reconciliation_repo,
)
from backend.app.repositories.reconciliation.reconciliation_find_repo import Judgement
from backend.app.repositories.reconciliation.reconciliation_match_repo import Scope
from backend.app.services.reconciliation.reconciliation_feed import Feed, Source

FIRST_DAY: Final = date(2000, 1, 1)
FIRST_ID: Final = UUID(int=0)
# Ids of transactions are made before they are committed: so long a transaction of the database lasts at most.
LEDGER_OVERLAP: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run ends with."""

    status: RunStatus
    cutoff: datetime | None
    counts: dict[str, Any]
    error: str | None


class DryRun(Exception):
    """Undoes a dry run's transaction; carries its outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("undone on purpose")
        self.outcome = outcome


async def compare(
    conn: Connection,
    run: Run,
    *,
    source: Source,
    feed: Feed,
    account_ids: tuple[str, ...],
    window: tuple[datetime, datetime],
    reach: Reach | None,
    now: datetime,
) -> Outcome:
    """In the caller's transaction, which is to be of one snapshot: a row that is booked meanwhile is the next run's."""
    assert run.tenant_id is not None, "what is compared is one tenant's"
    tenant_id = run.tenant_id
    scope = Scope(
        tenant_id=tenant_id,
        provider=run.provider,
        run_id=run.id,
        account_ids=account_ids,
        window_start=window[0],
        complete_until=feed.complete_until,
        ledger_from=FIRST_ID if run.is_full or reach is None else reach.ledger_until,
        is_full=run.is_full,
        now=now,
    )
    judgement = _judgement(run, source=source, feed=feed, window=window, reach=reach, now=now)
    await reconciliation_match_repo.be_patient(conn, tenant_id)
    compared = await reconciliation_match_repo.match(conn, tenant_id, scope)
    await reconciliation_find_repo.find_differences(conn, tenant_id, scope=scope, judgement=judgement)
    await reconciliation_find_repo.find_drift(conn, tenant_id, scope=scope, judgement=judgement)
    if feed.is_dead:
        await reconciliation_outcome_repo.add_feed_anomaly(
            conn,
            tenant_id,
            subject="feed:unavailable",
            fact="unavailable",
            evidence={"error": feed.error or "unavailable"},
        )
    found = await reconciliation_outcome_repo.count_found(conn, tenant_id)
    flooded = flooded_types(
        found,
        compared=compared.their_items + compared.our_items + sum(compared.rules.values()),
        feed_lines=feed.lines,
        our_items=compared.our_items,
    )
    if flooded:
        await reconciliation_outcome_repo.fold_floods(conn, tenant_id, flooded=flooded, sample_size=SAMPLE_SIZE)
    changes = await reconciliation_outcome_repo.open_findings(conn, tenant_id, scope=scope)
    cleared: dict[str, int] = {}
    if feed.is_complete:
        cleared = await reconciliation_outcome_repo.clear_findings(
            conn,
            tenant_id,
            scope=scope,
            flooded=flooded,
            from_day=judgement.from_day,
            until_day=judgement.until_day,
            is_window_asked=run.is_window_asked,
        )
    is_whole = feed.is_complete and not flooded
    await reconciliation_repo.save_reach(
        conn,
        tenant_id,
        provider=run.provider,
        reach=_reach_after(
            reach, feed=feed, window=window, is_whole=is_whole, judgement=judgement, now=now, as_of=compared.as_of
        ),
    )
    return Outcome(
        status=RunStatus.COMPLETED if is_whole else RunStatus.PARTIAL,
        cutoff=feed.complete_until,
        counts={
            "psp_lines": feed.lines,
            "psp_items": compared.their_items,
            "ledger_items": compared.our_items,
            "matched": sum(compared.rules.values()),
            "rules": compared.rules,
            "findings": {each.finding_type: each.findings for each in changes},
            "opened": {each.finding_type: each.opened for each in changes if each.opened},
            "reopened": {each.finding_type: each.reopened for each in changes if each.reopened},
            "auto_cleared": cleared,
        },
        error=feed.error or _flood_error(found, flooded),
    )


def _flood_error(found: dict[Any, int], flooded: frozenset[Any]) -> str | None:
    if not flooded:
        return None
    return "; ".join(f"{found[each]} × {each}, taken for a wrong feed" for each in sorted(flooded))


def _judgement(
    run: Run,
    *,
    source: Source,
    feed: Feed,
    window: tuple[datetime, datetime],
    reach: Reach | None,
    now: datetime,
) -> Judgement:
    missing_before = None
    if feed.complete_until is not None:
        missing_before = min(feed.complete_until, now - source.grace.missing_in_psp)
    is_anew = run.is_full or reach is None
    from_day = FIRST_DAY if is_anew or reach is None else reach.balanced_until
    # A settlement file adds to what is covered, day by day: what is late is missed once its grace is over.
    is_apart = run.is_window_asked and run.file is None
    today = now.astimezone(UTC).date()
    # A day that is not over is looked at by full runs only: its sums still change.
    until_day = today + _DAY if is_anew else today
    return Judgement(
        missing_in_ledger_before=now - source.grace.missing_in_ledger,
        missing_in_psp_before=missing_before,
        window_end=window[1],
        covered_from=None if reach is None or is_apart else reach.covered_from,
        covered_until=None if reach is None or is_apart else reach.covered_until,
        stale_before=now - STALE_AFTER,
        orphan_before=now - ORPHAN_AFTER,
        from_day=from_day,
        until_day=max(until_day, from_day),
        balance_from=FIRST_ID
        if is_anew
        else first_id_of(datetime.combine(from_day, datetime.min.time(), tzinfo=UTC) - _DAY),
    )


def _reach_after(
    reach: Reach | None,
    *,
    feed: Feed,
    window: tuple[datetime, datetime],
    is_whole: bool,
    judgement: Judgement,
    now: datetime,
    as_of: datetime,
) -> Reach:
    """How far both sides are compared now. What is unmatched is kept, so our side goes on whatever the feed was."""
    start, end = window[0], feed.complete_until
    covered_from, covered_until = (start, start) if reach is None else (reach[0], reach[1])
    if is_whole and end is not None and start <= covered_until and end >= covered_from:
        covered_from, covered_until = min(covered_from, start), max(covered_until, end)
    return Reach(
        covered_from=covered_from,
        covered_until=covered_until,
        ledger_until=first_id_of(as_of - LEDGER_OVERLAP),
        balanced_until=min(judgement.until_day, now.astimezone(UTC).date()),
        oldest_missing_at=None,
    )


def first_id_of(at: datetime) -> UUID:
    """The smallest id (version 7) that can be made at that moment."""
    return UUID(int=int(at.timestamp() * 1000) << 80)
