"""Drives the one door directly: one event per call and many, from pgbench, as the service's role."""

from collections import Counter
from typing import Final

import psycopg

from bench import pgbench
from bench.context import Context
from bench.measure import Measurement, Outcome, percentiles_ms, shares
from bench.pgbench import Run
from bench.server import Urls
from bench.workload import AMOUNT_MAX, CURRENCY, DUPLICATES, PLAYERS, TENANT, Spread

CALL_CLIENTS: Final = 16
BATCHES: Final = ((1, 64), (2, 64), (2, 256))

# How the scripts call the spreads.
_SPREAD: Final = {Spread.UNIFORM: "uniform", Spread.ZIPF: "zipf", Spread.HOT: "hot"}


def drive(
    urls: Urls,
    *,
    spread: Spread,
    clients: int,
    size: int,
    seconds: float,
    run: str,
    per_second: float | None = None,
) -> tuple[Run, Counter[Outcome]]:
    """Send events for so long, `size` to a call; what pgbench saw, and how the events ended by the books."""
    before = _count_stored(urls.owner)
    done = pgbench.run(
        urls.service,
        script="door_call" if size == 1 else "door_batch",
        clients=clients,
        seconds=seconds,
        per_second=per_second,
        defines={
            "tenant": str(TENANT),
            "currency": CURRENCY,
            "players": PLAYERS,
            "amount_max": AMOUNT_MAX,
            "duplicates": round(DUPLICATES * 100),
            "size": size,
            "run": run,
            "spread": _SPREAD[spread],
            "sent": 1,
        },
    )
    stored = _count_stored(urls.owner) - before
    events = done.transactions * size
    stored[Outcome.REPLAYED] = max(0, events - stored[Outcome.APPLIED] - stored[Outcome.REFUSED])
    stored[Outcome.FAILED] = done.failures
    return done, stored


def measure(context: Context) -> list[Measurement]:
    """Closed loops, then an open one at half of the rate that was reached."""
    urls = context.server.clone("door")
    lines: list[Measurement] = []

    def add(name: str, *, spread: Spread, clients: int, size: int, per_second: float | None = None) -> Measurement:
        done, outcomes = drive(
            urls,
            spread=spread,
            clients=clients,
            size=size,
            seconds=context.seconds,
            run=f"door{len(lines)}",
            per_second=per_second,
        )
        lines.append(
            Measurement(
                group="door",
                name=name,
                events_per_second=done.per_second * size,
                latencies_ms=percentiles_ms(done.latencies_seconds),
                shares=shares(outcomes),
            )
        )
        return lines[-1]

    for spread in Spread:
        add(f"one event per call, {CALL_CLIENTS} connections, {spread}", spread=spread, clients=CALL_CLIENTS, size=1)
    for clients, size in BATCHES:
        add(
            f"{size} events per call, {clients} connection(s), uniform",
            spread=Spread.UNIFORM,
            clients=clients,
            size=size,
        )
    add("64 events per call, 2 connection(s), Zipf 1.0", spread=Spread.ZIPF, clients=2, size=64)
    half = (lines[0].events_per_second or 0) / 2
    add(
        f"one event per call, open loop at {half:,.0f}/s",
        spread=Spread.UNIFORM,
        clients=CALL_CLIENTS,
        size=1,
        per_second=half,
    )
    return lines


def _count_stored(owner_url: str) -> Counter[Outcome]:
    with psycopg.connect(owner_url) as conn:
        row = conn.execute(
            """
            SELECT
                (SELECT count(*) FROM ledger_transactions WHERE type = 'withdraw_requested'),
                (SELECT count(*) FROM ledger_refusals)
            """
        ).fetchone()
    assert row is not None, "a query of two scalars returns a row"
    return Counter({Outcome.APPLIED: row[0], Outcome.REFUSED: row[1]})
