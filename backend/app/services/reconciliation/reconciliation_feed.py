"""Reads a provider's statement into staging, page after page, and holds it against what it claims.

page ─▶ lines by COPY ─ with them, in one transaction ─▶ checkpoint: cursor, lines and sums so far
  [end]   count and sums against the control totals

A run that was cut off goes on at its checkpoint. A provider that stops answering leaves an incomplete feed, which is a
value: what came in is compared, and what did not is not missing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog

from backend.app.domain.reconciliation.reconciliation import DEFAULT_GRACE, Grace, Run
from backend.app.domain.reconciliation.statement import ControlTotals, StatementLine, StatementPage
from backend.app.psp.adapter import PspUnavailable
from backend.app.repositories.database import Connection
from backend.app.repositories.reconciliation import reconciliation_match_repo, reconciliation_repo

log = structlog.get_logger()

# Lines that go into the database, and behind which the checkpoint is, at a time.
LINES_PER_WRITE: Final = 5_000


class StatementFeed(Protocol):
    """Where statements come from: a provider's interface, or a settlement file."""

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """A page of the account's statement over [from_at, to_at). Raises PspUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A feed, and how soon its provider is to be believed.

    settles_after: how long after a moment no line of it can appear any more, where the feed does not say so itself.
    """

    feed: StatementFeed
    grace: Grace = DEFAULT_GRACE
    settles_after: timedelta = timedelta(seconds=30)


@dataclass(slots=True)
class _AccountFeed:
    """How far one account's statement was read: the checkpoint."""

    cursor: str | None = None
    totals: ControlTotals = field(default_factory=ControlTotals)
    claimed_count: int = 0
    claimed_sums: Mapping[str, int] = field(default_factory=dict)
    is_final: bool = True
    is_read: bool = False
    error: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> "_AccountFeed":
        if document is None:
            return cls()
        return cls(
            cursor=document["cursor"],
            totals=ControlTotals(count=document["lines"], sums=Counter(document["sums"])),
            claimed_count=document["claimed_lines"],
            claimed_sums=document["claimed_sums"],
            is_final=document["is_final"],
            is_read=document["is_read"],
        )

    def document(self) -> dict[str, Any]:
        return {
            "cursor": self.cursor,
            "lines": self.totals.count,
            "sums": dict(self.totals.sums),
            "claimed_lines": self.claimed_count,
            "claimed_sums": dict(self.claimed_sums),
            "is_final": self.is_final,
            "is_read": self.is_read,
        }

    @property
    def difference(self) -> str | None:
        """What does not fit between what arrived and what was claimed."""
        if self.error is not None:
            return self.error
        return self.totals.difference(count=self.claimed_count, sums=self.claimed_sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What came of reading: whether all of it arrived, until when it is final, and why not.

    is_dead: not a single line of a statement could be had.
    """

    lines: int
    is_complete: bool
    is_dead: bool
    complete_until: datetime | None
    error: str | None
    control_totals: dict[str, Any]


async def read_feed(
    conn: Connection,
    run: Run,
    *,
    source: Source,
    account_ids: Sequence[str],
    window_start: datetime,
    window_end: datetime,
    now: datetime,
) -> Feed:
    """Stage the statements of a run's accounts over its window, from the checkpoint on."""
    assert run.tenant_id is not None, "a run with a feed has a tenant"
    accounts = {each: _AccountFeed.of(run.feed.get(each)) for each in account_ids}
    staged = await reconciliation_match_repo.count_lines(conn, run.id)
    if staged != sum(each.totals.count for each in accounts.values()):
        # The staging table does not outlive a crash of the database: what it lost is read again.
        await reconciliation_repo.delete_lines(conn, run.id)
        accounts = {each: _AccountFeed() for each in account_ids}
    for account_id, account in accounts.items():
        reader = _Reader(conn, run, account_id=account_id, accounts=accounts)
        await reader.read(source.feed, window_start=window_start, window_end=window_end)
        if account.error is not None:
            log.warning("reconciliation.feed_cut_off", run_id=str(run.id), account_id=account_id, error=account.error)
    return _judge(accounts, window_end=window_end, settled_until=now - source.settles_after)


class _Reader:
    """Reads one account's statement, and keeps the checkpoint of all of them."""

    def __init__(self, conn: Connection, run: Run, *, account_id: str, accounts: Mapping[str, _AccountFeed]) -> None:
        self._conn = conn
        self._run = run
        self._account_id = account_id
        self._accounts = accounts
        self._account = accounts[account_id]
        self._waiting: list[StatementLine] = []

    async def read(self, feed: StatementFeed, *, window_start: datetime, window_end: datetime) -> None:
        """To the end, or as far as the provider lets it."""
        account = self._account
        cursor = account.cursor
        try:
            while not account.is_read:
                page = await feed.list_transactions(
                    account_id=self._account_id, from_at=window_start, to_at=window_end, cursor=cursor
                )
                if page.next_cursor is not None and (page.next_cursor == cursor or not page.lines):
                    raise PspUnavailable("the statement does not go on")
                self._waiting += page.lines
                cursor = page.next_cursor
                account.claimed_count, account.claimed_sums = page.control_count, page.control_sums
                account.is_final = page.is_complete
                account.is_read = cursor is None
                if account.is_read or len(self._waiting) >= LINES_PER_WRITE:
                    await self._write(cursor)
        except PspUnavailable as error:
            account.error = str(error)
            await self._write(cursor)

    async def _write(self, cursor: str | None) -> None:
        assert self._run.tenant_id is not None, "a run with a feed has a tenant"
        self._account.cursor = cursor
        self._account.totals.add(self._waiting)
        documents = {name: each.document() for name, each in self._accounts.items()}
        async with self._conn.transaction():
            await reconciliation_repo.copy_lines(
                self._conn, self._run.id, account_id=self._account_id, lines=self._waiting
            )
            await reconciliation_repo.save_feed(self._conn, self._run.tenant_id, run_id=self._run.id, feed=documents)
        self._waiting = []


def _judge(accounts: Mapping[str, _AccountFeed], *, window_end: datetime, settled_until: datetime) -> Feed:
    lines = sum(each.totals.count for each in accounts.values())
    wrong = {name: each.difference for name, each in accounts.items() if each.difference is not None}
    is_complete = not wrong
    is_final = all(each.is_final for each in accounts.values())
    return Feed(
        lines=lines,
        is_complete=is_complete,
        is_dead=lines == 0 and any(each.error is not None for each in accounts.values()),
        complete_until=(window_end if is_final else min(window_end, settled_until)) if is_complete else None,
        error="; ".join(f"{name}: {reason}" for name, reason in wrong.items()) or None,
        control_totals={
            name: {
                "arrived": {"count": each.totals.count, "sums": dict(each.totals.sums)},
                "claimed": {"count": each.claimed_count, "sums": dict(each.claimed_sums)},
            }
            for name, each in accounts.items()
        },
    )
