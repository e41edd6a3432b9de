"""`hakem backfill`: open the wallets of existing players (OPS-01), while they play."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from backend.app.domain.backfill.backfill import (
    BATCH_SIZE_DEFAULT,
    BATCH_SIZE_MAX,
    FORCED_MAX_DEFAULT,
    REASONS,
    BackfillCounts,
    BackfillRefused,
    BackfillWallets,
    NotedPlayer,
    Outcome,
)
from backend.app.domain.money import CURRENCY_EXPONENTS, format_amount
from backend.app.services import logs
from backend.app.services.backfill.backfill import BackfillProgress, BackfillReport, OnProgress, WalletBackfill
from backend.app.services.backfill.backfill_plan import BackfillPlan
from backend.config import Settings
from backend.scripts.connection import open_database, operator

# Where nobody watches a bar, one line every so often.
LINE_EVERY_SECONDS: Final = 5.0


def backfill(
    batch_size: Annotated[
        int, typer.Option(min=1, max=BATCH_SIZE_MAX, help="The most players of one transaction.")
    ] = BATCH_SIZE_DEFAULT,
    tenant_id: Annotated[UUID | None, typer.Option(help="One tenant; else all of them, in turn.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Where both sides differ, move the one that does not decide.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an unfinished run stopped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")] = False,
    max_rows: Annotated[
        int, typer.Option(min=0, help="The most wallets that --force may move; more is refused.")
    ] = FORCED_MAX_DEFAULT,
    reason: Annotated[str | None, typer.Option(help="Why, for the ledger and the audit.")] = None,
) -> None:
    """Open the wallets of existing players from their legacy balances; running it again is harmless.

    Wallets that are open are left alone. Exit 1 when players could not be taken or wallets differ, 5 when refused.
    """
    logs.configure()
    command = BackfillWallets(
        tenant_id=tenant_id,
        actor=operator(),
        batch_size=batch_size,
        is_forced=force,
        is_dry_run=dry_run,
        is_resumed=resume,
        forced_max=max_rows,
        reason=reason,
    )
    settings = Settings.load()
    # With --json standard output is the summary alone, so that another program can read it.
    out = Console(stderr=as_json, highlight=False, soft_wrap=True)
    report = asyncio.run(_run(command, settings=settings))
    _print(report, command, out=out)
    print(json.dumps(report.counts.summary) if as_json else report.counts)
    if report.refusals:
        raise BackfillRefused("; ".join(report.refusals))
    if report.counts.has_differences:
        raise typer.Exit(1)


async def _run(command: BackfillWallets, *, settings: Settings) -> BackfillReport:
    async with open_database(settings) as database:
        with _progress() as on_progress:
            return await WalletBackfill(database, command, on_progress=on_progress, on_plan=_show_plan).run()


def _show_plan(plan: BackfillPlan) -> None:
    print(f"plan: {plan.counts}", file=sys.stderr)
    for player in plan.differences:
        print(f"plan: {_line(player)}", file=sys.stderr)


def _print(report: BackfillReport, command: BackfillWallets, *, out: Console) -> None:
    if command.is_dry_run:
        out.print("dry run: the database was not changed", markup=False)
    if report.plan is not None:
        for total in report.plan.totals:
            if total.outcome in {Outcome.CREATED, Outcome.UPDATED_FORCED}:
                available = _amount(total.available_minor, total.currency)
                held = _amount(total.held_minor, total.currency)
                out.print(
                    f"money {total.outcome} currency={total.currency} players={total.players} "
                    f"available={available} held={held}",
                    markup=False,
                )
        if not command.is_dry_run:
            out.print(f"plan   {report.plan.counts}\nactual {report.counts}", markup=False)
    for player in report.noted:
        out.print(_line(player), markup=False)
    _print_hints(report.counts, out=out)


def _print_hints(counts: BackfillCounts, *, out: Console) -> None:
    if counts.differing:
        out.print(f"differing={counts.differing}: opened wallets whose two sides differ, left alone", markup=False)
    if counts.unexplained_holds:
        out.print(f"unexplained_holds={counts.unexplained_holds}: look at their open withdrawals", markup=False)


def _line(player: NotedPlayer) -> str:
    legacy = f"{_amount(player.legacy_available, player.currency)}/{_amount(player.legacy_held, player.currency)}"
    ledger = "none"
    if player.ledger_available is not None and player.ledger_pending is not None:
        ledger = (
            f"{_amount(player.ledger_available, player.currency)}/{_amount(player.ledger_pending, player.currency)}"
        )
    reason = REASONS.get(player.code, player.code)
    detail = f" ({player.detail})" if player.detail else ""
    return (
        f"{player.code} player={player.player_id} {player.currency} legacy={legacy} ledger={ledger}: {reason}{detail}"
    )


def _amount(amount_minor: int, currency: str) -> str:
    if currency in CURRENCY_EXPONENTS:
        return format_amount(amount_minor, currency=currency)
    return f"{amount_minor} minor units"


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Shows how far a run is, on stderr: a bar on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LineProgress()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("backfill", total=None)

        def show(progress: BackfillProgress) -> None:
            bar.update(
                task,
                total=progress.players_total or None,
                completed=progress.counts.scanned,
                description=_describe(progress),
            )

        yield show


def _describe(progress: BackfillProgress) -> str:
    text = f"{progress.tenant} {progress.phase} {progress.counts.scanned:,} of {progress.players_total:,}"
    text += f", {progress.rows_per_second:,.0f} players/s"
    left = progress.players_total - progress.counts.scanned
    if progress.rows_per_second and left > 0:
        text += f", about {left / progress.rows_per_second:,.0f} s left"
    if progress.counts.errors or progress.counts.differing:
        text += f", {progress.counts.errors} errors, {progress.counts.differing} differing"
    if progress.throttled_by is not None:
        text += f", throttled: {progress.throttled_by}"
    return text


class _LineProgress:
    """One line on stderr every LINE_EVERY_SECONDS."""

    def __init__(self) -> None:
        self._last_line = time.monotonic()

    def __call__(self, progress: BackfillProgress) -> None:
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            print(_describe(progress), file=sys.stderr, flush=True)
