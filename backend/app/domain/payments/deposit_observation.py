"""What a provider says about a deposit, whoever brings it, and what is to be done about it. Pure.

Three bring it: the answer to our own request, a webhook, a poll. All end here, so that they can come in any order and
any number of times.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from backend.app.domain.audit import State
from backend.app.domain.deposit import DepositState
from backend.app.domain.finding import Finding, FindingType, Severity, money_facts
from backend.app.domain.money import Money, format_amount
from backend.app.domain.payments.psp_event import (
    Effect,
    Judgement,
    Observation,
    PspEvent,
    StatusClass,
    judge_observation,
)

# How long after a deposit was opened its provider is asked for the first time, and how long after each check for the
# next; the last one repeats for as long as the deposit is open.
FIRST_CHECK_AFTER: Final = timedelta(seconds=30)
CHECKS_AFTER: Final = (
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
)
# A provider that still knows of no such payment at this check will not hear of it from us any more: seven hours ago the
# last request had long ended.
CHECKS_BEFORE_LOST: Final = 5
LOST_CODE: Final = "unknown_to_provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeposit:
    """A deposit as its row says under the lock."""

    id: UUID
    tenant_id: UUID
    player_id: UUID
    money: Money
    state: DepositState
    method: str
    provider: str
    provider_ref: str | None
    provider_event_id: str | None
    failure_code: str | None
    status_class: StatusClass | None
    provider_sequence: int | None
    checks: int
    idempotency_key: str
    request_hash: bytes
    created_at: datetime
    updated_at: datetime

    @property
    def known(self) -> Observation | None:
        """What the provider was last believed to say."""
        if self.status_class is None:
            return None
        return Observation(status_class=self.status_class, sequence=self.provider_sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositObservation:
    """One telling about one deposit. `account_id` is the account that a delivery was verified for; None: we asked."""

    deposit_id: UUID
    status_class: StatusClass
    sequence: int | None = None
    money: Money | None = None
    provider_ref: str | None = None
    provider_event_id: str | None = None
    occurred_at: datetime | None = None
    failure_code: str | None = None
    account_id: str | None = None

    @property
    def observation(self) -> Observation:
        """The part that decides whether it counts."""
        return Observation(status_class=self.status_class, sequence=self.sequence)


def observation_from(event: PspEvent, *, deposit_id: UUID, account_id: str | None) -> DepositObservation:
    """What a provider event tells about a deposit."""
    return DepositObservation(
        deposit_id=deposit_id,
        status_class=event.status_class,
        sequence=event.sequence,
        money=event.money,
        provider_ref=event.provider_ref,
        provider_event_id=event.provider_event_id,
        occurred_at=event.occurred_at,
        failure_code=event.failure_code,
        account_id=account_id,
    )


class Step(StrEnum):
    """What is to be written."""

    CAPTURE = "capture"
    # Captured first where that was not known yet: what was given back had been collected.
    REFUND = "refund"
    FAIL = "fail"
    # Nothing but what the provider was believed to say.
    NOTE = "note"
    NOTHING = "nothing"
    # A person has to look; nothing moves.
    FIND = "find"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one observation does to a deposit. The finding's parts are given where the step is FIND."""

    step: Step
    effect: Effect
    finding_type: FindingType | None = None
    severity: Severity | None = None
    detail: str = ""


_NOTHING: Final = Plan(step=Step.NOTHING, effect=Effect.NOTHING_NEW, detail="known already")
_STEPS: Final = {
    StatusClass.PENDING: Step.NOTE,
    StatusClass.SUCCESS: Step.CAPTURE,
    StatusClass.FAILED: Step.FAIL,
    StatusClass.REVERSED: Step.REFUND,
}


def plan_observation(deposit: StoredDeposit, arrived: DepositObservation, *, account_tenant_id: UUID | None) -> Plan:
    """What is to be done. `account_tenant_id` is the tenant of the observation's account, where it has one.

    What cannot be ours to book is found out before the observation is judged: what is found must not depend on who came
    first.
    """
    if arrived.account_id is not None and account_tenant_id != deposit.tenant_id:
        return _found(FindingType.TENANT_MISMATCH, Severity.CRITICAL, "the account is not of the deposit's tenant")
    if arrived.money is not None and arrived.status_class in (StatusClass.SUCCESS, StatusClass.REVERSED):
        if arrived.money.currency != deposit.money.currency:
            return _found(FindingType.CURRENCY_MISMATCH, Severity.CRITICAL, "another currency than was asked for")
        if arrived.money.amount_minor != deposit.money.amount_minor:
            return _found(FindingType.AMOUNT_MISMATCH, Severity.CRITICAL, "another amount than was asked for")
    if (
        arrived.status_class is StatusClass.SUCCESS
        and deposit.status_class in (StatusClass.SUCCESS, StatusClass.REVERSED)
        and None not in (arrived.provider_ref, deposit.provider_ref)
        and arrived.provider_ref != deposit.provider_ref
    ):
        return _found(FindingType.DUPLICATE_IN_PSP, Severity.CRITICAL, "captured under two names at the provider")
    judgement = judge_observation(arrived.observation, known=deposit.known)
    if judgement is Judgement.CONFLICTS:
        is_money_there = arrived.status_class is StatusClass.SUCCESS
        return _found(
            FindingType.STATUS_MISMATCH,
            Severity.CRITICAL if is_money_there else Severity.HIGH,
            f"{arrived.status_class} after {deposit.status_class}",
        )
    if judgement is Judgement.ADDS_NOTHING:
        return _NOTHING
    if arrived.status_class is deposit.status_class:
        return Plan(step=Step.NOTE, effect=Effect.NOTHING_NEW, detail="known already, by an earlier sequence")
    return Plan(step=_STEPS[arrived.status_class], effect=Effect.APPLIED, detail=arrived.status_class.value)


def after(deposit: StoredDeposit, arrived: DepositObservation, *, step: Step) -> dict[str, object]:
    """The columns of the deposit that differ once the step is done; for the next observation of the same batch."""
    changes: dict[str, object] = {"status_class": arrived.status_class, "provider_sequence": arrived.sequence}
    match step:
        case Step.NOTHING | Step.FIND:
            return {}
        case Step.CAPTURE | Step.REFUND:
            is_capture = step is Step.CAPTURE
            changes["state"] = DepositState.COMPLETED if is_capture else DepositState.REFUNDED
            changes["provider_ref"] = (
                arrived.provider_ref if is_capture else deposit.provider_ref or arrived.provider_ref
            )
            if is_capture:
                changes["provider_event_id"] = arrived.provider_event_id
        case Step.FAIL:
            changes["state"] = DepositState.FAILED
            changes["failure_code"] = arrived.failure_code
            changes["provider_ref"] = deposit.provider_ref or arrived.provider_ref
        case Step.NOTE:
            changes["provider_ref"] = deposit.provider_ref or arrived.provider_ref
    return changes


def next_check_after(checks: int) -> timedelta:
    """How long after its check number `checks`, the first being 0, a deposit is checked again."""
    return CHECKS_AFTER[min(checks, len(CHECKS_AFTER) - 1)]


def finding_of(deposit: StoredDeposit, arrived: DepositObservation, plan: Plan) -> Finding:
    """The finding that a plan asks for, with the values of both sides."""
    assert plan.finding_type is not None, f"{plan.step} finds nothing"
    assert plan.severity is not None, f"{plan.step} finds nothing"
    evidence: State = {
        "ours_amount": _text(deposit.money),
        "ours_state": deposit.state.value,
        "ours_provider_ref": deposit.provider_ref,
        "theirs_amount": _text(arrived.money),
        "theirs_status": arrived.status_class.value,
        "theirs_provider_ref": arrived.provider_ref,
        "account_id": arrived.account_id,
        "ours_amount_minor": deposit.money.amount_minor,
        "ours_currency": deposit.money.currency,
        "theirs_amount_minor": None if arrived.money is None else arrived.money.amount_minor,
        "theirs_currency": None if arrived.money is None else arrived.money.currency,
    }
    return Finding(
        provider=deposit.provider,
        tenant_id=deposit.tenant_id,
        finding_type=plan.finding_type,
        severity=plan.severity,
        # A second payment of one deposit is another difference than a third.
        subject=f"deposit:{deposit.id} {arrived.provider_ref}"
        if plan.finding_type is FindingType.DUPLICATE_IN_PSP
        else f"deposit:{deposit.id}",
        message=f"deposit {deposit.id}: {plan.detail}",
        evidence=evidence,
        facts=_facts(deposit, arrived, plan.finding_type),
        player_id=deposit.player_id,
        tx_id=deposit.id,
        provider_event_id=arrived.provider_event_id,
        provider_ref=arrived.provider_ref,
    )


def shortfall_of(deposit: StoredDeposit, arrived: DepositObservation, *, missing_minor: int) -> Finding:
    """The finding for a refund of money that the player no longer had."""
    return Finding(
        provider=deposit.provider,
        tenant_id=deposit.tenant_id,
        finding_type=FindingType.RETURNED_AFTER_PAID,
        severity=Severity.HIGH,
        subject=f"deposit:{deposit.id}",
        message=f"deposit {deposit.id} was refunded after the player had spent it; the house carries the rest",
        evidence={
            "refunded": _text(deposit.money),
            "carried_by_house": _text(Money(amount_minor=missing_minor, currency=deposit.money.currency)),
        },
        player_id=deposit.player_id,
        tx_id=deposit.id,
        provider_event_id=arrived.provider_event_id,
        provider_ref=deposit.provider_ref,
    )


def _found(finding_type: FindingType, severity: Severity, detail: str) -> Plan:
    return Plan(step=Step.FIND, effect=Effect.FINDING, finding_type=finding_type, severity=severity, detail=detail)


def _facts(
    deposit: StoredDeposit, arrived: DepositObservation, finding_type: FindingType
) -> tuple[str | int, ...] | None:
    """What a run of reconciliation takes the same difference for (sql/reconciliation_find.sql)."""
    match finding_type:
        case FindingType.AMOUNT_MISMATCH | FindingType.CURRENCY_MISMATCH if arrived.money is not None:
            return (*money_facts(deposit.money), *money_facts(arrived.money))
        case FindingType.DUPLICATE_IN_PSP if arrived.money is not None:
            return money_facts(arrived.money)
        case FindingType.STATUS_MISMATCH if deposit.status_class is not None:
            return (deposit.status_class.value, arrived.status_class.value)
        case _:
            return None


def _text(money: Money | None) -> str | None:
    if money is None:
        return None
    return f"{format_amount(money.amount_minor, currency=money.currency)} {money.currency}"
