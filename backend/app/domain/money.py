"""Money: integer minor units and an ISO 4217 currency, always together. No floats, no default currency."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from backend.app.domain.errors import FieldError

# Far inside BIGINT, so that no sum of balances can overflow: 10^15 minor units.
AMOUNT_MINOR_MAX: Final = 10**15

# ISO 4217 (list one, 2024): how many decimal digits the minor unit has, where it is not two.
_EXPONENTS_OTHER_THAN_TWO: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_EXPONENT_TWO: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
    "CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
    "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN "
    "MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS "
    "SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD YER ZAR ZMW ZWG"
)
CURRENCY_EXPONENTS: Final[dict[str, int]] = {
    **dict.fromkeys(_EXPONENT_TWO.split(), 2),
    **{code: exponent for exponent, codes in _EXPONENTS_OTHER_THAN_TWO.items() for code in codes.split()},
}

# Plain decimal notation, ASCII digits only. Python's Decimal would also take "1_0", " 1" and other alphabets' digits.
DECIMAL_PATTERN: Final = r"^[0-9]{1,19}(\.[0-9]{1,6})?$"
_DECIMAL: Final = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,6})?")
_JSON_NUMBER: Final = re.compile(r"(?P<digits>[0-9]{1,19}(?:\.[0-9]{1,19})?)(?:[eE](?P<exponent>[+-]?[0-9]{1,2}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount in minor units of one currency; may be zero or negative where a balance is meant."""

    amount_minor: int
    currency: str

    def __str__(self) -> str:
        return f"{format_amount(self.amount_minor, currency=self.currency)} {self.currency}"


def parse_currency(code: str, *, field: str = "currency") -> str:
    """The code itself. Raises FieldError unless it is an active ISO 4217 currency."""
    if code not in CURRENCY_EXPONENTS:
        raise FieldError(field, "is not a known ISO 4217 currency")
    return code


def parse_amount(text: str, *, currency: str, field: str = "amount") -> Money:
    """A positive amount from a decimal string in major units, e.g. "12.50".

    Raises FieldError when it is not one, is zero, is too large, or is finer than the currency's minor unit.
    """
    if not _DECIMAL.fullmatch(text):
        raise FieldError(field, 'must be a positive decimal string such as "12.50"')
    return _positive(Decimal(text), currency=currency, field=field)


def parse_json_amount(raw: bytes, *, currency: str, field: str = "amount") -> Money:
    """A positive amount from a JSON value as it stood in the body: a decimal string, or an exact number.

    The undecoded value is needed because a JSON parser turns 0.1000000000000000055 into 0.1. Raises FieldError.
    """
    amount = _json_decimal(raw)
    if amount is None:
        raise FieldError(field, 'must be a positive decimal string such as "12.50"')
    return _positive(amount, currency=currency, field=field)


def parse_json_balance(raw: bytes, *, currency: str, field: str) -> int:
    """Minor units of a balance that may be zero, from a JSON value as it stood in the body. Raises FieldError."""
    amount = _json_decimal(raw)
    if amount is None:
        raise FieldError(field, 'must be a decimal string such as "12.50"')
    return _minor_units(amount, currency=currency, field=field)


def parse_balance(text: str, *, currency: str, field: str) -> int:
    """Minor units of a balance that may be zero, from a decimal string. Raises FieldError."""
    if not _DECIMAL.fullmatch(text):
        raise FieldError(field, 'must be a decimal string such as "12.50"')
    return _minor_units(Decimal(text), currency=currency, field=field)


def is_decimal(text: str) -> bool:
    """Whether the text is a plain decimal number that is not negative, such as "12.50"."""
    return _DECIMAL.fullmatch(text) is not None


def minor_from_major(amount: Decimal, *, currency: str) -> int:
    """Minor units of a configured limit, rounded down: a limit is never widened by rounding."""
    return int(amount.scaleb(CURRENCY_EXPONENTS[currency]).to_integral_value(rounding="ROUND_FLOOR"))


def format_amount(amount_minor: int, *, currency: str) -> str:
    """Decimal string in major units, e.g. 1250 USD → "12.50"; exact, never rounded."""
    exponent = CURRENCY_EXPONENTS[currency]
    if exponent == 0:
        return str(amount_minor)
    sign = "-" if amount_minor < 0 else ""
    digits = str(abs(amount_minor)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def _json_decimal(raw: bytes) -> Decimal | None:
    """The number that a JSON string or number spells in plain digits, or None."""
    text = raw.decode("utf-8", "replace")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return Decimal(text[1:-1]) if _DECIMAL.fullmatch(text[1:-1]) else None
    return Decimal(text) if _JSON_NUMBER.fullmatch(text) else None


def _positive(amount: Decimal, *, currency: str, field: str) -> Money:
    amount_minor = _minor_units(amount, currency=currency, field=field)
    if amount_minor == 0:
        raise FieldError(field, "must be greater than zero")
    return Money(amount_minor=amount_minor, currency=currency)


def _minor_units(amount: Decimal, *, currency: str, field: str) -> int:
    exponent = CURRENCY_EXPONENTS[currency]
    # Compared before it is shifted: the decimal context's precision is then never reached.
    if amount.adjusted() > 18:
        raise FieldError(field, "is too large")
    shifted = amount.scaleb(exponent)
    if shifted != shifted.to_integral_value():
        raise FieldError(field, f"has more than {exponent} decimal digits, the most that {currency} allows")
    if shifted > AMOUNT_MINOR_MAX:
        raise FieldError(field, "is too large")
    return int(shifted)
