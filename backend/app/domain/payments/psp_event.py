"""What a provider tells us about one payment, and which of two tellings counts.

Deliveries come late, twice and out of order; what they say is an observation of the payment, never a command.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from backend.app.domain.money import Money


class PspEventType(StrEnum):
    """What happened at the provider, in our words."""

    DEPOSIT_PENDING = "deposit.pending"
    DEPOSIT_CAPTURED = "deposit.captured"
    DEPOSIT_FAILED = "deposit.failed"
    DEPOSIT_REFUNDED = "deposit.refunded"
    PAYOUT_PENDING = "payout.pending"
    PAYOUT_PAID = "payout.paid"
    PAYOUT_FAILED = "payout.failed"
    PAYOUT_RETURNED = "payout.returned"
    # The provider says something that we do not map. It never settles anything; somebody has to read it.
    UNKNOWN = "unknown"


class StatusClass(StrEnum):
    """What an event means for its payment, whatever the provider calls it."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    REVERSED = "reversed"


STATUS_CLASSES: Final[dict[PspEventType, StatusClass]] = {
    PspEventType.DEPOSIT_PENDING: StatusClass.PENDING,
    PspEventType.DEPOSIT_CAPTURED: StatusClass.SUCCESS,
    PspEventType.DEPOSIT_FAILED: StatusClass.FAILED,
    PspEventType.DEPOSIT_REFUNDED: StatusClass.REVERSED,
    PspEventType.PAYOUT_PENDING: StatusClass.PENDING,
    PspEventType.PAYOUT_PAID: StatusClass.SUCCESS,
    PspEventType.PAYOUT_FAILED: StatusClass.FAILED,
    PspEventType.PAYOUT_RETURNED: StatusClass.REVERSED,
    PspEventType.UNKNOWN: StatusClass.PENDING,
}

_RANKS: Final[dict[StatusClass, int]] = {
    StatusClass.PENDING: 1,
    StatusClass.SUCCESS: 2,
    StatusClass.FAILED: 2,
    StatusClass.REVERSED: 3,
}
# What cannot both be true of one payment. A reversal undoes a success, so it contradicts a failure as well: were it to
# outrank the failure instead, the same three messages would end in a conflict or not, depending on who came first.
_CONTRADICTIONS: Final = frozenset(
    {
        frozenset({StatusClass.FAILED, StatusClass.SUCCESS}),
        frozenset({StatusClass.FAILED, StatusClass.REVERSED}),
    }
)


class Judgement(StrEnum):
    """What a later arrival does to what is known."""

    SUPERSEDES = "supersedes"
    ADDS_NOTHING = "adds_nothing"
    # Both claim to be final and exclude each other: a finding for a person, never an overwrite.
    CONFLICTS = "conflicts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A payment's status as the provider gave it, with the provider's own sequence where it has one."""

    status_class: StatusClass
    sequence: int | None


def judge_observation(arrived: Observation, *, known: Observation | None) -> Judgement:
    """Whether what arrived takes the place of what is known about the same payment.

    A higher rank wins, within one class the higher sequence; none at all is the lowest. Keeping what is known on
    ADDS_NOTHING and CONFLICTS, any order and repetition of the same observations ends in the same status, or else
    each of them meets a conflict.
    """
    if known is None:
        return Judgement.SUPERSEDES
    if frozenset({arrived.status_class, known.status_class}) in _CONTRADICTIONS:
        return Judgement.CONFLICTS
    return Judgement.SUPERSEDES if _position(arrived) > _position(known) else Judgement.ADDS_NOTHING


class Effect(StrEnum):
    """What an observation did to our records, whoever brought it: webhook, answer, poller or a person."""

    # State and ledger followed it.
    APPLIED = "applied"
    # Known already, or older than what is known.
    NOTHING_NEW = "nothing_new"
    # We have no such payment, or not for this account: nothing moved, a finding where the tenant is known.
    ORPHAN = "orphan"
    # Contradicts what is final, or moves another amount or currency than ours: nothing moved beyond what was safe.
    FINDING = "finding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The effect of one observation, and on what: our deposit or withdrawal."""

    effect: Effect
    tenant_id: UUID | None
    tx_id: UUID | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PspEvent:
    """One provider event in our words. What it says is only as true as the verdict on the delivery it came in.

    `account_hint` is what the body claims and chooses no tenant. `provider_ref` is the provider's name for the payment
    or payout, `reference` ours, as we gave it. `money` is exact, in our minor units, and may differ from what we asked
    for; a success or a reversal always says how much. `occurred_at` is UTC. `failure_code` is the provider's word for
    people to read.
    """

    provider: str
    account_hint: str | None
    provider_event_id: str
    type: PspEventType
    provider_ref: str | None
    reference: str | None
    sequence: int | None
    money: Money | None
    occurred_at: datetime | None
    failure_code: str | None

    def __post_init__(self) -> None:
        is_settled = self.status_class in (StatusClass.SUCCESS, StatusClass.REVERSED)
        assert self.money is not None or not is_settled, f"{self.type} without an amount: {self.provider_event_id}"
        is_known = self.type != PspEventType.UNKNOWN
        assert self.provider_ref is not None or not is_known, f"{self.type} of nothing: {self.provider_event_id}"

    @property
    def status_class(self) -> StatusClass:
        """What the event means for its payment."""
        return STATUS_CLASSES[self.type]

    @property
    def observation(self) -> Observation:
        """The part of the event that decides whether it counts."""
        return Observation(status_class=self.status_class, sequence=self.sequence)


def _position(observation: Observation) -> tuple[int, int]:
    """Where an observation stands among those that do not contradict it. Sequences are never negative."""
    return _RANKS[observation.status_class], -1 if observation.sequence is None else observation.sequence
