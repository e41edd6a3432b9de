"""What all lists have in common: how a page is asked for, and how it says where it stands."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Generic
from uuid import UUID

import msgspec
from litestar.openapi.spec import Example
from litestar.params import QueryParameter

from backend.app.api.schemas import LIMIT_MAX, OFFSET_MAX, PRINTABLE, Item, PageMeta
from backend.app.domain.errors import FieldError

BIGINT_MAX: Final = 2**63 - 1
FILTER_LENGTH_MAX: Final = 254
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)]
Offset = Annotated[int, QueryParameter(ge=0, le=OFFSET_MAX)]
Cursor = Annotated[
    UUID | None,
    QueryParameter(description="`next_cursor` of the page before; stays right while rows are added, unlike `offset`"),
]
Text = Annotated[str | None, QueryParameter(min_length=1, max_length=FILTER_LENGTH_MAX, pattern=PRINTABLE)]
Instant = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=64,
        description="An RFC 3339 time, without an offset in UTC; or a UTC day, all of which is meant. "
        "A range holds its beginning and not the instant of its end.",
        examples=[Example(value="2026-07-01"), Example(value="2026-07-01T09:30:00Z")],
    ),
]


class CursorMeta(PageMeta, kw_only=True):
    """Where a page stands in a list that grows. next_cursor null: this is the last page."""

    next_cursor: str | None


class CursorPage(msgspec.Struct, Generic[Item], kw_only=True):
    """One page of a list that grows."""

    items: list[Item]
    meta: CursorMeta


def next_cursor(last: object | None, *, size: int, limit: int) -> str | None:
    """The cursor of the page after one of `size` items, the last of which has the key `last`."""
    return str(last) if size == limit else None


def parse_from(text: str | None, *, field: str) -> datetime | None:
    """The beginning of a range: the instant, or the first one of a day. Raises FieldError."""
    return None if text is None else _parse_instant(text, field=field)[0]


def parse_to(text: str | None, *, field: str) -> datetime | None:
    """The end of a range, not part of it: the instant, or the first one of the day after. Raises FieldError."""
    return None if text is None else _parse_instant(text, field=field)[1]


def _parse_instant(text: str, *, field: str) -> tuple[datetime, datetime]:
    """(beginning, end) in UTC of what the text names; an instant is both."""
    try:
        if _DAY.fullmatch(text):
            day = datetime.fromisoformat(text).replace(tzinfo=UTC)
            return day, day + timedelta(days=1)
        instant = msgspec.convert(text, datetime, strict=True)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError, msgspec.ValidationError):
        raise FieldError(field, "is neither an RFC 3339 time nor a day such as 2026-07-01") from None
    return instant, instant
