"""Standard notifications of Adyen: each item is signed by itself, a delivery is good as a whole or not at all."""

import json
from dataclasses import replace
from typing import Any

import pytest

from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import Secret, SecretLabel, SignatureStatus
from backend.tests.webhook_deliveries import (
    ADYEN_ITEM,
    ADYEN_KEY,
    ADYEN_REVERSED_ITEM,
    NOTIFICATION,
    OTHERS,
    TRANSFER_BODY,
    Delivery,
    hmac_base64,
    item,
    judge,
    standard_notification,
)


def test_a_batch_is_valid_when_every_item_is() -> None:
    both = standard_notification(ADYEN_ITEM, ADYEN_REVERSED_ITEM, secret=ADYEN_KEY)
    verdict = judge(both)
    assert verdict.is_valid
    assert verdict.provider_event_id is not None
    assert verdict.provider_event_id.startswith("batch:")
    assert judge(both).provider_event_id == verdict.provider_event_id


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (ADYEN_REVERSED_ITEM | {"pspReference": "forged"}, SignatureStatus.MISMATCH),
        (ADYEN_ITEM | {"merchantReference": "wd_9999_1"}, SignatureStatus.MISMATCH),
        (ADYEN_REVERSED_ITEM | {"additionalData": {"hmacSignature": ""}}, SignatureStatus.MISSING),
        (ADYEN_REVERSED_ITEM | {"additionalData": {}}, SignatureStatus.MISSING),
        (ADYEN_REVERSED_ITEM | {"additionalData": None}, SignatureStatus.MISSING),
        (ADYEN_REVERSED_ITEM | {"additionalData": {"hmacSignature": "é" * 44}}, SignatureStatus.MALFORMED),
    ],
)
def test_one_bad_item_spoils_the_batch(bad: dict[str, Any], status: SignatureStatus) -> None:
    for items in ([ADYEN_ITEM, bad], [bad, ADYEN_ITEM], [ADYEN_ITEM, bad, ADYEN_ITEM]):
        assert judge(standard_notification(*items, secret=ADYEN_KEY)).status is status


def test_items_signed_under_two_accounts_are_no_delivery_of_either() -> None:
    foreign = item("P2::OtherAcct:r:1:EUR:CAPTURE:true", None)
    foreign["additionalData"] = {
        "hmacSignature": hmac_base64(bytes.fromhex(OTHERS["adyen"]), b"P2::OtherAcct:r:1:EUR:CAPTURE:true")
    }
    mixed = standard_notification(ADYEN_ITEM, foreign, secret=ADYEN_KEY)
    both = (Secret(value=ADYEN_KEY), Secret(value=OTHERS["adyen"], label=SecretLabel.PREVIOUS))
    assert judge(mixed, *both).status is SignatureStatus.MISMATCH


def test_a_colon_cannot_be_moved_between_fields() -> None:
    signed = r"PSP0000000000002:PSP0000000000001:OwnTestAcct:a:b\c/d:0:TRY:PAIDOUT_REVERSED:false"
    shifted = ADYEN_REVERSED_ITEM | {"merchantAccountCode": "OwnTestAcct:a", "merchantReference": r"b\c/d"}
    assert ":".join(map(str, (shifted["merchantAccountCode"], shifted["merchantReference"]))) in signed
    assert judge(standard_notification(ADYEN_REVERSED_ITEM, secret=ADYEN_KEY)).is_valid
    assert judge(standard_notification(shifted, secret=ADYEN_KEY)).status is SignatureStatus.MALFORMED


def test_absent_and_null_fields_sign_as_empty() -> None:
    signature = hmac_base64(bytes.fromhex(ADYEN_KEY), b"report.csv::::::REPORT_AVAILABLE:true")
    for nothing in ({}, {"originalReference": None, "merchantReference": None, "amount": None}):
        bare: dict[str, Any] = {
            "pspReference": "report.csv",
            "eventCode": "REPORT_AVAILABLE",
            "success": "true",
            **nothing,
        }
        bare["additionalData"] = {"hmacSignature": signature}
        assert judge(standard_notification(bare, secret=ADYEN_KEY)).is_valid


@pytest.mark.parametrize(
    "document",
    [
        {"notificationItems": []},
        {"notificationItems": None},
        {"notificationItems": {}},
        {"notificationItems": [{}]},
        {"notificationItems": [{"NotificationRequestItem": None}]},
        {"notificationItems": [{"NotificationRequestItem": ADYEN_ITEM}] * 101},
        {"notificationItems": [{"NotificationRequestItem": ADYEN_ITEM | {"success": True}}]},
        {"notificationItems": [{"NotificationRequestItem": ADYEN_ITEM | {"success": "TRUE"}}]},
        {"notificationItems": [{"NotificationRequestItem": ADYEN_ITEM | {"amount": {"value": 1e2, "currency": "X"}}}]},
    ],
)
def test_a_notification_of_another_form_is_malformed(document: dict[str, Any]) -> None:
    delivery = Delivery("adyen", json.dumps(document).encode(), {}, ADYEN_KEY, "")
    assert judge(delivery).status is SignatureStatus.MALFORMED


def test_a_genuine_item_cannot_carry_a_forged_transfer() -> None:
    document = json.loads(NOTIFICATION.raw_body) | json.loads(TRANSFER_BODY)
    both = replace(NOTIFICATION, raw_body=json.dumps(document).encode())
    assert judge(both).provider_event_id == NOTIFICATION.event_id
    events = SCHEMES["adyen"].parse_event(both.raw_body, delivery_id=NOTIFICATION.event_id)
    assert [event.provider_event_id for event in events] == [NOTIFICATION.event_id]
    # A header does not make up for an item's signature, either.
    unsigned = standard_notification(item("P2::A:r:1:EUR:CAPTURE:true", None), secret=ADYEN_KEY)
    header = {"HmacSignature": hmac_base64(bytes.fromhex(ADYEN_KEY), unsigned.raw_body)}
    assert judge(replace(unsigned, headers=header)).status is SignatureStatus.MISSING
