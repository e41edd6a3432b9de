"""How finance asks for a list: by filter; where a page begins is domain/payments/finance_cursor.py."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from backend.app.api.lists import Instant, Text, parse_from, parse_to
from backend.app.domain import money
from backend.app.domain.errors import FieldError
from backend.app.domain.payments.finance import WithdrawalFilter
from backend.app.domain.withdrawal import WithdrawalState

AmountBound = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=40,
        pattern=money.DECIMAL_PATTERN,
        description="Major units of each withdrawal's own currency; the bound itself matches",
    ),
]
PageCursor = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9_=-]+$",
        description="`next_cursor` of the page before, under the same sort; stays right while rows are added",
    ),
]


def provide_filter(
    # The framework keeps the name `state` for itself.
    withdrawal_state: Annotated[
        WithdrawalState | None, QueryParameter(name="state", description="Only withdrawals in this state")
    ] = None,
    player_id: Annotated[UUID | None, QueryParameter(description="Only this player's")] = None,
    tenant_id: Annotated[UUID | None, QueryParameter(description="Only this tenant's")] = None,
    method: Text = None,
    currency: Annotated[str | None, QueryParameter(pattern=r"^[A-Z]{3}$", min_length=3, max_length=3)] = None,
    min_amount: AmountBound = None,
    max_amount: AmountBound = None,
    date_from: Instant = None,
    date_to: Instant = None,
) -> WithdrawalFilter:
    """Which withdrawals a list or an export is about. Raises FieldError."""
    return WithdrawalFilter(
        tenant_id=tenant_id,
        state=withdrawal_state,
        player_id=player_id,
        method=method,
        currency=None if currency is None else money.parse_currency(currency),
        min_amount=_bound(min_amount, field="min_amount"),
        max_amount=_bound(max_amount, field="max_amount"),
        date_from=parse_from(date_from, field="date_from"),
        date_to=parse_to(date_to, field="date_to"),
    )


def _bound(text: str | None, *, field: str) -> Decimal | None:
    if text is None:
        return None
    if not money.is_decimal(text):
        raise FieldError(field, 'must be a decimal string such as "12.50"')
    return Decimal(text)
