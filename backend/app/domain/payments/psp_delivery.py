"""Deliveries of providers: what came in, what is kept of it, and what becomes of it in the inbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError, NotFound, TemporarilyUnavailable
from backend.app.domain.payments.psp_event import Applied, Effect

# How long after each failure an event is tried again; after the last it is dead until somebody looks.
RETRIES_AFTER: Final = (
    timedelta(seconds=2),
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
    timedelta(hours=12),
)
# A hint is asked about outside any transaction; whoever took it and died has lost it after this.
HINT_LEASE: Final = timedelta(minutes=1)
# What is not verified may come from anybody, in any number: so many a minute for each provider, and so much of each.
UNVERIFIED_PER_MINUTE_MAX: Final = 120
UNVERIFIED_BODY_BYTES_MAX: Final = 8 * 1024
UNVERIFIED_KEPT_FOR: Final = timedelta(days=3)

HEADER_CHARS_MAX: Final = 512
# What is kept as evidence; never what authenticates somebody elsewhere.
KEPT_HEADERS: Final = frozenset(
    {
        "content-length",
        "content-type",
        "hmacsignature",
        "stripe-signature",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)


class UnknownProvider(NotFound):
    """404: webhooks of this provider, or for this account at it, are not taken here."""

    error_code = "UNKNOWN_PROVIDER"
    title = "No such provider or account"


class WebhookSignatureInvalid(AppError):
    """401: the delivery is not signed by the provider, or not now; which check failed is not told."""

    error_code = "WEBHOOK_SIGNATURE_INVALID"
    status = 401
    title = "The signature of the webhook is not valid"
    challenge: Final = 'Signature realm="psp-webhook"'


class InboxFull(TemporarilyUnavailable):
    """503: too many deliveries that nobody vouches for; this one was not stored."""

    error_code = "INBOX_FULL"
    title = "Too many unverified deliveries; deliver again later"


class PspEventNotFound(NotFound):
    """404: no such provider event in this tenant."""

    error_code = "PSP_EVENT_NOT_FOUND"
    title = "No such provider event"


class PullRefused(AppError):
    """409: the provider was asked, and the ledger did not take its answer; nothing has moved."""

    error_code = "PULL_REFUSED"
    status = 409
    title = "The provider's answer cannot be booked"


class EventState(StrEnum):
    """Where a delivery stands in the inbox."""

    # Not applied yet, or to be tried again.
    PENDING = "pending"
    APPLIED = "applied"
    # Nothing in it is for us to act on.
    IGNORED = "ignored"
    # Verified, and not readable: somebody has to look.
    QUARANTINED = "quarantined"
    # Tried as often as it is tried.
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came in. `account_id` is the one in the address, if there is one; headers as HTTP had them.

    source_address: who sent it as far as the connection says, None when unknown. It proves nothing but where from.
    """

    provider: str
    account_id: str | None
    raw_body: bytes
    headers: Mapping[str, str]
    request_id: str | None
    received_at: datetime
    source_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreDelivery:
    """What is kept of a delivery. Of one that is not verified the body may be cut; size and hash are of the whole."""

    event_id: UUID
    provider: str
    account_id: str
    provider_event_id: str | None
    is_verified: bool
    signature_result: str
    secret_name: str | None
    tenant_id: UUID | None
    body: bytes
    body_size: int
    body_sha256: bytes
    headers: Mapping[str, str]
    request_id: str | None
    received_at: datetime


class Stored(NamedTuple):
    """Where a delivery is kept, now or since an earlier one of the same name."""

    event_id: UUID
    is_new: bool
    is_same_body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a provider is told, and what is to be applied next."""

    event_id: UUID
    is_duplicate: bool


class PendingEvent(NamedTuple):
    """A delivery to be applied, its row locked; in the order of the query's columns."""

    id: UUID
    provider: str
    account_id: str
    provider_event_id: str | None
    is_verified: bool
    secret_name: str | None
    body: bytes
    attempts: int
    tenant_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a delivery."""

    state: EventState
    event_type: str | None = None
    effect: Effect | None = None
    tenant_id: UUID | None = None
    tx_id: UUID | None = None
    detail: str | None = None
    last_error: str | None = None


class PspEventRow(NamedTuple):
    """A delivery as people see it, in the order of the query's columns."""

    id: UUID
    provider: str
    account_id: str
    provider_event_id: str | None
    signature_status: str
    signature_result: str
    secret_name: str | None
    state: str
    event_type: str | None
    effect: str | None
    detail: str | None
    last_error: str | None
    attempts: int
    next_attempt_at: datetime | None
    body_size: int
    tenant_id: UUID | None
    tx_id: UUID | None
    received_at: datetime
    applied_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PspEventFilter:
    """Which deliveries to list; None leaves a field open."""

    provider: str | None = None
    state: str | None = None
    signature_status: str | None = None


# Which effect speaks for a delivery of several events: the one that needs somebody most.
_WEIGHT: Final = (Effect.FINDING, Effect.ORPHAN, Effect.APPLIED, Effect.NOTHING_NEW)


def outcome_of(applied: Sequence[Applied], *, event_type: str) -> Outcome:
    """What became of a delivery whose events, at least one, had these effects."""
    effect = min((each.effect for each in applied), key=_WEIGHT.index)
    is_ours = any(each.effect is not Effect.ORPHAN for each in applied)
    return Outcome(
        state=EventState.APPLIED if is_ours else EventState.IGNORED,
        event_type=event_type,
        effect=effect,
        tenant_id=next((each.tenant_id for each in applied if each.tenant_id is not None), None),
        tx_id=next((each.tx_id for each in applied if each.tx_id is not None), None),
        detail="; ".join(dict.fromkeys(each.detail for each in applied if each.detail))[:500] or None,
    )


def retry_at(attempts: int, *, now: datetime) -> datetime | None:
    """When an event is tried again that has failed `attempts` times, this one included; None: no more."""
    return now + RETRIES_AFTER[attempts - 1] if attempts <= len(RETRIES_AFTER) else None


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are evidence, fit for JSON: names in lower case, values cut, nothing unprintable."""
    return {
        name.lower(): "".join(char if char.isprintable() else "?" for char in value[:HEADER_CHARS_MAX])
        for name, value in headers.items()
        if name.lower() in KEPT_HEADERS
    }
