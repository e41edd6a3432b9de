"""What the finance API takes in and gives out. Amounts are decimal strings in major units."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec

from backend.app.api.players import LedgerTransactionOut, ledger_transaction_out
from backend.app.domain.audit import ActorKind, State
from backend.app.domain.money import format_amount
from backend.app.domain.payments.finance import BULK_MAX, FinanceWithdrawal, WithdrawalDetail
from backend.app.domain.payments.payout import Attempt, AttemptState
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.domain.withdrawal import WithdrawalState

Reason = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
Version = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1, description="The version that was seen")]
EvidenceRef = Annotated[
    str, msgspec.Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)", examples=["bank-transfer-4711"])
]


class ReviewAction(StrEnum):
    """What a review decides."""

    APPROVE = "approve"
    REJECT = "reject"


class BulkAction(StrEnum):
    """What can be done to many."""

    APPROVE = "approve"
    REJECT = "reject"
    CANCEL = "cancel"
    MARK_PAID = "mark_paid"
    RETRY = "retry"


class Rail(StrEnum):
    """How a withdrawal is paid when not through its provider."""

    MANUAL = "manual"


class ReviewIn(msgspec.Struct, kw_only=True):
    """A decision. Rejecting needs a reason."""

    action: ReviewAction
    reason: Reason | None = None
    version: Version | None = None


class MarkPaidIn(msgspec.Struct, kw_only=True):
    """Pay. The rail `manual` needs evidence; the same evidence pays one withdrawal only."""

    rail: Rail | None = None
    evidence_ref: EvidenceRef | None = None
    version: Version | None = None


class ReasonIn(msgspec.Struct, kw_only=True):
    """Why."""

    reason: Reason | None = None
    version: Version | None = None


class BulkIn(msgspec.Struct, kw_only=True):
    """The same for many withdrawals."""

    action: BulkAction
    tx_ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=BULK_MAX)]
    reason: Reason | None = None


class WithdrawalOut(msgspec.Struct, kw_only=True):
    """A withdrawal. `version` counts its steps; `allowed_actions` are what the asking admin may do now."""

    tx_id: UUID
    id: UUID
    type: str
    tenant_id: UUID
    player_id: UUID
    amount: str
    currency: str
    state: WithdrawalState
    method: str
    address: str
    idempotency_key: str
    version: int
    approvals_needed: int
    first_approved_by: UUID | None
    first_approved_at: datetime | None
    second_approved_by: UUID | None
    second_approved_at: datetime | None
    reviewed_by: UUID | None
    reviewed_at: datetime | None
    review_reason: str | None
    provider: str | None
    provider_ref: str | None
    provider_event_id: str | None
    failure_code: str | None
    created_at: datetime
    updated_at: datetime
    allowed_actions: list[Action]


class TimelineEntryOut(msgspec.Struct, kw_only=True):
    """One thing that happened. `before` and `after` are what changed of the withdrawal."""

    at: datetime
    action: str
    actor_kind: ActorKind
    actor_id: UUID | None
    actor_label: str
    reason: str | None
    before: State | None
    after: State | None


class AttemptOut(msgspec.Struct, kw_only=True):
    """One try to pay. `reference` is its name and key at the provider; next_check_at null: settled."""

    number: int
    reference: str
    provider: str
    account_id: str | None
    amount: str
    currency: str
    state: AttemptState
    provider_ref: str | None
    provider_event_id: str | None
    failure_code: str | None
    evidence_ref: str | None
    created_at: datetime
    state_at: datetime
    checked_at: datetime | None
    next_check_at: datetime | None
    checks: int


class WithdrawalDetailOut(WithdrawalOut, kw_only=True):
    """A withdrawal with its history: what happened, the attempts and the ledger, each in order."""

    timeline: list[TimelineEntryOut]
    attempts: list[AttemptOut]
    ledger: list[LedgerTransactionOut]


class DeedAnswerOut(msgspec.Struct, kw_only=True):
    """The withdrawal after what was done."""

    transaction: WithdrawalOut


class BulkResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one."""

    tx_id: UUID
    ok: bool
    error_code: str | None = None
    detail: str | None = None
    transaction: WithdrawalOut | None = None


class BulkAnswer(msgspec.Struct, kw_only=True):
    """What became of each, in the order of the ids."""

    results: list[BulkResult]


def withdrawal_out(withdrawal: FinanceWithdrawal, *, allowed_actions: tuple[Action, ...]) -> WithdrawalOut:
    """A withdrawal as it is answered."""
    return WithdrawalOut(**_fields(withdrawal, allowed_actions=allowed_actions))


def _fields(withdrawal: FinanceWithdrawal, *, allowed_actions: tuple[Action, ...]) -> dict[str, Any]:
    return withdrawal._asdict() | {
        "tx_id": withdrawal.id,
        "type": "withdrawal",
        "amount": format_amount(withdrawal.amount, currency=withdrawal.currency),
        "allowed_actions": list(allowed_actions),
    }


def withdrawal_detail_out(detail: WithdrawalDetail, *, allowed_actions: tuple[Action, ...]) -> WithdrawalDetailOut:
    """A withdrawal with its history. The request itself is not audited, it is the row: it stands first."""
    withdrawal = detail.withdrawal
    requested = TimelineEntryOut(
        at=withdrawal.created_at,
        action="withdrawal.requested",
        actor_kind=ActorKind.PLAYER,
        actor_id=withdrawal.player_id,
        actor_label=str(withdrawal.player_id),
        reason=None,
        before=None,
        after={"state": WithdrawalState.REQUESTED.value, "version": 1},
    )
    deeds = [
        TimelineEntryOut(
            at=deed.recorded_at,
            action=deed.action,
            actor_kind=ActorKind(deed.actor_kind),
            actor_id=deed.actor_id,
            actor_label=deed.actor_label,
            reason=deed.reason,
            before=deed.state_before,
            after=deed.state_after,
        )
        for deed in reversed(detail.deeds)
    ]
    return WithdrawalDetailOut(
        **_fields(withdrawal, allowed_actions=allowed_actions),
        timeline=[requested, *deeds],
        attempts=[_attempt_out(attempt) for attempt in reversed(detail.attempts)],
        ledger=[ledger_transaction_out(row) for row in detail.transactions],
    )


def _attempt_out(attempt: Attempt) -> AttemptOut:
    return AttemptOut(
        number=attempt.number,
        reference=attempt.reference,
        provider=attempt.provider,
        account_id=attempt.account_id,
        amount=format_amount(attempt.amount, currency=attempt.currency),
        currency=attempt.currency,
        state=AttemptState(attempt.state),
        provider_ref=attempt.provider_ref,
        provider_event_id=attempt.provider_event_id,
        failure_code=attempt.failure_code,
        evidence_ref=attempt.evidence_ref,
        created_at=attempt.created_at,
        state_at=attempt.state_at,
        checked_at=attempt.checked_at,
        next_check_at=attempt.next_check_at,
        checks=attempt.checks,
    )
