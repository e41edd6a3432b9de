"""What MockPSP's API takes and answers. Amounts are minor units, times RFC 3339.

Every answer about a payment or payout is one event of it, the very event that its webhook tells under the same id.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec

from backend.mockpsp.records import Event
from backend.mockpsp.statement import Page

MINOR_MAX: Final = 10**15

# PostgreSQL takes no NUL, and nobody needs the others.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
Minor = Annotated[int, msgspec.Meta(gt=0, le=MINOR_MAX)]


class PaymentIn(msgspec.Struct, kw_only=True, frozen=True):
    """A payment to collect, or with `capture` false to reserve."""

    account: Name
    reference: Name
    amount_minor: Minor
    currency: Currency
    method: Name
    capture: bool = True


class PayoutIn(msgspec.Struct, kw_only=True, frozen=True):
    """A payout to make."""

    account: Name
    reference: Name
    amount_minor: Minor
    currency: Currency
    method: Name
    address: Name


class RefundIn(msgspec.Struct, kw_only=True, frozen=True):
    """How much to give back."""

    amount_minor: Minor
    currency: Currency


class OrderOut(msgspec.Struct, kw_only=True, frozen=True):
    """A payment or payout as one event left it; the amount is what really moved."""

    id: str
    object: str
    account: str
    reference: str
    status: str
    amount_minor: int
    currency: str
    sequence: int
    event_id: str
    event_type: str
    occurred_at: datetime
    failure_code: str | None


class OrdersOut(msgspec.Struct, kw_only=True, frozen=True):
    """All with one reference."""

    items: list[OrderOut]


class LineOut(msgspec.Struct, kw_only=True, frozen=True):
    """One movement."""

    event_id: str
    id: str
    reference: str
    kind: str
    status: str
    amount_minor: int
    currency: str
    occurred_at: datetime


class ControlOut(msgspec.Struct, kw_only=True, frozen=True):
    """Totals over the whole window."""

    count: int
    sum_by_currency: dict[str, int]


class StatementOut(msgspec.Struct, kw_only=True, frozen=True):
    """A page of a statement; `complete` when no line can come to the window any more."""

    items: list[LineOut]
    next_cursor: str | None
    complete: bool
    control: ControlOut


class ProblemOut(msgspec.Struct, kw_only=True, frozen=True):
    """Why not."""

    code: str
    message: str


def order_out(event: Event) -> OrderOut:
    """An event as the API tells it."""
    return OrderOut(
        id=event.object_id,
        object=event.kind.value,
        account=event.account,
        reference=event.reference,
        status=event.status,
        amount_minor=event.amount.minor,
        currency=event.amount.currency,
        sequence=event.sequence,
        event_id=event.event_id,
        event_type=event.type,
        occurred_at=event.occurred_at,
        failure_code=event.failure_code,
    )


def statement_out(page: Page) -> StatementOut:
    """A page as the API tells it."""
    return StatementOut(
        items=[
            LineOut(
                event_id=line.event_id,
                id=line.object_id,
                reference=line.reference,
                kind=line.movement,
                status=line.status,
                amount_minor=line.amount_minor,
                currency=line.currency,
                occurred_at=line.occurred_at,
            )
            for line in page.lines
        ],
        next_cursor=page.next_cursor,
        complete=page.is_complete,
        control=ControlOut(count=page.count, sum_by_currency=page.sums),
    )
