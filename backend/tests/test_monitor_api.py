"""The monitor over HTTP and from a shell: who may ask for what, and what is answered."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.app.services import evidence
from backend.tests import api_client, commands
from backend.tests.api_client import WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import DEADLINE_SECONDS, Player, eventually, set_legacy
from backend.tests.fixtures import People, assert_problem
from backend.tests.monitor_desk import MonitorDesk, monitor_desk, soon

ROLLOUT = "/ops/rollout"


@pytest.fixture
async def desk(new_database: Callable[..., Database]) -> AsyncIterator[MonitorDesk]:
    async with monitor_desk(new_database()) as made:
        yield made


@pytest.fixture
async def own_http(desk: MonitorDesk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The application on the desk's database, flushing often."""
    monkeypatch.setattr(evidence, "FLUSH_SECONDS", 0.1)
    async with api_client.serving(desk.database) as client:
        yield client


@pytest.fixture
def own_people(own_http: httpx.AsyncClient, desk: MonitorDesk) -> People:
    return People(own_http, desk.owner)


async def alarm(desk: MonitorDesk) -> UUID:
    """A tenant with a high verdict, judged."""
    tenant_id = await desk.tenant()
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    await desk.evaluate()
    return tenant_id


async def test_verdicts_are_shown_to_their_tenant_and_acknowledged_by_an_owner(
    desk: MonitorDesk, own_people: People
) -> None:
    tenant_id, other_id = await alarm(desk), await desk.tenant()
    boss = await own_people.admin(Role.OWNER)
    viewer = await own_people.admin(Role.VIEWER, tenant_id)
    stranger = await own_people.admin(Role.TENANT_ADMIN, other_id)

    shown = (await viewer.get(f"{ROLLOUT}/monitor")).json()
    assert [(each["trigger"], each["verdict"]) for each in shown["verdicts"]] == [("T1", "high"), ("T3", "high")]
    assert "yüksek" in shown["verdicts"][0]["sentences"]["tr"]
    assert shown["top_tenants"] == {}, "who else there is concerns nobody but owners"
    assert (await stranger.get(f"{ROLLOUT}/monitor")).json()["verdicts"] == []
    whole = (await boss.get(f"{ROLLOUT}/monitor")).json()
    assert whole["top_tenants"]["t1_disputed"][0]["tenant_id"] == str(tenant_id)

    path = f"{ROLLOUT}/verdicts/tenant/{tenant_id}/T1/acknowledge"
    assert_problem(await viewer.post(path, {"note": "seen"}), 403, "FORBIDDEN")
    assert_problem(await boss.post(path, {"note": ""}), 422, "VALIDATION_ERROR")
    assert_problem(
        await boss.post(f"{ROLLOUT}/verdicts/tenant/{uuid4()}/T1/acknowledge", {"note": "x"}), 404, "VERDICT_NOT_FOUND"
    )
    answer = await boss.post(path, {"note": "the import was wrong"})
    assert answer.status_code == httpx.codes.OK
    assert answer.json()["acknowledged_by"] == boss.email
    reason = await desk.one("SELECT reason FROM audit_events WHERE action = 'verdict.acknowledged'")
    assert reason == "the import was wrong"


async def test_drill_down_and_decisions_belong_to_their_tenant(desk: MonitorDesk, own_people: People) -> None:
    tenant_id, other_id = await alarm(desk), await desk.tenant()
    viewer = await own_people.admin(Role.VIEWER, tenant_id)
    stranger = await own_people.admin(Role.VIEWER, other_id)
    path = f"{ROLLOUT}/tenants/{tenant_id}/evidence"
    found = (await viewer.get(path)).json()
    assert len(found["top_players"]) == 16, "each of eight, by what was refused and by what differs"
    assert found["auto_rollback"] is False
    assert_problem(await stranger.get(path), 404, "TENANT_NOT_FOUND")

    page = (await viewer.get(f"{ROLLOUT}/decisions")).json()
    assert page["meta"]["total"] == 2
    decision_id = page["items"][0]["id"]
    derived = (await viewer.get(f"{ROLLOUT}/decisions/{decision_id}")).json()
    assert derived["is_same"] is True
    assert derived["evidence"]["inputs"][0]["buckets"]
    assert_problem(await stranger.get(f"{ROLLOUT}/decisions/{decision_id}"), 404, "DECISION_NOT_FOUND")
    assert (await stranger.get(f"{ROLLOUT}/decisions")).json()["items"] == []


async def test_owner_runs_the_monitor_and_gives_leave(desk: MonitorDesk, own_people: People) -> None:
    tenant_id = await desk.tenant()
    boss, admin = await own_people.admin(Role.OWNER), await own_people.admin(Role.TENANT_ADMIN, tenant_id)
    assert_problem(await admin.post(f"{ROLLOUT}/evaluate"), 403, "FORBIDDEN")
    answer = (await boss.post(f"{ROLLOUT}/evaluate")).json()
    assert [(each["subject"], each["trigger"], each["verdict"]) for each in answer["subjects"]] == [
        (str(tenant_id), "T1", "no_data"),
        (str(tenant_id), "T3", "no_data"),
    ]
    path = f"/api/v1{ROLLOUT}/tenants/{tenant_id}/auto-rollback"
    body = {"enabled": True, "reason": "pilot"}
    response = await boss.http.put(path, json=body, headers=boss.headers)
    assert response.json() == {"tenant_id": str(tenant_id), "auto_rollback": True}
    assert_problem(await admin.http.put(path, json=body, headers=admin.headers), 403, "FORBIDDEN")
    assert await desk.one("SELECT auto_rollback FROM monitor_settings WHERE tenant_id = %s", tenant_id) is True
    status = (await boss.get(f"{ROLLOUT}/tenants/{tenant_id}")).json()
    assert {each["trigger"] for each in status["triggers"]} >= {"T1", "T3"}, "in the overview, too"


async def test_sandbox_is_in_no_ordinary_list(desk: MonitorDesk, own_people: People) -> None:
    tenant_id = await desk.tenant()
    boss = await own_people.admin(Role.OWNER)
    assert (await boss.post(f"{ROLLOUT}/selftest")).json()["outcome"] == "passed"
    tenants = (await boss.get("/tenants")).json()
    assert [each["id"] for each in tenants["items"]] == [str(tenant_id)]
    assert tenants["meta"]["total"] == 1
    shown = (await boss.get(f"{ROLLOUT}/monitor")).json()
    assert (shown["verdicts"], shown["deliveries"]) == ([], {})
    assert shown["selftest"]["outcome"] == "passed"
    assert (await boss.get(f"{ROLLOUT}/decisions")).json()["meta"]["total"] == 0


async def test_request_over_http_is_counted_and_flushed(desk: MonitorDesk, own_http: httpx.AsyncClient) -> None:
    tenant_id = await desk.tenant()
    (player,) = await desk.players(tenant_id, 1)
    await set_legacy(desk.owner, player, available=1_000_00)
    client = WalletClient(http=own_http, player=player)
    key = uuid4().hex
    for _ in range(2):
        assert (await client.withdraw("500.00", key=key)).status_code == httpx.codes.BAD_REQUEST
    signed_by_nobody = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    await own_http.post("/api/v1/payments/webhook/mockpsp", content=b"{}", headers=signed_by_nobody)

    async def is_flushed() -> bool:
        rows = await desk.one("SELECT count(*) FROM evidence_buckets WHERE tenant_id = %s AND x = 1", tenant_id)
        noise = await desk.one("SELECT count(*) FROM delivery_buckets WHERE NOT is_credible")
        return bool((rows, noise) == (3, 1))

    await eventually(is_flushed, what=f"a flush within {DEADLINE_SECONDS} s")
    number = await desk.one("SELECT instance FROM evidence_buckets WHERE tenant_id = %s LIMIT 1", tenant_id)
    assert await desk.one("SELECT count(*) FROM service_instances WHERE number = %s", number) == 1
    metrics = (await own_http.get("/metrics")).text
    assert f'ledger_rollout_decisions_total{{agree="no",arbiter="ledger",tenant="{tenant_id}"}} 1.0' in metrics
    assert "ledger_rollout_last_evaluation_timestamp_seconds" in metrics


async def test_what_was_counted_before_an_orderly_stop_is_flushed(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    (player,) = await desk.players(tenant_id, 1)
    async with api_client.serving(desk.database) as client:
        assert await withdrawn(client, player) == httpx.codes.CREATED
    assert await desk.one("SELECT sum(n) FROM evidence_buckets WHERE stream = 't1_disputed'") == 1


async def withdrawn(client: httpx.AsyncClient, player: Player) -> int:
    return (await WalletClient(http=client, player=player).withdraw("1.00")).status_code


# ---------------------------------------------------------------------------------------------------------------------
# From a shell
# ---------------------------------------------------------------------------------------------------------------------


async def hakem(desk: MonitorDesk, home: Path, *arguments: str) -> tuple[int, str]:
    """`hakem rollout …` as a process of its own: exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(*commands.words(), "rollout", *arguments),
        env=commands.environment_of(desk.database, home),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_past_is_evaluated_from_a_shell(desk: MonitorDesk, tmp_path: Path) -> None:
    tenant_id = await desk.tenant()
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    at = soon().isoformat()
    mild, wrong = tmp_path / "mild.json", tmp_path / "wrong.json"
    mild.write_text(json.dumps({"high_minutes": 60, "high_events": 500, "light_events": 400, "light_players": 300}))
    wrong.write_text(json.dumps({"no_such_number": 1}))

    (found, document), (_, milder), refused, no_time = await asyncio.gather(
        hakem(desk, tmp_path, "evaluate", "--at", at, "--json", "--tenant", str(tenant_id)),
        hakem(desk, tmp_path, "evaluate", "--at", at, "--thresholds", str(mild)),
        hakem(desk, tmp_path, "evaluate", "--thresholds", str(wrong)),
        hakem(desk, tmp_path, "evaluate", "--at", "yesterday"),
    )

    assert found == 1
    evaluation: dict[str, Any] = json.loads(document)
    assert [(each["trigger"], each["verdict"]) for each in evaluation["subjects"]] == [("T1", "high"), ("T3", "high")]
    assert evaluation["is_acted"] is False
    assert " T1 " in milder
    assert " T1 high" not in milder
    assert (refused[0], no_time[0]) == (2, 2)
    assert "no_such_number" in refused[1]
    assert await desk.one("SELECT count(*) FROM monitor_decisions") == 0


async def test_watch_selftest_and_leave_from_a_shell(desk: MonitorDesk, tmp_path: Path) -> None:
    tenant_id = await alarm(desk)
    (watched, shown), (allowed, _), (tested, told) = await asyncio.gather(
        hakem(desk, tmp_path, "watch", "--once", "--language", "tr"),
        hakem(desk, tmp_path, "auto-rollback", str(tenant_id), "on", "--reason", "pilot"),
        hakem(desk, tmp_path, "selftest"),
    )
    assert (watched, allowed, tested) == (0, 0, 0), (shown, told)
    assert " T1 high since=" in shown
    assert "çekim kararından" in shown
    assert await desk.one("SELECT auto_rollback FROM monitor_settings WHERE tenant_id = %s", tenant_id) is True
    assert "selftest passed" in told
