"""Findings: where a provider and the ledger see something differently, for a person to look at."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import State
from backend.app.domain.errors import AppError, FieldError, NotFound
from backend.app.domain.money import Money


class FindingType(StrEnum):
    """What is different."""

    MISSING_IN_LEDGER = "missing_in_ledger"
    MISSING_IN_PSP = "missing_in_psp"
    AMOUNT_MISMATCH = "amount_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    STATUS_MISMATCH = "status_mismatch"
    DUPLICATE_IN_PSP = "duplicate_in_psp"
    DUPLICATE_IN_LEDGER = "duplicate_in_ledger"
    PAID_AFTER_RELEASE = "paid_after_release"
    RETURNED_AFTER_PAID = "returned_after_paid"
    STALE_IN_TRANSIT = "stale_in_transit"
    ORPHAN_WEBHOOK = "orphan_webhook"
    DUPLICATE_EVENT_BODY_DIFFERS = "duplicate_event_body_differs"
    TENANT_MISMATCH = "tenant_mismatch"
    BALANCE_DRIFT = "balance_drift"
    LEDGER_INVARIANT = "ledger_invariant"
    FEED_ANOMALY = "feed_anomaly"


class Severity(StrEnum):
    """How much depends on somebody looking soon. Critical: money may be lost or paid twice."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class FindingStatus(StrEnum):
    """Whether somebody still has to look."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference. `subject` names what it is about, so that seeing it again is the same finding.

    `evidence` holds the values of both sides, fit for JSON; when it changes, a resolved finding opens again.
    `tx_id` is our deposit or withdrawal. `facts` are the values that make it what it is, the same whoever finds it;
    None: all of the evidence.
    """

    provider: str
    tenant_id: UUID
    finding_type: FindingType
    severity: Severity
    subject: str
    message: str
    evidence: State
    player_id: UUID | None = None
    tx_id: UUID | None = None
    provider_event_id: str | None = None
    provider_ref: str | None = None
    facts: tuple[str | int, ...] | None = None

    @property
    def fingerprint(self) -> bytes:
        """What makes two findings the same: provider, tenant, type and subject; 32 bytes."""
        parts = (self.provider, str(self.tenant_id), self.finding_type.value, self.subject)
        return hashlib.sha256("\x1f".join(parts).encode()).digest()

    @property
    def evidence_hash(self) -> bytes:
        """What has to change for a resolved finding to open again; 32 bytes. As functions of SQL write it."""
        if self.facts is None:
            return hashlib.sha256(json.dumps(self.evidence, sort_keys=True).encode()).digest()
        return hashlib.sha256("\x1f".join(str(fact) for fact in self.facts).encode()).digest()


class ResolutionCode(StrEnum):
    """Why a finding is done with."""

    FIXED_REPLAY = "FIXED_REPLAY"
    FIXED_ADJUSTMENT = "FIXED_ADJUSTMENT"
    PSP_CORRECTED = "PSP_CORRECTED"
    TIMING = "TIMING"
    PSP_TEST_DATA = "PSP_TEST_DATA"
    ACCEPTED = "ACCEPTED"
    WRITE_OFF = "WRITE_OFF"
    FALSE_POSITIVE = "FALSE_POSITIVE"
    OTHER = "OTHER"
    # Given by a run and by nobody else.
    AUTO_CLEARED = "AUTO_CLEARED"
    MERGED = "MERGED"


# What a person may say.
RESOLUTIONS_BY_PEOPLE: Final = frozenset(ResolutionCode) - {ResolutionCode.AUTO_CLEARED, ResolutionCode.MERGED}
NOTE_LENGTH_MAX: Final = 2000


class FindingNotFound(NotFound):
    """404: no such finding, or another tenant's."""

    error_code = "FINDING_NOT_FOUND"
    title = "No such finding"


class FindingChanged(AppError):
    """409: somebody or a run has changed the finding since it was looked at; nothing was done."""

    error_code = "FINDING_CHANGED"
    status = 409
    title = "The finding has changed since it was looked at"


class NotReplayable(AppError):
    """409: the finding names no payment of ours that the provider could be asked about."""

    error_code = "NOT_REPLAYABLE"
    status = 409
    title = "There is nothing to ask the provider about"


class StoredFinding(NamedTuple):
    """One finding as it is kept, in the order of the query's columns."""

    id: UUID
    provider: str
    tenant_id: UUID
    player_id: UUID | None
    tx_id: UUID | None
    provider_event_id: str | None
    provider_ref: str | None
    finding_type: FindingType
    severity: Severity
    status: FindingStatus
    message: str
    evidence: Mapping[str, Any]
    run_id: UUID | None
    resolution_code: str | None
    resolution_note: str | None
    resolved_by: UUID | None
    resolved_at: datetime | None
    assigned_to: UUID | None
    occurrences: int
    account_id: str | None
    item_id: str | None
    transaction_id: UUID | None
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime

    @property
    def version(self) -> str:
        """What changes with everything that a person judges it by: who looks after it, its end, and the evidence."""
        seen = (self.status, self.resolved_at, self.assigned_to, json.dumps(dict(self.evidence), sort_keys=True))
        return hashlib.sha256("\x1f".join(str(each) for each in seen).encode()).hexdigest()[:16]

    @property
    def audit_state(self) -> State:
        """What the audit keeps of it."""
        return {
            "status": self.status,
            "resolution_code": self.resolution_code,
            "resolution_note": self.resolution_note,
            "assigned_to": None if self.assigned_to is None else str(self.assigned_to),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingFilter:
    """What to list; None leaves a field open. created_before: those that are at least so old."""

    provider: str | None = None
    status: FindingStatus | None = None
    finding_type: FindingType | None = None
    severity: Severity | None = None
    tenant_id: UUID | None = None
    player_id: UUID | None = None
    tx_id: UUID | None = None
    provider_event_id: str | None = None
    run_id: UUID | None = None
    assigned_to: UUID | None = None
    is_unassigned: bool = False
    created_before: datetime | None = None


def money_facts(money: Money) -> tuple[int, str]:
    """An amount as a fact of a finding."""
    return money.amount_minor, money.currency


def parse_resolution(code: str | None) -> ResolutionCode:
    """The code that a person gives; without one, OTHER. Raises FieldError."""
    if code is None:
        return ResolutionCode.OTHER
    if code not in RESOLUTIONS_BY_PEOPLE:
        raise FieldError("resolution_code", f"is one of {', '.join(sorted(RESOLUTIONS_BY_PEOPLE))}")
    return ResolutionCode(code)
