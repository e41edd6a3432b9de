"""Many events in one call: journals, limits, running balances, and one tenant's trouble that stays its own."""

import random
from uuid import UUID, uuid4

import psycopg
import pytest

from backend.app.domain.ledger import Arbiter, LedgerEvent, PostCode, TransactionType
from backend.app.repositories import ledger_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.factories import (
    Owner,
    Player,
    Sides,
    both,
    count,
    deposit,
    event,
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
)
from backend.tests.invariants import assert_sound

APPLIED, EXISTS, DIFFERENT = PostCode.APPLIED, PostCode.EXISTS, PostCode.EXISTS_DIFFERENT


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


def returned(player: Player, amount: int, *, key: str) -> list[LedgerEvent]:
    """A payout that came back, credited again: two transfers through a house account, all or none."""
    journal_id = uuid4()
    legs = (("psp:mockpsp:clearing", "house:returns"), ("house:returns", "player:available"))
    return [
        event(
            player,
            TransactionType.WITHDRAW_RETURNED,
            amount,
            key=f"{key}:{number}",
            provider="mockpsp",
            debit_account=debit,
            credit_account=credit,
            journal_id=journal_id,
        )
        for number, (debit, credit) in enumerate(legs, start=1)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Journals
# ---------------------------------------------------------------------------------------------------------------------


async def test_journal_is_posted_whole_and_replays_whole(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100)
    lines = returned(player, 30, key="r")
    first = await post(pools, *lines)
    again = await post(pools, *lines)
    assert [result.code for result in first] == [APPLIED, APPLIED]
    assert [result.ledger_available_after for result in first] == [100, 130]
    assert [result.code for result in again] == [EXISTS, EXISTS]
    assert [result.transaction_id for result in again] == [result.transaction_id for result in first]
    assert await sides(owner, player) == both(130)
    await assert_sound(owner, tenant_id)


async def test_journal_with_a_refused_line_moves_nothing_and_says_which(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player, neighbour = await make_players(owner, tenant_id, 2, available=100)
    journal_id = uuid4()
    lines = [hold(player, amount, key=f"j{amount}", journal_id=journal_id) for amount in (60, 50)]
    results = await post(pools, *lines, deposit(neighbour, 1))
    assert [result.code for result in results] == [PostCode.JOURNAL_REFUSED, PostCode.INSUFFICIENT_FUNDS, APPLIED]
    assert await sides(owner, player) == both(100)
    await post_one(pools, deposit(player, 500))
    again = await post(pools, *lines)
    assert [result.code for result in again] == [PostCode.JOURNAL_REFUSED, PostCode.INSUFFICIENT_FUNDS]
    assert await sides(owner, player) == both(600)
    assert await ledger_types(owner, player) == ["opening_balance", "deposit_captured"]
    await assert_sound(owner, tenant_id)


async def test_journal_with_an_invalid_line_moves_nothing(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100)
    journal_id = uuid4()
    results = await post(
        pools, hold(player, 10, journal_id=journal_id), hold(player, 0, journal_id=journal_id), deposit(player, 1)
    )
    assert [result.code for result in results] == [PostCode.JOURNAL_REFUSED, PostCode.INVALID_EVENT, APPLIED]
    assert await sides(owner, player) == both(101)


async def test_journal_may_spend_what_it_brought(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    journal_id = uuid4()
    results = await post(pools, deposit(player, 50, journal_id=journal_id), hold(player, 50, journal_id=journal_id))
    assert [result.code for result in results] == [APPLIED, APPLIED]
    assert await sides(owner, player) == both(0, 50)


# ---------------------------------------------------------------------------------------------------------------------
# Many at once
# ---------------------------------------------------------------------------------------------------------------------


async def test_running_balance_is_exact_over_many_events_of_one_wallet(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=1000)
    random_events = random.Random(20250101)
    events, expected = [], []
    available, held = 1000, 0
    for _ in range(300):
        amount = random_events.randint(1, 700)
        make = random_events.choice((deposit, hold, release))
        change = {deposit: (amount, 0), hold: (-amount, amount), release: (amount, -amount)}[make]
        events.append(make(player, amount))
        is_covered = available + min(change[0], 0) >= 0 and held + min(change[1], 0) >= 0
        if is_covered:
            available, held = available + change[0], held + change[1]
        expected.append((is_covered, available, held))
    results = await post(pools, *events)
    assert [
        (result.code == APPLIED, result.ledger_available_after, result.ledger_pending_after) for result in results
    ] == expected
    assert len({is_covered for is_covered, *_ in expected}) == 2, "the sequence has both outcomes"
    assert await sides(owner, player) == both(available, held)
    await assert_sound(owner, tenant_id, with_withdrawals=False)


async def test_thousand_events_are_one_call_and_one_more_is_refused_whole(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    players = await make_players(owner, tenant_id, 3)
    events = [deposit(players[number % 3], 1) for number in range(ledger_repo.EVENTS_MAX)]
    async with pools.connection() as conn:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            await ledger_repo.post(conn, [*events, deposit(players[0], 1)])
    assert [await count(owner, "ledger_transactions", player) for player in players] == [0, 0, 0]
    results = await post(pools, *events)
    assert {result.code for result in results} == {APPLIED}
    assert [await sides(owner, player) for player in players] == [both(334), both(333), both(333)]
    await assert_sound(owner, tenant_id)


async def test_no_events_is_no_call(pools: Pools) -> None:
    assert await post(pools) == []


async def test_each_tenant_of_one_call_is_judged_by_its_own_arbiter(owner: Owner, pools: Pools) -> None:
    tenants = [await make_tenant(owner), await make_tenant(owner)]
    players = [await make_player(owner, tenant_id, available=100) for tenant_id in tenants]
    for player in players:
        await post_one(pools, deposit(player, 1))
        await set_legacy(owner, player, available=0)
    await set_enforce(owner, tenants[1], True)
    results = await post(pools, *(hold(player, 50) for player in players), *(deposit(player, 9) for player in players))
    assert [(result.arbiter, result.epoch, result.code) for result in results] == [
        (Arbiter.LEGACY, 0, PostCode.INSUFFICIENT_FUNDS),
        (Arbiter.LEDGER, 1, APPLIED),
        (Arbiter.LEGACY, 0, APPLIED),
        (Arbiter.LEDGER, 1, APPLIED),
    ]
    assert await sides(owner, players[0]) == Sides(9, 0, 110, 0), "each side moves by the same amount"
    assert await sides(owner, players[1]) == both(60, 50), "the legacy column follows the arbiter"
    for tenant_id in tenants:
        await assert_sound(owner, tenant_id, with_withdrawals=False, with_legacy=tenant_id == tenants[1])


# ---------------------------------------------------------------------------------------------------------------------
# Numbers at the edge
# ---------------------------------------------------------------------------------------------------------------------


async def test_balance_stops_growing_before_it_can_overflow(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player, neighbour = await make_players(owner, tenant_id, 2)
    results = await post(pools, *(deposit(player, 10**18) for _ in range(7)), deposit(neighbour, 1))
    codes = [result.code for result in results]
    assert codes == [APPLIED] * 5 + [PostCode.BALANCE_OUT_OF_RANGE] * 2 + [APPLIED]
    assert await sides(owner, player) == both(5 * 10**18)
    assert await sides(owner, neighbour) == both(1)
    await assert_sound(owner, tenant_id)


@pytest.mark.parametrize(
    "legacy",
    [
        2**63 - 1,
        4 * 10**18 + 1,
        -(2**63) + 1,
        -(2**63),
    ],
)
async def test_absurd_legacy_balance_harms_only_its_own_player(
    owner: Owner, pools: Pools, tenant_id: UUID, legacy: int
) -> None:
    player, neighbour = await make_players(owner, tenant_id, 2)
    await set_legacy(owner, player, available=legacy)
    results = await post(pools, hold(player, 1), deposit(neighbour, 1), deposit(player, 1))
    assert [result.code for result in results] == [
        PostCode.BALANCE_OUT_OF_RANGE,
        APPLIED,
        PostCode.BALANCE_OUT_OF_RANGE,
    ]
    assert (await sides(owner, player)).legacy_available == legacy
    assert await sides(owner, neighbour) == both(1)


async def test_journal_beyond_range_is_refused_and_harms_no_neighbour(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player, neighbour = await make_players(owner, tenant_id, 2)
    journal_id = uuid4()
    lines = [deposit(player, 10**18, journal_id=journal_id) for _ in range(12)]
    results = await post(pools, *lines, deposit(neighbour, 1))
    assert results[-1].code == APPLIED
    assert PostCode.BALANCE_OUT_OF_RANGE in {result.code for result in results[:-1]}
    assert APPLIED not in {result.code for result in results[:-1]}
    assert await sides(owner, neighbour) == both(1)


async def test_second_twin_of_an_event_that_was_not_stored_replays_the_first(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id)
    euro = deposit(player, 40, key="a", currency="EUR")
    results = await post(pools, euro, deposit(player, 40, key="a"), deposit(player, 40, key="a"))
    assert [result.code for result in results] == [PostCode.CURRENCY_MISMATCH, APPLIED, EXISTS]
    assert await sides(owner, player) == both(40)


async def test_twin_by_key_and_by_provider_event_is_found_by_either(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id)
    event_id = new_key()
    results = await post(
        pools,
        deposit(player, 40, key="a", currency="EUR"),
        deposit(player, 40, key="b", provider_event_id=event_id),
        deposit(player, 40, key="a", provider_event_id=event_id),
    )
    assert [result.code for result in results] == [PostCode.CURRENCY_MISMATCH, APPLIED, EXISTS]
    assert await sides(owner, player) == both(40)


async def test_key_written_later_in_the_call_does_not_answer_for_an_earlier_line(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id)
    one, other = new_key(), new_key()
    # The second is known by its provider event alone: its key is written by the third.
    first, by_event, third = await post(
        pools,
        deposit(player, 10, key="a", provider_event_id=one),
        deposit(player, 10, key="b", provider_event_id=one),
        deposit(player, 99, key="b", provider_event_id=other),
    )
    assert [first.code, by_event.code, third.code] == [APPLIED, EXISTS, APPLIED]
    assert by_event.transaction_id == first.transaction_id
    assert await sides(owner, player) == both(109)


async def test_event_id_without_a_provider_makes_no_twins(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    accounts = {"debit_account": "house:adjustment", "credit_account": "player:available"}
    event_id = new_key()
    results = await post(
        pools,
        *(
            event(player, TransactionType.BACKFILL_ADJUSTMENT, 10, provider_event_id=event_id, **accounts)
            for _ in range(2)
        ),
    )
    assert [result.code for result in results] == [APPLIED, APPLIED]
    assert await sides(owner, player) == both(20)


async def test_provider_event_that_was_refused_is_decided_anew_under_another_key(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id)
    provider_event = {"provider": "mockpsp", "provider_event_id": new_key()}
    results = await post(pools, hold(player, 5, **provider_event), deposit(player, 7, **provider_event))
    assert [result.code for result in results] == [PostCode.INSUFFICIENT_FUNDS, APPLIED]
    assert await sides(owner, player) == both(7)


@pytest.mark.parametrize("known", [1, 2])
async def test_journal_of_which_one_line_is_known_answers_every_line_and_moves_nothing(
    owner: Owner, pools: Pools, tenant_id: UUID, known: int
) -> None:
    player = await make_player(owner, tenant_id, available=100)
    lines = [hold(player, 10, key=f"line{number}", journal_id=uuid4()) for number in (1, 2)]
    await post_one(pools, lines[known - 1])
    journal_id = uuid4()
    again = [hold(player, 10, key=f"line{number}", journal_id=journal_id) for number in (1, 2)]
    results = await post(pools, *again)
    assert len(results) == 2, "one answer per event"
    assert APPLIED not in {result.code for result in results}
    assert await sides(owner, player) == both(90, 10)
