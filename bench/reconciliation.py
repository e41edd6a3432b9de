"""A provider's million lines against our million transactions, broken in every way: how long, how exactly."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import psutil
import psycopg

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.domain.reconciliation.reconciliation import Grace, Run, StartRun
from backend.app.domain.reconciliation.statement import StatementKind, StatementLine, StatementPage
from backend.app.repositories.database import Database
from backend.app.services.reconciliation.reconciliation import Reconciliation
from backend.app.services.reconciliation.reconciliation_feed import Source
from backend.config import Settings
from bench.context import Context
from bench.measure import Measurement
from bench.server import Urls
from bench.workload import CURRENCY

TENANT: Final = UUID("01900000-0000-7000-8000-dddddddddddd")
STRANGER: Final = UUID("01900000-0000-7000-8000-cccccccccccc")
PROVIDER: Final = "mockpsp"
ACCOUNT: Final = f"mock_{TENANT.hex}"
# One of so many is broken, in each of the ways below.
EVERY: Final = 10_000
PAGE: Final = 1_000
SPAN: Final = timedelta(days=30)
NOW: Final = datetime(2026, 7, 1, tzinfo=UTC)
OTHER_CURRENCY: Final = "GBP"
# Which number within EVERY is broken how.
WAYS: Final = {
    1: "missing_in_psp",
    2: "duplicate_in_psp",
    3: "amount_mismatch",
    4: "currency_mismatch",
    5: "status_mismatch",
    6: "returned_after_paid",
    7: "missing_in_ledger",
    8: "duplicate_in_ledger",
    9: "tenant_mismatch",
}

# In this order, an hour apart.
RUNS: Final = (("after kill -9 half-way", False), ("the next, incremental", False), ("in full", True))

INSERT_TENANTS: Final = """
INSERT INTO tenants (id, slug, name, base_currency)
VALUES (%(tenant_id)s, 'recon', 'Recon', %(currency)s), (%(stranger)s, 'stranger', 'Stranger', %(currency)s)
"""
INSERT_DEPOSITS: Final = """
INSERT INTO deposits (
    id, tenant_id, player_id, amount, currency, state, method, provider, provider_ref, provider_event_id,
    idempotency_key, request_hash, created_at, updated_at
)
SELECT
    ('01920000-0000-7000-8000-' || lpad(to_hex(series.number), 12, '0'))::UUID,
    CASE series.number WHEN 0 THEN %(stranger)s::UUID ELSE %(tenant_id)s::UUID END,
    ('01930000-0000-7000-8000-' || lpad(to_hex(series.number %% 50000), 12, '0'))::UUID,
    1000 + series.number %% 500, %(currency)s,
    CASE series.number %% %(every)s WHEN 7 THEN 'pending_provider' ELSE 'completed' END, 'test', %(provider)s,
    CASE series.number %% %(every)s WHEN 7 THEN NULL ELSE 'pay_' || series.number END,
    CASE series.number %% %(every)s WHEN 7 THEN NULL ELSE 'evt_' || series.number END,
    'd' || series.number, '\\x', %(start)s + series.number * %(step)s, %(start)s + series.number * %(step)s
FROM generate_series(0, %(rows)s) AS series (number)
"""
# The ledger alone: reconciliation reads it and nothing that follows from it.
INSERT_LEDGER: Final = """
INSERT INTO ledger_transactions (
    id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
    legacy_held_after, reference, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account,
    arbiter, idempotency_key, request_hash, provider, provider_ref, provider_event_id
)
SELECT
    -- Made when it was booked, as ids are: the next run looks at those of its last hour only.
    (
        lpad(to_hex((extract(EPOCH FROM deposit.created_at) * 1000)::BIGINT), 12, '0') || '70008'
        || lpad(to_hex(substr(deposit.idempotency_key, 2)::BIGINT * 2 + copy.number), 15, '0')
    )::UUID,
    deposit.tenant_id, deposit.player_id,
    row_number() OVER (PARTITION BY deposit.player_id ORDER BY deposit.id) + 1000000 * copy.number,
    deposit.amount, 0, 0, 0, 0, deposit.id, deposit.created_at, deposit.created_at, 0, deposit.currency,
    'deposit_captured', 'psp:mockpsp:clearing', 'player:available', 'legacy',
    deposit.idempotency_key || CASE WHEN copy.number = 1 THEN ' again' ELSE '' END, '\\x', deposit.provider,
    deposit.provider_ref, CASE WHEN copy.number = 0 THEN deposit.provider_event_id END
FROM deposits AS deposit
CROSS JOIN (VALUES (0), (1)) AS copy (number)
WHERE
    deposit.tenant_id = %(tenant_id)s
    AND deposit.state = 'completed'
    AND (copy.number = 0 OR substr(deposit.idempotency_key, 2)::BIGINT %% %(every)s = 8)
"""
FOUND: Final = """
SELECT finding_type, count(*) FROM reconciliation_findings
WHERE tenant_id = %s AND status = 'OPEN' GROUP BY finding_type
"""


@dataclass(slots=True)
class Feed:
    """The provider's side, made up line by line. dies_after: pages after which its reader is killed."""

    rows: int
    dies_after: int | None = None
    pages: int = 0
    rss_bytes: int = 0
    process: psutil.Process = field(default_factory=psutil.Process)

    async def list_transactions(
        self,
        *,
        account_id: str,  # noqa: ARG002 - there is one
        from_at: datetime,
        to_at: datetime,
        cursor: str | None,
    ) -> StatementPage:
        """A page; the cursor is the next number."""
        if self.pages == self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.pages += 1
        self.rss_bytes = max(self.rss_bytes, self.process.memory_info().rss)
        first = max(1, self._number_at(from_at))
        last = min(self.rows, self._number_at(to_at))
        start = int(cursor) if cursor is not None else first
        end = min(start + PAGE - 1, last)
        count, sums = self._totals(first, last)
        return StatementPage(
            lines=[line for number in range(start, end + 1) for line in self._lines(number)],
            next_cursor=str(end + 1) if end < last else None,
            control_count=count,
            control_sums=sums,
            is_complete=True,
        )

    def _number_at(self, at: datetime) -> int:
        return int((at - (NOW - SPAN)) / (SPAN / self.rows))

    def _totals(self, first: int, last: int) -> tuple[int, Counter[str]]:
        if (first, last) not in _TOTALS:
            count, sums = 0, Counter[str]()
            for number in range(first, last + 1):
                if number % EVERY in WAYS:
                    for line in self._lines(number):
                        count += 1
                        sums[line.money.currency] += line.money.amount_minor
                else:
                    count += 1
                    sums[CURRENCY] += 1000 + number % 500
            _TOTALS[first, last] = count, sums
        return _TOTALS[first, last]

    def _lines(self, number: int) -> Iterator[StatementLine]:
        way = WAYS.get(number % EVERY)
        if way == "missing_in_psp":
            return
        amount, currency = 1000 + number % 500, CURRENCY
        is_altered = way == "amount_mismatch"
        yield _line(
            number,
            amount=amount + is_altered,
            currency=OTHER_CURRENCY if way == "currency_mismatch" else currency,
            status_class=StatusClass.FAILED if way == "status_mismatch" else StatusClass.SUCCESS,
            at=NOW - SPAN + number * (SPAN / self.rows),
        )
        if way in ("duplicate_in_psp", "returned_after_paid", "tenant_mismatch"):
            yield _line(
                number,
                name=way,
                amount=amount,
                currency=currency,
                kind=StatementKind.REFUND if way == "returned_after_paid" else StatementKind.DEPOSIT,
                status_class=StatusClass.REVERSED if way == "returned_after_paid" else StatusClass.SUCCESS,
                reference=_reference(0) if way == "tenant_mismatch" else _reference(number),
                at=NOW - SPAN + number * (SPAN / self.rows),
            )


# Of a window: what the whole of it claims, told on every page.
_TOTALS: dict[tuple[int, int], tuple[int, Counter[str]]] = {}


def _reference(number: int) -> str:
    return f"01920000-0000-7000-8000-{number:012x}"


def _line(
    number: int,
    *,
    amount: int,
    currency: str,
    status_class: StatusClass,
    at: datetime,
    kind: StatementKind = StatementKind.DEPOSIT,
    name: str = "",
    reference: str | None = None,
) -> StatementLine:
    is_return = kind is StatementKind.REFUND
    return StatementLine(
        provider_event_id=f"evt_{number}{name}",
        provider_ref=f"pay_{number}" if is_return or not name else f"pay_{number}{name}",
        reference=reference or _reference(number),
        kind=kind,
        status=status_class.value,
        status_class=status_class,
        money=Money(amount_minor=amount, currency=currency),
        occurred_at=at,
    )


def measure(context: Context) -> list[Measurement]:
    """A run that is killed half-way and gone on with; then the next ordinary run, and one in full."""
    rows = context.reconciliation_rows
    urls = context.server.clone("reconciliation")
    _load(urls, rows=rows)
    expected = Counter(dict.fromkeys(WAYS.values(), rows // EVERY))
    dying = Feed(rows=rows, dies_after=rows // PAGE // 2)
    killed_seconds = _run_killed(context, urls, feed=dying)
    results = []
    for hours, (name, is_full) in enumerate(RUNS):
        feed = Feed(rows=rows)
        run, seconds = asyncio.run(_run(context, urls, feed=feed, is_full=is_full, now=NOW + timedelta(hours=hours)))
        with psycopg.connect(urls.owner) as conn:
            found: Counter[str] = Counter(dict(conn.execute(FOUND, (TENANT,)).fetchall()))
        assert run.status == "completed", run
        assert found == expected, f"{name}: found {found} instead of {expected}"
        if name.startswith("after"):
            seconds += killed_seconds
            assert run.resumes == 1, run
        else:
            assert not run.counts["opened"], run
            assert not run.counts["reopened"], run
        results.append(
            Measurement(
                group="reconciliation",
                name=f"{rows:,} × {rows:,}, {name}",
                events_per_second=run.counts["psp_lines"] / seconds,
                note=f"lines/s; {seconds:.1f} s; {run.counts['psp_lines']:,} lines; findings exactly as planted; "
                f"at most {feed.rss_bytes / 2**20:.0f} MiB in this process",
            )
        )
    return results


def _run_killed(context: Context, urls: Urls, *, feed: Feed) -> float:
    """Seconds until the process that reads the feed kills itself."""
    started_at = time.perf_counter()
    child = os.fork()
    if child == 0:
        asyncio.run(_run(context, urls, feed=feed, is_full=False, now=NOW))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the reader was to be killed"
    return time.perf_counter() - started_at


async def _run(context: Context, urls: Urls, *, feed: Feed, is_full: bool, now: datetime) -> tuple[Run, float]:
    database = Database(context.server.engine(urls), Settings.model_construct())
    source = Source(feed=feed, grace=Grace(missing_in_ledger=timedelta(0), missing_in_psp=timedelta(0)))
    service = Reconciliation(database, {PROVIDER: source}, clock=lambda: now)
    await database.open()
    try:
        started_at = time.perf_counter()
        command = StartRun(provider=PROVIDER, tenant_id=TENANT, started_by="bench", is_full=is_full)
        run = await service.execute(await service.resume_or_start(command))
        return run, time.perf_counter() - started_at
    finally:
        await database.close()


def _load(urls: Urls, *, rows: int) -> None:
    facts = {
        "tenant_id": TENANT,
        "stranger": STRANGER,
        "currency": CURRENCY,
        "provider": PROVIDER,
        "rows": rows,
        "every": EVERY,
        "start": NOW - SPAN,
        "step": SPAN / rows,
    }
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        for query in (INSERT_TENANTS, INSERT_DEPOSITS, INSERT_LEDGER):
            conn.execute(query.encode(), facts)
    with psycopg.connect(urls.superuser, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
