"""`hakem verify`: is the ledger right? Looks at everything, changes nothing, and names what does not fit."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from backend.app.domain.backfill.census import CensusReport, ClassCount, Difference, Progress
from backend.app.domain.money import CURRENCY_EXPONENTS, format_amount
from backend.app.services import logs
from backend.app.services.backfill.census import Census
from backend.config import Settings
from backend.scripts.connection import open_database, operator

LINE_EVERY_SECONDS: Final = 5.0
# How many differences of a class are printed for people; --json has all that are named.
PRINTED_PER_CLASS: Final = 3
# Where no terminal says how wide it is: identifiers must not be cut off.
WIDTH_WITHOUT_TERMINAL: Final = 200


def verify(
    tenant_id: Annotated[UUID | None, typer.Option(help="Only this tenant; without it, all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew even if an earlier run was cut off.")] = False,
) -> None:
    """Re-derive every wallet from its transactions and compare it with all that is said about it.

    Works on a running service; what it finds is confirmed before it is reported. A run that was cut off within the last
    hour is gone on with. Exit 0: clean. Exit 1: differences, with the first bad row of each class.
    """
    # The report is printed; log lines on standard error are for what it cannot say.
    logs.configure(level=40)
    started = time.monotonic()
    reports = asyncio.run(_run(Settings.load(), tenant_id, is_fresh=fresh))
    seconds = time.monotonic() - started
    if as_json:
        print(json.dumps(_document(reports, seconds=seconds), default=str))
    else:
        _print(reports, seconds=seconds)
    if not all(report.is_clean for report in reports):
        raise typer.Exit(1)


async def _run(settings: Settings, tenant_id: UUID | None, *, is_fresh: bool) -> list[CensusReport]:
    actor = operator()
    async with open_database(settings) as database:
        census = Census(database)
        tenant_ids = await census.list_tenant_ids() if tenant_id is None else [tenant_id]
        with _progress() as on_progress:
            return [
                await census.run(each, started_by=actor.label, is_fresh=is_fresh, on_progress=on_progress)
                for each in tenant_ids
            ]


def _document(reports: Sequence[CensusReport], *, seconds: float) -> dict[str, Any]:
    return {
        "is_clean": all(report.is_clean for report in reports),
        "tenants": len(reports),
        "players": sum(report.players for report in reports),
        "transactions": sum(report.transactions for report in reports),
        "differences": sum(report.found for report in reports),
        "seconds": round(seconds, 3),
        "runs": [_run_document(report) for report in reports],
    }


def _run_document(report: CensusReport) -> dict[str, Any]:
    return {
        "run_id": report.run.id,
        "tenant_id": report.run.tenant_id,
        "state": report.run.state,
        "started_at": report.run.started_at.isoformat(),
        "finished_at": None if report.run.finished_at is None else report.run.finished_at.isoformat(),
        "started_by": report.run.started_by,
        "resumes": report.run.resumes,
        "sides_compared": report.run.sides_compared,
        "unconfirmed": report.run.unconfirmed,
        "paused_seconds": report.run.paused_ms / 1000,
        "totals": [total._asdict() for total in report.totals],
        "accounts": [account._asdict() for account in report.accounts],
        "classes": [
            {
                "class": count.difference_class,
                "differences": count.differences,
                "amount_minor": count.amount_minor,
                "named": [_difference_document(each) for each in _of_class(report, count)],
            }
            for count in report.counts
        ],
    }


def _difference_document(difference: Difference) -> dict[str, Any]:
    return {
        "player_id": difference.player_id,
        "currency": difference.currency,
        "wallet_version": difference.wallet_version,
        "reference": difference.reference,
        "amount_minor": difference.amount_minor,
        "evidence": difference.evidence,
    }


def _of_class(report: CensusReport, count: ClassCount) -> list[Difference]:
    return [each for each in report.differences if each.difference_class == count.difference_class]


def _print(reports: Sequence[CensusReport], *, seconds: float) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    console.print(_totals_table(reports))
    for report in reports:
        if report.run.sides_compared is False:
            print(f"tenant {report.run.tenant_id}: shadow writing was off, so the two sides were not compared")
        if report.run.resumes:
            print(f"tenant {report.run.tenant_id}: went on with a run that began at {report.run.started_at:%H:%M:%S}Z")
        for count in report.counts:
            _print_class(report, count)
    verdict = "clean" if all(report.is_clean for report in reports) else "differences"
    print(
        f"{verdict}: tenants={len(reports)} players={sum(report.players for report in reports)} "
        f"transactions={sum(report.transactions for report in reports)} "
        f"differences={sum(report.found for report in reports)} seconds={seconds:.1f}"
    )


def _totals_table(reports: Sequence[CensusReport]) -> Table:
    table = Table()
    table.add_column("tenant", no_wrap=True)
    table.add_column("currency")
    for column in ("players", "opened", "transactions", "legacy", "snapshot", "fold", "open withdrawals", "house"):
        table.add_column(column, justify="right")
    for report in reports:
        for total in report.totals:
            house = sum(account.balance for account in report.accounts if account.currency == total.currency)
            money = (
                total.legacy_available + total.legacy_held,
                total.snapshot_available + total.snapshot_pending,
                total.folded_available + total.folded_pending,
                total.open_withdrawals,
                house,
            )
            table.add_row(
                str(report.run.tenant_id),
                total.currency,
                f"{total.players:,}",
                f"{total.opened_wallets:,}",
                f"{total.transactions:,}",
                *(_amount(amount_minor, total.currency) for amount_minor in money),
            )
    return table


def _print_class(report: CensusReport, count: ClassCount) -> None:
    print(f"{count.difference_class}: {count.differences} in tenant {report.run.tenant_id}")
    for difference in _of_class(report, count)[:PRINTED_PER_CLASS]:
        facts = {
            "player_id": difference.player_id,
            "wallet_version": difference.wallet_version,
            "reference": difference.reference,
            "amount": f"{_amount(difference.amount_minor, difference.currency)} {difference.currency}",
        }
        told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        print(f"  {told} {json.dumps(difference.evidence, default=str)}")


def _amount(amount_minor: int, currency: str) -> str:
    """In major units; a currency that a bad row made up has no exponent and is shown as it stands."""
    return format_amount(amount_minor, currency=currency) if currency in CURRENCY_EXPONENTS else str(amount_minor)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Says on standard error how far a run is: one line that changes on a terminal, lines now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LineProgress()
        return
    started = time.monotonic()
    with console.status("census") as status:
        yield lambda progress: status.update(_line(progress, seconds=time.monotonic() - started))


class _LineProgress:
    """One line on standard error every LINE_EVERY_SECONDS."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last_line = self._started

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_SECONDS:
            return
        self._last_line = now
        print(_line(progress, seconds=now - self._started), file=sys.stderr, flush=True)


def _line(progress: Progress, *, seconds: float) -> str:
    rate = progress.players / max(seconds, 0.001)
    text = (
        f"tenant {progress.tenant_id}: {progress.players:,} players, {progress.transactions:,} transactions, "
        f"{rate:,.0f} players/s, chunks of {progress.chunk_players:,}, differences {progress.differences:,}"
    )
    return f"{text}; waiting: {progress.paused_because}" if progress.paused_because else text
