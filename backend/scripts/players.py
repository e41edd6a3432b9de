"""`hakem players`: bring players in from another system."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from backend.app.domain.backfill.player_import import COLUMNS, ImportPlayers
from backend.app.domain.money import format_amount
from backend.app.repositories.home import open_home
from backend.app.services import logs
from backend.app.services.backfill.player_import import ImportProgress, ImportReport, PlayerImport
from backend.config import Settings
from backend.scripts.connection import open_database, operator

app = typer.Typer(help="Players: bring them in from another system.", no_args_is_help=True)

# Where nobody watches a bar, one line every so often.
LINE_EVERY_SECONDS: Final = 5.0
REJECTS_FOLDER: Final = "rejects"


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            exists=True,
            dir_okay=False,
            readable=True,
            help=f"CSV (UTF-8) with {', '.join(COLUMNS)}.",
        ),
    ],
    tenant_id: Annotated[UUID, typer.Option(help="The tenant that the players belong to.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
) -> None:
    """Import players from a CSV file; running it again is harmless.

    Balances are decimals in major units and go to the legacy columns; wallets stay unopened until the backfill.
    Players that exist are left as they are. Rows that cannot be taken go to a rejects file, with the reason; exit 1.
    """
    logs.configure()
    settings = Settings.load()
    command = ImportPlayers(
        tenant_id=tenant_id,
        file_name=file.name,
        actor=operator(),
        is_dry_run=dry_run,
        now=datetime.now(UTC),
    )
    with file.open("rb", buffering=0) as opened:
        report = asyncio.run(_run(command, opened, settings=settings))
    _print(report, is_dry_run=dry_run)
    if report.counts.rejected:
        raise typer.Exit(1)


async def _run(command: ImportPlayers, file: BinaryIO, *, settings: Settings) -> ImportReport:
    rejects_folder = open_home(settings.hakem_home) / REJECTS_FOLDER
    async with open_database(settings) as database:
        run = PlayerImport(database, command, file=file, rejects_folder=rejects_folder)
        with _progress(os.fstat(file.fileno()).st_size) as on_progress:
            return await run.run(on_progress)


def _print(report: ImportReport, *, is_dry_run: bool) -> None:
    if is_dry_run:
        print("dry run: the database was not changed")
    for total in report.totals:
        print(
            f"money currency={total.currency} players={total.players} "
            f"available={format_amount(total.available_minor, currency=total.currency)} "
            f"held={format_amount(total.held_minor, currency=total.currency)}"
        )
    if report.rejects_path is not None:
        print(f"rejects {report.rejects_path}")
    print(report.counts)


@contextmanager
def _progress(bytes_total: int) -> Iterator[Callable[[ImportProgress], None]]:
    """Shows how far a run is, on stderr: a bar on a terminal, lines elsewhere. A pipe has no total."""
    console = Console(stderr=True)
    started = time.monotonic()
    if not console.is_terminal:
        yield _LineProgress(bytes_total, started=started)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("importing", total=bytes_total or None)

        def show(progress: ImportProgress) -> None:
            seconds = max(time.monotonic() - started, 0.001)
            rows = progress.counts.read
            bar.update(task, completed=progress.bytes_read, description=f"{rows:,} rows, {rows / seconds:,.0f} rows/s")

        yield show


class _LineProgress:
    """One line on stderr every LINE_EVERY_SECONDS."""

    def __init__(self, bytes_total: int, *, started: float) -> None:
        self._bytes_total = bytes_total
        self._started = started
        self._last_line = started

    def __call__(self, progress: ImportProgress) -> None:
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_SECONDS:
            return
        self._last_line = now
        seconds = now - self._started
        text = f"{progress.counts}, {progress.counts.read / seconds:,.0f} rows/s"
        if self._bytes_total and progress.bytes_read:
            share = min(progress.bytes_read / self._bytes_total, 1.0)
            text += f", {share:.0%}, about {seconds * (1 - share) / share:,.0f} s left"
        print(text, file=sys.stderr, flush=True)
