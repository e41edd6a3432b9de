"""Settlement files compared with real books: what was planted is found, and what is cut off, given twice or killed."""

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from backend.app.domain.errors import FieldError
from backend.app.domain.psp_account import PspAccountExists
from backend.app.domain.reconciliation import RunInProgress, RunStatus, RunTaken, StartRun, UnsupportedProvider
from backend.app.domain.settlement_file import Expected, SettlementFileRefused
from backend.app.domain.settlement_mapping import SettlementMappingInvalid, SettlementMappingNotFound
from backend.app.domain.tenant import InvalidTenant
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories.database import Database as Pools
from backend.app.services.admins import system_actor
from backend.app.services.reconciliation import FILE_IS_GONE, Reconciliation
from backend.app.services.reconciliation_telemetry import measure
from backend.app.services.settlement_mappings import SettlementMappings
from backend.app.services.settlement_run import ComparedFile, CompareFile, SettlementRuns
from backend.app.services.webhook_secrets import WebhookSecrets
from backend.config import CHECKOUT, Settings
from backend.tests import settlement_desk
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    connect_owner,
    deposit,
    eventually,
    make_players,
    make_tenant,
    post,
    until_somebody_waits_for,
)
from backend.tests.invariants import assert_sound
from backend.tests.reconciliation_world import PROVIDER, World, make_world, own_psp, plant
from backend.tests.settlement_desk import HEADER
from backend.tests.typed_pages import Shell, shell_blocks

ACME: Final = "acmepay"
ACTOR: Final = system_actor("test")
DAY: Final = timedelta(days=1)


@pytest.fixture(scope="module")
async def psp(own_database: Database) -> AsyncIterator[MockPsp]:
    async with own_psp(own_database) as adapter:
        yield adapter


@pytest.fixture
async def world(own_owner: Owner, own_pools: Pools, psp: MockPsp) -> AsyncIterator[World]:
    async with make_world(own_owner, own_pools, psp) as made:
        yield made


class Acme:
    """A tenant of a provider that we know by its files alone, and the files. Payments are dollars, on two past days."""

    def __init__(self, owner: Owner, pools: Pools, tenant_id: UUID, folder: Path) -> None:
        self.owner = owner
        self.pools = pools
        self.tenant_id = tenant_id
        self.account_id = f"acme_{tenant_id.hex}"
        self.folder = folder
        self.now = datetime.now(UTC) + timedelta(hours=2)
        self.from_at = datetime.combine(self.now.date(), datetime.min.time(), UTC) - 2 * DAY
        self.rows: list[list[str]] = []

    @property
    def runs(self) -> SettlementRuns:
        """The service, looking from later on."""
        return SettlementRuns(self.pools, rejects_folder=self.folder / "rejects", clock=lambda: self.now)

    async def declare(self, **changes: Any) -> bool:
        """Declare how the files are to be read."""
        return await SettlementMappings(self.pools).declare(
            self.tenant_id,
            provider=ACME,
            document=settlement_desk.document(accounts=[self.account_id], **changes),
            actor=ACTOR,
            now=self.now,
        )

    async def pay(self, count: int, *, on_day: int = 0) -> list[UUID]:
        """Book deposits, and list them; their ids."""
        (player,) = await make_players(self.owner, self.tenant_id, 1, available=1000_00)
        ids = [uuid4() for _ in range(count)]
        at = self.from_at + on_day * DAY + timedelta(hours=10)
        await post(
            self.pools,
            *(
                deposit(
                    player,
                    10_00 + number,
                    provider=ACME,
                    provider_ref=f"pay_{each.hex}",
                    reference=each,
                    occurred_at=at + timedelta(seconds=number),
                )
                for number, each in enumerate(ids)
            ),
        )
        # Booked when they happened, not now.
        await self.owner.execute("ALTER TABLE ledger_transactions DISABLE TRIGGER USER")
        await self.owner.execute(
            "UPDATE ledger_transactions SET recorded_at = occurred_at WHERE tenant_id = %s", (self.tenant_id,)
        )
        await self.owner.execute("ALTER TABLE ledger_transactions ENABLE TRIGGER USER")
        for number, each in enumerate(ids):
            self.rows.append(self.row(each, amount=10_00 + number, at=at + timedelta(seconds=number)))
        return ids

    def row(self, reference: UUID, *, amount: int, at: datetime, **changes: str) -> list[str]:
        """A line of the file: changes by the names of the columns."""
        values = {
            "id": f"pay_{reference.hex}",
            "merchant_ref": str(reference),
            "kind": "SALE",
            "state": "OK",
            "gross": f"{amount // 100}.{amount % 100:02}",
            "fee": "0.10",
            "ccy": "USD",
            "when": at.isoformat(),
        }
        return [(values | changes)[name] for name in HEADER]

    def change(self, references: Sequence[UUID], **changes: str) -> None:
        """Get the lines of these payments wrong."""
        for row in self.rows:
            if UUID(row[1]) in references:
                row[:] = [changes.get(name, value) for name, value in zip(HEADER, row, strict=True)]

    def take(self, references: Sequence[UUID]) -> list[list[str]]:
        """Take the lines of these payments out of the file."""
        taken = [row for row in self.rows if UUID(row[1]) in references]
        self.rows = [row for row in self.rows if row not in taken]
        return taken

    def write(self, name: str = "settled.csv", *, rows: Sequence[Sequence[str]] | None = None) -> Path:
        """The file, with a trailer that is right."""
        listed = self.rows if rows is None else rows
        path = self.folder / name
        path.write_bytes(settlement_desk.write([*listed, *trailer(listed)]))
        return path

    async def compare(self, path: Path, **command: Any) -> ComparedFile:
        """Compare a file over both days."""
        self.now += timedelta(seconds=1)
        values: dict[str, Any] = {"window_start": self.from_at, "window_end": self.from_at + 2 * DAY, **command}
        return await self.runs.compare(
            CompareFile(tenant_id=self.tenant_id, provider=ACME, path=path, started_by="test", **values)
        )

    async def found(self, status: str = "OPEN") -> Counter[str]:
        """The tenant's findings by type."""
        return Counter(
            {
                str(name): int(count)
                for name, count in await (
                    await self.owner.execute(
                        "SELECT finding_type, count(*) FROM reconciliation_findings "
                        "WHERE tenant_id = %s AND status = %s GROUP BY 1",
                        (self.tenant_id, status),
                    )
                ).fetchall()
            }
        )

    async def staged(self) -> int:
        """How many lines are staged for whatever run."""
        row = await (await self.owner.execute("SELECT count(*) FROM psp_statement_lines")).fetchone()
        assert row is not None
        return int(row[0])


def trailer(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """What a file of these rows claims, a line for each currency."""
    sums: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for row in rows:
        sums[row[6]] += round(float(row[4]) * 100)
        lines[row[6]] += 1
    return [["TOTAL", str(lines[each]), f"{sums[each] // 100}.{sums[each] % 100:02}", each] for each in sorted(sums)]


@pytest.fixture
async def acme(own_owner: Owner, own_pools: Pools, tmp_path: Path) -> Acme:
    made = Acme(own_owner, own_pools, await make_tenant(own_owner), tmp_path)
    await made.declare()
    return made


# --- what is found


async def test_file_of_a_provider_with_an_interface_finds_what_was_planted(world: World, tmp_path: Path) -> None:
    expected, planted = await plant(world)
    document = settlement_desk.document(
        accounts=None,
        columns={"provider_reference": "object", "our_reference": "ref", "line": "event", "type": "kind"}
        | {"status": "state", "amount": "minor", "currency": "ccy", "occurred_at": "when"},
        amount={"unit": "minor", "sign": "unsigned"},
        types={each: each for each in ("deposit", "refund", "payout", "return")},
        statuses={"captured": "success", "paid": "success", "failed": "failed"}
        | {"refunded": "reversed", "returned": "reversed", "succeeded": "success"},
        control={"totals": "operator"},
    )
    mappings = SettlementMappings(world.pools)
    await mappings.declare(world.tenant_id, provider=PROVIDER, document=document, actor=ACTOR, now=world.now)
    rows = await (
        await world.owner.execute(
            "SELECT object_id, reference, event_id, movement, status, amount::text, currency, occurred_at::text "
            "FROM mockpsp.events WHERE account_id = %s AND movement IS NOT NULL AND occurred_at < %s ORDER BY event_id",
            (world.account_id, world.now),
        )
    ).fetchall()
    path = tmp_path / "mockpsp.csv"
    path.write_bytes(
        settlement_desk.write(rows, header=("object", "ref", "event", "kind", "state", "minor", "ccy", "when"))
    )
    runs = SettlementRuns(world.pools, rejects_folder=tmp_path, clock=lambda: world.now)
    command = CompareFile(
        tenant_id=world.tenant_id,
        provider=PROVIDER,
        path=path,
        started_by="test",
        window_start=world.now - DAY,
        window_end=world.now,
        expected=Expected(count=len(rows)),
    )
    done = await runs.compare(command)
    assert (done.run.status, done.run.error, done.is_known) == ("completed", None, False), done
    assert await world.found() == expected
    for finding_type, payments in planted.items():
        assert await world.subjects(finding_type) == payments, finding_type
    # The interface lists the same, and so does the file once more.
    interface = await world.run(is_full=True)
    assert (interface.status, interface.counts["opened"], interface.counts["reopened"]) == ("completed", {}, {})
    again = await runs.compare(replace(command, is_again=True))
    assert (again.run.counts["opened"], again.run.counts["reopened"], again.run.counts["auto_cleared"]) == ({}, {}, {})
    assert await world.found() == expected
    await assert_sound(world.owner, world.tenant_id)


async def test_provider_without_an_adapter_is_compared_by_its_file(acme: Acme) -> None:
    ids = await acme.pay(60)
    missing, short, other_currency, failed, repeated = (ids[number * 3 : number * 3 + 3] for number in range(5))
    acme.take(missing)
    for number, each in enumerate(short):
        acme.change([each], gross=f"{5 + number}.00")
    acme.change(other_currency, ccy="EUR")
    acme.change(failed, state="NO")
    acme.rows += [list(row) for row in acme.rows if UUID(row[1]) in repeated]
    strangers = [uuid4() for _ in range(4)]
    acme.rows += [acme.row(each, amount=9_99, at=acme.from_at + timedelta(hours=11)) for each in strangers]
    back = ids[-2:]
    acme.rows += [
        acme.row(each, amount=1, at=acme.from_at + timedelta(hours=12), kind="REFUND", gross="1.00") for each in back
    ]
    acme.rows.append(["", "", "MONTHLY", "", "3.00", "", "USD", ""])
    done = await acme.compare(acme.write())
    assert (done.run.status, done.run.error) == ("completed", None)
    assert await acme.found() == {
        # What failed there has not moved: it is as missing as what is not listed.
        "missing_in_psp": 3 + 3,
        "amount_mismatch": 3,
        "currency_mismatch": 3,
        "duplicate_in_psp": 3,
        "missing_in_ledger": 4 + 2,
    }
    assert (done.surveyed.survey.lines, done.surveyed.survey.movements) == (67, 66)
    assert done.run.file is not None
    assert done.run.file["fees"]["USD"] == 10 * (66 - 3)
    assert done.run.file["sha256"] == done.surveyed.sha256
    assert await acme.staged() == 0


async def test_days_follow_each_other_and_what_is_late_clears_itself(acme: Acme) -> None:
    ids = await acme.pay(5) + await acme.pay(5, on_day=1)
    late = acme.take(ids[:1])
    first, second = acme.rows[:4], acme.rows[4:]
    window = {"window_start": acme.from_at, "window_end": acme.from_at + DAY}
    done = await acme.compare(acme.write("one.csv", rows=first), **window)
    assert (done.run.status, await acme.found()) == ("completed", {"missing_in_psp": 1})
    window = {"window_start": acme.from_at + DAY, "window_end": acme.from_at + 2 * DAY}
    moved = [[*late[0][:-1], second[0][-1]]]
    done = await acme.compare(acme.write("two.csv", rows=[*second, *moved]), **window)
    assert done.run.counts["auto_cleared"] == {"missing_in_psp": 1}
    assert (done.run.status, await acme.found()) == ("completed", {})


async def test_what_may_be_listed_later_is_missed_by_a_later_file(acme: Acme) -> None:
    # As late as the provider may be, the first file comes too early to miss anything of its day.
    await acme.declare(listed_within_hours=24 * 3)
    ids = await acme.pay(3) + await acme.pay(3, on_day=1)
    acme.take(ids[:1])
    first, second = acme.rows[:2], acme.rows[2:]
    window = {"window_start": acme.from_at, "window_end": acme.from_at + DAY}
    done = await acme.compare(acme.write("one.csv", rows=first), **window)
    assert (done.run.status, await acme.found()) == ("completed", {})
    acme.now += 2 * DAY
    window = {"window_start": acme.from_at + DAY, "window_end": acme.from_at + 2 * DAY}
    done = await acme.compare(acme.write("two.csv", rows=second), **window)
    assert (done.run.status, await acme.found()) == ("completed", {"missing_in_psp": 1})


async def test_empty_file_is_whole_when_somebody_says_so(acme: Acme) -> None:
    await acme.declare(control={"totals": "operator"})
    await acme.pay(1)
    done = await acme.compare(acme.write(rows=[]), expected=Expected(count=0))
    assert (done.run.status, await acme.found()) == ("completed", {"missing_in_psp": 1})
    with pytest.raises(FieldError, match="--from and --to: are needed"):
        await acme.compare(acme.write(rows=[]), window_start=None, expected=Expected(count=0))


async def test_corrected_file_of_the_same_days_counts_instead(acme: Acme) -> None:
    ids = await acme.pay(5)
    await acme.compare(acme.write("first.csv"))
    assert await acme.found() == {}
    # It was long ago: an ordinary run does not look at all of the books again.
    await acme.owner.execute(
        "UPDATE reconciliation_reach SET ledger_until = uuid_v7() WHERE tenant_id = %s", (acme.tenant_id,)
    )
    acme.take(ids[:1])
    acme.change(ids[1:2], gross="1.00")
    done = await acme.compare(acme.write("corrected.csv"))
    assert done.run.status == "completed"
    assert await acme.found() == {"missing_in_psp": 1, "amount_mismatch": 1}


# --- what is not whole


async def test_file_that_is_cut_off_misses_nothing_and_clears_nothing(acme: Acme) -> None:
    ids = await acme.pay(10)
    acme.take(ids[:1])
    await acme.compare(acme.write("whole.csv"))
    assert await acme.found() == {"missing_in_psp": 1}
    whole = acme.write("other.csv").read_bytes()
    lines = whole.splitlines(keepends=True)
    for number, cut in enumerate((lines[:-1], lines[:5], [*lines[:4], lines[4][:-9]])):
        path = acme.folder / f"cut{number}.csv"
        path.write_bytes(b"".join(cut))
        done = await acme.compare(path)
        assert (done.run.status, done.run.cutoff, done.run.is_feed_complete) == ("partial", None, False)
        assert "the trailer is missing: the file is cut off" in (done.run.error or "")
        assert (done.run.counts["opened"], done.run.counts["auto_cleared"]) == ({}, {})
        assert await acme.found() == {"missing_in_psp": 1}


async def test_lines_that_cannot_be_read_are_kept_and_the_others_compared(acme: Acme) -> None:
    ids = await acme.pay(5)
    acme.change(ids[:1], gross="ten")
    acme.change(ids[1:2], gross="1.00")
    path = acme.folder / "bad.csv"
    path.write_bytes(settlement_desk.write([*acme.rows, ["TOTAL", "5", "1.00", "USD"]]) + b"\xff\n")
    done = await acme.compare(path)
    assert done.run.status == "partial"
    assert (done.run.error or "").startswith(
        f"{acme.account_id}: 2 of 6 lines cannot be read, the first: line 2: amount: 'ten' is not an amount"
    )
    assert await acme.found() == {"amount_mismatch": 1}
    assert [(line.line_number, line.reason) for line in done.surveyed.rejected] == [
        (2, "amount: 'ten' is not an amount such as '12.50'"),
        (8, "not UTF-8: byte 0xFF at position 1"),
    ]
    assert done.surveyed.rejects_path is not None
    kept = done.surveyed.rejects_path.read_text("utf-8").splitlines()
    assert (kept[0], len(kept)) == (",".join([*HEADER, "line_number", "reason"]), 3)


async def test_file_of_which_nothing_can_be_read_begins_no_run(acme: Acme) -> None:
    path = acme.folder / "bad.csv"
    path.write_bytes(settlement_desk.write([["x"] * len(HEADER)] * 3))
    with pytest.raises(SettlementFileRefused, match="3 of 3 lines cannot be read, the first: line 2: type: 'x'"):
        await acme.compare(path)
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(SettlementFileRefused, match="has no such column"):
        await acme.compare(path)
    runs = await (
        await acme.owner.execute("SELECT count(*) FROM reconciliation_runs WHERE tenant_id = %s", (acme.tenant_id,))
    ).fetchone()
    assert runs == (0,)


async def test_window_is_the_files_own_when_nobody_gives_one(acme: Acme) -> None:
    ids = await acme.pay(5)
    acme.take([ids[0], ids[2]])
    done = await acme.compare(acme.write(), window_start=None, window_end=None)
    # Before its first movement and after its last the file says nothing.
    assert (done.run.status, await acme.found()) == ("completed", {"missing_in_psp": 1})
    assert done.run.window_start == acme.from_at + timedelta(hours=10, seconds=1)
    with pytest.raises(SettlementFileRefused, match="there is nothing to compare: 3 of 3 lines cannot be read"):
        await acme.compare(acme.write(), window_start=acme.from_at + DAY)


async def test_line_outside_of_the_given_window_cannot_be_right(acme: Acme) -> None:
    await acme.pay(3)
    await acme.pay(1, on_day=1)
    done = await acme.compare(acme.write(), window_end=acme.from_at + DAY)
    assert done.run.status == "partial"
    assert "occurred_at: " in (done.run.error or "")
    assert "is outside of [" in (done.run.error or "")


async def test_other_accounts_of_the_tenant_leave_it_partial(acme: Acme) -> None:
    await acme.pay(3)
    await acme.owner.execute(
        "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES (%s, %s, %s)",
        (ACME, f"second_{acme.tenant_id.hex}", acme.tenant_id),
    )
    done = await acme.compare(acme.write())
    assert (done.run.status, done.run.counts["matched"]) == ("partial", 3)
    assert (done.run.error or "").endswith("the file does not list this account")


# --- the same again


async def test_same_file_is_recognised_and_does_nothing(acme: Acme) -> None:
    ids = await acme.pay(5)
    acme.take(ids[:1])
    first = await acme.compare(acme.write())
    second = await acme.compare(acme.write("another name.csv"))
    assert (second.is_known, second.run.id) == (True, first.run.id)
    anew = await acme.compare(acme.write(), is_again=True)
    assert (anew.is_known, anew.run.counts["opened"], anew.run.counts["matched"]) == (False, {}, 0)
    assert await acme.found() == {"missing_in_psp": 1}
    # Read in another way, or held to another window, it is another statement.
    other = await acme.compare(acme.write(), window_end=acme.from_at + DAY)
    assert not other.is_known
    await acme.declare(amount__sign="unsigned", statuses={"OK": "success"})
    assert not (await acme.compare(acme.write())).is_known


async def test_dry_run_writes_no_finding_and_is_not_remembered(acme: Acme) -> None:
    ids = await acme.pay(5)
    acme.take(ids[:1])
    dry = await acme.compare(acme.write(), is_dry_run=True)
    assert (dry.run.counts["findings"], await acme.found()) == ({"missing_in_psp": 1}, {})
    assert not (await acme.compare(acme.write())).is_known
    assert await acme.found() == {"missing_in_psp": 1}


# --- one at a time, and killed


async def test_two_commands_at_once_are_one_run(acme: Acme) -> None:
    await acme.pay(20)
    path = acme.write()
    done = await asyncio.gather(*(acme.compare(path) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(each, (ComparedFile, RunInProgress)) for each in done), done
    assert [each for each in done if isinstance(each, ComparedFile) and not each.is_known]
    assert await acme.found() == {}


async def test_run_of_the_interface_is_left_to_its_worker(world: World, tmp_path: Path) -> None:
    await world.deposit(1)
    run_id = await world.reconciliation.start(
        StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test"), is_deferred=False
    )
    for command in (
        StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test", file={"name": "x"}),
        StartRun(provider=PROVIDER, tenant_id=world.tenant_id, started_by="test"),
    ):
        with pytest.raises(RunInProgress) as refused:
            await world.reconciliation.resume_or_start(command)
        assert refused.value.extras["run_id"] == str(run_id)


async def hakem(database: Database, home: Path, *arguments: str) -> tuple[int | None, str, str]:
    """A command, to its end: exit code, what it printed, and what it said on the other stream."""
    process = await start_hakem(database, home, *arguments)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode(), errors.decode()


async def start_hakem(database: Database, home: Path, *arguments: str) -> asyncio.subprocess.Process:
    """A command that runs."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backend.scripts", "reconcile", *arguments),
        env={
            **os.environ,
            "DATABASE_URL": database.service_url,
            "DATABASE_OWNER_URL": database.owner_url,
            "HAKEM_HOME": str(home),
        },
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


# --- declaring


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


async def test_file_counts_as_a_success_in_the_metrics(acme: Acme) -> None:
    await acme.pay(2)

    def since() -> float | None:
        return REGISTRY.get_sample_value(
            "hakem_reconciliation_success_timestamp_seconds", {"tenant": str(acme.tenant_id), "provider": ACME}
        )

    await measure(acme.pools, now=acme.now)
    assert since() == 0
    assert (await acme.compare(acme.write())).run.status == RunStatus.COMPLETED
    await measure(acme.pools, now=acme.now)
    assert (since() or 0) > 0


# --- the command


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


@pytest.mark.parametrize("document", ["docs/reconciliation.md", "docs/reconciliation.tr.md"])
async def test_what_the_page_says_to_type_does_what_it_says(
    own_owner: Owner, own_database: Database, tmp_path: Path, document: str
) -> None:
    tenant_id = await make_tenant(own_owner)
    (block,) = [each for each in shell_blocks(CHECKOUT / document) if "acmepay.toml" in each.text]

    def adapt(text: str) -> str:
        # One provider's account is one tenant's, and the pages are typed by two.
        text = text.replace("acme-eu", f"acme-{tenant_id.hex}").replace(".venv/bin/hakem", "hakem")
        return re.sub(r"^TENANT=.*$", f"TENANT={tenant_id}", text, flags=re.MULTILINE)

    environment = {
        "DATABASE_URL": own_database.service_url,
        "DATABASE_OWNER_URL": own_database.owner_url,
        "HAKEM_HOME": str(tmp_path / "home"),
    }
    with Shell(tmp_path, environment=environment, adapt=adapt) as shell:
        printed = await asyncio.to_thread(shell.type, block.text)
    assert "partial: psp_lines=2" in printed
    assert "findings: missing_in_ledger=2" in printed
    assert "lines=3 compared=2 rejected=0 sums: TRY=970.00 fees: TRY=2.60" in printed
    assert printed.count("completed: psp_lines=2") == 2
