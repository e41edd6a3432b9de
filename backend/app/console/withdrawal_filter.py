"""The filter of the withdrawals page: what stands in the address, and what it means.

What cannot be read is shown beside its field and left out of the search, so that an address never fails.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request

from backend.app.domain.errors import FieldError
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.domain.payments.finance import Position, Sort, WithdrawalFilter
from backend.app.domain.payments.finance_cursor import parse_cursor
from backend.app.domain.withdrawal import WithdrawalState

FIELDS: Final = ("state", "player_id", "method", "currency", "min_amount", "max_amount", "date_from", "date_to", "sort")
LENGTH_MAX: Final = 254
# Only a decimal sign, either of the two; a sign between thousands would mean another number in another language.
_AMOUNT: Final = re.compile(r"[0-9]{1,13}(?:[.,][0-9]{1,2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an address asks for. fields: the texts as they were typed; problems: a text's key by field."""

    filter: WithdrawalFilter
    sort: Sort
    after: Position | None
    fields: Mapping[str, str]
    problems: Mapping[str, str]

    @property
    def query(self) -> str:
        """The filter as the query of an address, without the place in the list."""
        return urlencode(self.fields)

    def query_with(self, **changed: str) -> str:
        """The same with some fields changed; an empty text leaves one out."""
        return urlencode({name: text for name, text in {**self.fields, **changed}.items() if text})

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the order was chosen."""
        return bool(self.fields.keys() - {"sort"})

    @property
    def is_refined(self) -> bool:
        """Whether anything was chosen that the queues above the list do not show."""
        return bool(self.fields.keys() - {"sort", "state"})


class _Reader:
    """Reads fields one by one and keeps what is wrong with them."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        given = {name: request.query_params.get(name, "").strip()[:LENGTH_MAX] for name in FIELDS}
        self.fields = {name: text for name, text in given.items() if text}
        self.problems: dict[str, str] = {}

    def read(self, name: str, parse: Any, problem: str) -> Any:
        text = self.fields.get(name)
        if text is None:
            return None
        try:
            return parse(text)
        except (ValueError, OverflowError, KeyError):
            self.problems[name] = problem
            return None


def read_filter(request: Request[Any, Any, Any], *, is_everywhere: bool) -> Asked:
    """What the request's address asks for. is_everywhere: in all tenants, where amounts are in no order."""
    reader = _Reader(request)
    read = reader.read
    day_to: date | None = read("date_to", date.fromisoformat, "filter.problem.day")
    asked = WithdrawalFilter(
        state=read("state", WithdrawalState, "filter.problem.choice"),
        player_id=read("player_id", UUID, "filter.problem.id"),
        method=read("method", _plain, "filter.problem.text"),
        currency=read("currency", _currency, "filter.problem.currency"),
        min_amount=read("min_amount", _amount, "filter.problem.amount"),
        max_amount=read("max_amount", _amount, "filter.problem.amount"),
        date_from=read("date_from", lambda text: _midnight(date.fromisoformat(text)), "filter.problem.day"),
        # The last day belongs to the range.
        date_to=None if day_to is None or day_to == date.max else _midnight(day_to + timedelta(days=1)),
    )
    sort = read("sort", Sort, "filter.problem.choice") or Sort.NEWEST
    if sort.is_by_amount and is_everywhere:
        # No index could serve it, and it would mean little: amounts compare within a currency.
        reader.problems["sort"] = "filter.problem.sort_everywhere"
        sort = Sort.NEWEST
    try:
        cursor = request.query_params.get("after")
        after = None if not cursor or len(cursor) > LENGTH_MAX else parse_cursor(cursor, sort=sort)
    except FieldError:
        after = None
    return Asked(filter=asked, sort=sort, after=after, fields=reader.fields, problems=reader.problems)


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _currency(text: str) -> str:
    code = text.upper()
    if code not in CURRENCY_EXPONENTS:
        raise ValueError("no currency")
    return code


def _amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise ValueError("not an amount")
    return Decimal(text.replace(",", "."))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
