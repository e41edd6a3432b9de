"""Withdrawals as finance sees them: the whole row, how it is looked for, and what was done about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import AuditEvent, State
from backend.app.domain.errors import AppError
from backend.app.domain.idempotency import request_hash
from backend.app.domain.money import CURRENCY_EXPONENTS, Money
from backend.app.domain.payments.payout import Attempt
from backend.app.domain.payments.withdrawal_lifecycle import Action, Standing
from backend.app.domain.withdrawal import WithdrawalState

BULK_MAX: Final = 200
BIGINT_MAX: Final = 2**63 - 1


class EvidenceUsed(AppError):
    """409: the evidence stands for another withdrawal; one payment outside pays one withdrawal."""

    error_code = "EVIDENCE_REF_USED"
    status = 409
    title = "This evidence was given for another withdrawal"


class LedgerRefused(AppError):
    """409: the door refused the ledger's part, so nothing was done; `ledger_code` says why."""

    error_code = "LEDGER_REFUSED"
    status = 409
    title = "The ledger does not allow this as the player's balances are"


class FinanceWithdrawal(NamedTuple):
    """One withdrawal, in the order of the query's columns. The amount is in minor units."""

    id: UUID
    tenant_id: UUID
    player_id: UUID
    amount: int
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

    @property
    def money(self) -> Money:
        """What was asked for."""
        return Money(amount_minor=self.amount, currency=self.currency)

    @property
    def standing(self) -> Standing:
        """What decides about its next step."""
        return Standing(
            state=WithdrawalState(self.state),
            version=self.version,
            method=self.method,
            money=self.money,
            approvals_needed=self.approvals_needed,
            first_approved_by=self.first_approved_by,
        )

    @property
    def audit_state(self) -> State:
        """What the audit keeps of it."""
        return {
            "state": str(self.state),
            "version": self.version,
            "provider": self.provider,
            "provider_ref": self.provider_ref,
            "failure_code": self.failure_code,
        }


class Sort(StrEnum):
    """The order of a list. Amounts are compared in minor units, which means something within one currency."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    LARGEST = "-amount"
    SMALLEST = "amount"

    @property
    def is_by_amount(self) -> bool:
        """Whether amounts decide, not times."""
        return self in (Sort.LARGEST, Sort.SMALLEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalFilter:
    """Which withdrawals to list; None leaves a field open. Amounts are major units of each withdrawal's own currency,
    both bounds included. The range of times is [date_from, date_to).
    """

    tenant_id: UUID | None = None
    state: WithdrawalState | None = None
    player_id: UUID | None = None
    method: str | None = None
    currency: str | None = None
    min_amount: Decimal | None = None
    max_amount: Decimal | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None

    @property
    def least_amounts(self) -> dict[str, int] | None:
        """The least amount in minor units that matches, by currency."""
        return self._bounds(self.min_amount, rounding="ROUND_CEILING")

    @property
    def greatest_amounts(self) -> dict[str, int] | None:
        """The greatest amount in minor units that matches, by currency."""
        return self._bounds(self.max_amount, rounding="ROUND_FLOOR")

    def _bounds(self, amount: Decimal | None, *, rounding: str) -> dict[str, int] | None:
        if amount is None:
            return None
        currencies = CURRENCY_EXPONENTS if self.currency is None else (self.currency,)
        # No amount is above the greatest that the column holds, so a bound beyond it means the same as that.
        return {
            currency: min(
                int(amount.scaleb(CURRENCY_EXPONENTS[currency]).to_integral_value(rounding=rounding)),
                BIGINT_MAX,
            )
            for currency in currencies
        }


class Position(NamedTuple):
    """Where a page ends: the withdrawal's id, and the time or amount that it is sorted by."""

    last_id: UUID
    last_at: datetime | None
    last_amount: int | None


def position_of(withdrawal: FinanceWithdrawal, *, sort: Sort) -> Position:
    """The position right after a withdrawal."""
    if sort.is_by_amount:
        return Position(withdrawal.id, None, withdrawal.amount)
    return Position(withdrawal.id, withdrawal.created_at, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What an admin wants done to a withdrawal.

    seen_version: the version that was looked at, when it was said. idempotency_key: None without one. evidence_ref:
    for the manual rail.
    """

    withdrawal_id: UUID
    action: Action
    reason: str | None = None
    evidence_ref: str | None = None
    seen_version: int | None = None
    idempotency_key: str | None = None

    @property
    def operation(self) -> str:
        """What the key is the key of: the scope of a key is tenant, player and operation."""
        if self.action in (Action.APPROVE, Action.REJECT):
            return "withdrawal_review"
        return "withdrawal_mark_paid" if self.action is Action.PAY_MANUALLY else f"withdrawal_{self.action}"

    @property
    def request_hash(self) -> bytes:
        """What makes a second deed with the key the same deed."""
        return request_hash(str(self.withdrawal_id), self.action, self.reason or "", self.evidence_ref or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeedAnswer:
    """The withdrawal after a deed; on a replay, as it was answered."""

    withdrawal: FinanceWithdrawal
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalDetail:
    """Everything about one withdrawal. deeds: its audit, newest first; attempts: the last first."""

    withdrawal: FinanceWithdrawal
    attempts: Sequence[Attempt]
    deeds: Sequence[AuditEvent]
    transactions: Sequence[dict[str, object]]
