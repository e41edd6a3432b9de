"""`hakem rollout evaluate`, `watch`, `selftest` and `auto-rollback`: the monitor from a shell."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from backend.app.domain.errors import FieldError
from backend.app.domain.monitor.thresholds import Thresholds
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import tenant_repo
from backend.app.repositories.database import Database
from backend.app.repositories.monitor.verdict_repo import ShownVerdict
from backend.app.services import logs
from backend.app.services.monitor.monitor import Evaluated, Evaluation, Monitor
from backend.app.services.monitor.monitor_reader import Fleet, MonitorReader
from backend.app.services.monitor.selftest import Selftest
from backend.app.wiring import VERSION, build_monitor
from backend.config import Settings
from backend.scripts.connection import open_database, operator

REFRESH_SECONDS: Final = 5.0
# Where no terminal says how wide it is: sentences must not be cut off.
WIDTH_WITHOUT_TERMINAL: Final = 240
COLORS: Final = {"light": "yellow", "high": "red", "sustained": "red", "critical": "bold red", "ok": "green"}


def evaluate(
    at: Annotated[
        str | None, typer.Option(help="A past time (RFC 3339), in UTC unless it says otherwise; without it, now.")
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON with other thresholds; what it leaves out stays."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="One tenant, by slug or id; else everybody.")] = None,
    act: Annotated[
        bool, typer.Option("--act", help="Keep verdicts and act on them, as the monitor itself does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what the monitor says of the evidence, now or at any past time of which minutes are kept.

    Changes nothing without --act. Exit 1 when a verdict is light or worse.
    """
    logs.configure(level=40)
    if act and (at is not None or thresholds is not None):
        raise typer.BadParameter("what is done now is done by the numbers of now: --act goes with neither")
    moment = None if at is None else _parse_moment(at)
    evaluation = asyncio.run(_evaluate(Settings.load(), moment, _read_thresholds(thresholds), tenant, act=act))
    if as_json:
        print(json.dumps(_document(evaluation), default=str))
    else:
        _print(evaluation)
    if any(each.decided.verdict.severity for each in evaluation.subjects):
        raise typer.Exit(1)


def watch(
    every: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Seconds between two looks.")] = REFRESH_SECONDS,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    language: Annotated[str, typer.Option(help="tr or en.")] = "en",
) -> None:
    """Show what stands, as it changes: a table on a terminal, lines where there is none."""
    logs.configure(level=40)
    if language not in ("tr", "en"):
        raise typer.BadParameter("tr or en")
    asyncio.run(_watch(Settings.load(), every_seconds=every, is_once=once, language=language))


def selftest(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Plant faults in the sandbox and see whether the verdicts come. Exit 1 when one does not."""
    logs.configure(level=50)
    report = asyncio.run(_selftest(Settings.load()))
    if as_json:
        print(json.dumps({"outcome": report.outcome, "findings": report.findings}, default=str))
    else:
        for name, finding in report.findings.items():
            if isinstance(finding, dict):
                mark = "ok  " if finding["is_as_expected"] else "FAIL"
                print(f"{mark} {name}: expected {finding['expected']}, found {finding['found']}")
            else:
                print(f"{name}: {finding}")
        print(f"selftest {report.outcome}")
    if report.outcome == "failed":
        raise typer.Exit(1)


def auto_rollback(
    tenant: Annotated[str, typer.Argument(help="The tenant, by slug or id.")],
    value: Annotated[str, typer.Argument(help="on or off")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")],
) -> None:
    """Let the monitor roll a tenant back without asking anybody, or not any more."""
    logs.configure(level=40)
    if value not in ("on", "off"):
        raise typer.BadParameter("on or off")
    asyncio.run(_set_auto_rollback(Settings.load(), tenant, is_on=value == "on", reason=reason))
    print(f"auto_rollback of {tenant} is {value}")


def _parse_moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FieldError("at", f"is no time: {text}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_thresholds(path: Path | None) -> Thresholds | None:
    if path is None:
        return None
    try:
        return Thresholds.from_json(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise FieldError("thresholds", f"{path}: {error}") from None


async def _evaluate(
    settings: Settings, at: datetime | None, thresholds: Thresholds | None, tenant: str | None, *, act: bool
) -> Evaluation:
    async with open_database(settings) as database:
        monitor = build_monitor(database)
        tenant_id = None if tenant is None else await find_tenant(database, tenant)
        if act:
            return await monitor.evaluate(tenant_id=tenant_id)
        return await monitor.preview(at=at, tenant_id=tenant_id, thresholds=thresholds)


async def find_tenant(database: Database, text: str) -> UUID:
    """The tenant that somebody names by its id or its slug. Raises TenantNotFound."""
    try:
        return UUID(text)
    except ValueError:
        async with database.connection() as conn:
            tenant_id = await tenant_repo.find_id(conn, slug=text)
    if tenant_id is None:
        raise TenantNotFound(f"there is no tenant {text}")
    return tenant_id


async def _selftest(settings: Settings) -> Any:
    async with open_database(settings) as database:
        monitor: Monitor = build_monitor(database)
        return await Selftest(database, monitor, app_version=VERSION).run(started_by=operator().label)


async def _set_auto_rollback(settings: Settings, tenant: str, *, is_on: bool, reason: str) -> None:
    async with open_database(settings) as database:
        tenant_id = await find_tenant(database, tenant)
        await build_monitor(database).set_auto_rollback(tenant_id, is_on=is_on, reason=reason, actor=operator())


async def _watch(settings: Settings, *, every_seconds: float, is_once: bool, language: str) -> None:
    console = Console()
    async with open_database(settings) as database:
        reader = MonitorReader(database)
        if is_once or not console.is_terminal:
            while True:
                _print_lines(await reader.read_fleet(), language=language)
                if is_once:
                    return
                await asyncio.sleep(every_seconds)
        with Live(console=console, auto_refresh=False, screen=False) as live:
            while True:
                live.update(_table(await reader.read_fleet(), language=language), refresh=True)
                await asyncio.sleep(every_seconds)


def _table(fleet: Fleet, *, language: str) -> Table:
    age = fleet.last_evaluation.age_seconds
    when = "never" if age is None else f"{age:.0f} s ago"
    table = Table(title=f"{time.strftime('%H:%M:%S', time.gmtime())}Z, evaluated {when}", expand=True)
    for column in ("who", "trigger", "verdict", "since", "score", "acknowledged"):
        table.add_column(column, no_wrap=True)
    table.add_column("why", ratio=1)
    for each in fleet.verdicts:
        color = COLORS.get(each.verdict, "dim")
        table.add_row(
            each.name,
            each.trigger,
            f"[{color}]{each.verdict}[/{color}]",
            f"{each.since:%m-%d %H:%M}",
            f"{each.score:.1f}",
            each.acknowledged_by or "",
            each.sentences.get(language, "") if each.verdict not in ("ok", "no_data") else "",
        )
    return table


def _print_lines(fleet: Fleet, *, language: str) -> None:
    age = fleet.last_evaluation.age_seconds
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    print(f"{stamp} evaluated={'never' if age is None else f'{age:.0f}s ago'} verdicts={len(fleet.verdicts)}")
    for each in fleet.verdicts:
        print(_line(each, language=language))
    sys.stdout.flush()


def _line(shown: ShownVerdict, *, language: str) -> str:
    facts = (
        f"  {shown.name} {shown.trigger} {shown.verdict} since={shown.since:%Y-%m-%dT%H:%MZ} score={shown.score:.1f}"
    )
    return facts if shown.verdict in ("ok", "no_data") else f"{facts} {shown.sentences.get(language, '')}"


def _print(evaluation: Evaluation) -> None:
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL, highlight=False, soft_wrap=True)
    verb = "acted on" if evaluation.is_acted else "looked at, nothing was changed"
    console.print(f"at {evaluation.now.isoformat(timespec='seconds')}: {len(evaluation.subjects)} subjects {verb}")
    for each in _in_order(evaluation.subjects):
        console.print(f"{each.subject.name} {each.subject.trigger} {each.decided.verdict}", markup=False)
        if each.decided.verdict.severity:
            console.print(f"  {each.decided.sentences['en']}\n  {each.decided.sentences['tr']}", markup=False)
            for step in each.decided.automatic:
                console.print(f"  by itself: {step.action}", markup=False)
            for step in each.decided.recommended:
                console.print(f"  do: {step.command or step.action}", markup=False)


def _in_order(subjects: Sequence[Evaluated]) -> list[Evaluated]:
    return sorted(subjects, key=lambda each: (-each.decided.verdict.rank, each.subject.name, each.subject.trigger))


def _document(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "now": evaluation.now.isoformat(),
        "is_acted": evaluation.is_acted,
        "thresholds": evaluation.thresholds.to_json(),
        "version": evaluation.thresholds.version,
        "subjects": [
            {
                "subject_kind": each.subject.kind.value,
                "subject": each.subject.key,
                "name": each.subject.name,
                "trigger": each.subject.trigger.value,
                "verdict_before": each.verdict_before.value,
                "verdict": each.decided.verdict.value,
                "sentences": dict(each.decided.sentences),
                "actions": each.decided.actions_document,
                "assessments": [assessment.to_json() for assessment in each.decided.assessments],
                "decision_id": None if each.decision_id is None else str(each.decision_id),
                "is_rolled_back": each.is_rolled_back,
            }
            for each in _in_order(evaluation.subjects)
        ],
    }
