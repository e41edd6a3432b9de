"""A wallet is opened exactly once, from the legacy balance, and no cent is counted twice or lost on the way."""

import asyncio
from uuid import UUID

import pytest

from backend.app.domain.ledger import PostCode
from backend.app.repositories import ledger_repo, withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    both,
    connect_owner,
    count,
    deposit,
    hold,
    ledger_types,
    make_player,
    make_players,
    make_tenant,
    post,
    post_one,
    release,
    row_held,
    set_enforce,
    set_legacy,
    sides,
    unopened,
    until_blocked,
    withdrawal,
)
from backend.tests.invariants import assert_sound

SHADOW_ROW = """
INSERT INTO ledger_transactions (
    id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
    legacy_held_after, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account, arbiter,
    idempotency_key, request_hash, provider
) VALUES (
    gen_random_uuid(), %(tenant_id)s, %(player_id)s, 1, 20, 20, 0, 20, 0, now(), now(), 0, 'USD', 'deposit_captured',
    'psp:mockpsp:clearing', 'player:available', 'legacy', 'earlier', '', 'mockpsp'
)
"""


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def open_wallets(pools: Pools, *players: Player) -> int:
    async with pools.transaction() as conn:
        return await ledger_repo.open_wallets(conn, players[0].tenant_id, player_ids=[player.id for player in players])


# ---------------------------------------------------------------------------------------------------------------------
# What is opened
# ---------------------------------------------------------------------------------------------------------------------


async def test_available_and_held_are_opened_and_the_hold_gets_a_withdrawal(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=70, held=30)
    assert await open_wallets(pools, player) == 1
    assert await sides(owner, player) == both(70, 30)
    cursor = await owner.execute(
        "SELECT w.amount, w.state, w.method, t.type, t.credit_account FROM withdrawals w "
        "JOIN ledger_transactions t ON t.reference = w.id WHERE w.player_id = %s",
        (player.id,),
    )
    assert await cursor.fetchall() == [(30, "requested", "legacy_hold", "opening_balance", "player:held")]
    await assert_sound(owner, tenant_id)


async def test_wallet_without_money_is_opened_without_rows(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    assert await open_wallets(pools, player) == 1
    assert await sides(owner, player) == both(0)
    assert await ledger_types(owner, player) == []
    assert await open_wallets(pools, player) == 0
    await assert_sound(owner, tenant_id)


async def test_negative_legacy_balance_is_opened_as_it_is(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=-40)
    assert (await post_one(pools, hold(player, 1))).code == PostCode.INSUFFICIENT_FUNDS
    assert await sides(owner, player) == both(-40)
    assert (await post_one(pools, deposit(player, 50))).code == PostCode.APPLIED
    assert await sides(owner, player) == both(10)
    await assert_sound(owner, tenant_id)


async def test_opened_wallet_is_left_alone_though_the_legacy_column_moved(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=100)
    assert await open_wallets(pools, player) == 1
    await set_legacy(owner, player, available=55)
    assert await open_wallets(pools, player) == 0
    assert await ledger_types(owner, player) == ["opening_balance"]
    await assert_sound(owner, tenant_id, with_legacy=False)


async def test_legacy_hold_can_be_released(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, held=30)
    assert (await post_one(pools, release(player, 30))).code == PostCode.APPLIED
    assert await sides(owner, player) == both(30, 0)
    await assert_sound(owner, tenant_id, with_withdrawals=False)


async def test_refused_first_withdrawal_opens_the_wallet_and_moves_nothing(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=10)
    assert (await post_one(pools, hold(player, 11))).code == PostCode.INSUFFICIENT_FUNDS
    assert await sides(owner, player) == both(10)
    await assert_sound(owner, tenant_id)


async def test_enforced_tenant_opens_for_a_credit_and_fails_closed_for_a_debit(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=100)
    await set_enforce(owner, tenant_id, True)
    refused = await post_one(pools, hold(player, 40))
    assert (refused.code, refused.wallet_opened) == (PostCode.INSUFFICIENT_FUNDS, False)
    assert (refused.legacy_ok, refused.ledger_ok) == (True, False)
    assert await sides(owner, player) == unopened(100)
    assert (await post_one(pools, deposit(player, 5))).code == PostCode.APPLIED
    assert await sides(owner, player) == both(105)
    assert await ledger_types(owner, player) == ["opening_balance", "deposit_captured"]
    assert (await post_one(pools, hold(player, 40))).code == PostCode.APPLIED
    await assert_sound(owner, tenant_id, with_withdrawals=False)


async def test_opening_adds_only_what_the_shadow_does_not_have_yet(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    # A wallet whose first shadow row was written before it was opened: the row is part of the legacy balance already.
    player = await make_player(owner, tenant_id, available=120)
    await owner.execute(SHADOW_ROW, {"tenant_id": tenant_id, "player_id": player.id})
    await owner.execute(
        "INSERT INTO wallet_balances (tenant_id, player_id, currency, balance_real_available, version) "
        "VALUES (%s, %s, 'USD', 20, 1)",
        (tenant_id, player.id),
    )
    assert await open_wallets(pools, player) == 1
    assert await sides(owner, player) == both(120)
    assert await ledger_types(owner, player) == ["deposit_captured", "opening_balance"]
    await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Exactly once
# ---------------------------------------------------------------------------------------------------------------------


async def test_twenty_first_touches_at_once_open_once(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    for _ in range(5):
        player = await make_player(owner, tenant_id, available=1000, held=7)

        async def request(player: Player = player) -> None:
            async with pools.connection() as conn:
                await withdrawal_repo.request(conn, [withdrawal(player, 1)])

        await asyncio.gather(
            *(post_one(pools, deposit(player, 10)) for _ in range(7)),
            *(request() for _ in range(7)),
            *(open_wallets(pools, player) for _ in range(6)),
        )
        assert await sides(owner, player) == both(1063, 14)
        assert (await ledger_types(owner, player))[:2] == ["opening_balance", "opening_balance"]
        assert await count(owner, "withdrawals", player) == 8
    await assert_sound(owner, tenant_id)


async def test_openings_in_opposite_orders_neither_deadlock_nor_open_twice(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    players = await make_players(owner, tenant_id, 20, available=3)
    opened = await asyncio.gather(
        *(open_wallets(pools, *(players if number % 2 else reversed(players))) for number in range(10))
    )
    assert sum(opened) == 20
    assert [await sides(owner, player) for player in players] == [both(3)] * 20
    await assert_sound(owner, tenant_id)


async def test_wallets_are_opened_for_the_named_tenant_only(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    stranger = await make_player(owner, await make_tenant(owner), available=100)
    async with pools.transaction() as conn:
        assert await ledger_repo.open_wallets(conn, tenant_id, player_ids=[stranger.id]) == 0
    assert await sides(owner, stranger) == unopened(100)


# ---------------------------------------------------------------------------------------------------------------------
# Races with writers that hold the player's row
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_event", [True, False])
async def test_opening_waits_for_an_uncommitted_legacy_write_and_counts_it(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID, by_event: bool
) -> None:
    player = await make_player(owner, tenant_id, available=100)
    async with pools.connection() as conn:
        async with row_held(database, player) as elsewhere:
            await elsewhere.execute(
                "UPDATE players SET balance_real_available = 40, balance_real_held = 60 WHERE id = %s", (player.id,)
            )
            opening = asyncio.create_task(
                ledger_repo.append_event(conn, deposit(player, 5))
                if by_event
                else ledger_repo.open_wallets(conn, tenant_id, player_ids=[player.id])
            )
            await until_blocked(owner, conn)
        await opening
    assert await sides(owner, player) == both(45 if by_event else 40, 60)
    await assert_sound(owner, tenant_id)


async def test_opening_waits_for_an_uncommitted_first_touch_and_leaves_it_alone(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=100)
    async with pools.connection() as conn:
        async with pools.transaction() as first:
            await ledger_repo.append_event(first, deposit(player, 5))
            opening = asyncio.create_task(ledger_repo.open_wallets(conn, tenant_id, player_ids=[player.id]))
            await until_blocked(owner, conn)
        assert await opening == 0
    assert await sides(owner, player) == both(105)
    assert await ledger_types(owner, player) == ["opening_balance", "deposit_captured"]
    await assert_sound(owner, tenant_id)


@pytest.mark.parametrize("by_event", [True, False])
async def test_opening_counts_a_shadow_row_that_committed_while_it_waited(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID, by_event: bool
) -> None:
    # The trap of taking the lock and the sum in one statement: it waits, re-reads the player, and sums what was before.
    player = await make_player(owner, tenant_id, available=100)
    async with pools.connection() as conn:
        async with row_held(database, player) as elsewhere:
            await elsewhere.execute(SHADOW_ROW, {"tenant_id": tenant_id, "player_id": player.id})
            await elsewhere.execute("UPDATE players SET balance_real_available = 120 WHERE id = %s", (player.id,))
            opening = asyncio.create_task(
                ledger_repo.append_event(conn, deposit(player, 5))
                if by_event
                else ledger_repo.open_wallets(conn, tenant_id, player_ids=[player.id])
            )
            await until_blocked(owner, conn)
        await opening
    assert await sides(owner, player) == both(125 if by_event else 120)
    assert (await ledger_types(owner, player))[:2] == ["deposit_captured", "opening_balance"]
    await assert_sound(owner, tenant_id)


async def test_first_touch_that_is_rolled_back_opens_nothing(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100)
    async with pools.connection() as conn, conn.transaction(force_rollback=True):
        assert (await ledger_repo.append_event(conn, hold(player, 5))).code == PostCode.APPLIED
    assert await sides(owner, player) == unopened(100)
    assert await count(owner, "ledger_transactions", player) == 0
    (result,) = await post(pools, hold(player, 5))
    assert result.code == PostCode.APPLIED
    await assert_sound(owner, tenant_id, with_withdrawals=False)


async def test_door_waits_for_a_flip_and_is_judged_by_what_it_set(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=100)
    await post_one(pools, deposit(player, 1))
    await set_legacy(owner, player, available=0)
    async with pools.connection() as conn:
        async with connect_owner(database) as flip, flip.transaction():
            await set_enforce(flip, tenant_id, True)  # nested: fence and flag are held until the block commits
            deciding = asyncio.create_task(ledger_repo.append_event(conn, hold(player, 50)))
            await until_blocked(owner, conn)
        result = await deciding
    assert (result.arbiter, result.epoch, result.code) == ("ledger", 1, PostCode.APPLIED)
    assert await sides(owner, player) == both(51, 50)
