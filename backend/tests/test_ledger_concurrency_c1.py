"""Money under simultaneous requests: never spent twice, never lost, never deadlocked, on one process and on two."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from backend.app.domain.ledger import PostCode, PostResult
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import ledger_repo, withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.api_client import REPLAYED, WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import (
    DEADLINE_SECONDS,
    Owner,
    Player,
    both,
    count,
    deposit,
    hold,
    make_player,
    make_players,
    make_tenant,
    new_key,
    post,
    post_one,
    reject,
    sides,
    withdrawal,
)
from backend.tests.invariants import assert_sound
from backend.tests.processes import ServeProcess, running_service

OK, CREATED, BAD_REQUEST = httpx.codes.OK, httpx.codes.CREATED, httpx.codes.BAD_REQUEST


@pytest.fixture(params=[False, True], ids=["legacy", "ledger"])
async def tenant_id(request: pytest.FixtureRequest, owner: Owner) -> UUID:
    """A tenant of either arbiter: what follows must hold for both."""
    return await make_tenant(owner, enforce_override=request.param)


async def make_rich(owner: Owner, pools: Pools, tenant_id: UUID, amount: int) -> Player:
    """A player whose wallet is open, so that either arbiter sees the money."""
    player = await make_player(owner, tenant_id)
    await post(pools, deposit(player, amount))
    return player


# ---------------------------------------------------------------------------------------------------------------------
# One wallet, many requests
# ---------------------------------------------------------------------------------------------------------------------


async def test_two_withdrawals_of_80_from_100_pay_one(
    owner: Owner, pools: Pools, http: httpx.AsyncClient, tenant_id: UUID
) -> None:
    for _ in range(25):
        client = WalletClient(http=http, player=await make_rich(owner, pools, tenant_id, 100_00))
        responses = await asyncio.gather(client.withdraw("80.00"), client.withdraw("80.00"))
        assert sorted(response.status_code for response in responses) == [CREATED, BAD_REQUEST]
        assert {response.json().get("error_code") for response in responses} == {None, "INSUFFICIENT_FUNDS"}
        assert await sides(owner, client.player) == both(20_00, 80_00)
        assert await count(owner, "withdrawals", client.player) == 1
        assert await count(owner, "ledger_refusals", client.player) == 1
    await assert_sound(owner, tenant_id)


async def test_two_connections_withdrawing_80_from_100_pay_one(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    # Past the group commit, so that both are truly in the database at once.
    for _ in range(25):
        player = await make_rich(owner, pools, tenant_id, 100)
        both_here = asyncio.Barrier(2)

        async def request(player: Player = player, both_here: asyncio.Barrier = both_here) -> PostResult:
            async with pools.connection() as conn:
                await both_here.wait()
                return (await withdrawal_repo.request(conn, [withdrawal(player, 80)]))[0]

        results = await asyncio.gather(request(), request())
        assert sorted(result.code for result in results) == ["applied", "insufficient_funds"]
        assert await sides(owner, player) == both(20, 80)
    await assert_sound(owner, tenant_id)


async def test_two_first_withdrawals_of_a_wallet_that_is_not_open_pay_one(
    owner: Owner, http: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(owner)
    for _ in range(15):
        client = WalletClient(http=http, player=await make_player(owner, tenant_id, available=100_00))
        responses = await asyncio.gather(client.withdraw("80.00"), client.withdraw("80.00"))
        assert sorted(response.status_code for response in responses) == [CREATED, BAD_REQUEST]
        assert await sides(owner, client.player) == both(20_00, 80_00)
    await assert_sound(owner, tenant_id)


async def test_fifty_clients_of_one_player_are_paid_to_the_last_covered_cent(
    owner: Owner, pools: Pools, http: httpx.AsyncClient, tenant_id: UUID
) -> None:
    client = WalletClient(http=http, player=await make_rich(owner, pools, tenant_id, 100_00))
    responses = await asyncio.gather(*(client.withdraw("3.00") for _ in range(50)))
    assert Counter(response.status_code for response in responses) == {CREATED: 33, BAD_REQUEST: 17}
    left = sorted(float(r.json()["balance"]["available_real"]) for r in responses if r.status_code == CREATED)
    assert left == [1 + 3 * number for number in range(33)], "every answer saw its own place in the line"
    assert await sides(owner, client.player) == both(1_00, 99_00)
    await assert_sound(owner, tenant_id)


async def test_one_key_forty_times_at_once_is_one_withdrawal(
    owner: Owner, pools: Pools, http: httpx.AsyncClient, tenant_id: UUID
) -> None:
    client = WalletClient(http=http, player=await make_rich(owner, pools, tenant_id, 100_00))
    responses = await asyncio.gather(*(client.withdraw("30.00", key="same") for _ in range(40)))
    assert Counter(response.status_code for response in responses) == {CREATED: 1, OK: 39}
    assert Counter(response.headers.get(REPLAYED) for response in responses) == {None: 1, "true": 39}
    assert len({response.content for response in responses}) == 1
    assert await sides(owner, client.player) == both(70_00, 30_00)
    assert await count(owner, "withdrawals", client.player) == 1
    await assert_sound(owner, tenant_id)


async def test_one_refused_key_forty_times_at_once_is_one_refusal(
    owner: Owner, pools: Pools, http: httpx.AsyncClient, tenant_id: UUID
) -> None:
    client = WalletClient(http=http, player=await make_rich(owner, pools, tenant_id, 10_00))
    responses = await asyncio.gather(*(client.withdraw("30.00", key="same") for _ in range(40)))
    assert {response.status_code for response in responses} == {BAD_REQUEST}
    assert Counter(response.headers.get(REPLAYED) for response in responses) == {None: 1, "true": 39}
    assert await count(owner, "ledger_refusals", client.player) == 1
    assert await sides(owner, client.player) == both(10_00)


async def test_one_key_for_two_amounts_at_once_pays_one_and_refuses_the_other(
    owner: Owner, pools: Pools, http: httpx.AsyncClient, tenant_id: UUID
) -> None:
    for _ in range(10):
        client = WalletClient(http=http, player=await make_rich(owner, pools, tenant_id, 100_00))
        responses = await asyncio.gather(*(client.withdraw(amount, key="same") for amount in ("30.00", "31.00")))
        assert sorted(response.status_code for response in responses) == [CREATED, httpx.codes.CONFLICT]
        assert (await sides(owner, client.player)).pending in (30_00, 31_00)
    await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Two server processes on one database
# ---------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def two_services(database: Database, home: Path) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    environment = {"DATABASE_URL": database.service_url, "DATABASE_OWNER_URL": database.owner_url}
    async with (
        running_service(home / "one", environment=environment) as one,
        running_service(home / "two", environment=environment) as two,
        httpx.AsyncClient(base_url=one.url, timeout=DEADLINE_SECONDS) as first,
        httpx.AsyncClient(base_url=two.url, timeout=DEADLINE_SECONDS) as second,
    ):
        yield first, second


async def test_two_processes_pay_once_from_one_wallet_and_share_keys(
    owner: Owner, pools: Pools, database: Database, tmp_path: Path
) -> None:
    tenants = [await make_tenant(owner, enforce_override=enforce) for enforce in (False, True)]
    async with two_services(database, tmp_path) as services:
        for number in range(40):
            player = await make_rich(owner, pools, tenants[number % 2], 100_00)
            first, second = (
                WalletClient(http=http, player=player, secret=ServeProcess.JWT_SECRET) for http in services
            )
            responses = await asyncio.gather(first.withdraw("80.00"), second.withdraw("80.00"))
            assert sorted(response.status_code for response in responses) == [CREATED, BAD_REQUEST]
            assert await sides(owner, player) == both(20_00, 80_00)

            repeated = await asyncio.gather(*(client.withdraw("5.00", key="k") for client in (first, second) * 3))
            assert Counter(response.status_code for response in repeated) == {CREATED: 1, OK: 5}
            assert len({response.content for response in repeated}) == 1
            assert await sides(owner, player) == both(15_00, 85_00)
    for tenant_id in tenants:
        await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Many wallets in all orders
# ---------------------------------------------------------------------------------------------------------------------


async def test_batches_in_all_orders_do_not_deadlock(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    players = await make_players(owner, tenant_id, 8)
    # The same provider events in other orders too: they are locked before the players are.
    provider_events = [new_key() for _ in range(5)]
    chance = random.Random(11)

    async def worker(orders: random.Random) -> list[PostResult]:
        results: list[PostResult] = []
        for _ in range(15):
            batch = [deposit(player, 10) for player in players]
            batch += [hold(player, 10) for player in players]
            batch += [deposit(players[0], 1, provider_event_id=event_id) for event_id in provider_events]
            orders.shuffle(batch)
            # A deadlock would be an error here: the door is called without anybody who would repeat it.
            results += await post(pools, *batch)
            async with pools.transaction() as conn:
                ids = [player.id for player in players]
                orders.shuffle(ids)
                await ledger_repo.open_wallets(conn, tenant_id, player_ids=ids)
        return results

    async with asyncio.timeout(DEADLINE_SECONDS):
        results = await asyncio.gather(*(worker(random.Random(chance.random())) for _ in range(8)))
    outcomes = Counter(result.code for each in results for result in each)
    assert set(outcomes) <= {PostCode.APPLIED, PostCode.EXISTS, PostCode.INSUFFICIENT_FUNDS}
    cursor = await owner.execute(
        "SELECT count(*) FROM ledger_transactions WHERE provider_event_id = ANY(%s)", (provider_events,)
    )
    assert await cursor.fetchone() == (len(provider_events),)
    await assert_sound(owner, tenant_id, with_withdrawals=False)


async def test_jackhammer_on_five_players_adds_up(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    players = [await make_rich(owner, pools, tenant_id, 500) for _ in range(5)]
    available = dict.fromkeys(players, 500)
    held = dict.fromkeys(players, 0)

    async def hit(chance: random.Random) -> None:
        mine: list[tuple[Player, RequestWithdrawal]] = []
        for _ in range(25):
            player, amount = chance.choice(players), chance.randint(1, 200)
            kind = chance.choice(("deposit", "withdraw", "withdraw", "reject"))
            if kind == "deposit":
                paid = deposit(player, amount)
                if (await post_one(pools, paid)).code == PostCode.APPLIED:
                    available[player] += amount
                if chance.random() < 0.3:
                    assert (await post_one(pools, paid)).code == PostCode.EXISTS
            elif kind == "withdraw":
                command = withdrawal(player, amount)
                async with pools.connection() as conn:
                    (result,) = await withdrawal_repo.request(conn, [command])
                if result.code == PostCode.APPLIED:
                    available[player] -= amount
                    held[player] += amount
                    mine.append((player, command))
            elif mine:
                player, command = mine.pop(chance.randrange(len(mine)))
                assert (await reject(owner, pools, command)).code == PostCode.APPLIED
                available[player] += command.money.amount_minor
                held[player] -= command.money.amount_minor

    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(*(hit(random.Random(number)) for number in range(10)))
    for player in players:
        assert await sides(owner, player) == both(available[player], held[player])
    await assert_sound(owner, tenant_id)
