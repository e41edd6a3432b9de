"""Reconciliation: what may be asked for, where a run stands, and when its results can be trusted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError, FieldError, NotFound
from backend.app.domain.finding import FindingType

# A provider's statement may be asked for so far into the past, and no clock is believed to be ahead by more than this.
WINDOW_MAX: Final = timedelta(days=3660)
CLOCK_TOLERANCE: Final = timedelta(minutes=5)
# A window begins so long before the last one ended: what a provider lists late, within reason, is still read.
OVERLAP: Final = timedelta(hours=1)
# While something of ours is missing at the provider, so long: it may be listed late.
OVERLAP_WHEN_MISSING: Final = timedelta(hours=6)
# Each tenant and provider is compared so often by itself, and from the beginning so often.
SCHEDULE_EVERY: Final = timedelta(hours=1)
SCHEDULE_FULL_EVERY: Final = timedelta(days=7)
RUN_ATTEMPTS_MAX: Final = 5

# More of one type than this, in a run that compared so many, and it is the feed that is wrong and not each payment.
FLOOD_MIN: Final = 1_000
FLOOD_SHARE: Final = 0.2
# From so many missing on an empty feed is taken for dead.
DEAD_FEED_MIN: Final = 10
SAMPLE_SIZE: Final = 20


class RunStatus(StrEnum):
    """Where a run stands. Partial: what was found holds, but silence about the rest means nothing."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"


class RunInProgress(AppError):
    """409: another run of this tenant and provider is not finished; `run_id` names it."""

    error_code = "RUN_IN_PROGRESS"
    status = 409
    title = "A reconciliation of this tenant and provider is running already"


class UnsupportedProvider(AppError):
    """400: there is no such provider, or no statement to be had from it."""

    error_code = "UNSUPPORTED_PROVIDER"
    status = 400
    title = "This provider cannot be reconciled"


class RunNotFound(NotFound):
    """404: no such run, or another tenant's."""

    error_code = "RUN_NOT_FOUND"
    title = "No such reconciliation run"


class RunTaken(Exception):
    """Somebody else works on this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """How long after it happened something may be missing on the other side before it is a finding."""

    missing_in_ledger: timedelta = timedelta(minutes=15)
    missing_in_psp: timedelta = timedelta(hours=1)


DEFAULT_GRACE: Final = Grace()
# Attempts that are open for longer are stale, as in domain/payments/payout.py.
STALE_AFTER: Final = timedelta(days=7)
# A verified delivery that was not applied by then has nobody who will.
ORPHAN_AFTER: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """The wish for a run. tenant_id None: of every tenant that has an account at the provider.

    No window: what has not been compared yet. `is_full`: from the beginning, what is matched already included.
    `file`: what is known of the settlement file that the run compares; only who has the file can carry it out.
    """

    provider: str
    tenant_id: UUID | None
    started_by: str
    started_by_id: UUID | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    is_full: bool = False
    is_dry_run: bool = False
    is_scheduled: bool = False
    file: Mapping[str, Any] | None = None
    parent_id: UUID | None = None


class Run(NamedTuple):
    """One run, in the order of the query's columns."""

    id: UUID
    number: int
    parent_id: UUID | None
    tenant_id: UUID | None
    provider: str
    status: RunStatus
    is_window_asked: bool
    is_full: bool
    is_dry_run: bool
    is_scheduled: bool
    file: Mapping[str, Any] | None
    started_by: str
    window_start: datetime | None
    window_end: datetime | None
    cutoff: datetime | None
    is_feed_complete: bool | None
    feed: Mapping[str, Any]
    counts: Mapping[str, Any]
    control_totals: Mapping[str, Any]
    resumes: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Reach(NamedTuple):
    """How far a tenant and provider were compared, in the order of the query's columns."""

    covered_from: datetime
    covered_until: datetime
    ledger_until: UUID
    balanced_until: date
    oldest_missing_at: datetime | None


def ensure_window(start: datetime | None, end: datetime | None, *, now: datetime) -> None:
    """Refuse a window that is none. Raises FieldError naming the field."""
    if start is not None and start > now + CLOCK_TOLERANCE:
        raise FieldError("window_start", "lies in the future")
    if start is not None and now - start > WINDOW_MAX:
        raise FieldError("window_start", "is more than ten years ago")
    if end is not None and now - end > WINDOW_MAX:
        raise FieldError("window_end", "is more than ten years ago")
    if end is not None and end > now + timedelta(days=1):
        raise FieldError("window_end", "lies in the future")
    if start is not None and end is not None and start >= end:
        raise FieldError("window_end", "must be later than window_start")


def flooded_types(
    counts: Mapping[FindingType, int], *, compared: int, feed_lines: int, our_items: int
) -> frozenset[FindingType]:
    """The types of which there are so many that the feed must be wrong: they become one finding each.

    compared: how many items of either side the run looked at. An empty feed against many items of ours is a dead one.
    """
    limit = max(FLOOD_MIN, round(compared * FLOOD_SHARE))
    flooded = {each for each, count in counts.items() if each in _FLOODING and count > limit}
    missing = counts.get(FindingType.MISSING_IN_PSP, 0)
    if feed_lines == 0 and missing >= DEAD_FEED_MIN and missing == our_items:
        flooded.add(FindingType.MISSING_IN_PSP)
    return frozenset(flooded)


_FLOODING: Final = frozenset(
    {
        FindingType.MISSING_IN_PSP,
        FindingType.MISSING_IN_LEDGER,
        FindingType.AMOUNT_MISMATCH,
        FindingType.CURRENCY_MISMATCH,
        FindingType.STATUS_MISMATCH,
        FindingType.DUPLICATE_IN_PSP,
        FindingType.DUPLICATE_IN_LEDGER,
        FindingType.RETURNED_AFTER_PAID,
        FindingType.TENANT_MISMATCH,
    }
)
