"""The command: choose drivers and how long each measures; prints tables and keeps RESULTS.md."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import (
    backfill,
    bounds,
    census,
    console,
    door,
    flip,
    group_commit,
    history,
    http_webhook,
    http_withdraw,
    peers,
    pgbench,
    reconciliation,
    report,
)
from bench.context import TPCB_DATABASE, Context, Driver, Skipped
from bench.report import Section
from bench.server import BenchServer

DRIVERS: Final[dict[str, tuple[str, Driver]]] = {
    "tpcb": ("pgbench", peers.measure_tpcb),
    "pgledger": ("pgledger", peers.measure_pgledger),
    "door": ("The one door, from SQL", door.measure),
    "naive": ("The same schema without the door", bounds.measure_naive),
    "ceiling": ("The writes without the decisions", bounds.measure_ceiling),
    "writer": ("Group commit, in one process", group_commit.measure),
    "http": ("HTTP withdraw, one service process", http_withdraw.measure),
    "webhook": ("Webhooks beside withdrawals, one service process", http_webhook.measure),
    "flip": ("Flips of the arbiter beside withdrawals", flip.measure),
    "history": ("Cost of history", history.measure_history),
    "backfill": ("Backfill", backfill.measure),
    "census": ("Census of a large tenant", census.measure),
    "reconciliation": ("Reconciliation with a provider", reconciliation.measure),
    "console": ("Every page of the console over a long past", console.measure),
    "storage": ("Storage", history.measure_storage),
    "start": ("Start", history.measure_start),
}
REFERENCE_SECONDS: Final = 2.0
HISTORY_ROWS_MAX: Final = 10_000_000
CENSUS_PLAYERS_MAX: Final = 10_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen drivers; 0 when all ran or were skipped with a reason."""
    options = _parse(arguments)
    chosen = options.only or list(DRIVERS)
    sections: list[Section] = []
    with BenchServer() as server:
        context = Context(
            server=server,
            seconds=options.seconds,
            history_rows=options.history_rows,
            backfill_players=options.backfill_players,
            census_players=options.census_players,
            reconciliation_rows=options.reconciliation_rows,
            console_transactions=options.console_transactions,
            peer_sql=options.peer_sql,
        )
        server.clone(TPCB_DATABASE, is_empty=True)
        pgbench.initialise_tpcb(server.urls(TPCB_DATABASE).superuser)
        facts = [*server.facts(), f"{options.seconds:g} s per line"]
        print("\n".join(facts), end="\n\n", flush=True)
        before = context.tpcb_per_second(seconds=REFERENCE_SECONDS)
        for name in chosen:
            title, driver = DRIVERS[name]
            try:
                lines = driver(context)
            except Skipped as reason:
                section = Section(title=title, tpcb_per_second=0.0, lines=(), skipped=str(reason))
            else:
                after = context.tpcb_per_second(seconds=REFERENCE_SECONDS)
                section = Section(title=title, tpcb_per_second=(before + after) / 2, lines=lines)
                before = after
            sections.append(section)
            print(report.table(section), flush=True)
    print(report.ratios(sections))
    if options.write:
        report.write(sections, facts=facts, today=datetime.now(UTC).date())
        print(f"wrote {report.RESULTS.name}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=_names, help=f"comma-separated, of: {', '.join(DRIVERS)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each line is measured (default: 5)")
    parser.add_argument(
        "--history-rows", type=_history_rows, default=1_000_000, help="length of the long ledger (default: 1000000)"
    )
    parser.add_argument(
        "--backfill-players",
        type=_backfill_players,
        default=1_000_000,
        help="players whose wallets are opened (default: 1000000)",
    )
    parser.add_argument(
        "--census-players", type=_census_players, default=1_000_000, help="players of the census (default: 1000000)"
    )
    parser.add_argument(
        "--reconciliation-rows",
        type=_reconciliation_rows,
        default=1_000_000,
        help="lines of the provider, and as many transactions (default: 1000000)",
    )
    parser.add_argument(
        "--console-transactions",
        type=_console_transactions,
        default=1_000_000,
        help="ledger transactions behind the console's pages, all else in proportion (default: 1000000)",
    )
    parser.add_argument(
        "--peer-sql", type=Path, action="append", default=[], help="an SQL file of pgledger; may be repeated"
    )
    parser.add_argument(
        "--write", action=argparse.BooleanOptionalAction, default=None, help="rewrite RESULTS.md (default: full runs)"
    )
    options = parser.parse_args(arguments)
    if options.seconds < 1:
        parser.error("--seconds: at least 1")
    if options.write is None:
        # A partial run must not wipe the lines that it did not take.
        options.write = options.only is None
    return options


def _names(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    if unknown := [name for name in names if name not in DRIVERS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return names


def _history_rows(value: str) -> int:
    rows = int(value)
    if not 10_000 <= rows <= HISTORY_ROWS_MAX:
        raise argparse.ArgumentTypeError(f"from 10000 to {HISTORY_ROWS_MAX}")
    return rows


def _backfill_players(value: str) -> int:
    players = int(value)
    if not 100_000 <= players <= HISTORY_ROWS_MAX:
        raise argparse.ArgumentTypeError(f"from 100000 to {HISTORY_ROWS_MAX}")
    return players


def _census_players(value: str) -> int:
    players = int(value)
    if not 1_000 <= players <= CENSUS_PLAYERS_MAX:
        raise argparse.ArgumentTypeError(f"from 1000 to {CENSUS_PLAYERS_MAX}")
    return players


def _reconciliation_rows(value: str) -> int:
    rows = int(value)
    if not 20_000 <= rows <= HISTORY_ROWS_MAX or rows % 10_000:
        raise argparse.ArgumentTypeError(f"tens of thousands, from 20000 to {HISTORY_ROWS_MAX}")
    return rows


def _console_transactions(value: str) -> int:
    transactions = int(value)
    if not 100_000 <= transactions <= HISTORY_ROWS_MAX:
        raise argparse.ArgumentTypeError(f"from 100000 to {HISTORY_ROWS_MAX}")
    return transactions


if __name__ == "__main__":
    sys.exit(main())
