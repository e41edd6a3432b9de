"""Adyen's webhooks: standard notifications, each item signed by itself, and those of the platform, signed as a whole.

A body with `notificationItems` is a standard notification, for verifying and for reading alike: were one to go by the
headers and the other by the body, a genuine item could carry a forged transfer along. Neither kind has a timestamp, so
that only our inbox stands against replays. Sources: docs.adyen.com/online-payments/online-payouts/payout-webhook and
docs.adyen.com/development-resources/webhooks/verify-hmac-signatures.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from backend.app.domain.payments.psp_event import STATUS_CLASSES, PspEvent, PspEventType, StatusClass
from backend.app.psp import adyen_platform
from backend.app.psp.event_fields import (
    decode,
    find_failure_code,
    find_identifier,
    find_time,
    read_identifier,
)
from backend.app.psp.webhook import (
    Headers,
    Secret,
    SecretLabel,
    SignatureStatus,
    UnparsableEvent,
    Unverifiable,
    Verdict,
    find_signer,
    is_signed,
    read_header,
    usable_keys,
)

PROVIDER: Final = adyen_platform.PROVIDER
SIGNATURE_HEADER: Final = "hmacsignature"
ITEMS_MAX: Final = 100

_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/]{43}=")

# By event code and success. We capture by a call of our own, so that an authorisation is not yet money. The payout
# codes are those of the former Payout API: after PAYOUT_THIRDPARTY nothing good is ever said again, only a return.
_TYPES: Final = {
    ("AUTHORISATION", "true"): PspEventType.DEPOSIT_PENDING,
    ("AUTHORISATION", "false"): PspEventType.DEPOSIT_FAILED,
    ("CANCELLATION", "true"): PspEventType.DEPOSIT_FAILED,
    ("CAPTURE", "true"): PspEventType.DEPOSIT_CAPTURED,
    ("REFUND", "true"): PspEventType.DEPOSIT_REFUNDED,
    ("PAYOUT_THIRDPARTY", "true"): PspEventType.PAYOUT_PAID,
    ("PAYOUT_THIRDPARTY", "false"): PspEventType.PAYOUT_FAILED,
    ("PAYOUT_DECLINE", "true"): PspEventType.PAYOUT_FAILED,
    ("PAYOUT_EXPIRE", "true"): PspEventType.PAYOUT_FAILED,
    ("PAIDOUT_REVERSED", "true"): PspEventType.PAYOUT_RETURNED,
}


class _AdditionalData(msgspec.Struct, frozen=True, rename="camel"):
    hmac_signature: str | None = None


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    """One notification. Signed are the first seven fields below; the date and the reason are not."""

    psp_reference: str
    event_code: str
    success: str
    original_reference: str | None = None
    merchant_account_code: str | None = None
    merchant_reference: str | None = None
    amount: adyen_platform.Amount | None = None
    event_date: str | None = None
    reason: str | None = None
    additional_data: _AdditionalData | None = None


class _Wrapper(msgspec.Struct, frozen=True, rename={"item": "NotificationRequestItem"}):
    item: _Item


class _Notification(msgspec.Struct, frozen=True, rename="camel"):
    notification_items: tuple[_Wrapper, ...]


class _Shape(msgspec.Struct, frozen=True, rename="camel"):
    notification_items: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_SHAPE: Final = msgspec.json.Decoder(_Shape)
_NOTIFICATION: Final = msgspec.json.Decoder(_Notification)


class AdyenWebhooks:
    """The scheme of Adyen."""

    provider = PROVIDER

    def find_key(self, secret: str) -> bytes | None:
        """Hexadecimal digits."""
        return _find_key(secret)

    def verify_webhook(self, raw_body: bytes, *, headers: Headers, secrets: Sequence[Secret], now: datetime) -> Verdict:
        """The verdict on the whole delivery. Never raises.

        A standard notification is valid when one secret signed every item. A secret is the key in hexadecimal.
        """
        event_id = None
        try:
            if _is_standard(raw_body):
                items = _read_items(raw_body)
                event_id = _delivery_id(items)
                label = _find_items_signer(
                    [(string_to_sign(item).encode(), _read_item_signature(item)) for item in items],
                    keys=usable_keys(secrets, now=now, find_key=_find_key),
                )
            else:
                event_id = adyen_platform.event_id(raw_body)
                label = find_signer(
                    raw_body,
                    signatures=(_read_signature(read_header(headers, SIGNATURE_HEADER)),),
                    keys=usable_keys(secrets, now=now, find_key=_find_key),
                    encode=base64.b64encode,
                )
        except Unverifiable as refusal:
            return Verdict(status=refusal.status, provider_event_id=event_id)
        except UnparsableEvent:
            return Verdict(status=SignatureStatus.MALFORMED)
        return Verdict(status=SignatureStatus.VALID, secret_label=label, provider_event_id=event_id)

    def parse_event(self, raw_body: bytes, *, delivery_id: str) -> tuple[PspEvent, ...]:
        """The events of the items in their order, or the one event of the platform. Raises UnparsableEvent."""
        del delivery_id  # The body names its events.
        if not _is_standard(raw_body):
            return (adyen_platform.parse_event(raw_body),)
        return tuple(_event(item) for item in _read_items(raw_body))


def string_to_sign(item: _Item) -> str:
    """What an item's signature covers: eight values joined by colons, unescaped, absent ones empty."""
    return ":".join(
        (
            item.psp_reference,
            item.original_reference or "",
            item.merchant_account_code or "",
            item.merchant_reference or "",
            "" if item.amount is None else str(item.amount.value),
            "" if item.amount is None else item.amount.currency,
            item.event_code,
            item.success,
        )
    )


def _event(item: _Item) -> PspEvent:
    event_type = _TYPES.get((item.event_code, item.success), PspEventType.UNKNOWN)
    is_bad = STATUS_CLASSES[event_type] in (StatusClass.FAILED, StatusClass.REVERSED)
    return PspEvent(
        provider=PROVIDER,
        account_hint=find_identifier(item.merchant_account_code, field="merchantAccountCode"),
        provider_event_id=_item_id(item),
        type=event_type,
        # A modification has a reference of its own and names the payment that it changes.
        provider_ref=read_identifier(item.original_reference or item.psp_reference, field="originalReference"),
        reference=find_identifier(item.merchant_reference, field="merchantReference"),
        sequence=None,
        money=adyen_platform.find_money(item.amount, event_type=event_type),
        occurred_at=find_time(item.event_date),
        # Of a good payment the reason is a summary of the card.
        failure_code=find_failure_code(item.reason) if is_bad else None,
    )


def _is_standard(raw_body: bytes) -> bool:
    try:
        return decode(raw_body, decoder=_SHAPE).notification_items is not msgspec.UNSET
    except UnparsableEvent:
        return False


def _read_items(raw_body: bytes) -> tuple[_Item, ...]:
    """The items of a standard notification, at least one. Raises UnparsableEvent.

    `A:B` and `C` sign like `A` and `B:C`. A colon is therefore accepted in the merchant reference only: with the other
    seven free of it, a signed string can be split in one way.
    """
    items = tuple(wrapper.item for wrapper in decode(raw_body, decoder=_NOTIFICATION).notification_items)
    if not 1 <= len(items) <= ITEMS_MAX:
        raise UnparsableEvent(f"a notification has 1 to {ITEMS_MAX} items")
    for item in items:
        if item.success not in ("true", "false"):
            raise UnparsableEvent("success is neither true nor false")
        if string_to_sign(item).count(":") - (item.merchant_reference or "").count(":") != 7:
            raise UnparsableEvent("a colon in a signed field other than merchantReference")
    return items


def _find_items_signer(
    signed: Sequence[tuple[bytes, bytes]], *, keys: Sequence[tuple[SecretLabel, bytes]]
) -> SecretLabel:
    """The label of the key that signed every message. Raises Unverifiable: one bad item is a bad delivery."""
    for label, key in keys:
        if all(is_signed(message, key=key, signatures=(given,), encode=base64.b64encode) for message, given in signed):
            return label
    raise Unverifiable(SignatureStatus.MISMATCH)


def _read_item_signature(item: _Item) -> bytes:
    return _read_signature(item.additional_data.hmac_signature if item.additional_data else None)


def _read_signature(text: str | None) -> bytes:
    if not text:
        raise Unverifiable(SignatureStatus.MISSING)
    if not _SIGNATURE.fullmatch(text):
        raise Unverifiable(SignatureStatus.MALFORMED)
    return text.encode()


def _find_key(secret: str) -> bytes | None:
    # bytes.fromhex alone would take spaces between the digits.
    return bytes.fromhex(secret) if _HEX.fullmatch(secret) else None


def _item_id(item: _Item) -> str:
    return read_identifier(f"{item.psp_reference}:{item.event_code}:{item.success}", field="pspReference")


def _delivery_id(items: Sequence[_Item]) -> str:
    """The item's id; for several, one that the same items give again."""
    ids = [_item_id(item) for item in items]
    return ids[0] if len(ids) == 1 else "batch:" + hashlib.sha256("\n".join(ids).encode()).hexdigest()
