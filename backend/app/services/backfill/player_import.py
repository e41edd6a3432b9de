"""Importing players: a file in chunks, each judged and written in one transaction.

file ─ domain ─▶ Batch(good rows, rejected rows)                     read ahead while the database works
  [write]  COPY → judge by sets → INSERT … ON CONFLICT DO NOTHING    one transaction a chunk
  [effect] rejects are in their file before the chunk is committed
ImportReport(counts, money, rejects file)
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from backend.app.domain.audit import AuditEntry
from backend.app.domain.backfill import player_import
from backend.app.domain.backfill.player_import import (
    SKIPPED,
    Batch,
    CurrencyTotal,
    ImportCounts,
    ImportPlayers,
    PlayerFile,
    RejectedRow,
    add_totals,
)
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.money import format_amount
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import audit_repo, statistics_repo
from backend.app.repositories.backfill import player_import_repo
from backend.app.repositories.backfill.player_import_repo import ImportTenant, JudgedRow
from backend.app.repositories.backfill.rejects_file import RejectsFile
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.group_commit import ROLLED_BACK

log = structlog.get_logger()

# Rows a transaction: large enough that its fixed cost vanishes, small enough that two of them fit in little memory and
# that a registration with an address of the file waits only for a moment.
CHUNK_ROWS: Final = 10_000
READ_BYTES: Final = 65_536
ATTEMPTS_MAX: Final = 10


class ImportStalled(TemporarilyUnavailable):
    """503: a chunk could not be written for a long time; what was committed before stays."""

    error_code = "IMPORT_STALLED"
    title = "The players could not be written because others kept the same rows busy; run the import again"


class _SomebodyWasFaster(Exception):
    """A player of the chunk came into being between judging and writing; judge again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress:
    """How far a run is: committed rows, and bytes of the file that were read."""

    counts: ImportCounts
    bytes_read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What a run did or, when dry, would do. `rejects_path` is None when nothing was rejected."""

    counts: ImportCounts
    totals: tuple[CurrencyTotal, ...]
    rejects_path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """What one chunk came to."""

    counts: ImportCounts
    totals: Sequence[CurrencyTotal]


class PlayerImport:
    """One run over one file. `file` is read once, forwards, and stays the caller's to close."""

    def __init__(self, database: Database, command: ImportPlayers, *, file: BinaryIO, rejects_folder: Path) -> None:
        self._database = database
        self._command = command
        self._source = _Source(file)
        self._rejects_folder = rejects_folder
        self._counts = ImportCounts()
        self._totals: tuple[CurrencyTotal, ...] = ()

    async def run(self, on_progress: Callable[[ImportProgress], None]) -> ImportReport:
        """Import everything; `on_progress` is called after each chunk.

        Raises FileRefused or TenantNotFound before anything is written, ImportStalled or DatabaseAway between chunks:
        what was committed stays, and running the same file again completes it.
        """
        command = self._command
        file = await asyncio.to_thread(PlayerFile, iter(self._source))
        rejects = RejectsFile(
            self._rejects_folder, source_name=command.file_name, columns=file.columns, now=command.now
        )
        try:
            async with self._database.connection() as conn:
                tenant = await player_import_repo.find_tenant(conn, command.tenant_id)
                if tenant is None:
                    raise TenantNotFound(f"there is no tenant {command.tenant_id}")
                # From here on the file is imported.
                batches = file.batches(base_currency=tenant.base_currency, rows_max=CHUNK_ROWS)
                async with player_import_repo.import_tables(conn):
                    await self._import_all(conn, tenant, batches=batches, rejects=rejects, on_progress=on_progress)
                if self._counts.imported >= statistics_repo.WORTH_IT_FROM and not command.is_dry_run:
                    await statistics_repo.refresh(conn)
        finally:
            rejects.close()
        log.info("players.imported", tenant_id=str(command.tenant_id), **_as_fields(self._counts))
        return ImportReport(counts=self._counts, totals=self._totals, rejects_path=rejects.path)

    async def _import_all(
        self,
        conn: Connection,
        tenant: ImportTenant,
        *,
        batches: Iterator[Batch],
        rejects: RejectsFile,
        on_progress: Callable[[ImportProgress], None],
    ) -> None:
        batch: Batch | None = await asyncio.to_thread(next, batches, None)
        while batch is not None:
            # The next rows are read and checked while the database is busy with these.
            reading = asyncio.create_task(asyncio.to_thread(next, batches, None))
            try:
                chunk = await self._write_until_done(conn, tenant, batch=batch, rejects=rejects)
            finally:
                batch = await reading
            self._counts += chunk.counts
            self._totals = add_totals(self._totals, chunk.totals)
            on_progress(ImportProgress(counts=self._counts, bytes_read=self._source.bytes_read))

    async def _write_until_done(
        self, conn: Connection, tenant: ImportTenant, *, batch: Batch, rejects: RejectsFile
    ) -> _Chunk:
        for attempt in range(ATTEMPTS_MAX):
            try:
                async with conn.transaction():
                    return await self._write(conn, tenant, batch=batch, rejects=rejects)
            except (_SomebodyWasFaster, *ROLLED_BACK) as error:
                # Nothing of the chunk has happened, its first rows included.
                log.warning("players.import_repeated", attempt=attempt + 1, error=type(error).__name__)
            await asyncio.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))
        raise ImportStalled

    async def _write(self, conn: Connection, tenant: ImportTenant, *, batch: Batch, rejects: RejectsFile) -> _Chunk:
        command = self._command
        if command.is_dry_run:
            await player_import_repo.forbid_writes(conn)
        judged: list[JudgedRow] = []
        totals: list[CurrencyTotal] = []
        if batch.rows:
            are_firsts = await player_import_repo.stage_chunk(conn, batch.rows)
            if not command.is_dry_run:
                await player_import_repo.lock_imports(conn, tenant)
            judged = await player_import_repo.judge_chunk(
                conn, command.tenant_id, has_repeats=not are_firsts, rows_max=len(batch.rows)
            )
            totals = await player_import_repo.total_new(conn)
        chunk = _Chunk(counts=_count(batch, judged), totals=totals)
        assert sum(total.players for total in totals) == chunk.counts.imported, f"rows got lost: {chunk}, {judged[:3]}"
        if chunk.counts.imported and not command.is_dry_run:
            written = await player_import_repo.insert_players(conn, command.tenant_id)
            if written != chunk.counts.imported:
                raise _SomebodyWasFaster
        if batch.is_last and not command.is_dry_run:
            await audit_repo.insert(conn, command.tenant_id, self._audit_entry(chunk))
        # Last before the commit: a chunk that is judged again has not been reported yet.
        rejects.write(_rejected(batch, judged))
        return chunk

    def _audit_entry(self, last: _Chunk) -> AuditEntry:
        """The whole run, `last` included, as one deed."""
        money: dict[str, str] = {}
        for total in add_totals(self._totals, last.totals):
            currency = total.currency
            money[f"available_{currency}"] = format_amount(total.available_minor, currency=currency)
            money[f"held_{currency}"] = format_amount(total.held_minor, currency=currency)
        return AuditEntry(
            actor=self._command.actor,
            action="players.imported",
            object_kind="players",
            object_id=str(self._command.tenant_id),
            after={
                "file": self._command.file_name,
                "sha256": self._source.sha256(),
                **_as_fields(self._counts + last.counts),
                **money,
            },
        )


class _Source:
    """The bytes of the file, counted and hashed on their way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes_read = 0

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._file.read(READ_BYTES):
            self.bytes_read += len(chunk)
            self._hash.update(chunk)
            yield chunk

    def sha256(self) -> str:
        """Hexadecimal digest of what was read so far."""
        return self._hash.hexdigest()


def _count(batch: Batch, judged: Sequence[JudgedRow]) -> ImportCounts:
    exists = sum(row.outcome in SKIPPED for row in judged)
    return ImportCounts(
        imported=len(batch.rows) - len(judged),
        exists=exists,
        rejected=len(batch.rejected) + len(judged) - exists,
    )


def _rejected(batch: Batch, judged: Sequence[JudgedRow]) -> list[RejectedRow]:
    """All rejected rows of a chunk, in the order of the file."""
    rejected = list(batch.rejected)
    by_line = {row.line_number: row for row in judged if row.outcome not in SKIPPED}
    if by_line:
        rejected += [
            RejectedRow(
                row.line_number,
                row.cells,
                player_import.reason_of(
                    by_line[row.line_number].outcome, first_line=by_line[row.line_number].first_line
                ),
            )
            for row in batch.rows
            if row.line_number in by_line
        ]
    return sorted(rejected, key=lambda row: row.line_number)


def _as_fields(counts: ImportCounts) -> dict[str, int]:
    return {
        "read": counts.read,
        "imported": counts.imported,
        "exists": counts.exists,
        "rejected": counts.rejected,
    }
