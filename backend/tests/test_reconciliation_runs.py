"""Runs of reconciliation: one at a time, killed and gone on with, on schedule, for all tenants, by command."""

import asyncio
import json
import signal
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from backend.app.domain.reconciliation.reconciliation import Run, RunInProgress, RunTaken, StartRun
from backend.app.domain.reconciliation.statement import StatementPage
from backend.app.repositories.database import DatabaseAway
from backend.app.services.reconciliation.reconciliation_feed import StatementFeed
from backend.app.services.reconciliation.reconciliation_telemetry import measure
from backend.tests import commands
from backend.tests.conftest import Database
from backend.tests.factories import eventually
from backend.tests.reconciliation_world import PROVIDER, SmallPages, World, plant


async def test_dry_run_writes_no_finding_and_remembers_nothing(world: World) -> None:
    ids = await world.deposit(10)
    await world.drop(ids[:2])
    run = await world.run(is_dry_run=True)
    assert (run.status, run.counts["findings"], await world.found()) == ("completed", {"missing_in_psp": 2}, Counter())
    assert (await world.run()).counts["opened"] == {"missing_in_psp": 2}


async def test_run_that_is_killed_goes_on_and_finds_the_same(world: World) -> None:
    expected, _ = await plant(world)
    pages = SmallPages(world.psp, size=30)
    dying = Dying(pages, after=3)
    service = world.reconciliation
    run_id = await service.start(
        StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test"), is_deferred=False
    )
    with pytest.raises(DatabaseAway):
        await service.execute(run_id, source=replace(world.source, feed=dying))
    assert (await service.get(None, run_id=run_id)).status == "running"
    run = await service.execute(run_id, source=replace(world.source, feed=pages))
    assert (run.status, run.resumes, await world.found()) == ("completed", 1, expected)
    # The lines it had were not asked for again.
    assert run.counts["psp_lines"] == run.control_totals[world.account_id]["claimed"]["count"]


class Dying:
    """A feed whose reader loses everything after so many pages: the database is gone."""

    def __init__(self, feed: StatementFeed, *, after: int) -> None:
        self._feed = feed
        self._left = after

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        if self._left == 0:
            raise DatabaseAway
        self._left -= 1
        return await self._feed.list_transactions(account_id=account_id, from_at=from_at, to_at=to_at, cursor=cursor)


async def test_two_runs_at_once_are_one(world: World) -> None:
    service = world.reconciliation
    command = StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test")
    results = await asyncio.gather(
        *(service.start(command, is_deferred=False) for _ in range(5)), return_exceptions=True
    )
    (run_id,) = [each for each in results if isinstance(each, UUID)]
    refused = [each for each in results if isinstance(each, RunInProgress)]
    assert [each.extras["run_id"] for each in refused] == [str(run_id)] * 4
    await service.execute(run_id)
    assert await service.start(command, is_deferred=False) != run_id


async def test_owners_run_is_one_of_each_tenant(world: World) -> None:
    await world.owner.execute(
        "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES (%s, %s, %s)",
        (PROVIDER, world.account_id, world.tenant_id),
    )
    ids = await world.deposit(5)
    await world.drop(ids[:1])
    service = world.reconciliation
    run_id = await service.start(StartRun(provider=PROVIDER, tenant_id=None, started_by="test"), is_deferred=False)
    run = await service.execute(run_id)
    assert (run.status, run.tenant_id) == ("completed", None)
    assert run.counts["findings"]["missing_in_psp"] >= 1
    assert await world.found() == {"missing_in_psp": 1}


async def test_run_whose_process_is_killed_is_gone_on_with_by_another(world: World, own_database: Database) -> None:
    expected, _ = await plant(world)
    service = world.reconciliation
    run_id = await service.start(
        StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test"), is_deferred=False
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backend.tests.reconciliation_process", own_database.service_url, str(run_id), "5"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -signal.SIGKILL, output.decode()
    assert (await service.get(None, run_id=run_id)).status == "running"

    async def is_free() -> bool:
        try:
            await service.execute(run_id, source=replace(world.source, feed=SmallPages(world.psp, size=10)))
        except RunTaken:
            return False
        return True

    await eventually(is_free, what="the lock of a dead session is free")
    run = await service.get(None, run_id=run_id)
    assert (run.status, run.resumes, await world.found()) == ("completed", 1, expected)


async def test_command_compares_and_prints_the_counts_with_no_service_running(
    world: World, own_database: Database, tmp_path: Path
) -> None:
    ids = await world.deposit(3)
    await world.owner.execute(
        "UPDATE mockpsp.events SET occurred_at = occurred_at - INTERVAL '1 hour' WHERE account_id = %s",
        (world.account_id,),
    )
    await world.alter(ids[:1], "amount = amount + 1")

    async def hakem(*arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(*commands.words(), "reconcile", "run", *arguments),
            env=commands.environment_of(own_database, tmp_path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, (output or errors).decode()

    code, output = await hakem("--tenant-id", str(world.tenant_id), "--json")
    document = json.loads(output)
    assert (code, document["status"], document["counts"]["opened"]) == (0, "completed", {"amount_mismatch": 1})
    code, output = await hakem("--tenant-id", str(world.tenant_id), "--full")
    assert (code, output.splitlines()[0]) == (0, "findings: amount_mismatch=1")
    assert "opened: none" in output
    code, output = await hakem("--provider", "nobody")
    assert (code, "nobody" in output) == (2, True)


async def test_metrics_count_what_is_open_and_say_since_when_silence_counts(world: World) -> None:
    def metric(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"hakem_reconciliation_{name}", labels)

    young = {"finding_type": "balance_drift", "severity": "high", "age": "1d"}
    assert metric("findings_open", **young) is not None
    await world.owner.execute(
        "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES (%s, %s, %s)",
        (PROVIDER, world.account_id, world.tenant_id),
    )
    tenant = {"tenant": str(world.tenant_id), "provider": PROVIDER}
    await measure(world.pools, now=world.now)
    before = metric("findings_open", **young) or 0
    assert metric("success_timestamp_seconds", **tenant) == 0
    await world.run()
    await world.owner.execute(
        "INSERT INTO reconciliation_findings (id, provider, tenant_id, finding_type, severity, message, evidence, "
        "evidence_hash, fingerprint) VALUES (uuid_v7(), %s, %s, 'balance_drift', 'high', '', '{}', '\\x', %s)",
        (PROVIDER, world.tenant_id, world.tenant_id.bytes),
    )
    await measure(world.pools, now=datetime.now(UTC))
    assert metric("findings_open", **young) == before + 1
    assert (metric("success_timestamp_seconds", **tenant) or 0) > 0


async def test_schedule_asks_for_what_is_due_and_takes_up_what_lies_idle(world: World) -> None:
    await world.owner.execute(
        "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES (%s, %s, %s)",
        (PROVIDER, world.account_id, world.tenant_id),
    )
    service = world.reconciliation
    await service.run_due(datetime.now(UTC))

    async def runs() -> list[Run]:
        page, _ = await service.list_page(
            world.tenant_id, asked_tenant_id=None, provider=None, status=None, before_id=None, limit=10, offset=0
        )
        return page

    (first,) = await runs()
    assert (first.status, first.is_scheduled, first.is_full) == ("queued", True, True)
    jobs = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE args ->> 'run_id' = %s"

    async def job_count() -> int:
        row = await (await world.owner.execute(jobs, (str(first.id),))).fetchone()
        assert row is not None
        return int(row[0])

    assert await job_count() == 1
    # Its worker died before it began.
    await service.run_due(world.now + timedelta(minutes=3))
    assert (await job_count(), len(await runs())) == (2, 1)
    for _ in range(2):
        await service.perform({"run_id": str(first.id)})
    assert (await runs())[0].status == "completed"
    # Done, and not due again for an hour.
    await service.run_due(world.now)
    assert len(await runs()) == 1
    await service.run_due(world.now + timedelta(hours=2))
    assert [(run.status, run.is_full) for run in await runs()] == [("queued", False), ("completed", True)]
