"""Exact readers of what providers write: the value, or UnparsableEvent. Nothing is rounded or guessed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec

from backend.app.domain.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS, Money
from backend.app.psp.webhook import UnparsableEvent

IDENTIFIER_CHARS_MAX: Final = 255
FAILURE_CODE_CHARS_MAX: Final = 100

# A provider's own counter; fits a BIGINT.
EventSequence = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

T = TypeVar("T")


def decode(raw: bytes | msgspec.Raw, *, decoder: msgspec.json.Decoder[T]) -> T:
    """The JSON document as the decoder's type. Raises UnparsableEvent, for bytes that are no UTF-8 as well.

    msgspec is strict where it matters: a float, a boolean or a string is no integer, and a lone surrogate no text. It
    does not look at strings that nobody asked for; hence everything is decoded first.
    """
    try:
        return decoder.decode(bytes(raw).decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # A message of msgspec says which type was expected where; none of the three may carry what was found.
        reason = str(error) if isinstance(error, msgspec.ValidationError) else type(error).__name__
        raise UnparsableEvent(reason) from None


def read_identifier(text: str | None, *, field: str) -> str:
    """A name of 1 to IDENTIFIER_CHARS_MAX printable characters. Raises UnparsableEvent.

    Control characters are refused here, as PostgreSQL would refuse NUL later.
    """
    if not text or len(text) > IDENTIFIER_CHARS_MAX or not text.isprintable():
        raise UnparsableEvent(f"{field} is missing or not a printable name of at most {IDENTIFIER_CHARS_MAX}")
    return text


def find_identifier(text: str | None, *, field: str) -> str | None:
    """The same, or None where the provider wrote nothing."""
    return read_identifier(text, field=field) if text else None


def read_money(value: int, *, currency: str, exponents: Mapping[str, int]) -> Money:
    """An amount in the provider's minor units as money in ours, zero included. Raises UnparsableEvent.

    `exponents` has the currencies for which the provider counts other decimal digits than ISO 4217. What cannot be
    expressed in our minor units is refused, never rounded.
    """
    if currency not in CURRENCY_EXPONENTS:
        raise UnparsableEvent("the currency is not one of ISO 4217")
    ours = CURRENCY_EXPONENTS[currency]
    theirs = exponents.get(currency, ours)
    amount_minor, remainder = divmod(value * 10 ** max(ours - theirs, 0), 10 ** max(theirs - ours, 0))
    if remainder:
        raise UnparsableEvent(f"the amount is finer than the minor unit of {currency}")
    if not 0 <= amount_minor <= AMOUNT_MINOR_MAX:
        raise UnparsableEvent("the amount is negative or too large")
    return Money(amount_minor=amount_minor, currency=currency)


def find_failure_code(text: str | None) -> str | None:
    """What is printable of a provider's word for a failure, at most FAILURE_CODE_CHARS_MAX of it; for people only."""
    return "".join(char for char in text or "" if char.isprintable())[:FAILURE_CODE_CHARS_MAX] or None


def find_time(text: str | None) -> datetime | None:
    """An ISO 8601 time with its offset, in UTC; None where there is none. No event is lost for an unreadable time."""
    try:
        occurred_at = datetime.fromisoformat(text or "")
        return occurred_at.astimezone(UTC) if occurred_at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
