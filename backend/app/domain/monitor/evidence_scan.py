"""One pass over a stream's buckets: scores, the last hour, and what happened since a score left zero. Pure.

A scan can be cut anywhere at the edge of a cell and gone on with from the checkpoint: the result is the same.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from backend.app.domain import beta
from backend.app.domain.monitor.baseline import Baseline
from backend.app.domain.monitor.bucket import MINUTE, Bucket, Stream, UnitBucket, cell_of, count_units
from backend.app.domain.monitor.cusum import Cusum
from backend.app.domain.monitor.thresholds import Thresholds

# How many names a run keeps: more than any rule asks for.
RUN_PLAYERS_MAX: Final = 16
# The alternatives that may call a gross rate HIGH; the mildest one is for what lasts.
ODDS_OF_HIGH: Final = 5.0


class Weight(NamedTuple):
    """How much stands behind a score, in units: minutes are those with an x."""

    n: int = 0
    x: int = 0
    players: int = 0
    minutes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What happened since a paired score left zero: the evidence that made it, over days if need be."""

    n: int = 0
    x: int = 0
    minutes: int = 0
    players: frozenset[str] = frozenset()

    def with_unit(self, unit: UnitBucket) -> "Run":
        """With one minute more."""
        room = RUN_PLAYERS_MAX - len(self.players)
        fresh = sorted(unit.players - self.players)[:room] if room and unit.x else []
        return Run(
            n=self.n + unit.n,
            x=self.x + unit.x,
            minutes=self.minutes + (unit.x > 0),
            players=self.players | frozenset(fresh) if fresh else self.players,
        )

    @property
    def weight(self) -> Weight:
        """What the rules ask about."""
        return Weight(self.n, self.x, len(self.players), self.minutes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything before `until` as folded: kept at the edge of a cell that is too old to change without being marked.

    held: minutes with traffic, within the span that SUSTAINED looks at, that were alarming. calm_minutes: minutes with
    traffic in a row with all scores low.
    """

    until: datetime
    scores: Mapping[str, float] = field(default_factory=dict)
    run: Run = Run()
    held: tuple[datetime, ...] = ()
    calm_minutes: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "until": self.until.isoformat(),
            "scores": dict(self.scores),
            "run": {"n": self.run.n, "x": self.run.x, "minutes": self.run.minutes, "players": sorted(self.run.players)},
            "held": [minute.isoformat() for minute in self.held],
            "calm_minutes": self.calm_minutes,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Checkpoint":
        """From what to_json made."""
        run = document["run"]
        return cls(
            until=datetime.fromisoformat(document["until"]),
            scores=dict(document["scores"]),
            run=Run(n=run["n"], x=run["x"], minutes=run["minutes"], players=frozenset(run["players"])),
            held=tuple(datetime.fromisoformat(minute) for minute in document["held"]),
            calm_minutes=document["calm_minutes"],
        )


class Scan:
    """The state of one stream after its buckets up to `last_minute`, the last closed one."""

    def __init__(
        self,
        stream: Stream,
        buckets: Iterable[Bucket],
        *,
        baseline: Baseline,
        thresholds: Thresholds,
        checkpoint: Checkpoint | None,
        last_minute: datetime,
    ) -> None:
        self._stream = stream
        self._thresholds = thresholds
        self._rate = baseline.rate
        self._cusum = Cusum(
            thresholds.odds_paired if stream.is_paired else thresholds.odds_gross,
            rate=self._rate,
            thresholds=thresholds,
        )
        self._run = Run()
        self._held: deque[datetime] = deque()
        self._calm_minutes = 0
        self._hour: deque[UnitBucket] = deque()
        self._hour_n = 0
        self._hour_x = 0
        self._hour_minutes = 0
        self._hour_players: Counter[str] = Counter()
        if checkpoint is not None:
            self._cusum.restore(checkpoint.scores)
            self._run, self._calm_minutes = checkpoint.run, checkpoint.calm_minutes
            self._held.extend(checkpoint.held)
        self.checkpoint = checkpoint
        self._fold(buckets, last_minute=last_minute)

    def _fold(self, buckets: Iterable[Bucket], *, last_minute: datetime) -> None:
        thresholds = self._thresholds
        from_minute = None if self.checkpoint is None else self.checkpoint.until
        edge = cell_of(last_minute - thresholds.late_minutes * MINUTE, cell_minutes=thresholds.cell_minutes)
        is_edge_due = from_minute is None or edge > from_minute
        count_nameless = self._stream is Stream.T2_REJECTED
        for unit in count_units(buckets, cell_minutes=thresholds.cell_minutes, count_nameless=count_nameless):
            if is_edge_due and unit.minute >= edge:
                self._keep_checkpoint(edge)
                is_edge_due = False
            self.add(unit, is_new=from_minute is None or unit.minute >= from_minute)
        if is_edge_due:
            self._keep_checkpoint(edge)
        self._move_hour_to(last_minute)
        self._forget_held_before(last_minute)

    def add(self, unit: UnitBucket, *, is_new: bool = True) -> None:
        """Take in one minute, later than all before; one that is not new is in the checkpoint's scores already."""
        self._move_hour_to(unit.minute)
        self._add_to_hour(unit)
        if unit.n and is_new:
            self._judge(unit)

    def _judge(self, unit: UnitBucket) -> None:
        self._cusum.add(n=unit.n, x=unit.x)
        highest = self._cusum.highest
        if self._stream.is_paired:
            self._run = self._run.with_unit(unit) if highest > 0 else Run()
        is_calm = highest < self._thresholds.h_light * self._thresholds.calm_factor
        self._calm_minutes = self._calm_minutes + 1 if is_calm else 0
        if self.is_high if self._stream.is_paired else self.is_light:
            self._held.append(unit.minute)
        self._forget_held_before(unit.minute)

    def _keep_checkpoint(self, edge: datetime) -> None:
        self._forget_held_before(edge)
        self.checkpoint = Checkpoint(
            until=edge,
            scores=self._cusum.scores,
            run=self._run,
            held=tuple(self._held),
            calm_minutes=self._calm_minutes,
        )

    def _forget_held_before(self, minute: datetime) -> None:
        oldest = minute - timedelta(minutes=self._thresholds.sustained_within_minutes)
        while self._held and self._held[0] <= oldest:
            self._held.popleft()

    def _add_to_hour(self, unit: UnitBucket) -> None:
        self._hour.append(unit)
        self._hour_n += unit.n
        self._hour_x += unit.x
        self._hour_minutes += unit.x > 0
        self._hour_players.update(unit.players)

    def _move_hour_to(self, minute: datetime) -> None:
        oldest = minute - timedelta(minutes=self._thresholds.window_minutes)
        while self._hour and self._hour[0].minute <= oldest:
            unit = self._hour.popleft()
            self._hour_n -= unit.n
            self._hour_x -= unit.x
            self._hour_minutes -= unit.x > 0
            for player in unit.players:
                self._hour_players[player] -= 1
                if not self._hour_players[player]:
                    del self._hour_players[player]

    @property
    def scores(self) -> dict[str, float]:
        """The scores by the names of their alternatives."""
        return self._cusum.scores

    @property
    def hour(self) -> Weight:
        """The last hour."""
        return Weight(self._hour_n, self._hour_x, len(self._hour_players), self._hour_minutes)

    @property
    def hour_players(self) -> Counter[str]:
        """In how many minutes of the last hour each subject stood behind an x."""
        return self._hour_players

    @property
    def calm_minutes(self) -> int:
        """Minutes with traffic in a row with all scores below half of the light threshold."""
        return self._calm_minutes

    @property
    def weight(self) -> Weight:
        """What stands behind the score: the last hour of a rate, the whole run of a paired stream.

        A few wrong refusals a day never make five in an hour, and five in two days prove as much.
        """
        return self._run.weight if self._stream.is_paired else self.hour

    @property
    def is_light(self) -> bool:
        """Whether a score says LIGHT."""
        weight, thresholds = self.weight, self._thresholds
        return (
            self._cusum.highest >= thresholds.h_light
            and weight.x >= thresholds.light_events
            and weight.players >= thresholds.light_players
        )

    @property
    def is_high(self) -> bool:
        """Whether a score says HIGH."""
        odds = 0.0 if self._stream.is_paired else ODDS_OF_HIGH
        return self._cusum.highest_from(odds) >= self._thresholds.h_high and self._is_heavy(self.weight)

    def _is_heavy(self, weight: Weight) -> bool:
        """Whether enough stands behind a score to act: events, players, minutes, and a rate surely above the usual."""
        thresholds = self._thresholds
        return (
            weight.x >= thresholds.high_events
            and weight.players >= thresholds.high_players
            and weight.minutes >= thresholds.high_minutes
            and beta.tail(weight.x, n=weight.n, p=self._rate) < 1 - thresholds.confidence
        )

    @property
    def is_fast(self) -> bool:
        """Whether so many distinct players in the last hour prove a fault without any score; paired streams only."""
        hour, thresholds = self.hour, self._thresholds
        if hour.players < thresholds.fast_players or hour.minutes < thresholds.high_minutes:
            return False
        return beta.tail(hour.players, n=max(hour.n, hour.players), p=self._rate) <= thresholds.fast_tail

    @property
    def is_sustained(self) -> bool:
        """Whether it lasts: of a rate, by the mildest alternative or by having been light; else by having been high."""
        has_held = len(self._held) >= self._thresholds.sustained_minutes
        if self._stream.is_paired:
            return self.is_high and has_held
        if not self._is_heavy(self.hour) or not self._is_still_up:
            return False
        return self._cusum.lowest_alternative >= self._thresholds.h_high or (has_held and self.is_light)

    @property
    def _is_still_up(self) -> bool:
        """Whether the last minutes are still above what is usual, so that what is over is not acted on."""
        if not self._hour:
            return False
        oldest = self._hour[-1].minute - self._thresholds.short_window_minutes * MINUTE
        recent = [unit for unit in self._hour if unit.minute > oldest]
        n, x = sum(unit.n for unit in recent), sum(unit.x for unit in recent)
        return n > 0 and x / n > self._rate
