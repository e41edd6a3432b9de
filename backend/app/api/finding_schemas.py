"""Findings as answers show them, and what is sent about them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from backend.app.domain.finding import NOTE_LENGTH_MAX, FindingStatus, FindingType, Severity, StoredFinding
from backend.app.domain.reconciliation.finding_catalogue import CATALOGUE
from backend.app.domain.reconciliation.finding_csv import amount_of

Note = Annotated[str, msgspec.Meta(max_length=NOTE_LENGTH_MAX)]


class Advice(msgspec.Struct, kw_only=True):
    """What a finding of this type means and what to do, in both languages; `command` is ready to be typed."""

    message_en: str
    message_tr: str
    action_en: str
    action_tr: str
    command: str


class FindingOut(msgspec.Struct, kw_only=True):
    """One difference. Both amounts are decimal strings with their currency, where a side has one."""

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
    ours_amount: str | None
    theirs_amount: str | None
    evidence: dict[str, Any]
    advice: Advice
    run_id: UUID | None
    resolution_code: str | None
    resolution_note: str | None
    resolved_by: UUID | None
    resolved_at: datetime | None
    assigned_to: UUID | None
    occurrences: int
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime


class ResolveIn(msgspec.Struct, kw_only=True):
    """Why it is done with; without a code: OTHER."""

    resolution_code: str | None = None
    note: Note | None = None


class NoteIn(msgspec.Struct, kw_only=True):
    """A remark for the history."""

    note: Note


class AssignIn(msgspec.Struct, kw_only=True):
    """Who looks after it; null: nobody."""

    assigned_to: UUID | None
    note: Note | None = None


class ReplayOut(msgspec.Struct, kw_only=True):
    """What the provider's answer did: applied, nothing_new, orphan or finding. The next run clears what it repaired."""

    effect: str
    detail: str
    tx_id: UUID | None


def finding_out(finding: StoredFinding) -> FindingOut:
    """The finding as an answer shows it."""
    finding_type = FindingType(finding.finding_type)
    entry = CATALOGUE[finding_type]
    return FindingOut(
        id=finding.id,
        provider=finding.provider,
        tenant_id=finding.tenant_id,
        player_id=finding.player_id,
        tx_id=finding.tx_id,
        provider_event_id=finding.provider_event_id,
        provider_ref=finding.provider_ref,
        finding_type=finding_type,
        severity=Severity(finding.severity),
        status=FindingStatus(finding.status),
        message=finding.message,
        ours_amount=amount_of(finding, "ours"),
        theirs_amount=amount_of(finding, "theirs"),
        evidence=dict(finding.evidence),
        advice=Advice(
            message_en=entry.message_en,
            message_tr=entry.message_tr,
            action_en=entry.action_en,
            action_tr=entry.action_tr,
            command=entry.command.format(id=finding.id, provider=finding.provider, tenant_id=finding.tenant_id),
        ),
        run_id=finding.run_id,
        resolution_code=finding.resolution_code,
        resolution_note=finding.resolution_note,
        resolved_by=finding.resolved_by,
        resolved_at=finding.resolved_at,
        assigned_to=finding.assigned_to,
        occurrences=finding.occurrences,
        created_at=finding.created_at,
        updated_at=finding.updated_at,
        last_seen_at=finding.last_seen_at,
    )
