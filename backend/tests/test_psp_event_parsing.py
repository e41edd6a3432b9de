"""What deliveries say: every provider's words in ours, and money exactly or not at all."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.domain.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS, Money
from backend.app.domain.payments.psp_event import PspEvent, PspEventType, StatusClass
from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import UnparsableEvent
from backend.tests.webhook_deliveries import (
    ADYEN_ITEM,
    ADYEN_KEY,
    ADYEN_REVERSED_ITEM,
    GENUINE,
    MOCK_BODY,
    MOCK_BODY_TURKISH,
    MOCKPSP,
    NOTIFICATION,
    STRIPE,
    STRIPE_BODY,
    TRANSFER,
    TRANSFER_BODY,
    Delivery,
    standard_notification,
)

TEN_O_CLOCK = datetime(2026, 1, 15, 10, tzinfo=UTC)
EUR_125 = Money(amount_minor=12500, currency="EUR")


def parse(delivery: Delivery) -> tuple[PspEvent, ...]:
    return SCHEMES[delivery.provider].parse_event(delivery.raw_body, delivery_id=delivery.event_id)


def parse_document(provider: str, document: object) -> PspEvent:
    (event,) = SCHEMES[provider].parse_event(json.dumps(document).encode(), delivery_id="evt_1")
    return event


def mock_event(event_type: str = "payout.paid", **data: object) -> PspEvent:
    document = json.loads(MOCK_BODY)
    return parse_document("mockpsp", document | {"type": event_type, "data": document["data"] | data})


def stripe_event(event_type: str = "payout.paid", **members: object) -> PspEvent:
    document = json.loads(STRIPE_BODY)
    return parse_document(
        "stripe", document | {"type": event_type, "data": {"object": document["data"]["object"] | members}}
    )


def adyen_event(**fields: object) -> PspEvent:
    (event,) = parse(standard_notification(ADYEN_ITEM | fields, secret=ADYEN_KEY))
    return event


def transfer_event(event_type: str = "balancePlatform.transfer.updated", **data: object) -> PspEvent:
    document = json.loads(TRANSFER_BODY)
    return parse_document("adyen", document | {"type": event_type, "data": document["data"] | data})


def test_every_scheme_reads_its_own_vector() -> None:
    assert parse(MOCKPSP) == (
        PspEvent(
            provider="mockpsp",
            account_hint="mock_acct_1",
            provider_event_id="evt_mock_0001",
            type=PspEventType.PAYOUT_PAID,
            provider_ref="mpo_0001",
            reference="wd_0001_1",
            sequence=3,
            money=EUR_125,
            occurred_at=TEN_O_CLOCK,
            failure_code=None,
        ),
    )
    assert parse(STRIPE) == (
        PspEvent(
            provider="stripe",
            account_hint=None,
            provider_event_id="evt_own_1",
            type=PspEventType.PAYOUT_PAID,
            provider_ref="po_own_1",
            reference=None,
            sequence=1768471200,
            money=EUR_125,
            occurred_at=TEN_O_CLOCK,
            failure_code=None,
        ),
    )
    assert parse(NOTIFICATION) == (
        PspEvent(
            provider="adyen",
            account_hint="OwnTestAcct",
            provider_event_id="PSP0000000000001:PAYOUT_THIRDPARTY:true",
            type=PspEventType.PAYOUT_PAID,
            provider_ref="PSP0000000000001",
            reference="wd_0001_1",
            sequence=None,
            money=EUR_125,
            occurred_at=None,
            failure_code=None,
        ),
    )
    assert parse(TRANSFER) == (
        PspEvent(
            provider="adyen",
            account_hint=None,
            provider_event_id="balancePlatform.transfer.updated:TR1:4",
            type=PspEventType.PAYOUT_PENDING,
            provider_ref="TR1",
            reference="wd_0001_1",
            sequence=4,
            money=EUR_125,
            occurred_at=None,
            failure_code=None,
        ),
    )


# MockPSP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "status_class"),
    [
        ("deposit.captured", StatusClass.SUCCESS),
        ("deposit.failed", StatusClass.FAILED),
        ("deposit.refunded", StatusClass.REVERSED),
        ("payout.paid", StatusClass.SUCCESS),
        ("payout.failed", StatusClass.FAILED),
        ("payout.returned", StatusClass.REVERSED),
    ],
)
def test_mockpsp_speaks_our_words(event_type: str, status_class: StatusClass) -> None:
    event = mock_event(event_type, payment_id="mpay_1")
    assert (event.type, event.status_class) == (event_type, status_class)
    assert event.provider_ref == ("mpay_1" if event_type.startswith("deposit.") else "mpo_0001")


def test_a_new_word_of_mockpsp_is_unknown_and_settles_nothing() -> None:
    event = mock_event("payout.split", amount_minor=None)
    assert (event.type, event.status_class, event.money) == (PspEventType.UNKNOWN, StatusClass.PENDING, None)


def test_a_failure_needs_no_amount_and_a_success_does() -> None:
    assert mock_event("payout.failed", amount_minor=None, currency=None).money is None
    for event_type in ("payout.paid", "payout.returned"):
        with pytest.raises(UnparsableEvent):
            mock_event(event_type, amount_minor=None, currency=None)
    with pytest.raises(UnparsableEvent):
        mock_event("payout.failed", currency=None)


def test_a_payout_has_no_payments_id() -> None:
    with pytest.raises(UnparsableEvent, match=r"data\.payment_id"):
        mock_event("deposit.captured")
    with pytest.raises(UnparsableEvent, match=r"data\.payout_id"):
        mock_event("payout.paid", payout_id=None, payment_id="mpay_1")


def test_a_failure_code_is_kept_as_far_as_it_can_be_shown() -> None:
    (event,) = SCHEMES["mockpsp"].parse_event(MOCK_BODY_TURKISH.encode(), delivery_id="evt_1")
    assert event.failure_code == "İşlem reddedildi ₺"
    assert mock_event(failure_code="a\0b\x1b[31m" + "x" * 200).failure_code == ("ab[31m" + "x" * 200)[:100]
    assert mock_event(failure_code="\0").failure_code is None


@pytest.mark.parametrize("bad", ["a\0b", "a\nb", "x" * 256, "\u202e"])
def test_a_name_that_cannot_be_stored_or_shown_is_refused(bad: str) -> None:
    for member in ("account", "payout_id", "reference"):
        with pytest.raises(UnparsableEvent, match=f"data.{member}"):
            mock_event(**{member: bad})
    with pytest.raises(UnparsableEvent, match="delivery_id"):
        SCHEMES["mockpsp"].parse_event(MOCK_BODY.encode(), delivery_id=bad)


@pytest.mark.parametrize("sequence", [-1, 1.0, True, "3", 2**63])
def test_a_sequence_is_a_whole_number_that_can_be_stored(sequence: object) -> None:
    with pytest.raises(UnparsableEvent):
        mock_event(sequence=sequence)
    with pytest.raises(UnparsableEvent):
        transfer_event(sequenceNumber=sequence)


@pytest.mark.parametrize(
    "timestamp", ["yesterday", "2026-01-15T10:00:00", "0001-01-01T00:00:00+14:00", "", "2026-02-30T00:00:00Z"]
)
def test_an_unreadable_time_loses_no_event(timestamp: str) -> None:
    assert parse_document("mockpsp", json.loads(MOCK_BODY) | {"timestamp": timestamp}).occurred_at is None


def test_a_time_is_given_in_utc() -> None:
    event = parse_document("mockpsp", json.loads(MOCK_BODY) | {"timestamp": "2026-01-15T13:00:00+03:00"})
    assert event.occurred_at == TEN_O_CLOCK
    assert event.occurred_at.tzinfo is UTC


# Stripe --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "event_type"),
    [
        ("pending", PspEventType.PAYOUT_PENDING),
        ("in_transit", PspEventType.PAYOUT_PENDING),
        ("paid", PspEventType.PAYOUT_PAID),
        ("failed", PspEventType.PAYOUT_FAILED),
        ("canceled", PspEventType.PAYOUT_FAILED),
        ("paused", PspEventType.UNKNOWN),
    ],
)
def test_the_status_of_a_stripe_payout_counts(status: str, event_type: PspEventType) -> None:
    event = stripe_event(
        "payout.updated", status=status, failure_code="account_closed", metadata={"reference": "wd_1_1"}
    )
    assert (event.type, event.provider_ref, event.reference) == (event_type, "po_own_1", "wd_1_1")


@pytest.mark.parametrize(
    ("status", "event_type", "amount_minor", "failure_code"),
    [
        ("succeeded", PspEventType.DEPOSIT_CAPTURED, 12400, None),
        ("requires_payment_method", PspEventType.DEPOSIT_PENDING, 12500, "card_declined"),
        ("processing", PspEventType.DEPOSIT_PENDING, 12500, "card_declined"),
        ("canceled", PspEventType.DEPOSIT_FAILED, 12500, "card_declined"),
    ],
)
def test_a_declined_card_does_not_end_a_stripe_intent(
    status: str, event_type: PspEventType, amount_minor: int, failure_code: str | None
) -> None:
    event = stripe_event(
        "payment_intent.payment_failed",
        id="pi_1",
        status=status,
        amount_received=12400,
        last_payment_error={"code": "card_declined"},
    )
    assert (event.type, event.provider_ref, event.failure_code) == (event_type, "pi_1", failure_code)
    assert event.money == Money(amount_minor=amount_minor, currency="EUR")


def test_a_refunded_stripe_charge_speaks_of_its_intent() -> None:
    event = stripe_event("charge.refunded", id="ch_1", payment_intent="pi_1", amount_refunded=300)
    assert (event.type, event.provider_ref) == (PspEventType.DEPOSIT_REFUNDED, "pi_1")
    assert event.money == Money(amount_minor=300, currency="EUR")
    assert stripe_event("charge.refunded", id="ch_1", amount_refunded=300).provider_ref == "ch_1"


def test_stripe_events_that_we_do_not_map_are_unknown() -> None:
    for event_type in ("charge.dispute.created", "payouts.paid", "", "transfer.reversed"):
        assert stripe_event(event_type).type is PspEventType.UNKNOWN


def test_a_thin_stripe_event_names_its_object_and_settles_nothing() -> None:
    event = parse_document(
        "stripe",
        {
            "id": "evt_234",
            "object": "v2.core.event",
            "type": "v2.money_management.outbound_payment.posted",
            "created": "2026-01-15T10:00:00.000Z",
            "related_object": {"id": "obp_1", "type": "v2.money_management.outbound_payment"},
        },
    )
    assert (event.type, event.provider_ref, event.money) == (PspEventType.UNKNOWN, "obp_1", None)
    assert (event.provider_event_id, event.occurred_at) == ("evt_234", TEN_O_CLOCK)


@pytest.mark.parametrize("created", [-1, 1.5, True, 10**12, "2026-01-15T10:00:00Z"])
def test_the_second_of_a_stripe_event_is_a_second(created: object) -> None:
    with pytest.raises(UnparsableEvent):
        parse_document("stripe", json.loads(STRIPE_BODY) | {"created": created})


# Adyen ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_code", "success", "event_type"),
    [
        ("AUTHORISATION", "true", PspEventType.DEPOSIT_PENDING),
        ("AUTHORISATION", "false", PspEventType.DEPOSIT_FAILED),
        ("CAPTURE", "true", PspEventType.DEPOSIT_CAPTURED),
        ("CAPTURE", "false", PspEventType.UNKNOWN),
        ("CANCELLATION", "true", PspEventType.DEPOSIT_FAILED),
        ("REFUND", "true", PspEventType.DEPOSIT_REFUNDED),
        ("REFUND", "false", PspEventType.UNKNOWN),
        ("PAYOUT_THIRDPARTY", "true", PspEventType.PAYOUT_PAID),
        ("PAYOUT_THIRDPARTY", "false", PspEventType.PAYOUT_FAILED),
        ("PAYOUT_DECLINE", "true", PspEventType.PAYOUT_FAILED),
        ("PAYOUT_EXPIRE", "true", PspEventType.PAYOUT_FAILED),
        ("PAIDOUT_REVERSED", "true", PspEventType.PAYOUT_RETURNED),
        ("PAIDOUT_REVERSED", "false", PspEventType.UNKNOWN),
        ("CHARGEBACK", "true", PspEventType.UNKNOWN),
        ("payout_thirdparty", "true", PspEventType.UNKNOWN),
    ],
)
def test_event_codes_of_adyen_are_mapped(event_code: str, success: str, event_type: PspEventType) -> None:
    event = adyen_event(eventCode=event_code, success=success, reason="Refused", originalReference="PSP0")
    assert (event.type, event.provider_ref) == (event_type, "PSP0")
    assert event.provider_event_id == f"PSP0000000000001:{event_code}:{success}"
    has_failed = event.status_class in (StatusClass.FAILED, StatusClass.REVERSED)
    assert event.failure_code == ("Refused" if has_failed else None)


def test_every_item_of_a_batch_is_read_in_its_order() -> None:
    events = parse(standard_notification(ADYEN_ITEM, ADYEN_REVERSED_ITEM, secret=ADYEN_KEY))
    assert [event.provider_ref for event in events] == ["PSP0000000000001", "PSP0000000000001"]
    assert [event.type for event in events] == [PspEventType.PAYOUT_PAID, PspEventType.UNKNOWN]


@pytest.mark.parametrize(
    ("data", "event_type"),
    [
        ({"status": "received"}, PspEventType.PAYOUT_PENDING),
        ({"status": "authorised"}, PspEventType.PAYOUT_PENDING),
        ({"status": "booked"}, PspEventType.PAYOUT_PENDING),
        ({"status": "booked", "tracking": {"type": "estimation"}}, PspEventType.PAYOUT_PENDING),
        (
            {"status": "booked", "tracking": {"type": "internalReview", "status": "pending"}},
            PspEventType.PAYOUT_PENDING,
        ),
        ({"status": "booked", "tracking": {"type": "confirmation", "status": "credited"}}, PspEventType.PAYOUT_PAID),
        ({"status": "booked", "tracking": {"type": "confirmation", "status": "accepted"}}, PspEventType.PAYOUT_PAID),
        ({"status": "failed", "tracking": {"type": "confirmation", "status": "accepted"}}, PspEventType.PAYOUT_FAILED),
        ({"status": "credited"}, PspEventType.PAYOUT_PAID),
        ({"status": "refused"}, PspEventType.PAYOUT_FAILED),
        ({"status": "failed"}, PspEventType.PAYOUT_FAILED),
        ({"status": "returned"}, PspEventType.PAYOUT_RETURNED),
        ({"status": "interchangeAdjusted"}, PspEventType.UNKNOWN),
        ({"status": "credited", "direction": "outgoing", "category": "card"}, PspEventType.PAYOUT_PAID),
        ({"status": "credited", "direction": "incoming"}, PspEventType.UNKNOWN),
        ({"status": "credited", "category": "internal"}, PspEventType.UNKNOWN),
    ],
)
def test_a_transfer_is_paid_when_its_arrival_is_confirmed(data: dict[str, Any], event_type: PspEventType) -> None:
    event = transfer_event(**data)
    assert (event.type, event.provider_ref) == (event_type, "TR1")


def test_what_adyens_platform_says_of_other_things_is_unknown() -> None:
    for event_type in ("balancePlatform.accountHolder.created", "balancePlatform.transaction.created"):
        assert transfer_event(event_type, amount="no amount").type is PspEventType.UNKNOWN
    nameless = {"type": "balancePlatform.accountHolder.created", "data": {"balancePlatform": "Ours"}}
    event = parse_document("adyen", nameless)
    assert (event.account_hint, event.provider_ref) == ("Ours", None)
    assert event.provider_event_id.startswith("sha256:")


# Money ---------------------------------------------------------------------------------------------------------------

NO_AMOUNTS = [True, False, 1.0, 12500.0, 1e3, 0.1, -1, AMOUNT_MINOR_MAX + 1, 10**30, "12500", [1], {}]


@pytest.mark.parametrize("amount", NO_AMOUNTS)
def test_what_is_no_exact_amount_is_refused_everywhere(amount: object) -> None:
    readings: tuple[Callable[[], PspEvent], ...] = (
        lambda: mock_event(amount_minor=amount),
        lambda: stripe_event(amount=amount),
        lambda: adyen_event(amount={"value": amount, "currency": "EUR"}),
        lambda: transfer_event(amount={"value": amount, "currency": "EUR"}),
    )
    for read in readings:
        with pytest.raises(UnparsableEvent):
            read()


@pytest.mark.parametrize("currency", ["eur", "Eur", "", "XXX", "EURO", "€", "ＥＵＲ", None, 978])
def test_mockpsp_and_adyen_write_currencies_as_iso_does(currency: object) -> None:
    readings: tuple[Callable[[], PspEvent], ...] = (
        lambda: mock_event(currency=currency),
        lambda: adyen_event(amount={"value": 1, "currency": currency}),
        lambda: transfer_event(amount={"value": 1, "currency": currency}),
    )
    for read in readings:
        with pytest.raises(UnparsableEvent):
            read()


@pytest.mark.parametrize("currency", ["EUR", "Eur", "", "xxx", "ınr", "ısk", None])
def test_stripe_writes_currencies_in_lower_case(currency: object) -> None:
    with pytest.raises(UnparsableEvent):
        stripe_event(currency=currency)


@pytest.mark.parametrize(
    ("currency", "stripe_amount", "amount_minor"),
    [
        ("eur", 12500, 12500),
        ("jpy", 500, 500),
        ("kwd", 5120, 5120),
        ("isk", 500, 5),
        ("ugx", 500, 5),
        ("mga", 500, 50000),
        ("huf", 1045, 1045),
    ],
)
def test_stripes_minor_units_become_ours(currency: str, stripe_amount: int, amount_minor: int) -> None:
    event = stripe_event(currency=currency, amount=stripe_amount)
    assert event.money == Money(amount_minor=amount_minor, currency=currency.upper())


@pytest.mark.parametrize(
    ("currency", "adyen_value", "amount_minor"),
    [("EUR", 1130, 1130), ("CLP", 50000, 500), ("ISK", 500, 5), ("IDR", 500, 50000), ("CVE", 5, 500), ("BHD", 1, 1)],
)
def test_adyens_minor_units_become_ours(currency: str, adyen_value: int, amount_minor: int) -> None:
    amount = {"value": adyen_value, "currency": currency}
    for event in (adyen_event(amount=amount), transfer_event(amount=amount)):
        assert event.money == Money(amount_minor=amount_minor, currency=currency)


def test_an_amount_finer_than_our_minor_unit_is_refused_and_not_rounded() -> None:
    with pytest.raises(UnparsableEvent, match="finer than the minor unit of ISK"):
        stripe_event(currency="isk", amount=501)
    with pytest.raises(UnparsableEvent, match="finer than the minor unit of CLP"):
        adyen_event(amount={"value": 50, "currency": "CLP"})
    with pytest.raises(UnparsableEvent, match="too large"):
        stripe_event(currency="mga", amount=AMOUNT_MINOR_MAX)


@given(
    amount_minor=st.integers(0, AMOUNT_MINOR_MAX),
    currency=st.sampled_from(sorted(set(CURRENCY_EXPONENTS) - {"CLP", "CVE", "IDR", "ISK", "MGA", "UGX"})),
)
def test_every_other_amount_is_taken_as_it_is(amount_minor: int, currency: str) -> None:
    money = Money(amount_minor=amount_minor, currency=currency)
    amount = {"value": amount_minor, "currency": currency}
    assert mock_event(amount_minor=amount_minor, currency=currency).money == money
    assert stripe_event(amount=amount_minor, currency=currency.lower()).money == money
    assert adyen_event(amount=amount).money == transfer_event(amount=amount).money == money


# Bodies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", sorted(SCHEMES))
@pytest.mark.parametrize(
    "raw_body",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b"\xef\xbb\xbf{}", b"{} x", b'{"a": NaN}', b"[" * 100_000,
        b'{"type":"payout.paid","data":{},"x":"\xff"}', b'{"x":"\\ud800"}', b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_event_is_refused_with_one_error(provider: str, raw_body: bytes) -> None:
    with pytest.raises(UnparsableEvent):
        SCHEMES[provider].parse_event(raw_body, delivery_id="evt_1")


def refusal_of(delivery: Delivery, document: object) -> UnparsableEvent | None:
    try:
        SCHEMES[delivery.provider].parse_event(json.dumps(document).encode(), delivery_id="evt_1")
    except UnparsableEvent as error:
        return error
    return None


@pytest.mark.parametrize("delivery", GENUINE.values(), ids=GENUINE)
def test_what_a_refusal_says_holds_nothing_of_the_body(delivery: Delivery) -> None:
    word = "Zümrüdüanka"
    genuine = json.loads(delivery.raw_body)
    refusals = [refusal_of(delivery, genuine | {name: {word: word}}) for name in genuine]
    assert any(refusals)
    for refusal in filter(None, refusals):
        assert word not in str(refusal)
        assert refusal.__cause__ is None
