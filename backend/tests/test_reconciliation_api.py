"""Reconciliation over HTTP: the runbook's four commands as written, who may ask, what is refused, and four eyes."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from psycopg import errors

from backend.app.domain.identity import Role
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories import withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.conftest import Database
from backend.tests.factories import Owner, both, make_tenant, sides, withdrawal
from backend.tests.fixtures import API, Caller, People, assert_problem
from backend.tests.invariants import assert_sound
from backend.tests.reconciliation_world import PROVIDER, World, make_world, serving

RECONCILIATION = "/payments/reconciliation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A tenant with something to find, and those who look after it."""

    world: World
    people: People
    recon: Caller
    approver: Caller
    owner: Caller

    async def found(self, finding_type: str) -> dict[str, Any]:
        """The one open finding of a type, after a run."""
        await self.world.run()
        listed = (await self.recon.get(f"{RECONCILIATION}/findings", finding_type=finding_type, status="OPEN")).json()
        (finding,) = listed["items"]
        return dict(finding)


@pytest.fixture(scope="module")
async def client(own_database: Database, psp: MockPsp) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(own_database, psp) as made:
        yield made


@pytest.fixture
async def office(own_owner: Owner, own_pools: Pools, psp: MockPsp, client: httpx.AsyncClient) -> AsyncIterator[Office]:
    people = People(client, own_owner)
    async with make_world(own_owner, own_pools, psp, players=3) as world:
        yield Office(
            world=world,
            people=people,
            recon=await people.admin(Role.RECON, world.tenant_id),
            approver=await people.admin(Role.APPROVER, world.tenant_id),
            owner=await people.admin(Role.OWNER),
        )


async def test_runbooks_four_commands_work_as_written(office: Office) -> None:
    ids = await office.world.deposit(3)
    await office.world.drop(ids[:1])
    bearer = {"Authorization": office.recon.headers["Authorization"]}
    http = office.recon.http
    # 8.1, first: no body, no content type.
    first = await http.post(f"{API}{RECONCILIATION}/run", headers=bearer)
    assert (first.status_code, first.json()["status"]) == (202, "queued"), first.text
    run_id = UUID(first.json()["run_id"])
    await office.world.reconciliation.execute(run_id)
    run = (await office.recon.get(f"{RECONCILIATION}/runs/{run_id}")).json()
    assert (run["status"], run["tenant_id"]) == ("completed", str(office.world.tenant_id))
    # 8.1, second: provider and tenant as JSON.
    second = await http.post(
        f"{API}{RECONCILIATION}/run",
        headers=bearer | {"Content-Type": "application/json"},
        content=f'{{"provider": "mockpsp", "tenant_id": "{office.world.tenant_id}"}}',
    )
    assert second.status_code == 202, second.text
    await office.world.reconciliation.execute(UUID(second.json()["run_id"]))
    # 8.2, first.
    listed = await http.get(
        f"{API}{RECONCILIATION}/findings?provider=mockpsp&status=OPEN&limit=50&offset=0", headers=bearer
    )
    (finding,) = listed.json()["items"]
    assert (finding["finding_type"], finding["tx_id"]) == ("missing_in_psp", str(ids[0]))
    assert finding["ours_amount"] == "10.00 USD"
    # 8.2, third: resolved without a body, and again.
    for _ in range(2):
        done = await http.post(f"{API}{RECONCILIATION}/findings/{finding['id']}/resolve", headers=bearer)
        assert (done.status_code, done.json()["status"], done.json()["id"]) == (200, "RESOLVED", finding["id"])
    run_id = UUID((await http.post(f"{API}{RECONCILIATION}/run?full=true", headers=bearer)).json()["run_id"])
    assert (await office.world.reconciliation.execute(run_id)).counts["reopened"] == {}
    assert (await office.recon.get(f"{RECONCILIATION}/findings", status="OPEN")).json()["meta"]["total"] == 0


async def test_what_is_asked_may_stand_in_the_query(office: Office) -> None:
    asked = {
        "provider": PROVIDER,
        "tenant_id": str(office.world.tenant_id),
        "window_start": "2026-01-01",
        "window_end": "2026-01-02T00:00:00Z",
        "dry_run": "true",
    }
    by_query = await office.recon.http.post(f"{API}{RECONCILIATION}/run", params=asked, headers=office.recon.headers)
    assert by_query.status_code == 202, by_query.text
    run = (await office.recon.get(f"{RECONCILIATION}/runs/{by_query.json()['run_id']}")).json()
    assert (run["window_start"], run["window_end"], run["dry_run"]) == (
        "2026-01-01T00:00:00Z",
        # A day that is named as an end is in it.
        "2026-01-02T00:00:00Z",
        True,
    )
    busy = await office.recon.post(f"{RECONCILIATION}/run", {**asked, "dry_run": True})
    assert assert_problem(busy, 409, "RUN_IN_PROGRESS")["run_id"] == run["id"]


async def test_what_cannot_be_run_is_refused(office: Office) -> None:
    post = office.recon.post
    assert_problem(await post(f"{RECONCILIATION}/run", {"provider": "nobody"}), 400, "UNSUPPORTED_PROVIDER")
    assert_problem(await post(f"{RECONCILIATION}/run", {"provider": "stripe"}), 400, "UNSUPPORTED_PROVIDER")
    for window in (
        {"window_start": "yesterday"},
        {"window_start": "2026-02-01", "window_end": "2026-01-01"},
        {"window_start": "2026-02-01T00:00:00Z", "window_end": "2026-02-01T00:00:00Z"},
        {"window_start": "1999-01-01"},
        {"window_end": "2199-01-01"},
        {"tenant_id": "nobody"},
        {"dry_run": "perhaps"},
    ):
        assert_problem(await post(f"{RECONCILIATION}/run", window), 422, "VALIDATION_ERROR")
    stranger = await make_tenant(office.world.owner)
    assert_problem(await post(f"{RECONCILIATION}/run", {"tenant_id": str(stranger)}), 403, "FORBIDDEN")
    assert_problem(await office.owner.post(f"{RECONCILIATION}/run", {"tenant_id": str(uuid4())}), 400, "INVALID_TENANT")
    viewer = await office.people.admin(Role.VIEWER, office.world.tenant_id)
    assert_problem(await viewer.post(f"{RECONCILIATION}/run"), 403, "FORBIDDEN")


async def test_strangers_see_and_change_nothing(office: Office) -> None:
    ids = await office.world.deposit(2)
    await office.world.drop(ids[:1])
    finding = await office.found("missing_in_psp")
    stranger = await office.people.admin(Role.RECON, await make_tenant(office.world.owner))
    assert (await stranger.get(f"{RECONCILIATION}/findings")).json()["meta"]["total"] == 0
    assert (await stranger.get(f"{RECONCILIATION}/runs")).json()["meta"]["total"] == 0
    for path, body in (
        ("resolve", None),
        ("reopen", {"note": "why"}),
        ("assign", {"assigned_to": None}),
        ("notes", {"note": "why"}),
        ("replay", None),
        ("adjustment", {"reason": "why", "close_payment": True}),
    ):
        answer = await stranger.post(f"{RECONCILIATION}/findings/{finding['id']}/{path}", body)
        assert_problem(answer, 404, "FINDING_NOT_FOUND")
    assert_problem(await stranger.get(f"{RECONCILIATION}/runs/{finding['run_id']}"), 404, "RUN_NOT_FOUND")
    seen = await office.owner.about(office.world.tenant_id).get(f"{RECONCILIATION}/findings/{finding['id']}")
    assert seen.json()["status"] == "OPEN"


async def test_findings_are_worked_on_and_all_of_it_is_audited(office: Office) -> None:
    ids = await office.world.deposit(1)
    await office.world.drop(ids)
    finding = await office.found("missing_in_psp")
    path = f"{RECONCILIATION}/findings/{finding['id']}"
    assert "findings" not in finding["advice"]["command"] or finding["id"] in finding["advice"]["command"]
    assert_problem(
        await office.recon.post(f"{path}/resolve", {"resolution_code": "AUTO_CLEARED"}), 422, "VALIDATION_ERROR"
    )
    assert_problem(await office.recon.post(f"{path}/reopen", {"note": " "}), 422, "VALIDATION_ERROR")
    assert_problem(await office.recon.post(f"{path}/assign", {"assigned_to": str(uuid4())}), 422, "VALIDATION_ERROR")
    for step, body in (
        ("assign", {"assigned_to": str(office.recon.id)}),
        ("notes", {"note": "=asked the provider"}),
        ("resolve", {"resolution_code": "PSP_CORRECTED", "note": "=they found it"}),
        ("reopen", {"note": "they did not"}),
        ("resolve", {"resolution_code": "WRITE_OFF"}),
    ):
        answer = await office.recon.post(f"{path}/{step}", body)
        assert answer.status_code == 200, answer.text
    shown = (await office.recon.get(path)).json()
    assert (shown["resolution_code"], shown["resolved_by"], shown["assigned_to"]) == (
        "WRITE_OFF",
        str(office.recon.id),
        str(office.recon.id),
    )
    admin = await office.people.admin(Role.TENANT_ADMIN, office.world.tenant_id)
    history = (await admin.get("/audit/events", object_kind="finding", object_id=finding["id"])).json()["items"]
    assert [event["action"] for event in reversed(history)] == [
        "finding.assigned",
        "finding.noted",
        "finding.resolved",
        "finding.reopened",
        "finding.resolved",
    ]


async def test_export_is_the_whole_filtered_set(office: Office) -> None:
    ids = await office.world.deposit(3)
    await office.world.drop(ids)
    await office.world.run()
    await office.recon.post(
        f"{RECONCILIATION}/findings/{(await office.recon.get(f'{RECONCILIATION}/findings')).json()['items'][0]['id']}"
        "/resolve",
        {"note": "=1+1"},
    )
    text = (await office.recon.get(f"{RECONCILIATION}/findings.csv", finding_type="missing_in_psp")).text
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert {row["tx_id"] for row in rows} == {str(each) for each in ids}
    assert sorted(row["resolution_note"] for row in rows) == ["", "", "'=1+1"]
    listed = await office.recon.get(f"{RECONCILIATION}/findings", limit=1)
    assert (len(listed.json()["items"]), listed.json()["meta"]["total"]) == (1, 3)
    cursor = listed.json()["meta"]["next_cursor"]
    rest = (await office.recon.get(f"{RECONCILIATION}/findings", cursor=cursor)).json()["items"]
    assert len(rest) == 2


async def short_payment(office: Office) -> tuple[UUID, dict[str, Any]]:
    """A deposit of 10.00 of which 9.99 came in: open for ever, and a critical finding."""
    (deposit_id,) = await office.world.deposit(1, method="mock:short_by_one")
    finding = await office.found("amount_mismatch")
    assert (finding["ours_amount"], finding["theirs_amount"]) == ("10.00 USD", "9.99 USD")
    return deposit_id, finding


async def propose(office: Office, finding: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await office.recon.post(
        f"{RECONCILIATION}/findings/{finding['id']}/adjustment", {"reason": "the provider is right", **body}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_short_deposit_is_closed_by_two_people(office: Office) -> None:
    deposit_id, finding = await short_payment(office)
    player = office.world.players[0]
    before = await sides(office.world.owner, player)
    proposed = await propose(office, finding, close_payment=True)
    assert (proposed["status"], proposed["player_amount"], proposed["clearing_amount"]) == (
        "proposed",
        "-0.01",
        "-0.01",
    )
    path = f"{RECONCILIATION}/adjustments/{proposed['id']}"
    assert await sides(office.world.owner, player) == before
    twice = await office.recon.post(
        f"{RECONCILIATION}/findings/{finding['id']}/adjustment", {"reason": "again", "close_payment": True}
    )
    assert_problem(twice, 409, "PAYMENT_NOT_OPEN")
    assert_problem(await office.recon.post(f"{path}/approve"), 403, "FOUR_EYES_REQUIRED")
    results = await asyncio.gather(*(office.approver.post(f"{path}/approve") for _ in range(3)))
    assert sorted(answer.status_code for answer in results) == [200, 409, 409]
    after = await sides(office.world.owner, player)
    assert after.legacy_available - before.legacy_available == 9_99
    assert (await office.recon.get(f"{RECONCILIATION}/findings/{finding['id']}")).json()["resolution_code"] == (
        "FIXED_ADJUSTMENT"
    )
    state = await (
        await office.world.owner.execute("SELECT state FROM deposits WHERE id = %s", (deposit_id,))
    ).fetchone()
    assert state == ("completed",)
    run = await office.world.run(is_full=True)
    assert (run.counts["reopened"], run.counts["opened"], await office.world.found()) == ({}, {}, {})
    await assert_sound(office.world.owner, office.world.tenant_id)
    assert await clearing_of(office) == 9_99


async def test_refused_adjustment_moves_nothing_and_can_be_tried_again(office: Office) -> None:
    player = office.world.players[0]
    proposed = await office.recon.post(
        f"{RECONCILIATION}/adjustments",
        {"player_id": str(player.id), "player_amount": "-5000.00", "reason": "taken twice"},
    )
    assert proposed.status_code == 201, proposed.text
    path = f"{RECONCILIATION}/adjustments/{proposed.json()['id']}"
    refused = await office.approver.post(f"{path}/approve")
    assert assert_problem(refused, 409, "ADJUSTMENT_REFUSED")["reason"] == "insufficient_funds"
    again = await office.approver.post(f"{path}/approve")
    assert_problem(again, 409, "ADJUSTMENT_REFUSED")
    assert (await office.recon.post(f"{path}/reject", {"note": "mine"})).json()["status"] == "rejected"
    assert_problem(await office.approver.post(f"{path}/approve"), 409, "ADJUSTMENT_DECIDED")
    listed = (await office.approver.get(f"{RECONCILIATION}/adjustments")).json()
    assert [each["status"] for each in listed["items"]] == ["rejected"]
    await assert_sound(office.world.owner, office.world.tenant_id)


async def test_one_person_cannot_be_both_in_sql_either(office: Office) -> None:
    _, finding = await short_payment(office)
    proposed = await propose(office, finding, close_payment=True)
    decide = "SELECT code FROM adjustment_decide_v1(%s, %s, %s, TRUE, NULL)"
    viewer = await office.people.admin(Role.VIEWER, office.world.tenant_id)
    async with office.world.pools.connection() as conn:
        for admin_id, code in (
            (office.recon.id, "four_eyes_required"),
            (viewer.id, "unknown_admin"),
            (None, "unknown_admin"),
        ):
            row = await (await conn.execute(decide, (office.world.tenant_id, proposed["id"], admin_id))).fetchone()
            assert row == (code,)
        for statement in (
            "UPDATE ledger_adjustments SET status = 'approved'",
            "INSERT INTO ledger_adjustments SELECT * FROM ledger_adjustments",
            "DELETE FROM ledger_adjustments",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                await conn.execute(statement.encode())
        # The door itself, called by the service without an approved adjustment.
        with pytest.raises(errors.CheckViolation):
            await conn.execute(
                "SELECT * FROM ledger_post_v1(ARRAY[%(tenant)s::UUID], ARRAY[%(player)s::UUID], '{USD}', "
                "'{manual_adjustment}', '{100}', '{k}', ARRAY['\\x00'::BYTEA], ARRAY[%(adjustment)s::UUID], '{NULL}', "
                "'{NULL}', '{NULL}', '{house:adjustment}', '{player:available}', NULL, NULL, NULL, NULL)",
                {
                    "tenant": office.world.tenant_id,
                    "player": office.world.players[0].id,
                    "adjustment": UUID(proposed["id"]),
                },
            )
    # The table's own check, against its owner.
    with pytest.raises(errors.CheckViolation) as violation:
        await office.world.owner.execute(
            "UPDATE ledger_adjustments SET status = 'approved', decided_by = proposed_by, decided_at = now() "
            "WHERE id = %s",
            (proposed["id"],),
        )
    assert violation.value.diag.constraint_name == "ledger_adjustments_four_eyes_check"


async def pay_out(office: Office, method: str) -> UUID:
    """A withdrawal of 50.00 that finance has the provider pay."""
    player = office.world.players[0]
    command = replace(withdrawal(player, 50_00), method=method)
    async with office.world.pools.connection() as conn:
        (result,) = await withdrawal_repo.request(conn, [command])
    assert result.code == "applied", result
    finance = await office.people.admin(Role.FINANCE, office.world.tenant_id)
    path = f"/finance/withdrawals/{command.withdrawal_id}"
    for step, body in (("review", {"action": "approve"}), ("mark-paid", {})):
        answer = await finance.post(f"{path}/{step}", body)
        assert answer.status_code == 200, answer.text
    return command.withdrawal_id


@pytest.mark.parametrize(
    ("method", "finding_type", "player_gets", "clearing"),
    [("mock:short_by_one", "amount_mismatch", 1, -49_99), ("mock:other_currency", "currency_mismatch", 0, 0)],
)
async def test_payout_of_other_money_is_closed_by_two_people(
    office: Office, method: str, finding_type: str, player_gets: int, clearing: int
) -> None:
    tx_id = await pay_out(office, method)
    player = office.world.players[0]
    # What the answer told is what the run finds: one finding.
    finding = await office.found(finding_type)
    assert (finding["tx_id"], await office.world.found()) == (str(tx_id), {finding_type: 1})
    proposed = await propose(office, finding, close_payment=True)
    approved = await office.approver.post(f"{RECONCILIATION}/adjustments/{proposed['id']}/approve")
    assert approved.status_code == 200, approved.text
    left = 1000_00 - 50_00 + player_gets
    assert await sides(office.world.owner, player) == both(left)
    state = await (await office.world.owner.execute("SELECT state FROM withdrawals WHERE id = %s", (tx_id,))).fetchone()
    assert state == ("paid",)
    run = await office.world.run(is_full=True)
    assert (run.counts["reopened"], await office.world.found()) == ({}, {})
    assert await clearing_of(office) == clearing
    await assert_sound(office.world.owner, office.world.tenant_id)


async def clearing_of(office: Office) -> int:
    """What the provider's clearing account stands at: collected less paid out."""
    row = await (
        await office.world.owner.execute(
            "SELECT coalesce(sum(CASE WHEN debit_account = 'psp:mockpsp:clearing' THEN amount ELSE -amount END), 0) "
            "FROM ledger_transactions "
            "WHERE tenant_id = %s AND 'psp:mockpsp:clearing' IN (debit_account, credit_account)",
            (office.world.tenant_id,),
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


async def test_payouts_are_compared_too(office: Office) -> None:
    paid, dropped, returned = [await pay_out(office, "test") for _ in range(3)]
    failed = await pay_out(office, "mock:decline")
    owner = office.world.owner
    await owner.execute("DELETE FROM mockpsp.events WHERE reference = %s", (f"wd_{dropped}_1",))
    for reference, kind, movement, status in (
        (f"wd_{returned}_1", "payout.returned", "return", "returned"),
        (f"wd_{failed}_1", "payout.paid", "payout", "paid"),
    ):
        await owner.execute(
            "INSERT INTO mockpsp.events (event_id, kind, object_id, account_id, reference, sequence, type, status, "
            "amount, currency, movement, occurred_at) SELECT event_id || '_x', kind, object_id, account_id, reference, "
            "9, %s, %s, amount, currency, %s, occurred_at FROM mockpsp.events WHERE reference = %s",
            (kind, status, movement, reference),
        )
    await office.world.run()
    assert await office.world.found() == {"missing_in_psp": 1, "returned_after_paid": 1, "paid_after_release": 1}
    assert await office.world.subjects("missing_in_psp") == {dropped}
    assert await office.world.subjects("paid_after_release") == {failed}
    finding_id = await office.world.finding_id("returned_after_paid")
    replayed = await office.recon.post(f"{RECONCILIATION}/findings/{finding_id}/replay")
    assert (replayed.status_code, replayed.json()["effect"]) == (200, "applied"), replayed.text
    run = await office.world.run()
    assert run.counts["auto_cleared"] == {"returned_after_paid": 1}
    assert paid not in await office.world.subjects("missing_in_psp")
    await assert_sound(owner, office.world.tenant_id)
