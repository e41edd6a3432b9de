"""Flags at the console: where each comes from, what a choice would come to, setting it, and where it is not set."""

import html
import re
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.app.domain.rollout.flags import Flag
from backend.tests import api_client, console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import Browser, words
from backend.tests.factories import Owner, connect_owner, make_tenant, open_pools
from backend.tests.rollout_desk import RolloutDesk, desk_on

SHADOW, LOG = Flag.LEDGER_SHADOW_WRITE, Flag.LEDGER_BALANCE_MISMATCH_LOG
ENFORCE, WEBHOOK = Flag.LEDGER_ENFORCE_BALANCE, Flag.WEBHOOK_SIGNATURE_ENFORCED
SOFT: Final = ["evidence", "quiet", "rehearsal"]
WHY: Final = "ticket 4711, a test of the page"
# What each choice of the form says about what would then be.
THEN: Final = re.compile(
    r'name="value" value="(\w+)".*?id="then-\1">.*?</svg>(On|Off)</span>.*?</svg>(On|Off)</span> '
    r'<span class="text-secondary">\((.*?)\)',
    re.DOTALL,
)


@pytest.fixture(scope="module")
async def place(server: Any) -> AsyncIterator[tuple[httpx.AsyncClient, RolloutDesk]]:
    """A database of this module's own: global flags bind every tenant."""
    database: Database = server.create()
    async with (
        connect_owner(database) as owner,
        open_pools(database) as pools,
        api_client.serving(database) as client,
    ):
        yield client, desk_on(database, pools, owner)
    server.drop(database)


@pytest.fixture(scope="module")
def desk(place: tuple[httpx.AsyncClient, RolloutDesk]) -> RolloutDesk:
    return place[1]


@pytest.fixture(scope="module")
def http(place: tuple[httpx.AsyncClient, RolloutDesk]) -> httpx.AsyncClient:
    return place[0]


@pytest.fixture(scope="module")
def owner(desk: RolloutDesk) -> Owner:
    return desk.owner


@pytest.fixture
async def tenant_id(desk: RolloutDesk, http: httpx.AsyncClient) -> UUID:
    http.cookies.clear()
    await desk.execute("DELETE FROM flag_settings WHERE scope <> 'environment'")
    return await make_tenant(desk.owner)


@pytest.fixture
async def boss(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> Browser:
    return await console_browser.sign_in(http, owner, Role.OWNER)


def path_of(flag: Flag, tenant_id: UUID | None = None) -> str:
    return f"/tenants/flags/{flag}" if tenant_id is None else f"/tenants/{tenant_id}/flags/{flag}"


def seen_on(page: httpx.Response) -> str:
    found = re.search(r'name="seen" value="([^"]*)"', page.text)
    assert found is not None
    return html.unescape(found[1])


async def choose(browser: Browser, path: str, value: str, *, name: str, **fields: Any) -> httpx.Response:
    """Open the page, and send its form."""
    page = await browser.get(path, **({"provider": fields["provider"]} if "provider" in fields else {}))
    usual = {"value": value, "name": name, "reason": WHY, "hours": "", "seen": seen_on(page)}
    return await browser.send(path, {**usual, **fields})


async def name_of(owner: Owner, tenant_id: UUID) -> str:
    row = await (await owner.execute("SELECT name FROM tenants WHERE id = %s", (tenant_id,))).fetchone()
    assert row is not None
    return str(row[0])


async def changes(owner: Owner, tenant_id: UUID | None, flag: Flag) -> list[tuple[Any, ...]]:
    """(who, why, before, after) of every time it was set, in order."""
    cursor = await owner.execute(
        "SELECT actor_label, reason, state_before -> 'value', state_after -> 'value' FROM audit_events "
        "WHERE object_kind = 'flag' AND object_id = %s AND tenant_id IS NOT DISTINCT FROM %s ORDER BY id",
        (flag.value, tenant_id),
    )
    return await cursor.fetchall()


@pytest.mark.parametrize("flag", [SHADOW, LOG])
async def test_flag_of_a_tenant_is_set_and_left_to_the_levels_below(
    boss: Browser, desk: RolloutDesk, tenant_id: UUID, flag: Flag
) -> None:
    name, path = await name_of(desk.owner, tenant_id), path_of(flag, tenant_id)
    for chosen, value, source in (("off", "Off", "Set for this tenant"), ("unset", "On", "The default")):
        promised = {name: (after, by) for name, _, after, by in THEN.findall((await boss.get(path)).text)}
        done = await choose(boss, path, chosen, name=f" {name}  ")
        assert (done.status_code, done.headers.get("location")) == (303, f"/console{path}"), words(done)
        page = words(await boss.get(path))
        assert "Done. The flag is set" in page
        assert re.search(rf"Value {value} Comes from {source}", page)
        assert promised[chosen][0] == value
    assert await changes(desk.owner, tenant_id, flag) == [
        (boss.email, WHY, None, False),
        (boss.email, WHY, False, None),
    ]
    # Before and after of each, the latest first.
    past = re.findall(rf"{WHY} before: (.*?) → after: (.*?) (?:\d|Change it)", page)
    assert past == [("Off", "left to the levels below"), ("left to the levels below", "Off")]


@pytest.mark.parametrize("value", ["on", "off", "unset"])
@pytest.mark.parametrize("own", [True, False, None])
@pytest.mark.parametrize("everywhere", [True, False, None])
async def test_choice_comes_to_what_the_page_says(
    boss: Browser, desk: RolloutDesk, tenant_id: UUID, value: str, own: bool | None, everywhere: bool | None
) -> None:
    for scope, holder, said in (("global", "", everywhere), ("tenant", str(tenant_id), own)):
        if said is not None:
            await desk.execute(
                "INSERT INTO flag_settings (flag, scope, holder, value, set_by) VALUES (%s, %s, %s, %s, 'x')",
                LOG.value,
                scope,
                holder,
                said,
            )
    path = path_of(LOG, tenant_id)
    page = await boss.get(path)
    promised = {name: (before, after, by) for name, before, after, by in THEN.findall(page.text)}
    assert set(promised) == {"on", "off", "unset"}
    present = {True: "on", False: "off", None: "unset"}[own]
    assert re.findall(r'value="(\w+)"[^>]*> <strong>[^<]*</strong> <span class="hint">', page.text) == [present]
    assert (await choose(boss, path, value, name=await name_of(desk.owner, tenant_id))).status_code == 303
    (now,) = [each for each in await desk.flags.list_effective(tenant_id) if each.flag is LOG]
    by = {"tenant": "for this tenant", "global": "for everybody", "default": "by default"}[now.source]
    before, after, source = promised[value]
    assert (after, source) == ("On" if now.value else "Off", by)
    assert before == ("On" if (own if own is not None else everywhere if everywhere is not None else True) else "Off")


async def test_platform_and_provider_have_values_of_their_own(
    boss: Browser, desk: RolloutDesk, tenant_id: UUID
) -> None:
    path = path_of(WEBHOOK)
    assert (await choose(boss, path, "on", name=WEBHOOK)).status_code == 303
    done = await choose(boss, path, "off", name=WEBHOOK, provider="mockpsp", hours="24")
    assert done.headers["location"] == f"/console{path}?provider=mockpsp"
    (platform,) = [each for each in await desk.flags.list_effective(None) if each.flag is WEBHOOK]
    (own,) = [each for each in await desk.flags.list_effective(None, provider="mockpsp") if each.flag is WEBHOOK]
    assert (platform.value, platform.source, platform.expires_at) == (True, "global", None)
    assert (own.value, own.source, own.set_by) == (False, "provider", boss.email)
    assert own.expires_at is not None
    listed = words(await boss.get("/tenants/flags"))
    assert re.search(rf"{WEBHOOK} On Set for everybody {WHY}", listed)
    assert re.search(rf"{WEBHOOK} · mockpsp Off Set for the provider {WHY}", listed)
    assert re.search(rf"{WEBHOOK} · stripe On Set for everybody", listed)
    # Each place has its own past.
    assert words(await boss.get(path)).count(boss.email) == words(await boss.get(path, provider="mockpsp")).count(
        boss.email
    )
    assert (await boss.get(path, provider="nobody")).status_code == 422
    assert (await boss.get(path_of(LOG), provider="mockpsp")).status_code == 422


async def test_stale_form_changes_nothing_and_shows_what_is(
    boss: Browser, desk: RolloutDesk, http: httpx.AsyncClient, tenant_id: UUID
) -> None:
    another = await console_browser.sign_in(http, desk.owner, Role.OWNER)
    for path, flag, holder, name in (
        (path_of(LOG, tenant_id), LOG, tenant_id, await name_of(desk.owner, tenant_id)),
        (path_of(SHADOW, tenant_id), SHADOW, tenant_id, await name_of(desk.owner, tenant_id)),
        (path_of(LOG), LOG, None, LOG.value),
    ):
        looked_at = seen_on(await boss.get(path))
        assert (await choose(another, path, "off", name=name, reason="I was first")).status_code == 303
        before = await changes(desk.owner, holder, flag)
        late = await boss.send(path, {"value": "on", "name": name, "reason": WHY, "hours": "", "seen": looked_at})
        assert late.status_code == 409
        said = words(late)
        assert "Somebody changed this flag since you looked." in said
        assert "I was first" in said
        assert f"{WHY}</textarea>" in late.text
        assert await changes(desk.owner, holder, flag) == before
        # The page that was shown is of now: its form goes through.
        again = {"value": "on", "name": name, "reason": WHY, "hours": "", "seen": seen_on(late)}
        assert (await boss.send(path, again)).status_code == 303
        assert (await boss.send(path, {**again, "seen": ""})).status_code == 409


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "The name that was typed is not the"),
        ({"name": "another"}, "The name that was typed is not the"),
        ({"reason": " "}, "The reason is missing"),
        ({"reason": "x" * 501}, "The reason is missing or longer"),
        ({"value": "maybe"}, "Choose what it shall be."),
        ({"value": ""}, "Choose what it shall be."),
        ({"hours": "1000"}, "Choose for how long."),
        ({"value": "on", "hours": "24"}, "This value cannot have an end."),
        ({"value": "unset", "hours": "24"}, "This value cannot have an end."),
    ],
)
async def test_form_that_is_not_right_sets_nothing(
    boss: Browser, desk: RolloutDesk, tenant_id: UUID, fields: dict[str, str], said: str
) -> None:
    for holder, name in ((tenant_id, await name_of(desk.owner, tenant_id)), (None, SHADOW.value)):
        before = await changes(desk.owner, holder, SHADOW)
        given = {"value": "off", "name": name, **fields}
        refused = await choose(boss, path_of(SHADOW, holder), **given)
        assert refused.status_code == 422
        assert said in words(refused)
        assert await changes(desk.owner, holder, SHADOW) == before


async def test_what_moves_an_arbiter_leads_to_the_rollout(boss: Browser, desk: RolloutDesk, tenant_id: UUID) -> None:
    for holder, place in ((tenant_id, f'href="/console/rollout/{tenant_id}"'), (None, 'href="/console/rollout"')):
        path = path_of(ENFORCE, holder)
        page = await boss.get(path)
        assert "This flag decides who judges money." in words(page)
        assert 'name="value"' not in page.text
        assert place in page.text[page.text.index('id="fixed"') :]
        name = ENFORCE.value if holder is None else await name_of(desk.owner, holder)
        for value in ("on", "off", "unset"):
            crafted = {"value": value, "name": name, "reason": WHY, "hours": "", "seen": ""}
            refused = await boss.send(path, crafted)
            assert (refused.status_code, "This flag is not set here." in words(refused)) == (409, True)
        assert await changes(desk.owner, holder, ENFORCE) == []
    assert await desk.mode(tenant_id) == ("legacy", 0)


async def test_shadow_writing_stays_on_where_the_ledger_decides(
    boss: Browser, desk: RolloutDesk, tenant_id: UUID
) -> None:
    enforced_id, _ = await desk.ready_tenant()
    # By the application: its release is another than that of the desk's own services.
    flip = {"deed": "enforce", "reason": WHY, "name": await name_of(desk.owner, enforced_id), "waive": SOFT}
    assert (await boss.send(f"/rollout/{enforced_id}/deed", flip)).status_code == 303
    page = await boss.get(path_of(SHADOW, enforced_id))
    assert "The ledger decides for this tenant, so it has to be written. Roll back first." in words(page)
    assert 'name="value"' not in page.text
    refused = await choose(boss, path_of(SHADOW), "off", name=SHADOW)
    assert refused.status_code == 409
    row = await (await desk.owner.execute("SELECT slug FROM tenants WHERE id = %s", (enforced_id,))).fetchone()
    assert row is not None
    assert f"Roll them back first: {row[0]}" in words(refused)
    await desk.roll_back(enforced_id)
    assert 'name="value"' in (await boss.get(path_of(SHADOW, enforced_id))).text


async def test_what_the_environment_forbids_cannot_be_set(boss: Browser, desk: RolloutDesk, tenant_id: UUID) -> None:
    await desk.execute(
        "INSERT INTO flag_settings (flag, scope, holder, value, set_by) "
        "VALUES (%s, 'environment', 'host-a:1', FALSE, 'the process 1 on host-a')",
        WEBHOOK.value,
    )
    try:
        page = await boss.get(path_of(WEBHOOK))
        said = words(page)
        assert "A running process says False in its environment" in said
        assert "the process 1 on host-a" in said
        assert 'name="value"' not in page.text
        crafted = {"value": "on", "name": WEBHOOK.value, "reason": WHY, "hours": "", "seen": ""}
        assert (await boss.send(path_of(WEBHOOK), crafted)).status_code == 409
        assert "Kill switch in the environment" in words(await boss.get("/tenants/flags"))
    finally:
        await desk.execute("DELETE FROM flag_settings WHERE scope = 'environment' AND holder = 'host-a:1'")
    assert await changes(desk.owner, None, WEBHOOK) == [] or 'name="value"' in (await boss.get(path_of(WEBHOOK))).text


async def test_signatures_are_nothing_of_one_tenant(boss: Browser, tenant_id: UUID) -> None:
    page = await boss.get(path_of(WEBHOOK, tenant_id))
    assert "It is set for everybody or for a provider, never for one tenant." in words(page)
    assert f'href="/console{path_of(WEBHOOK)}"' in page.text


async def test_who_looks_at_one_tenant_does_not_change_everybody(
    boss: Browser, desk: RolloutDesk, tenant_id: UUID
) -> None:
    assert (await boss.send("/tenant", {"tenant_id": tenant_id})).status_code == 303
    listed = await boss.get("/tenants/flags")
    assert "These bind every tenant" in words(listed)
    assert 'href="/console/tenants/flags/' not in listed.text
    crafted = {"value": "off", "name": LOG.value, "reason": WHY, "hours": "", "seen": ""}
    before = await changes(desk.owner, None, LOG)
    assert (await boss.send(path_of(LOG), crafted)).status_code == 404
    assert await changes(desk.owner, None, LOG) == before
    assert (await boss.get(path_of(LOG, tenant_id))).status_code == 200


async def test_flag_or_tenant_that_does_not_exist_is_not_found(boss: Browser, tenant_id: UUID) -> None:
    for path in (
        f"/tenants/{tenant_id}/flags/no_such_flag",
        "/tenants/flags/no_such_flag",
        path_of(LOG, uuid4()),
        f"/tenants/x/flags/{LOG}",
    ):
        assert (await boss.get(path)).status_code == 404, path
        assert (await boss.send(path, {"value": "on"})).status_code == 404, path


async def test_reason_is_shown_as_text(boss: Browser, desk: RolloutDesk, tenant_id: UUID) -> None:
    hostile = "<script>alert(1)</script>"
    await desk.execute("UPDATE tenants SET name = %s WHERE id = %s", hostile, tenant_id)
    path = path_of(LOG, tenant_id)
    assert (await choose(boss, path, "off", name=hostile, reason=hostile)).status_code == 303
    page = await boss.get(path)
    assert hostile not in page.text
    assert page.text.count("&lt;script&gt;alert(1)") >= 4
