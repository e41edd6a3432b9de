"""How numbers, money and times look on a page, as domain/figures.py has them. Pure."""

from datetime import datetime
from typing import Final

from backend.app.console.text import Language, text
from backend.app.domain import figures
from backend.app.domain.figures import MONTHS, SEPARATORS
from backend.app.domain.money import format_amount

# A true minus sign: as wide as a digit where figures are tabular, and read as one.
MINUS: Final = "−"
MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
# From here on an age is told in days, before in hours.
HOURS_UNTIL_DAYS: Final = 48 * HOUR


def amount(amount_minor: int, *, currency: str, language: Language) -> str:
    """Minor units as an amount in major units, such as 1,234.56 or 1.234,56; without the currency."""
    thousands, decimal = SEPARATORS[language]
    whole, dot, fraction = format_amount(abs(amount_minor), currency=currency).partition(".")
    grouped = f"{int(whole):,}".replace(",", thousands)
    sign = MINUS if amount_minor < 0 else ""
    return f"{sign}{grouped}{decimal if dot else ''}{fraction}"


def signed_amount(amount_minor: int, *, currency: str, language: Language) -> str:
    """An amount that was added or taken away, with its sign."""
    figure = amount(amount_minor, currency=currency, language=language)
    return f"+{figure}" if amount_minor > 0 else figure


def integer(number: int, *, language: Language) -> str:
    """A count, such as 12,345 or 12.345."""
    sign = MINUS if number < 0 else ""
    return sign + f"{abs(number):,}".replace(",", SEPARATORS[language][0])


def minute(moment: datetime, *, language: Language) -> str:
    """A time to the minute, in UTC, such as 22 Nov 2026 05:25."""
    return figures.minute(moment, language=language)


def exact(moment: datetime, *, language: Language) -> str:
    """A time to the millisecond, in UTC."""
    month = MONTHS[language][moment.month - 1]
    return f"{moment.day} {month} {moment.year} {moment:%H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def age(moment: datetime, *, now: datetime, language: Language) -> str:
    """How long ago that was, in one unit; a time to come says in how long."""
    seconds = int((now - moment).total_seconds())
    direction = "ago" if seconds >= 0 else "ahead"
    seconds = abs(seconds)
    if seconds < MINUTE:
        return text(language, f"age.now.{direction}")
    if seconds < HOUR:
        return text(language, f"age.minutes.{direction}", count=seconds // MINUTE)
    if seconds < HOURS_UNTIL_DAYS:
        return text(language, f"age.hours.{direction}", count=seconds // HOUR)
    return text(language, f"age.days.{direction}", count=integer(seconds // DAY, language=language))
