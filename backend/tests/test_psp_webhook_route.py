"""The webhook's address and the inbox over HTTP: clean answers whatever comes, and no event lost with its process."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from backend.app.domain.identity import Role
from backend.app.psp import standard_webhooks
from backend.tests import api_client
from backend.tests.api_client import WalletClient
from backend.tests.conftest import Database, Server
from backend.tests.factories import (
    Owner,
    Player,
    both,
    connect_owner,
    eventually,
    ledger_types,
    make_player,
    make_tenant,
    sides,
)
from backend.tests.fixtures import People, assert_problem
from backend.tests.invariants import assert_sound
from backend.tests.processes import ServeProcess
from backend.tests.psp_desk import SECRETS, Told, account_of
from backend.tests.webhook_deliveries import MOCK_SECRET

URL: Final = "/api/v1/payments/webhook/mockpsp"
TEN_MEGABYTES: Final = 10 * 1024 * 1024


@pytest.fixture(scope="module")
async def site(server: Server) -> AsyncIterator[tuple[Database, httpx.AsyncClient, Owner]]:
    """The application with secrets on a database of its own."""
    database = server.create()
    async with (
        api_client.serving(database, **SECRETS, database_connect_timeout_seconds=0.5) as client,
        connect_owner(database) as owner,
    ):
        yield database, client, owner
    server.drop(database)


@pytest.fixture
async def http(site: tuple[Database, httpx.AsyncClient, Owner]) -> httpx.AsyncClient:
    return site[1]


@pytest.fixture
async def owner(site: tuple[Database, httpx.AsyncClient, Owner]) -> Owner:
    await site[2].execute("DELETE FROM psp_events WHERE signature_status = 'unverified'")
    return site[2]


@pytest.fixture
async def player(owner: Owner) -> Player:
    return await make_player(owner, await make_tenant(owner))


@pytest.fixture
async def enforced(owner: Owner) -> AsyncIterator[None]:
    await enforce(owner)
    yield
    await owner.execute("DELETE FROM flag_settings WHERE scope = 'provider'")


async def enforce(owner: Owner, provider: str = "mockpsp") -> None:
    await owner.execute(
        "INSERT INTO flag_settings (flag, scope, holder, value, set_by) "
        "VALUES ('webhook_signature_enforced', 'provider', %s, TRUE, 'a test')",
        (provider,),
    )


async def pending_deposit(client: WalletClient) -> Told:
    """The capture of a deposit that MockPSP has left open."""
    response = await client.deposit("10.00", method="mock:pending")
    transaction = response.json()["transaction"]
    assert (response.status_code, transaction["state"]) == (201, "pending_provider"), response.text
    deposit_id = UUID(transaction["id"])
    return Told(
        type="deposit.captured",
        deposit_id=deposit_id,
        account=account_of(client.player.tenant_id),
        payment=f"mpay_{deposit_id.hex}",
    )


async def post(http: httpx.AsyncClient, told: Told, path: str = URL) -> httpx.Response:
    return await http.post(path, content=told.body, headers=told.signed())


async def until_credited(owner: Owner, player: Player) -> None:
    async def is_credited() -> bool:
        return await sides(owner, player) == both(10_00)

    await eventually(is_credited, what="the deposit is credited")


# ---------------------------------------------------------------------------------------------------------------------
# Answers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("enforced")
async def test_delivery_is_accepted_and_then_applied(http: httpx.AsyncClient, owner: Owner, player: Player) -> None:
    told = await pending_deposit(WalletClient(http=http, player=player))
    first, again = await post(http, told), await post(http, told)
    assert (first.status_code, first.json()) == (200, {"status": "accepted", "duplicate": False})
    assert (again.status_code, again.json()) == (200, {"status": "accepted", "duplicate": True})
    await until_credited(owner, player)
    assert await ledger_types(owner, player) == ["deposit_captured"]
    await assert_sound(owner, player.tenant_id)


@pytest.mark.usefixtures("enforced")
async def test_refusal_says_neither_what_failed_nor_that_a_bearer_token_would_help(http: httpx.AsyncClient) -> None:
    told = Told(type="deposit.captured", deposit_id=uuid4(), account="a")
    documents = []
    for headers in ({}, told.signed("whsec_" + "QUJD" * 8), told.signed(at=datetime(2020, 1, 1, tzinfo=UTC))):
        response = await http.post(URL, content=told.body, headers=headers)
        document = assert_problem(response, 401, "WEBHOOK_SIGNATURE_INVALID")
        assert response.headers["www-authenticate"] == 'Signature realm="psp-webhook"'
        documents.append({name: value for name, value in document.items() if name != "request_id"})
    assert documents[0] == documents[1] == documents[2]


async def test_address_of_nobody_is_not_found(http: httpx.AsyncClient) -> None:
    told = Told(type="deposit.captured", deposit_id=uuid4(), account="a")
    for path in ("nobody", "MockPSP", "mockpsp/no-such-account", "mockpsp/%00", "mockpsp/" + "a" * 300, "%00"):
        response = await post(http, told, f"/api/v1/payments/webhook/{path}")
        assert_problem(response, 404, "UNKNOWN_PROVIDER")


async def test_only_post_is_taken(http: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert_problem(await http.request(method, URL), 405, "METHOD_NOT_ALLOWED")


async def test_ten_megabytes_are_refused_without_being_read(http: httpx.AsyncClient) -> None:
    told = Told(type="deposit.captured", deposit_id=uuid4(), account="a")
    announced = await http.post(URL, content=b"x" * TEN_MEGABYTES, headers=told.signed())
    assert_problem(announced, 413, "PAYLOAD_TOO_LARGE")
    sent = 0

    async def unannounced() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < TEN_MEGABYTES:
            sent += 64 * 1024
            yield b"x" * 64 * 1024

    assert_problem(await http.post(URL, content=unannounced(), headers=told.signed()), 413, "PAYLOAD_TOO_LARGE")
    assert sent <= 512 * 1024
    largest = b"x" * 256 * 1024
    headers = standard_webhooks.sign(
        largest, delivery_id="evt_" + uuid4().hex, signed_at=datetime.now(UTC), secrets=[MOCK_SECRET]
    )
    assert (await http.post(URL, content=largest, headers=headers)).status_code == 200


@pytest.mark.parametrize("is_enforced", [False, True])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain; charset=utf-16"},
        {"content-type": "multipart/form-data"},
        {"webhook-id": "evt_é", "webhook-timestamp": "٣", "webhook-signature": "v1,ÿ"},
        {"webhook-id": "a" * 5000, "webhook-timestamp": "9" * 400, "webhook-signature": "v1," * 1000},
        {"stripe-signature": "t=1,v1=½", "hmacsignature": "\x7f"},
    ],
)
async def test_nothing_that_comes_is_a_crash(
    http: httpx.AsyncClient, owner: Owner, is_enforced: bool, headers: dict[str, str]
) -> None:
    bodies = (b"", b"\x00", b"\xff\xfe\x00", b'{"type":"\\ud800","data":{"account":"\\u0000"}}', b"[" * 100_000)
    raw = {name.encode(): value.encode("latin-1", "replace") for name, value in headers.items()}
    for provider in ("mockpsp", "stripe", "adyen"):
        if is_enforced:
            await enforce(owner, provider)
        for body in bodies:
            response = await http.post(f"/api/v1/payments/webhook/{provider}", content=body, headers=raw)
            assert response.status_code == (401 if is_enforced else 200), response.text
    await owner.execute("DELETE FROM flag_settings WHERE scope = 'provider'")


async def test_database_that_is_away_is_told_to_the_provider(server: Server) -> None:
    database = server.create()
    told = Told(type="deposit.captured", deposit_id=uuid4(), account="a")
    async with api_client.serving(database, **SECRETS, database_connect_timeout_seconds=0.5) as client:
        server.drop(database)
        response = await post(client, told)
        assert_problem(response, 503, "DATABASE_UNAVAILABLE")
        assert int(response.headers["retry-after"]) > 0


# ---------------------------------------------------------------------------------------------------------------------
# Looking after the inbox
# ---------------------------------------------------------------------------------------------------------------------


async def test_events_are_listed_by_tenant_and_filter(http: httpx.AsyncClient, owner: Owner, player: Player) -> None:
    people = People(http, owner)
    told = await pending_deposit(WalletClient(http=http, player=player))
    await owner.execute(
        "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES ('mockpsp', %s, %s)",
        (told.account, player.tenant_id),
    )
    await post(http, told)
    await until_credited(owner, player)
    recon = await people.admin(Role.RECON, player.tenant_id)
    (item,) = (await recon.get("/payments/events", state="applied", provider="mockpsp")).json()["items"]
    assert (item["provider_event_id"], item["effect"], item["tx_id"]) == (
        told.event_id,
        "applied",
        str(told.deposit_id),
    )
    for query in ({"state": "dead"}, {"provider": "stripe"}, {"signature_status": "unverified"}):
        assert (await recon.get("/payments/events", **query)).json()["meta"]["total"] == 0
    stranger = await people.admin(Role.FINANCE, await make_tenant(owner))
    assert (await stranger.get("/payments/events")).json()["items"] == []
    assert_problem(await stranger.post(f"/payments/events/{item['id']}/reprocess"), 404, "PSP_EVENT_NOT_FOUND")
    viewer = await people.admin(Role.VIEWER, player.tenant_id)
    assert_problem(await viewer.get("/payments/events"), 403, "FORBIDDEN")


async def test_dead_event_is_applied_when_somebody_asks_for_it(
    http: httpx.AsyncClient, owner: Owner, player: Player
) -> None:
    people = People(http, owner)
    told = await pending_deposit(WalletClient(http=http, player=player))
    await owner.execute(
        "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES ('mockpsp', %s, %s)",
        (told.account, player.tenant_id),
    )
    await owner.execute(
        "INSERT INTO psp_events (id, provider, account_id, provider_event_id, signature_status, signature_result, "
        "state, body, body_size, body_sha256, headers, received_at, attempts, tenant_id) "
        "VALUES (gen_random_uuid(), 'mockpsp', %s, %s, 'valid', 'valid', 'dead', %s, 1, '', '{}', now(), 9, %s)",
        (told.account, told.event_id, told.body, player.tenant_id),
    )
    finance = await people.admin(Role.FINANCE, player.tenant_id)
    (item,) = (await finance.get("/payments/events", state="dead")).json()["items"]
    response = await finance.post(f"/payments/events/{item['id']}/reprocess")
    assert (response.status_code, response.json()["state"]) == (200, "pending")
    await until_credited(owner, player)
    cursor = await owner.execute(
        "SELECT actor_id, state_before ->> 'state', state_after ->> 'state' FROM audit_events "
        "WHERE action = 'psp_event.reprocessed' AND object_id = %s",
        (item["id"],),
    )
    assert await cursor.fetchall() == [(finance.id, "dead", "pending")]
    await assert_sound(owner, player.tenant_id)


async def test_enforcement_without_a_usable_secret_is_not_ready(http: httpx.AsyncClient, owner: Owner) -> None:
    tenant_id = await make_tenant(owner)
    assert (await http.get("/readyz")).status_code == 200
    rows: list[tuple[str, str, str | None]] = [
        ("stripe", "acct-bare", None),
        ("stripe", "acct-missing", "NOT_THERE"),
        # Stripe's secret is no hexadecimal key.
        ("adyen", "acct-other", "STRIPE"),
    ]
    for provider, account, name in rows:
        await owner.execute(
            "INSERT INTO psp_accounts (provider, account_id, tenant_id, webhook_secret_name) VALUES (%s, %s, %s, %s)",
            (provider, account, tenant_id, name),
        )
    assert (await http.get("/readyz")).status_code == 200, "nothing is enforced"
    for provider in ("stripe", "adyen"):
        await enforce(owner, provider)
    response = await http.get("/readyz")
    await owner.execute("DELETE FROM flag_settings WHERE scope = 'provider'")
    await owner.execute("DELETE FROM psp_accounts WHERE tenant_id = %s", (tenant_id,))
    assert response.status_code == 503
    problems = " ".join(response.json()["problems"])
    assert all(account in problems for _, account, _ in rows)
    assert "own_test_secret" not in problems
    assert (await http.get("/readyz")).status_code == 200


async def test_what_happens_is_counted(http: httpx.AsyncClient, owner: Owner, player: Player) -> None:
    before = await metrics(http)
    told = await pending_deposit(WalletClient(http=http, player=player))
    await http.post(URL, content=told.body)
    await post(http, told)
    await post(http, told)
    await until_credited(owner, player)
    after = await metrics(http)

    def counted(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    assert counted('hakem_psp_webhook_signature_total{provider="mockpsp",result="missing"}') == 1
    assert counted('hakem_psp_webhook_signature_total{provider="mockpsp",result="valid"}') == 2
    assert counted('hakem_psp_webhook_would_reject_total{provider="mockpsp",result="missing"}') == 1
    assert counted('hakem_psp_webhook_secret_total{label="current",provider="mockpsp"}') == 2
    assert counted('hakem_psp_webhook_duplicate_total{body="same",provider="mockpsp"}') == 1
    assert counted('hakem_psp_webhook_age_seconds_count{provider="mockpsp"}') == 1


async def metrics(http: httpx.AsyncClient) -> dict[str, float]:
    lines = (await http.get("/metrics")).text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


# ---------------------------------------------------------------------------------------------------------------------
# Processes
# ---------------------------------------------------------------------------------------------------------------------


def process(database: Database, home: Path) -> ServeProcess:
    return ServeProcess(
        home,
        environment={
            "DATABASE_URL": database.service_url,
            "DATABASE_OWNER_URL": database.owner_url,
            "WEBHOOK_SECRET_MOCKPSP": MOCK_SECRET,
            "WEBHOOK_SIGNATURE_ENFORCED": "True",
        },
    )


async def test_twenty_deliveries_to_two_processes_are_twenty_answers_and_one_effect(server: Server, home: Path) -> None:
    database = server.create()
    processes = [process(database, home / name) for name in "ab"]
    try:
        await asyncio.gather(*(each.start() for each in processes))
        async with AsyncExitStack() as stack:
            owner = await stack.enter_async_context(connect_owner(database))
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(base_url=each.url, timeout=20)) for each in processes
            ]
            player = await make_player(owner, await make_tenant(owner))
            wallet = WalletClient(http=clients[0], player=player, secret=ServeProcess.JWT_SECRET)
            told = await pending_deposit(wallet)
            responses = await asyncio.gather(*(post(clients[number % 2], told) for number in range(20)))
            assert Counter(response.status_code for response in responses) == {200: 20}
            assert Counter(response.json()["duplicate"] for response in responses) == {False: 1, True: 19}
            await until_credited(owner, player)
            assert await ledger_types(owner, player) == ["deposit_captured"]
            await assert_sound(owner, player.tenant_id)
    finally:
        for each in processes:
            each.stop()
        server.drop(database)


async def test_what_was_answered_is_applied_by_the_next_process_after_kill_9(server: Server, home: Path) -> None:
    database = server.create()
    first, second = process(database, home / "first"), process(database, home / "second")
    try:
        await first.start()
        async with connect_owner(database) as owner:
            player = await make_player(owner, await make_tenant(owner))
            async with httpx.AsyncClient(base_url=first.url, timeout=20) as client:
                told = await pending_deposit(WalletClient(http=client, player=player, secret=ServeProcess.JWT_SECRET))
                # Applying it waits for the deposit's row, and so it dies between its answer and its effect.
                with psycopg.connect(database.owner_url) as holder:
                    holder.execute("SELECT 1 FROM deposits WHERE id = %s FOR UPDATE", (told.deposit_id,))
                    assert (await post(client, told)).status_code == 200

                    async def is_waiting() -> bool:
                        cursor = await owner.execute(
                            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid)))",
                            (holder.info.backend_pid,),
                        )
                        return await cursor.fetchone() == (True,)

                    await eventually(is_waiting, what="the event is being applied")
                    first.kill()
            assert await sides(owner, player) != both(10_00)
            await second.start()
            await until_credited(owner, player)
            assert await ledger_types(owner, player) == ["deposit_captured"]
            await assert_sound(owner, player.tenant_id)
    finally:
        for each in (first, second):
            if each.url:
                each.stop()
        server.drop(database)
