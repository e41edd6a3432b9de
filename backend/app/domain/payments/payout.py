"""Attempts to pay a withdrawal: their names, their states, and what a provider's word does to them."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import Judgement, Observation, PspEvent, StatusClass, judge_observation

_REFERENCE: Final = re.compile(
    r"wd_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})_([1-9][0-9]{0,4})", re.ASCII
)


class AttemptState(StrEnum):
    """Where an attempt stands. The first three are open; a withdrawal has at most one open attempt."""

    # Committed, and perhaps sent: a process that dies before it records the answer leaves it so.
    CREATED = "created"
    PENDING = "pending"
    # Sent without an answer that says what happened. No timer turns it into failed.
    UNKNOWN = "unknown"
    PAID = "paid"
    FAILED = "failed"
    RETURNED = "returned"


OPEN_STATES: Final = frozenset({AttemptState.CREATED, AttemptState.PENDING, AttemptState.UNKNOWN})


class AttemptName(NamedTuple):
    """Which attempt at which withdrawal."""

    withdrawal_id: UUID
    number: int

    @property
    def reference(self) -> str:
        """Its name at the provider, and its idempotency key there. At most 64 characters, no colon: Adyen's limits."""
        return f"wd_{self.withdrawal_id}_{self.number}"


def find_attempt_name(reference: str | None) -> AttemptName | None:
    """The attempt that a reference names; None when it is not the name of any."""
    match = None if reference is None else _REFERENCE.fullmatch(reference)
    return None if match is None else AttemptName(withdrawal_id=UUID(match[1]), number=int(match[2]))


# How long an attempt may stand as created before it counts as unknown: its process has died.
CREATED_GRACE: Final = timedelta(seconds=60)
# Until when the same request may be sent again under the same key. Providers keep keys for 24 hours and longer.
RESUBMIT_AGE_MAX: Final = timedelta(hours=20)
# Looking at a withdrawal asks its provider at most this often.
VIEW_PULL_INTERVAL: Final = timedelta(minutes=1)

_DAY: Final = timedelta(days=1)
_DAILY_CHECKS: Final = 7
_UNKNOWN_PLAN: Final = (
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
_PENDING_PLAN: Final = (timedelta(hours=1), timedelta(hours=6))


def wait_before_check(state: AttemptState, *, checks: int) -> timedelta:
    """How long to wait before the provider is asked again, after so many checks in this state.

    It is asked for ever, in the end daily: no timer settles an attempt.
    """
    assert state in OPEN_STATES, f"{state} is final"
    if state is AttemptState.CREATED:
        return CREATED_GRACE
    plan = _PENDING_PLAN if state is AttemptState.PENDING else _UNKNOWN_PLAN
    return plan[checks] if checks < len(plan) else _DAY


def is_stale(state: AttemptState, *, checks: int) -> bool:
    """Whether the provider has left an attempt open for so long that a person has to find out."""
    plan = _PENDING_PLAN if state is AttemptState.PENDING else _UNKNOWN_PLAN
    return checks >= len(plan) + _DAILY_CHECKS


_STATUS_CLASSES: Final[dict[AttemptState, StatusClass]] = {
    AttemptState.PENDING: StatusClass.PENDING,
    AttemptState.PAID: StatusClass.SUCCESS,
    AttemptState.FAILED: StatusClass.FAILED,
    AttemptState.RETURNED: StatusClass.REVERSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutReport:
    """What a provider says about one attempt, by webhook, by answer or when asked.

    provider_event_id None: it said so without naming an event. `money` is what moved, and always given with a success
    or a reversal.
    """

    provider: str
    status_class: StatusClass
    sequence: int | None
    provider_ref: str | None
    provider_event_id: str | None
    money: Money | None
    occurred_at: datetime | None
    failure_code: str | None

    @property
    def observation(self) -> Observation:
        """The part that decides whether it counts."""
        return Observation(status_class=self.status_class, sequence=self.sequence)


def report_of(event: PspEvent) -> PayoutReport:
    """What an event says about its payout."""
    return PayoutReport(
        provider=event.provider,
        status_class=event.status_class,
        sequence=event.sequence,
        provider_ref=event.provider_ref,
        provider_event_id=event.provider_event_id,
        money=event.money,
        occurred_at=event.occurred_at,
        failure_code=event.failure_code,
    )


class Attempt(NamedTuple):
    """One attempt to pay, in the order of the query's columns. The amount is in minor units.

    account_id None: the manual rail. next_check_at None: settled.
    """

    tenant_id: UUID
    player_id: UUID
    withdrawal_id: UUID
    number: int
    provider: str
    account_id: str | None
    amount: int
    currency: str
    state: AttemptState
    provider_ref: str | None
    provider_event_id: str | None
    provider_sequence: int | None
    failure_code: str | None
    evidence_ref: str | None
    created_at: datetime
    state_at: datetime
    checked_at: datetime | None
    next_check_at: datetime | None
    checks: int

    @property
    def reference(self) -> str:
        """Its name at the provider, and its key there."""
        return AttemptName(withdrawal_id=self.withdrawal_id, number=self.number).reference

    @property
    def money(self) -> Money:
        """What it is to pay."""
        return Money(amount_minor=self.amount, currency=self.currency)

    @property
    def known(self) -> Observation | None:
        """What is known of it from the provider; None as long as that is nothing."""
        status_class = _STATUS_CLASSES.get(AttemptState(self.state))
        return None if status_class is None else Observation(status_class=status_class, sequence=self.provider_sequence)


class PayoutJudgement(StrEnum):
    """What is to be done about a report. Everything but the first three is a finding, and moves nothing."""

    # State and ledger follow it.
    SETTLE = "settle"
    # The provider has it and will say later.
    KEEP_PENDING = "keep_pending"
    NOTHING_NEW = "nothing_new"
    # Final answers that exclude each other: the first one stands.
    CONTRADICTS = "contradicts"
    # Paid, after it was said to have failed: the money may have been released or paid again.
    PAID_AFTER_FAILED = "paid_after_failed"
    OTHER_AMOUNT = "other_amount"
    OTHER_CURRENCY = "other_currency"
    OTHER_ACCOUNT = "other_account"
    OTHER_PROVIDER = "other_provider"
    # Another payout under the attempt's name.
    OTHER_PAYOUT = "other_payout"


def judge_report(report: PayoutReport, *, attempt: Attempt, account_id: str | None) -> PayoutJudgement:
    """What a report does to an attempt. account_id: the account the delivery was verified for, None for our own pull.

    Whose it is comes first, then whether it moved the attempt's money, then whether it is new. A payment of another
    amount settles nothing: the part that is missing would be lost to the player, or a hold released that was paid.
    """
    if report.provider != attempt.provider:
        return PayoutJudgement.OTHER_PROVIDER
    if account_id is not None and account_id != attempt.account_id:
        return PayoutJudgement.OTHER_ACCOUNT
    if None not in (report.provider_ref, attempt.provider_ref) and report.provider_ref != attempt.provider_ref:
        return PayoutJudgement.OTHER_PAYOUT
    if report.money is not None and report.status_class is not StatusClass.PENDING:
        if report.money.currency != attempt.currency:
            return PayoutJudgement.OTHER_CURRENCY
        if report.money.amount_minor != attempt.amount:
            return PayoutJudgement.OTHER_AMOUNT
    judgement = judge_observation(report.observation, known=attempt.known)
    if judgement is Judgement.CONFLICTS:
        is_paid = report.status_class is StatusClass.SUCCESS
        return PayoutJudgement.PAID_AFTER_FAILED if is_paid else PayoutJudgement.CONTRADICTS
    if judgement is Judgement.ADDS_NOTHING:
        return PayoutJudgement.NOTHING_NEW
    if report.status_class is StatusClass.PENDING:
        return PayoutJudgement.KEEP_PENDING
    is_same_class = attempt.known is not None and attempt.known.status_class is report.status_class
    return PayoutJudgement.NOTHING_NEW if is_same_class else PayoutJudgement.SETTLE
