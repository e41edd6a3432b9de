"""Amounts in settlement files: exact decimals in a declared notation become whole minor units, or are refused."""

import re
from collections.abc import Callable
from typing import Final

from backend.app.domain.errors import FieldError
from backend.app.domain.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS
from backend.app.domain.reconciliation.settlement_mapping import AmountFormat

# Far beyond what any amount may be, and short enough that no text costs much.
_DIGITS_MAX: Final = 30


def amount_parser(declared: AmountFormat) -> Callable[[str, str, str], int]:
    """What makes signed minor units of (text, currency, name of the column); it raises FieldError.

    Nothing is rounded: digits beyond the currency's minor unit have to be zeros. Groups have to be of three digits.
    """
    group = re.escape(declared.group_separator)
    whole = rf"[0-9]{{1,{_DIGITS_MAX}}}"
    if group:
        whole = rf"(?:[0-9]{{1,3}}(?:{group}[0-9]{{3}}){{1,10}}|{whole})"
    fraction = "" if declared.is_minor else rf"(?:{re.escape(declared.decimal_separator)}([0-9]{{1,{_DIGITS_MAX}}}))?"
    pattern = re.compile(rf"([+-]?)({whole}){fraction}")
    example = "1250" if declared.is_minor else f"12{declared.decimal_separator}50"

    def parse(text: str, currency: str, field: str) -> int:
        match = pattern.fullmatch(text)
        if match is None:
            raise FieldError(field, f"{text[:40]!r} is not an amount such as {example!r}")
        digits = match[2].replace(declared.group_separator, "") if declared.group_separator else match[2]
        amount_minor = int(digits)
        if not declared.is_minor:
            exponent = CURRENCY_EXPONENTS[currency]
            written = match[3] or ""
            if written[exponent:].strip("0"):
                raise FieldError(field, f"has more than {exponent} decimal digits, the most that {currency} allows")
            amount_minor = amount_minor * 10**exponent + int(written[:exponent].ljust(exponent, "0") or "0")
        if amount_minor > AMOUNT_MINOR_MAX:
            raise FieldError(field, "is too large")
        return -amount_minor if match[1] == "-" else amount_minor

    return parse
