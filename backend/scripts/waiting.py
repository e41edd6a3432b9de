"""hakem waiting: what is not finished, since when, and why."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from backend.app.domain.money import format_amount
from backend.app.services.desk.waiting import Waiting, WaitingReport
from backend.config import Settings
from backend.scripts.connection import open_database

LIMIT_MAX: Final = 1000
PIPE_COLUMNS: Final = 200


def waiting(
    tenant_id: Annotated[UUID | None, typer.Option(help="Only this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="How many of each kind.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what waits and why: payouts and deposits without an end, provider events, withdrawals that need a person."""
    report = asyncio.run(_report(tenant_id, limit=limit))
    if as_json:
        document = {
            "items": [item._asdict() for item in report.items],
            "withdrawals": [
                queue._asdict() | {"amount": format_amount(queue.amount, currency=queue.currency)}
                for queue in report.queues
            ],
        }
        print(msgspec.json.encode(document).decode())
        return
    _print(report, now=datetime.now(UTC))


async def _report(tenant_id: UUID | None, *, limit: int) -> WaitingReport:
    async with open_database(Settings.load()) as database:
        return await Waiting(database).report(tenant_id, limit=limit)


def _print(report: WaitingReport, *, now: datetime) -> None:
    # In a pipe or a file nothing is folded to the width of a terminal that is not there.
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_COLUMNS)
    if not report.items and not report.queues:
        console.print("nothing waits")
        return
    if report.items:
        table = Table("kind", "what", "state", "since", "asked", "again in", "why", box=box.SIMPLE, title="Under way")
        for item in report.items:
            again = "needs a person" if item.next_at is None else _span(item.next_at - now)
            table.add_row(
                item.kind, item.subject, item.state, _span(now - item.since), str(item.checks), again, item.reason
            )
        console.print(table)
    if report.queues:
        table = Table("tenant", "state", "withdrawals", "amount", "oldest", box=box.SIMPLE, title="For a person")
        for queue in report.queues:
            amount = f"{format_amount(queue.amount, currency=queue.currency)} {queue.currency}"
            table.add_row(
                str(queue.tenant_id), queue.state, str(queue.withdrawals), amount, _span(now - queue.oldest_at)
            )
        console.print(table)


def _span(span: timedelta) -> str:
    """A length of time in its largest unit; what is past is now."""
    seconds = int(span.total_seconds())
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"
