"""What every driver is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import pgbench
from bench.measure import Measurement
from bench.server import BenchServer

TPCB_DATABASE: Final = "tpcb"
TPCB_CLIENTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run of the benchmark: its server, and what the command line said."""

    server: BenchServer
    seconds: float
    history_rows: int
    backfill_players: int
    census_players: int
    reconciliation_rows: int
    console_transactions: int
    peer_sql: Sequence[Path]

    def tpcb_per_second(self, *, seconds: float) -> float:
        """TPC-B at this moment: what all other figures are divided by, since the machine is never quite the same."""
        run = pgbench.run(
            self.server.urls(TPCB_DATABASE).superuser,
            script=None,
            clients=TPCB_CLIENTS,
            seconds=seconds,
            protocol="simple",
        )
        return run.per_second


Driver = Callable[[Context], list[Measurement]]


class Skipped(Exception):
    """A driver that cannot run here; the message is a sentence that says why."""
