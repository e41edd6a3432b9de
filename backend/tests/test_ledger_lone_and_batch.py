"""One history, sent event by event and in one call, has one outcome.

A lone event of the ordinary kind is decided in statements of its own (ledger_post_v1), all others by the door's batch
machinery (ledger_post_many_v1). Two tenants that are alike live through the same events, one of them in each way.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.app.domain.ledger import LedgerEvent, PostResult, TransactionType
from backend.app.repositories import ledger_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.conftest import Database
from backend.tests.factories import (
    PROVIDER,
    Owner,
    Player,
    Sides,
    connect_owner,
    event,
    make_player,
    make_tenant,
    open_pools,
    post,
    post_one,
    set_global,
    set_legacy,
    sides,
)

# Above the largest amount that is let through; a balance of it is out of range.
ABSURD = 4_000_000_000_000_000_001
HOUSE, AVAILABLE, HELD = "house:adjustment", "player:available", "player:held"
BALANCES = st.sampled_from([0, 40, 100, -5, ABSURD])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Person:
    """A player as both tenants have one."""

    available: int
    held: int
    # "opened", "empty" (a row that was never opened) or "none".
    wallet: str
    # What another system moved after that, behind the ledger's back.
    drift: int
    is_active: bool
    kyc_status: str


PEOPLE = st.builds(
    Person,
    available=BALANCES,
    held=st.sampled_from([0, 0, 30]),
    wallet=st.sampled_from(["opened", "opened", "opened", "empty", "none"]),
    drift=st.sampled_from([0, 0, 25, -15]),
    is_active=st.sampled_from([True, True, True, False]),
    kyc_status=st.sampled_from(["verified", "verified", "pending"]),
)
TYPES = st.sampled_from(
    [
        TransactionType.DEPOSIT_CAPTURED,
        TransactionType.WITHDRAW_REQUESTED,
        TransactionType.WITHDRAW_REQUESTED,
        TransactionType.WITHDRAW_REJECTED,
        TransactionType.WITHDRAW_DISPATCHED,
        TransactionType.WITHDRAW_PAID,
        TransactionType.BACKFILL_ADJUSTMENT,
        TransactionType.BACKFILL_ADJUSTMENT,
    ]
)
# Few keys, hashes and event ids: most of what is sent twice must meet itself.
STEPS = st.fixed_dictionaries(
    {
        "who": st.integers(min_value=0, max_value=1),
        "type_": TYPES,
        "amount": st.sampled_from([1, 7, 40, 60, 100, ABSURD]),
        "key": st.sampled_from(["a", "b", "c", "d", "e", "f"]),
        "provider": st.sampled_from([PROVIDER, PROVIDER, None]),
        "event_id": st.sampled_from([None, "x", "x", "y"]),
        "accounts": st.sampled_from([None, None, (HOUSE, AVAILABLE), (AVAILABLE, HOUSE), (HOUSE, HELD)]),
        "currency": st.sampled_from(["USD", "USD", "USD", "USD", "EUR"]),
        "is_by_player": st.booleans(),
    }
)


def event_of(step: dict[str, Any], players: list[Player]) -> LedgerEvent:
    """The step as an event of one tenant's player; event ids are the provider's, so each tenant has its own."""
    player = players[step["who"]]
    event_id = step["event_id"]
    debit, credit = step["accounts"] or (None, None)
    return event(
        player,
        step["type_"],
        step["amount"],
        key=step["key"],
        currency=step["currency"],
        provider=step["provider"],
        provider_event_id=None if event_id is None else f"{event_id} of {player.tenant_id}",
        debit_account=debit,
        credit_account=credit,
        is_by_player=step["is_by_player"],
    )


def outcome(result: PostResult) -> tuple[Any, ...]:
    """All that was answered but what is drawn by lot, by the clock or by the place in the call."""
    return result._replace(event_no=0, transaction_id=None, recorded_at=None)  # type: ignore[arg-type]


async def make_people(owner: Owner, pools: Pools, people: list[Person], *, enforce: bool) -> list[Player]:
    tenant_id = await make_tenant(owner, enforce_override=enforce)
    players = []
    for person in people:
        player = await make_player(
            owner,
            tenant_id,
            available=person.available,
            held=person.held,
            is_active=person.is_active,
            kyc_status=person.kyc_status,
        )
        if person.wallet == "opened":
            async with pools.transaction() as conn:
                await ledger_repo.open_wallets(conn, tenant_id, player_ids=[player.id])
        elif person.wallet == "empty":
            await owner.execute(
                "INSERT INTO wallet_balances (tenant_id, player_id, currency) VALUES (%s, %s, 'USD')",
                (tenant_id, player.id),
            )
        await set_legacy(owner, player, available=person.available + person.drift)
        players.append(player)
    return players


async def stored(owner: Owner, tenant_id: UUID) -> list[tuple[Any, ...]]:
    """Every row of the tenant's ledger and refusals, in an order that both tenants share."""
    cursor = await owner.execute(
        "SELECT 'moved', type, idempotency_key, amount, wallet_version, debit_account, credit_account, "
        "available_after, pending_after, legacy_available_after, legacy_held_after, arbiter, provider, currency "
        "FROM ledger_transactions WHERE tenant_id = %(tenant_id)s "
        "UNION ALL SELECT 'moved without shadow', type, idempotency_key, amount, 0, NULL, NULL, NULL, "
        "NULL, legacy_available_after, legacy_held_after, NULL, provider, currency "
        "FROM legacy_movements WHERE tenant_id = %(tenant_id)s "
        "UNION ALL SELECT code, type, idempotency_key, amount, 0, NULL, NULL, ledger_available, ledger_pending, "
        "legacy_available, legacy_held, arbiter, NULL, currency FROM ledger_refusals WHERE tenant_id = %(tenant_id)s",
        {"tenant_id": tenant_id},
    )
    return sorted(await cursor.fetchall(), key=repr)


async def live_twice(
    owner: Owner, pools: Pools, people: list[Person], steps: list[dict[str, Any]], *, enforce: bool, shadow: bool
) -> None:
    one_by_one = await make_people(owner, pools, people, enforce=enforce)
    in_one_call = await make_people(owner, pools, people, enforce=enforce)
    await set_global(owner, "ledger_shadow_write", shadow)
    lone = [await post_one(pools, event_of(step, one_by_one)) for step in steps]
    batch = await post(pools, *(event_of(step, in_one_call) for step in steps))
    await set_global(owner, "ledger_shadow_write", None)
    assert [outcome(result) for result in lone] == [outcome(result) for result in batch]
    left: list[list[Sides]] = [[await sides(owner, player) for player in side] for side in (one_by_one, in_one_call)]
    assert left[0] == left[1]
    assert await stored(owner, one_by_one[0].tenant_id) == await stored(owner, in_one_call[0].tenant_id)


def test_history_has_one_outcome_sent_one_by_one_or_in_one_call(new_database: Callable[..., Database]) -> None:
    database = new_database()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        owner = runner.run(stack.enter_async_context(connect_owner(database)))
        pools = runner.run(stack.enter_async_context(open_pools(database)))

        @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(
            people=st.lists(PEOPLE, min_size=2, max_size=2),
            steps=st.lists(STEPS, min_size=2, max_size=14),
            enforce=st.booleans(),
            shadow=st.sampled_from([True, True, True, False]),
        )
        def run(people: list[Person], steps: list[dict[str, Any]], enforce: bool, shadow: bool) -> None:
            runner.run(live_twice(owner, pools, people, steps, enforce=enforce, shadow=shadow))

        try:
            run()
        finally:
            runner.run(stack.aclose())
