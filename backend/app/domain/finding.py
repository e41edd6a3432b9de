"""Findings: where a provider and the ledger see something differently, for a person to look at."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from backend.app.domain.audit import State


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
    `tx_id` is our deposit or withdrawal.
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

    @property
    def fingerprint(self) -> bytes:
        """What makes two findings the same: provider, tenant, type and subject; 32 bytes."""
        parts = (self.provider, str(self.tenant_id), self.finding_type.value, self.subject)
        return hashlib.sha256("\x1f".join(parts).encode()).digest()
