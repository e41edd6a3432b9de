"""Whether a withdrawal costs the same after a long history, what a transaction takes on disk, and the time to start."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Final

import psycopg

from bench import door
from bench.context import Context
from bench.measure import Measurement, percentiles_ms
from bench.serving import Serving
from bench.workload import Spread

# Short and long history take turns, so that both meet the same moments of the machine.
ROUNDS: Final = 3
CLIENTS: Final = 4
PEER_BYTES: Final = 743

# A past that the invariants hold for: every wallet gets as many deposits, and all sums move with them.
ADD_HISTORY: Final = """
WITH written AS (
    INSERT INTO ledger_transactions (
        id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
        legacy_held_after, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account, arbiter,
        idempotency_key, request_hash, provider
    )
    SELECT
        uuid_v7(), wallet.tenant_id, wallet.player_id, wallet.version + past.no, 1,
        wallet.balance_real_available + past.no, wallet.balance_real_pending,
        wallet.balance_real_available + past.no, wallet.balance_real_pending, now(), now(), 0, wallet.currency,
        'deposit_captured', 'psp:mockpsp:clearing', 'player:available', 'legacy',
        gen_random_uuid()::TEXT, '\\x5a', 'mockpsp'
    FROM generate_series(1, %(per_wallet)s) AS past (no)
    CROSS JOIN wallet_balances AS wallet
),

snapshots AS (
    UPDATE wallet_balances
    SET
        balance_real_available = balance_real_available + %(per_wallet)s,
        version = version + %(per_wallet)s
)

UPDATE players SET balance_real_available = balance_real_available + %(per_wallet)s
"""


def measure_history(context: Context) -> list[Measurement]:
    """The same load on a short and a long ledger, in turns."""
    short = context.server.clone("short")
    long = context.server.clone("long")
    with psycopg.connect(long.owner) as conn:
        wallets = _scalar(conn, "SELECT count(*) FROM wallet_balances")
        conn.execute(ADD_HISTORY, {"per_wallet": max(1, context.history_rows // wallets)})
    with psycopg.connect(long.superuser, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
        rows = _scalar(conn, "SELECT count(*) FROM ledger_transactions")
    seconds = max(1.0, context.seconds / ROUNDS)
    rates: dict[str, list[float]] = {"short": [], "long": []}
    latencies: dict[str, list[float]] = {"short": [], "long": []}
    for number in range(ROUNDS + 1):
        for name, urls in (("short", short), ("long", long)):
            run, _ = door.drive(
                urls, spread=Spread.UNIFORM, clients=CLIENTS, size=1, seconds=seconds, run=f"{name}{number}"
            )
            if number == 0:
                # Warming up: pages come into memory, and are written whole the first time after a checkpoint.
                continue
            rates[name].append(run.per_second)
            latencies[name] += run.latencies_seconds
    ratio = median(a / b for a, b in zip(rates["short"], rates["long"], strict=True))
    return [
        Measurement(
            group="history",
            name=f"withdraw at {count:,} ledger rows, {CLIENTS} connections",
            events_per_second=median(rates[name]),
            latencies_ms=percentiles_ms(latencies[name]),
            note=note,
        )
        for name, count, note in (("short", wallets, ""), ("long", rows, f"costs {ratio:.2f} × the short history"))
    ]


def measure_storage(context: Context) -> list[Measurement]:
    """Bytes of the ledger by row, written as the service writes them: batches from random players."""
    urls = context.server.clone("storage")
    door.drive(urls, spread=Spread.UNIFORM, clients=2, size=64, seconds=context.seconds, run="storage")
    with psycopg.connect(urls.owner) as conn:
        rows = _scalar(conn, "SELECT count(*) FROM ledger_transactions")
        size = _scalar(conn, "SELECT pg_total_relation_size('ledger_transactions')")
        table = _scalar(conn, "SELECT pg_table_size('ledger_transactions')")
    return [
        Measurement(
            group="storage",
            name=f"ledger of {rows:,} rows",
            note=f"{size / rows:.0f} bytes per row, {table / rows:.0f} of them without indexes; "
            f"{size / rows / PEER_BYTES:.2f} × {PEER_BYTES}",
        )
    ]


def measure_start(context: Context) -> list[Measurement]:
    """From an empty home to a database, and from an empty home to a service that accepts requests."""
    with (
        tempfile.TemporaryDirectory(prefix="hakem-bench-start-") as folder,
        Serving(Path(folder) / "home") as serving,
    ):
        service_seconds = serving.start_seconds
    return [
        Measurement(
            group="start",
            name="empty home to migrated database",
            note=f"{context.server.start_seconds:.1f} s",
        ),
        Measurement(
            group="start",
            name="empty home to `hakem: ready`",
            note=f"{service_seconds:.1f} s",
        ),
    ]


def _scalar(conn: psycopg.Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None, "the query always returns a row"
    return int(row[0])
