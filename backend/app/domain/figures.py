"""How numbers and times look in a language: the figures of sentences, here and on the console's pages. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

# (between thousands, before the decimals)
SEPARATORS: Final[Mapping[str, tuple[str, str]]] = {"en": (",", "."), "tr": (".", ",")}
MONTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "tr": ("Oca", "Şub", "Mar", "Nis", "May", "Haz", "Tem", "Ağu", "Eyl", "Eki", "Kas", "Ara"),
}


def number(value: int | float, *, language: str) -> str:
    """A number with at most three decimals, none of them in vain, such as 1,234.5 or 1.234,5."""
    thousands, decimal = SEPARATORS[language]
    whole, _, fraction = f"{value:,.3f}".partition(".")
    fraction = fraction.rstrip("0")
    return whole.replace(",", thousands) + (decimal + fraction if fraction else "")


def minute(moment: datetime, *, language: str) -> str:
    """A time to the minute, in UTC but without saying so, such as 22 Nov 2026 05:25."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {MONTHS[language][moment.month - 1]} {moment.year} {moment:%H:%M}"
