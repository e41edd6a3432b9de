"""What Adyen's platform webhooks say: transfers, by which payouts are made, and the rest, which is not ours to act on.

A transfer's `status` ends at `booked` for a payout that goes well. What follows is in `tracking`: a bank confirms
`credited`, a card scheme `accepted`. A transfer to a bank that is not instant only gets an estimate and stays pending
here. Sources: docs.adyen.com/payouts/payout-service/payout-lifecycle and the schema of Transfer webhooks v4.
"""

from typing import Final

import msgspec

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import PspEvent, PspEventType
from backend.app.psp.event_fields import (
    EventSequence,
    decode,
    find_failure_code,
    find_identifier,
    find_time,
    read_identifier,
    read_money,
)
from backend.app.psp.webhook import UnparsableEvent, digest_id

PROVIDER: Final = "adyen"

# Where Adyen counts other decimal digits than ISO 4217 (docs.adyen.com/development-resources/currency-codes).
EXPONENTS: Final = {"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}

_TRANSFER_TYPES: Final = frozenset({"balancePlatform.transfer.created", "balancePlatform.transfer.updated"})
_TYPE_BY_STATUS: Final = {
    "received": PspEventType.PAYOUT_PENDING,
    "approvalPending": PspEventType.PAYOUT_PENDING,
    "pendingApproval": PspEventType.PAYOUT_PENDING,
    "pendingExecution": PspEventType.PAYOUT_PENDING,
    "pending": PspEventType.PAYOUT_PENDING,
    "authorised": PspEventType.PAYOUT_PENDING,
    "booked": PspEventType.PAYOUT_PENDING,
    "credited": PspEventType.PAYOUT_PAID,
    "refused": PspEventType.PAYOUT_FAILED,
    "rejected": PspEventType.PAYOUT_FAILED,
    "cancelled": PspEventType.PAYOUT_FAILED,
    "expired": PspEventType.PAYOUT_FAILED,
    "error": PspEventType.PAYOUT_FAILED,
    "failed": PspEventType.PAYOUT_FAILED,
    "returned": PspEventType.PAYOUT_RETURNED,
}
_ARRIVALS: Final = frozenset({("confirmation", "credited"), ("confirmation", "accepted")})


class Amount(msgspec.Struct, frozen=True):
    """An amount in Adyen's minor units."""

    value: int
    currency: str


class _Tracking(msgspec.Struct, frozen=True):
    type: str | None = None
    status: str | None = None


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    id: str | None = None
    balance_platform: str | None = None
    sequence_number: EventSequence | None = None


class _Transfer(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    amount: Amount | None = None
    category: str | None = None
    direction: str | None = None
    reference: str | None = None
    reason: str | None = None
    updated_at: str | None = None
    tracking: _Tracking | None = None


class _Body(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw
    timestamp: str | None = None


_BODY: Final = msgspec.json.Decoder(_Body)
_DATA: Final = msgspec.json.Decoder(_Data)
_TRANSFER: Final = msgspec.json.Decoder(_Transfer)


def event_id(raw_body: bytes) -> str:
    """The event's id: its type, object and number, or a digest of a body that has no such thing."""
    try:
        body = decode(raw_body, decoder=_BODY)
        return _event_id(body, decode(body.data, decoder=_DATA), raw_body=raw_body)
    except UnparsableEvent:
        return digest_id(raw_body)


def parse_event(raw_body: bytes) -> PspEvent:
    """The event of a platform webhook. Raises UnparsableEvent."""
    body = decode(raw_body, decoder=_BODY)
    data = decode(body.data, decoder=_DATA)
    transfer = decode(body.data, decoder=_TRANSFER) if body.type in _TRANSFER_TYPES else None
    event_type = _read_type(transfer) if transfer else PspEventType.UNKNOWN
    is_bad = event_type in (PspEventType.PAYOUT_FAILED, PspEventType.PAYOUT_RETURNED)
    is_known = event_type != PspEventType.UNKNOWN
    return PspEvent(
        provider=PROVIDER,
        account_hint=find_identifier(data.balance_platform, field="data.balancePlatform"),
        provider_event_id=_event_id(body, data, raw_body=raw_body),
        type=event_type,
        provider_ref=read_identifier(data.id, field="data.id")
        if is_known
        else find_identifier(data.id, field="data.id"),
        reference=find_identifier(transfer.reference if transfer else None, field="data.reference"),
        sequence=data.sequence_number,
        money=find_money(transfer.amount if transfer else None, event_type=event_type),
        occurred_at=find_time(body.timestamp) or find_time(transfer.updated_at if transfer else None),
        failure_code=find_failure_code(transfer.reason) if transfer and is_bad else None,
    )


def find_money(amount: Amount | None, *, event_type: PspEventType) -> Money | None:
    """The amount of a known event, which has one; None of any other. Raises UnparsableEvent."""
    if event_type == PspEventType.UNKNOWN:
        return None
    if amount is None:
        raise UnparsableEvent("amount is missing")
    return read_money(amount.value, currency=amount.currency, exponents=EXPONENTS)


def _read_type(transfer: _Transfer) -> PspEventType:
    """What the transfer means. Money that comes in or moves between our own accounts is no payout."""
    if transfer.direction not in (None, "outgoing") or transfer.category not in (None, "bank", "card"):
        return PspEventType.UNKNOWN
    tracking = transfer.tracking
    if transfer.status == "booked" and tracking and (tracking.type, tracking.status) in _ARRIVALS:
        return PspEventType.PAYOUT_PAID
    return _TYPE_BY_STATUS.get(transfer.status, PspEventType.UNKNOWN)


def _event_id(body: _Body, data: _Data, *, raw_body: bytes) -> str:
    if not data.id or data.sequence_number is None:
        return digest_id(raw_body)
    return read_identifier(f"{body.type}:{data.id}:{data.sequence_number}", field="data.id")
