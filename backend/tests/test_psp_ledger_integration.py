"""A deposit from the request to the ledger: what the provider says is what moves, once, whatever breaks in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import httpx
import pytest
from litestar import Litestar

from backend.app.domain.deposit import OpenCode
from backend.app.psp.adapter import CaptureRequest, Outcome
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Database as Pools
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.deposits import Deposits
from backend.app.services.wallets import Wallets
from backend.tests import mockpsp_peer
from backend.tests.api_client import MOCKPSP_API_KEY, REPLAYED, WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    both,
    count,
    deposit_command,
    ledger_types,
    make_player,
    make_tenant,
    sides,
    unopened,
    until_blocked,
)
from backend.tests.invariants import assert_sound

OK, CREATED, FORBIDDEN, CONFLICT = httpx.codes.OK, httpx.codes.CREATED, httpx.codes.FORBIDDEN, httpx.codes.CONFLICT


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


@pytest.fixture
async def client(owner: Owner, http: httpx.AsyncClient, tenant_id: UUID) -> WalletClient:
    """A verified player without money."""
    return WalletClient(http=http, player=await make_player(owner, tenant_id))


@pytest.fixture
async def newcomer(owner: Owner, http: httpx.AsyncClient, tenant_id: UUID) -> WalletClient:
    """A player whom nobody has verified."""
    return WalletClient(http=http, player=await make_player(owner, tenant_id, kyc_status="pending"))


async def deposit_states(owner: Owner, player: Player) -> dict[str, int]:
    """How many minor units the player's deposits have in each state."""
    cursor = await owner.execute(
        "SELECT state, sum(amount)::BIGINT FROM deposits WHERE player_id = %s GROUP BY state", (player.id,)
    )
    return dict(await cursor.fetchall())


# ---------------------------------------------------------------------------------------------------------------------
# What the provider says
# ---------------------------------------------------------------------------------------------------------------------


async def test_confirmed_deposit_is_in_the_ledger_with_what_the_provider_calls_it(
    owner: Owner, client: WalletClient, tenant_id: UUID
) -> None:
    response = await client.deposit("12.50", key="paid")
    assert response.status_code == CREATED
    transaction, balance = response.json()["transaction"], response.json()["balance"]
    assert (transaction["state"], transaction["type"], transaction["amount"]) == ("completed", "deposit", "12.50")
    assert (balance["available_real"], balance["held_real"], balance["total_real"]) == ("12.50", "0.00", "12.50")
    cursor = await owner.execute(
        "SELECT type, debit_account, credit_account, amount, reference::TEXT, provider, provider_ref, "
        "provider_event_id, idempotency_key FROM ledger_transactions WHERE player_id = %s",
        (client.player.id,),
    )
    assert await cursor.fetchall() == [
        (
            "deposit_captured",
            "psp:mockpsp:clearing",
            "player:available",
            12_50,
            transaction["id"],
            "mockpsp",
            transaction["provider_ref"],
            transaction["provider_event_id"],
            "paid",
        )
    ]
    assert await sides(owner, client.player) == both(12_50)
    assert await deposit_states(owner, client.player) == {"completed": 12_50}
    await assert_sound(owner, tenant_id)


async def test_declined_deposit_moves_nothing_and_stays_declined(
    owner: Owner, client: WalletClient, tenant_id: UUID
) -> None:
    first = await client.deposit("12.50", key="no", method="mock:decline")
    again = await client.deposit("12.50", key="no", method="mock:decline")
    assert (first.status_code, again.status_code) == (CREATED, OK)
    for response in (first, again):
        transaction = response.json()["transaction"]
        assert (transaction["state"], transaction["failure_code"]) == ("failed", "declined")
        assert response.json()["balance"]["available_real"] == "0.00"
    assert await sides(owner, client.player) == unopened(0)
    assert await ledger_types(owner, client.player) == []
    assert await deposit_states(owner, client.player) == {"failed": 12_50}
    await assert_sound(owner, tenant_id)


async def test_pending_deposit_moves_nothing_until_the_provider_says_so(
    owner: Owner, client: WalletClient, tenant_id: UUID
) -> None:
    first = await client.deposit("12.50", key="later", method="mock:pending")
    again = await client.deposit("12.50", key="later", method="mock:pending")
    assert (first.status_code, again.status_code) == (CREATED, OK)
    assert {response.json()["transaction"]["state"] for response in (first, again)} == {"pending_provider"}
    assert await sides(owner, client.player) == unopened(0)
    assert await deposit_states(owner, client.player) == {"pending_provider": 12_50}
    await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Keys
# ---------------------------------------------------------------------------------------------------------------------


async def test_repeated_deposit_is_the_same_deposit(owner: Owner, client: WalletClient, tenant_id: UUID) -> None:
    first = await client.deposit("12.50", key="same")
    await client.deposit("1.00")
    again = await client.deposit("12.50", key="same")
    assert (first.status_code, again.status_code) == (CREATED, OK)
    assert (REPLAYED in first.headers, again.headers.get(REPLAYED)) == (False, "true")
    assert again.json() == first.json(), "the balance as it was then included"
    assert await sides(owner, client.player) == both(13_50)
    await assert_sound(owner, tenant_id)


async def test_one_deposit_thirty_times_at_once_arrives_once(
    owner: Owner, client: WalletClient, tenant_id: UUID
) -> None:
    responses = await asyncio.gather(*(client.deposit("12.50", key="same") for _ in range(30)))
    assert Counter(response.status_code for response in responses) == {CREATED: 1, OK: 29}
    assert len({response.content for response in responses}) == 1
    assert await sides(owner, client.player) == both(12_50)
    assert await ledger_types(owner, client.player) == ["deposit_captured"]
    assert await count(owner, "deposits", client.player) == 1
    await assert_sound(owner, tenant_id)


@pytest.mark.parametrize("other", [{"amount": "12.51"}, {"method": "test_bank"}, {"currency": "EUR"}])
async def test_key_with_other_content_is_a_conflict(owner: Owner, client: WalletClient, other: dict[str, str]) -> None:
    await client.deposit("12.50", key="same")
    response = await client.deposit(**{"amount": "12.50", "key": "same", **other})
    assert (response.status_code, response.json()["error_code"]) == (CONFLICT, "IDEMPOTENCY_KEY_REUSE_CONFLICT")
    assert await sides(owner, client.player) == both(12_50)


async def test_deposit_and_withdrawal_have_keys_of_their_own(
    owner: Owner, client: WalletClient, tenant_id: UUID
) -> None:
    assert (await client.deposit("12.50", key="same")).status_code == CREATED
    assert (await client.withdraw("12.50", key="same")).status_code == CREATED
    assert await sides(owner, client.player) == both(0, 12_50)
    await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Half-way
# ---------------------------------------------------------------------------------------------------------------------


class Crash(Exception):
    """The process ends here."""


class DyingPsp(MockPsp):
    """A provider whose caller dies: before it is asked, or after it answered."""

    def __init__(self, app: Litestar, *, after_the_answer: bool) -> None:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # the frameworks type ASGI differently
        super().__init__("http://mockpsp", api_key=MOCKPSP_API_KEY, timeout_seconds=20, transport=transport)
        self._after_the_answer = after_the_answer

    async def capture_deposit(self, request: CaptureRequest) -> Outcome:
        if self._after_the_answer:
            await super().capture_deposit(request)
        raise Crash


@asynccontextmanager
async def deposits_with(pools: Pools, psp: MockPsp) -> AsyncIterator[Deposits]:
    deposits = Deposits(
        pools,
        psp,
        Wallets(pools),
        MismatchRecorder(pools, is_enabled=True),
        is_dev=True,
        unverified_daily_cap=Decimal(100),
    )
    yield deposits
    await deposits.drain(deadline_seconds=5)


@pytest.mark.parametrize("after_the_answer", [False, True])
async def test_deposit_that_died_half_way_is_taken_up_by_its_key(
    owner: Owner,
    pools: Pools,
    database: Database,
    client: WalletClient,
    tenant_id: UUID,
    after_the_answer: bool,
) -> None:
    async with (
        mockpsp_peer.running(mockpsp_peer.config(database, is_sending=False)) as app,
        deposits_with(pools, DyingPsp(app, after_the_answer=after_the_answer)) as dying,
    ):
        with pytest.raises(Crash):
            await dying.deposit(deposit_command(client.player, 12_50, key="again"))
    assert await deposit_states(owner, client.player) == {"pending_provider": 12_50}
    assert await sides(owner, client.player) == unopened(0)

    responses = await asyncio.gather(*(client.deposit("12.50", key="again") for _ in range(5)))

    assert {response.status_code for response in responses} == {OK}
    assert {response.json()["transaction"]["state"] for response in responses} == {"completed"}
    assert await sides(owner, client.player) == both(12_50)
    assert await deposit_states(owner, client.player) == {"completed": 12_50}
    cursor = await owner.execute(
        "SELECT count(*) FROM mockpsp.payments WHERE reference = %s", (responses[0].json()["transaction"]["id"],)
    )
    assert await cursor.fetchone() == (1,)
    await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Who nobody has verified
# ---------------------------------------------------------------------------------------------------------------------


async def test_unverified_player_may_deposit_to_the_cap_and_no_cent_more(
    owner: Owner, newcomer: WalletClient, tenant_id: UUID
) -> None:
    assert (await newcomer.deposit("60.00")).status_code == CREATED
    refused = await newcomer.deposit("40.01", key="too-much")
    assert (refused.status_code, refused.json()["error_code"]) == (FORBIDDEN, "KYC_DEPOSIT_LIMIT")
    assert (refused.json()["daily_cap"], refused.json()["deposited_today"]) == ("100.00", "60.00")
    assert (await newcomer.deposit("40.00")).status_code == CREATED
    assert (await newcomer.deposit("0.01")).status_code == FORBIDDEN
    assert await sides(owner, newcomer.player) == both(100_00)
    await owner.execute("UPDATE players SET kyc_status = 'verified' WHERE id = %s", (newcomer.player.id,))
    assert (await newcomer.deposit("40.01", key="too-much")).status_code == CREATED, "the refusal was not stored"
    assert await sides(owner, newcomer.player) == both(140_01)
    await assert_sound(owner, tenant_id)


async def test_parallel_deposits_cannot_exceed_the_cap(owner: Owner, newcomer: WalletClient, tenant_id: UUID) -> None:
    responses = await asyncio.gather(*(newcomer.deposit("30.00") for _ in range(20)))
    assert Counter(response.status_code for response in responses) == {CREATED: 3, FORBIDDEN: 17}
    assert await sides(owner, newcomer.player) == both(90_00)
    await assert_sound(owner, tenant_id)


async def test_deposit_that_is_being_opened_elsewhere_counts_towards_the_cap(
    owner: Owner, pools: Pools, newcomer: WalletClient
) -> None:
    # Past the group commit, as two processes would: the first is not committed when the second asks.
    first, second = (replace(deposit_command(newcomer.player, 60_00), unverified_cap_minor=100_00) for _ in range(2))
    async with pools.connection() as conn:
        async with pools.transaction() as elsewhere:
            assert (await deposit_repo.open_many(elsewhere, [first]))[0].code == OpenCode.OPENED
            opening = asyncio.create_task(deposit_repo.open_many(conn, [second]))
            await until_blocked(owner, conn)
        (opened,) = await opening
    assert (opened.code, opened.deposited_today_minor) == (OpenCode.KYC_DEPOSIT_LIMIT, 60_00)
    assert await deposit_states(owner, newcomer.player) == {"pending_provider": 60_00}


async def test_verified_player_has_no_cap(owner: Owner, client: WalletClient) -> None:
    assert (await client.deposit("100000.00")).status_code == CREATED
    assert await sides(owner, client.player) == both(100_000_00)


async def test_cap_counts_open_deposits_and_not_declined_ones(newcomer: WalletClient) -> None:
    assert (await newcomer.deposit("100.00", method="mock:decline")).status_code == CREATED
    assert (await newcomer.deposit("100.00", method="mock:pending")).status_code == CREATED
    assert (await newcomer.deposit("0.01")).status_code == FORBIDDEN


async def test_cap_starts_anew_with_the_utc_day(owner: Owner, newcomer: WalletClient) -> None:
    assert (await newcomer.deposit("100.00")).status_code == CREATED
    last_second_of_yesterday = "date_trunc('day', now(), 'UTC') - INTERVAL '1 second'"
    await owner.execute(
        f"UPDATE deposits SET created_at = {last_second_of_yesterday} WHERE player_id = %s", (newcomer.player.id,)
    )
    assert (await newcomer.deposit("100.00")).status_code == CREATED
    await owner.execute(
        "UPDATE deposits SET created_at = date_trunc('day', now(), 'UTC') WHERE player_id = %s", (newcomer.player.id,)
    )
    assert (await newcomer.deposit("0.01")).status_code == FORBIDDEN


async def test_cap_is_in_the_currency_of_the_wallet(owner: Owner, http: httpx.AsyncClient, tenant_id: UUID) -> None:
    for currency, cap, over in (("JPY", "100", "1"), ("KWD", "100.000", "0.001")):
        player = await make_player(owner, tenant_id, currency=currency, kyc_status="pending")
        client = WalletClient(http=http, player=player)
        assert (await client.deposit(cap)).status_code == CREATED
        assert (await client.deposit(over)).status_code == FORBIDDEN
        assert (await sides(owner, player)).available == int(Decimal(cap).scaleb({"JPY": 0, "KWD": 3}[currency]))
    await assert_sound(owner, tenant_id)


async def test_withdrawal_waits_for_verification_and_the_same_key_then_works(
    owner: Owner, newcomer: WalletClient, tenant_id: UUID
) -> None:
    await newcomer.deposit("50.00")
    refused = await newcomer.withdraw("20.00", key="patient")
    assert (refused.status_code, refused.json()["error_code"]) == (FORBIDDEN, "KYC_REQUIRED_FOR_WITHDRAWAL")
    assert await sides(owner, newcomer.player) == both(50_00)
    assert [await count(owner, t, newcomer.player) for t in ("withdrawals", "ledger_refusals")] == [0, 0]
    await owner.execute("UPDATE players SET kyc_status = 'verified' WHERE id = %s", (newcomer.player.id,))
    assert (await newcomer.withdraw("20.00", key="patient")).status_code == CREATED
    assert await sides(owner, newcomer.player) == both(30_00, 20_00)
    await assert_sound(owner, tenant_id)


@pytest.mark.parametrize("kyc_status", ["pending", "rejected"])
async def test_replay_of_a_withdrawal_is_answered_before_the_verification_is_asked(
    owner: Owner, client: WalletClient, kyc_status: str
) -> None:
    await client.deposit("50.00")
    first = await client.withdraw("20.00", key="done")
    await owner.execute("UPDATE players SET kyc_status = %s WHERE id = %s", (kyc_status, client.player.id))
    again = await client.withdraw("20.00", key="done")
    assert (again.status_code, again.json()) == (OK, first.json())
    assert (await client.withdraw("20.00")).status_code == FORBIDDEN


async def test_disabled_player_neither_pays_in_nor_out(owner: Owner, client: WalletClient) -> None:
    await client.deposit("50.00")
    await owner.execute("UPDATE players SET is_active = FALSE WHERE id = %s", (client.player.id,))
    for response in (await client.deposit("1.00"), await client.withdraw("1.00")):
        assert (response.status_code, response.json()["error_code"]) == (401, "UNAUTHORIZED")
    assert await sides(owner, client.player) == both(50_00)
