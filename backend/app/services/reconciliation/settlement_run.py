"""Compares a settlement file with what was booked: a run like any other, whose statement a person brings.

CompareFile ─▶ mapping, accounts ─▶ survey ─▶ the same file again? ─▶ run(file, window) ─▶ staged, compared, finished
                                                └─▶ the run that compared it; nothing is done

Who carries the run out has to have the file. When its process dies the run ends as failed, whoever finds it, and giving
the file again begins anew: nothing had been compared, and what was staged is thrown away.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.errors import FieldError
from backend.app.domain.reconciliation.reconciliation import (
    CLOCK_TOLERANCE,
    DEFAULT_GRACE,
    WINDOW_MAX,
    Grace,
    Run,
    StartRun,
    ensure_window,
)
from backend.app.domain.reconciliation.settlement_file import NOTHING_EXPECTED, Expected, SettlementFileRefused
from backend.app.domain.reconciliation.settlement_line import Bounds
from backend.app.domain.reconciliation.settlement_mapping import SettlementMapping, digest_of, parse_mapping
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories.database import Database
from backend.app.repositories.reconciliation import reconciliation_repo, settlement_repo
from backend.app.services.reconciliation.reconciliation import Reconciliation
from backend.app.services.reconciliation.reconciliation_feed import Source
from backend.app.services.reconciliation.reconciliation_run import account_ids_of
from backend.app.services.reconciliation.settlement_file import FileReading, SettlementFeed, Surveyed, survey_file
from backend.app.services.reconciliation.settlement_mappings import SettlementMappings

log = structlog.get_logger()

_MOMENT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFile:
    """The wish to compare a file. No window: from its first movement to its last. is_again: though it was before."""

    tenant_id: UUID
    provider: str
    path: Path
    started_by: str
    window_start: datetime | None = None
    window_end: datetime | None = None
    expected: Expected = NOTHING_EXPECTED
    is_again: bool = False
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFile:
    """What became of it. is_known: nothing was done, because `run` had compared the same file before."""

    run: Run
    surveyed: Surveyed
    is_known: bool


class SettlementRuns:
    """Compares files. Built once per command. rejects_folder: where lines that cannot be read are kept."""

    def __init__(
        self,
        database: Database,
        *,
        rejects_folder: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        # Without the providers' interfaces: a run of a file is never carried out against one.
        self._reconciliation = Reconciliation(database, {}, clock=clock)
        self._mappings = SettlementMappings(database)
        self._rejects_folder = rejects_folder
        self._clock = clock

    async def compare(self, command: CompareFile) -> ComparedFile:
        """Compare a file, to the end.

        Raises InvalidTenant, SettlementMappingNotFound, UnsupportedProvider, FieldError or SettlementFileRefused before
        a run is begun, RunInProgress when another one is under way.
        """
        now = self._clock()
        ensure_window(command.window_start, command.window_end, now=now)
        reading, mapping_sha256 = await self._prepare(command, now=now)
        surveyed = await asyncio.to_thread(
            survey_file, reading, expected=command.expected, rejects_folder=self._rejects_folder, now=now
        )
        if surveyed.faults and not surveyed.survey.movements:
            raise SettlementFileRefused(f"there is nothing to compare: {'; '.join(surveyed.faults)}")
        start, end = _window_of(command, surveyed, mapping=reading.mapping)
        ensure_window(start, end, now=now)
        known = await self._find_compared(command, surveyed, mapping_sha256=mapping_sha256, window=(start, end))
        if known is not None:
            return ComparedFile(run=known, surveyed=surveyed, is_known=True)
        # From here on the file is compared.
        run_id = await self._reconciliation.resume_or_start(
            StartRun(
                provider=command.provider,
                tenant_id=command.tenant_id,
                started_by=command.started_by,
                window_start=start,
                window_end=end,
                is_dry_run=command.is_dry_run,
                file=surveyed.document(reading, mapping_sha256=mapping_sha256, expected=command.expected),
            )
        )
        run = await self._reconciliation.execute(
            run_id,
            source=Source(
                feed=SettlementFeed(reading, surveyed, now=now), grace=_grace_of(reading.mapping), settles_after=_MOMENT
            ),
        )
        return ComparedFile(run=run, surveyed=surveyed, is_known=False)

    async def _prepare(self, command: CompareFile, *, now: datetime) -> tuple[FileReading, str]:
        """How the file is to be read, and the digest of its declaration."""
        async with self._database.connection() as conn:
            if not await reconciliation_repo.tenant_exists(conn, command.tenant_id):
                raise InvalidTenant
        declared = await self._mappings.get(command.tenant_id, provider=command.provider)
        mapping = parse_mapping(declared.document)
        async with self._database.connection() as conn:
            account_ids = await account_ids_of(conn, command.tenant_id, provider=command.provider)
        strangers = sorted(set(mapping.accounts) - set(account_ids))
        if strangers:
            raise FieldError("accounts", f"{strangers[0]!r} is no account of the tenant any more: declare the mapping")
        accounts = mapping.accounts or account_ids
        if len(accounts) > 1 and mapping.columns.account is None:
            raise FieldError("accounts", f"the tenant has {len(accounts)} by now: declare which one the file is about")
        earliest_at = command.window_start or now - WINDOW_MAX
        latest_at = command.window_end or now + CLOCK_TOLERANCE
        return (
            FileReading(
                path=command.path,
                mapping=mapping,
                accounts=accounts,
                bounds=Bounds(
                    earliest_at, latest_at, f"[{earliest_at:%Y-%m-%dT%H:%M:%SZ}, {latest_at:%Y-%m-%dT%H:%M:%SZ})"
                ),
            ),
            digest_of(declared.document),
        )

    async def _find_compared(
        self,
        command: CompareFile,
        surveyed: Surveyed,
        *,
        mapping_sha256: str,
        window: tuple[datetime, datetime],
    ) -> Run | None:
        """The run that compared the same, unless this one could say more."""
        if command.is_again or command.is_dry_run or surveyed.faults:
            return None
        async with self._database.connection() as conn:
            run_id = await settlement_repo.find_compared_file(
                conn,
                command.tenant_id,
                provider=command.provider,
                sha256=surveyed.sha256,
                mapping_sha256=mapping_sha256,
                window_start=window[0],
                window_end=window[1],
            )
        if run_id is None:
            return None
        log.info("settlement.known", run_id=str(run_id), sha256=surveyed.sha256)
        return await self._reconciliation.get(command.tenant_id, run_id=run_id)


def _window_of(command: CompareFile, surveyed: Surveyed, *, mapping: SettlementMapping) -> tuple[datetime, datetime]:
    """The window that the file is held to: what a person says, else from its first movement to its last."""
    first_at, last_at = surveyed.survey.first_at, surveyed.survey.last_at
    start = command.window_start or first_at
    end = command.window_end or (None if last_at is None else last_at + max(mapping.time.precision, _MOMENT))
    if start is None or end is None:
        raise FieldError("--from and --to", "are needed: the file has no movement that would say when it is about")
    return start, end


def _grace_of(mapping: SettlementMapping) -> Grace:
    return Grace(
        missing_in_ledger=DEFAULT_GRACE.missing_in_ledger,
        missing_in_psp=max(DEFAULT_GRACE.missing_in_psp, timedelta(hours=mapping.listed_within_hours)),
    )
