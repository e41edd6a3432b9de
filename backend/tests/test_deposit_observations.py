"""What a provider says of a deposit, by answer, webhook or poll: in any order and any number of times, one end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.app.domain.money import Money
from backend.app.domain.payments.deposit_observation import CHECKS_BEFORE_LOST, LOST_CODE
from backend.app.psp.adapter import Done, Unknown
from backend.app.repositories import withdrawal_repo
from backend.tests.conftest import Server
from backend.tests.factories import (
    Player,
    both,
    deposit,
    deposit_command,
    ledger_types,
    make_player,
    make_tenant,
    post_one,
    set_legacy,
    sides,
    unopened,
    withdrawal,
)
from backend.tests.invariants import assert_sound
from backend.tests.psp_desk import Desk, Told, account_of, in_turn, open_desk, payment_id


@pytest.fixture(scope="module")
async def desk(server: Server) -> AsyncIterator[Desk]:
    database = server.create()
    async with open_desk(database) as opened:
        yield opened
    server.drop(database)


@pytest.fixture
async def tenant_id(desk: Desk) -> UUID:
    tenant_id = await make_tenant(desk.owner)
    await desk.make_account(tenant_id, account_of(tenant_id))
    return tenant_id


@pytest.fixture
async def player(desk: Desk, tenant_id: UUID) -> Player:
    return await make_player(desk.owner, tenant_id)


def told(type_: str, deposit_id: UUID, player: Player, **fields: object) -> Told:
    return Told(type=type_, deposit_id=deposit_id, account=account_of(player.tenant_id), **fields)  # type: ignore[arg-type]  # as Told has them


# ---------------------------------------------------------------------------------------------------------------------
# One end
# ---------------------------------------------------------------------------------------------------------------------


ORDERS = st.lists(st.integers(0, 3), min_size=4, max_size=9).filter(lambda order: set(order) == {0, 1, 2, 3})


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(order=ORDERS, with_refund=st.booleans())
async def test_any_order_and_any_number_of_times_ends_alike(desk: Desk, order: list[int], with_refund: bool) -> None:
    tenant_id = await make_tenant(desk.owner)
    player = await make_player(desk.owner, tenant_id, available=5_00)
    deposit_id = await desk.open_deposit(player)
    tellings = [
        told("deposit.pending", deposit_id, player, sequence=1),
        told("deposit.captured", deposit_id, player, sequence=2),
        # Another event of the same capture, as a provider sends that repeats itself under a new name.
        told("deposit.captured", deposit_id, player, sequence=2),
        told("deposit.refunded" if with_refund else "deposit.pending", deposit_id, player, sequence=3),
    ]
    await desk.tell(*in_turn(tellings, order))
    types = ["opening_balance", "deposit_captured"]
    if with_refund:
        assert await desk.deposit_state(deposit_id) == "refunded"
        assert await sides(desk.owner, player) == both(5_00)
        assert await ledger_types(desk.owner, player) == [*types, "deposit_refunded"]
    else:
        assert await desk.deposit_state(deposit_id) == "completed"
        assert await sides(desk.owner, player) == both(15_00)
        assert await ledger_types(desk.owner, player) == types
    cursor = await desk.owner.execute("SELECT status_class FROM deposits WHERE id = %s", (deposit_id,))
    assert await cursor.fetchone() == ("reversed" if with_refund else "success",)
    assert await desk.findings(tenant_id) == []
    await assert_sound(desk.owner, tenant_id)


@pytest.mark.parametrize("first", ["deposit.captured", "deposit.failed"])
async def test_what_contradicts_a_final_state_is_a_finding_and_moves_nothing(
    desk: Desk, player: Player, first: str
) -> None:
    deposit_id = await desk.open_deposit(player)
    (second,) = {"deposit.captured", "deposit.failed"} - {first}
    await desk.tell(told(first, deposit_id, player))
    before = await sides(desk.owner, player)
    await desk.tell(told(second, deposit_id, player))
    assert await sides(desk.owner, player) == before
    assert await desk.deposit_state(deposit_id) == {"deposit.captured": "completed"}.get(first, "failed")
    # Money that is at the provider and not with us is worse than the other way round.
    severity = "high" if first == "deposit.captured" else "critical"
    assert await desk.findings(player.tenant_id) == [("status_mismatch", severity)]
    await assert_sound(desk.owner, player.tenant_id)


@pytest.mark.parametrize(
    ("fields", "finding"), [({"amount": 9_99}, "amount_mismatch"), ({"currency": "EUR"}, "currency_mismatch")]
)
@pytest.mark.parametrize("is_first", [True, False])
async def test_other_money_than_asked_for_credits_nothing(
    desk: Desk, player: Player, fields: dict[str, object], finding: str, is_first: bool
) -> None:
    deposit_id = await desk.open_deposit(player)
    right, wrong = told("deposit.captured", deposit_id, player), told("deposit.captured", deposit_id, player, **fields)
    if is_first:
        await desk.tell(wrong)
        assert await desk.deposit_state(deposit_id) == "pending_provider"
        assert await sides(desk.owner, player) == unopened(0)
        await desk.tell(right)
    else:
        await desk.tell(right, wrong)
    assert await desk.findings(player.tenant_id) == [(finding, "critical")]
    assert await sides(desk.owner, player) == both(10_00), "what was right was credited once"
    await assert_sound(desk.owner, player.tenant_id)


async def test_capture_under_a_second_name_is_a_double_payment(desk: Desk, player: Player) -> None:
    deposit_id = await desk.open_deposit(player)
    await desk.tell(
        told("deposit.captured", deposit_id, player), told("deposit.captured", deposit_id, player, payment="pay_other")
    )
    assert await desk.findings(player.tenant_id) == [("duplicate_in_psp", "critical")]
    assert await sides(desk.owner, player) == both(10_00)


# ---------------------------------------------------------------------------------------------------------------------
# Refunds
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enforced", [False, True])
@pytest.mark.parametrize("left", [0, 3_00])
async def test_refund_of_spent_money_takes_what_is_there_and_the_house_gives_the_rest(
    desk: Desk, enforced: bool, left: int
) -> None:
    tenant_id = await make_tenant(desk.owner, enforce_override=enforced)
    player = await make_player(desk.owner, tenant_id)
    deposit_id = await desk.open_deposit(player)
    await desk.tell(told("deposit.captured", deposit_id, player))
    async with desk.pools.connection() as conn:
        await withdrawal_repo.request(conn, [withdrawal(player, 10_00 - left)])
    refund = told("deposit.refunded", deposit_id, player)
    await desk.tell(refund, refund, replace(refund, event_id="evt_again_" + deposit_id.hex))
    assert await desk.deposit_state(deposit_id) == "refunded"
    assert await sides(desk.owner, player) == both(0, 10_00 - left)
    cursor = await desk.owner.execute(
        "SELECT debit_account, credit_account, amount FROM ledger_transactions "
        "WHERE player_id = %s AND type = 'deposit_refunded' ORDER BY wallet_version",
        (player.id,),
    )
    lines = [("house:returns", "psp:mockpsp:clearing", 10_00 - left)]
    if left:
        lines.insert(0, ("player:available", "psp:mockpsp:clearing", left))
    assert await cursor.fetchall() == lines
    assert await desk.findings(tenant_id) == [("returned_after_paid", "high")]
    await assert_sound(desk.owner, tenant_id)


async def test_refund_is_judged_by_the_arbiter_and_not_by_the_shadow(desk: Desk) -> None:
    tenant_id = await make_tenant(desk.owner, enforce_override=True)
    player = await make_player(desk.owner, tenant_id)
    deposit_id = await desk.open_deposit(player)
    await desk.tell(told("deposit.captured", deposit_id, player))
    await set_legacy(desk.owner, player, available=2_00)
    await desk.tell(told("deposit.refunded", deposit_id, player))
    assert await sides(desk.owner, player) == both(0)
    assert await desk.findings(tenant_id) == []


async def test_partial_refund_is_for_a_person(desk: Desk, player: Player) -> None:
    deposit_id = await desk.open_deposit(player)
    await desk.tell(
        told("deposit.captured", deposit_id, player), told("deposit.refunded", deposit_id, player, amount=4_00)
    )
    assert await desk.deposit_state(deposit_id) == "completed"
    assert await sides(desk.owner, player) == both(10_00)
    assert await desk.findings(player.tenant_id) == [("amount_mismatch", "critical")]


# ---------------------------------------------------------------------------------------------------------------------
# Answers and webhooks
# ---------------------------------------------------------------------------------------------------------------------


async def test_webhook_before_the_answer_and_the_answer_have_one_effect(desk: Desk, player: Player) -> None:
    command = deposit_command(player, 10_00)
    desk.psp.outcome = Unknown(reason="timeout")
    first = await desk.deposits.deposit(command)
    assert first.deposit.state == "pending_provider"
    await desk.tell(told("deposit.captured", first.deposit.id, player))
    desk.psp.outcome = None
    again = await desk.deposits.deposit(command)
    assert (again.is_replay, again.deposit.state, again.balance.available_minor) == (True, "completed", 10_00)
    assert await sides(desk.owner, player) == both(10_00)
    await assert_sound(desk.owner, player.tenant_id)


async def test_answer_and_webhook_at_once_wait_for_each_other_without_a_deadlock(desk: Desk, player: Player) -> None:
    command = deposit_command(player, 10_00)
    deposit_id = (await desk.deposits.deposit(command)).deposit.id
    receipt = await desk.deliver(told("deposit.captured", deposit_id, player))
    desk.psp.outcome = done(deposit_id, 10_00)
    # Both reach the deposit's row while a third holds it, and go on together when it lets go.
    try:
        async with desk.owner.transaction():
            await desk.owner.execute("SELECT 1 FROM deposits WHERE id = %s FOR UPDATE", (deposit_id,))
            answering = asyncio.create_task(desk.deposits.deposit(command))
            applying = asyncio.create_task(desk.inbox.apply([receipt.event_id]))
            await desk.until_blocked(2)
        answer, is_applied = await asyncio.gather(answering, applying)
    finally:
        desk.psp.outcome = None
    assert (answer.deposit.state, is_applied) == ("completed", True)
    assert await ledger_types(desk.owner, player) == ["deposit_captured"]
    assert (await desk.row(receipt.event_id))["attempts"] == 1, "no try was lost to a deadlock"
    await assert_sound(desk.owner, player.tenant_id)


async def test_contradicting_events_at_once_are_one_effect_and_one_finding(desk: Desk, player: Player) -> None:
    deposit_id = await desk.open_deposit(player)
    receipts = [await desk.deliver(told(type_, deposit_id, player)) for type_ in ("deposit.captured", "deposit.failed")]
    async with desk.owner.transaction():
        await desk.owner.execute("SELECT 1 FROM deposits WHERE id = %s FOR UPDATE", (deposit_id,))
        applying = [asyncio.create_task(desk.inbox.apply([receipt.event_id])) for receipt in receipts]
        await desk.until_blocked(2)
    assert await asyncio.gather(*applying) == [1, 1]
    is_captured = await desk.deposit_state(deposit_id) == "completed"
    assert (await sides(desk.owner, player)) == (both(10_00) if is_captured else unopened(0))
    assert [kind for kind, _ in await desk.findings(player.tenant_id)] == ["status_mismatch"]
    await assert_sound(desk.owner, player.tenant_id)


async def test_answer_with_other_money_credits_nothing(desk: Desk, player: Player) -> None:
    command = deposit_command(player, 10_00)
    desk.psp.outcome = done(command.deposit_id, 9_99)
    try:
        answer = await desk.deposits.deposit(command)
    finally:
        desk.psp.outcome = None
    assert (answer.deposit.state, answer.balance.available_minor) == ("pending_provider", 0)
    assert await desk.findings(player.tenant_id) == [("amount_mismatch", "critical")]
    assert await sides(desk.owner, player) == unopened(0)


async def test_event_that_moved_other_money_is_a_finding(desk: Desk, player: Player) -> None:
    stranger = await make_player(desk.owner, await make_tenant(desk.owner))
    deposit_id = await desk.open_deposit(player)
    capture = told("deposit.captured", deposit_id, player)
    await post_one(
        desk.pools,
        deposit(stranger, 7, provider_event_id=capture.event_id),
    )
    await desk.tell(capture)
    assert await desk.findings(player.tenant_id) == [("duplicate_in_ledger", "critical")]
    assert (await desk.deposit_state(deposit_id), await sides(desk.owner, player)) == ("pending_provider", unopened(0))


# ---------------------------------------------------------------------------------------------------------------------
# Asking
# ---------------------------------------------------------------------------------------------------------------------


async def test_open_deposit_is_asked_about_less_and_less_often(desk: Desk, player: Player) -> None:
    deposit_id = await desk.open_deposit(player)
    desk.psp.truth[payment_id(deposit_id)] = told("deposit.pending", deposit_id, player).event
    row = await (await desk.owner.execute("SELECT created_at FROM deposits WHERE id = %s", (deposit_id,))).fetchone()
    assert row is not None
    now: datetime = row[0]
    waits = []
    for seconds in (30, 120, 600, 3600, 6 * 3600, 86_400, 86_400):
        just_before = now + timedelta(seconds=seconds) - timedelta(milliseconds=1)
        assert not await asked_at(desk, deposit_id, now=just_before), seconds
        now += timedelta(seconds=seconds)
        waits.append(await asked_at(desk, deposit_id, now=now))
    assert waits == [True] * 7
    desk.psp.truth[payment_id(deposit_id)] = told("deposit.captured", deposit_id, player).event
    assert await asked_at(desk, deposit_id, now=now + timedelta(days=1))
    assert await sides(desk.owner, player) == both(10_00)
    assert not await asked_at(desk, deposit_id, now=now + timedelta(days=30)), "nothing is left to ask"


async def test_of_several_pollers_one_asks(desk: Desk, player: Player) -> None:
    deposit_id = await desk.open_deposit(player)
    later = datetime.now(UTC) + timedelta(minutes=1)
    before = desk.psp.asked.count(payment_id(deposit_id))
    await asyncio.gather(*(desk.deposits.resolve_due(now=later, limit=1000) for _ in range(5)))
    assert desk.psp.asked.count(payment_id(deposit_id)) == before + 1


async def test_deposit_that_the_provider_never_heard_of_fails_in_the_end(desk: Desk, player: Player) -> None:
    desk.psp.outcome = Unknown(reason="timeout")
    deposit_id = await desk.open_deposit(player)
    desk.psp.outcome = None
    now = datetime.now(UTC)
    for check in range(CHECKS_BEFORE_LOST + 1):
        assert await desk.deposit_state(deposit_id) == "pending_provider", check
        now += timedelta(days=2)
        await desk.deposits.resolve_due(now=now, limit=1000)
    assert await desk.deposit_state(deposit_id) == "failed"
    cursor = await desk.owner.execute("SELECT failure_code FROM deposits WHERE id = %s", (deposit_id,))
    assert await cursor.fetchone() == (LOST_CODE,)
    assert await sides(desk.owner, player) == unopened(0)


async def test_no_answer_is_no_failure(desk: Desk, player: Player) -> None:
    deposit_id = await desk.open_deposit(player)
    desk.psp.truth[payment_id(deposit_id)] = Unknown(reason="status_503")
    now = datetime.now(UTC)
    for _ in range(CHECKS_BEFORE_LOST + 3):
        now += timedelta(days=2)
        await desk.deposits.resolve_due(now=now, limit=1000)
    assert await desk.deposit_state(deposit_id) == "pending_provider"


async def asked_at(desk: Desk, deposit_id: UUID, *, now: datetime) -> bool:
    before = desk.psp.asked.count(payment_id(deposit_id))
    await desk.deposits.resolve_due(now=now, limit=1000)
    return desk.psp.asked.count(payment_id(deposit_id)) > before


def done(deposit_id: UUID, amount: int) -> Done:
    return Done(
        provider_ref=payment_id(deposit_id),
        provider_event_id=f"ans_{deposit_id.hex}",
        occurred_at=datetime.now(UTC),
        money=Money(amount_minor=amount, currency="USD"),
        sequence=2,
    )
