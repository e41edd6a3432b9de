"""Backfills as people look at them and ask for them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from backend.app.domain.audit import Actor
from backend.app.domain.desk.attention import LastCensus
from backend.app.domain.errors import AppError


class BackfillBusy(AppError):
    """409: a backfill of this tenant was asked for before, and is not over."""

    error_code = "BACKFILL_BUSY"
    status = 409
    title = "A backfill of this tenant is under way"


class BackfillKind(StrEnum):
    """What can be asked for. Forcing for real is not: that is for whoever has a shell and a dry run's list."""

    DRY = "dry"
    DRY_FORCE = "dry_force"
    OPEN = "open"

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is written."""
        return self is not BackfillKind.OPEN

    @property
    def is_forced(self) -> bool:
        """Whether wallets that differ are looked at as force would."""
        return self is BackfillKind.DRY_FORCE


class AskedBackfill(NamedTuple):
    """A request that somebody works on. is_begun: another process did before."""

    tenant_id: UUID
    is_dry_run: bool
    is_forced: bool
    reason: str | None
    actor: Actor
    is_begun: bool


class RunSeen(NamedTuple):
    """A run or a dry run, in the order of the query's columns. counts_before: of the last completed one before it."""

    id: UUID
    tenant_id: UUID
    tenant_name: str
    kind: str
    state: str
    reason: str | None
    actor_label: str
    players_total: int | None
    scanned: int
    created: int
    skipped_exists: int
    updated_forced: int
    errors: int
    differing: int
    rows_per_second: int | None
    throttled_by: str | None
    error: str | None
    result: Mapping[str, Any]
    started_at: datetime
    finished_at: datetime | None
    counts_before: Sequence[int] | None

    @property
    def counters(self) -> tuple[tuple[str, int, int | None], ...]:
        """(name, count, how many more than the last time or None) of the five counters, in the contract's order."""
        names = ("scanned", "created", "skipped_exists", "updated_forced", "errors")
        counts = (self.scanned, self.created, self.skipped_exists, self.updated_forced, self.errors)
        before = self.counts_before
        return tuple(
            (name, count, None if before is None else count - before[place])
            for place, (name, count) in enumerate(zip(names, counts, strict=True))
        )

    @property
    def is_under_way(self) -> bool:
        """Whether it is not over."""
        return self.state in ("queued", "running")

    @property
    def seconds_left(self) -> int | None:
        """How long it will take at this rate; None where nobody can say."""
        if self.state != "running" or not self.rows_per_second or not self.players_total:
            return None
        return max(0, self.players_total - self.scanned) // self.rows_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPage:
    """Runs, newest first, and the newest census of each tenant in view."""

    runs: Sequence[RunSeen]
    has_more: bool
    censuses: Sequence[LastCensus]

    @property
    def is_under_way(self) -> bool:
        """Whether any of them is not over."""
        return any(run.is_under_way for run in self.runs)
