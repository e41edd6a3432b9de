"""The rollout at the console: the fleet, one tenant with all that speaks for and against it, the flip and back."""

import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from backend.app.console.rollout_charts import SPARK_HEIGHT, spark_path
from backend.app.domain.identity import Role
from backend.app.domain.monitor.bucket import Trigger
from backend.app.domain.monitor.rollout_actions import matrix
from backend.app.domain.rollout.rollout_state import HoldKind
from backend.app.repositories.database import Database as Pools
from backend.app.services.rollout import rollout_holds
from backend.tests import console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import Browser, words
from backend.tests.factories import Owner, make_player, make_tenant, set_legacy
from backend.tests.rollout_desk import ACTOR, RolloutDesk, desk_on

WAIVED: Final = ["evidence", "quiet", "rehearsal"]


@pytest.fixture(scope="module")
def desk(database: Database, pools: Pools, owner: Owner) -> RolloutDesk:
    return desk_on(database, pools, owner)


@pytest.fixture
async def boss(http: httpx.AsyncClient, owner: Owner) -> Browser:
    return await console_browser.sign_in(http, owner, Role.OWNER)


async def name_of(owner: Owner, tenant_id: UUID) -> str:
    row = await (await owner.execute("SELECT name FROM tenants WHERE id = %s", (tenant_id,))).fetchone()
    assert row is not None
    return str(row[0])


async def do(browser: Browser, tenant_id: UUID, deed: str, **fields: Any) -> httpx.Response:
    return await browser.send(f"/rollout/{tenant_id}/deed", {"deed": deed, "reason": "a try of the page", **fields})


async def enforced(desk: RolloutDesk, boss: Browser, tenant_id: UUID) -> None:
    """By the page itself: the application's release is another than the one of the desk's own services."""
    done = await do(boss, tenant_id, "enforce", name=await name_of(desk.owner, tenant_id), waive=WAIVED)
    assert done.status_code == 303, words(done)


async def test_enforce_and_back_with_the_name_typed(desk: RolloutDesk, boss: Browser) -> None:
    tenant_id, _ = await desk.opened_tenant()
    name = await name_of(desk.owner, tenant_id)
    page = await boss.get(f"/rollout/{tenant_id}")
    assert 'name="deed" value="enforce"' in page.text
    assert 'name="deed" value="rollback"' not in page.text
    done = await do(boss, tenant_id, "enforce", name=f"  {name} ", waive=WAIVED)
    assert (done.status_code, done.headers["location"]) == (303, f"/console/rollout/{tenant_id}")
    assert await desk.mode(tenant_id) == ("ledger", 1)
    page = await boss.get(f"/rollout/{tenant_id}")
    assert "The ledger decides now" in words(page)
    assert "Enforced" in words(page)
    assert 'name="deed" value="enforce"' not in page.text
    assert (await do(boss, tenant_id, "rollback", name=name)).status_code == 303
    assert await desk.mode(tenant_id) == ("legacy", 2)
    assert [flip.reason for flip in await desk.flips(tenant_id)] == ["a try of the page"] * 2
    assert (await desk.flips(tenant_id))[0].waived_gates == ["quiet", "rehearsal"]
    past = words(await boss.get(f"/rollout/{tenant_id}/past"))
    assert past.index("Rolled back: the legacy balance decides") < past.index("Enforced: the ledger decides")
    assert "overridden: Quiet, Rehearsal" in past
    cursor = await desk.owner.execute(
        "SELECT DISTINCT actor_id, actor_label FROM arbiter_changes WHERE tenant_id = %s", (tenant_id,)
    )
    assert await cursor.fetchall() == [(boss.admin_id, boss.email)]


@pytest.mark.parametrize("deed", ["enforce", "rollback"])
@pytest.mark.parametrize("typed", ["", "another name"])
async def test_nothing_is_flipped_without_the_name(desk: RolloutDesk, boss: Browser, deed: str, typed: str) -> None:
    tenant_id, _ = await desk.ready_tenant()
    if deed == "rollback":
        await enforced(desk, boss, tenant_id)
    before = await desk.mode(tenant_id)
    answer = await do(boss, tenant_id, deed, name=typed, waive=WAIVED)
    assert answer.status_code == 422
    assert "The name that was typed is not the tenant's." in words(answer)
    # What was typed is not lost.
    assert "a try of the page</textarea>" in answer.text
    assert await desk.mode(tenant_id) == before


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
async def test_every_deed_says_why(desk: RolloutDesk, boss: Browser, reason: str) -> None:
    tenant_id, _ = await desk.ready_tenant()
    name, before = await name_of(desk.owner, tenant_id), await desk.actions(tenant_id)
    for deed in ("enforce", "rollback", "rehearse", "hold", "lift"):
        answer = await do(boss, tenant_id, deed, name=name, waive=WAIVED, reason=reason)
        assert answer.status_code == 422, deed
    assert await desk.actions(tenant_id) == before


async def test_gate_that_is_not_met_is_named_and_not_overridden(desk: RolloutDesk, boss: Browser) -> None:
    tenant_id, players = await desk.opened_tenant()
    name = await name_of(desk.owner, tenant_id)
    await make_player(desk.owner, tenant_id, available=5)
    await set_legacy(desk.owner, players[0], available=1)
    page = await boss.get(f"/rollout/{tenant_id}")
    said = words(page)
    assert "Not possible yet. Nobody can override these gates: Coverage Census" in said
    assert 'name="deed" value="enforce"' not in page.text
    assert f"hakem backfill --tenant-id {tenant_id}" in said
    refused = await do(boss, tenant_id, "enforce", name=name, waive=WAIVED)
    assert refused.status_code == 409
    assert "Not every gate is met. Coverage:" in words(refused)
    hard = await do(boss, tenant_id, "enforce", name=name, waive=["coverage"])
    assert hard.status_code == 422
    missing = await do(boss, tenant_id, "enforce", name=name)
    assert missing.status_code == 409
    assert await desk.mode(tenant_id) == ("legacy", 0)


async def test_hold_and_lift(desk: RolloutDesk, boss: Browser) -> None:
    tenant_id, _ = await desk.ready_tenant()
    assert (await do(boss, tenant_id, "hold", hours="24")).status_code == 303
    assert (await do(boss, tenant_id, "hold", hours="1000")).status_code == 422
    page = await boss.get(f"/rollout/{tenant_id}")
    assert "Held Somebody or something stands against it" in words(page)
    found = re.search(r'name="hold_id" value="([0-9a-f-]+)"', page.text)
    assert found is not None
    other, _ = await desk.opened_tenant()
    assert (await do(boss, other, "lift", hold_id=found[1])).status_code == 404
    assert (await do(boss, tenant_id, "lift", hold_id=found[1])).status_code == 303
    assert (await do(boss, tenant_id, "lift", hold_id=found[1])).status_code == 404
    assert (await do(boss, tenant_id, "lift", hold_id="x")).status_code == 404
    past = words(await boss.get(f"/rollout/{tenant_id}/past"))
    assert past.index("Hold lifted") < past.index("Put on hold")
    assert (await desk.actions(tenant_id))[-2:] == ["rollout_hold.placed", "rollout_hold.lifted"]


async def test_rehearsal_is_nobodys_arbiter(desk: RolloutDesk, boss: Browser) -> None:
    tenant_id, _ = await desk.opened_tenant()
    assert "The way back was never tried" in words(await boss.get(f"/rollout/{tenant_id}"))
    assert (await do(boss, tenant_id, "rehearse")).status_code == 303
    assert (await desk.mode(tenant_id))[0] == "legacy"
    page = words(await boss.get(f"/rollout/{tenant_id}"))
    assert "nobody was judged by it" in page
    assert "The way back was rehearsed" in page
    await enforced(desk, boss, tenant_id)
    refused = await do(boss, tenant_id, "rehearse")
    assert (refused.status_code, "decides for this tenant already" in words(refused)) == (409, True)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
async def test_who_is_no_owner_sees_no_deeds_and_does_none(
    desk: RolloutDesk, http: httpx.AsyncClient, role: Role
) -> None:
    tenant_id, _ = await desk.ready_tenant()
    browser = await console_browser.sign_in(http, desk.owner, role, tenant_id)
    page = await browser.get(f"/rollout/{tenant_id}")
    assert page.status_code == 200
    assert "/deed" not in page.text
    name = await name_of(desk.owner, tenant_id)
    for deed in ("enforce", "rollback", "rehearse", "hold", "lift"):
        assert (await do(browser, tenant_id, deed, name=name, waive=WAIVED)).status_code == 403
    assert (await desk.mode(tenant_id))[0] == "legacy"
    # A provider's deliveries are of all tenants.
    assert "Webhooks with a bad signature" not in (await browser.get(f"/rollout/{tenant_id}/past")).text


async def test_page_that_was_opened_before_a_flip_says_so(desk: RolloutDesk, boss: Browser) -> None:
    tenant_id, _ = await desk.ready_tenant()
    _, epoch = await desk.mode(tenant_id)
    same = await boss.get(f"/rollout/{tenant_id}/standing", seen=epoch)
    assert "Somebody changed who decides" not in words(same)
    await enforced(desk, boss, tenant_id)
    later = await boss.get(f"/rollout/{tenant_id}/standing", seen=epoch)
    assert "Somebody changed who decides" in words(later)
    # And goes on saying so when the part refreshes itself once more.
    assert f"seen={epoch}&amp;" in later.text


async def judge(owner: Owner, tenant_id: UUID, trigger: str, verdict: str, stream: str) -> None:
    await owner.execute(
        "INSERT INTO monitor_verdicts (subject_kind, subject, trigger, tenant_id, verdict, since, evaluated_at, "
        "latches, assessments, sentences, actions, score) "
        "VALUES ('tenant', %(tenant)s::UUID::TEXT, %(trigger)s, %(tenant)s::UUID, %(verdict)s, now(), now(), '{}', "
        "jsonb_build_array(jsonb_build_object('stream', %(stream)s::TEXT, 'verdict', %(verdict)s::TEXT)), "
        '\'{"en": "Said by <i>the</i> monitor.", "tr": "İzleme dedi."}\', '
        '\'{"recommended": [{"action": "census", "command": "hakem verify --it", "undo": null}]}\', 1)',
        {"tenant": str(tenant_id), "trigger": trigger, "verdict": verdict, "stream": stream},
    )


@pytest.mark.parametrize(
    ("trigger", "verdict", "stream", "row", "column"),
    [
        ("T1", "light", "t1_disputed", 0, 0),
        ("T1", "sustained", "t1_refused", 1, 1),
        ("T1", "critical", "t1_overpaid", 0, 2),
        ("T3", "high", "t3_mismatch", 3, 1),
        ("T3", "ok", "t3_mismatch", None, None),
    ],
)
async def test_current_cell_of_the_matrix_is_lit(
    desk: RolloutDesk, boss: Browser, trigger: str, verdict: str, stream: str, row: int | None, column: int | None
) -> None:
    tenant_id, _ = await desk.opened_tenant()
    await judge(desk.owner, tenant_id, trigger, verdict, stream)
    page = (await boss.get(f"/rollout/{tenant_id}")).text
    table = page[page.index('class="rows cards matrix"') :]
    cells = [
        (line, place)
        for line, text in enumerate(re.findall(r"<tr>\s*<th scope=\"row\">.*?</tr>", table, flags=re.DOTALL))
        for place, cell in enumerate(re.findall(r"<td[^>]*>", text))
        if "lit" in cell
    ]
    assert cells == ([] if row is None else [(row, column)])
    assert ("hakem verify --it" in page) is (row is not None)
    assert "Said by &lt;i&gt;the&lt;/i&gt; monitor." in page


def seen_on(page: httpx.Response) -> str:
    found = re.search(r'name="seen" value="([^"]*)"', page.text)
    assert found is not None
    return html.unescape(found[1])


async def notes_of(owner: Owner, tenant_id: UUID) -> list[tuple[Any, ...]]:
    cursor = await owner.execute(
        "SELECT actor_label, reason, object_id FROM audit_events WHERE action = 'verdict.acknowledged' "
        "AND tenant_id = %s ORDER BY id",
        (tenant_id,),
    )
    return await cursor.fetchall()


async def test_verdict_is_acknowledged_with_a_note(desk: RolloutDesk, boss: Browser, http: httpx.AsyncClient) -> None:
    tenant_id, _ = await desk.opened_tenant()
    await judge(desk.owner, tenant_id, "T3", "high", "t3_mismatch")
    path = f"/rollout/verdicts/tenant/{tenant_id}/T3"
    for shown in (f"/rollout/{tenant_id}", f"/rollout/{tenant_id}/standing"):
        assert f'href="/console{path}"' in (await boss.get(shown)).text
    page = await boss.get(path)
    assert "Not yet. Until somebody does" in words(page)
    assert "Said by &lt;i&gt;the&lt;/i&gt; monitor." in page.text
    refused = await boss.send(f"{path}/acknowledge", {"reason": " ", "seen": seen_on(page)})
    assert (refused.status_code, "The reason is missing" in words(refused)) == (422, True)
    done = await boss.send(f"{path}/acknowledge", {"reason": "the import <b>was</b> wrong", "seen": seen_on(page)})
    assert (done.status_code, done.headers["location"]) == (303, f"/console{path}")
    page = await boss.get(path)
    assert f"acknowledged by {boss.email}" in words(page)
    assert "the import &lt;b&gt;was&lt;/b&gt; wrong" in page.text
    assert await notes_of(desk.owner, tenant_id) == [
        (boss.email, "the import <b>was</b> wrong", f"tenant:{tenant_id}:T3")
    ]
    # Everybody of the tenant sees who it was and when; only owners are offered to do it.
    viewer = await console_browser.sign_in(http, desk.owner, Role.VIEWER, tenant_id)
    for browser, shown in ((boss, f"/rollout/{tenant_id}"), (viewer, f"/rollout/{tenant_id}"), (viewer, "/rollout")):
        assert f"acknowledged by {boss.email} , just now" in words(await browser.get(shown)), shown
    assert (
        "/rollout/verdicts/"
        not in (await viewer.get("/rollout")).text + (await viewer.get(f"/rollout/{tenant_id}")).text
    )


@pytest.mark.parametrize(
    "meanwhile",
    [
        "verdict = 'critical'",
        "since = since + INTERVAL '1 second'",
        "acknowledged_at = now(), acknowledged_by = 'somebody else'",
    ],
)
async def test_verdict_that_changed_is_shown_as_it_is(desk: RolloutDesk, boss: Browser, meanwhile: str) -> None:
    tenant_id, _ = await desk.opened_tenant()
    await judge(desk.owner, tenant_id, "T1", "high", "t1_disputed")
    path = f"/rollout/verdicts/tenant/{tenant_id}/T1"
    seen = seen_on(await boss.get(path))
    await desk.owner.execute(f"UPDATE monitor_verdicts SET {meanwhile} WHERE tenant_id = %s".encode(), (tenant_id,))
    late = await boss.send(f"{path}/acknowledge", {"reason": "seen it", "seen": seen})
    assert late.status_code == 409
    assert "The verdict changed, or somebody took note of it, since you looked." in words(late)
    assert "seen it</textarea>" in late.text
    assert await notes_of(desk.owner, tenant_id) == []
    done = await boss.send(f"{path}/acknowledge", {"reason": "seen it", "seen": seen_on(late)})
    assert done.status_code == 303


async def test_verdict_of_nothing_wrong_needs_no_note(desk: RolloutDesk, boss: Browser) -> None:
    tenant_id, _ = await desk.opened_tenant()
    await judge(desk.owner, tenant_id, "T3", "ok", "t3_mismatch")
    path = f"/rollout/verdicts/tenant/{tenant_id}/T3"
    page = await boss.get(path)
    assert "Nothing is wrong" in words(page)
    assert 'name="seen"' not in page.text
    assert (await boss.send(f"{path}/acknowledge", {"reason": "x", "seen": ""})).status_code == 404
    for missing in (f"tenant/{tenant_id}/T9", f"nobody/{tenant_id}/T3", f"tenant/{tenant_id}/T1", "tenant/x/T3"):
        assert (await boss.get(f"/rollout/verdicts/{missing}")).status_code == 404


async def test_providers_verdict_is_the_platforms(desk: RolloutDesk, boss: Browser, http: httpx.AsyncClient) -> None:
    tenant_id = await make_tenant(desk.owner)
    provider = f"psp-{tenant_id}"
    await judge(desk.owner, tenant_id, "T2", "high", "t2_rejected")
    await desk.owner.execute(
        "UPDATE monitor_verdicts SET subject_kind = 'provider', subject = %s, tenant_id = NULL WHERE tenant_id = %s",
        (provider, tenant_id),
    )
    path = f"/rollout/verdicts/provider/{provider}/T2"
    page = await boss.get(path)
    done = await boss.send(f"{path}/acknowledge", {"reason": "called them", "seen": seen_on(page)})
    assert done.status_code == 303
    assert "called them" in words(await boss.get(path))
    assert (await boss.send("/tenant", {"tenant_id": tenant_id})).status_code == 303
    assert (await boss.get(path)).status_code == 404
    assert (await boss.send(f"{path}/acknowledge", {"reason": "x", "seen": seen_on(page)})).status_code == 404


@pytest.fixture
async def fleet_hold(desk: RolloutDesk) -> AsyncIterator[UUID]:
    """The fleet, held as the monitor does it; nobody else's test is left with it."""
    async with desk.pools.transaction() as conn:
        hold = await rollout_holds.place(
            conn, HoldKind.FREEZE, None, reason="two tenants <i>went</i> back", until=None, actor=ACTOR
        )
    yield hold.id
    await desk.owner.execute(
        "UPDATE rollout_holds SET lifted_at = now(), lifted_by = 'a test', lift_reason = 'over' "
        "WHERE id = %s AND lifted_at IS NULL",
        (hold.id,),
    )


async def test_fleets_hold_is_lifted_by_who_sees_all(
    desk: RolloutDesk, boss: Browser, http: httpx.AsyncClient, fleet_hold: UUID
) -> None:
    tenant_id, _ = await desk.ready_tenant()
    path = f"/rollout/holds/{fleet_hold}"
    for shown in ("/rollout", "/rollout/fleet", f"/rollout/{tenant_id}"):
        page = await boss.get(shown)
        assert f'href="/console{path}"' in page.text
        assert "two tenants &lt;i&gt;went&lt;/i&gt; back" in page.text
    told = words(await boss.get(path))
    assert "Freeze Stands" in told
    assert ACTOR.label in told
    assert "Every tenant can be enforced again when its own gates are met" in told

    viewer = await console_browser.sign_in(http, desk.owner, Role.VIEWER, tenant_id)
    seen = await viewer.get("/rollout")
    assert ("two tenants" in words(seen), path in seen.text) == (True, False)
    assert (await viewer.send(f"{path}/lift", {"reason": "x"})).status_code == 403
    chosen = await console_browser.sign_in(http, desk.owner, Role.OWNER)
    assert (await chosen.send("/tenant", {"tenant_id": tenant_id})).status_code == 303
    seen = await chosen.get("/rollout")
    assert ("Look at all tenants to lift it." in words(seen), path in seen.text) == (True, False)
    assert (await chosen.send(f"{path}/lift", {"reason": "x"})).status_code == 404

    refused = await boss.send(f"{path}/lift", {"reason": "  "})
    assert (refused.status_code, "The reason is missing" in words(refused)) == (422, True)
    done = await boss.send(f"{path}/lift", {"reason": "the cause is known"})
    assert (done.status_code, done.headers["location"]) == (303, "/console/rollout")
    assert "two tenants" not in words(await boss.get("/rollout"))
    # Whoever comes later is told who was first, and changes nothing.
    late = await boss.send(f"{path}/lift", {"reason": "me too"})
    assert late.status_code == 404
    assert "This hold is over already." in words(late)
    assert f"Lifted by {boss.email}" in words(late)
    assert "the cause is known" in words(late)
    assert f'href="/console{path}"' in (await boss.get("/audit", object_id=fleet_hold)).text
    cursor = await desk.owner.execute(
        "SELECT action, actor_label, reason FROM audit_events WHERE object_id = %s ORDER BY id", (str(fleet_hold),)
    )
    assert await cursor.fetchall() == [
        ("rollout_hold.placed", ACTOR.label, "two tenants <i>went</i> back"),
        ("rollout_hold.lifted", boss.email, "the cause is known"),
    ]


async def test_tenants_hold_has_the_same_page(desk: RolloutDesk, boss: Browser) -> None:
    tenant_id, _ = await desk.ready_tenant()
    assert (await do(boss, tenant_id, "hold")).status_code == 303
    row = await (await desk.owner.execute("SELECT id FROM rollout_holds WHERE tenant_id = %s", (tenant_id,))).fetchone()
    assert row is not None
    done = await boss.send(f"/rollout/holds/{row[0]}/lift", {"reason": "done looking"})
    assert (done.status_code, done.headers["location"]) == (303, f"/console/rollout/{tenant_id}")
    assert "Over" in words(await boss.get(f"/rollout/holds/{row[0]}"))
    for missing in ("x", "0190a0a0-0000-7000-8000-000000000000"):
        assert (await boss.get(f"/rollout/holds/{missing}")).status_code == 404


def test_matrix_has_a_row_for_each_kind_of_proof() -> None:
    assert [(row.trigger, row.is_paired) for row in matrix()] == [
        (Trigger.T1, True),
        (Trigger.T1, False),
        (Trigger.T2, False),
        (Trigger.T3, True),
    ]


async def count_steps(owner: Owner, tenant_id: UUID, stream: str, arbiter: str, n: int, x: int) -> None:
    await owner.execute(
        "INSERT INTO evidence_buckets (tenant_id, stream, minute, instance, epoch, arbiter, flush_number, n, x, "
        "flushed_at) VALUES (%s, %s, date_trunc('minute', now()) - %s, 1, 0, %s, 1, %s, %s, now())",
        (tenant_id, stream, timedelta(hours=2), arbiter, n, x),
    )


@pytest.mark.parametrize("arbiter", ["legacy", "ledger"])
async def test_refusals_are_told_apart(desk: RolloutDesk, boss: Browser, arbiter: str) -> None:
    tenant_id, _ = await desk.opened_tenant()
    # Of seven refusals by the arbiter some were its alone: by the legacy column two, by the ledger three.
    for stream, x in (("t1_disputed", 3), ("t1_overpaid", 2), ("t1_refused", 7), ("t3_mismatch", 4)):
        await count_steps(desk.owner, tenant_id, stream, arbiter, 50, x)
    page = await boss.get(f"/rollout/{tenant_id}/past")
    charts = [chart.replace("&#34;", '"') for chart in re.findall(r'data-chart="([^"]*)"', page.text)]
    mismatches, refusals = charts[:2]
    assert re.search(r'"name":"Mismatches".*"values":\[[0,]*4[0,]*\]', mismatches)
    genuine = 5 if arbiter == "legacy" else 4
    assert re.search(rf'"name":"Genuine"[^}}]*"values":\[[0,]*{genuine}[0,]*\]', refusals)
    assert re.search(r'"name":"Disputed"[^}]*"values":\[[0,]*5[0,]*\]', refusals)
    assert "4 of 50" in words(page)


async def test_fleet_is_paged_and_shows_what_stands(desk: RolloutDesk, boss: Browser) -> None:
    made = [await make_tenant(desk.owner) for _ in range(21)]
    worst = made[-1]
    await judge(desk.owner, worst, "T3", "critical", "t3_mismatch")
    await count_steps(desk.owner, worst, "t3_mismatch", "legacy", 9, 6)
    seen: set[str] = set()
    path: str | None = "/rollout"
    rows: dict[str, str] = {}
    pages = 0
    while path is not None:
        page = await boss.get(path)
        found = re.findall(
            r'<tr>\s*<td class="first named".*?href="/console/rollout/([0-9a-f-]{36})".*?</tr>', page.text, re.S
        )
        assert 0 < len(found) <= 20
        assert not seen & set(found)
        seen |= set(found)
        for text in re.findall(r'<tr>\s*<td class="first named".*?</tr>', page.text, re.S):
            id_ = re.search(r"/console/rollout/([0-9a-f-]{36})", text)
            assert id_ is not None
            rows[id_[1]] = text
        onward = re.search(r'rel="next" href="/console([^"]+)"', page.text)
        path = None if onward is None else onward[1]
        pages += 1
    assert pages > 1
    assert {str(id_) for id_ in made} <= seen
    assert "Critical" in rows[str(worst)]
    assert 'class="spark-bars"' in rows[str(worst)]
    assert 'class="spark-bars"' not in rows[str(made[0])]


async def test_others_see_their_own_tenant_alone(desk: RolloutDesk, http: httpx.AsyncClient) -> None:
    tenant_id, _ = await desk.opened_tenant()
    viewer = await console_browser.sign_in(http, desk.owner, Role.VIEWER, tenant_id)
    page = await viewer.get("/rollout")
    assert set(re.findall(r"/console/rollout/([0-9a-f-]{36})", page.text)) == {str(tenant_id)}


async def test_monitor_that_does_not_look_is_said_to_be_dead(desk: RolloutDesk, boss: Browser) -> None:
    for ago, sentence in (("10 seconds", "The monitor is alive"), ("1 hour", "The monitor does not answer.")):
        await desk.owner.execute(
            f"UPDATE monitor_lease SET evaluated_at = clock_timestamp() - INTERVAL '{ago}' WHERE id = 1".encode()
        )
        assert sentence in words(await boss.get("/rollout"))


def test_spark_is_as_high_as_its_largest_bar() -> None:
    assert spark_path([0, 0, 0]) == ""
    assert spark_path([]) == ""
    assert spark_path([0, 10, 5]) == f"M4 {SPARK_HEIGHT}v-20h3v20zM8 {SPARK_HEIGHT}v-10h3v10z"
    # One of many is still seen.
    assert spark_path([1_000_000, 1]).endswith("v-2h3v2z")
