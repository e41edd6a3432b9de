"""Is something going wrong? From minute buckets to a verdict that can be derived again. Pure.

assess() is a function of what it is given and of nothing else: no clock, no memory. What it has to remember goes out
as Assessment.latched and comes in again the next time. The rules, and what they were measured to do, are in
docs/detection.md.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from backend.app.domain.monitor.assessment import (
    BROKEN_INVARIANTS,
    Assessment,
    Flag,
    Latched,
    SubjectCount,
    Surroundings,
    Verdict,
)
from backend.app.domain.monitor.baseline import PAIRED_BASELINE, Baseline
from backend.app.domain.monitor.bucket import MINUTE, Bucket, Stream, Trigger, in_order
from backend.app.domain.monitor.evidence_scan import Checkpoint, Scan
from backend.app.domain.monitor.latch import latch
from backend.app.domain.monitor.thresholds import Thresholds

__all__ = [
    "BROKEN_INVARIANTS",
    "PAIRED_BASELINE",
    "Assessment",
    "AssessmentInput",
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
    "find_global_cause",
    "find_worst",
]

# How many subjects an assessment names.
TOP: Final = 5
NOWHERE: Final = Surroundings()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssessmentInput:
    """All that an assessment depends on. Stored with a decision, it is what the decision is derived from again."""

    stream: Stream
    buckets: tuple[Bucket, ...]
    baseline: Baseline
    thresholds: Thresholds
    now: datetime
    previous: Latched | None
    is_enforced: bool
    surroundings: Surroundings = NOWHERE

    def assess(self) -> Assessment:
        """What these inputs say."""
        return assess(
            self.stream,
            self.buckets,
            baseline=self.baseline,
            thresholds=self.thresholds,
            now=self.now,
            previous=self.previous,
            is_enforced=self.is_enforced,
            surroundings=self.surroundings,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON; minutes without traffic are left out, which changes nothing."""
        return {
            "stream": self.stream.value,
            "buckets": [bucket.to_json() for bucket in self.buckets if bucket.n],
            "baseline": self.baseline.to_json(),
            "thresholds": self.thresholds.to_json(),
            "now": self.now.isoformat(),
            "previous": None if self.previous is None else self.previous.to_json(),
            "is_enforced": self.is_enforced,
            "surroundings": self.surroundings.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "AssessmentInput":
        """From what to_json made."""
        previous = document["previous"]
        return cls(
            stream=Stream(document["stream"]),
            buckets=tuple(Bucket.from_json(bucket) for bucket in document["buckets"]),
            baseline=Baseline.from_json(document["baseline"]),
            thresholds=Thresholds.from_json(document["thresholds"]),
            now=datetime.fromisoformat(document["now"]),
            previous=None if previous is None else Latched.from_json(previous),
            is_enforced=document["is_enforced"],
            surroundings=Surroundings.from_json(document["surroundings"]),
        )


def assess(
    stream: Stream,
    buckets: Sequence[Bucket],
    *,
    baseline: Baseline,
    thresholds: Thresholds,
    now: datetime,
    previous: Latched | None,
    is_enforced: bool,
    surroundings: Surroundings = NOWHERE,
) -> Assessment:
    """Judge one stream.

    buckets: of the last day (thresholds.history_minutes), in order, each minute once. Minutes without traffic may be
    left out; what is not closed yet, or lies ahead, is passed over. now: the database's clock, UTC.
    previous: what the last assessment left (Assessment.latched), after a person's acknowledgement if there was one.
    """
    assert in_order(buckets), "buckets are not in the order of their minutes"
    last_minute = (now - MINUTE - timedelta(seconds=thresholds.grace_seconds)).replace(second=0, microsecond=0)
    counted_from = surroundings.counted_from
    day = _cut(buckets, thresholds=thresholds, last_minute=last_minute, counted_from=counted_from)
    judge = _Judge(
        stream=stream,
        baseline=baseline,
        thresholds=thresholds,
        last_minute=last_minute,
        checkpoint=_usable_checkpoint(previous, thresholds=thresholds, counted_from=counted_from),
        acknowledged_until=None if previous is None else previous.acknowledged_until,
        is_enforced=is_enforced,
        is_broken=not BROKEN_INVARIANTS.isdisjoint(surroundings.broken),
    )
    scan, observed = judge.look_at(day)
    kept = scan.checkpoint
    silent_minutes = _silent_minutes(day, last_minute=last_minute, thresholds=thresholds)
    flags = _flags(silent_minutes, baseline=baseline, thresholds=thresholds, surroundings=surroundings)
    if any(bucket.is_revised for bucket in day):
        # What came late never acts alone, and is not remembered in a score as if it had come in time.
        sure_scan, sure = judge.look_at([bucket for bucket in day if not bucket.is_revised])
        kept = sure_scan.checkpoint
        if sure.rank < observed.rank:
            flags.add(Flag.REVISED)
    latched = latch(
        previous,
        observed,
        calm_minutes=scan.calm_minutes,
        is_blind=surroundings.is_blind,
        checkpoint=kept,
        thresholds=thresholds,
        now=now,
        judged_until=last_minute,
    )
    names = Counter(name for bucket in day if bucket.x for name in bucket.players)
    hour_start = last_minute - thresholds.window_minutes * MINUTE
    return Assessment(
        stream=stream,
        verdict=latched.verdict,
        observed=observed,
        since=latched.since,
        assessed_at=now,
        acknowledged_at=latched.acknowledged_at if latched.is_acknowledged else None,
        scores=scan.scores,
        n_60=scan.hour.n,
        x_60=scan.hour.x,
        x_60_raw=sum(bucket.x for bucket in day if bucket.minute > hour_start),
        n_day=sum(bucket.n for bucket in day),
        x_day=sum(bucket.x for bucket in day),
        distinct_players_60=scan.hour.players,
        distinct_players_day=len(names),
        top=_top(names if stream.is_paired else scan.hour_players),
        flags=frozenset(flags),
        is_enforced=is_enforced,
        baseline=baseline,
        usual_rate=baseline.rate,
        silent_minutes=silent_minutes,
        h_light=thresholds.h_light,
        h_high=thresholds.h_high,
        version=thresholds.version,
        latched=latched,
    )


def find_worst(assessments: Iterable[Assessment]) -> Assessment:
    """The assessment that speaks for a trigger: the most serious one, of equals the one with proof.

    A rate that is high must not hide a paired stream that is high too: only the latter allows an automatic rollback.
    """
    return max(
        assessments,
        key=lambda each: (each.verdict.severity, each.observed.severity, each.stream.is_paired, each.verdict.rank),
    )


def find_global_cause(assessments: Mapping[str, Assessment], *, thresholds: Thresholds) -> bool:
    """Whether most tenants show one trigger at once, some of them not enforced: then enforcing is not the cause.

    assessments: of one trigger, by tenant.
    """
    light = [each for each in assessments.values() if each.observed.severity]
    return (
        len(assessments) >= thresholds.global_tenants
        and len(light) > thresholds.global_share * len(assessments)
        and any(not each.is_enforced for each in light)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """What buckets say to the rules, for the same stream at the same moment."""

    stream: Stream
    baseline: Baseline
    thresholds: Thresholds
    last_minute: datetime
    checkpoint: Checkpoint | None
    acknowledged_until: datetime | None
    is_enforced: bool
    is_broken: bool

    def look_at(self, day: Sequence[Bucket]) -> tuple[Scan, Verdict]:
        """The scan of the day's buckets, and the verdict without what is remembered."""
        seen = day
        if self.checkpoint is not None:
            # The scan needs what the checkpoint does not have, and the hour before.
            start = self.checkpoint.until - self.thresholds.window_minutes * MINUTE
            seen = day[bisect_left(day, start, key=_minute_of) :]
        scan = Scan(
            self.stream,
            seen,
            baseline=self.baseline,
            thresholds=self.thresholds,
            checkpoint=self.checkpoint,
            last_minute=self.last_minute,
        )
        quiet = Verdict.OK if scan.hour.n else Verdict.NO_DATA
        if self.stream is Stream.T2_NOISE:
            # Anybody on the internet can make it.
            return scan, quiet
        if self.stream is Stream.T1_OVERPAID:
            return scan, self._overpaid(day) or quiet
        if self.stream is Stream.T3_MISMATCH and self.is_broken:
            # Where the legacy column decides, a broken ledger harms nobody yet.
            return scan, Verdict.CRITICAL if self.is_enforced else Verdict.HIGH
        return scan, self._by_score(scan, day) or quiet

    def _overpaid(self, day: Sequence[Bucket]) -> Verdict | None:
        """Any decision that pays what the other side refuses is critical, until somebody has taken note of it.

        While the legacy column decides nothing was paid; it still keeps the tenant from being enforced.
        """
        known = self.acknowledged_until
        if any(bucket.x for bucket in day if known is None or bucket.minute > known):
            return Verdict.CRITICAL if self.is_enforced else Verdict.LIGHT
        return None

    def _by_score(self, scan: Scan, day: Sequence[Bucket]) -> Verdict | None:
        # What made a score may be long over: it speaks only while there is more of it.
        if scan.hour.x:
            if scan.is_sustained:
                return Verdict.SUSTAINED
            if scan.is_high or (self.stream.is_paired and scan.is_fast):
                return Verdict.HIGH
            if scan.is_light:
                return Verdict.LIGHT
        if self.stream.is_paired:
            players = frozenset[str]().union(*(bucket.players for bucket in day if bucket.x))
            if len(players) >= self.thresholds.light_players:
                return Verdict.LIGHT
        return None


def _minute_of(bucket: Bucket) -> datetime:
    return bucket.minute


def _cut(
    buckets: Sequence[Bucket], *, thresholds: Thresholds, last_minute: datetime, counted_from: datetime | None
) -> Sequence[Bucket]:
    """The closed buckets of the last day that were counted under the present arbiter."""
    start = last_minute - timedelta(minutes=thresholds.history_minutes - 1)
    if counted_from is not None:
        start = max(start, counted_from)
    first = bisect_left(buckets, start, key=_minute_of)
    return buckets[first : bisect_left(buckets, last_minute + MINUTE, key=_minute_of)]


def _usable_checkpoint(
    previous: Latched | None, *, thresholds: Thresholds, counted_from: datetime | None
) -> Checkpoint | None:
    """The checkpoint, unless other numbers or another arbiter made it: then scores begin at zero."""
    if previous is None or previous.checkpoint is None or previous.version != thresholds.version:
        return None
    if counted_from is not None and previous.checkpoint.until <= counted_from:
        return None
    return previous.checkpoint


def _silent_minutes(day: Sequence[Bucket], *, last_minute: datetime, thresholds: Thresholds) -> int:
    """Closed minutes since something was counted last, at most the window's length."""
    last = next((bucket.minute for bucket in reversed(day) if bucket.n), None)
    if last is None:
        return thresholds.window_minutes
    return min(int((last_minute - last) / MINUTE), thresholds.window_minutes)


def _flags(silent_minutes: int, *, baseline: Baseline, thresholds: Thresholds, surroundings: Surroundings) -> set[Flag]:
    flags = set()
    # Of a Poisson stream, the probability that nothing arrives in all that time.
    chance = math.exp(-(baseline.expected_per_minute or 0.0) * silent_minutes)
    if silent_minutes >= thresholds.silence_minutes and chance < thresholds.silence_probability:
        flags.add(Flag.TRAFFIC_DROP)
    if surroundings.is_blind:
        flags.add(Flag.BLIND)
    if abs(surroundings.clock_skew_seconds) > thresholds.clock_skew_seconds:
        flags.add(Flag.CLOCK_SKEW)
    return flags


def _top(counts: Mapping[str, int]) -> tuple[SubjectCount, ...]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(SubjectCount(name, minutes) for name, minutes in ordered[:TOP])
