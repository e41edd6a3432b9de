"""What a person has to look at when a provider and our attempt at a payout disagree. None of it moves money."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

from backend.app.domain.finding import Finding, FindingType, Severity, money_facts
from backend.app.domain.money import Money, format_amount
from backend.app.domain.payments.payout import Attempt, PayoutJudgement, PayoutReport
from backend.app.domain.payments.psp_event import PspEvent

_J = PayoutJudgement
_F = FindingType

_BY_JUDGEMENT: Final[Mapping[PayoutJudgement, tuple[FindingType, Severity, str]]] = MappingProxyType(
    {
        _J.CONTRADICTS: (
            _F.STATUS_MISMATCH,
            Severity.HIGH,
            "the provider contradicts what it said before and what was booked; the first stands",
        ),
        _J.PAID_AFTER_FAILED: (
            _F.PAID_AFTER_RELEASE,
            Severity.CRITICAL,
            "paid after it had failed: the money may have been released or paid again meanwhile",
        ),
        _J.OTHER_AMOUNT: (
            _F.AMOUNT_MISMATCH,
            Severity.CRITICAL,
            "the provider moved another amount; the attempt stays open, nothing is booked and nothing released",
        ),
        _J.OTHER_CURRENCY: (
            _F.CURRENCY_MISMATCH,
            Severity.CRITICAL,
            "the provider moved another currency; the attempt stays open, nothing is booked and nothing released",
        ),
        _J.OTHER_ACCOUNT: (
            _F.TENANT_MISMATCH,
            Severity.CRITICAL,
            "the delivery is of another account than the attempt's; it moved nothing",
        ),
        _J.OTHER_PROVIDER: (
            _F.ORPHAN_WEBHOOK,
            Severity.HIGH,
            "another provider than the attempt's speaks of it; it moved nothing",
        ),
        _J.OTHER_PAYOUT: (
            _F.DUPLICATE_IN_PSP,
            Severity.CRITICAL,
            "a second payout at the provider has the attempt's name: it may have been paid twice",
        ),
    }
)


def finding_of_report(
    judgement: PayoutJudgement, *, attempt: Attempt, report: PayoutReport, account_id: str | None
) -> Finding:
    """The finding that a report makes which moved nothing."""
    finding_type, severity, message = _BY_JUDGEMENT[judgement]
    return Finding(
        provider=report.provider,
        tenant_id=attempt.tenant_id,
        player_id=attempt.player_id,
        tx_id=attempt.withdrawal_id,
        provider_event_id=report.provider_event_id,
        provider_ref=report.provider_ref,
        finding_type=finding_type,
        severity=severity,
        # A second payout under one name is another difference than a third.
        subject=attempt.reference if report.provider_ref is None else f"{attempt.reference} {report.provider_ref}",
        message=message,
        evidence={
            "attempt": attempt.reference,
            "attempt_state": str(attempt.state),
            "attempt_amount": _text(attempt.money),
            "attempt_account": attempt.account_id,
            "attempt_provider_ref": attempt.provider_ref,
            "provider_status": report.status_class.value,
            "provider_amount": None if report.money is None else _text(report.money),
            "provider_account": account_id,
            "provider_ref": report.provider_ref,
            "ours_amount_minor": attempt.money.amount_minor,
            "ours_currency": attempt.money.currency,
            "theirs_amount_minor": None if report.money is None else report.money.amount_minor,
            "theirs_currency": None if report.money is None else report.money.currency,
        },
        facts=_facts(finding_type, attempt=attempt, report=report),
    )


def _facts(finding_type: FindingType, *, attempt: Attempt, report: PayoutReport) -> tuple[str | int, ...] | None:
    """What a run of reconciliation takes the same difference for (sql/reconciliation_find.sql)."""
    match finding_type:
        case FindingType.AMOUNT_MISMATCH | FindingType.CURRENCY_MISMATCH if report.money is not None:
            return (*money_facts(attempt.money), *money_facts(report.money))
        case FindingType.PAID_AFTER_RELEASE | FindingType.DUPLICATE_IN_PSP if report.money is not None:
            return money_facts(report.money)
        case FindingType.STATUS_MISMATCH if attempt.known is not None:
            return (attempt.known.status_class.value, report.status_class.value)
        case _:
            return None


def finding_of_refusal(attempt: Attempt, *, report: PayoutReport, ledger_code: str) -> Finding:
    """The provider settled a payout and the ledger cannot follow: balances were changed outside. It is tried again."""
    return _finding(
        attempt,
        FindingType.LEDGER_INVARIANT,
        Severity.CRITICAL,
        "the provider has settled the payout and the ledger refused to follow; it is tried again at every check",
        provider_status=report.status_class.value,
        ledger_code=ledger_code,
    )


def finding_of_missing(attempt: Attempt) -> Finding:
    """The provider does not know a payout any more that it had named."""
    return _finding(
        attempt,
        FindingType.MISSING_IN_PSP,
        Severity.HIGH,
        "the provider does not know the payout that it took; it is not sent again",
    )


def finding_of_stale(attempt: Attempt) -> Finding:
    """A payout has been open for longer than any provider takes, or its key is too old to be sent again."""
    return _finding(
        attempt,
        FindingType.STALE_IN_TRANSIT,
        Severity.HIGH,
        "nobody knows what became of the payout; ask the provider. Nothing is released meanwhile",
    )


def finding_of_key_conflict(attempt: Attempt) -> Finding:
    """The provider knows our key for something else."""
    return _finding(
        attempt,
        FindingType.DUPLICATE_IN_PSP,
        Severity.CRITICAL,
        "the provider knows the attempt's key for another payment",
    )


def finding_of_orphan(event: PspEvent, *, tenant_id: UUID, account_id: str) -> Finding:
    """A verified event of a tenant's account about a payout that we do not know."""
    return Finding(
        provider=event.provider,
        tenant_id=tenant_id,
        finding_type=FindingType.ORPHAN_WEBHOOK,
        severity=Severity.HIGH,
        subject=f"{account_id} {event.provider_ref} {event.reference}",
        provider_event_id=event.provider_event_id,
        provider_ref=event.provider_ref,
        message="the provider speaks of a payout that is not ours",
        evidence={
            "type": event.type.value,
            "account": account_id,
            "provider_ref": event.provider_ref,
            "reference": event.reference,
            "provider_amount": None if event.money is None else _text(event.money),
        },
    )


def _finding(
    attempt: Attempt, finding_type: FindingType, severity: Severity, message: str, **evidence: str | None
) -> Finding:
    return Finding(
        provider=attempt.provider,
        tenant_id=attempt.tenant_id,
        player_id=attempt.player_id,
        tx_id=attempt.withdrawal_id,
        provider_ref=attempt.provider_ref,
        finding_type=finding_type,
        severity=severity,
        subject=attempt.reference,
        message=message,
        evidence={"attempt": attempt.reference, "attempt_amount": _text(attempt.money), **evidence},
        facts=money_facts(attempt.money)
        if finding_type in (FindingType.MISSING_IN_PSP, FindingType.STALE_IN_TRANSIT)
        else None,
    )


def _text(money: Money) -> str:
    return f"{format_amount(money.amount_minor, currency=money.currency)} {money.currency}"
