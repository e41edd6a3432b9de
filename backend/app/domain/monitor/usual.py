"""What is usual at an hour of the week: counts of the fortnight before, and what follows from them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from backend.app.domain.monitor.baseline import Baseline, learn_rate

HISTORY: Final = timedelta(days=14)
HOURS_OF_WEEK: Final = 7 * 24
# The hours beside the present one count as alike.
HOURS_AROUND: Final = 1
# Traffic is expected where it came at this hour at least so often.
OCCURRENCES_MIN: Final = 2


class HourCount(NamedTuple):
    """Of one hour of the week: n of which x, and on how many days it had traffic."""

    n: int
    x: int
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """Counts by hour of the week, Monday's first hour (UTC) being 0."""

    hours: Mapping[int, HourCount]

    @property
    def total(self) -> HourCount:
        """The whole fortnight."""
        counts = self.hours.values()
        return HourCount(sum(hour.n for hour in counts), sum(hour.x for hour in counts), 0)

    @property
    def rate(self) -> float | None:
        """x of n in the whole fortnight; None when there was nothing."""
        n, x, _ = self.total
        return x / n if n else None

    def baseline(self, *, now: datetime, pool: float, ratio: float = 1.0) -> Baseline:
        """What is usual now. pool: the rate that is usual in the fleet, for what is not known of the one.

        Traffic is expected only where each of the hours around had it, so that the end of a day is no alarm.
        """
        around = [self.hours.get(hour) for hour in _hours_around(now)]
        known = [hour for hour in around if hour is not None]
        n, x = sum(hour.n for hour in known), sum(hour.x for hour in known)
        expected = None
        if len(known) == len(around) and all(hour.days >= OCCURRENCES_MIN for hour in known):
            expected = min(hour.n / hour.days for hour in known) / 60
        return Baseline(p0=learn_rate(x=x, n=n, pool=pool), ratio=ratio, expected_per_minute=expected)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {str(hour): list(count) for hour, count in sorted(self.hours.items())}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Usual":
        """From what to_json made."""
        return cls(hours={int(hour): HourCount(*count) for hour, count in document.items()})


def hour_of_week(moment: datetime) -> int:
    """0 to 167."""
    at = moment.astimezone(UTC)
    return at.weekday() * 24 + at.hour


def _hours_around(now: datetime) -> list[int]:
    here = hour_of_week(now)
    return [(here + offset) % HOURS_OF_WEEK for offset in range(-HOURS_AROUND, HOURS_AROUND + 1)]
