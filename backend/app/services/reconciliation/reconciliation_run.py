"""One tenant's run: window, statement, comparison, outcome."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
from psycopg import IsolationLevel

from backend.app.domain.reconciliation.reconciliation import (
    OVERLAP,
    OVERLAP_WHEN_MISSING,
    WINDOW_MAX,
    Reach,
    Run,
    UnsupportedProvider,
)
from backend.app.domain.tenant import account_id_of
from backend.app.psp import mockpsp
from backend.app.repositories.database import Connection
from backend.app.repositories.reconciliation import reconciliation_match_repo, reconciliation_repo
from backend.app.services.reconciliation.reconciliation_compare import DryRun, Outcome, compare
from backend.app.services.reconciliation.reconciliation_feed import Feed, Source, read_feed

log = structlog.get_logger()

# Somebody else wrote into what the run read: it compares anew.
COMPARES_MAX: Final = 5
# From so many lines on a bad plan would be felt.
LINES_MANY: Final = 1_000


async def execute_one(conn: Connection, run: Run, *, tenant_id: UUID, source: Source, now: datetime) -> None:
    """Read and compare one tenant's statement, on the connection that holds the run's lock."""
    account_ids = await account_ids_of(conn, tenant_id, provider=run.provider)
    reach = await reconciliation_repo.find_reach(
        conn, tenant_id, provider=run.provider, missing_since=now - OVERLAP_WHEN_MISSING
    )
    window = window_of(run, reach=reach, now=now)
    await reconciliation_repo.begin_run(
        conn, tenant_id, run_id=run.id, window_start=window[0], window_end=window[1], now=now
    )
    feed = await read_feed(
        conn,
        run,
        source=source,
        account_ids=account_ids,
        window_start=window[0],
        window_end=window[1],
        now=now,
    )
    if feed.lines >= LINES_MANY:
        await reconciliation_match_repo.refresh_statistics(conn, of_items=False)
    for attempt in range(1, COMPARES_MAX + 1):
        try:
            outcome = await _compare(
                conn,
                run,
                tenant_id=tenant_id,
                source=source,
                feed=feed,
                account_ids=account_ids,
                window=window,
                reach=reach,
                now=now,
            )
        except psycopg.errors.SerializationFailure:
            if attempt == COMPARES_MAX:
                raise
            log.info("reconciliation.compared_again", run_id=str(run.id), attempt=attempt)
        else:
            break
    if outcome.counts["psp_items"] >= LINES_MANY:
        # What was stored is new to the planner as well, and the next run begins with it.
        await reconciliation_match_repo.refresh_statistics(conn, of_items=True)


def window_of(run: Run, *, reach: Reach | None, now: datetime) -> tuple[datetime, datetime]:
    """The window of a run: the one that was asked for or begun with, else what has not been compared yet."""
    end = run.window_end or now
    if run.window_start is not None:
        start = run.window_start
    elif run.is_full or reach is None:
        start = now - WINDOW_MAX
    else:
        since = min(reach.covered_until, reach.oldest_missing_at or reach.covered_until)
        start = since - OVERLAP
    return min(start, end - OVERLAP) if run.window_start is None else start, max(end, start + timedelta(seconds=1))


async def account_ids_of(conn: Connection, tenant_id: UUID, *, provider: str) -> tuple[str, ...]:
    """The tenant's accounts. Raises UnsupportedProvider when it has none."""
    accounts = await reconciliation_repo.list_accounts(conn, tenant_id, provider=provider)
    if not accounts and provider == mockpsp.PROVIDER:
        # Made with the tenant under this name; a tenant from before that has it too.
        accounts = [account_id_of(tenant_id)]
    if not accounts:
        raise UnsupportedProvider(f"the tenant has no account at {provider}")
    return tuple(accounts)


async def _finish(conn: Connection, run: Run, *, tenant_id: UUID, outcome: Outcome, feed: Feed) -> None:
    await reconciliation_repo.finish_run(
        conn,
        tenant_id,
        run_id=run.id,
        status=outcome.status,
        cutoff=outcome.cutoff,
        is_feed_complete=feed.is_complete,
        counts=outcome.counts,
        control_totals=feed.control_totals,
        error=outcome.error,
    )


async def _compare(conn: Connection, run: Run, *, tenant_id: UUID, feed: Feed, **arguments: Any) -> Outcome:
    await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    try:
        async with conn.transaction():
            outcome = await compare(conn, run, feed=feed, **arguments)
            if run.is_dry_run:
                raise DryRun(outcome)
            await _finish(conn, run, tenant_id=tenant_id, outcome=outcome, feed=feed)
    except DryRun as done:
        outcome = done.outcome
        await _finish(conn, run, tenant_id=tenant_id, outcome=outcome, feed=feed)
    finally:
        if not conn.closed:
            await conn.set_isolation_level(None)
    return outcome
