"""The file of rows that were not imported: what the operator corrects and imports again."""

import csv
import os
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from backend.app.repositories.faults import EnvironmentFault

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
# What spreadsheets read as the start of a formula, the full-width forms of East Asian keyboards included
# (OWASP, "CSV Injection").
_FORMULA_STARTS: Final = tuple("=+-@＝＋－＠")


class RejectsNotWritten(EnvironmentFault):
    """The rejects file cannot be written; without it nobody would know what was left out."""


class RejectsFile:
    """A CSV file with the original columns, the line number and the reason; made with the first row that it gets.

    Readable by its owner alone, since it holds people's addresses.
    """

    def __init__(self, folder: Path, *, source_name: str, columns: Sequence[str], now: datetime) -> None:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source_name).stem).strip("-")[:60] or "rejects"
        name = f"{stem}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.csv"
        self._planned = folder.expanduser().absolute() / name
        self._columns = columns
        self._file: IO[str] | None = None
        self._writer: Any = None  # csv has no public type for it

    @property
    def path(self) -> Path | None:
        """Where the file is; None while there was nothing to reject."""
        return None if self._file is None else self._planned

    def write(self, rows: Sequence[tuple[int, Sequence[str], str]]) -> None:
        """Append (line number, cells, reason) rows and hand them to the system. Raises RejectsNotWritten."""
        if not rows:
            return
        try:
            file = self._file or self._open()
            for line_number, cells, reason in rows:
                padding = [""] * (len(self._columns) - len(cells))
                self._writer.writerow([*map(spreadsheet_safe, cells), *padding, line_number, reason])
            file.flush()
        except OSError as error:
            raise RejectsNotWritten(f"the rejects file {self._planned} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close it; harmless when nothing was written."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> IO[str]:
        self._planned.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._planned, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*self._columns, "line_number", "reason"])
        return self._file


def spreadsheet_safe(cell: str) -> str:
    """The cell as text that no spreadsheet runs: formulas get a leading apostrophe, control characters are spelt out.

    Numbers stay numbers, a negative one too.
    """
    if not cell.isprintable():
        cell = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
            for character in cell
        )
    if cell.lstrip(" ").startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(cell.strip(" ")):
        return f"'{cell}"
    return cell
