"""What stands in the address of a list: read field by field, so that an address never fails.

What cannot be read is shown beside its field and left out of the search.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request

from backend.app.domain.errors import FieldError
from backend.app.domain.ids import find_uuid

LENGTH_MAX: Final = 254
# How old at least, as the choices of a filter have it.
AGES: Final[Mapping[str, timedelta]] = {
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The texts as they were typed, and a text's key for each that cannot be read."""

    fields: Mapping[str, str]
    problems: Mapping[str, str]

    @property
    def query(self) -> str:
        """The filter as the query of an address, without the place in the list."""
        return urlencode(self.fields)

    def query_with(self, **changed: object) -> str:
        """The same with some fields changed; an empty text leaves one out."""
        both = {**self.fields, **{name: str(value) for name, value in changed.items()}}
        return urlencode({name: text for name, text in both.items() if text})

    @property
    def is_narrowed(self) -> bool:
        """Whether anything was chosen."""
        return bool(self.fields)

    def refuse_problems(self) -> None:
        """For a file, which must not hold more than was asked for. Raises FieldError for the first problem."""
        for name, problem in self.problems.items():
            raise FieldError(name, problem)


class FieldReader:
    """Reads fields one by one and keeps what is wrong with them."""

    def __init__(self, request: Request[Any, Any, Any], names: Sequence[str]) -> None:
        given = {name: request.query_params.get(name, "").strip()[:LENGTH_MAX] for name in names}
        self.fields = {name: text for name, text in given.items() if text}
        self.problems: dict[str, str] = {}

    def read(self, name: str, parse: Callable[[str], Any], problem: str) -> Any:
        """A field by its parser, which raises ValueError, OverflowError or KeyError; None if empty or unreadable."""
        text = self.fields.get(name)
        if text is None:
            return None
        try:
            return parse(text)
        except (ValueError, OverflowError, KeyError):
            self.problems[name] = problem
            return None


def plain(text: str) -> str:
    """The text itself. Raises ValueError for what nobody can type."""
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def day_begins(text: str) -> datetime:
    """The first moment of a day (UTC)."""
    day = date.fromisoformat(text)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def day_ends(text: str) -> datetime:
    """The first moment after a day (UTC), which so belongs to a range. OverflowError for the calendar's last."""
    return day_begins(text) + timedelta(days=1)


def place_of(request: Request[Any, Any, Any]) -> UUID | None:
    """The row from before which a list goes on; None for none and for what is none."""
    return find_uuid(request.query_params.get("before"))
