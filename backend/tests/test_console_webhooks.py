"""Webhooks at the console: what waits, a list by a filter, a body that is only text, reprocessing and asking again."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.desk.webhook_desk import BODY_BYTES_MAX
from backend.app.domain.identity import Role
from backend.app.domain.payments.psp_event import Effect
from backend.app.psp.adapter import Unknown
from backend.tests import api_client, console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import Browser, words
from backend.tests.factories import Player, connect_owner, deposit_command, eventually, make_player, make_tenant
from backend.tests.fixtures import People
from backend.tests.psp_desk import PROVIDER, Desk, ScriptedPsp, Told, open_desk, payment_id

LIST: Final = "/webhooks"
ACTOR: Final = Actor(kind=ActorKind.OPERATOR, actor_id=None, label="a test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Somebody at the console, and a desk where deliveries of a scripted provider come in."""

    desk: Desk
    psp: ScriptedPsp
    http: httpx.AsyncClient
    tenant_id: UUID
    player: Player
    recon: Browser

    async def delivered(self, told: Told, **how: Any) -> UUID:
        """A delivery that came in and was applied, as far as it can be."""
        receipt = await self.desk.deliver(told, **how)
        await self.desk.inbox.apply([receipt.event_id])
        return receipt.event_id

    def told(self, kind: str = "deposit.captured", *, deposit_id: UUID | None = None, **fields: Any) -> Told:
        return Told(type=kind, deposit_id=deposit_id or uuid4(), account=f"mock_{self.tenant_id.hex}", **fields)

    async def act(self, event_id: UUID, deed: str) -> httpx.Response:
        """Send a form of the delivery's page, as it stands there; the page after it."""
        page = await self.recon.get(f"{LIST}/{event_id}")
        assert f'name="action" value="{deed}"' in page.text
        done = await self.recon.send(f"{LIST}/{event_id}/deed", {"action": deed})
        assert (done.status_code, done.headers["location"]) == (303, f"/console{LIST}/{event_id}"), done.text
        return await self.recon.get(f"{LIST}/{event_id}")


@pytest.fixture(scope="module")
async def own_database(server: Any) -> AsyncIterator[Database]:
    """A database of its own: queues of an owner count what is everywhere."""
    database: Database = server.create()
    yield database
    server.drop(database)


@pytest.fixture(scope="module")
async def desk(own_database: Database) -> AsyncIterator[Desk]:
    async with open_desk(own_database) as made:
        yield made


@pytest.fixture(scope="module")
async def client(own_database: Database, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async with api_client.serving(own_database, adapters={PROVIDER: desk.psp}) as made:
        yield made


@pytest.fixture
async def counter(desk: Desk, client: httpx.AsyncClient) -> Counter:
    client.cookies.clear()
    tenant_id = await make_tenant(desk.owner)
    await desk.make_account(tenant_id, f"mock_{tenant_id.hex}")
    return Counter(
        desk=desk,
        psp=desk.psp,
        http=client,
        tenant_id=tenant_id,
        player=await make_player(desk.owner, tenant_id, available=0),
        recon=await console_browser.sign_in(client, desk.owner, Role.RECON, tenant_id),
    )


def listed(page: httpx.Response) -> set[str]:
    return set(re.findall(r'href="/console/webhooks/([0-9a-f-]{36})" data-row', page.text))


async def test_delivery_shows_all_that_is_kept_of_it(counter: Counter) -> None:
    deposit_id = await counter.desk.open_deposit(counter.player)
    told = counter.told(deposit_id=deposit_id, sequence=1)
    event_id = await counter.delivered(told)
    assert await counter.desk.deposit_state(deposit_id) == "completed"
    page = await counter.recon.get(f"{LIST}/{event_id}")
    said = words(page)
    assert "deposit.captured" in said
    assert "Applied" in said
    assert "State and ledger followed" in said
    assert "signed by the provider" in said
    assert told.event_id in said
    assert "webhook-signature" in said
    assert told.body.decode() in said, "exactly what was signed"
    assert f'href="/console/players/{counter.player.id}"' in page.text
    assert "hx-get" not in page.text, "nothing more happens to it by itself"


async def test_body_is_text_and_nothing_else(counter: Counter) -> None:
    script = b'{"type": "<script>alert(1)</script>", "x": "\x00\x1b[31m\xff</pre><img src=x>"}'
    told = counter.told()
    event_id = await counter.delivered(told, body=script, headers={"webhook-id": "<b>bold</b>"})
    page = await owner_page(counter, event_id)
    assert "<script>alert" not in page.text
    assert "<img" not in page.text
    assert "<b>bold" not in page.text
    assert "\x00" not in page.text
    assert "\x1b" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "Not verified" in words(page)


async def owner_page(counter: Counter, event_id: UUID) -> httpx.Response:
    """The page of a delivery as an owner sees it, who sees those of no tenant too."""
    owner = await console_browser.sign_in(counter.http, counter.desk.owner, Role.OWNER)
    return await owner.get(f"{LIST}/{event_id}")


async def test_of_a_large_body_the_beginning_is_shown(counter: Counter) -> None:
    event_id = await counter.delivered(counter.told())
    await counter.desk.owner.execute(
        "UPDATE psp_events SET body = convert_to(repeat('a', %(size)s) || 'THE END', 'UTF8'), "
        "body_size = %(size)s + 7 WHERE id = %(id)s",
        {"size": BODY_BYTES_MAX, "id": event_id},
    )
    page = await counter.recon.get(f"{LIST}/{event_id}")
    assert "Only the first 65,536 bytes are shown." in words(page)
    assert "THE END" not in page.text


async def test_list_is_what_the_address_asks_for(counter: Counter) -> None:
    deposit_id = await counter.desk.open_deposit(counter.player)
    applied = await counter.delivered(counter.told(deposit_id=deposit_id, sequence=1))
    orphan = await counter.delivered(counter.told("deposit.refunded"))
    broken = await counter.delivered(counter.told(amount="much"), account_id=f"mock_{counter.tenant_id.hex}")
    assert (await counter.desk.row(broken))["state"] == "quarantined"
    everything = {str(applied), str(orphan), str(broken)}
    assert listed(await counter.recon.get(LIST)) == everything
    for query, expected in (
        ({"state": "applied"}, {applied}),
        ({"state": "quarantined"}, {broken}),
        ({"type": "deposit.captured"}, {applied}),
        ({"effect": "applied"}, {applied}),
        ({"tx": deposit_id}, {applied}),
        ({"verdict": "unverified"}, set()),
        ({"provider": "nobody"}, set()),
        ({"age": "1d"}, set()),
    ):
        assert listed(await counter.recon.get(LIST, **query)) == {str(each) for each in expected}, query
    page = await counter.recon.get(LIST, state="gone", effect="none", age="x", tx="y", before="z")
    assert listed(page) == everything
    assert words(page).count("Not one of the choices") == 3


async def test_list_goes_on_where_its_page_or_its_search_ends(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [str(await counter.delivered(counter.told())) for _ in range(5)]
    monkeypatch.setattr("backend.app.console.webhooks.ROWS", 2)
    seen: list[str] = []
    path: str | None = LIST
    while path is not None:
        page = await counter.recon.get(path)
        seen += sorted(listed(page), reverse=True)
        following = re.search(r'rel="next" href="/console([^"]+)"', page.text)
        path = None if following is None else following[1].replace("&amp;", "&")
    assert sorted(seen) == sorted(ids)
    # A search looks through so many and says from where to go on.
    monkeypatch.setattr("backend.app.repositories.desk.webhook_desk_repo.LOOKED_AT_MAX", 2)
    none = await counter.recon.get(LIST, type="deposit.failed")
    assert "None among these" in words(none)
    assert "Look further back" in words(none)


async def test_queues_count_what_waits(counter: Counter) -> None:
    event_id = await counter.delivered(counter.told())
    long_ago = datetime.now(UTC) - timedelta(days=3)
    await counter.desk.owner.execute(
        "UPDATE psp_events SET state = 'dead', received_at = %s, attempts = 9, last_error = 'no luck' WHERE id = %s",
        (long_ago, event_id),
    )
    queues = words(await counter.recon.get(f"{LIST}/queues"))
    assert re.search(r"Due 0 .* Given up 1 oldest 3 d ago .* Not readable 0", queues)
    assert listed(await counter.recon.get(LIST, state="dead", age="1d")) == {str(event_id)}
    page = words(await counter.recon.get(f"{LIST}/{event_id}"))
    assert "no luck" in page
    stranger = await console_browser.sign_in(
        counter.http, counter.desk.owner, Role.RECON, await make_tenant(counter.desk.owner)
    )
    assert "Given up 0" in words(await stranger.get(f"{LIST}/queues"))


async def test_reprocessing_applies_what_had_been_given_up(counter: Counter) -> None:
    deposit_id = await counter.desk.open_deposit(counter.player)
    receipt = await counter.desk.deliver(counter.told(deposit_id=deposit_id, sequence=1))
    await counter.desk.owner.execute(
        "UPDATE psp_events SET state = 'dead', next_attempt_at = NULL, attempts = 9, last_error = 'x' WHERE id = %s",
        (receipt.event_id,),
    )
    page = await counter.act(receipt.event_id, "reprocess")
    assert "The delivery is due again" in words(page)

    async def is_applied() -> bool:
        return bool((await counter.desk.row(receipt.event_id))["state"] == "applied")

    await eventually(is_applied, what="the delivery is applied")
    assert await counter.desk.deposit_state(deposit_id) == "completed"
    assert "Made due again" in words(await counter.recon.get(f"{LIST}/{receipt.event_id}"))


async def test_pulling_asks_the_provider_about_the_payment_that_is_named(counter: Counter) -> None:
    desk = counter.desk
    deposit_id = await desk.open_deposit(counter.player)
    event_id = await counter.delivered(counter.told("deposit.pending", deposit_id=deposit_id))
    # The application asks a MockPSP of its own, which knows of no such payment.
    assert "said nothing new about the payment" in words(await counter.act(event_id, "pull"))
    assert await desk.deposit_state(deposit_id) == "pending_provider"
    cursor = await desk.owner.execute(
        "SELECT actor_id FROM audit_events WHERE object_id = %s AND action = 'psp_event.pulled'", (str(event_id),)
    )
    assert await cursor.fetchall() == [(counter.recon.admin_id,)]
    # The desk's provider says what it is told to say.
    counter.psp.truth[payment_id(deposit_id)] = Unknown(reason="ask later")
    assert await desk.inbox.pull(counter.tenant_id, event_id=event_id, actor=ACTOR) == []
    counter.psp.truth[payment_id(deposit_id)] = counter.told(deposit_id=deposit_id, sequence=2).event
    (applied,) = await desk.inbox.pull(counter.tenant_id, event_id=event_id, actor=ACTOR)
    assert (applied.effect, applied.tx_id) == (Effect.APPLIED, deposit_id)
    assert await desk.deposit_state(deposit_id) == "completed"


async def test_what_a_delivery_names_of_another_tenant_is_not_asked_about(counter: Counter) -> None:
    """The body may name whatever it likes; asked about is only what belongs to the tenant of the delivery."""
    desk = counter.desk
    other_id = await make_tenant(desk.owner)
    other = await make_player(desk.owner, other_id, available=0)
    deposit_id = (await desk.deposits.deposit(deposit_command(other, 10_00))).deposit.id
    event_id = await counter.delivered(counter.told("deposit.pending", deposit_id=deposit_id))
    for tenant_id, asked in ((counter.tenant_id, []), (other_id, [payment_id(deposit_id)])):
        await desk.owner.execute("UPDATE psp_events SET tenant_id = %s WHERE id = %s", (tenant_id, event_id))
        counter.psp.asked.clear()
        await desk.inbox.pull(tenant_id, event_id=event_id, actor=ACTOR)
        assert counter.psp.asked == asked


async def test_strangers_reach_nothing_by_the_api_either(counter: Counter) -> None:
    event_id = await counter.delivered(counter.told())
    people = People(counter.http, counter.desk.owner)
    stranger = await people.admin(Role.RECON, await make_tenant(counter.desk.owner))
    viewer = await people.admin(Role.VIEWER, counter.tenant_id)
    ours = await people.admin(Role.RECON, counter.tenant_id)
    path = f"/payments/events/{event_id}/pull"
    assert (await stranger.post(path)).status_code == 404
    assert (await viewer.post(path)).status_code == 403
    answer = await ours.post(path)
    assert (answer.status_code, answer.json()) == (200, {"effects": []})


async def test_deed_that_is_none_does_nothing(counter: Counter) -> None:
    event_id = await counter.delivered(counter.told())
    answer = await counter.recon.send(f"{LIST}/{event_id}/deed", {"action": "forget"})
    assert answer.status_code == 422
    assert "Nothing was done." in words(answer)
    async with connect_owner(counter.desk.database) as owner:
        cursor = await owner.execute("SELECT count(*) FROM audit_events WHERE object_id = %s", (str(event_id),))
        assert await cursor.fetchone() == (0,)
