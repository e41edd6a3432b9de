"""Settlement files compared with real books: what was planted is found, and what is cut off or given twice."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from backend.app.domain.errors import FieldError
from backend.app.domain.reconciliation.reconciliation import RunInProgress, RunStatus, StartRun
from backend.app.domain.reconciliation.settlement_file import Expected, SettlementFileRefused
from backend.app.repositories.database import Database as Pools
from backend.app.services.reconciliation.reconciliation_telemetry import measure
from backend.app.services.reconciliation.settlement_mappings import SettlementMappings
from backend.app.services.reconciliation.settlement_run import ComparedFile, CompareFile, SettlementRuns
from backend.tests import settlement_desk
from backend.tests.factories import (
    Owner,
    make_tenant,
)
from backend.tests.invariants import assert_sound
from backend.tests.reconciliation_world import PROVIDER, World, plant
from backend.tests.settlement_acme import ACME, ACTOR, DAY, Acme
from backend.tests.settlement_desk import HEADER


@pytest.fixture
async def acme(own_owner: Owner, own_pools: Pools, tmp_path: Path) -> Acme:
    made = Acme(own_owner, own_pools, await make_tenant(own_owner), tmp_path)
    await made.declare()
    return made


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
