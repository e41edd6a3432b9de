"""The search of every page: ids, names of attempts and what providers call their own; for whom, and of which tenant."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.console.access import Page, may
from backend.app.console.search import SEEN_BY
from backend.app.domain.desk.search_desk import FoundKind
from backend.app.domain.identity import Role
from backend.tests import api_client, console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import Browser, words
from backend.tests.console_load import Load, Scale, load
from backend.tests.factories import Owner, connect_owner, make_player, make_tenant

NOTHING: Final = "/console/players?q="


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """A tenant with a little of everything."""

    here: Load
    request_id: UUID
    deposit_id: UUID
    deposit_ref: str
    payout_ref: str
    event_name: str

    @property
    def named(self) -> dict[str, tuple[str, Page]]:
        """(where it is shown, what one must be allowed to see) of every text that names something."""
        here = self.here
        withdrawal = f"/console/withdrawals/{here.withdrawal_id}"
        return {
            str(here.withdrawal_id): (withdrawal, Page.WITHDRAWALS),
            str(here.withdrawal_id).upper(): (withdrawal, Page.WITHDRAWALS),
            f" {here.withdrawal_id.hex} ": (withdrawal, Page.WITHDRAWALS),
            f"wd_{here.withdrawal_id}_1": (f"{withdrawal}#attempt-1", Page.WITHDRAWALS),
            f"WD_{here.withdrawal_id}_1".upper(): (f"{withdrawal}#attempt-1", Page.WITHDRAWALS),
            self.payout_ref: (f"{withdrawal}#attempt-1", Page.WITHDRAWALS),
            str(here.player_id): (f"/console/players/{here.player_id}", Page.PLAYERS),
            str(here.finding_id): (f"/console/reconciliation/findings/{here.finding_id}", Page.RECONCILIATION),
            str(here.run_id): (f"/console/reconciliation/runs/{here.run_id}", Page.RECONCILIATION),
            str(here.adjustment_id): (f"/console/adjustments/{here.adjustment_id}", Page.ADJUSTMENTS),
            str(here.event_id): (f"/console/webhooks/{here.event_id}", Page.WEBHOOKS),
            self.event_name: (f"/console/webhooks/{here.event_id}", Page.WEBHOOKS),
            str(here.backfill_id): (backfill_place(here.backfill_id), Page.BACKFILL),
            str(self.request_id): (backfill_place(self.request_id), Page.BACKFILL),
        }


def backfill_place(run_id: UUID) -> str:
    return f"/console/backfill?before={UUID(int=run_id.int + 1)}#run-{run_id}"


# A little of everything is enough to be found.
SCALE: Final = Scale(
    players=20,
    transactions=40,
    withdrawals=200,
    events=200,
    statement_items=40,
    audit_events=200,
    findings=200,
    runs=20,
    adjustments=20,
    rejects=5,
)


@pytest.fixture(scope="module")
async def place(server: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Owner]]:
    """An application on a database of its own: a load counts deliveries of all tenants."""
    database: Database = server.create()
    async with connect_owner(database) as owner, api_client.serving(database) as client:
        yield client, owner
    server.drop(database)


@pytest.fixture(scope="module")
def owner(place: tuple[httpx.AsyncClient, Owner]) -> Owner:
    return place[1]


@pytest.fixture(scope="module")
def http(place: tuple[httpx.AsyncClient, Owner]) -> httpx.AsyncClient:
    return place[0]


@pytest.fixture(scope="module")
async def things(owner: Owner) -> Things:
    tenant_id = await make_tenant(owner)
    here = await load(owner, tenant_id, SCALE)
    row = await one(
        owner,
        "SELECT event.provider_event_id, event.account_id, (SELECT id FROM backfill_requests WHERE tenant_id = %(id)s "
        "LIMIT 1), (SELECT id FROM deposits WHERE tenant_id = %(id)s LIMIT 1), "
        "(SELECT provider_ref FROM deposits WHERE tenant_id = %(id)s LIMIT 1) "
        "FROM psp_events AS event WHERE event.id = %(event)s",
        {"id": tenant_id, "event": here.event_id},
    )
    # Deliveries are looked for under the accounts that tenants have at their providers.
    account = f"account-{uuid4()}"
    await owner.execute(
        "INSERT INTO psp_accounts (account_id, tenant_id, provider) VALUES (%s, %s, 'mockpsp')", (account, tenant_id)
    )
    await owner.execute("UPDATE psp_events SET account_id = %s WHERE tenant_id = %s", (account, tenant_id))
    return Things(
        here=here,
        request_id=row[2],
        deposit_id=row[3],
        deposit_ref=row[4],
        payout_ref=f"ref-{here.withdrawal_id}",
        event_name=row[0],
    )


async def one(owner: Owner, query: str, values: Any) -> Any:
    row = await (await owner.execute(query.encode(), values)).fetchone()
    assert row is not None
    return row


@pytest.fixture(autouse=True)
def forget_cookies(http: httpx.AsyncClient) -> None:
    http.cookies.clear()


async def found_by(browser: Browser, text: str) -> str:
    answer = await browser.get("/search", q=text)
    assert answer.status_code == 303, words(answer)
    return answer.headers["location"]


@pytest.mark.parametrize("role", Role)
async def test_what_is_named_is_found_by_who_may_see_it(
    http: httpx.AsyncClient, owner: Owner, things: Things, role: Role
) -> None:
    tenant_id = None if role is Role.OWNER else things.here.tenant_id
    browser = await console_browser.sign_in(http, owner, role, tenant_id)
    for text, (place, page) in things.named.items():
        found = await found_by(browser, text)
        if may(role, page):
            assert found == place, text
            assert (await browser.get(place.removeprefix("/console").partition("#")[0])).status_code == 200
        elif page is Page.WITHDRAWALS:
            # The payment leads to its player, as its amount on the player's page does.
            assert found == f"/console/players/{things.here.player_id}", text
        else:
            assert found.startswith(NOTHING), (role, text)


async def test_another_tenants_things_are_not_found(http: httpx.AsyncClient, owner: Owner, things: Things) -> None:
    other_id = await make_tenant(owner)
    stranger = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, other_id)
    chosen = await console_browser.sign_in(http, owner, Role.OWNER)
    assert (await chosen.send("/tenant", {"tenant_id": other_id})).status_code == 303
    for browser in (stranger, chosen):
        for text in (*things.named, things.deposit_ref, str(things.deposit_id)):
            assert (await found_by(browser, text)).startswith(NOTHING), text


async def test_deposit_leads_to_its_player(http: httpx.AsyncClient, owner: Owner, things: Things) -> None:
    viewer = await console_browser.sign_in(http, owner, Role.VIEWER, things.here.tenant_id)
    (player_id,) = await one(owner, "SELECT player_id FROM deposits WHERE id = %s", (things.deposit_id,))
    for text in (str(things.deposit_id), things.deposit_ref):
        assert await found_by(viewer, text) == f"/console/players/{player_id}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "somebody@example.com",
        "Player",
        "wd_0190a0a0-0000-7000-8000-000000000000_1",
        "wd_x_1",
        "0190a0a0-0000-7000-8000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "ref-",
        "%",
        "_",
        "\x00",
        "a\nb",
        "<script>",
        "é" * 254,
    ],
)
async def test_what_names_nothing_is_looked_for_among_players(
    http: httpx.AsyncClient, owner: Owner, things: Things, text: str
) -> None:
    for role, tenant_id in ((Role.OWNER, None), (Role.FINANCE, things.here.tenant_id)):
        browser = await console_browser.sign_in(http, owner, role, tenant_id)
        assert (await found_by(browser, text)).startswith(NOTHING)


async def test_second_attempt_is_another_than_the_first(http: httpx.AsyncClient, owner: Owner, things: Things) -> None:
    browser = await console_browser.sign_in(http, owner, Role.FINANCE, things.here.tenant_id)
    assert (await found_by(browser, f"wd_{things.here.withdrawal_id}_2")).startswith(NOTHING)
    page = await browser.get(f"/withdrawals/{things.here.withdrawal_id}")
    assert 'id="attempt-1"' in page.text


async def test_several_of_one_name_are_a_choice(http: httpx.AsyncClient, owner: Owner, things: Things) -> None:
    """A provider may number payouts and deposits alike; and tenants of one provider see each its own."""
    other_id = await make_tenant(owner)
    player = await make_player(owner, other_id)
    await owner.execute(
        "INSERT INTO deposits (id, tenant_id, player_id, amount, currency, state, method, provider, idempotency_key, "
        "request_hash, created_at, updated_at) "
        "VALUES (gen_random_uuid(), %s, %s, 500, 'USD', 'completed', 'card', 'mockpsp', 'k', '', now(), now())",
        (other_id, player.id),
    )
    reference = f"same-{uuid4()}"
    for tenant_id in (things.here.tenant_id, other_id):
        await owner.execute(
            "UPDATE deposits SET provider_ref = %s "
            "WHERE id = (SELECT id FROM deposits WHERE tenant_id = %s ORDER BY id DESC LIMIT 1)",
            (reference, tenant_id),
        )
    await owner.execute(
        "UPDATE payout_attempts SET provider_ref = %s WHERE tenant_id = %s AND withdrawal_id = "
        "(SELECT withdrawal_id FROM payout_attempts WHERE tenant_id = %s ORDER BY withdrawal_id DESC LIMIT 1)",
        (reference, things.here.tenant_id, things.here.tenant_id),
    )
    names = {id_: f"Tenant <b>{id_}</b>" for id_ in (things.here.tenant_id, other_id)}
    for id_, name in names.items():
        await owner.execute("UPDATE tenants SET name = %s WHERE id = %s", (name, id_))
    finance = await console_browser.sign_in(http, owner, Role.FINANCE, things.here.tenant_id)
    page = await finance.get("/search", q=reference)
    assert page.status_code == 200
    assert page.text.count("data-row") == 2
    assert "Several things are called so" in words(page)
    assert str(other_id) not in page.text
    boss = await console_browser.sign_in(http, owner, Role.OWNER)
    page = await boss.get("/search", q=reference)
    assert page.text.count("data-row") == 3
    for id_ in names:
        assert f"Tenant &lt;b&gt;{id_}&lt;/b&gt;" in page.text
    assert "<b>" not in page.text
    stranger = await console_browser.sign_in(http, owner, Role.FINANCE, other_id)
    assert "/console/players/" in await found_by(stranger, reference)


async def test_run_of_all_tenants_and_delivery_of_none_are_the_owners(
    http: httpx.AsyncClient, owner: Owner, things: Things
) -> None:
    (run_id,) = await one(
        owner,
        "INSERT INTO reconciliation_runs (provider, status, is_window_asked, is_full, is_dry_run, is_scheduled, "
        "started_by, created_at, finished_at) "
        "VALUES ('mockpsp', 'completed', FALSE, FALSE, FALSE, TRUE, 'x', now(), now()) RETURNING id",
        None,
    )
    event_id = uuid4()
    await owner.execute(
        "INSERT INTO psp_events (id, provider, account_id, signature_status, signature_result, state, body, body_size, "
        "body_sha256, headers, received_at) "
        "VALUES (%s, 'mockpsp', '', 'unverified', 'mismatch', 'quarantined', '', 0, '', '{}', now())",
        (event_id,),
    )
    boss = await console_browser.sign_in(http, owner, Role.OWNER)
    finance = await console_browser.sign_in(http, owner, Role.FINANCE, things.here.tenant_id)
    for id_, place in ((run_id, "reconciliation/runs"), (event_id, "webhooks")):
        assert await found_by(boss, str(id_)) == f"/console/{place}/{id_}"
        assert (await found_by(finance, str(id_))).startswith(NOTHING)


def test_every_kind_says_who_may_find_it() -> None:
    assert set(SEEN_BY) == set(FoundKind)


async def test_backfill_is_shown_first_and_marked(http: httpx.AsyncClient, owner: Owner, things: Things) -> None:
    viewer = await console_browser.sign_in(http, owner, Role.VIEWER, things.here.tenant_id)
    place = await found_by(viewer, str(things.here.backfill_id))
    page = await viewer.get(place.removeprefix("/console").partition("#")[0])
    assert page.text.index(f'id="run-{things.here.backfill_id}"') == page.text.index('id="run-')
