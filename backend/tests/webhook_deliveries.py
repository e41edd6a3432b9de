"""Deliveries of every provider as tests need them: vectors, and ways to make more."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import Secret, Verdict

SIGNED_AT = datetime.fromtimestamp(1768471200, UTC)


@dataclass(frozen=True)
class Delivery:
    """What a provider sent, and what is needed to judge it."""

    provider: str
    raw_body: bytes
    headers: dict[str, str]
    secret: str
    event_id: str
    now: datetime = SIGNED_AT


def judge(delivery: Delivery, *secrets: Secret, now: datetime | None = None) -> Verdict:
    """The verdict by the delivery's own secret, unless others are given."""
    return SCHEMES[delivery.provider].verify_webhook(
        delivery.raw_body,
        headers=delivery.headers,
        secrets=secrets or (Secret(value=delivery.secret),),
        now=now or delivery.now,
    )


def changed(delivery: Delivery, **headers: str) -> Delivery:
    """The delivery with other headers, written with underscores."""
    return replace(delivery, headers=delivery.headers | {name.replace("_", "-"): headers[name] for name in headers})


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def hmac_base64(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def standard_delivery(secret: str, event_id: str, timestamp: int, body: str, signature: str) -> Delivery:
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    return Delivery("mockpsp", body.encode(), headers, secret, event_id, at(timestamp))


def stripe_delivery(raw_body: bytes, *, secret: str = "whsec_own_test_secret", event_id: str = "evt_own_1") -> Delivery:
    signature = hmac.new(secret.encode(), b"1768471200." + raw_body, hashlib.sha256).hexdigest()
    return Delivery("stripe", raw_body, {"Stripe-Signature": f"t=1768471200,v1={signature}"}, secret, event_id)


def platform_delivery(raw_body: bytes, *, event_id: str = "") -> Delivery:
    signature = hmac_base64(bytes.fromhex(ADYEN_KEY), raw_body)
    return Delivery("adyen", raw_body, {"HmacSignature": signature}, ADYEN_KEY, event_id)


def item(signed: str, signature: str | None, **unsigned: object) -> dict[str, Any]:
    """An item of a standard notification from its string to sign; the merchant reference may hold colons."""
    head, middle, tail = signed.split(":")[:3], signed.split(":")[3:-4], signed.split(":")[-4:]
    fields: dict[str, Any] = dict(zip(("pspReference", "originalReference", "merchantAccountCode"), head, strict=True))
    fields |= {"merchantReference": ":".join(middle), "amount": {"value": int(tail[0]), "currency": tail[1]}}
    fields |= {"eventCode": tail[2], "success": tail[3]}
    if signature is not None:
        fields["additionalData"] = {"hmacSignature": signature}
    return fields | unsigned


def standard_notification(*items: dict[str, Any], secret: str, event_id: str = "") -> Delivery:
    document = {"live": "false", "notificationItems": [{"NotificationRequestItem": fields} for fields in items]}
    return Delivery("adyen", json.dumps(document).encode(), {}, secret, event_id)


MOCK_SECRET = "whsec_bW9ja3BzcC10ZXN0LXNlY3JldC0zMi1ieXRlcy1hYWE="
MOCK_SECRET_OLD = "whsec_bW9ja3BzcC1vbGQtc2VjcmV0LS0zMi1ieXRlcy1iYmI="
MOCK_TOKEN = "v1,8ZFhK6O4XK2E13LfaqFWtkkWaJpYbRBGnw5XoyJHxdU="
MOCK_TOKEN_OLD = "v1,6dmpQE6SG82hhbvB1N62HQDzywSDlj9Ytp5C/IUljtY="
MOCK_BODY = (
    '{"type":"payout.paid","timestamp":"2026-01-15T10:00:00Z","data":{"account":"mock_acct_1","payout_id":"mpo_0001",'
    '"reference":"wd_0001_1","status":"paid","sequence":3,"amount_minor":12500,"currency":"EUR"}}'
)
MOCK_BODY_TURKISH = (
    '{"type":"payout.failed","timestamp":"2026-01-15T10:05:00Z","data":{"account":"mock_acct_1","payout_id":"mpo_0002",'
    '"reference":"wd_0002_1","status":"failed","sequence":2,"amount_minor":99000,"currency":"TRY",'
    '"failure_code":"İşlem reddedildi ₺"}}'
)
STRIPE_BODY = (
    '{"id":"evt_own_1","object":"event","type":"payout.paid","created":1768471200,"livemode":false,"data":{"object":'
    '{"id":"po_own_1","object":"payout","amount":12500,"currency":"eur","status":"paid"}}}'
)
ADYEN_KEY = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"
ADYEN_ITEM = item(
    "PSP0000000000001::OwnTestAcct:wd_0001_1:12500:EUR:PAYOUT_THIRDPARTY:true",
    "HiaiSYdoI4x0mQ6WWrxrEBOliRURTwpb3GStrlQN7tw=",
)
ADYEN_REVERSED_ITEM = item(
    r"PSP0000000000002:PSP0000000000001:OwnTestAcct:a:b\c/d:0:TRY:PAIDOUT_REVERSED:false",
    "vvTPeqwQwbpINIJrM5E/zw6rmS78kDU1KWQq3bx+dx4=",
)
TRANSFER_BODY = (
    '{"type":"balancePlatform.transfer.updated","environment":"test","data":{"id":"TR1","reference":"wd_0001_1",'
    '"sequenceNumber":4,"status":"booked","amount":{"currency":"EUR","value":12500}}}'
)

MOCKPSP = standard_delivery(MOCK_SECRET, "evt_mock_0001", 1768471200, MOCK_BODY, MOCK_TOKEN)
STRIPE = replace(
    stripe_delivery(STRIPE_BODY.encode()),
    headers={
        "Stripe-Signature": "t=1768471200,v1=836e88d926f99d10881eeff7871f3f98a6e4feb0c5518bec92cd38a33b74a6e1",
    },
)
NOTIFICATION = standard_notification(ADYEN_ITEM, secret=ADYEN_KEY, event_id="PSP0000000000001:PAYOUT_THIRDPARTY:true")
TRANSFER = Delivery(
    "adyen",
    TRANSFER_BODY.encode(),
    {"HmacSignature": "DyBTGe1jiyTAYinJ0wl1noDWyTB3NAKIj7U3aOJ2Te0="},
    ADYEN_KEY,
    "balancePlatform.transfer.updated:TR1:4",
)

GENUINE = {"mockpsp": MOCKPSP, "stripe": STRIPE, "adyen item": NOTIFICATION, "adyen platform": TRANSFER}
# A good secret of somebody else.
OTHERS = {
    "mockpsp": "whsec_YW5vdGhlci1hY2NvdW50LXNlY3JldC0zMi1ieXRlcyE=",
    "stripe": "whsec_another_account",
    "adyen": "FF" * 32,
}
