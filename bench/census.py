"""The census of a large tenant: how many wallets it judges in a second, and what it takes in this process."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import psutil
import psycopg

from backend.app.domain.backfill.census import CensusReport, Progress
from backend.app.repositories.database import Database
from backend.app.services.backfill.census import Census
from backend.config import Settings
from bench.context import Context
from bench.measure import Measurement
from bench.server import Urls
from bench.workload import CURRENCY

TENANT: Final = UUID("01900000-0000-7000-8000-eeeeeeeeeeee")
# A step that shares no factor with the number of players visits all of them: rows lie as scattered as real ones do.
SCATTER: Final = 7_368_787
OPENING_MINOR: Final = 100_000
DEPOSIT_MINOR: Final = 5_000
WITHDRAWAL_MINOR: Final = 2_000

INSERT_TENANT: Final = "INSERT INTO tenants (id, slug, name, base_currency) VALUES (%s, 'census', 'Census', %s)"
# In an order in which nobody's neighbours are stored beside each other, as after years of traffic.
CREATE_PEOPLE: Final = """
CREATE TEMPORARY TABLE people AS
SELECT
    person.number,
    ('01910000-0000-7000-8000-' || lpad(to_hex(person.number), 12, '0'))::UUID AS id
FROM (
    SELECT 1 + series.number * %(scatter)s %% %(players)s AS number
    FROM generate_series(1, %(players)s::BIGINT) AS series (number)
) AS person
"""
INSERT_PLAYERS: Final = """
INSERT INTO players (id, tenant_id, email, username, currency, kyc_status, balance_real_available, balance_real_held)
SELECT
    people.id, %(tenant_id)s, 'census-' || people.number || '@bench.invalid', 'census-' || people.number, %(currency)s,
    'verified',
    %(opening)s + %(deposit)s - CASE WHEN people.number %% 2 = 0 THEN 0 ELSE %(withdrawal)s END,
    CASE WHEN people.number %% 2 = 0 THEN 0 ELSE %(withdrawal)s END
FROM people
"""
INSERT_WALLETS: Final = """
INSERT INTO wallet_balances (
    tenant_id, player_id, currency, balance_real_available, balance_real_pending, version, opened_at
)
SELECT
    player.tenant_id, player.id, player.currency, player.balance_real_available, player.balance_real_held,
    CASE WHEN player.balance_real_held = 0 THEN 4 ELSE 3 END, now()
FROM players AS player
WHERE player.tenant_id = %(tenant_id)s
"""
INSERT_DEPOSITS: Final = """
INSERT INTO deposits (
    id, tenant_id, player_id, amount, currency, state, method, provider, idempotency_key, request_hash, created_at,
    updated_at
)
SELECT
    people.id, %(tenant_id)s, people.id, %(deposit)s, %(currency)s, 'completed', 'test', 'mockpsp', 'd', '\\x', now(),
    now()
FROM people
"""
INSERT_WITHDRAWALS: Final = """
INSERT INTO withdrawals (
    id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key, request_hash, created_at,
    updated_at
)
SELECT
    people.id, %(tenant_id)s, people.id, %(withdrawal)s, %(currency)s,
    CASE WHEN people.number %% 2 = 0 THEN 'rejected' ELSE 'requested' END, 'test', '', 'w', '\\x', now(), now()
FROM people
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One transaction in the life of every player, or of every other one."""

    version: int
    type: str
    debit_account: str
    credit_account: str
    amount: int
    available: int
    pending: int
    key: str
    has_reference: bool = True
    provider: str | None = None
    every: int = 1


STEPS: Final = (
    _Step(
        version=1,
        type="opening_balance",
        debit_account="house:opening",
        credit_account="player:available",
        amount=OPENING_MINOR,
        available=OPENING_MINOR,
        pending=0,
        key="opening:v1:available",
        has_reference=False,
    ),
    _Step(
        version=2,
        type="deposit_captured",
        debit_account="psp:mockpsp:clearing",
        credit_account="player:available",
        amount=DEPOSIT_MINOR,
        available=OPENING_MINOR + DEPOSIT_MINOR,
        pending=0,
        key="d",
        provider="mockpsp",
    ),
    _Step(
        version=3,
        type="withdraw_requested",
        debit_account="player:available",
        credit_account="player:held",
        amount=WITHDRAWAL_MINOR,
        available=OPENING_MINOR + DEPOSIT_MINOR - WITHDRAWAL_MINOR,
        pending=WITHDRAWAL_MINOR,
        key="w",
    ),
    _Step(
        version=4,
        type="withdraw_rejected",
        debit_account="player:held",
        credit_account="player:available",
        amount=WITHDRAWAL_MINOR,
        available=OPENING_MINOR + DEPOSIT_MINOR,
        pending=0,
        key="r",
        every=2,
    ),
)
INSERT_STEP: Final = """
INSERT INTO ledger_transactions (
    id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
    legacy_held_after, reference, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account,
    arbiter, idempotency_key, request_hash, provider
)
SELECT
    uuid_v7(), %(tenant_id)s, people.id, %(version)s, %(amount)s, %(available)s, %(pending)s, %(available)s,
    %(pending)s,
    CASE WHEN %(has_reference)s THEN people.id END, now(), now(), 0, %(currency)s, %(type)s, %(debit_account)s,
    %(credit_account)s, 'legacy', %(key)s, '\\x', %(provider)s
FROM people
WHERE people.number %% %(every)s = 0
"""


def measure(context: Context) -> list[Measurement]:
    """One run over a tenant of so many players, each with a past."""
    urls = context.server.clone("census")
    _load(urls, players=context.census_players)
    report, seconds, rss_bytes = asyncio.run(_census(context, urls))
    assert report.is_clean, f"the census found what is not there: {report.counts}"
    return [
        Measurement(
            group="census",
            name=f"{report.players:,} wallets, {report.transactions:,} transactions",
            events_per_second=report.players / seconds,
            note=f"wallets/s; {report.transactions / seconds:,.0f} transactions/s; {report.run.chunks} chunks; "
            f"at most {rss_bytes / 2**20:.0f} MiB in this process",
        )
    ]


async def _census(context: Context, urls: Urls) -> tuple[CensusReport, float, int]:
    database = Database(context.server.engine(urls), Settings.model_construct())
    process = psutil.Process()
    rss_bytes = process.memory_info().rss

    def watch(_: Progress) -> None:
        nonlocal rss_bytes
        rss_bytes = max(rss_bytes, process.memory_info().rss)

    await database.open()
    try:
        started_at = time.perf_counter()
        report = await Census(database).run(TENANT, started_by="bench", on_progress=watch)
        return report, time.perf_counter() - started_at, rss_bytes
    finally:
        await database.close()


def _load(urls: Urls, *, players: int) -> None:
    facts = {
        "tenant_id": TENANT,
        "currency": CURRENCY,
        "players": players,
        "opening": OPENING_MINOR,
        "deposit": DEPOSIT_MINOR,
        "withdrawal": WITHDRAWAL_MINOR,
        "scatter": SCATTER,
    }
    with psycopg.connect(urls.owner, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        conn.execute(INSERT_TENANT, (TENANT, CURRENCY))
        for query in (CREATE_PEOPLE, INSERT_PLAYERS, INSERT_WALLETS, INSERT_DEPOSITS, INSERT_WITHDRAWALS):
            conn.execute(query.encode(), facts)
        for step in STEPS:
            conn.execute(
                INSERT_STEP.encode(),
                {
                    **facts,
                    "version": step.version,
                    "type": step.type,
                    "debit_account": step.debit_account,
                    "credit_account": step.credit_account,
                    "amount": step.amount,
                    "available": step.available,
                    "pending": step.pending,
                    "key": step.key,
                    "has_reference": step.has_reference,
                    "provider": step.provider,
                    "every": step.every,
                },
            )
    with psycopg.connect(urls.superuser, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
