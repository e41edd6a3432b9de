"""Money: what an amount may look like, exact minor units in every currency, and nothing rounded on the way."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.domain.errors import FieldError
from backend.app.domain.money import (
    AMOUNT_MINOR_MAX,
    CURRENCY_EXPONENTS,
    Money,
    format_amount,
    minor_from_major,
    parse_amount,
    parse_balance,
    parse_currency,
    parse_json_amount,
)

CURRENCIES = st.sampled_from(sorted(CURRENCY_EXPONENTS))


@pytest.mark.parametrize(
    ("text", "currency", "amount_minor"),
    [
        ("12.50", "USD", 12_50),
        ("12.5", "USD", 12_50),
        ("12", "USD", 12_00),
        ("0.01", "USD", 1),
        ("007.10", "USD", 7_10),
        ("12.500000", "USD", 12_50),
        ("12.500", "KWD", 12_500),
        ("0.001", "KWD", 1),
        ("12", "JPY", 12),
        ("12.000", "JPY", 12),
        ("0.0001", "CLF", 1),
        ("10000000000000.00", "USD", AMOUNT_MINOR_MAX),
    ],
)
def test_decimal_string_becomes_exact_minor_units(text: str, currency: str, amount_minor: int) -> None:
    expected = Money(amount_minor=amount_minor, currency=currency)
    assert parse_amount(text, currency=currency) == expected
    assert parse_json_amount(f'"{text}"'.encode(), currency=currency) == expected


HOSTILE = [
    "", " ", "0", "0.00", "-1", "+1", "-0.01", " 1", "1 ", "1\n", "\n1", "1\0", "1,00", "1.234.567", "1_0", ".5", "5.",
    "1e2", "1E2", "0x10", "NaN", "nan", "sNaN", "Infinity", "-Infinity", "inf", "null", "true", "[]", "{}", "１２",
    "١٢", "१", "1٫5", "1½", "²", "1.", "..", "1..2", "--1", "0.001", "12.345", "0.0000001", "1" * 20, "9" * 400,
    "1" * 5000, "10000000000000.01", "99999999999999999", "9223372036854775807", "9223372036854775808", "$1", "1$",
    "1.0'; DROP TABLE players; --", "\u200b1", "1\u00a0", "\ufeff1", "1\u2044" "2",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_anything_else_is_a_field_error(text: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse_amount(text, currency="USD")
    assert caught.value.status == 422
    assert caught.value.error_code == "VALIDATION_ERROR"
    assert str(caught.value).startswith("amount: ")


@pytest.mark.parametrize(
    ("raw", "amount_minor"),
    [
        (b"12.5", 12_50),
        (b"12", 12_00),
        (b"12.50", 12_50),
        (b"1e2", 100_00),
        (b"1250e-2", 12_50),
        (b"1.25E+1", 12_50),
        (b"0.01", 1),
        (b"0.0100000000000000", 1),
    ],
)
def test_exact_json_number_is_taken(raw: bytes, amount_minor: int) -> None:
    assert parse_json_amount(raw, currency="USD").amount_minor == amount_minor


@pytest.mark.parametrize(
    "raw",
    [
        b"0.1000000000000000055", b"0.001", b"12.345", b"-1", b"0", b"0.0", b"0e5", b"-0", b"1e99", b"1e-99", b"1e999",
        b"9" * 30, b"NaN", b"Infinity", b"null", b"true", b"false", b"[1]", b'{"a":1}', b'""', b'"', b"", b'"1', b'1"',
        b"'1'", b'"\\u0031"', b'"1\\n"', b'" 1"', b"\xff", b'"\xff"', b'"\xc3\xb9"', b"1 2", b"01x", b'"1""',
    ],
)  # fmt: skip
def test_json_value_that_is_no_exact_positive_amount_is_a_field_error(raw: bytes) -> None:
    with pytest.raises(FieldError):
        parse_json_amount(raw, currency="USD")


@pytest.mark.parametrize(
    ("text", "currency"), [("0.1", "JPY"), ("1.5", "JPY"), ("0.001", "USD"), ("0.0001", "KWD"), ("0.00001", "CLF")]
)
def test_amount_finer_than_the_minor_unit_is_refused_never_rounded(text: str, currency: str) -> None:
    with pytest.raises(FieldError, match="decimal digits"):
        parse_amount(text, currency=currency)
    with pytest.raises(FieldError, match="decimal digits"):
        parse_json_amount(text.encode(), currency=currency)


def test_error_names_the_field() -> None:
    with pytest.raises(FieldError) as caught:
        parse_amount("x", currency="USD", field="min_amount")
    assert caught.value.extras["errors"] == [
        {"field": "min_amount", "message": 'must be a positive decimal string such as "12.50"'}
    ]


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (0, "USD", "0.00"),
        (5, "USD", "0.05"),
        (12_50, "USD", "12.50"),
        (-5, "USD", "-0.05"),
        (-12_50, "USD", "-12.50"),
        (5, "JPY", "5"),
        (-5, "JPY", "-5"),
        (5, "KWD", "0.005"),
        (1_234_567, "KWD", "1234.567"),
        (2**63 - 1, "USD", "92233720368547758.07"),
        (-(2**63), "USD", "-92233720368547758.08"),
    ],
)
def test_minor_units_are_written_in_major_units(amount_minor: int, currency: str, text: str) -> None:
    assert format_amount(amount_minor, currency=currency) == text
    assert str(Money(amount_minor=amount_minor, currency=currency)) == f"{text} {currency}"


@given(amount_minor=st.integers(1, AMOUNT_MINOR_MAX), currency=CURRENCIES)
def test_what_is_written_is_read_back(amount_minor: int, currency: str) -> None:
    text = format_amount(amount_minor, currency=currency)
    assert parse_amount(text, currency=currency).amount_minor == amount_minor
    assert parse_json_amount(text.encode(), currency=currency).amount_minor == amount_minor
    assert Decimal(text).scaleb(CURRENCY_EXPONENTS[currency]) == amount_minor


@given(text=st.text(max_size=40), currency=CURRENCIES)
def test_no_text_breaks_the_parser(text: str, currency: str) -> None:
    try:
        parsed = parse_amount(text, currency=currency)
    except FieldError:
        return
    assert 1 <= parsed.amount_minor <= AMOUNT_MINOR_MAX
    assert Decimal(text).scaleb(CURRENCY_EXPONENTS[currency]) == parsed.amount_minor


@given(raw=st.binary(max_size=40))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    try:
        assert parse_json_amount(raw, currency="USD").amount_minor > 0
    except FieldError:
        return


def test_balance_may_be_zero_and_amount_may_not() -> None:
    assert parse_balance("0.00", currency="USD", field="balance") == 0
    with pytest.raises(FieldError, match="greater than zero"):
        parse_amount("0.00", currency="USD")
    with pytest.raises(FieldError):
        parse_balance("-0.01", currency="USD", field="balance")


@pytest.mark.parametrize("code", ["usd", "US", "USDT", "", "XXX", "XAU", "U$D", "USD ", "ＵＳＤ", "BTC"])
def test_currency_must_be_one_of_iso_4217(code: str) -> None:
    with pytest.raises(FieldError, match="ISO 4217"):
        parse_currency(code)


def test_exponents_are_those_of_iso_4217() -> None:
    assert {code: CURRENCY_EXPONENTS[code] for code in ("JPY", "KRW", "USD", "EUR", "TRY", "KWD", "BHD", "CLF")} == {
        "JPY": 0, "KRW": 0, "USD": 2, "EUR": 2, "TRY": 2, "KWD": 3, "BHD": 3, "CLF": 4
    }  # fmt: skip
    assert set(CURRENCY_EXPONENTS.values()) == {0, 2, 3, 4}
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCY_EXPONENTS)


@pytest.mark.parametrize(
    ("limit", "currency", "amount_minor"),
    [("100.00", "USD", 100_00), ("100.00", "JPY", 100), ("99.99", "JPY", 99), ("0.0019", "KWD", 1)],
)
def test_limit_is_never_widened_by_rounding(limit: str, currency: str, amount_minor: int) -> None:
    assert minor_from_major(Decimal(limit), currency=currency) == amount_minor
