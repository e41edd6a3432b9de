"""Is something going wrong? From minute buckets to a verdict that can be derived again. Pure.

assess() is a function of what it is given and of nothing else: no clock, no memory. What it has to remember goes out
as Latched and comes in again the next time. The rules and what they were measured to do: docs/detection.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from backend.app.domain.baseline import PAIRED_BASELINE, Baseline
from backend.app.domain.bucket import Bucket, Stream, Trigger
from backend.app.domain.thresholds import Thresholds

__all__ = [
    "PAIRED_BASELINE",
    "Assessment",
    "Baseline",
    "Bucket",
    "Checkpoint",
    "Flag",
    "Latched",
    "Stream",
    "SubjectCount",
    "Surroundings",
    "Thresholds",
    "Trigger",
    "Verdict",
    "assess",
]


class Verdict(StrEnum):
    """What the evidence says, from least to most serious."""

    # Neither a pass nor a fail.
    NO_DATA = "no_data"
    OK = "ok"
    LIGHT = "light"
    HIGH = "high"
    SUSTAINED = "sustained"
    CRITICAL = "critical"

    @property
    def severity(self) -> int:
        """0 for nothing, 1 light, 2 high and sustained (one column of the matrix), 3 critical."""
        return {"light": 1, "high": 2, "sustained": 2, "critical": 3}.get(self.value, 0)


class Flag(StrEnum):
    """What else is to be known about an assessment. A flag stops promotions or actions, and never causes one."""

    # Nothing arrives where traffic is expected: silence can be the failure. Page, hold.
    TRAFFIC_DROP = "traffic_drop"
    # Some instance did not flush: what did not happen proves nothing. Hold.
    BLIND = "blind"
    # The verdict leans on buckets that changed after they had been judged: nothing automatic.
    REVISED = "revised"
    # An instance's clock is off; told about, since only the database's clock is used.
    CLOCK_SKEW = "clock_skew"
    # Most tenants at once, among them some that are not enforced: hold, no rollback.
    GLOBAL_CAUSE = "global_cause"


class SubjectCount(NamedTuple):
    """How often a player, wallet or payment stands behind x."""

    subject: str
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known besides the buckets.

    counted_from: when the present arbiter began to decide; buckets before are not counted.
    is_blind: a live instance has not flushed for a minute, or its lag exceeds the grace.
    """

    counted_from: datetime | None = None
    is_blind: bool = False
    clock_skew_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far buckets are folded into the scores; kept at the edge of a cell that is too old to change silently."""

    until: datetime
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latched:
    """What one assessment leaves to the next. Kept as JSON by the caller, one for each stream and subject."""

    verdict: Verdict
    since: datetime
    assessed_at: datetime
    acknowledged_at: datetime | None = None
    ok_seconds: float = 0.0
    checkpoint: Checkpoint | None = None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A verdict with everything that a sentence, an action or a replay needs.

    verdict: latched. observed: what the evidence says now, without what is remembered; only this acts by itself.
    n_60, x_60: units of the last hour (a subject counts once in ten minutes); x_60_raw: as they were counted.
    """

    stream: Stream
    verdict: Verdict
    observed: Verdict
    since: datetime
    assessed_at: datetime
    scores: Mapping[str, float]
    n_60: int
    x_60: int
    x_60_raw: int
    distinct_players_60: int
    distinct_players_day: int
    top: tuple[SubjectCount, ...]
    flags: frozenset[Flag]
    is_enforced: bool
    baseline: Baseline
    h_light: float
    h_high: float
    version: str
    latched: Latched

    @property
    def trigger(self) -> Trigger:
        """The alarm it belongs to."""
        return self.stream.trigger

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        raise NotImplementedError


def assess(
    stream: Stream,
    buckets: Sequence[Bucket],
    *,
    baseline: Baseline,
    thresholds: Thresholds,
    now: datetime,
    previous: Latched | None,
    is_enforced: bool,
    surroundings: Surroundings = Surroundings(),
) -> Assessment:
    """Judge one stream.

    buckets: of the last day (thresholds.history_minutes), in order, each minute once; minutes without traffic may be
    left out, and what is not closed yet is passed over. now: the database's clock, UTC.
    """
    raise NotImplementedError
