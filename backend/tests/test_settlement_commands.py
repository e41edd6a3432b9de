"""Settlement files by command: declared, compared, refused and killed in the middle."""

import asyncio
import json
import signal
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.app.domain.errors import FieldError
from backend.app.domain.payments.psp_account import PspAccountExists
from backend.app.domain.reconciliation.reconciliation import RunTaken, StartRun, UnsupportedProvider
from backend.app.domain.reconciliation.settlement_mapping import SettlementMappingInvalid, SettlementMappingNotFound
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories.database import Database as Pools
from backend.app.services.payments.webhook_secrets import WebhookSecrets
from backend.app.services.reconciliation.reconciliation import FILE_IS_GONE, Reconciliation
from backend.app.services.reconciliation.settlement_mappings import SettlementMappings
from backend.config import Settings
from backend.tests import commands, settlement_desk
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    connect_owner,
    eventually,
    make_tenant,
    until_somebody_waits_for,
)
from backend.tests.reconciliation_world import PROVIDER, World
from backend.tests.settlement_acme import ACME, ACTOR, DAY, Acme


@pytest.fixture
async def acme(own_owner: Owner, own_pools: Pools, tmp_path: Path) -> Acme:
    made = Acme(own_owner, own_pools, await make_tenant(own_owner), tmp_path)
    await made.declare()
    return made


async def hakem(database: Database, home: Path, *arguments: str) -> tuple[int | None, str, str]:
    """A command, to its end: exit code, what it printed, and what it said on the other stream."""
    process = await start_hakem(database, home, *arguments, words=commands.words())
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), errors.decode()


async def start_hakem(
    database: Database, home: Path, *arguments: str, words: tuple[str, ...] = (sys.executable, "-m", commands.MODULE)
) -> asyncio.subprocess.Process:
    """A command that runs; unless told otherwise, as a process that can be killed."""
    return await asyncio.create_subprocess_exec(
        *(*words, "reconcile", *arguments),
        env=commands.environment_of(database, home),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_killed_run_is_not_taken_up_against_the_interface_and_is_completed_by_the_file(
    world: World, own_database: Database, tmp_path: Path
) -> None:
    """MockPSP has an interface: a worker that went on with the file's run there would compare another statement."""
    ids = await world.deposit(6)
    rows = await (
        await world.owner.execute(
            "SELECT object_id, reference, event_id, amount::text, (occurred_at - INTERVAL '1 day')::text "
            "FROM mockpsp.events WHERE account_id = %s AND movement IS NOT NULL AND reference <> %s ORDER BY event_id",
            (world.account_id, str(ids[0])),
        )
    ).fetchall()
    mapping = tmp_path / "mapping.json"
    mapping.write_text(
        json.dumps(
            {
                "completeness": "whole",
                "columns": {"provider_reference": 1, "our_reference": 2, "line": 3, "amount": 4, "occurred_at": 5},
                "file": {"header": False},
                "constants": {"type": "deposit", "status": "success", "currency": "USD"},
                "amount": {"unit": "minor", "sign": "unsigned"},
                "time": {"format": "iso", "zone": "UTC"},
                "control": {"totals": "operator"},
            }
        )
    )
    path = tmp_path / "settled.csv"
    path.write_bytes(settlement_desk.write(rows[1:], header=rows[0]))
    about = ("--provider", PROVIDER, "--tenant-id", str(world.tenant_id))
    assert (await hakem(own_database, tmp_path, "mapping", "set", str(mapping), *about))[0] == 0
    command = ("file", str(path), *about, "--expected-count", str(len(rows)), "--json")

    async with connect_owner(own_database) as holder, holder.transaction():
        # Its lines are staged, and comparing them has to wait.
        await holder.execute("LOCK TABLE psp_statement_items IN EXCLUSIVE MODE")
        process = await start_hakem(own_database, tmp_path, *command)
        await until_somebody_waits_for(world.owner, holder)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        (left,) = await runs_of(world)
        assert (left.status, await staged(world)) == ("running", len(rows))

    async def is_taken_up() -> bool:
        try:
            await world.reconciliation.perform({"run_id": str(left.id)})
            run = await world.reconciliation.get(None, run_id=left.id)
        except RunTaken:
            return False
        return run.status != "running"

    await eventually(is_taken_up, what="the lock of a dead session is free")
    run = await world.reconciliation.get(None, run_id=left.id)
    assert (run.status, run.error) == ("failed", FILE_IS_GONE.format(name="settled.csv"))
    assert (await staged(world), await items(world), await world.found()) == (0, 0, Counter())
    code, output, _ = await hakem(own_database, tmp_path, *command)
    done = json.loads(output)
    assert (code, done["status"], done["counts"]["psp_lines"]) == (0, "completed", len(rows)), output
    assert (await items(world), done["is_known"]) == (len(rows), False)


async def test_dead_run_of_a_file_is_ended_by_whoever_comes_next(world: World) -> None:
    """Without a service running there is no worker: the next command ends it, whichever it is."""
    await world.deposit(2)
    for number in range(2):
        run_id = await world.reconciliation.start(
            StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test", file={"name": f"{number}.csv"}),
            is_deferred=False,
        )
        await world.owner.execute(
            "UPDATE reconciliation_runs SET status = 'running', started_at = now() WHERE id = %s", (run_id,)
        )
        file = {"name": "next.csv"} if number else None
        next_id = await world.reconciliation.resume_or_start(
            StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test", file=file)
        )
        dead = await world.reconciliation.get(None, run_id=run_id)
        assert (dead.status, dead.error) == ("failed", FILE_IS_GONE.format(name=f"{number}.csv"))
        following = await world.reconciliation.execute(next_id)
        # The one without a file is carried out; the one whose file nobody brings is not.
        assert following.status == ("failed" if number else "completed")


async def test_sweep_ends_a_files_run_that_lies_idle(world: World) -> None:
    run_id = await world.reconciliation.start(
        StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test", file={"name": "a.csv"}),
        is_deferred=False,
    )
    await world.reconciliation.run_due(world.now + timedelta(minutes=3))
    jobs = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE args ->> 'run_id' = %s"
    assert await (await world.owner.execute(jobs, (str(run_id),))).fetchone() == (1,)
    await world.reconciliation.perform({"run_id": str(run_id)})
    assert (await world.reconciliation.get(None, run_id=run_id)).status == "failed"


async def runs_of(world: World) -> list[Any]:
    page, _ = await world.reconciliation.list_page(
        world.tenant_id, asked_tenant_id=None, provider=None, status=None, before_id=None, limit=10, offset=0
    )
    return list(page)


async def staged(world: World) -> int:
    row = await (await world.owner.execute("SELECT count(*) FROM psp_statement_lines")).fetchone()
    assert row is not None
    return int(row[0])


async def items(world: World) -> int:
    row = await (
        await world.owner.execute("SELECT count(*) FROM psp_statement_items WHERE tenant_id = %s", (world.tenant_id,))
    ).fetchone()
    assert row is not None
    return int(row[0])


async def test_declaration_is_kept_audited_and_replaced(acme: Acme) -> None:
    assert not await acme.declare()
    assert await acme.declare(amount__sign="in_positive")
    declared = await SettlementMappings(acme.pools).get(acme.tenant_id, provider=ACME)
    assert declared.document["amount"]["sign"] == "in_positive"
    audit = await (
        await acme.owner.execute(
            "SELECT action, object_id, state_before ->> 'amount.sign', state_after ->> 'amount.sign' "
            "FROM audit_events WHERE tenant_id = %s ORDER BY id",
            (acme.tenant_id,),
        )
    ).fetchall()
    assert audit == [
        ("psp_account.added", f"{ACME}/{acme.account_id}", None, None),
        ("settlement_mapping.declared", ACME, None, "unsigned"),
        ("settlement_mapping.declared", ACME, "unsigned", "in_positive"),
    ]
    page = await SettlementMappings(acme.pools).list_page(acme.tenant_id, after_provider="", limit=10)
    assert [each.provider for each in page] == [ACME]


async def test_declaration_that_cannot_hold_changes_nothing(acme: Acme, own_owner: Owner) -> None:
    other = Acme(acme.owner, acme.pools, await make_tenant(own_owner), acme.folder)
    mappings = SettlementMappings(acme.pools)

    async def declare(tenant_id: UUID, provider: str, **changes: Any) -> None:
        await mappings.declare(
            tenant_id, provider=provider, document=settlement_desk.document(**changes), actor=ACTOR, now=acme.now
        )

    with pytest.raises(PspAccountExists):
        await declare(other.tenant_id, ACME, accounts=[acme.account_id])
    with pytest.raises(SettlementMappingInvalid, match="accounts: 'acct' is no account of the tenant at stripe"):
        await declare(other.tenant_id, "stripe")
    with pytest.raises(SettlementMappingInvalid, match=r"columns\.line: is needed: mockpsp has an interface too"):
        await declare(other.tenant_id, PROVIDER, accounts=None)
    with pytest.raises(SettlementMappingInvalid, match="accounts: is needed: the tenant has no account at nobody yet"):
        await declare(other.tenant_id, "nobody", accounts=None)
    with pytest.raises(FieldError, match="provider: has small letters"):
        await declare(other.tenant_id, "No Body")
    with pytest.raises(InvalidTenant):
        await declare(uuid4(), ACME)
    assert await mappings.list_page(other.tenant_id, after_provider="", limit=10) == []
    with pytest.raises(SettlementMappingNotFound):
        await other.compare(acme.write(rows=[]))


async def test_files_alone_make_no_webhooks_and_no_statement_to_ask_for(acme: Acme) -> None:
    await acme.pay(1)
    async with acme.pools.connection() as conn:
        problems = await WebhookSecrets(Settings.model_construct()).problems(conn)
    assert [each for each in problems if ACME in each] == []
    with pytest.raises(UnsupportedProvider):
        await Reconciliation(acme.pools, {}).start(
            StartRun(provider=ACME, tenant_id=acme.tenant_id, started_by="test"), is_deferred=False
        )


async def test_command_declares_compares_and_tells(acme: Acme, own_database: Database) -> None:
    ids = await acme.pay(4)
    acme.take(ids[:1])
    about = ("--provider", ACME, "--tenant-id", str(acme.tenant_id))
    mapping = acme.folder / "mapping.toml"
    mapping.write_text(
        f"""
        accounts = ["{acme.account_id}"]
        completeness = "whole"
        columns = {{ provider_reference = "id", amount = "gross", occurred_at = "when", type = "kind" }}
        constants = {{ status = "success", currency = "USD" }}
        amount = {{ unit = "major", sign = "unsigned" }}
        time = {{ format = "iso", zone = "UTC" }}
        types = {{ SALE = "deposit" }}
        control = {{ totals = "operator" }}
        """
    )
    code, output, _ = await hakem(own_database, acme.folder, "mapping", "set", str(mapping), *about)
    assert (code, output) == (0, f"declared provider={ACME} tenant_id={acme.tenant_id}\n")
    assert (await hakem(own_database, acme.folder, "mapping", "set", str(mapping), *about))[1].startswith("unchanged")
    code, output, _ = await hakem(own_database, acme.folder, "mapping", "show", *about)
    assert (code, json.loads(output)["accounts"]) == (0, [acme.account_id])
    code, output, _ = await hakem(own_database, acme.folder, "mapping", "list", "--tenant-id", str(acme.tenant_id))
    assert (code, output.split()[0]) == (0, ACME)

    path = acme.folder / "settled.csv"
    path.write_bytes(settlement_desk.write(acme.rows))
    file = ("file", str(path), *about)
    code, output, _ = await hakem(own_database, acme.folder, *file)
    assert (code, "partial: psp_lines=3" in output, "nobody has said how much" in output) == (1, True, True)
    days = ("--from", f"{acme.from_at:%Y-%m-%d}", "--to", f"{acme.from_at + DAY:%Y-%m-%d}")
    totals = ("--expected-count", "3", "--expected-total", "USD=30.06")
    code, output, errors = await hakem(own_database, acme.folder, *file, *days, *totals)
    assert (code, output.splitlines()[-1].startswith("completed: psp_lines=3"), errors) == (0, True, "")
    assert "findings: missing_in_psp=1" in output
    code, output, errors = await hakem(own_database, acme.folder, *file, *days, *totals)
    assert (code, "the same file was compared by run" in errors) == (0, True)
    code, output, _ = await hakem(own_database, acme.folder, *file, *days, "--expected-count", "4")
    assert (code, "3 lines arrived of 4 (expected)" in output) == (1, True)
    for wrong, word in (
        ((*file, "--expected-total", "USD"), "has to be a currency and its amount"),
        ((*file, "--from", "yesterday"), "has to be a date or a time"),
        (("file", str(path), "--provider", "nobody", "--tenant-id", str(acme.tenant_id)), "no mapping for 'nobody'"),
        (("run", "--provider", ACME, "--tenant-id", str(acme.tenant_id)), "no statements to be had from 'acmepay'"),
        (("mapping", "set", str(path), *about), "cannot be read"),
    ):
        code, _, errors = await hakem(own_database, acme.folder, *wrong)
        assert (code, word in errors) == (2, True), errors
    mapping.write_text("completeness = 'some'\n")
    code, _, errors = await hakem(own_database, acme.folder, "mapping", "set", str(mapping), *about)
    assert (code, "completeness: is none of 'whole', 'extract'" in errors) == (2, True), errors
    assert "columns.provider_reference: is missing" in errors
