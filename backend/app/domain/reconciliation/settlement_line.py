"""One line of a settlement file: the movement that it tells of, or why it cannot be read. Pure.

cells ─ LineReader ─▶ FileLine (a movement, or one that is not compared) | TrailerLine | RejectedLine
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from backend.app.domain.csv_records import Record, Unreadable
from backend.app.domain.errors import FieldError
from backend.app.domain.money import AMOUNT_MINOR_MAX, Money, parse_currency
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.domain.reconciliation.settlement_amount import amount_parser
from backend.app.domain.reconciliation.settlement_mapping import Basis, SettlementMapping, Sign, Trailer
from backend.app.domain.reconciliation.settlement_time import time_parser
from backend.app.domain.reconciliation.statement import StatementKind, StatementLine

Meaning = TypeVar("Meaning")

TEXT_LENGTH_MAX: Final = 255
# The house gets these; it gives the others.
_INCOMING: Final = frozenset({StatementKind.DEPOSIT, StatementKind.RETURN})
# What undoes a payment has succeeded as a reversal, whatever word its file has for that.
_UNDOING: Final = frozenset({StatementKind.REFUND, StatementKind.RETURN})


class FileLine(NamedTuple):
    """A line that can be read. `movement` None: it is counted and not compared.

    `account_id` None: the file does not say. `written_minor` is the amount with its sign as it stands in the file.
    """

    line_number: int
    account_id: str | None
    movement: StatementLine | None
    currency: str
    written_minor: int
    fee_minor: int


class TrailerLine(NamedTuple):
    """What the file claims to hold, or a part of the claim."""

    line_number: int
    lines: int | None
    currency: str | None
    sum_minor: int | None


class RejectedLine(NamedTuple):
    """A line that cannot be read, as it stands in the file, and one sentence why."""

    line_number: int
    cells: Sequence[str]
    reason: str


class Bounds(NamedTuple):
    """When what a file lists may have happened: [earliest_at, latest_at), and how a line outside is told."""

    earliest_at: datetime
    latest_at: datetime
    described: str


class Positions(NamedTuple):
    """Where the columns of a file are, counted from 0; None where it has none."""

    provider_reference: int
    amount: int
    occurred_at: int
    our_reference: int | None
    line: int | None
    type: int | None
    status: int | None
    currency: int | None
    fee: int | None
    account: int | None
    # How many cells a line has; None without a header to tell.
    cells: int | None


class LineReader:
    """Reads the lines of one file. own_accounts: the tenant's, by the provider's names for them."""

    def __init__(
        self, mapping: SettlementMapping, *, positions: Positions, bounds: Bounds, own_accounts: frozenset[str]
    ) -> None:
        self._mapping = mapping
        self._at = positions
        self._bounds = bounds
        self._own_accounts = own_accounts
        self._parse_amount = amount_parser(mapping.amount)
        self._parse_time = time_parser(mapping.time)
        used = [place for place in positions[:-1] if place is not None]
        self._cells_min = max(used) + 1

    def read(self, record: Record | Unreadable) -> FileLine | TrailerLine | RejectedLine:
        """The record as what it is."""
        if isinstance(record, Unreadable):
            return RejectedLine(record.line_number, (record.text,), record.reason)
        line_number, cells = record
        try:
            trailer = self._mapping.trailer
            if trailer is not None and _cell(cells, trailer.marker_cell - 1) == trailer.marker:
                return self._read_trailer(trailer, line_number, cells)
            self._ensure_width(cells)
            return self._read_line(line_number, cells)
        except FieldError as error:
            return RejectedLine(line_number, cells, error.detail)

    def _ensure_width(self, cells: Sequence[str]) -> None:
        expected = self._at.cells
        if expected is not None and len(cells) != expected:
            raise FieldError("line", f"has {len(cells)} cells where the header has {expected}")
        if len(cells) < self._cells_min:
            raise FieldError("line", f"has {len(cells)} cells; the mapping reads number {self._cells_min}")

    def _read_line(self, line_number: int, cells: Sequence[str]) -> FileLine:
        mapping, at = self._mapping, self._at
        account_id = None if at.account is None else _text(cells, at.account, "account")
        kind = _meaning(cells, at.type, "type", mapping.types, mapping.constant_type)
        is_other = account_id is not None and account_id not in self._own_accounts
        if is_other and not mapping.ignores_other_accounts:
            raise FieldError("account", f"{str(account_id)[:40]!r} is no account of the tenant")
        currency = self._currency(cells)
        is_compared = kind is not None and not is_other
        written = self._amount(cells, at.amount, currency, "amount", is_needed=is_compared)
        fee = 0 if at.fee is None else self._amount(cells, at.fee, currency, "fee", is_needed=False)
        if mapping.amount.is_fee_negative:
            fee = -fee
        if kind is None or is_other:
            return FileLine(line_number, account_id, None, currency, written, 0 if is_other else fee)
        movement = self._movement(cells, kind, Money(amount_minor=written, currency=currency), fee)
        return FileLine(line_number, account_id, movement, currency, written, fee)

    def _movement(self, cells: Sequence[str], kind: StatementKind, written: Money, fee: int) -> StatementLine:
        mapping, at = self._mapping, self._at
        provider_ref = _text(cells, at.provider_reference, "provider_reference")
        status_class = _meaning(cells, at.status, "status", mapping.statuses, mapping.constant_status)
        assert status_class is not None, "every status means something"
        occurred_at = self._parse_time(_cell(cells, at.occurred_at))
        if not self._bounds.earliest_at <= occurred_at < self._bounds.latest_at:
            raise FieldError("occurred_at", f"{occurred_at.isoformat()} is outside of {self._bounds.described}")
        return StatementLine(
            provider_event_id=(f"{kind.value}:{provider_ref}" if at.line is None else _text(cells, at.line, "line")),
            provider_ref=provider_ref,
            reference=None if at.our_reference is None else _optional_text(cells, at.our_reference, "our_reference"),
            kind=kind,
            status=status_class.value if at.status is None else _cell(cells, at.status),
            status_class=(
                StatusClass.REVERSED if kind in _UNDOING and status_class is StatusClass.SUCCESS else status_class
            ),
            money=Money(
                amount_minor=_gross(written.amount_minor, fee, kind, mapping=mapping), currency=written.currency
            ),
            occurred_at=occurred_at,
        )

    def _read_trailer(self, trailer: Trailer, line_number: int, cells: Sequence[str]) -> TrailerLine:
        count = None
        if trailer.count_cell is not None:
            text = _cell(cells, trailer.count_cell - 1)
            if not (text.isascii() and text.isdigit() and len(text) <= 12):
                raise FieldError("trailer", f"{text[:40]!r} in cell {trailer.count_cell} is not a count")
            count = int(text)
        if trailer.sum_cell is None:
            return TrailerLine(line_number, count, None, None)
        currency = self._mapping.constant_currency
        if trailer.currency_cell is not None:
            word = _cell(cells, trailer.currency_cell - 1)
            currency = parse_currency(self._mapping.currencies.get(word, word), field="trailer")
        assert currency is not None, "a claimed sum has a currency"
        sum_minor = self._parse_amount(_cell(cells, trailer.sum_cell - 1), currency, "trailer")
        return TrailerLine(line_number, count, currency, sum_minor)

    def _currency(self, cells: Sequence[str]) -> str:
        if self._at.currency is None:
            assert self._mapping.constant_currency is not None, "a column or a constant"
            return self._mapping.constant_currency
        word = _cell(cells, self._at.currency)
        return parse_currency(self._mapping.currencies.get(word, word))

    def _amount(self, cells: Sequence[str], place: int, currency: str, field: str, *, is_needed: bool) -> int:
        text = _cell(cells, place)
        return 0 if not text and not is_needed else self._parse_amount(text, currency, field)


def find_positions(mapping: SettlementMapping, header: Sequence[str] | None) -> Positions:
    """Where the declared columns are. Raises FieldError for one that the header does not have, or has twice."""
    columns = mapping.columns

    def find(name: str, column: str | int) -> int:
        if isinstance(column, int):
            if header is not None and column > len(header):
                raise FieldError(name, f"is to be in column {column}, and the header has {len(header)}")
            return column - 1
        assert header is not None, "names need a header"
        if header.count(column) != 1:
            problem = "has no such column" if column not in header else "has it more than once"
            raise FieldError(name, f"is to be in {column!r}, and the header {problem}: {_shown(header)}")
        return header.index(column)

    def maybe(name: str, column: str | int | None) -> int | None:
        return None if column is None else find(name, column)

    return Positions(
        provider_reference=find("provider_reference", columns.provider_reference),
        amount=find("amount", columns.amount),
        occurred_at=find("occurred_at", columns.occurred_at),
        our_reference=maybe("our_reference", columns.our_reference),
        line=maybe("line", columns.line),
        type=maybe("type", columns.type),
        status=maybe("status", columns.status),
        currency=maybe("currency", columns.currency),
        fee=maybe("fee", columns.fee),
        account=maybe("account", columns.account),
        cells=None if header is None else len(header),
    )


def _gross(written: int, fee: int, kind: StatementKind, *, mapping: SettlementMapping) -> int:
    """What the player paid or got, from what is written: never negative, or FieldError."""
    direction = 1 if kind in _INCOMING else -1
    sign = mapping.amount.sign
    if sign is Sign.UNSIGNED:
        if written < 0:
            raise FieldError("amount", "is negative, and the mapping says that amounts have no sign")
        inflow = direction * written
    else:
        inflow = written if sign is Sign.IN_POSITIVE else -written
    # A fee is always the house's loss, whichever way the payment went.
    if mapping.amount.basis is Basis.NET:
        inflow += fee
    gross = direction * inflow
    if gross < 0:
        raise FieldError("amount", f"has the sign of money going the other way than a {kind.value}")
    if gross > AMOUNT_MINOR_MAX:
        raise FieldError("amount", "is too large")
    return gross


def _meaning(
    cells: Sequence[str], place: int | None, field: str, words: Mapping[str, Meaning], constant: Meaning
) -> Meaning:
    if place is None:
        return constant
    word = _cell(cells, place)
    if word not in words:
        raise FieldError(field, f"{word[:40]!r} is none of the words that the mapping explains")
    return words[word]


def _cell(cells: Sequence[str], place: int) -> str:
    return cells[place].strip(" ") if place < len(cells) else ""


def _text(cells: Sequence[str], place: int, field: str) -> str:
    text = _optional_text(cells, place, field)
    if text is None:
        raise FieldError(field, "is empty")
    return text


def _optional_text(cells: Sequence[str], place: int, field: str) -> str | None:
    text = _cell(cells, place)
    if len(text) > TEXT_LENGTH_MAX:
        raise FieldError(field, f"is longer than {TEXT_LENGTH_MAX} characters")
    if not text.isprintable():
        raise FieldError(field, "has a control character or another one that cannot be printed")
    return text or None


def _shown(header: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in header[:30])
