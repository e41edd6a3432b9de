"""Signatures of inbound deliveries: what each provider signs is valid, and nothing else is, whatever comes in."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backend.app.psp import standard_webhooks
from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import Secret, SecretLabel, SignatureStatus, UnparsableEvent, Verdict
from backend.tests.webhook_deliveries import (
    ADYEN_ITEM,
    ADYEN_KEY,
    GENUINE,
    MOCK_BODY,
    MOCK_BODY_TURKISH,
    MOCK_SECRET,
    MOCK_SECRET_OLD,
    MOCK_TOKEN,
    MOCK_TOKEN_OLD,
    MOCKPSP,
    NOTIFICATION,
    OTHERS,
    SIGNED_AT,
    STRIPE,
    STRIPE_BODY,
    TRANSFER,
    Delivery,
    changed,
    hmac_base64,
    item,
    judge,
    platform_delivery,
    standard_delivery,
    standard_notification,
    stripe_delivery,
)

MEGABYTE = 2**20
every_scheme = pytest.mark.parametrize("delivery", GENUINE.values(), ids=GENUINE)
# Signed as raw bytes, in contrast to the fields of an item.
WHOLE_BODY = {name: GENUINE[name] for name in ("mockpsp", "stripe", "adyen platform")}
every_whole_body_scheme = pytest.mark.parametrize("delivery", WHOLE_BODY.values(), ids=WHOLE_BODY)
TIMED = {name: GENUINE[name] for name in ("mockpsp", "stripe")}
every_timed_scheme = pytest.mark.parametrize("delivery", TIMED.values(), ids=TIMED)


# Vectors -------------------------------------------------------------------------------------------------------------


@every_scheme
def test_our_vectors_are_valid(delivery: Delivery) -> None:
    assert judge(delivery) == Verdict(
        status=SignatureStatus.VALID, secret_label=SecretLabel.CURRENT, provider_event_id=delivery.event_id
    )


@pytest.mark.parametrize(
    "delivery",
    [
        # The libraries of standard-webhooks for Python, JavaScript and Go; the one for Rust; the documentation of Svix.
        standard_delivery(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            '{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        standard_delivery(
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1649367553,
            '{"email":"test@example.com","username":"test_user"}',
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        standard_delivery(
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1731705121,
            '{"event_type":"ping","data":{"success":true}}',
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ),
        # Ours: the second secret of a rotation, and a body beyond ASCII.
        standard_delivery(MOCK_SECRET_OLD, "evt_mock_0001", 1768471200, MOCK_BODY, MOCK_TOKEN_OLD),
        standard_delivery(
            MOCK_SECRET,
            "evt_mock_0002",
            1768471500,
            MOCK_BODY_TURKISH,
            "v1,uiaxknka8tn5xu5lYNoekvo+DI7XzOn058XgRtXt9e4=",
        ),
    ],
    ids=["python", "rust", "svix", "ours, old secret", "ours, Turkish"],
)
def test_standard_webhooks_vectors_are_valid_and_signed_alike(delivery: Delivery) -> None:
    assert judge(delivery).status is SignatureStatus.VALID
    signed = standard_webhooks.sign(
        delivery.raw_body, delivery_id=delivery.event_id, signed_at=delivery.now, secrets=[delivery.secret]
    )
    assert signed == delivery.headers


def test_the_standard_vector_with_another_last_character_is_refused() -> None:
    delivery = standard_delivery(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        '{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=",
    )
    assert judge(delivery).status is SignatureStatus.MISMATCH
    # OF decodes to the same bytes as OE; only the spelling that the sender makes is good.
    same_bytes = changed(delivery, webhook_signature="v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF=")
    assert judge(same_bytes).status is SignatureStatus.MISMATCH


@pytest.mark.parametrize(
    ("key", "signed", "signature"),
    [
        (
            "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
            "7914073381342284::TestMerchant:TestPayment-1407325143704:1130:EUR:AUTHORISATION:true",
            "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=",
        ),
        (
            "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00",
            "pspReference:originalReference:merchantAccount:reference:1000:EUR:REPORT_AVAILABLE:true",
            "ZNBPtI+oDyyRrLyD1XirkKnQgIAlFc07Vj27TeHsDRE=",
        ),
        (
            "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00",
            "pspReference:originalReference:merchantAccount:reference:1000:EUR:EVENT:true",
            "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc=",
        ),
        (
            "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174",
            "M8NB66SBZSGLNK82::AntoniStroinski::slashes are fun:1000:EUR:AUTHORISATION:true",
            "2EQYm7YJpKO4EtHSPu55SQTyWf8dkW5u2nD1tJFpViA=",
        ),
        (
            "74F490DD33F7327BAECC88B2947C011FC02D014A473AAA33A8EC93E4DC069174",
            r"T7FD4VM4D3RZNN82::AntoniStroinski:\\slashes are fun:1000:EUR:AUTHORISATION:true",
            "nIgT81gaB5oJpn2jPXupDq68iRo2wUlBsuYjtYfwKqo=",
        ),
    ],
)
def test_the_vectors_of_adyens_libraries_are_valid(key: str, signed: str, signature: str) -> None:
    assert judge(standard_notification(item(signed, signature), secret=key)).status is SignatureStatus.VALID
    assert judge(standard_notification(item(signed, signature), secret=key.lower())).is_valid


# Bodies --------------------------------------------------------------------------------------------------------------


@every_whole_body_scheme
def test_one_flipped_bit_anywhere_is_refused(delivery: Delivery) -> None:
    for position in range(len(delivery.raw_body)):
        flipped = bytearray(delivery.raw_body)
        flipped[position] ^= 1
        assert judge(replace(delivery, raw_body=bytes(flipped))).status is SignatureStatus.MISMATCH


@pytest.mark.parametrize(
    "forged",
    [
        {"pspReference": "PSP0000000000009"},
        {"originalReference": "PSP0000000000009"},
        {"merchantAccountCode": "OtherAcct"},
        {"merchantReference": "wd_0002_1"},
        {"merchantReference": None},
        {"amount": {"value": 12501, "currency": "EUR"}},
        {"amount": {"value": 12500, "currency": "TRY"}},
        {"amount": None},
        {"eventCode": "CAPTURE"},
        {"success": "false"},
    ],
)
def test_every_signed_field_of_an_item_is_guarded(forged: dict[str, Any]) -> None:
    assert judge(standard_notification(ADYEN_ITEM | forged, secret=ADYEN_KEY)).status is SignatureStatus.MISMATCH


@every_whole_body_scheme
def test_a_body_written_anew_is_refused(delivery: Delivery) -> None:
    written_anew = json.dumps(json.loads(delivery.raw_body), indent=1).encode()
    assert judge(replace(delivery, raw_body=written_anew)).status is SignatureStatus.MISMATCH


@pytest.mark.parametrize("raw_body", [b"", b"\xff\xfe\x00", b'{"id": "\xff"}', b"not JSON", b"[" * 100_000])
@pytest.mark.parametrize("sign", [stripe_delivery, platform_delivery])
def test_a_signed_body_that_nobody_can_read_is_valid_and_has_an_id(sign: Any, raw_body: bytes) -> None:
    delivery = sign(raw_body)
    digest = f"sha256:{hashlib.sha256(raw_body).hexdigest()}"
    assert (judge(delivery).status, judge(delivery).provider_event_id) == (SignatureStatus.VALID, digest)
    with pytest.raises(UnparsableEvent):
        SCHEMES[delivery.provider].parse_event(raw_body, delivery_id=digest)


def test_a_signed_body_of_mockpsp_need_not_be_text() -> None:
    headers = standard_webhooks.sign(b"\xff\x00", delivery_id="evt_1", signed_at=SIGNED_AT, secrets=[MOCK_SECRET])
    assert judge(replace(MOCKPSP, raw_body=b"\xff\x00", headers=headers)).is_valid


@every_scheme
def test_ten_megabytes_are_refused_without_ado(delivery: Delivery) -> None:
    for filler in (b" " * 10 * MEGABYTE, b"[" * 10 * MEGABYTE):
        assert not judge(replace(delivery, raw_body=filler)).is_valid
    assert not judge(replace(STRIPE, raw_body=STRIPE.raw_body + b" " * 10 * MEGABYTE)).is_valid


# Headers and tokens --------------------------------------------------------------------------------------------------


@every_whole_body_scheme
def test_header_names_count_in_any_case(delivery: Delivery) -> None:
    assert judge(replace(delivery, headers={name.upper(): v for name, v in delivery.headers.items()})).is_valid
    assert judge(replace(delivery, headers={name.lower(): v for name, v in delivery.headers.items()})).is_valid


@every_whole_body_scheme
def test_every_header_is_required(delivery: Delivery) -> None:
    for name in delivery.headers:
        without = {other: value for other, value in delivery.headers.items() if other != name}
        assert judge(replace(delivery, headers=without)).status is SignatureStatus.MISSING
        assert judge(replace(delivery, headers=without | {name: ""})).status is SignatureStatus.MISSING


@every_whole_body_scheme
def test_a_header_given_twice_is_refused_unless_both_agree(delivery: Delivery) -> None:
    for name, value in delivery.headers.items():
        again = {name.swapcase(): value}
        assert judge(replace(delivery, headers=delivery.headers | again)).is_valid
        other = {name.swapcase(): "other"}
        assert judge(replace(delivery, headers=delivery.headers | other)).status is SignatureStatus.MALFORMED


@every_whole_body_scheme
@pytest.mark.parametrize("value", ["é" * 44, "\ud800", "x" * 5000, " ", "\0", "=", ",", "v1,", "t=,v1="])
def test_no_header_can_hold_what_makes_us_stumble(delivery: Delivery, value: str) -> None:
    for name in delivery.headers:
        verdict = judge(replace(delivery, headers=delivery.headers | {name: value}))
        assert verdict.status is SignatureStatus.MALFORMED


def test_headers_beyond_the_hundredth_are_not_looked_at() -> None:
    padding = {f"x-{number}": "" for number in range(100)}
    assert judge(replace(MOCKPSP, headers=padding | MOCKPSP.headers)).status is SignatureStatus.MISSING


JUNK_TOKENS = [
    "junk",
    "v1",
    "v1,",
    "v1,a,b",
    "v1,abc",
    "v1a," + "A" * 43 + "=",
    "v2,x",
    "",
    "é",
    "v1," + "A" * 43 + "=",
]


@pytest.mark.parametrize("junk", JUNK_TOKENS)
def test_junk_beside_a_good_token_does_no_harm(junk: str) -> None:
    assert judge(changed(MOCKPSP, webhook_signature=f"{junk} {MOCK_TOKEN}")).is_valid
    assert judge(changed(MOCKPSP, webhook_signature=f"{MOCK_TOKEN} {junk}")).is_valid
    assert not judge(changed(MOCKPSP, webhook_signature=junk or " ")).is_valid


def test_at_most_ten_tokens_are_read() -> None:
    assert judge(changed(MOCKPSP, webhook_signature="junk " * 9 + MOCK_TOKEN)).is_valid
    assert not judge(changed(MOCKPSP, webhook_signature="junk " * 10 + MOCK_TOKEN)).is_valid


def test_a_signature_of_another_version_is_no_signature() -> None:
    good = STRIPE.headers["Stripe-Signature"]
    assert judge(changed(STRIPE, Stripe_Signature=good.replace("v1=", "v0="))).status is SignatureStatus.MALFORMED
    assert judge(changed(STRIPE, Stripe_Signature=f"{good},v0={'0' * 64},v9=x")).is_valid
    assert judge(changed(STRIPE, Stripe_Signature=good.replace(",v1=", ",v1=bad,v1="))).is_valid
    assert judge(changed(MOCKPSP, webhook_signature=MOCK_TOKEN.replace("v1,", "v2,"))).status is (
        SignatureStatus.MALFORMED
    )


@pytest.mark.parametrize("extra", ["t=1768471200", "t=1", "t="])
def test_two_timestamps_in_one_header_are_refused(extra: str) -> None:
    good = STRIPE.headers["Stripe-Signature"]
    for header in (f"{extra},{good}", f"{good},{extra}"):
        assert judge(changed(STRIPE, Stripe_Signature=header)).status is SignatureStatus.MALFORMED


def test_upper_case_hexadecimal_is_not_stripes() -> None:
    good = STRIPE.headers["Stripe-Signature"]
    shouted = good.replace(good[-64:], good[-64:].upper())
    assert judge(changed(STRIPE, Stripe_Signature=shouted)).status is SignatureStatus.MALFORMED


@pytest.mark.parametrize("delivery_id", ["evt.1", "evt 1", "é", "x" * 65, "evt_1\n"])
def test_an_id_that_would_make_two_deliveries_look_alike_is_refused(delivery_id: str) -> None:
    # Signed with the very id, so that nothing but its form is wrong.
    signature = hmac_base64(
        base64.b64decode(MOCK_SECRET.removeprefix("whsec_")), f"{delivery_id}.1768471200.{MOCK_BODY}".encode()
    )
    verdict = judge(changed(MOCKPSP, webhook_id=delivery_id, webhook_signature=f"v1,{signature}"))
    assert verdict == Verdict(status=SignatureStatus.MALFORMED)


def test_a_header_of_unusual_length_is_not_read() -> None:
    longest = MOCK_TOKEN + " " + "x" * (4096 - len(MOCK_TOKEN) - 1)
    assert judge(changed(MOCKPSP, webhook_signature=longest)).is_valid
    assert judge(changed(MOCKPSP, webhook_signature=longest + "x")).status is SignatureStatus.MALFORMED


# Time ----------------------------------------------------------------------------------------------------------------


@every_timed_scheme
@pytest.mark.parametrize(
    ("age_seconds", "status"),
    [
        (0, SignatureStatus.VALID),
        (300, SignatureStatus.VALID),
        (301, SignatureStatus.STALE),
        (10**9, SignatureStatus.STALE),
        (-300, SignatureStatus.VALID),
        (-301, SignatureStatus.FUTURE),
        (-86_400, SignatureStatus.FUTURE),
    ],
)
def test_five_minutes_to_either_side_are_tolerated(
    delivery: Delivery, age_seconds: int, status: SignatureStatus
) -> None:
    verdict = judge(delivery, now=SIGNED_AT + timedelta(seconds=age_seconds))
    assert (verdict.status, verdict.provider_event_id) == (status, delivery.event_id)


@every_timed_scheme
def test_an_old_forgery_is_a_forgery_and_not_a_slow_delivery(delivery: Delivery) -> None:
    forged = replace(delivery, raw_body=delivery.raw_body + b" ")
    assert judge(forged, now=SIGNED_AT + timedelta(days=1)).status is SignatureStatus.MISMATCH


@pytest.mark.parametrize(
    "timestamp",
    ["١٧٦٨٤٧١٢٠٠", "１７６８４７１２００", "1768471200.0", "1.7684712e9", "+1768471200", "-1", " 1768471200", "1" * 13,
     "0x1", "１"],
)  # fmt: skip
def test_a_timestamp_is_ascii_digits(timestamp: str) -> None:
    # Signed with the very text, so that nothing but its form is wrong.
    signature = hmac_base64(
        base64.b64decode(MOCK_SECRET.removeprefix("whsec_")), f"evt_mock_0001.{timestamp}.{MOCK_BODY}".encode()
    )
    mockpsp = changed(MOCKPSP, webhook_timestamp=timestamp, webhook_signature=f"v1,{signature}")
    assert judge(mockpsp).status is SignatureStatus.MALFORMED
    digest = hmac.new(STRIPE.secret.encode(), f"{timestamp}.{STRIPE_BODY}".encode(), hashlib.sha256).hexdigest()
    stripe = changed(STRIPE, Stripe_Signature=f"t={timestamp},v1={digest}")
    assert judge(stripe).status is SignatureStatus.MALFORMED


def test_a_notification_of_adyen_is_as_good_after_a_month() -> None:
    # It has no timestamp, and is sent for thirty days.
    for delivery in (NOTIFICATION, TRANSFER):
        assert judge(delivery, now=SIGNED_AT + timedelta(days=30)).is_valid


# Secrets -------------------------------------------------------------------------------------------------------------

UNUSABLE = {
    "mockpsp": ["", "whsec_", "whsec_!!!!", "whsec_YQ", "whsec_YWJj!ZGVm", "\ud800"],
    "stripe": ["", "\ud800"],
    "adyen": ["", "0", "xy", "00 11", "é", "\ud800"],
}


@every_scheme
def test_another_accounts_secret_does_not_do(delivery: Delivery) -> None:
    assert judge(delivery, Secret(value=OTHERS[delivery.provider])).status is SignatureStatus.MISMATCH


@every_scheme
def test_without_a_usable_secret_nothing_is_valid(delivery: Delivery) -> None:
    unusable = [Secret(value=value) for value in UNUSABLE[delivery.provider]]
    expired = Secret(value=delivery.secret, expires_at=SIGNED_AT)
    scheme = SCHEMES[delivery.provider]
    for secrets in ([], unusable, [expired]):
        verdict = scheme.verify_webhook(delivery.raw_body, headers=delivery.headers, secrets=secrets, now=SIGNED_AT)
        assert verdict == Verdict(status=SignatureStatus.NO_SECRET, provider_event_id=delivery.event_id)
    assert judge(delivery, *unusable, Secret(value=delivery.secret)).is_valid


@every_scheme
def test_the_secret_that_matched_is_named(delivery: Delivery) -> None:
    other = Secret(value=OTHERS[delivery.provider], label=SecretLabel.CURRENT)
    for label in (SecretLabel.PREVIOUS, SecretLabel.NEXT):
        own = Secret(value=delivery.secret, label=label)
        assert judge(delivery, other, own).secret_label is label
        assert judge(delivery, own, other).secret_label is label


@every_scheme
def test_an_old_secret_is_good_until_it_expires(delivery: Delivery) -> None:
    other = Secret(value=OTHERS[delivery.provider])
    old = Secret(value=delivery.secret, label=SecretLabel.PREVIOUS, expires_at=SIGNED_AT + timedelta(microseconds=1))
    assert judge(delivery, other, old).is_valid
    assert judge(delivery, other, replace(old, expires_at=SIGNED_AT)).status is SignatureStatus.MISMATCH


@every_scheme
def test_only_so_many_secrets_are_tried(delivery: Delivery) -> None:
    others = [Secret(value=OTHERS[delivery.provider])] * 50
    assert judge(delivery, *others[:49], Secret(value=delivery.secret)).is_valid
    assert judge(delivery, *others, Secret(value=delivery.secret)).status is SignatureStatus.MISMATCH


def test_any_secret_matches_any_token_of_a_rotation() -> None:
    signed = standard_webhooks.sign(
        MOCKPSP.raw_body, delivery_id="evt_mock_0001", signed_at=SIGNED_AT, secrets=[MOCK_SECRET, MOCK_SECRET_OLD]
    )
    assert signed["webhook-signature"] == f"{MOCK_TOKEN} {MOCK_TOKEN_OLD}"
    delivery = replace(MOCKPSP, headers=signed)
    assert judge(delivery, Secret(value=MOCK_SECRET_OLD, label=SecretLabel.PREVIOUS)).is_valid
    assert judge(delivery, Secret(value=MOCK_SECRET)).is_valid
    assert judge(delivery, Secret(value=OTHERS["mockpsp"]), Secret(value=MOCK_SECRET)).is_valid


def test_stripe_and_standard_webhooks_read_the_same_prefix_differently() -> None:
    raw = standard_webhooks.sign(b"{}", delivery_id="evt_1", signed_at=SIGNED_AT, secrets=["plain secret"])
    assert raw["webhook-signature"] == "v1," + hmac_base64(b"plain secret", b"evt_1.1768471200.{}")
    assert judge(stripe_delivery(b"{}", secret=MOCK_SECRET)).is_valid


def test_signing_with_a_secret_that_spells_no_key_is_refused() -> None:
    for secret in UNUSABLE["mockpsp"]:
        with pytest.raises(ValueError, match="the secret is empty"):
            standard_webhooks.sign(b"{}", delivery_id="evt_1", signed_at=SIGNED_AT, secrets=[secret])


def test_a_secret_does_not_show_in_its_representation() -> None:
    assert "abc" not in repr(Secret(value="abc"))
