"""A settlement file on disk: looked through once as a whole, and then again as the feed of a run.

path ─ survey_file ─▶ Surveyed(digest, counts, claims, faults; bad lines are in their file)
     ─ SettlementFeed ─▶ pages of the lines that can be read, one account after the other

Twice, because what the second reading feeds into the database depends on the whole: the window, whether the totals fit,
and whether the same file was compared before. Memory does not depend on the file; a file that changes meanwhile is
refused by its digest.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from backend.app.domain.reconciliation.settlement_file import (
    Expected,
    SettlementFile,
    SettlementFileRefused,
    Survey,
    shown_columns,
)
from backend.app.domain.reconciliation.settlement_line import Bounds, FileLine, RejectedLine
from backend.app.domain.reconciliation.settlement_mapping import SettlementMapping
from backend.app.domain.reconciliation.statement import ControlTotals, StatementLine, StatementPage
from backend.app.psp.adapter import PspUnavailable
from backend.app.repositories.backfill.rejects_file import RejectsFile

READ_BYTES: Final = 65_536
PAGE_LINES: Final = 5_000
# Between two handings of rejected lines to the system.
REJECTS_PER_WRITE: Final = 500
REJECTS_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReading:
    """What is to be read, and how. accounts: those that the file lists; the first where no column tells."""

    path: Path
    mapping: SettlementMapping
    accounts: tuple[str, ...]
    bounds: Bounds

    def open(self, source: "_Bytes") -> SettlementFile:
        """The file from its beginning. Raises SettlementFileRefused."""
        return SettlementFile(
            iter(source), mapping=self.mapping, bounds=self.bounds, own_accounts=frozenset(self.accounts)
        )

    def account_of(self, line: FileLine) -> str:
        """Which account a line is about."""
        return self.accounts[0] if line.account_id is None else line.account_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """What a file holds. rejected: the first lines that cannot be read; rejects_path: all of them."""

    sha256: str
    bytes: int
    survey: Survey
    faults: tuple[str, ...]
    rejected: tuple[RejectedLine, ...]
    rejects_path: Path | None

    def document(self, reading: FileReading, *, mapping_sha256: str, expected: Expected) -> Mapping[str, Any]:
        """What the run keeps of it."""
        return {
            "name": reading.path.name,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "mapping_sha256": mapping_sha256,
            **self.survey.document(expected=expected),
        }


def survey_file(reading: FileReading, *, expected: Expected, rejects_folder: Path, now: datetime) -> Surveyed:
    """Look a file through; blocks. Raises SettlementFileRefused, RejectsNotWritten, OSError."""
    mapping = reading.mapping
    survey = Survey(control_sum=mapping.control_sum)
    shown: list[RejectedLine] = []
    waiting: list[RejectedLine] = []
    source = _Bytes(reading.path)
    file = reading.open(source)
    rejects = RejectsFile(rejects_folder, source_name=reading.path.name, columns=shown_columns(file.columns), now=now)
    try:
        for line in file.lines():
            survey.add(line)
            if isinstance(line, RejectedLine):
                waiting.append(line)
                if len(shown) < REJECTS_SHOWN_MAX:
                    shown.append(line)
                if len(waiting) >= REJECTS_PER_WRITE:
                    rejects.write(waiting)
                    waiting.clear()
        rejects.write(waiting)
    finally:
        rejects.close()
    return Surveyed(
        sha256=source.sha256(),
        bytes=source.bytes_read,
        survey=survey,
        faults=tuple(survey.faults(mapping, expected=expected, ends_in_newline=source.last in (b"", b"\n"))),
        rejected=tuple(shown),
        rejects_path=rejects.path,
    )


class SettlementFeed:
    """The lines of a file in pages, account by account, each from the beginning; for one run."""

    def __init__(self, reading: FileReading, surveyed: Surveyed, *, now: datetime) -> None:
        self._reading = reading
        self._surveyed = surveyed
        self._now = now
        self._source: _Bytes | None = None
        self._lines: Iterator[StatementLine] = iter(())
        self._given = 0

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """A page of the account's lines. The window is the run's, which the survey has held every line against.

        Raises PspUnavailable with what is wrong once all lines of a file that is not whole were given out, and
        SettlementFileRefused when it is not the file any more that was surveyed.
        """
        assert from_at < to_at, "a window is not empty"
        if account_id not in self._reading.accounts:
            raise PspUnavailable("the file does not list this account")
        if cursor is None:
            self._begin(account_id)
        lines = await asyncio.to_thread(self._take)
        self._given += len(lines)
        is_over = len(lines) < PAGE_LINES
        if is_over:
            self._ensure_same()
        fault = "; ".join(self._surveyed.faults)
        if is_over and fault and not lines:
            raise PspUnavailable(fault)
        totals = self._surveyed.survey.moved.get(
            account_id if self._reading.mapping.columns.account is not None else None, ControlTotals()
        )
        return StatementPage(
            lines=lines,
            next_cursor=None if is_over and not fault else str(self._given),
            control_count=totals.count,
            control_sums=totals.sums,
            # A window that has not ended may still get lines, whatever its file says today.
            is_complete=to_at <= self._now,
        )

    def _begin(self, account_id: str) -> None:
        self._source = _Bytes(self._reading.path)
        file = self._reading.open(self._source)
        self._lines = (
            line.movement
            for line in file.lines()
            if isinstance(line, FileLine) and line.movement is not None and self._reading.account_of(line) == account_id
        )

    def _take(self) -> list[StatementLine]:
        return list(islice(self._lines, PAGE_LINES))

    def _ensure_same(self) -> None:
        assert self._source is not None, "reading has begun"
        if self._source.sha256() != self._surveyed.sha256:
            raise SettlementFileRefused("the file changed while it was read; nothing was compared")


class _Bytes:
    """The bytes of a file, counted and hashed on their way. `last` is the last one, empty before there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self.bytes_read = 0
        self.last = b""

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb", buffering=0) as file:
            while chunk := file.read(READ_BYTES):
                self.bytes_read += len(chunk)
                self._hash.update(chunk)
                self.last = chunk[-1:]
                yield chunk

    def sha256(self) -> str:
        """Hexadecimal digest of what was read so far."""
        return self._hash.hexdigest()
