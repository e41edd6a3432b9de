"""Settlement files for tests: a declaration that most of them share, and files written by it."""

import copy
import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from backend.app.domain.reconciliation.settlement_file import SettlementFile, Survey
from backend.app.domain.reconciliation.settlement_line import Bounds, FileLine, RejectedLine, TrailerLine
from backend.app.domain.reconciliation.settlement_mapping import SettlementMapping, parse_mapping

HEADER: Final = ("id", "merchant_ref", "kind", "state", "gross", "fee", "ccy", "when")
DOCUMENT: Final[dict[str, Any]] = {
    "accounts": ["acct"],
    "completeness": "whole",
    "columns": {
        "provider_reference": "id",
        "our_reference": "merchant_ref",
        "type": "kind",
        "status": "state",
        "amount": "gross",
        "fee": "fee",
        "currency": "ccy",
        "occurred_at": "when",
    },
    "amount": {"unit": "major", "sign": "unsigned"},
    "time": {"format": "iso", "zone": "UTC"},
    "types": {"SALE": "deposit", "REFUND": "refund", "PAYOUT": "payout", "BOUNCE": "return", "MONTHLY": "ignore"},
    "statuses": {"OK": "success", "NO": "failed", "WAIT": "pending", "BACK": "reversed"},
    "control": {"totals": "trailer", "marker": "TOTAL", "count_cell": 2, "sum_cell": 3, "currency_cell": 4},
}
BOUNDS: Final = Bounds(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC), "the window")
GOOD_LINE: Final = "p1,ours,SALE,OK,12.50,0.30,USD,2026-03-01T10:00:00Z"


def document(**changes: Any) -> dict[str, Any]:
    """The shared declaration with changes: `amount__sign="in_positive"`; None takes a key away."""
    changed = copy.deepcopy(DOCUMENT)
    for path, value in changes.items():
        *tables, name = path.split("__")
        table = changed
        for each in tables:
            table = table.setdefault(each, {})
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
    return changed


def mapping(**changes: Any) -> SettlementMapping:
    """The same, parsed."""
    return parse_mapping(document(**changes))


def read(
    raw: bytes | str, *, by: SettlementMapping | None = None, chunk_bytes: int = 7
) -> list[FileLine | TrailerLine | RejectedLine]:
    """All lines of a file that arrives in small pieces."""
    return list(open_file(raw, by=by, chunk_bytes=chunk_bytes).lines())


def open_file(raw: bytes | str, *, by: SettlementMapping | None = None, chunk_bytes: int = 7) -> SettlementFile:
    """A file that arrives in small pieces."""
    encoded = raw.encode() if isinstance(raw, str) else raw
    return SettlementFile(
        (encoded[at : at + chunk_bytes] for at in range(0, len(encoded), chunk_bytes)),
        mapping=by or mapping(),
        bounds=BOUNDS,
        own_accounts=frozenset({"acct"}),
    )


def survey(raw: bytes | str, *, by: SettlementMapping | None = None) -> Survey:
    """What a file holds."""
    found = Survey(control_sum=(by or mapping()).control_sum)
    for line in read(raw, by=by):
        found.add(line)
    return found


def write(rows: Iterable[Sequence[object]], *, header: Sequence[str] = HEADER, delimiter: str = ",") -> bytes:
    """A file of rows below a header."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()
