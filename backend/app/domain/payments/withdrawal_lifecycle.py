"""The life of a withdrawal: from which state which action leads where, what it posts, and who may do it.

`TRANSITIONS` is the whole of it. The database has the same table (`withdrawal_transitions`), so that no caller of the
functions around the door can take another way; a test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from backend.app.domain.errors import AppError, NotFound
from backend.app.domain.ledger import TransactionType
from backend.app.domain.money import CURRENCY_EXPONENTS, Money
from backend.app.domain.withdrawal import WithdrawalState

# The withdrawal that explains legacy money which was held when its wallet was opened. No provider can pay it.
LEGACY_HOLD: Final = "legacy_hold"


class Action(StrEnum):
    """What can happen to a withdrawal. The last three are observations of a provider, the others deeds of an admin."""

    APPROVE = "approve"
    # The first of two approvals; asked for as `approve`, told apart by the amount.
    APPROVE_FIRST = "approve_first"
    REJECT = "reject"
    # Of an approved one: it is not paid after all. Of a failed one: given up, the hold is released.
    CANCEL = "cancel"
    # Pay through the provider: committed, with the attempt, before the provider is called.
    DISPATCH = "mark_paid"
    PAY_MANUALLY = "mark_paid_manually"
    RETRY = "retry"
    PAYOUT_PAID = "payout_paid"
    PAYOUT_FAILED = "payout_failed"
    PAYOUT_RETURNED = "payout_returned"


@dataclass(frozen=True, slots=True)
class Transition:
    """Where an action leads, and the types of ledger transaction it posts, in order, as one journal."""

    to_state: WithdrawalState
    ledger_types: tuple[TransactionType, ...] = ()


_S = WithdrawalState
_T = TransactionType
# A return is two transactions: the money comes back to the house, and goes on to the player at once.
_RETURNED: Final = (_T.WITHDRAW_RETURNED, _T.WITHDRAW_RETURNED)

TRANSITIONS: Final[Mapping[tuple[WithdrawalState, Action], Transition]] = MappingProxyType(
    {
        (_S.REQUESTED, Action.APPROVE): Transition(_S.APPROVED),
        (_S.REQUESTED, Action.APPROVE_FIRST): Transition(_S.AWAITING_SECOND_APPROVAL),
        (_S.REQUESTED, Action.REJECT): Transition(_S.REJECTED, (_T.WITHDRAW_REJECTED,)),
        (_S.REQUESTED, Action.CANCEL): Transition(_S.CANCELLED, (_T.WITHDRAW_CANCELLED,)),
        (_S.AWAITING_SECOND_APPROVAL, Action.APPROVE): Transition(_S.APPROVED),
        (_S.AWAITING_SECOND_APPROVAL, Action.REJECT): Transition(_S.REJECTED, (_T.WITHDRAW_REJECTED,)),
        (_S.APPROVED, Action.CANCEL): Transition(_S.CANCELLED, (_T.WITHDRAW_CANCELLED,)),
        (_S.APPROVED, Action.DISPATCH): Transition(_S.PROCESSING, (_T.WITHDRAW_DISPATCHED,)),
        (_S.APPROVED, Action.PAY_MANUALLY): Transition(_S.PAID, (_T.WITHDRAW_DISPATCHED, _T.WITHDRAW_PAID)),
        (_S.PROCESSING, Action.PAYOUT_PAID): Transition(_S.PAID, (_T.WITHDRAW_PAID,)),
        (_S.PROCESSING, Action.PAYOUT_FAILED): Transition(_S.FAILED, (_T.PAYOUT_FAILED,)),
        # The message of the payment is late or lost; what came back must have left.
        (_S.PROCESSING, Action.PAYOUT_RETURNED): Transition(_S.RETURNED, (_T.WITHDRAW_PAID, *_RETURNED)),
        (_S.PAID, Action.PAYOUT_RETURNED): Transition(_S.RETURNED, _RETURNED),
        (_S.FAILED, Action.RETRY): Transition(_S.APPROVED),
        (_S.FAILED, Action.CANCEL): Transition(_S.CANCELLED, (_T.WITHDRAW_FAILED,)),
    }
)

# What an admin can ask for, in the order it is offered, and the state that is wanted by it in the end.
_WANTED_STATES: Final[Mapping[Action, WithdrawalState]] = MappingProxyType(
    {
        Action.APPROVE: _S.APPROVED,
        Action.REJECT: _S.REJECTED,
        Action.CANCEL: _S.CANCELLED,
        Action.DISPATCH: _S.PAID,
        Action.PAY_MANUALLY: _S.PAID,
        Action.RETRY: _S.APPROVED,
    }
)
ADMIN_ACTIONS: Final = tuple(_WANTED_STATES)


class InvalidStateTransition(AppError):
    """409: the withdrawal is not in a state from which this can be done, or has changed since it was looked at."""

    error_code = "INVALID_STATE_TRANSITION"
    status = 409
    title = "The withdrawal's state does not allow this"


class WithdrawalNotFound(NotFound):
    """404: no such withdrawal, or not one of this tenant's."""

    error_code = "TX_NOT_FOUND"
    title = "No such withdrawal"


class ReasonRequired(AppError):
    """400: this has to be given a reason."""

    error_code = "REASON_REQUIRED"
    status = 400
    title = "A reason is required"


class FourEyesRequired(AppError):
    """403: the second approval has to come from somebody else than the first."""

    error_code = "FOUR_EYES_REQUIRED"
    status = 403
    title = "Two different people have to approve this withdrawal"


class NoPayoutProvider(AppError):
    """409: no provider can pay this withdrawal; what is left is the manual rail."""

    error_code = "NO_PAYOUT_PROVIDER"
    status = 409
    title = "No provider can pay this withdrawal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What decides about the next step of a withdrawal. version counts its transitions, from 1."""

    state: WithdrawalState
    version: int
    method: str
    money: Money
    approvals_needed: int
    first_approved_by: UUID | None


def approvals_needed(money: Money, *, threshold: Decimal | None) -> int:
    """How many people have to approve a payment: two from the threshold (in major units) on, else one."""
    if threshold is None:
        return 1
    # Decimals compare exactly, whatever the context's precision; the shift loses nothing of 19 digits.
    amount = Decimal(money.amount_minor).scaleb(-CURRENCY_EXPONENTS[money.currency])
    return 2 if amount >= threshold else 1


def plan_action(
    standing: Standing, action: Action, *, admin_id: UUID, threshold: Decimal | None, seen_version: int | None = None
) -> Action:
    """The step that an admin's wish amounts to now: itself, or the first of two approvals.

    seen_version: the version that the admin was looking at. Raises InvalidStateTransition, FourEyesRequired (owners are
    not exempt) or NoPayoutProvider.
    """
    wanted = _WANTED_STATES[action]
    if seen_version is not None and seen_version != standing.version:
        raise _invalid(standing, wanted, f"version {seen_version} was seen and version {standing.version} is current")
    if (standing.state, action) not in TRANSITIONS:
        raise _invalid(standing, wanted, f"a withdrawal that is {standing.state} cannot become {wanted} by {action}")
    # From here on the state allows it.
    if action is Action.DISPATCH and standing.method == LEGACY_HOLD:
        raise NoPayoutProvider("a legacy hold is rejected, cancelled, or paid on the manual rail")
    if action is not Action.APPROVE:
        return action
    if standing.state is WithdrawalState.AWAITING_SECOND_APPROVAL:
        if standing.first_approved_by == admin_id:
            raise FourEyesRequired
        return action
    needed = max(standing.approvals_needed, approvals_needed(standing.money, threshold=threshold))
    return Action.APPROVE_FIRST if needed > 1 else Action.APPROVE


def allowed_actions(standing: Standing, *, admin_id: UUID, threshold: Decimal | None) -> tuple[Action, ...]:
    """What this admin could do to the withdrawal now, by the same rules that judge it when it is done."""
    return tuple(
        action for action in ADMIN_ACTIONS if _is_allowed(standing, action, admin_id=admin_id, threshold=threshold)
    )


def refused_actions(
    standing: Standing, *, admin_id: UUID, threshold: Decimal | None
) -> tuple[tuple[Action, AppError], ...]:
    """What the state would allow and something else does not, and why: to be told, instead of left out."""
    refused: list[tuple[Action, AppError]] = []
    for action in ADMIN_ACTIONS:
        try:
            plan_action(standing, action, admin_id=admin_id, threshold=threshold)
        except InvalidStateTransition:
            continue
        except AppError as refusal:
            refused.append((action, refusal))
    return tuple(refused)


def require_reason(reason: str | None) -> str:
    """The reason without surrounding space. Raises ReasonRequired when there is none."""
    text = (reason or "").strip()
    if not text:
        raise ReasonRequired
    return text


def _is_allowed(standing: Standing, action: Action, *, admin_id: UUID, threshold: Decimal | None) -> bool:
    try:
        plan_action(standing, action, admin_id=admin_id, threshold=threshold)
    except AppError:
        return False
    return True


def _invalid(standing: Standing, wanted: WithdrawalState, detail: str) -> InvalidStateTransition:
    return InvalidStateTransition(
        detail, from_state=standing.state.value, to_state=wanted.value, version=standing.version
    )
