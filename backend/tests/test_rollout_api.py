"""The rollout over HTTP: who may see and change what, and what is answered."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.app.domain.identity import Role
from backend.app.domain.rollout.gates import Gate
from backend.app.repositories.database import Database as Pools
from backend.tests import api_client
from backend.tests.conftest import Database
from backend.tests.factories import Owner, make_player, make_tenant, set_legacy
from backend.tests.fixtures import Caller, People, assert_problem
from backend.tests.rollout_desk import ACTOR, RolloutDesk, desk_on

OVERRIDE = ["evidence", "quiet", "rehearsal"]


@pytest.fixture(scope="module")
def desk(own_database: Database, own_pools: Pools, own_owner: Owner) -> RolloutDesk:
    """On the module's own database: an evaluation looks at everybody's evidence, and freezes the fleet if need be."""
    return desk_on(own_database, own_pools, own_owner)


@pytest.fixture(scope="module")
async def people(own_database: Database, own_owner: Owner) -> AsyncIterator[People]:
    async with api_client.serving(own_database) as client:
        yield People(client, own_owner)


@pytest.fixture(scope="module")
async def boss(people: People) -> Caller:
    return await people.admin(Role.OWNER)


def enforce(tenant_id: UUID) -> str:
    return f"/ops/rollout/tenants/{tenant_id}/enforce"


async def test_enforce_and_back(desk: RolloutDesk, boss: Caller) -> None:
    tenant_id, _ = await desk.opened_tenant(players=2, available=12_34)
    done = await boss.post(enforce(tenant_id), {"enabled": True, "reason": "gates met", "override_gates": OVERRIDE})
    assert done.status_code == 200, done.text
    answer = done.json()
    assert (answer["tenant_id"], answer["arbiter"], answer["epoch"]) == (str(tenant_id), "ledger", 1)
    assert answer["attestation"] == [
        {
            "currency": "USD", "players": 2, "unopened": 0, "differing": 0, "legacy_available": "24.68",
            "legacy_held": "0.00", "snapshot_available": "24.68", "snapshot_pending": "0.00",
            "ledger_available": "24.68", "ledger_pending": "0.00",
        }
    ]  # fmt: skip
    back = await boss.post(enforce(tenant_id), {"enabled": False, "reason": "a try"})
    assert (back.status_code, back.json()["arbiter"], back.json()["epoch"]) == (200, "legacy", 2)
    again = await boss.post(enforce(tenant_id), {"enabled": False, "reason": "a try"})
    assert (again.json()["is_changed"], again.json()["epoch"], again.json()["attestation"]) == (False, 2, None)
    cursor = await desk.owner.execute(
        "SELECT DISTINCT actor_id, actor_kind FROM arbiter_changes WHERE tenant_id = %s", (tenant_id,)
    )
    assert await cursor.fetchall() == [(boss.id, "admin")]


async def test_gates_that_are_not_met_are_named_in_both_languages(desk: RolloutDesk, boss: Caller) -> None:
    tenant_id, players = await desk.opened_tenant()
    stranger = await make_player(desk.owner, tenant_id, available=5)
    await set_legacy(desk.owner, players[0], available=1)
    refused = await boss.post(enforce(tenant_id), {"enabled": True, "reason": "x", "override_gates": OVERRIDE})
    problem = assert_problem(refused, 409, "GATES_NOT_MET")
    gates = {gate["gate"]: gate for gate in problem["gates"]}
    assert set(gates) == {"coverage", "census"}
    assert str(stranger.id) in gates["coverage"]["text"]["tr"]
    assert str(players[0].id) in gates["census"]["text"]["en"]
    assert gates["coverage"]["command"] == f"hakem backfill --tenant-id {tenant_id}"
    assert problem["tenant_id"] == str(tenant_id)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"enabled": True}, "body"),
        ({"enabled": True, "reason": ""}, "reason"),
        ({"enabled": True, "reason": "  "}, "reason"),
        ({"enabled": "yes", "reason": "x"}, "enabled"),
        ({"enabled": True, "reason": "x", "override_gates": ["census"]}, "override_gates"),
        ({"enabled": True, "reason": "x", "override_gates": ["nothing"]}, "override_gates"),
    ],
)
async def test_wish_that_cannot_be_is_refused(boss: Caller, body: dict[str, Any], field: str) -> None:
    problem = assert_problem(await boss.post(enforce(uuid4()), body), 422, "VALIDATION_ERROR")
    assert problem["errors"][0]["field"] == field


async def test_owner_sees_all_and_an_admin_sees_one(people: People, desk: RolloutDesk, boss: Caller) -> None:
    tenant_id, _ = await desk.opened_tenant()
    other_id = await make_tenant(desk.owner)
    page = (await boss.get("/ops/rollout", limit=1)).json()
    assert page["meta"]["total"] >= 2
    assert len(page["items"]) == 1
    for role in set(Role) - {Role.OWNER}:
        admin = await people.admin(role, tenant_id)
        listed = (await admin.get("/ops/rollout")).json()
        assert [each["tenant_id"] for each in listed["items"]] == [str(tenant_id)]
        assert (await admin.get(f"/ops/rollout/tenants/{tenant_id}")).status_code == 200
        assert_problem(await admin.get(f"/ops/rollout/tenants/{other_id}"), 404, "TENANT_NOT_FOUND")
        for asked in (tenant_id, other_id):
            assert_problem(await admin.post(enforce(asked), {"enabled": False, "reason": "x"}), 403, "FORBIDDEN")
        flag = await put(admin, "ledger_enforce_balance", value=False, scope="global", reason="x")
        assert_problem(flag, 403, "FORBIDDEN")
    about = boss.about(tenant_id)
    assert_problem(await about.post(enforce(other_id), {"enabled": False, "reason": "x"}), 404, "TENANT_NOT_FOUND")
    assert_problem(await boss.get("/ops/rollout/tenants/nothing"), 404, "TENANT_NOT_FOUND")
    assert_problem(await people.nobody().get("/ops/rollout"), 401, "UNAUTHORIZED")


async def test_status_says_where_a_tenant_stands_and_why(desk: RolloutDesk, boss: Caller) -> None:
    tenant_id = await make_tenant(desk.owner)
    player = await make_player(desk.owner, tenant_id, available=100)

    async def status() -> dict[str, Any]:
        answer = await boss.get(f"/ops/rollout/tenants/{tenant_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    found = await status()
    assert (found["stage"], found["arbiter"]) == ("shadow", "legacy")
    assert found["coverage"]["share"] == 0.0
    assert [gate["gate"] for gate in found["gates"]] == list(Gate)
    assert {flag["flag"]: flag["source"] for flag in found["flags"]} == {
        "ledger_balance_mismatch_log": "default",
        "ledger_enforce_balance": "default",
        "ledger_shadow_write": "default",
    }
    await desk.open_wallets(player)
    assert (await status())["stage"] == "backfilled"
    await desk.rollout._census.run(tenant_id, started_by="a test")
    assert (await status())["stage"] == "observing"
    rehearsed = await desk.rollout.rehearse(tenant_id, reason="a test", actor=ACTOR)
    assert rehearsed.epoch == 2
    # The monitor has to have looked at it once.
    assert (await status())["stage"] == "observing"
    assert (await boss.post("/ops/rollout/evaluate")).status_code in {200, 201}
    found = await status()
    assert (found["stage"], found["changes"]) == ("ready", [])
    # A tenant without traffic says so, and is no alarm.
    assert {trigger["verdict"] for trigger in found["triggers"]} <= {"no_data"}
    await boss.post(enforce(tenant_id), {"enabled": True, "reason": "ready"})
    found = await status()
    assert (found["stage"], found["epoch"]) == ("enforced", 3)
    assert [(flip["arbiter"], flip["epoch"], flip["reason"]) for flip in found["changes"]] == [("ledger", 3, "ready")]
    (flag,) = [each for each in found["flags"] if each["flag"] == "ledger_enforce_balance"]
    assert (flag["value"], flag["source"], flag["reason"]) == (True, "tenant", "ready")
    assert flag["set_by"] == boss.email


# ---------------------------------------------------------------------------------------------------------------------
# Flags
# ---------------------------------------------------------------------------------------------------------------------


async def put(caller: Caller, flag: str, **body: Any) -> Any:
    return await caller.http.put(f"/api/v1/ops/flags/{flag}", json=body, headers=caller.headers)


async def test_flag_is_set_and_answered_with_where_it_comes_from(desk: RolloutDesk, boss: Caller) -> None:
    tenant_id = await make_tenant(desk.owner)
    wish = {"value": False, "scope": "tenant", "tenant_id": str(tenant_id), "reason": "noise", "expires_at": "2999-01-01T00:00:00Z"}  # fmt: skip  # noqa: E501
    answer = await put(boss, "LEDGER_BALANCE_MISMATCH_LOG", **wish)
    assert answer.status_code == 200, answer.text
    (flag,) = [each for each in answer.json()["flags"] if each["flag"] == "ledger_balance_mismatch_log"]
    assert (flag["value"], flag["source"], flag["reason"]) == (False, "tenant", "noise")
    assert flag["expires_at"] == "2999-01-01T00:00:00Z"
    answer = await put(boss, "ledger_balance_mismatch_log", **{**wish, "value": None, "expires_at": None})
    (flag,) = [each for each in answer.json()["flags"] if each["flag"] == "ledger_balance_mismatch_log"]
    assert (flag["value"], flag["source"]) == (True, "default")


async def test_enforce_flag_of_a_tenant_goes_through_the_gates(desk: RolloutDesk, boss: Caller) -> None:
    tenant_id, _ = await desk.opened_tenant()
    wish = {"scope": "tenant", "tenant_id": str(tenant_id), "reason": "now"}
    assert_problem(await put(boss, "ledger_enforce_balance", value=True, **wish), 409, "GATES_NOT_MET")
    assert (await put(boss, "ledger_enforce_balance", value=False, **wish)).status_code == 200


@pytest.mark.parametrize(
    ("flag", "body", "status", "code"),
    [
        ("nothing", {"value": True, "scope": "global", "reason": "x"}, 404, "FLAG_NOT_FOUND"),
        ("ledger_shadow_write", {"value": True, "scope": "global"}, 422, "VALIDATION_ERROR"),
        ("ledger_shadow_write", {"scope": "global", "reason": "x"}, 422, "VALIDATION_ERROR"),
        ("ledger_shadow_write", {"value": True, "scope": "world", "reason": "x"}, 422, "VALIDATION_ERROR"),
        ("ledger_shadow_write", {"value": True, "scope": "tenant", "reason": "x"}, 422, "VALIDATION_ERROR"),
        (
            "ledger_shadow_write",
            {"value": True, "scope": "tenant", "tenant_id": str(uuid4()), "reason": "x"},
            404,
            "TENANT_NOT_FOUND",
        ),
        (
            "webhook_signature_enforced",
            {"value": True, "scope": "global", "provider": "nobody", "reason": "x"},
            422,
            "VALIDATION_ERROR",
        ),
        (
            "webhook_signature_enforced",
            {"value": True, "scope": "global", "reason": "x", "expires_at": "2999-01-01T00:00:00"},
            422,
            "VALIDATION_ERROR",
        ),
    ],
)
async def test_flag_that_cannot_be_set(boss: Caller, flag: str, body: dict[str, Any], status: int, code: str) -> None:
    assert_problem(await put(boss, flag, **body), status, code)
