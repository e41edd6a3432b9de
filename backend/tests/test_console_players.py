"""Players at the console: found by how they begin, both balances, the statement, how a balance came to be, identity."""

import re
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.app.repositories.database import Database as Pools
from backend.app.services.desk import player_desk
from backend.tests import console_browser
from backend.tests.console_browser import Browser, words
from backend.tests.factories import (
    Owner,
    Player,
    deposit,
    hold,
    make_player,
    make_tenant,
    post_one,
    release,
    set_legacy,
)


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


@pytest.fixture
async def finance(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> Browser:
    return await console_browser.sign_in(http, owner, Role.FINANCE, tenant_id)


async def named(owner: Owner, tenant_id: UUID, email: str, username: str, external_id: str | None = None) -> UUID:
    player = await make_player(owner, tenant_id)
    await owner.execute(
        "UPDATE players SET email = %s, username = %s, external_id = %s WHERE id = %s",
        (email, username, external_id, player.id),
    )
    return player.id


def found(page: httpx.Response) -> set[str]:
    return set(re.findall(r'href="/console/players/([0-9a-f-]{36})" data-row', page.text))


async def test_search_finds_by_the_beginning_of_address_and_name(
    owner: Owner, tenant_id: UUID, finance: Browser
) -> None:
    ada = str(await named(owner, tenant_id, "ada.lovelace@example.com", "Countess", "crm-17"))
    adam = str(await named(owner, tenant_id, "adam_s@example.com", "100% Adam"))
    cigdem = str(await named(owner, tenant_id, "cigdem@example.com", "Çiğdem Şahin"))
    for text, expected in [
        ("ada", {ada, adam}),
        ("ADA.L", {ada}),
        ("ada.lovelace@example.com", {ada}),
        ("count", {ada}),
        ("crm-17", {ada}),
        ("crm-1", set()),
        ("adam_", {adam}),
        ("adamxs", set()),
        ("100%", {adam}),
        ("çiğ", {cigdem}),
        ("%", set()),
        ("_", set()),
        ("\\", set()),
        ("lovelace", set()),
        ("", {ada, adam, cigdem}),
    ]:
        assert found(await finance.get("/players", q=text)) == expected, text


async def test_search_for_an_id_goes_to_what_it_names(owner: Owner, tenant_id: UUID, finance: Browser) -> None:
    player = await make_player(owner, tenant_id)
    answer = await finance.get("/search", q=f"  {player.id} ")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/players/{player.id}")
    answer = await finance.get("/search", q="ada & co")
    assert answer.headers["location"] == "/console/players?q=ada+%26+co"
    answer = await finance.get("/search", q=uuid4())
    assert answer.headers["location"].startswith("/console/players?q=")


async def test_newest_players_come_in_pages(owner: Owner, tenant_id: UUID, finance: Browser) -> None:
    made = {str((await make_player(owner, tenant_id)).id) for _ in range(55)}
    first = await finance.get("/players")
    assert len(found(first)) == 50
    onward = re.search(r'rel="next" href="/console([^"]+)"', first.text)
    assert onward is not None
    second = await finance.get(onward[1])
    assert found(first) | found(second) == made
    assert not found(first) & found(second)


async def with_history(owner: Owner, pools: Pools, tenant_id: UUID) -> Player:
    player = await make_player(owner, tenant_id, available=1_000_00)
    await post_one(pools, deposit(player, 234_56))
    await post_one(pools, hold(player, 100_00))
    await post_one(pools, release(player, 100_00))
    await post_one(pools, hold(player, 34_56))
    return player


async def test_statement_runs_with_the_balance(owner: Owner, pools: Pools, tenant_id: UUID, finance: Browser) -> None:
    player = await with_history(owner, pools, tenant_id)
    said = words(await finance.get(f"/players/{player.id}"))
    lines = [
        "Withdrawal requested player:available → player:held −34.56 +34.56 1,200.00 34.56",
        "Withdrawal rejected player:held → player:available +100.00 −100.00 1,234.56 0.00",
        "Withdrawal requested player:available → player:held −100.00 +100.00 1,134.56 100.00",
        "Deposit psp:mockpsp:clearing → player:available +234.56 – 1,234.56 0.00",
        "Opening balance house:opening → player:available +1,000.00 – 1,000.00 0.00",
    ]
    places = [said.find(line) for line in lines]
    assert -1 not in places, said
    assert places == sorted(places)
    assert "Available 1,200.00 1,200.00 equal Held 34.56 34.56 equal" in said


async def test_amounts_are_written_as_the_reader_does(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await with_history(owner, pools, tenant_id)
    reader = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id, language="tr")
    said = words(await reader.get(f"/players/{player.id}"))
    assert "Kullanılabilir 1.200,00 1.200,00 eşit" in said
    assert "−34,56 +34,56 1.200,00 34,56" in said


async def test_difference_of_the_sides_is_shown_and_not_only_by_colour(
    owner: Owner, pools: Pools, tenant_id: UUID, finance: Browser
) -> None:
    player = await with_history(owner, pools, tenant_id)
    await set_legacy(owner, player, available=1_250_00)
    said = words(await finance.get(f"/players/{player.id}"))
    assert "Available 1,250.00 1,200.00 −50.00" in said
    assert "differ" in words(await finance.get("/players"))


async def test_wallet_that_is_not_opened_says_so(owner: Owner, tenant_id: UUID, finance: Browser) -> None:
    player = await make_player(owner, tenant_id, available=500)
    page = words(await finance.get(f"/players/{player.id}"))
    assert "Available 5.00 – –" in page
    assert "opens with the first transaction" in page
    assert "No transactions" in page
    assert "Wallet not opened" in words(await finance.get(f"/players/{player.id}/explain"))


async def test_balance_is_explained_from_its_beginning(
    owner: Owner, pools: Pools, tenant_id: UUID, finance: Browser
) -> None:
    player = await with_history(owner, pools, tenant_id)
    said = words(await finance.get(f"/players/{player.id}/explain"))
    assert "At the very beginning – 0.00 0.00" in said
    assert "Opening balance 1 +1,000.00 0.00" in said
    assert "Deposit 1 +234.56 0.00" in said
    assert "Withdrawal requested 2 −134.56 +134.56" in said
    assert "Withdrawal rejected 1 +100.00 −100.00" in said
    assert "Comes to 1,200.00 34.56 Balance now 1,200.00 34.56" in said
    assert "to the last unit" in said


async def test_long_ledger_is_explained_from_a_balance_within_it(
    owner: Owner, pools: Pools, tenant_id: UUID, finance: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player_desk, "EXPLAINED_MAX", 2)
    player = await with_history(owner, pools, tenant_id)
    said = words(await finance.get(f"/players/{player.id}/explain"))
    assert "Balance after transaction 3 – 1,134.56 100.00" in said
    assert "Withdrawal requested 1 −34.56 +34.56" in said
    assert "to the last unit" in said


async def test_balance_that_its_ledger_does_not_bear_out_is_called_so(
    owner: Owner, pools: Pools, tenant_id: UUID, finance: Browser
) -> None:
    player = await with_history(owner, pools, tenant_id)
    await owner.execute(
        "UPDATE wallet_balances SET balance_real_available = balance_real_available + 1 WHERE player_id = %s",
        (player.id,),
    )
    said = words(await finance.get(f"/players/{player.id}/explain"))
    assert "Comes to 1,200.00 34.56 Balance now 1,200.01 34.56" in said
    assert "has to be looked at" in said


async def test_identity_is_recorded_with_who_and_why(owner: Owner, tenant_id: UUID, finance: Browser) -> None:
    player = await make_player(owner, tenant_id, kyc_status="pending")
    path = f"/players/{player.id}/kyc"
    assert (await finance.send(path, {"status": "verified", "reason": "passport\nseen"})).status_code == 303
    page = words(await finance.get(f"/players/{player.id}"))
    assert "Recorded: identity verified." in page
    cursor = await owner.execute(
        "SELECT actor_label, reason, state_before ->> 'kyc_status', state_after ->> 'kyc_status' FROM audit_events "
        "WHERE object_id = %s AND action = 'player.kyc_changed'",
        (str(player.id),),
    )
    assert await cursor.fetchall() == [(finance.email, "passport seen", "pending", "verified")]
    wrong: list[dict[str, Any]] = [{}, {"status": "famous"}, {"status": "verified", "reason": "x" * 1001}]
    for fields in wrong:
        assert (await finance.send(path, fields)).status_code == 422


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "before=99999999999999999999", "money_before=now", "before="]
)
async def test_place_in_a_list_that_cannot_be_read_is_the_beginning(
    owner: Owner, pools: Pools, tenant_id: UUID, finance: Browser, query: str
) -> None:
    player = await with_history(owner, pools, tenant_id)
    page = await finance.get(f"/players/{player.id}?{query}")
    assert page.status_code == 200
    assert "Opening balance" in words(page)


async def test_movements_go_on_from_a_time(owner: Owner, tenant_id: UUID, finance: Browser) -> None:
    player = await make_player(owner, tenant_id)
    for number in range(20):
        await owner.execute(
            "INSERT INTO deposits (id, tenant_id, player_id, amount, currency, state, method, provider, "
            "idempotency_key, request_hash, created_at, updated_at) VALUES (%s, %s, %s, %s, 'USD', 'completed', "
            "'card', 'mockpsp', %s, '', now() - %s * INTERVAL '1 hour', now())",
            (uuid4(), tenant_id, player.id, 100 + number, str(number), number),
        )
    first = await finance.get(f"/players/{player.id}")
    onward = re.search(r'rel="next" href="/console([^"#]+)', first.text)
    assert onward is not None
    second = await finance.get(onward[1].replace("&amp;", "&"))
    amounts = [re.findall(r"\b1\.\d\d USD", words(page)) for page in (first, second)]
    assert amounts[0] + amounts[1] == [f"1.{number:02d} USD" for number in range(20)]
