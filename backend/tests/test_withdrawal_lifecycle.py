"""The life of a withdrawal: every state and every action, over HTTP and as a rule, with both sides before and after."""

from collections import Counter
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.app.domain.money import Money
from backend.app.domain.payments.finance import LedgerRefused
from backend.app.domain.payments.psp_event import Effect
from backend.app.domain.payments.withdrawal_lifecycle import (
    ADMIN_ACTIONS,
    TRANSITIONS,
    Action,
    FourEyesRequired,
    InvalidStateTransition,
    NoPayoutProvider,
    Standing,
    allowed_actions,
    approvals_needed,
    plan_action,
)
from backend.app.domain.withdrawal import WithdrawalState
from backend.tests.factories import Owner, both, ledger_types, make_player, make_tenant, set_enforce, set_legacy, sides
from backend.tests.finance_desk import AMOUNT, AMOUNT_OF_TWO, BALANCE, FINANCE, THRESHOLD, Desk, reference
from backend.tests.fixtures import assert_problem
from backend.tests.invariants import assert_sound

STATES = tuple(state.value for state in WithdrawalState)
ACTIONS = ("approve", "reject", "cancel", "mark_paid", "mark_paid_manually", "retry")
OPEN = ("requested", "awaiting_second_approval", "approved", "processing", "failed")

# Written down once more, as the design has it: the rule under test does not judge itself.
LEADS_TO = {
    ("requested", "approve"): "approved",
    ("requested", "reject"): "rejected",
    ("requested", "cancel"): "cancelled",
    ("awaiting_second_approval", "approve"): "approved",
    ("awaiting_second_approval", "reject"): "rejected",
    ("approved", "cancel"): "cancelled",
    ("approved", "mark_paid"): "paid",
    ("approved", "mark_paid_manually"): "paid",
    ("failed", "retry"): "approved",
    ("failed", "cancel"): "cancelled",
}
POSTS = {
    ("requested", "reject"): ["withdraw_rejected"],
    ("requested", "cancel"): ["withdraw_cancelled"],
    ("awaiting_second_approval", "reject"): ["withdraw_rejected"],
    ("approved", "cancel"): ["withdraw_cancelled"],
    ("approved", "mark_paid"): ["withdraw_dispatched", "withdraw_paid"],
    ("approved", "mark_paid_manually"): ["withdraw_dispatched", "withdraw_paid"],
    ("failed", "cancel"): ["withdraw_failed"],
}


def balances(state: str, amount: int) -> tuple[int, int]:
    """(available, held) of a player with one withdrawal in a state."""
    if state in OPEN:
        return BALANCE - amount, amount
    return (BALANCE - amount, 0) if state == "paid" else (BALANCE, 0)


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------


async def test_the_database_has_the_same_table(owner: Owner) -> None:
    cursor = await owner.execute("SELECT from_state, action, to_state, ledger_types FROM withdrawal_transitions")
    assert {row[:2]: row[2:] for row in await cursor.fetchall()} == {
        (state.value, action.value): (each.to_state.value, [type_.value for type_ in each.ledger_types])
        for (state, action), each in TRANSITIONS.items()
    }


def test_no_state_is_a_trap_and_final_ones_are_final() -> None:
    leave = {state for state, _ in TRANSITIONS}
    assert set(WithdrawalState) - leave == {
        WithdrawalState.REJECTED,
        WithdrawalState.CANCELLED,
        WithdrawalState.RETURNED,
    }


@pytest.mark.parametrize(
    ("amount_minor", "currency", "threshold", "needed"),
    [
        (49_99, "USD", "50", 1),
        (50_00, "USD", "50", 2),
        (50_00, "USD", "50.005", 1),
        (50_01, "USD", "50.005", 2),
        (49, "JPY", "50", 1),
        (50, "JPY", "50", 2),
        (49_999, "KWD", "50", 1),
        (50_000, "KWD", "50", 2),
        (10**15, "USD", "9999999999999.999", 2),
        (10**15, "USD", "10000000000000.001", 1),
        (10**15, "USD", None, 1),
    ],
)
def test_threshold_is_exact_at_the_exponent(
    amount_minor: int, currency: str, threshold: str | None, needed: int
) -> None:
    money = Money(amount_minor=amount_minor, currency=currency)
    assert approvals_needed(money, threshold=None if threshold is None else Decimal(threshold)) == needed


def standing(state: WithdrawalState, *, first: UUID | None = None, method: str = "test_bank") -> Standing:
    return Standing(
        state=state,
        version=3,
        method=method,
        money=Money(amount_minor=AMOUNT_OF_TWO, currency="USD"),
        approvals_needed=1 if first is None else 2,
        first_approved_by=first,
    )


def test_first_approver_is_not_offered_the_second_approval() -> None:
    first, other = uuid4(), uuid4()
    awaiting = standing(WithdrawalState.AWAITING_SECOND_APPROVAL, first=first)
    assert allowed_actions(awaiting, admin_id=first, threshold=THRESHOLD) == (Action.REJECT,)
    assert allowed_actions(awaiting, admin_id=other, threshold=THRESHOLD) == (Action.APPROVE, Action.REJECT)
    with pytest.raises(FourEyesRequired):
        plan_action(awaiting, Action.APPROVE, admin_id=first, threshold=THRESHOLD)
    # Nobody talks the second pair of eyes away once it is asked for.
    assert plan_action(awaiting, Action.APPROVE, admin_id=other, threshold=None) is Action.APPROVE
    with pytest.raises(FourEyesRequired):
        plan_action(awaiting, Action.APPROVE, admin_id=first, threshold=None)


def test_legacy_hold_has_no_provider() -> None:
    approved = standing(WithdrawalState.APPROVED, first=uuid4(), method="legacy_hold")
    assert allowed_actions(approved, admin_id=uuid4(), threshold=None) == (Action.CANCEL, Action.PAY_MANUALLY)
    with pytest.raises(NoPayoutProvider):
        plan_action(approved, Action.DISPATCH, admin_id=uuid4(), threshold=None)


def test_what_was_seen_has_to_be_what_is() -> None:
    requested = standing(WithdrawalState.REQUESTED)
    with pytest.raises(InvalidStateTransition) as refused:
        plan_action(requested, Action.REJECT, admin_id=uuid4(), threshold=None, seen_version=2)
    assert refused.value.extras == {"from_state": "requested", "to_state": "rejected", "version": 3}
    assert plan_action(requested, Action.REJECT, admin_id=uuid4(), threshold=None, seen_version=3) is Action.REJECT


# ---------------------------------------------------------------------------------------------------------------------
# Every state and every action
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_enforced", [False, True], ids=["legacy", "ledger"])
@pytest.mark.parametrize("state", STATES)
async def test_every_action_on_every_state(desk: Desk, state: str, is_enforced: bool) -> None:
    amount = AMOUNT_OF_TWO if state == "awaiting_second_approval" else AMOUNT
    for action in ACTIONS:
        player = desk.player = await make_player(desk.owner, desk.tenant_id, available=BALANCE)
        tx_id = await desk.into(state)
        await set_enforce(desk.owner, desk.tenant_id, is_enforced)
        assert await sides(desk.owner, player) == both(*balances(state, amount))
        before = await ledger_types(desk.owner, player)
        detail = (await desk.approver.get(f"{FINANCE}/{tx_id}")).json()

        response = await desk.act(tx_id, action, by=desk.approver)

        to_state = LEADS_TO.get((state, action))
        assert (action in detail["allowed_actions"]) == (to_state is not None)
        if to_state is None:
            problem = assert_problem(response, httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")
            assert (problem["from_state"], problem["version"]) == (state, detail["version"])
            assert problem["to_state"] in STATES
        else:
            assert response.status_code == httpx.codes.OK, response.text
            assert response.json()["transaction"]["state"] == to_state
        assert await desk.state(tx_id) == (to_state or state)
        assert await sides(desk.owner, player) == both(*balances(to_state or state, amount))
        posted = POSTS.get((state, action), [])
        assert await ledger_types(desk.owner, player) == before + posted
        await set_enforce(desk.owner, desk.tenant_id, False)
    await assert_sound(desk.owner, desk.tenant_id)


@pytest.mark.parametrize("state", STATES)
async def test_every_observation_on_every_state(desk: Desk, state: str) -> None:
    moves = {
        ("processing", "paid"): "paid",
        ("processing", "refused"): "failed",
        ("processing", "returned"): "returned",
        ("paid", "returned"): "returned",
    }
    for status in ("pending", "paid", "refused", "returned"):
        player = desk.player = await make_player(desk.owner, desk.tenant_id, available=BALANCE)
        tx_id = await desk.into(state)
        if reference(tx_id) not in desk.provider.payouts:
            continue
        applied = await desk.observe(desk.provider.settle(reference(tx_id), status))
        to_state = moves.get((state, status), state)
        assert await desk.state(tx_id) == to_state
        assert await sides(desk.owner, player) == both(*balances(to_state, AMOUNT))
        assert (applied.effect is Effect.APPLIED) == (to_state != state or (state, status) == ("processing", "pending"))
    await assert_sound(desk.owner, desk.tenant_id)


async def test_actions_are_those_of_the_table(desk: Desk) -> None:
    assert tuple(action.value for action in ADMIN_ACTIONS) == ACTIONS
    assert {(state.value, action.value) for state, action in TRANSITIONS if action in ADMIN_ACTIONS} == set(LEADS_TO)


# ---------------------------------------------------------------------------------------------------------------------
# The ways of the money
# ---------------------------------------------------------------------------------------------------------------------


async def test_paid_withdrawal_is_in_the_ledger_with_what_the_provider_calls_it(desk: Desk) -> None:
    tx_id = await desk.request()
    assert await sides(desk.owner, desk.player) == both(60_00, 40_00)
    await desk.done(tx_id, "approve")
    paid = await desk.done(tx_id, "mark_paid")
    payout = desk.provider.payouts[reference(tx_id)]
    assert (paid["state"], paid["provider"], paid["provider_ref"]) == ("paid", "mockpsp", payout.payout_id)
    assert await sides(desk.owner, desk.player) == both(60_00)
    name, event_id = reference(tx_id), f"ev_{payout.payout_id}_paid"
    requested, dispatched, settled = await desk.posted(tx_id)
    assert requested[0] == "withdraw_requested"
    assert dispatched == ("withdraw_dispatched", name, "mockpsp", None, None)
    assert settled == ("withdraw_paid", name, "mockpsp", payout.payout_id, event_id)
    for action in ("approve", "mark_paid", "mark_paid_manually", "cancel"):
        assert_problem(await desk.act(tx_id, action), httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")
    assert (await sides(desk.owner, desk.player), desk.provider.calls) == (both(60_00), 1)
    await assert_sound(desk.owner, desk.tenant_id)


async def test_manual_rail_pays_with_evidence_and_each_evidence_once(desk: Desk) -> None:
    first, second = await desk.request(), await desk.request(20_00)
    for tx_id in (first, second):
        await desk.done(tx_id, "approve")
    path = f"{FINANCE}/{{}}/mark-paid"
    assert_problem(await desk.finance.post(path.format(first), {"rail": "manual"}), 422, "VALIDATION_ERROR")
    assert_problem(
        await desk.finance.post(path.format(first), {"rail": "manual", "evidence_ref": "  "}), 422, "VALIDATION_ERROR"
    )
    assert_problem(await desk.finance.post(path.format(first), {"evidence_ref": "x"}), 422, "VALIDATION_ERROR")
    assert_problem(await desk.finance.post(path.format(first), {"rail": "cash"}), 422, "VALIDATION_ERROR")

    manual = {"rail": "manual", "evidence_ref": "bank-4711"}
    paid = await desk.finance.post(path.format(first), manual)
    assert paid.status_code == httpx.codes.OK, paid.text
    assert paid.json()["transaction"]["state"] == "paid"
    again = await desk.finance.post(path.format(second), {**manual, "evidence_ref": " bank-4711 "})
    assert_problem(again, httpx.codes.CONFLICT, "EVIDENCE_REF_USED")

    assert await desk.state(second) == "approved"
    assert await sides(desk.owner, desk.player) == both(40_00, 20_00)
    assert [row[0] for row in await desk.posted(second)] == ["withdraw_requested"]
    assert (await desk.posted(first))[-1] == ("withdraw_paid", reference(first), "manual", "bank-4711", None)
    cursor = await desk.owner.execute(
        "SELECT credit_account FROM ledger_transactions WHERE reference = %s AND type = 'withdraw_paid'", (first,)
    )
    assert await cursor.fetchone() == ("psp:manual:clearing",)
    assert desk.provider.calls == 0
    await assert_sound(desk.owner, desk.tenant_id)


async def test_returned_money_goes_back_to_the_player_at_once(desk: Desk) -> None:
    tx_id = await desk.into("returned")
    assert await sides(desk.owner, desk.player) == both(BALANCE)
    cursor = await desk.owner.execute(
        "SELECT debit_account, credit_account, idempotency_key, provider_event_id IS NOT NULL, journal_id "
        "FROM ledger_transactions WHERE reference = %s AND type = 'withdraw_returned' ORDER BY wallet_version",
        (tx_id,),
    )
    house, player = await cursor.fetchall()
    assert house[:4] == ("psp:mockpsp:clearing", "house:returns", reference(tx_id), True)
    assert player[:4] == ("house:returns", "player:available", f"{reference(tx_id)}_credit", False)
    assert house[4] == player[4] is not None
    await assert_sound(desk.owner, desk.tenant_id)


async def test_return_whose_payment_was_never_heard_of_books_both(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    paid = desk.provider.settle(reference(tx_id), "paid")
    await desk.observe(desk.provider.settle(reference(tx_id), "returned"))
    assert [row[0] for row in await desk.posted(tx_id)] == [
        "withdraw_requested",
        "withdraw_dispatched",
        "withdraw_paid",
        "withdraw_returned",
        "withdraw_returned",
    ]
    assert (await desk.observe(paid)).effect is Effect.NOTHING_NEW
    assert await sides(desk.owner, desk.player) == both(BALANCE)
    await assert_sound(desk.owner, desk.tenant_id)


async def test_failed_payout_keeps_the_hold_and_a_retry_is_a_new_attempt(desk: Desk) -> None:
    tx_id = await desk.into("failed")
    assert await sides(desk.owner, desk.player) == both(60_00, 40_00)
    await desk.done(tx_id, "retry")
    paid = await desk.done(tx_id, "mark_paid")
    assert (paid["state"], paid["failure_code"]) == ("paid", None)
    assert await desk.attempts(tx_id) == ["failed", "paid"]
    assert set(desk.provider.payouts) == {reference(tx_id, 1), reference(tx_id, 2)}
    assert [row[1] for row in await desk.posted(tx_id)][1:] == [
        reference(tx_id, 1),
        reference(tx_id, 1),
        reference(tx_id, 2),
        reference(tx_id, 2),
    ]
    assert await sides(desk.owner, desk.player) == both(60_00)
    await assert_sound(desk.owner, desk.tenant_id)


async def test_legacy_hold_is_released_or_paid_by_hand_only(desk: Desk) -> None:
    for action, available in (("reject", 75_00), ("mark_paid_manually", 50_00)):
        desk.player = await make_player(desk.owner, desk.tenant_id, available=50_00, held=25_00)
        other = await desk.request(1_00)
        cursor = await desk.owner.execute(
            "SELECT id FROM withdrawals WHERE player_id = %s AND method = 'legacy_hold'", (desk.player.id,)
        )
        ((tx_id,),) = await cursor.fetchall()
        if action != "reject":
            await desk.done(tx_id, "approve")
            assert_problem(await desk.act(tx_id, "mark_paid"), httpx.codes.CONFLICT, "NO_PAYOUT_PROVIDER")
        await desk.done(tx_id, action)
        await desk.done(other, "reject")
        assert await sides(desk.owner, desk.player) == both(available)
    assert desk.provider.calls == 0
    await assert_sound(desk.owner, desk.tenant_id)


async def test_what_is_not_held_any_more_is_not_paid(desk: Desk) -> None:
    """Another system emptied the legacy column, which is the arbiter."""
    tx_id = await desk.into("approved")
    await set_legacy(desk.owner, desk.player, available=100_00, held=0)
    for action in ("mark_paid", "mark_paid_manually", "cancel"):
        for _ in range(2):
            problem = assert_problem(await desk.act(tx_id, action), httpx.codes.CONFLICT, LedgerRefused.error_code)
            assert problem["ledger_code"] == "insufficient_held"
    assert (await desk.state(tx_id), await desk.attempts(tx_id), desk.provider.calls) == ("approved", [], 0)
    # Put right, and the refusals that are stored do not stand in the way.
    await set_legacy(desk.owner, desk.player, available=60_00, held=40_00)
    assert (await desk.done(tx_id, "mark_paid_manually"))["state"] == "paid"
    assert await sides(desk.owner, desk.player) == both(60_00)
    await assert_sound(desk.owner, desk.tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Who may
# ---------------------------------------------------------------------------------------------------------------------


async def test_two_different_people_approve_from_the_threshold_on(desk: Desk) -> None:
    tx_id = await desk.request(AMOUNT_OF_TWO)
    assert (await desk.done(tx_id, "approve"))["state"] == "awaiting_second_approval"
    assert_problem(await desk.act(tx_id, "approve"), httpx.codes.FORBIDDEN, "FOUR_EYES_REQUIRED")
    assert_problem(await desk.act(tx_id, "mark_paid"), httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")
    approved = await desk.done(tx_id, "approve", by=desk.approver)
    assert (approved["first_approved_by"], approved["second_approved_by"]) == (
        str(desk.finance.id),
        str(desk.approver.id),
    )
    assert (await desk.done(tx_id, "mark_paid"))["state"] == "paid"


async def test_owners_are_not_exempt(desk: Desk) -> None:
    owner = (await desk.people.admin(Role.OWNER)).about(desk.tenant_id)
    tx_id = await desk.request(AMOUNT_OF_TWO)
    assert (await desk.done(tx_id, "approve", by=owner))["state"] == "awaiting_second_approval"
    assert_problem(await desk.act(tx_id, "approve", by=owner), httpx.codes.FORBIDDEN, "FOUR_EYES_REQUIRED")
    assert await desk.state(tx_id) == "awaiting_second_approval"


@pytest.mark.parametrize(("currency", "below", "at"), [("JPY", 49, 50), ("USD", 49_99, 50_00), ("KWD", 49_999, 50_000)])
async def test_threshold_is_in_each_currency_s_own_units(desk: Desk, currency: str, below: int, at: int) -> None:
    player = await make_player(desk.owner, desk.tenant_id, available=200_000, currency=currency)
    one, two = await desk.request(below, player=player), await desk.request(at, player=player)
    assert (await desk.done(one, "approve"))["state"] == "approved"
    assert (await desk.done(two, "approve"))["state"] == "awaiting_second_approval"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RECON])
async def test_other_roles_see_and_do_nothing(desk: Desk, role: Role) -> None:
    tx_id = await desk.request()
    caller = await desk.people.admin(role, desk.tenant_id)
    responses = [await desk.act(tx_id, action, by=caller) for action in ACTIONS]
    responses += [await caller.get(path) for path in (FINANCE, f"{FINANCE}/{tx_id}", f"{FINANCE}.csv")]
    responses.append(await caller.post(f"{FINANCE}/bulk", {"action": "approve", "tx_ids": [str(tx_id)]}))
    assert Counter(response.status_code for response in responses) == {httpx.codes.FORBIDDEN: len(responses)}
    assert await desk.state(tx_id) == "requested"


async def test_foreign_and_unknown_withdrawals_are_not_there(desk: Desk) -> None:
    tx_id = await desk.request()
    stranger = await desk.people.admin(Role.TENANT_ADMIN, await make_tenant(desk.owner))
    owner_elsewhere = (await desk.people.admin(Role.OWNER)).about(stranger.tenant_id)
    for caller in (stranger, owner_elsewhere):
        for action in ACTIONS:
            assert_problem(await desk.act(tx_id, action, by=caller), httpx.codes.NOT_FOUND, "TX_NOT_FOUND")
        assert_problem(await caller.get(f"{FINANCE}/{tx_id}"), httpx.codes.NOT_FOUND, "TX_NOT_FOUND")
    for unknown in (uuid4(), "no-uuid"):
        response = await desk.finance.post(f"{FINANCE}/{unknown}/mark-paid", {})
        assert_problem(response, httpx.codes.NOT_FOUND, "TX_NOT_FOUND")
    assert await desk.state(tx_id) == "requested"


@pytest.mark.parametrize("reason", [None, "", "  "])
async def test_refusing_a_player_needs_a_reason(desk: Desk, reason: str | None) -> None:
    tx_id = await desk.request()
    rejected = await desk.finance.post(f"{FINANCE}/{tx_id}/review", {"action": "reject", "reason": reason})
    cancelled = await desk.finance.post(f"{FINANCE}/{tx_id}/cancel", {"reason": reason})
    for response in (rejected, cancelled):
        assert_problem(response, httpx.codes.BAD_REQUEST, "REASON_REQUIRED")
    assert await desk.state(tx_id) == "requested"
