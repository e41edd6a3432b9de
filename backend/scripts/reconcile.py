"""`hakem reconcile`: compare providers with the ledger, here and now, whether or not a service is running."""

import asyncio
import json
from typing import Annotated
from uuid import UUID

import typer

from backend.app import mockpsp_mount
from backend.app.domain.errors import AppError
from backend.app.domain.reconciliation.reconciliation import Run, RunStatus, RunTaken, StartRun
from backend.app.repositories import home
from backend.app.repositories.engine import resolve
from backend.app.repositories.faults import DatabaseUnsuitable
from backend.app.services import logs
from backend.app.services.reconciliation.reconciliation import Reconciliation
from backend.app.wiring import sources_of
from backend.config import Settings
from backend.scripts import run_report, settlement
from backend.scripts.connection import open_pools, operator

app = typer.Typer(help="Compare what providers moved with what the ledger has.", no_args_is_help=True)
app.command("file")(settlement.file)
app.add_typer(settlement.mappings, name="mapping")
POLL_SECONDS = 0.5


@app.callback()
def reconcile() -> None:
    """Compare what providers moved with what the ledger has."""


@app.command("run")
def run(
    provider: Annotated[str, typer.Option(help="The provider to compare with.")] = "mockpsp",
    tenant_id: Annotated[UUID | None, typer.Option(help="Only this tenant; without it, all of them.")] = None,
    full: Annotated[bool, typer.Option("--full", help="From the beginning, matched pairs once more.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no finding; only count.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as one JSON document.")] = False,
) -> None:
    """Wait for one reconciliation and print what it found.

    It goes on with a run that was cut off. Exit 0: compared completely. Exit 1: partly, or not at all; the last line
    says why. What is open is listed by GET /api/v1/payments/reconciliation/findings.
    """
    logs.configure(level=40)
    done = asyncio.run(
        _run(
            home.with_dev_secrets(Settings.load()),
            StartRun(
                provider=provider,
                tenant_id=tenant_id,
                started_by=operator().label,
                is_full=full,
                is_dry_run=dry_run,
            ),
        )
    )
    if as_json:
        print(json.dumps(run_report.document(done), default=str))
    else:
        run_report.print_run(done)
    if done.status != RunStatus.COMPLETED:
        raise typer.Exit(1)


async def _run(settings: Settings, command: StartRun) -> Run:
    with resolve(settings) as engine:
        if not engine.status().is_current:
            raise DatabaseUnsuitable("the schema is not at this release: run `hakem db migrate`")
        mockpsp = mockpsp_mount.connect(settings, engine, ourselves=None)
        async with open_pools(engine, settings) as database, mockpsp.running():
            try:
                return await _wait(Reconciliation(database, sources_of(mockpsp.adapter)), command)
            # The peer's life span would wrap a refusal in a group: it is carried past it.
            except AppError as error:
                refusal = error
        raise refusal


async def _wait(reconciliation: Reconciliation, command: StartRun) -> Run:
    run_id = await reconciliation.resume_or_start(command)
    while True:
        try:
            return await reconciliation.execute(run_id)
        except RunTaken:
            # A worker was quicker; its outcome is ours.
            await asyncio.sleep(POLL_SECONDS)
