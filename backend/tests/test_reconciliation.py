"""A provider that drops, repeats, alters, delays and returns, among many payments that are right: found exactly."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from backend.app.domain.money import Money
from backend.app.domain.reconciliation import RunStatus
from backend.app.psp.adapter import Done, RefundRequest
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories.database import Database as Pools
from backend.tests.conftest import Database
from backend.tests.factories import Owner
from backend.tests.invariants import assert_sound
from backend.tests.reconciliation_world import World, make_world, own_psp

EACH = 5
GOOD = 100


@pytest.fixture(scope="module")
async def psp(database: Database) -> AsyncIterator[MockPsp]:
    async with own_psp(database) as adapter:
        yield adapter


@pytest.fixture
async def world(owner: Owner, pools: Pools, psp: MockPsp) -> AsyncIterator[World]:
    async with make_world(owner, pools, psp) as made:
        yield made


async def test_what_agrees_is_silent(world: World) -> None:
    await world.deposit(GOOD)
    run = await world.run()
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert run.counts["matched"] == GOOD
    assert await world.found() == Counter()
    again = await world.run()
    assert (again.status, again.counts["matched"], await world.found()) == (RunStatus.COMPLETED, 0, Counter())


async def plant(world: World) -> tuple[Counter[str], dict[str, set[object]]]:
    """Everything at once; how many of each type there are to be found, and about which payments."""
    ids = await world.deposit(GOOD + 7 * EACH)
    groups = [ids[GOOD + number * EACH : GOOD + (number + 1) * EACH] for number in range(7)]
    dropped, repeated, amount, currency, status, delayed, returned = groups
    await world.drop(dropped)
    for number, each in enumerate(repeated):
        await world.order_again(each, amount=1000 + number)
    await world.alter(amount, "amount = amount + 1")
    await world.alter(currency, "currency = 'EUR'")
    await world.alter(status, "status = 'failed'")
    await world.alter(delayed, "occurred_at = occurred_at + INTERVAL '3 days'")
    for each in returned:
        await give_back(world, each)
    # Captured at the provider, and nobody told us.
    unheard = await world.deposit(EACH, method="mock:pending")
    planted: dict[str, set[object]] = {
        "missing_in_psp": {*dropped, *delayed},
        "duplicate_in_psp": set(repeated),
        "amount_mismatch": set(amount),
        "currency_mismatch": set(currency),
        "status_mismatch": set(status),
        "returned_after_paid": set(returned),
        "missing_in_ledger": set(unheard),
    }
    return Counter({name: len(each) for name, each in planted.items()}), planted


async def give_back(world: World, deposit_id: object) -> None:
    """The provider gives a deposit back, and does not tell."""
    row = await (
        await world.owner.execute("SELECT provider_ref, amount FROM deposits WHERE id = %s", (deposit_id,))
    ).fetchone()
    assert row is not None
    outcome = await world.psp.refund_deposit(
        RefundRequest(
            account_id=world.account_id,
            payment_ref=row[0],
            money=Money(amount_minor=row[1], currency="USD"),
            idempotency_key=f"back_{deposit_id}",
        )
    )
    assert isinstance(outcome, Done), outcome


async def test_everything_planted_is_found_and_nothing_else(world: World) -> None:
    expected, planted = await plant(world)
    run = await world.run()
    assert run.status is RunStatus.COMPLETED or run.status == "completed", run
    assert await world.found() == expected
    for finding_type, payments in planted.items():
        assert await world.subjects(finding_type) == payments, finding_type
    assert run.counts["opened"] == dict(expected)
    # Again, and in full: nothing new.
    for command in ({}, {"is_full": True}):
        again = await world.run(**command)
        assert (again.status, again.counts["opened"], again.counts["reopened"]) == ("completed", {}, {})
        assert again.counts["auto_cleared"] == {}
        assert await world.found() == expected
    await assert_sound(world.owner, world.tenant_id)
