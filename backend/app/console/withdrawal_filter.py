"""The filter of the withdrawals page: what stands in the address, and what it means.

What cannot be read is shown beside its field and left out of the search, so that an address never fails.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from litestar import Request

from backend.app.console.list_filter import LENGTH_MAX, FieldReader, Fields, day_begins, day_ends, plain
from backend.app.domain.errors import FieldError
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.domain.payments.finance import Position, Sort, WithdrawalFilter
from backend.app.domain.payments.finance_cursor import parse_cursor
from backend.app.domain.withdrawal import WithdrawalState

FIELDS: Final = ("state", "player_id", "method", "currency", "min_amount", "max_amount", "date_from", "date_to", "sort")
# Only a decimal sign, either of the two; a sign between thousands would mean another number in another language.
_AMOUNT: Final = re.compile(r"[0-9]{1,13}(?:[.,][0-9]{1,2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Fields):
    """What an address asks for."""

    filter: WithdrawalFilter
    sort: Sort
    after: Position | None

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the order was chosen."""
        return bool(self.fields.keys() - {"sort"})

    @property
    def is_refined(self) -> bool:
        """Whether anything was chosen that the queues above the list do not show."""
        return bool(self.fields.keys() - {"sort", "state"})


def read_filter(request: Request[Any, Any, Any], *, is_everywhere: bool) -> Asked:
    """What the request's address asks for. is_everywhere: in all tenants, where amounts are in no order."""
    reader = FieldReader(request, FIELDS)
    read = reader.read
    asked = WithdrawalFilter(
        state=read("state", WithdrawalState, "filter.problem.choice"),
        player_id=read("player_id", UUID, "filter.problem.id"),
        method=read("method", plain, "filter.problem.text"),
        currency=read("currency", _currency, "filter.problem.currency"),
        min_amount=read("min_amount", _amount, "filter.problem.amount"),
        max_amount=read("max_amount", _amount, "filter.problem.amount"),
        date_from=read("date_from", day_begins, "filter.problem.day"),
        date_to=read("date_to", day_ends, "filter.problem.day"),
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


def _currency(text: str) -> str:
    code = text.upper()
    if code not in CURRENCY_EXPONENTS:
        raise ValueError("no currency")
    return code


def _amount(text: str) -> Decimal:
    if not _AMOUNT.fullmatch(text):
        raise ValueError("not an amount")
    return Decimal(text.replace(",", "."))
