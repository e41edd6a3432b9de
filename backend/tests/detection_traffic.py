"""Made-up traffic for the detector, by seed: minutes of a stream, and a watch over them as the monitor keeps it."""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from backend.app.domain.monitor.detection import (
    PAIRED_BASELINE,
    Assessment,
    Baseline,
    Bucket,
    Latched,
    Stream,
    Surroundings,
    Thresholds,
    assess,
)

# A Monday.
START: Final = datetime(2026, 1, 5, tzinfo=UTC)
THRESHOLDS: Final = Thresholds()
HOUR: Final = 60
DAY: Final = 24 * HOUR
# Closed at the earliest so long after its beginning.
CLOSED_AFTER: Final = timedelta(seconds=60 + THRESHOLDS.grace_seconds)


def minute(number: int) -> datetime:
    """The beginning of so manieth minute."""
    return START + timedelta(minutes=number)


def bucket(
    number: int, *, n: int, x: int = 0, players: Iterable[str] | None = None, is_revised: bool = False
) -> Bucket:
    """A bucket of that minute; players as given, else everybody somebody else."""
    names = frozenset(f"player-{number}-{each}" for each in range(x)) if players is None else frozenset(players)
    return Bucket(minute=minute(number), n=n, x=x, players=names, is_revised=is_revised)


def poisson(rng: random.Random, mean: float) -> int:
    """A draw from a Poisson distribution, by Knuth's product; for small means."""
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def traffic(
    rng: random.Random,
    *,
    minutes: int,
    per_minute: float | Callable[[int], float],
    rate: float | Callable[[int], float],
    players: int = 10_000,
) -> list[Bucket]:
    """Minutes of independent decisions; traffic and rate are numbers, or functions of the minute."""
    made = []
    for number in range(minutes):
        mean = per_minute(number) if callable(per_minute) else per_minute
        share = rate(number) if callable(rate) else rate
        n = poisson(rng, mean)
        x = sum(rng.random() < share for _ in range(n))
        made.append(bucket(number, n=n, x=x, players={f"p{rng.randrange(players)}" for _ in range(x)}))
    return made


def watch(
    stream: Stream,
    buckets: Sequence[Bucket],
    *,
    baseline: Baseline = PAIRED_BASELINE,
    thresholds: Thresholds = THRESHOLDS,
    is_enforced: bool = True,
    every: int = 1,
    surroundings: Surroundings = Surroundings(),  # noqa: B008 - frozen
    previous: Latched | None = None,
    until: Callable[[Assessment], bool] | None = None,
) -> list[Assessment]:
    """The assessments of a monitor that looks every so many minutes, from the first bucket's minute to the last one's.

    Ends early with the first one that `until` is true of.
    """
    made: list[Assessment] = []
    first, last = buckets[0].minute, buckets[-1].minute
    moment = first + CLOSED_AFTER
    start = 0
    while moment <= last + CLOSED_AFTER:
        # What a query for the last day would bring.
        while buckets[start].minute < moment - timedelta(minutes=DAY + 5):
            start += 1
        ahead = start + DAY + 10
        made.append(
            assess(
                stream,
                buckets[start:ahead],
                baseline=baseline,
                thresholds=thresholds,
                now=moment,
                previous=previous,
                is_enforced=is_enforced,
                surroundings=surroundings,
            )
        )
        previous = made[-1].latched
        if until is not None and until(made[-1]):
            break
        moment += timedelta(minutes=every)
    return made


def look(stream: Stream, buckets: Sequence[Bucket], **arguments: object) -> Assessment:
    """One assessment as soon as the last bucket is closed."""
    settings: dict[str, object] = {
        "baseline": PAIRED_BASELINE,
        "thresholds": THRESHOLDS,
        "now": (buckets[-1].minute if buckets else START) + CLOSED_AFTER,
        "previous": None,
        "is_enforced": True,
    }
    return assess(stream, buckets, **(settings | arguments))  # type: ignore[arg-type]  # as assess itself checks


def minutes_until_high(assessments: Sequence[Assessment]) -> float:
    """After how many minutes of traffic a watch said HIGH or worse; infinite if it never did."""
    first = assessments[0].assessed_at
    found = (each.assessed_at for each in assessments if each.verdict.severity >= 2)
    return next(((at - first) / timedelta(minutes=1) + 1 for at in found), math.inf)
