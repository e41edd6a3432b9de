"""Deliveries of providers as people look at them: what waits, a page, and one with all that is kept of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import AuditEvent
from backend.app.domain.payments.psp_delivery import EventState, PspEventRow

# What waits for its time or for a person.
WAITING_STATES: Final = (EventState.PENDING, EventState.DEAD, EventState.QUARANTINED)
# Queues are counted so far: beyond it is "more than".
COUNTED_MAX: Final = 10_000
# A search looks through so many deliveries at a time, so that a rare one costs no more than a common one.
LOOKED_AT_MAX: Final = 20_000
# So much of a body is shown; what providers send is far smaller.
BODY_BYTES_MAX: Final = 64 * 1024


class WebhookQueue(NamedTuple):
    """Deliveries of one state, in the order of the query's columns. oldest_at None: none waits."""

    state: str
    events: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookFilter:
    """Which deliveries to list; None leaves a field open. received_before: those that are at least so old."""

    provider: str | None = None
    state: EventState | None = None
    event_type: str | None = None
    effect: str | None = None
    signature_status: str | None = None
    provider_event_id: str | None = None
    tx_id: UUID | None = None
    received_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPage:
    """A page of deliveries. goes_on_before: from where the next page, or the next search, begins; None: that is all.

    names: of tenants, by id.
    """

    events: Sequence[PspEventRow]
    goes_on_before: UUID | None
    names: Mapping[UUID, str]
    queues: Sequence[WebhookQueue]


class KeptDelivery(NamedTuple):
    """What is kept of a delivery beside its row, in the order of the query's columns after those of the row."""

    headers: Mapping[str, str]
    request_id: str | None
    body_sha256: bytes
    body: bytes
    kept_size: int
    tenant_name: str | None
    tx_kind: str | None
    player_id: UUID | None


class LinkedFinding(NamedTuple):
    """A finding of a delivery, in the order of the query's columns."""

    id: UUID
    finding_type: str
    severity: str
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDetail:
    """One delivery with everything that is kept of it."""

    event: PspEventRow
    kept: KeptDelivery
    findings: Sequence[LinkedFinding]
    history: Sequence[AuditEvent]

    @property
    def is_cut(self) -> bool:
        """Whether less is shown than came in."""
        return len(self.kept.body) < self.event.body_size

    @property
    def body_text(self) -> str:
        """The body exactly as it came: what was signed. What is no text is marked."""
        text = self.kept.body.decode("utf-8", errors="replace")
        return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
