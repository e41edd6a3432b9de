"""Where MockPSP is: inside the service in dev, elsewhere when MOCKPSP_URL says so, nowhere otherwise."""

from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import AnyHttpUrl

from backend.tests import mockpsp_peer
from backend.tests.api_client import MOCKPSP_API_KEY, WEBHOOK_SECRET, WalletClient, serving
from backend.tests.conftest import Database
from backend.tests.factories import Owner, both, count, ledger_types, make_player, make_tenant, sides, unopened
from backend.tests.invariants import assert_sound
from backend.tests.processes import MockPspProcess

CREATED, OK = httpx.codes.CREATED, httpx.codes.OK
KEY = {"Authorization": f"Bearer {MOCKPSP_API_KEY}"}


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def client_of(owner: Owner, http: httpx.AsyncClient, tenant_id: UUID) -> WalletClient:
    """A verified player without money."""
    return WalletClient(http=http, player=await make_player(owner, tenant_id))


async def payments_of(http: httpx.AsyncClient, transaction: dict[str, Any], tenant_id: UUID) -> httpx.Response:
    """What the MockPSP that is mounted says about a deposit."""
    query = {"reference": transaction["id"], "account": f"mock_{tenant_id.hex}"}
    return await http.get("/mockpsp/payments", params=query, headers=KEY)


async def test_in_dev_mockpsp_is_mounted_and_knows_what_was_paid(
    owner: Owner, http: httpx.AsyncClient, tenant_id: UUID
) -> None:
    client = await client_of(owner, http, tenant_id)
    transaction = (await client.deposit("12.50")).json()["transaction"]
    told = (await payments_of(http, transaction, tenant_id)).json()["items"]
    assert [(each["status"], each["amount_minor"], each["id"], each["event_id"]) for each in told] == [
        ("captured", 12_50, transaction["provider_ref"], transaction["provider_event_id"])
    ]
    assert (await http.get("/mockpsp/payments")).status_code == httpx.codes.UNAUTHORIZED


@pytest.mark.parametrize("scenario", ["short_by_one", "other_currency"])
async def test_deposit_that_moved_otherwise_is_not_credited(
    owner: Owner, http: httpx.AsyncClient, tenant_id: UUID, scenario: str
) -> None:
    client = await client_of(owner, http, tenant_id)
    for status in (CREATED, OK):
        response = await client.deposit("12.50", key="odd", method=f"mock:{scenario}")
        assert (response.status_code, response.json()["transaction"]["state"]) == (status, "pending_provider")
    assert await sides(owner, client.player) == unopened(0)
    assert await ledger_types(owner, client.player) == []
    await assert_sound(owner, tenant_id)


async def test_deposit_without_an_answer_stays_open_and_its_key_finishes_it(
    owner: Owner, database: Database, tenant_id: UUID
) -> None:
    async with serving(database, psp_timeout_seconds=2.0) as http:
        client = await client_of(owner, http, tenant_id)
        for scenario in ("timeout_created", "timeout_never"):
            first = await client.deposit("12.50", key=scenario, method=f"mock:{scenario}")
            assert (first.status_code, first.json()["transaction"]["state"]) == (CREATED, "pending_provider")
        # A webhook may have told us meanwhile about the one that was booked.
        assert (await payments_of(http, first.json()["transaction"], tenant_id)).json() == {"items": []}
        for scenario in ("timeout_created", "timeout_never"):
            again = await client.deposit("12.50", key=scenario, method=f"mock:{scenario}")
            assert (again.status_code, again.json()["transaction"]["state"]) == (OK, "completed")
    assert await sides(owner, client.player) == both(25_00)
    await assert_sound(owner, tenant_id)


async def test_outside_dev_there_is_no_mockpsp_and_no_deposit(
    owner: Owner, database: Database, tenant_id: UUID
) -> None:
    async with serving(database, env="staging") as http:
        client = await client_of(owner, http, tenant_id)
        refused = await client.deposit("12.50", method="card")
        assert (refused.status_code, refused.json()["error_code"]) == (400, "PAYMENT_METHOD_NOT_ALLOWED")
        assert await count(owner, "deposits", client.player) == 0
        assert (await http.get("/mockpsp/payments", headers=KEY)).status_code == httpx.codes.NOT_FOUND


async def test_mockpsp_elsewhere_is_used_over_the_network_and_not_mounted(
    owner: Owner, database: Database, tenant_id: UUID, home: Path
) -> None:
    process = MockPspProcess(
        home,
        arguments=("--webhook-url", "http://127.0.0.1:9/"),
        environment={
            "DATABASE_URL": database.service_url,
            "DATABASE_OWNER_URL": database.owner_url,
            "MOCKPSP_API_KEY": MOCKPSP_API_KEY,
            "WEBHOOK_SECRET_MOCKPSP": WEBHOOK_SECRET,
        },
    )
    try:
        await process.start()
        async with serving(database, env="staging", mockpsp_url=AnyHttpUrl(process.url)) as http:
            client = await client_of(owner, http, tenant_id)
            paid = await client.deposit("12.50", method="card", key="far")
            assert (paid.status_code, paid.json()["transaction"]["state"]) == (CREATED, "completed")
            assert (await http.get("/mockpsp/payments", headers=KEY)).status_code == httpx.codes.NOT_FOUND
            process.kill()
            open_one = await client.deposit("12.50", method="card", key="farther")
            assert (open_one.status_code, open_one.json()["transaction"]["state"]) == (CREATED, "pending_provider")
    finally:
        process.stop()
    assert await sides(owner, client.player) == both(12_50)
    await assert_sound(owner, tenant_id)


async def test_production_does_not_serve_mockpsp(home: Path, database: Database) -> None:
    process = MockPspProcess(
        home,
        arguments=("--webhook-url", "http://127.0.0.1:9/"),
        environment={"ENV": "prod", "DATABASE_URL": database.service_url, "MOCKPSP_API_KEY": MOCKPSP_API_KEY},
    )
    with pytest.raises(AssertionError, match="not ready"):
        await process.start()
    assert process.stop() == 3
    assert "ENV=prod" in process.log


async def test_webhooks_of_a_seeding_process_wait_for_one_that_sends(new_database: Any) -> None:
    database = new_database()
    order = mockpsp_peer.payout()
    async with mockpsp_peer.adapter_on(database) as seeding:
        await seeding.payout_withdrawal(order)
    receiver = mockpsp_peer.Receiver()
    async with mockpsp_peer.running(mockpsp_peer.config(database, receiver=receiver)):
        (delivery,) = await receiver.until_about(order.reference, 1)
    assert delivery.verdict.is_valid
