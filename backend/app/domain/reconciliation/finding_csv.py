"""Findings as lines of CSV. Pure."""

from datetime import datetime
from typing import Any, Final

from backend.app.domain.csv_cells import text_cell
from backend.app.domain.finding import StoredFinding
from backend.app.domain.money import CURRENCY_EXPONENTS, format_amount

COLUMNS: Final = (
    "id",
    "provider",
    "tenant_id",
    "finding_type",
    "severity",
    "status",
    "message",
    "player_id",
    "tx_id",
    "provider_event_id",
    "provider_ref",
    "ours_amount",
    "theirs_amount",
    "resolution_code",
    "resolution_note",
    "resolved_by",
    "resolved_at",
    "assigned_to",
    "occurrences",
    "created_at",
    "updated_at",
)


def csv_row(finding: StoredFinding) -> list[str]:
    """A finding as a line of an export."""
    amounts = {f"{side}_amount": amount_of(finding, side) for side in ("ours", "theirs")}
    return [_cell(amounts[column] if column in amounts else getattr(finding, column)) for column in COLUMNS]


def amount_of(finding: StoredFinding, side: str) -> str | None:
    """What a side, `ours` or `theirs`, says, as a decimal string with its currency; None when it says nothing."""
    money = money_of(finding, side)
    return None if money is None else f"{format_amount(money[0], currency=money[1])} {money[1]}"


def money_of(finding: StoredFinding, side: str) -> tuple[int, str] | None:
    """The same as (minor units, currency)."""
    minor, currency = finding.evidence.get(f"{side}_amount_minor"), finding.evidence.get(f"{side}_currency")
    return (minor, str(currency)) if isinstance(minor, int) and currency in CURRENCY_EXPONENTS else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return text_cell(str(value))
