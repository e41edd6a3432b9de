"""What others reach on the same server: TPC-B, and pgledger where its SQL is given.

None of pgledger's text is part of this repository: `--peer-sql` names files of yours, which are loaded into an empty
database of the run's server.
"""

from typing import Final

import psycopg

from bench import pgbench
from bench.context import TPCB_CLIENTS, TPCB_DATABASE, Context, Skipped
from bench.measure import Measurement, percentiles_ms
from bench.pgbench import Run
from bench.workload import PLAYERS

FUNCTIONS: Final = ("pgledger_create_account", "pgledger_create_transfer", "pgledger_create_transfers")
BATCH_SIZES: Final = ((1, 16), (1, 64), (2, 16))


def measure_tpcb(context: Context) -> list[Measurement]:
    """pgbench's own load, simple and prepared."""
    url = context.server.urls(TPCB_DATABASE).superuser
    return [
        _line(
            f"TPC-B, {TPCB_CLIENTS} clients, {protocol} protocol",
            pgbench.run(url, script=None, clients=TPCB_CLIENTS, seconds=context.seconds, protocol=protocol),
        )
        for protocol in ("simple", "prepared")
    ]


def measure_pgledger(context: Context) -> list[Measurement]:
    """One transfer per call and many, between accounts that may go below zero: no funds check, no idempotency."""
    if not context.peer_sql:
        raise Skipped("pgledger was not measured: give its SQL files with --peer-sql")
    urls = context.server.clone("peer", is_empty=True)
    with psycopg.connect(urls.superuser, autocommit=True) as conn:
        for path in context.peer_sql:
            conn.execute(path.read_bytes())
        found = {
            name
            for (name,) in conn.execute("SELECT proname::TEXT FROM pg_proc WHERE proname = ANY(%s)", (list(FUNCTIONS),))
        }
        if missing := sorted(set(FUNCTIONS) - found):
            raise Skipped(f"pgledger was not measured: its SQL defines no {', '.join(missing)}")
        conn.execute("CREATE TABLE bench_accounts (number INTEGER PRIMARY KEY, id TEXT NOT NULL)")
        conn.execute(
            """
            INSERT INTO bench_accounts
            SELECT series.number, (pgledger_create_account('account ' || series.number, 'EUR')).id
            FROM generate_series(1, %s) AS series (number)
            """,
            (PLAYERS,),
        )
        conn.execute("VACUUM (ANALYZE)")
    lines = [
        _line(
            "pgledger, one transfer per call, 16 connections",
            pgbench.run(
                urls.superuser,
                script="pgledger_call",
                clients=16,
                seconds=context.seconds,
                defines={"accounts": PLAYERS},
            ),
        )
    ]
    for clients, size in BATCH_SIZES:
        run = pgbench.run(
            urls.superuser,
            script="pgledger_batch",
            clients=clients,
            seconds=context.seconds,
            defines={"accounts": PLAYERS, "size": size},
        )
        lines.append(_line(f"pgledger, {size} transfers per call, {clients} connection(s)", run, size=size))
    return lines


def _line(name: str, run: Run, *, size: int = 1) -> Measurement:
    return Measurement(
        group="peers",
        name=name,
        events_per_second=run.per_second * size,
        latencies_ms=percentiles_ms(run.latencies_seconds),
    )
