"""Adjustments: corrections of the ledger that one person proposes and another one approves. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from backend.app.domain.audit import State
from backend.app.domain.errors import AppError, FieldError, NotFound
from backend.app.domain.money import parse_amount

REASON_LENGTH_MAX = 1000


class AdjustmentStatus(StrEnum):
    """Where it stands. Approved is what an applied one passes through."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    APPLIED = "applied"
    REJECTED = "rejected"


class AdjustmentNotFound(NotFound):
    """404: no such adjustment, or another tenant's."""

    error_code = "ADJUSTMENT_NOT_FOUND"
    title = "No such adjustment"


class AdjustmentDecided(AppError):
    """409: somebody has approved or rejected it before."""

    error_code = "ADJUSTMENT_DECIDED"
    status = 409
    title = "The adjustment is decided already"


class AdjustmentRefused(AppError):
    """409: the ledger or the payment does not allow it now; nothing has moved, and it is still proposed."""

    error_code = "ADJUSTMENT_REFUSED"
    status = 409
    title = "The adjustment cannot be carried out"


class PaymentNotOpen(AppError):
    """409: what the adjustment would close is settled, or somebody has proposed to close it before."""

    error_code = "PAYMENT_NOT_OPEN"
    status = 409
    title = "There is no open payment to be closed"


class Adjustment(NamedTuple):
    """One adjustment, in the order of the query's columns. Amounts are signed minor units; see ledger_adjustments."""

    id: UUID
    tenant_id: UUID
    player_id: UUID
    finding_id: UUID | None
    currency: str
    player_amount: int
    clearing_amount: int
    provider: str | None
    closes_kind: str | None
    closes_id: UUID | None
    closes_attempt: int | None
    reason: str
    status: AdjustmentStatus
    proposed_by: UUID
    proposed_at: datetime
    decided_by: UUID | None
    decided_at: datetime | None
    decision_note: str | None

    @property
    def audit_state(self) -> State:
        """What the audit keeps of it."""
        return {
            "status": self.status,
            "player_amount_minor": self.player_amount,
            "clearing_amount_minor": self.clearing_amount,
            "currency": self.currency,
            "closes": None if self.closes_id is None else f"{self.closes_kind} {self.closes_id}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeAdjustment:
    """The wish for an adjustment. Positive: the player gets it; the provider has collected it for us beyond what is
    booked. Both against house:adjustment.
    """

    player_id: UUID
    player_amount: int
    clearing_amount: int
    reason: str
    provider: str | None = None
    finding_id: UUID | None = None
    closes_kind: str | None = None
    closes_id: UUID | None = None
    closes_attempt: int | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise FieldError("reason", "is required")
        if self.player_amount == 0 and self.clearing_amount == 0:
            raise FieldError("player_amount", "an adjustment moves something")


def plan_closing(kind: str, *, ours_minor: int, theirs_minor: int | None) -> tuple[int, int]:
    """(player, clearing) that takes a payment, settled as it was asked for, to what really moved.

    theirs_minor None: another currency moved, which no wallet of the player can hold. The clearing account is then
    taken back to nothing, the player keeps what was asked for, and the house carries what the other currency is worth.
    A payout that paid too little owes the player the rest; a deposit that collected too little gave too much.
    """
    if theirs_minor is None:
        return (0, ours_minor) if kind == "payout" else (0, -ours_minor)
    if kind == "payout":
        return ours_minor - theirs_minor, ours_minor - theirs_minor
    return theirs_minor - ours_minor, theirs_minor - ours_minor


def parse_signed(text: str | None, *, currency: str, field: str) -> int:
    """Minor units of an amount that may be negative, from a decimal string; nothing is zero. Raises FieldError."""
    if text is None or not text.lstrip("-").strip("0."):
        return 0
    money = parse_amount(text.removeprefix("-"), currency=currency, field=field)
    return -money.amount_minor if text.startswith("-") else money.amount_minor
