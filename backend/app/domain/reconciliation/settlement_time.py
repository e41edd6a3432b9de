"""Times in settlement files: in which form, and by which clock on which wall."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backend.app.domain.errors import FieldError
from backend.app.domain.reconciliation.settlement_fields import Fields

ISO: Final = "iso"
# Of strptime: what does not depend on the machine's language, but for the English names of months.
_DIRECTIVES: Final = frozenset("YymdbHIpMSfz")
_DIRECTIVE: Final = re.compile(r"%(.)")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
_ISO_LENGTH_MIN: Final = len("2026-01-01T10:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeFormat:
    """format: 'iso', or of strptime. zone: whose clock it is where the text does not say; None: the text says.

    is_day: only the day is written, which then stands for its first moment.
    """

    format: str
    zone: tzinfo | None
    is_day: bool

    @property
    def precision(self) -> timedelta:
        """How much later than written it may have been, at most."""
        return timedelta(days=1) if self.is_day else timedelta(0)


def parse_time_format(fields: Fields) -> TimeFormat:
    """The declared form; what is wrong is kept in the fields."""
    text = fields.text("format")
    directives = set(_DIRECTIVE.findall(text))
    has_offset = "z" in directives
    if text and text != ISO:
        unknown = sorted(directives - _DIRECTIVES)
        if unknown:
            fields.fault("format", f"has directives that are not known: {', '.join(f'%{each}' for each in unknown)}")
        elif not ({"d"} <= directives and directives & {"Y", "y"} and directives & {"m", "b"}):
            fields.fault("format", "is 'iso', or has at least a year, a month and a day, such as '%Y-%m-%d %H:%M:%S'")
        elif bool(directives & {"H", "I"}) != ("M" in directives):
            fields.fault("format", "needs both an hour and a minute, or neither")
        elif ("I" in directives) != ("p" in directives):
            fields.fault("format", "needs %I and %p together, or %H alone")
    zone = None
    if has_offset and fields.has("zone"):
        fields.fault("zone", "cannot be beside %z, which says it in each line")
    elif not has_offset:
        zone = _parse_zone(fields)
    return TimeFormat(format=text, zone=zone, is_day=text != ISO and not directives & {"H", "I"})


def time_parser(declared: TimeFormat) -> Callable[[str], datetime]:
    """What makes of a cell an aware time in UTC; it raises FieldError.

    Of a local time that was twice (clocks set back) the first is taken; one that never was (set forward) is refused.
    """
    zone = declared.zone

    def parse(text: str) -> datetime:
        try:
            if declared.format != ISO:
                at = datetime.strptime(text, declared.format)  # noqa: DTZ007 - the zone follows
            elif len(text) < _ISO_LENGTH_MIN or not text.isascii():
                raise ValueError
            else:
                at = datetime.fromisoformat(text)
            if at.tzinfo is not None:
                return at.astimezone(UTC)
            if zone is None:
                raise ValueError
            known = at.replace(tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError):
            raise FieldError("occurred_at", f"{text[:40]!r} is not written as {declared.format}") from None
        if known.astimezone(zone).replace(tzinfo=None) != at:
            raise FieldError("occurred_at", f"{text[:40]!r} never was on the clocks of {zone}")
        return known

    return parse


def _parse_zone(fields: Fields) -> tzinfo | None:
    name = fields.text("zone")
    if not name:
        return None
    if name == "UTC":
        return UTC
    offset = _OFFSET.fullmatch(name)
    if offset is not None and int(offset[2]) < 24 and int(offset[3]) < 60:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-span if offset[1] == "-" else span)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fields.fault("zone", "is no time zone known here, such as 'UTC', '+03:00' or 'Europe/Istanbul'")
        return None
