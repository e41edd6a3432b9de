"""A settlement file as a whole: its header, its lines, what it claims to hold, and whether that is what arrived. Pure.

chunks of bytes ─▶ SettlementFile.lines() ─▶ Survey (counts, sums, first and last movement, faults)
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from backend.app.domain import csv_records
from backend.app.domain.csv_records import Record, Unreadable
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.money import format_amount
from backend.app.domain.reconciliation.settlement_line import (
    Bounds,
    FileLine,
    LineReader,
    RejectedLine,
    TrailerLine,
    find_positions,
)
from backend.app.domain.reconciliation.settlement_mapping import ControlSum, SettlementMapping
from backend.app.domain.reconciliation.statement import ControlTotals

AFTER_TRAILER: Final = "line: stands after the trailer, which has to be the end"


class SettlementFileRefused(AppError):
    """422: the file cannot be read as its mapping says; nothing was compared."""

    error_code = "SETTLEMENT_FILE_REFUSED"
    status = 422
    title = "The settlement file cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a person says that a file holds: its lines, and sums in minor units by currency. None: not said."""

    count: int | None = None
    sums: Mapping[str, int] | None = None

    @property
    def is_said(self) -> bool:
        """Whether there is anything to hold the file against."""
        return self.count is not None or self.sums is not None


NOTHING_EXPECTED: Final = Expected()


class SettlementFile:
    """A file, read once and forwards. Raises SettlementFileRefused when it has not the declared columns."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        *,
        mapping: SettlementMapping,
        bounds: Bounds,
        own_accounts: frozenset[str],
    ) -> None:
        self._records = csv_records.read_records(chunks, mapping.dialect)
        self._held: list[Record | Unreadable] = []
        self._skip(mapping.skip_lines)
        self.columns = self._read_header() if mapping.has_header else None
        try:
            positions = find_positions(mapping, self.columns)
        except FieldError as error:
            raise SettlementFileRefused(error.detail) from None
        self._reader = LineReader(mapping, positions=positions, bounds=bounds, own_accounts=own_accounts)

    def lines(self) -> Iterator[FileLine | TrailerLine | RejectedLine]:
        """All lines below the header, in order; what follows a trailer is rejected."""
        is_over = False
        for record in self._all():
            line = self._reader.read(record)
            if isinstance(line, TrailerLine):
                is_over = True
            elif is_over and isinstance(line, FileLine):
                assert isinstance(record, Record), "what cannot be read is no line"
                line = RejectedLine(line.line_number, record.cells, AFTER_TRAILER)
            yield line

    def _all(self) -> Iterator[Record | Unreadable]:
        yield from self._held
        yield from self._records

    def _skip(self, lines: int) -> None:
        while lines:
            record = next(self._records, None)
            if record is None:
                return
            if record.line_number > lines:
                self._held = [record]
                return

    def _read_header(self) -> tuple[str, ...]:
        record = self._held.pop() if self._held else next(self._records, None)
        if record is None:
            raise SettlementFileRefused("the file is empty")
        if isinstance(record, Unreadable):
            hint = ""
            if "\\xff\\xfe" in record.text or "\\xfe\\xff" in record.text:
                hint = "; it seems to be UTF-16: have it saved as UTF-8"
            raise SettlementFileRefused(f"the header cannot be read: {record.reason}{hint}")
        if any("\r" in cell for cell in record.cells):
            raise SettlementFileRefused("the lines end in CR alone; they have to end in LF or CR LF")
        return tuple(cell.strip(" ") for cell in record.cells)


@dataclass(slots=True)
class Survey:
    """What a file holds. `sums` are as the claim adds up, `fees` what the movements cost; minor units by currency.

    `lines` counts everything below the header that is no trailer, `moved` what is compared, by account.
    """

    control_sum: ControlSum
    lines: int = 0
    moved: dict[str | None, ControlTotals] = field(default_factory=dict)
    rejected: int = 0
    first_rejected: RejectedLine | None = None
    sums: Counter[str] = field(default_factory=Counter)
    fees: Counter[str] = field(default_factory=Counter)
    trailers: int = 0
    claimed_count: int | None = None
    claimed_sums: Counter[str] | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None

    @property
    def movements(self) -> int:
        """How many lines are compared."""
        return sum(totals.count for totals in self.moved.values())

    def add(self, line: FileLine | TrailerLine | RejectedLine) -> None:
        """Count a line in."""
        if isinstance(line, TrailerLine):
            self._add_claim(line)
            return
        self.lines += 1
        if isinstance(line, RejectedLine):
            self.rejected += 1
            self.first_rejected = self.first_rejected or line
            return
        is_signed = self.control_sum is ControlSum.SIGNED
        self.sums[line.currency] += line.written_minor if is_signed else abs(line.written_minor)
        self.fees[line.currency] += line.fee_minor
        if line.movement is not None:
            at = line.movement.occurred_at
            self.moved.setdefault(line.account_id, ControlTotals()).add((line.movement,))
            self.first_at = at if self.first_at is None else min(self.first_at, at)
            self.last_at = at if self.last_at is None else max(self.last_at, at)

    def _add_claim(self, trailer: TrailerLine) -> None:
        self.trailers += 1
        if trailer.lines is not None:
            self.claimed_count = (self.claimed_count or 0) + trailer.lines
        if trailer.currency is not None and trailer.sum_minor is not None:
            self.claimed_sums = self.claimed_sums if self.claimed_sums is not None else Counter()
            self.claimed_sums[trailer.currency] += trailer.sum_minor

    def faults(self, mapping: SettlementMapping, *, expected: Expected, ends_in_newline: bool) -> list[str]:
        """Why what is not in the file may be there all the same; nothing when the file is whole."""
        faults = []
        if self.first_rejected is not None:
            faults.append(
                f"{self.rejected} of {self.lines} lines cannot be read, "
                f"the first: line {self.first_rejected.line_number}: {self.first_rejected.reason}"
            )
        if mapping.trailer is not None and not self.trailers:
            faults.append("the trailer is missing: the file is cut off")
        if not ends_in_newline and not mapping.is_newline_optional and not self.trailers:
            faults.append("the file ends in the middle of a line")
        if mapping.trailer is not None:
            faults += self._differences("the trailer", count=self.claimed_count, sums=self.claimed_sums)
        elif not expected.is_said:
            faults.append("nobody has said how much it should hold: give --expected-count or --expected-total")
        faults += self._differences("expected", count=expected.count, sums=expected.sums)
        if not mapping.is_whole:
            faults.append("it is declared as an extract: what it does not list may be there all the same")
        return faults

    def _differences(self, who: str, *, count: int | None, sums: Mapping[str, int] | None) -> list[str]:
        wrong = []
        if count is not None and count != self.lines:
            wrong.append(f"{self.lines} lines arrived of {count} ({who})")
        if sums is not None:
            wrong += [
                f"{currency} adds up to {format_amount(self.sums[currency], currency=currency)} instead of "
                f"{format_amount(sums.get(currency, 0), currency=currency)} ({who})"
                for currency in sorted({*self.sums, *sums})
                if self.sums[currency] != sums.get(currency, 0)
            ]
        return wrong

    def document(self, *, expected: Expected) -> dict[str, Any]:
        """As a run keeps it."""
        return {
            "lines": self.lines,
            "movements": self.movements,
            "rejected": self.rejected,
            "sums": dict(self.sums),
            "fees": {currency: fee for currency, fee in self.fees.items() if fee},
            "claimed_count": self.claimed_count,
            "claimed_sums": None if self.claimed_sums is None else dict(self.claimed_sums),
            "expected_count": expected.count,
            "expected_sums": None if expected.sums is None else dict(expected.sums),
        }


def shown_columns(columns: Sequence[str] | None) -> tuple[str, ...]:
    """What a file of rejected lines has above them."""
    return tuple(columns) if columns is not None else ("line",)
