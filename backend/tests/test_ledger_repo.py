"""The one door: one answer per event, money moved once per key and per provider event, whoever asks how often."""

import asyncio
from collections import Counter
from dataclasses import replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest

from backend.app.domain.ledger import Arbiter, PostCode, TransactionType
from backend.app.domain.money import Money
from backend.app.repositories.database import Database as Pools
from backend.tests.factories import (
    Owner,
    both,
    count,
    deposit,
    hold,
    ledger_types,
    make_player,
    make_players,
    make_tenant,
    new_key,
    post,
    post_one,
    release,
    set_enforce,
    set_legacy,
    sides,
    unopened,
)
from backend.tests.invariants import assert_sound

APPLIED, EXISTS, DIFFERENT = PostCode.APPLIED, PostCode.EXISTS, PostCode.EXISTS_DIFFERENT


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


# ---------------------------------------------------------------------------------------------------------------------
# The client's key
# ---------------------------------------------------------------------------------------------------------------------


async def test_event_moves_both_sides_and_tells_before_and_after(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100)
    result = await post_one(pools, hold(player, 30))
    assert result.code == APPLIED
    assert not result.is_replay
    assert (result.legacy_available_before, result.legacy_held_before) == (100, 0)
    assert (result.ledger_available_before, result.ledger_pending_before) == (100, 0)
    assert (result.legacy_available_after, result.legacy_held_after) == (70, 30)
    assert (result.ledger_available_after, result.ledger_pending_after) == (70, 30)
    assert (result.legacy_ok, result.ledger_ok) == (True, True)
    assert await sides(owner, player) == both(70, 30)
    assert await ledger_types(owner, player) == ["opening_balance", "withdraw_requested"]
    await assert_sound(owner, tenant_id, with_withdrawals=False)


async def test_repeated_key_replays_the_first_result_and_moves_nothing(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id)
    first = await post_one(pools, deposit(player, 40, key="a"))
    await post_one(pools, deposit(player, 5, key="b"))
    again = await post_one(pools, deposit(player, 40, key="a"))
    assert (again.code, again.is_replay) == (EXISTS, True)
    assert again.transaction_id == first.transaction_id
    assert again.recorded_at == first.recorded_at
    assert again.ledger_available_after == 40, "the balance as it was then"
    assert await sides(owner, player) == both(45)
    await assert_sound(owner, tenant_id)


async def test_one_key_twenty_times_at_once_moves_money_once(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    results = await asyncio.gather(*(post_one(pools, deposit(player, 40, key="same")) for _ in range(20)))
    assert Counter(result.code for result in results) == {APPLIED: 1, EXISTS: 19}
    assert len({result.transaction_id for result in results}) == 1
    assert await sides(owner, player) == both(40)
    await assert_sound(owner, tenant_id)


async def test_key_with_another_amount_is_different_and_moves_nothing(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id)
    await post_one(pools, deposit(player, 40, key="a"))
    other = await post_one(pools, deposit(player, 41, key="a"))
    assert (other.code, other.is_replay) == (DIFFERENT, True)
    assert await sides(owner, player) == both(40)


async def test_key_belongs_to_one_type_and_one_player(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player, stranger = await make_players(owner, tenant_id, 2, available=100)
    for one in (deposit(player, 10, key="a"), hold(player, 10, key="a"), deposit(stranger, 10, key="a")):
        assert (await post_one(pools, one)).code == APPLIED
    assert await sides(owner, player) == both(100, 10)
    assert await sides(owner, stranger) == both(110)
    await assert_sound(owner, tenant_id, with_withdrawals=False)


async def test_twins_inside_one_call_move_money_once(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    results = await post(
        pools, deposit(player, 40, key="a"), deposit(player, 40, key="a"), deposit(player, 41, key="a")
    )
    assert [result.code for result in results] == [APPLIED, EXISTS, DIFFERENT]
    assert [result.event_no for result in results] == [1, 2, 3]
    assert results[0].transaction_id == results[1].transaction_id
    assert await sides(owner, player) == both(40)
    await assert_sound(owner, tenant_id)


async def test_answers_stand_in_the_order_of_the_events(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    await post_one(pools, deposit(player, 40, key="known"))
    results = await post(
        pools,
        deposit(player, 41, key="known"),
        hold(player, 1000),
        deposit(player, 40, key="known"),
        deposit(player, 2),
    )
    assert [result.code for result in results] == [DIFFERENT, PostCode.INSUFFICIENT_FUNDS, EXISTS, APPLIED]
    assert [result.event_no for result in results] == [1, 2, 3, 4]
    assert await sides(owner, player) == both(42)


async def test_twins_of_a_refusal_replay_it_inside_one_call(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=10)
    results = await post(pools, hold(player, 40, key="a"), deposit(player, 90), hold(player, 40, key="a"))
    assert [result.code for result in results] == [PostCode.INSUFFICIENT_FUNDS, APPLIED, PostCode.INSUFFICIENT_FUNDS]
    assert [result.is_replay for result in results] == [False, False, True]
    assert await sides(owner, player) == both(100)


# ---------------------------------------------------------------------------------------------------------------------
# The provider's event id
# ---------------------------------------------------------------------------------------------------------------------


async def test_provider_event_under_another_key_is_the_same_event(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    event_id = new_key()
    first = await post_one(pools, deposit(player, 40, key="answer", provider_event_id=event_id))
    second = await post_one(pools, deposit(player, 40, key="webhook", provider_event_id=event_id))
    assert (first.code, second.code) == (APPLIED, EXISTS)
    assert second.transaction_id == first.transaction_id
    assert await sides(owner, player) == both(40)
    await assert_sound(owner, tenant_id)


async def test_provider_event_with_another_amount_is_different(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    event_id = new_key()
    await post_one(pools, deposit(player, 40, provider_event_id=event_id))
    assert (await post_one(pools, deposit(player, 41, provider_event_id=event_id))).code == DIFFERENT
    assert await sides(owner, player) == both(40)


async def test_event_id_of_another_provider_is_another_event(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    event_id = new_key()
    await post_one(pools, deposit(player, 40, provider_event_id=event_id))
    elsewhere = await post_one(pools, deposit(player, 40, provider_event_id=event_id, provider="otherpsp"))
    assert elsewhere.code == APPLIED
    assert await sides(owner, player) == both(80)


@pytest.mark.parametrize("in_one_call", [True, False])
async def test_provider_event_of_two_players_pays_the_first_only(
    owner: Owner, pools: Pools, tenant_id: UUID, in_one_call: bool
) -> None:
    player, stranger = await make_players(owner, tenant_id, 2)
    event_id = new_key()
    events = [deposit(each, 40, provider_event_id=event_id) for each in (player, stranger)]
    results = await post(pools, *events) if in_one_call else [await post_one(pools, one) for one in events]
    assert [result.code for result in results] == [APPLIED, DIFFERENT]
    assert await sides(owner, player) == both(40)
    assert (await sides(owner, stranger)).legacy_available == 0
    await assert_sound(owner, tenant_id)


async def test_provider_event_of_two_players_at_once_pays_one(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    for _ in range(10):
        players = await make_players(owner, tenant_id, 4)
        event_id = new_key()
        results = await asyncio.gather(
            *(post_one(pools, deposit(player, 40, provider_event_id=event_id)) for player in players)
        )
        assert Counter(result.code for result in results) == {APPLIED: 1, DIFFERENT: 3}
        assert sum([(await sides(owner, player)).legacy_available for player in players]) == 40
    await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Refusals
# ---------------------------------------------------------------------------------------------------------------------


async def test_refusal_is_stored_and_replays_after_a_later_deposit(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=10)
    first = await post_one(pools, hold(player, 40, key="late"))
    assert (first.code, first.is_replay) == (PostCode.INSUFFICIENT_FUNDS, False)
    await post_one(pools, deposit(player, 500))
    again = await post_one(pools, hold(player, 40, key="late"))
    assert (again.code, again.is_replay) == (PostCode.INSUFFICIENT_FUNDS, True)
    assert again.legacy_available_after == 10, "the refusal as it was then"
    assert (await post_one(pools, hold(player, 41, key="late"))).code == DIFFERENT
    assert await count(owner, "ledger_refusals", player) == 1
    assert await sides(owner, player) == both(510)
    await assert_sound(owner, tenant_id)


async def test_refusal_keeps_what_both_sides_would_have_said(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100)
    await post_one(pools, deposit(player, 1))
    await set_legacy(owner, player, available=10)
    await post_one(pools, hold(player, 50))
    cursor = await owner.execute(
        "SELECT code, amount, legacy_available, ledger_available, legacy_ok, ledger_ok, arbiter, wallet_opened "
        "FROM ledger_refusals WHERE player_id = %s",
        (player.id,),
    )
    assert await cursor.fetchall() == [("insufficient_funds", 50, 10, 101, False, True, "legacy", True)]


async def test_hold_that_is_not_there_cannot_be_released(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100)
    await post_one(pools, hold(player, 30))
    assert (await post_one(pools, release(player, 31))).code == PostCode.INSUFFICIENT_HELD
    assert await sides(owner, player) == both(70, 30)
    assert (await post_one(pools, release(player, 30))).code == APPLIED
    assert await sides(owner, player) == both(100)


@pytest.mark.parametrize(
    ("code", "obstacle"),
    [(PostCode.PLAYER_DISABLED, {"is_active": False}), (PostCode.KYC_REQUIRED, {"kyc_status": "pending"})],
)
async def test_refusal_by_a_rule_about_people_is_not_stored(
    owner: Owner, pools: Pools, tenant_id: UUID, code: PostCode, obstacle: dict[str, Any]
) -> None:
    player = await make_player(owner, tenant_id, available=100, **obstacle)
    asked = hold(player, 30, key="patient", is_by_player=True)
    assert (await post_one(pools, asked)).code == code
    assert await sides(owner, player) == unopened(100)
    await owner.execute("UPDATE players SET is_active = TRUE, kyc_status = 'verified' WHERE id = %s", (player.id,))
    assert (await post_one(pools, asked)).code == APPLIED
    assert await sides(owner, player) == both(70, 30)


async def test_rules_about_people_bind_only_what_the_player_asks(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100, is_active=False, kyc_status="rejected")
    assert (await post_one(pools, deposit(player, 5))).code == APPLIED
    assert (await post_one(pools, hold(player, 5))).code == APPLIED


class Undeclared(StrEnum):
    """A type that no declaration names."""

    GIFT = "gift"


def usd(amount_minor: int) -> Money:
    return Money(amount_minor=amount_minor, currency="USD")


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        pytest.param(PostCode.INVALID_EVENT, {"type": Undeclared.GIFT}, id="unknown type"),
        pytest.param(PostCode.INVALID_EVENT, {"money": usd(0)}, id="zero"),
        pytest.param(PostCode.INVALID_EVENT, {"money": usd(-1)}, id="negative"),
        pytest.param(PostCode.INVALID_EVENT, {"type": TransactionType.MANUAL_ADJUSTMENT}, id="accounts not given"),
        pytest.param(PostCode.INVALID_EVENT, {"provider": None}, id="provider not given"),
        pytest.param(
            PostCode.INVALID_EVENT,
            {"debit_account": "house:fees", "credit_account": "player:available"},
            id="accounts of another type",
        ),
        pytest.param(
            PostCode.INVALID_EVENT,
            {"debit_account": "psp:otherpsp:clearing", "credit_account": "player:available"},
            id="account of another provider",
        ),
        pytest.param(PostCode.CURRENCY_MISMATCH, {"money": Money(amount_minor=5, currency="EUR")}, id="currency"),
        pytest.param(PostCode.UNKNOWN_PLAYER, {"player_id": UUID(int=1)}, id="unknown player"),
        pytest.param(PostCode.UNKNOWN_PLAYER, {"tenant_id": UUID(int=1)}, id="unknown tenant"),
        pytest.param(PostCode.BALANCE_OUT_OF_RANGE, {"money": usd(10**18 + 1)}, id="amount beyond range"),
        pytest.param(PostCode.BALANCE_OUT_OF_RANGE, {"money": usd(2**63 - 1)}, id="largest amount"),
    ],
)
async def test_event_that_cannot_be_posted_harms_no_neighbour(
    owner: Owner, pools: Pools, tenant_id: UUID, code: PostCode, changes: dict[str, Any]
) -> None:
    player, neighbour = await make_players(owner, tenant_id, 2, available=100)
    bad = replace(deposit(player, 5), **changes)
    assert (await post_one(pools, bad)).code == code
    results = await post(pools, deposit(neighbour, 7), bad, deposit(neighbour, 8))
    assert [result.code for result in results] == [APPLIED, code, APPLIED]
    assert await sides(owner, player) == unopened(100)
    assert await count(owner, "ledger_refusals", player) == 0
    assert await sides(owner, neighbour) == both(115)
    await assert_sound(owner, tenant_id)


async def test_player_of_another_tenant_is_unknown(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    stranger = await make_player(owner, await make_tenant(owner), available=100)
    result = await post_one(pools, replace(deposit(stranger, 5), tenant_id=tenant_id))
    assert result.code == PostCode.UNKNOWN_PLAYER
    assert await sides(owner, stranger) == unopened(100)


async def test_event_records_who_decided_and_in_which_epoch(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    decided = []
    for enforce in (None, True, False):
        if enforce is not None:
            await set_enforce(owner, tenant_id, enforce)
        result = await post_one(pools, deposit(player, 5))
        decided.append((result.arbiter, result.epoch))
    assert decided == [(Arbiter.LEGACY, 0), (Arbiter.LEDGER, 1), (Arbiter.LEGACY, 2)]
    cursor = await owner.execute(
        "SELECT arbiter, epoch FROM ledger_transactions WHERE player_id = %s ORDER BY wallet_version", (player.id,)
    )
    assert await cursor.fetchall() == decided
