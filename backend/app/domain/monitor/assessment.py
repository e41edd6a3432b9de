"""What an assessment is, and what it leaves to the next one. Pure records, with JSON for keeping them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from backend.app.domain.backfill.census import DifferenceClass
from backend.app.domain.monitor.baseline import Baseline
from backend.app.domain.monitor.bucket import Stream, Trigger
from backend.app.domain.monitor.evidence_scan import Checkpoint


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
        """The column of the matrix: 0 nothing, 1 light, 2 high and sustained, 3 critical."""
        return _SEVERITY[self]

    @property
    def rank(self) -> int:
        """Its place from least to most serious; no data and ok share one."""
        return _RANK[self]


_SEVERITY = {
    Verdict.NO_DATA: 0,
    Verdict.OK: 0,
    Verdict.LIGHT: 1,
    Verdict.HIGH: 2,
    Verdict.SUSTAINED: 2,
    Verdict.CRITICAL: 3,
}
_RANK = {
    Verdict.NO_DATA: 0,
    Verdict.OK: 0,
    Verdict.LIGHT: 1,
    Verdict.HIGH: 2,
    Verdict.SUSTAINED: 3,
    Verdict.CRITICAL: 4,
}


class Flag(StrEnum):
    """What else is to be known about an assessment. A flag stops promotions or actions, and never causes an action."""

    # Nothing arrives where traffic is expected: silence can be the failure. Page, hold.
    TRAFFIC_DROP = "traffic_drop"
    # Some instance did not flush, so that what is missing proves nothing. Hold.
    BLIND = "blind"
    # The verdict leans on buckets that changed after they had been judged: nothing automatic.
    REVISED = "revised"
    # An instance's clock is off; told about only, since the database's clock is used.
    CLOCK_SKEW = "clock_skew"
    # Most tenants at once, among them some that are not enforced: hold, no rollback.
    GLOBAL_CAUSE = "global_cause"


# Differences that say the ledger itself is wrong, or that its arbiter let through what it must not: no statistics.
BROKEN_INVARIANTS: Final = frozenset(
    {
        DifferenceClass.FOLD_DIFF,
        DifferenceClass.VERSION_GAP,
        DifferenceClass.INJECTED_ROW,
        DifferenceClass.NEGATIVE_ARBITER,
        DifferenceClass.DUPLICATE_EFFECT,
        DifferenceClass.ZERO_SUM,
    }
)


class SubjectCount(NamedTuple):
    """In how many minutes a player, wallet or payment stood behind an x."""

    subject: str
    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known besides the buckets.

    counted_from: when the present arbiter began to decide; what was counted before it is not judged any more.
    is_blind: a live instance has not flushed for a minute, or its lag exceeds the grace.
    clock_skew_seconds: how far the worst instance's clock is off the database's, either way.
    broken: what the tenant's last census found that no traffic can explain; T3 alone looks at it.
    """

    counted_from: datetime | None = None
    is_blind: bool = False
    clock_skew_seconds: float = 0.0
    broken: frozenset[DifferenceClass] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "counted_from": _text(self.counted_from),
            "is_blind": self.is_blind,
            "clock_skew_seconds": self.clock_skew_seconds,
            "broken": sorted(self.broken),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Surroundings":
        """From what to_json made."""
        return cls(
            counted_from=_moment(document["counted_from"]),
            is_blind=document["is_blind"],
            clock_skew_seconds=document["clock_skew_seconds"],
            broken=frozenset(DifferenceClass(each) for each in document["broken"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Latched:
    """What one assessment leaves to the next: kept by the caller, one for each subject and stream.

    since: when the verdict began. judged_until: the last minute that was closed by then. ok_seconds: for how long the
    evidence has been OK since it was HIGH or worse. version: of detector and thresholds; another one starts with
    scores of zero. acknowledged_at, acknowledged_until: when a person last took note, and the last minute there was to
    take note of; of an earlier verdict than this one if it is before `since`.
    """

    verdict: Verdict
    since: datetime
    assessed_at: datetime
    judged_until: datetime
    version: str
    acknowledged_at: datetime | None = None
    acknowledged_until: datetime | None = None
    ok_seconds: float = 0.0
    checkpoint: Checkpoint | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Whether a person has taken note of this verdict."""
        return self.acknowledged_at is not None and self.acknowledged_at >= self.since

    def acknowledge(self, *, now: datetime) -> "Latched":
        """After a person has taken note: a HIGH or worse may end once the evidence is OK for long enough."""
        return replace(self, acknowledged_at=now, acknowledged_until=self.judged_until)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "verdict": self.verdict.value,
            "since": self.since.isoformat(),
            "assessed_at": self.assessed_at.isoformat(),
            "judged_until": self.judged_until.isoformat(),
            "version": self.version,
            "acknowledged_at": _text(self.acknowledged_at),
            "acknowledged_until": _text(self.acknowledged_until),
            "ok_seconds": self.ok_seconds,
            "checkpoint": None if self.checkpoint is None else self.checkpoint.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Latched":
        """From what to_json made."""
        checkpoint = document["checkpoint"]
        return cls(
            verdict=Verdict(document["verdict"]),
            since=datetime.fromisoformat(document["since"]),
            assessed_at=datetime.fromisoformat(document["assessed_at"]),
            judged_until=datetime.fromisoformat(document["judged_until"]),
            version=document["version"],
            acknowledged_at=_moment(document["acknowledged_at"]),
            acknowledged_until=_moment(document["acknowledged_until"]),
            ok_seconds=document["ok_seconds"],
            checkpoint=None if checkpoint is None else Checkpoint.from_json(checkpoint),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A verdict with everything that a sentence, an action or a replay needs.

    verdict: as latched. observed: what the evidence says now, without what is remembered; only this acts by itself.
    n_60, x_60: units of the last hour, in which a subject counts once in ten minutes; x_60_raw: as counted,
    and so are n_day and x_day.
    usual_rate: the baseline with its control ratio. silent_minutes: since something was counted last, at most an hour.
    """

    stream: Stream
    verdict: Verdict
    observed: Verdict
    since: datetime
    assessed_at: datetime
    acknowledged_at: datetime | None
    scores: Mapping[str, float]
    n_60: int
    x_60: int
    x_60_raw: int
    n_day: int
    x_day: int
    distinct_players_60: int
    distinct_players_day: int
    top: tuple[SubjectCount, ...]
    flags: frozenset[Flag]
    is_enforced: bool
    baseline: Baseline
    usual_rate: float
    silent_minutes: int
    h_light: float
    h_high: float
    version: str
    latched: Latched

    @property
    def trigger(self) -> Trigger:
        """The alarm that the stream belongs to."""
        return self.stream.trigger

    @property
    def score(self) -> float:
        """The highest score, 0 without any."""
        return max(self.scores.values(), default=0.0)

    @property
    def is_changed(self) -> bool:
        """Whether the verdict began with this assessment."""
        return self.since == self.assessed_at

    @property
    def is_acknowledged(self) -> bool:
        """Whether a person has taken note of it."""
        return self.acknowledged_at is not None

    def with_flags(self, *flags: Flag) -> "Assessment":
        """With more flags, such as what only the fleet as a whole can tell."""
        return replace(self, flags=self.flags | set(flags))

    def to_json(self) -> dict[str, Any]:
        """As JSON, for people and for the record of a decision."""
        return {
            "trigger": self.trigger.value,
            "stream": self.stream.value,
            "verdict": self.verdict.value,
            "observed": self.observed.value,
            "since": self.since.isoformat(),
            "assessed_at": self.assessed_at.isoformat(),
            "acknowledged_at": _text(self.acknowledged_at),
            "scores": dict(self.scores),
            "n_60": self.n_60,
            "x_60": self.x_60,
            "x_60_raw": self.x_60_raw,
            "n_day": self.n_day,
            "x_day": self.x_day,
            "distinct_players_60": self.distinct_players_60,
            "distinct_players_day": self.distinct_players_day,
            "top": [list(each) for each in self.top],
            "flags": sorted(self.flags),
            "is_enforced": self.is_enforced,
            "baseline": self.baseline.to_json(),
            "usual_rate": self.usual_rate,
            "silent_minutes": self.silent_minutes,
            "h_light": self.h_light,
            "h_high": self.h_high,
            "version": self.version,
            "latched": self.latched.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Assessment":
        """From what to_json made."""
        fields = {name: value for name, value in document.items() if name != "trigger"}
        return cls(
            **fields
            | {
                "stream": Stream(document["stream"]),
                "verdict": Verdict(document["verdict"]),
                "observed": Verdict(document["observed"]),
                "since": datetime.fromisoformat(document["since"]),
                "assessed_at": datetime.fromisoformat(document["assessed_at"]),
                "acknowledged_at": _moment(document["acknowledged_at"]),
                "top": tuple(SubjectCount(*each) for each in document["top"]),
                "flags": frozenset(Flag(each) for each in document["flags"]),
                "baseline": Baseline.from_json(document["baseline"]),
                "latched": Latched.from_json(document["latched"]),
            }
        )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
