"""Players out of a CSV file: what a row has to look like, and why one is rejected."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import itemgetter
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain import csv_records
from backend.app.domain.audit import Actor
from backend.app.domain.csv_records import Record, Unreadable
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.money import parse_balance, parse_currency
from backend.app.domain.people.email import EMAIL_LENGTH_MAX, parse_email
from backend.app.domain.player import USERNAME_LENGTH_MAX, KycStatus

COLUMNS: Final = (
    "external_id",
    "email",
    "username",
    "currency",
    "balance_available",
    "balance_held",
    "kyc_status",
)

EXTERNAL_ID_LENGTH_MAX: Final = 255

# What a file that is separated by something else looks like: one column with these in its name.
_OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class Outcome(StrEnum):
    """Why a row that reads well is not a new player; see sql/player_import.sql for how each is found."""

    EXISTS = "exists"
    REPEATED = "repeated"
    REPEAT_DIFFERS = "repeat_differs"
    EMAIL_TAKEN = "email_taken"
    EXTERNAL_ID_TAKEN = "external_id_taken"
    TWO_PLAYERS = "two_players"


# The others are rejects; these two are the harmless part of running a file again.
SKIPPED: Final = frozenset({Outcome.EXISTS, Outcome.REPEATED})

_REASONS: Final = {
    Outcome.EMAIL_TAKEN: "email: belongs to a player with another external_id",
    Outcome.EXTERNAL_ID_TAKEN: "external_id: belongs to a player with another email",
    Outcome.TWO_PLAYERS: "email and external_id belong to two different players",
}


class PlayerRow(NamedTuple):
    """One good row: balances in minor units of its currency, cells as they stood in the file."""

    line_number: int
    external_id: str | None
    email: str
    username: str
    currency: str
    kyc_status: KycStatus
    available_minor: int
    held_minor: int
    cells: Sequence[str]


class RejectedRow(NamedTuple):
    """One row that is not imported, and one sentence why."""

    line_number: int
    cells: Sequence[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Consecutive rows of the file, in order."""

    rows: tuple[PlayerRow, ...]
    rejected: tuple[RejectedRow, ...]
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlayers:
    """The wish to import a file."""

    tenant_id: UUID
    file_name: str
    actor: Actor
    is_dry_run: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCounts:
    """What became of the rows that were read; in a dry run, what would become of them."""

    imported: int = 0
    exists: int = 0
    rejected: int = 0

    @property
    def read(self) -> int:
        """All rows."""
        return self.imported + self.exists + self.rejected

    def __add__(self, other: "ImportCounts") -> "ImportCounts":
        return ImportCounts(
            imported=self.imported + other.imported,
            exists=self.exists + other.exists,
            rejected=self.rejected + other.rejected,
        )

    def __str__(self) -> str:
        return f"read={self.read} imported={self.imported} exists={self.exists} rejected={self.rejected}"


class CurrencyTotal(NamedTuple):
    """Imported players of one currency and their balances, in minor units."""

    currency: str
    players: int
    available_minor: int
    held_minor: int


class FileRefused(AppError):
    """422: nothing was read, since the file is not one of players."""

    error_code = "PLAYER_FILE_REFUSED"
    status = 422
    title = "The file cannot be imported"


class PlayerFile:
    """A file of players, read once and forwards. Raises FileRefused when its header is not the expected one."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._records = csv_records.read_records(chunks)
        self.columns = _parse_header(next(self._records, None))
        self._in_order = itemgetter(*(self.columns.index(name) for name in COLUMNS))

    def batches(self, *, base_currency: str, rows_max: int) -> Iterator[Batch]:
        """All rows, at most `rows_max` at a time; the last batch, possibly empty, says that it is the last."""
        rows: list[PlayerRow] = []
        rejected: list[RejectedRow] = []
        for record in self._records:
            if len(rows) + len(rejected) == rows_max:
                yield Batch(rows=tuple(rows), rejected=tuple(rejected), is_last=False)
                rows, rejected = [], []
            row = self.parse(record, base_currency=base_currency)
            if isinstance(row, PlayerRow):
                rows.append(row)
            else:
                rejected.append(row)
        yield Batch(rows=tuple(rows), rejected=tuple(rejected), is_last=True)

    def parse(self, record: Record | Unreadable, *, base_currency: str) -> PlayerRow | RejectedRow:
        """The record as a player, or why it is none. Text that cannot be told apart stands in the first cell."""
        if isinstance(record, Unreadable):
            return RejectedRow(record.line_number, (record.text,), record.reason)
        line_number, cells = record
        if len(cells) != len(COLUMNS):
            text = ",".join(cells)[: csv_records.SHOWN_CHARACTERS_MAX]
            return RejectedRow(line_number, (text,), f"{len(cells)} cells where the header has {len(COLUMNS)}")
        return parse_row(self._in_order(cells), line_number=line_number, base_currency=base_currency, original=cells)


def parse_row(
    cells: Sequence[str], *, line_number: int, base_currency: str, original: Sequence[str]
) -> PlayerRow | RejectedRow:
    """A row whose cells are in the order of COLUMNS; spaces around a cell do not count.

    An empty currency is the tenant's, an empty balance is zero, an empty kyc_status is pending. `original` is the row
    as its file has it.
    """
    external_id, email, username, currency, available, held, kyc_status = [cell.strip(" ") for cell in cells]
    try:
        currency = parse_currency(currency) if currency else base_currency
        return PlayerRow(
            line_number,
            _parse_text(external_id, field="external_id", length_max=EXTERNAL_ID_LENGTH_MAX) if external_id else None,
            _parse_email(email),
            _parse_text(username, field="username", length_max=USERNAME_LENGTH_MAX),
            currency,
            _parse_kyc_status(kyc_status),
            parse_balance(available, currency=currency, field="balance_available") if available else 0,
            parse_balance(held, currency=currency, field="balance_held") if held else 0,
            original,
        )
    except FieldError as error:
        return RejectedRow(line_number, original, error.detail)


def reason_of(outcome: Outcome, *, first_line: int | None) -> str:
    """Why a row with this outcome is rejected; `first_line` is the line that a differing repeat repeats."""
    if outcome is Outcome.REPEAT_DIFFERS:
        return f"line {first_line} has the same email or external_id with other values; the first one counts"
    return _REASONS[outcome]


def add_totals(one: Iterable[CurrencyTotal], other: Iterable[CurrencyTotal]) -> tuple[CurrencyTotal, ...]:
    """Both together, one total a currency, in the order of the codes."""
    sums: dict[str, CurrencyTotal] = {}
    for total in (*one, *other):
        so_far = sums.get(total.currency, CurrencyTotal(total.currency, 0, 0, 0))
        sums[total.currency] = CurrencyTotal(
            total.currency,
            so_far.players + total.players,
            so_far.available_minor + total.available_minor,
            so_far.held_minor + total.held_minor,
        )
    return tuple(sums[currency] for currency in sorted(sums))


def _parse_header(record: Record | Unreadable | None) -> tuple[str, ...]:
    if record is None:
        raise FileRefused(f"the file is empty; its first line has to be {','.join(COLUMNS)}")
    if isinstance(record, Unreadable):
        hint = ""
        if "\\xff\\xfe" in record.text or "\\xfe\\xff" in record.text:
            hint = "; it seems to be UTF-16: save it as CSV UTF-8"
        raise FileRefused(f"the header cannot be read: {record.reason}{hint}")
    columns = tuple(cell.strip(" ") for cell in record.cells)
    if len(columns) == 1:
        for delimiter, name in _OTHER_DELIMITERS.items():
            if delimiter in columns[0]:
                raise FileRefused(f"the columns are separated by {name}; they have to be separated by commas")
    if any("\r" in column for column in columns):
        raise FileRefused("the lines end in CR alone; they have to end in LF or CR LF")
    problems = [
        f"{problem}: {', '.join(_shown(name) for name in names)}"
        for problem, names in (
            ("missing", [name for name in COLUMNS if name not in columns]),
            ("unknown", [name for name in columns if name not in COLUMNS]),
            ("given twice", sorted({name for name in columns if name in COLUMNS and columns.count(name) > 1})),
        )
        if names
    ]
    if problems:
        raise FileRefused(f"columns {'; '.join(problems)}. The header has to name, in any order: {','.join(COLUMNS)}")
    return columns


def _shown(name: str) -> str:
    return repr(name[:40]) if not name.isidentifier() or len(name) > 40 else name


def _parse_text(text: str, *, field: str, length_max: int) -> str:
    if not text:
        raise FieldError(field, "is empty")
    if len(text) > length_max:
        raise FieldError(field, f"is longer than {length_max} characters")
    if not text.isprintable():
        raise FieldError(field, "has a control character or another one that cannot be printed")
    return text


def _parse_email(text: str) -> str:
    return parse_email(_parse_text(text, field="email", length_max=EMAIL_LENGTH_MAX))


def _parse_kyc_status(text: str) -> KycStatus:
    try:
        return KycStatus(text) if text else KycStatus.PENDING
    except ValueError:
        raise FieldError("kyc_status", f"is none of {', '.join(KycStatus)}") from None
