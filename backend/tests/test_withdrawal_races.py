"""Everybody at once on one withdrawal: one winner, and the invariants hold."""

import asyncio
from uuid import UUID

import pytest

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.errors import AppError
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.payments.finance import Deed
from backend.app.domain.payments.psp_event import Applied, Effect
from backend.app.domain.payments.withdrawal_lifecycle import Action, InvalidStateTransition
from backend.app.repositories import ledger_repo
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.finance import Finance
from backend.tests.factories import Player, make_player, set_enforce, sides
from backend.tests.finance_desk import AMOUNT, BALANCE, Desk, reference
from backend.tests.fixtures import Caller
from backend.tests.invariants import assert_sound

ROUNDS = 500
AT_ONCE = 3


@pytest.mark.parametrize("is_enforced", [False, True], ids=["legacy", "ledger"])
async def test_many_rounds_have_one_winner_each(desk: Desk, is_enforced: bool) -> None:
    """Half of the rounds are about the decision, half about the payout."""
    await set_enforce(desk.owner, desk.tenant_id, is_enforced)
    finance = Finance(
        desk.pools, desk.payouts, MismatchRecorder(desk.pools, is_enabled=False), four_eyes_threshold=None
    )
    slots = asyncio.Semaphore(AT_ONCE)

    async def play(number: int) -> None:
        async with slots:
            await (race_for_the_decision if number % 2 else race_for_the_payout)(desk, finance, number)

    await asyncio.gather(*(play(number) for number in range(ROUNDS)))
    await assert_sound(desk.owner, desk.tenant_id)


async def race_for_the_decision(desk: Desk, finance: Finance, number: int) -> None:
    player = await opened_player(desk)
    tx_id = await desk.request(player=player)
    actions = [Action.APPROVE, Action.REJECT, Action.CANCEL, Action.APPROVE]
    # Who is first to ask is another in each round.
    actions = actions[number // 2 % 4 :] + actions[: number // 2 % 4]
    outcomes = await asyncio.gather(*(perform(desk, finance, tx_id, action) for action in actions))
    state = await desk.state(tx_id)
    # An approved withdrawal may still be cancelled: then there are two steps, and the second saw the first.
    winners = {action for action, outcome in zip(actions, outcomes, strict=True) if outcome is None}
    assert (state, winners) in [
        ("approved", {Action.APPROVE}),
        ("rejected", {Action.REJECT}),
        ("cancelled", {Action.CANCEL}),
        ("cancelled", {Action.APPROVE, Action.CANCEL}),
    ]
    assert sum(outcome is None for outcome in outcomes) == len(winners)
    assert all(outcome is None or isinstance(outcome, InvalidStateTransition) for outcome in outcomes)
    left = (BALANCE - AMOUNT, AMOUNT) if state == "approved" else (BALANCE, 0)
    assert (await sides(desk.owner, player))[:2] == left


async def race_for_the_payout(desk: Desk, finance: Finance, number: int) -> None:
    player = await opened_player(desk)
    tx_id = await desk.request(player=player)
    assert await perform(desk, finance, tx_id, Action.APPROVE) is None
    desk.provider.fate = "pending"
    assert await perform(desk, finance, tx_id, Action.DISPATCH) is None
    status = "refused" if number % 4 else "paid"
    event = desk.provider.settle(reference(tx_id), status)
    writers = [
        desk.observe(event),
        desk.observe(event),
        desk.payouts.pull(desk.tenant_id, tx_id),
        perform(desk, finance, tx_id, Action.CANCEL),
        perform(desk, finance, tx_id, Action.REJECT),
    ]
    first = number // 2 % len(writers)
    outcomes = await asyncio.gather(*writers[first:], *writers[:first])
    effects = [outcome.effect for outcome in outcomes if isinstance(outcome, Applied)]
    assert effects.count(Effect.APPLIED) == 1
    state = await desk.state(tx_id)
    # A failed one may be given up, when that comes after the failure.
    assert state in (("paid",) if status == "paid" else ("failed", "cancelled"))
    left = {"paid": (BALANCE - AMOUNT, 0), "failed": (BALANCE - AMOUNT, AMOUNT), "cancelled": (BALANCE, 0)}[state]
    assert (await sides(desk.owner, player))[:2] == left
    assert desk.provider.payouts[reference(tx_id)].calls == 1


async def opened_player(desk: Desk) -> Player:
    """A player whose wallet is open: in an enforced tenant nothing else may be debited."""
    player = await make_player(desk.owner, desk.tenant_id, available=BALANCE)
    async with desk.pools.transaction() as conn:
        await ledger_repo.open_wallets(conn, desk.tenant_id, player_ids=[player.id])
    return player


async def perform(desk: Desk, finance: Finance, tx_id: UUID, action: Action) -> AppError | None:
    """Somebody does it; the refusal, if there is one."""
    identity = identity_of(desk.finance if action is not Action.CANCEL else desk.approver)
    actor = Actor(kind=ActorKind.ADMIN, actor_id=identity.admin_id, label=identity.email)
    try:
        await finance.perform(Deed(withdrawal_id=tx_id, action=action, reason="a race"), admin=identity, actor=actor)
    except AppError as refusal:
        return refusal
    return None


def identity_of(caller: Caller) -> AdminIdentity:
    assert caller.id is not None
    return AdminIdentity(
        admin_id=caller.id,
        email=caller.email,
        role=Role.FINANCE,
        tenant_id=caller.tenant_id,
        scope_tenant_id=caller.tenant_id,
    )
