"""Withdrawals as lines of a file for spreadsheets: the same columns wherever the file is asked for."""

from typing import Final

from backend.app.domain.csv_cells import text_cell
from backend.app.domain.money import format_amount
from backend.app.domain.payments.finance import FinanceWithdrawal

_TEXTS: Final = (
    "method", "address", "idempotency_key", "review_reason", "provider", "provider_ref", "provider_event_id",
    "failure_code",
)  # fmt: skip
_PLAIN: Final = (
    "tenant_id", "player_id", "currency", "state", "version", "reviewed_by", "first_approved_by", "second_approved_by",
)  # fmt: skip
_TIMES: Final = ("created_at", "updated_at", "reviewed_at")


def csv_header() -> list[str]:
    """The columns of an export."""
    return ["tx_id", "amount", "amount_minor", *_PLAIN, *_TIMES, *_TEXTS]


def csv_row(withdrawal: FinanceWithdrawal) -> list[object]:
    """A withdrawal as a line of an export."""
    fields = withdrawal._asdict()
    return [
        withdrawal.id,
        format_amount(withdrawal.amount, currency=withdrawal.currency),
        withdrawal.amount,
        *(fields[name] for name in _PLAIN),
        *(None if fields[name] is None else fields[name].isoformat() for name in _TIMES),
        *(text_cell(fields[name]) for name in _TEXTS),
    ]
