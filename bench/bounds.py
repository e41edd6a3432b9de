"""Two bounds in the same schema: a client that locks rows and decides for itself, and writing without deciding."""

from bench import pgbench
from bench.context import Context
from bench.measure import Measurement, percentiles_ms
from bench.workload import CURRENCY, DUPLICATES, PLAYERS, TENANT, Spread


def measure_naive(context: Context) -> list[Measurement]:
    """A transaction of eight statements per request, 16 connections."""
    urls = context.server.clone("naive")
    lines = []
    for is_hot, spread in enumerate((Spread.UNIFORM, Spread.HOT)):
        run = pgbench.run(
            urls.superuser,
            script="naive",
            clients=16,
            seconds=context.seconds,
            defines=_defines(f"naive{is_hot}") | {"duplicates": round(DUPLICATES * 100), "is_hot": is_hot},
        )
        lines.append(
            Measurement(
                group="naive",
                name=f"row locks from the client, 16 connections, {spread}",
                events_per_second=run.per_second,
                latencies_ms=percentiles_ms(run.latencies_seconds),
            )
        )
    return lines


def measure_ceiling(context: Context) -> list[Measurement]:
    """The door's writes alone, in bulk. Connections more than one could deadlock without sorted locks."""
    urls = context.server.clone("ceiling")
    lines = []
    for size in (1, 64, 256):
        run = pgbench.run(
            urls.superuser,
            script="ceiling",
            clients=1,
            seconds=context.seconds,
            defines=_defines(f"ceiling{size}") | {"size": size},
        )
        lines.append(
            Measurement(
                group="ceiling",
                name=f"writes without decisions, {size} per statement, 1 connection(s)",
                events_per_second=run.per_second * size,
                latencies_ms=percentiles_ms(run.latencies_seconds),
            )
        )
    return lines


def _defines(run: str) -> dict[str, int | str]:
    return {
        "tenant": str(TENANT),
        "currency": CURRENCY,
        "players": PLAYERS,
        "run": run,
        "sent": 1,
        # Given, not written: pgbench takes the colon in 'player:held' for a variable, even inside quotes.
        "debit_account": "player:available",
        "credit_account": "player:held",
    }
