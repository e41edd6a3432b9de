"""The money's way through a withdrawal: request, decisions, attempts, webhooks and postings, in the order of time."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from backend.app.domain.audit import AuditEvent
from backend.app.domain.desk.withdrawal_desk import DeskDetail, WebhookSeen
from backend.app.domain.payments.payout import Attempt


class Event(NamedTuple):
    """One thing that happened. kind and name make the key of its text; the rest is shown as it is, if not empty."""

    at: datetime
    kind: str
    name: str
    by: str = ""
    reason: str = ""
    detail: str = ""


def events_of(detail: DeskDetail) -> Sequence[Event]:
    """Everything about a withdrawal, the earliest first."""
    history = detail.history
    requested = Event(history.withdrawal.created_at, "deed", "withdrawal.requested", by=detail.player.email)
    events = [
        requested,
        *(_deed(deed) for deed in history.deeds),
        *(event for attempt in history.attempts for event in _attempt(attempt)),
        *(_webhook(webhook) for webhook in detail.webhooks),
    ]
    return sorted(events, key=lambda event: event.at)


def _deed(deed: AuditEvent) -> Event:
    return Event(deed.recorded_at, "deed", deed.action, by=deed.actor_label, reason=deed.reason or "")


def _attempt(attempt: Attempt) -> list[Event]:
    name = f"{attempt.provider} · {attempt.reference}"
    sent = Event(attempt.created_at, "attempt", "created", detail=name)
    if attempt.state_at == attempt.created_at:
        return [sent]
    detail = " · ".join(part for part in (name, attempt.provider_ref, attempt.failure_code) if part)
    return [sent, Event(attempt.state_at, "attempt", str(attempt.state), detail=detail)]


def _webhook(webhook: WebhookSeen) -> Event:
    parts = (webhook.provider, webhook.event_type, webhook.provider_event_id)
    return Event(
        webhook.received_at, "webhook", webhook.signature_status, detail=" · ".join(part for part in parts if part)
    )
