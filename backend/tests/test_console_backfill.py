"""Backfills at the console: what ran, asking for a dry run and for a real one, and what becomes of a request."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.desk.backfill_desk import BackfillBusy, BackfillKind
from backend.app.domain.identity import Role
from backend.app.repositories.database import Database as Pools
from backend.app.services.desk.backfill_desk import BackfillDesk
from backend.tests import console_browser
from backend.tests.console_browser import Browser, words
from backend.tests.factories import Owner, make_player, make_tenant, set_legacy
from backend.tests.rollout_desk import ACTOR


@pytest.fixture
def desk(pools: Pools) -> BackfillDesk:
    return BackfillDesk(pools)


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


@pytest.fixture
async def boss(http: httpx.AsyncClient, owner: Owner) -> Browser:
    return await console_browser.sign_in(http, owner, Role.OWNER)


async def name_of(owner: Owner, tenant_id: UUID) -> str:
    row = await (await owner.execute("SELECT name FROM tenants WHERE id = %s", (tenant_id,))).fetchone()
    assert row is not None
    return str(row[0])


async def request_of(owner: Owner, tenant_id: UUID) -> tuple[Any, ...]:
    cursor = await owner.execute(
        "SELECT id, state, is_dry_run, is_forced, scanned, created, skipped_exists, updated_forced, errors, differing "
        "FROM backfill_requests WHERE tenant_id = %s ORDER BY id DESC LIMIT 1",
        (tenant_id,),
    )
    row = await cursor.fetchone()
    assert row is not None
    return tuple(row)


async def viewer_of(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> Browser:
    return await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)


async def test_dry_run_is_asked_for_carried_out_and_shown(
    http: httpx.AsyncClient, owner: Owner, desk: BackfillDesk, boss: Browser, tenant_id: UUID
) -> None:
    for _ in range(3):
        await make_player(owner, tenant_id, available=12_34)
    asked = await boss.send("/backfill/ask", {"tenant_id": tenant_id, "kind": "dry"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/console/backfill")
    request_id, state, *_ = await request_of(owner, tenant_id)
    assert state == "queued"
    assert "The dry run was asked for." in words(await boss.get("/backfill"))
    cursor = await owner.execute(
        "SELECT args ->> 'request_id' FROM procrastinate.procrastinate_jobs WHERE task_name = 'backfill.run' "
        "AND args ->> 'request_id' = %s",
        (str(request_id),),
    )
    assert await cursor.fetchall() == [(str(request_id),)]
    await desk.perform({"request_id": str(request_id)})
    assert (await request_of(owner, tenant_id))[1:] == ("completed", True, False, 3, 3, 0, 0, 0, 0)
    cursor = await owner.execute("SELECT count(*) FROM wallet_balances WHERE tenant_id = %s", (tenant_id,))
    assert await cursor.fetchone() == (0,)
    page = words(await (await viewer_of(http, owner, tenant_id)).get("/backfill"))
    assert "Dry run Completed" in page
    assert "Would be opened: 3 players, 37.02 USD" in page


async def test_real_run_opens_wallets_and_is_compared_with_the_last(
    http: httpx.AsyncClient, owner: Owner, desk: BackfillDesk, boss: Browser, tenant_id: UUID
) -> None:
    name = await name_of(owner, tenant_id)
    for made in (2, 1):
        for _ in range(made):
            await make_player(owner, tenant_id, available=5_00)
        fields = {"tenant_id": tenant_id, "kind": "open", "name": name, "reason": "the plan of today"}
        assert (await boss.send("/backfill/ask", fields)).status_code == 303
        await desk.perform({"request_id": str((await request_of(owner, tenant_id))[0])})
    cursor = await owner.execute("SELECT count(*) FROM wallet_balances WHERE tenant_id = %s", (tenant_id,))
    assert await cursor.fetchone() == (3,)
    cursor = await owner.execute(
        "SELECT actor_id, actor_label, reason, created, skipped_exists FROM backfill_runs WHERE tenant_id = %s "
        "ORDER BY id",
        (tenant_id,),
    )
    who = (boss.admin_id, boss.email, "the plan of today")
    assert await cursor.fetchall() == [(*who, 2, 0), (*who, 1, 2)]
    page = words(await (await viewer_of(http, owner, tenant_id)).get("/backfill"))
    # Scanned, created, skipped, forced, errors; each with the change since the run before.
    assert re.search(r"3 \+1 1 −1 2 \+2 0 as before 0 as before", page), page
    cursor = await owner.execute(
        "SELECT DISTINCT action FROM audit_events WHERE tenant_id = %s AND object_kind = 'backfill' ORDER BY action",
        (tenant_id,),
    )
    assert [row[0] for row in await cursor.fetchall()] == ["backfill.asked", "backfill.completed", "backfill.started"]


async def test_dry_run_of_force_names_who_differs(
    owner: Owner, pools: Pools, desk: BackfillDesk, boss: Browser, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=7_00)
    first = await desk.ask(tenant_id, kind=BackfillKind.OPEN, reason="to begin with", actor=ACTOR)
    await desk.perform({"request_id": str(first)})
    await set_legacy(owner, player, available=9_00)
    assert (await boss.send("/backfill/ask", {"tenant_id": tenant_id, "kind": "dry_force"})).status_code == 303
    await desk.perform({"request_id": str((await request_of(owner, tenant_id))[0])})
    page = await boss.get("/backfill")
    assert f"/console/players/{player.id}" in page.text
    assert "Would be forced: 9.00 USD → 7.00 USD" in words(page)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "open", "reason": "why"},
        {"kind": "open", "reason": "why", "name": "another"},
        {"kind": "open", "name": "right"},
        {"kind": "force", "reason": "why", "name": "right"},
        {"kind": ""},
        {"kind": "dry", "reason": "x" * 501},
    ],
)
async def test_request_that_is_not_whole_is_refused(
    owner: Owner, boss: Browser, tenant_id: UUID, fields: dict[str, object]
) -> None:
    if fields.get("name") == "right":
        fields = {**fields, "name": await name_of(owner, tenant_id)}
    answer = await boss.send("/backfill/ask", {"tenant_id": tenant_id, **fields})
    assert answer.status_code == 422
    assert "Nothing was done." in words(answer)
    cursor = await owner.execute("SELECT count(*) FROM backfill_requests WHERE tenant_id = %s", (tenant_id,))
    assert await cursor.fetchone() == (0,)


async def test_one_backfill_of_a_tenant_at_a_time(
    owner: Owner, desk: BackfillDesk, boss: Browser, tenant_id: UUID
) -> None:
    first = await desk.ask(tenant_id, kind=BackfillKind.DRY, reason=None, actor=ACTOR)
    busy = await boss.send("/backfill/ask", {"tenant_id": tenant_id, "kind": "dry"})
    assert (busy.status_code, "under way already" in words(busy)) == (409, True)
    with pytest.raises(BackfillBusy):
        await desk.ask(tenant_id, kind=BackfillKind.OPEN, reason="x", actor=ACTOR)
    # Whose process is gone for long does not stand in the way for ever.
    await owner.execute(
        "UPDATE backfill_requests SET updated_at = clock_timestamp() - %s WHERE id = %s", (timedelta(hours=1), first)
    )
    second = await desk.ask(tenant_id, kind=BackfillKind.DRY, reason=None, actor=ACTOR)
    await desk.perform({"request_id": str(first)})
    await desk.perform({"request_id": str(second)})
    cursor = await owner.execute("SELECT id, state FROM backfill_requests WHERE tenant_id = %s", (tenant_id,))
    assert set(await cursor.fetchall()) == {(first, "failed"), (second, "completed")}


async def test_job_that_is_run_twice_does_it_once(owner: Owner, desk: BackfillDesk, tenant_id: UUID) -> None:
    await make_player(owner, tenant_id, available=1)
    request_id = await desk.ask(tenant_id, kind=BackfillKind.OPEN, reason="once", actor=ACTOR)
    for _ in range(2):
        await desk.perform({"request_id": str(request_id)})
    await desk.perform({"request_id": str(uuid4())})
    cursor = await owner.execute("SELECT count(*) FROM backfill_runs WHERE tenant_id = %s", (tenant_id,))
    assert await cursor.fetchone() == (1,)


async def test_refusal_of_the_run_is_shown(owner: Owner, desk: BackfillDesk, boss: Browser, tenant_id: UUID) -> None:
    await owner.execute(
        'SELECT tenant_shadow_v1(%s, FALSE, NULL, \'x\', \'{"kind": "operator", "label": "x"}\')', (tenant_id,)
    )
    request_id = await desk.ask(tenant_id, kind=BackfillKind.OPEN, reason="x", actor=ACTOR)
    await desk.perform({"request_id": str(request_id)})
    assert (await request_of(owner, tenant_id))[1] == "refused"
    assert "shadow writing is off" in words(await boss.get("/backfill"))


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
async def test_who_is_no_owner_starts_nothing(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID, role: Role
) -> None:
    browser = await console_browser.sign_in(http, owner, role, tenant_id)
    page = await browser.get("/backfill")
    assert (page.status_code, "/backfill/ask" in page.text) == (200, False)
    assert (await browser.send("/backfill/ask", {"tenant_id": tenant_id, "kind": "dry"})).status_code == 403


async def test_owner_in_one_tenant_starts_nothing_in_another(owner: Owner, boss: Browser, tenant_id: UUID) -> None:
    other = await make_tenant(owner)
    assert (await boss.send("/tenant", {"tenant_id": other})).status_code == 303
    assert (await boss.send("/backfill/ask", {"tenant_id": tenant_id, "kind": "dry"})).status_code == 404
    assert str(tenant_id) not in (await boss.get("/backfill")).text


async def test_runs_come_in_pages(owner: Owner, http: httpx.AsyncClient, tenant_id: UUID) -> None:
    await owner.execute(
        "INSERT INTO backfill_requests (tenant_id, is_dry_run, is_forced, state, reason, actor_kind, actor_label, "
        "finished_at) SELECT %s, TRUE, FALSE, 'completed', 'number ' || n || '.', 'admin', 'x', now() "
        "FROM generate_series(1, 30) AS n",
        (tenant_id,),
    )
    browser = await viewer_of(http, owner, tenant_id)
    first = await browser.get("/backfill")
    onward = re.search(r'rel="next" href="/console([^"]+)"', first.text)
    assert onward is not None
    second = await browser.get(onward[1])
    seen = [re.findall(r"number \d+\.", page.text) for page in (first, second)]
    assert [len(each) for each in seen] == [25, 5]
    assert len({*seen[0], *seen[1]}) == 30
