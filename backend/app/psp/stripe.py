"""Stripe's webhooks: `Stripe-Signature: t=…,v1=…` over `t.body`, and what payouts, intents and charges mean for us.

Our reference travels in the object's metadata under `reference`. Sources: docs.stripe.com/webhooks/signature,
docs.stripe.com/api/events, docs.stripe.com/currencies#special-cases.
"""

import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from backend.app.domain.money import CURRENCY_EXPONENTS, Money
from backend.app.domain.payments.psp_event import PspEvent, PspEventType
from backend.app.psp.event_fields import (
    decode,
    find_failure_code,
    find_identifier,
    find_time,
    read_identifier,
    read_money,
)
from backend.app.psp.webhook import (
    Headers,
    Secret,
    SignatureStatus,
    UnparsableEvent,
    Unverifiable,
    Verdict,
    digest_id,
    ensure_timely,
    find_signer,
    read_header,
    usable_keys,
    utf8_key,
)

PROVIDER: Final = "stripe"
SIGNATURE_HEADER: Final = "stripe-signature"
PARTS_MAX: Final = 20

_EVENT_ID: Final = re.compile(r"[A-Za-z0-9_]{1,255}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")

# A payout that fails after it was reported paid says `failed` again, which is a conflict for a person to resolve: the
# event alone does not tell it from one that never arrived.
_TYPE_BY_PAYOUT_STATUS: Final = {
    "pending": PspEventType.PAYOUT_PENDING,
    "in_transit": PspEventType.PAYOUT_PENDING,
    "paid": PspEventType.PAYOUT_PAID,
    "failed": PspEventType.PAYOUT_FAILED,
    "canceled": PspEventType.PAYOUT_FAILED,
}
# A declined card leaves an intent open for another one: only `canceled` is the end of it.
_TYPE_BY_INTENT_STATUS: Final = {
    "requires_payment_method": PspEventType.DEPOSIT_PENDING,
    "requires_confirmation": PspEventType.DEPOSIT_PENDING,
    "requires_action": PspEventType.DEPOSIT_PENDING,
    "processing": PspEventType.DEPOSIT_PENDING,
    "requires_capture": PspEventType.DEPOSIT_PENDING,
    "succeeded": PspEventType.DEPOSIT_CAPTURED,
    "canceled": PspEventType.DEPOSIT_FAILED,
}

# Where Stripe counts other decimal digits than ISO 4217.
_EXPONENTS: Final = {"ISK": 2, "MGA": 0, "UGX": 2}
# Looked up rather than upper-cased: the upper case of a Turkish dotless ı is an I.
_CURRENCIES: Final = {code.lower(): code for code in CURRENCY_EXPONENTS}


class _Envelope(msgspec.Struct, frozen=True):
    id: str
    type: str = ""
    object: str = "event"
    account: str | None = None


class _Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw


class _Snapshot(msgspec.Struct, frozen=True):
    created: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]  # the last second of the year 9999
    data: _Data


class _RelatedObject(msgspec.Struct, frozen=True):
    id: str


class _ThinEvent(msgspec.Struct, frozen=True):
    created: str | None = None
    related_object: _RelatedObject | None = None


class _Payout(msgspec.Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str
    metadata: dict[str, str] | None = None
    failure_code: str | None = None


class _PaymentError(msgspec.Struct, frozen=True):
    code: str | None = None


class _PaymentIntent(msgspec.Struct, frozen=True):
    id: str
    status: str
    amount: int
    currency: str
    amount_received: int = 0
    metadata: dict[str, str] | None = None
    last_payment_error: _PaymentError | None = None


class _Charge(msgspec.Struct, frozen=True):
    id: str
    amount_refunded: int
    currency: str
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_SNAPSHOT: Final = msgspec.json.Decoder(_Snapshot)
_THIN_EVENT: Final = msgspec.json.Decoder(_ThinEvent)
_PAYOUT: Final = msgspec.json.Decoder(_Payout)
_PAYMENT_INTENT: Final = msgspec.json.Decoder(_PaymentIntent)
_CHARGE: Final = msgspec.json.Decoder(_Charge)


class StripeWebhooks:
    """The scheme of Stripe."""

    provider = PROVIDER

    def find_key(self, secret: str) -> bytes | None:
        """The text itself."""
        return utf8_key(secret)

    def verify_webhook(self, raw_body: bytes, *, headers: Headers, secrets: Sequence[Secret], now: datetime) -> Verdict:
        """The verdict by any `v1` under any secret in force; other versions do not count. Never raises.

        A secret is used as it is written, `whsec_` included: not base64 as in Standard Webhooks.
        """
        event_id = _event_id(raw_body)
        try:
            timestamp, signatures = _read_signature(headers)
            label = find_signer(
                timestamp.encode() + b"." + raw_body,
                signatures=signatures,
                keys=usable_keys(secrets, now=now, find_key=utf8_key),
                encode=binascii.hexlify,
            )
            ensure_timely(int(timestamp), now=now)
        except Unverifiable as refusal:
            return Verdict(status=refusal.status, provider_event_id=event_id)
        return Verdict(status=SignatureStatus.VALID, secret_label=label, provider_event_id=event_id)

    def parse_event(self, raw_body: bytes, *, delivery_id: str) -> tuple[PspEvent, ...]:
        """The one event of the body. Raises UnparsableEvent.

        A thin event (API v2) names an object and says nothing of it: unknown, with the object as provider_ref. The
        sequence is the second of the event's creation; Stripe has no other.
        """
        del delivery_id  # The body names its event.
        envelope = decode(raw_body, decoder=_ENVELOPE)
        if envelope.object != "event":
            return (_thin_event(envelope, decode(raw_body, decoder=_THIN_EVENT)),)
        snapshot = decode(raw_body, decoder=_SNAPSHOT)
        reading = _find_reader(envelope.type)(snapshot.data.object)
        return (
            PspEvent(
                provider=PROVIDER,
                account_hint=find_identifier(envelope.account, field="account"),
                provider_event_id=_read_event_id(envelope),
                type=reading.type,
                provider_ref=find_identifier(reading.provider_ref, field="data.object.id"),
                reference=find_identifier((reading.metadata or {}).get("reference"), field="metadata.reference"),
                sequence=snapshot.created,
                money=reading.money,
                occurred_at=datetime.fromtimestamp(snapshot.created, UTC),
                failure_code=find_failure_code(reading.failure_code),
            ),
        )


class _Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What an object says to us."""

    type: PspEventType = PspEventType.UNKNOWN
    provider_ref: str | None = None
    money: Money | None = None
    metadata: Mapping[str, str] | None = None
    failure_code: str | None = None


def _read_payout(raw: msgspec.Raw) -> _Reading:
    payout = decode(raw, decoder=_PAYOUT)
    event_type = _TYPE_BY_PAYOUT_STATUS.get(payout.status)
    if event_type is None:
        return _Reading(provider_ref=payout.id, metadata=payout.metadata)
    return _Reading(
        type=event_type,
        provider_ref=read_identifier(payout.id, field="data.object.id"),
        money=_read_money(payout.amount, currency=payout.currency),
        metadata=payout.metadata,
        failure_code=payout.failure_code,
    )


def _read_payment_intent(raw: msgspec.Raw) -> _Reading:
    intent = decode(raw, decoder=_PAYMENT_INTENT)
    event_type = _TYPE_BY_INTENT_STATUS.get(intent.status)
    if event_type is None:
        return _Reading(provider_ref=intent.id, metadata=intent.metadata)
    is_captured = event_type == PspEventType.DEPOSIT_CAPTURED
    return _Reading(
        type=event_type,
        provider_ref=read_identifier(intent.id, field="data.object.id"),
        money=_read_money(intent.amount_received if is_captured else intent.amount, currency=intent.currency),
        metadata=intent.metadata,
        failure_code=intent.last_payment_error.code if intent.last_payment_error and not is_captured else None,
    )


def _read_refunded_charge(raw: msgspec.Raw) -> _Reading:
    """A charge that was refunded, perhaps in part: the money is what has been given back so far."""
    charge = decode(raw, decoder=_CHARGE)
    return _Reading(
        type=PspEventType.DEPOSIT_REFUNDED,
        provider_ref=read_identifier(charge.payment_intent or charge.id, field="data.object.id"),
        money=_read_money(charge.amount_refunded, currency=charge.currency),
        metadata=charge.metadata,
    )


def _read_unmapped(_raw: msgspec.Raw) -> _Reading:
    return _Reading()


def _find_reader(event_type: str) -> Callable[[msgspec.Raw], _Reading]:
    """An event carries its object as it stood then, whatever the event is called; only a refund is told by its name."""
    if event_type == "charge.refunded":
        return _read_refunded_charge
    readers = {"payout": _read_payout, "payment_intent": _read_payment_intent}
    return readers.get(event_type.partition(".")[0], _read_unmapped)


def _thin_event(envelope: _Envelope, event: _ThinEvent) -> PspEvent:
    related = event.related_object
    return PspEvent(
        provider=PROVIDER,
        account_hint=find_identifier(envelope.account, field="account"),
        provider_event_id=_read_event_id(envelope),
        type=PspEventType.UNKNOWN,
        provider_ref=find_identifier(related.id if related else None, field="related_object.id"),
        reference=None,
        sequence=None,
        money=None,
        occurred_at=find_time(event.created),
        failure_code=None,
    )


def _read_money(amount: int, *, currency: str) -> Money:
    return read_money(amount, currency=_CURRENCIES.get(currency, ""), exponents=_EXPONENTS)


def _read_signature(headers: Headers) -> tuple[str, tuple[bytes, ...]]:
    """The one timestamp and the well-formed `v1` signatures among the first PARTS_MAX parts. Raises Unverifiable."""
    parts = [part.partition("=") for part in read_header(headers, SIGNATURE_HEADER).split(",", PARTS_MAX)[:PARTS_MAX]]
    timestamps = [value for name, _, value in parts if name == "t"]
    signatures = tuple(value.encode() for name, _, value in parts if name == "v1" and _SIGNATURE.fullmatch(value))
    if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]) or not signatures:
        raise Unverifiable(SignatureStatus.MALFORMED)
    return timestamps[0], signatures


def _event_id(raw_body: bytes) -> str:
    """The body's own id, or a digest of a body that has none."""
    try:
        return _read_event_id(decode(raw_body, decoder=_ENVELOPE))
    except UnparsableEvent:
        return digest_id(raw_body)


def _read_event_id(envelope: _Envelope) -> str:
    if not _EVENT_ID.fullmatch(envelope.id):
        raise UnparsableEvent("id is not an event's id")
    return envelope.id
