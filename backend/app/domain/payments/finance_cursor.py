"""Cursors of lists of withdrawals: where a page ends, as text that goes through addresses."""

import base64
from datetime import datetime
from uuid import UUID

from backend.app.domain.errors import FieldError
from backend.app.domain.payments.finance import FinanceWithdrawal, Position, Sort, position_of


def format_cursor(last: FinanceWithdrawal, sort: Sort) -> str:
    """The cursor of the page after one that ends with this withdrawal."""
    position = position_of(last, sort=sort)
    key = position.last_amount if position.last_at is None else position.last_at.isoformat()
    return base64.urlsafe_b64encode(f"{sort.value}|{key}|{position.last_id}".encode()).decode()


def parse_cursor(cursor: str, *, sort: Sort) -> Position:
    """The position that a cursor names. Raises FieldError when it is none of this sort."""
    try:
        of_sort, key, last_id = base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
        if of_sort != sort.value:
            raise FieldError("cursor", "is of another sort")
        if sort.is_by_amount:
            if abs(int(key)) >= 2**63:
                raise FieldError("cursor", "is not one of this list")
            return Position(UUID(last_id), None, int(key))
        last_at = datetime.fromisoformat(key)
        if last_at.tzinfo is None:
            raise FieldError("cursor", "is not one of this list")
        return Position(UUID(last_id), last_at, None)
    except ValueError:
        raise FieldError("cursor", "is not one of this list") from None
