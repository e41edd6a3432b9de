"""How long the detector takes and how often it is wrong, by Monte Carlo on the product's own code.

    python -m bench.detection [--only gross,blips] [--effort 1.0] [--write]

Every minute, or every event of a stream where hardly anything happens, goes through evidence_scan as it does in the
service; nothing of the rules is repeated here. Seeded: the same effort prints the same tables. With
--write the tables between the markers of docs/detection.md are replaced.
"""

import argparse
import math
import random
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Final

from backend.app.domain import beta
from backend.app.domain.monitor.baseline import PAIRED_BASELINE, Baseline, scale_odds
from backend.app.domain.monitor.bucket import MINUTE, Bucket, Stream, UnitBucket, count_units
from backend.app.domain.monitor.evidence_scan import Scan
from backend.app.domain.monitor.thresholds import MINUTES_PER_YEAR, Thresholds

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "detection.md"
START: Final = datetime(2026, 1, 5, tzinfo=UTC)
THRESHOLDS: Final = Thresholds()
USUAL: Final = 0.05
DAY: Final = 24 * 60
WEEK: Final = 7 * DAY
# A fleet of 50 tenants, three streams each: how many have so many decisions a minute.
FLEET: Final = ((0.05, 20), (1.0, 15), (5.0, 10), (25.0, 5))
NOBODY: Final[frozenset[str]] = frozenset()


class Poisson:
    """Draws from a Poisson distribution by its table; means up to some hundreds."""

    def __init__(self, mean: float) -> None:
        terms = [math.exp(-mean)]
        while len(terms) <= mean or terms[-1] > 1e-15:
            terms.append(terms[-1] * mean / len(terms))
        self._table = list(accumulate(terms))

    def draw(self, rng: random.Random) -> int:
        return bisect_left(self._table, rng.random())


def scan_of(stream: Stream, *, rate: float) -> Scan:
    """A scan that has seen nothing yet."""
    return Scan(
        stream, (), baseline=Baseline(p0=rate), thresholds=THRESHOLDS, checkpoint=None, last_minute=START - MINUTE
    )


def minutes_of(rng: random.Random, *, per_minute: float, rate: float, minutes: int) -> Iterator[UnitBucket]:
    """Minutes with traffic; every x is somebody else."""
    bad, good = Poisson(per_minute * rate), Poisson(per_minute * (1 - rate))
    player = 0
    for number in range(minutes):
        x = bad.draw(rng)
        n = x + good.draw(rng)
        if n:
            players = frozenset(str(each) for each in range(player, player + x)) if x else NOBODY
            player += x
            yield UnitBucket(START + timedelta(minutes=number), n, x, players, False)


def events_of(rng: random.Random, *, per_minute: float, rate: float, minutes: float) -> Iterator[UnitBucket]:
    """The same where x is rare: minutes with an x, and what was quiet before each, in one or two pieces.

    The score falls by the same for each n without x, and not below zero, so that pieces change nothing; they are cut
    where the hour before the event begins, because the rules ask about that hour.
    """
    number, player, last = 0.0, 0, -1
    while True:
        gap = rng.expovariate(per_minute * rate)
        number += gap
        if number >= minutes:
            return
        minute = max(int(number), last + 1)
        quiet = int(per_minute * min(gap, 60) + rng.random())
        if minute - 61 > last:
            earlier = round(per_minute * max(gap - 60, 0))
            if earlier:
                yield UnitBucket(START + timedelta(minutes=minute - 61), earlier, 0, NOBODY, False)
        if quiet and minute - 1 > last:
            yield UnitBucket(START + timedelta(minutes=minute - 1), quiet, 0, NOBODY, False)
            quiet = 0
        yield UnitBucket(START + timedelta(minutes=minute), quiet + 1, 1, frozenset({str(player)}), False)
        player, last = player + 1, minute


def is_high(scan: Scan, *, is_paired: bool) -> bool:
    return scan.is_high or scan.is_sustained or (is_paired and scan.is_fast)


def alarms(scan: Scan, units: Iterator[UnitBucket], *, is_paired: bool) -> tuple[int, int]:
    """How many episodes of LIGHT and of HIGH there are; an episode ends as the verdict LIGHT does."""
    light = high = 0
    in_light = in_high = False
    for unit in units:
        scan.add(unit)
        if in_light and scan.calm_minutes >= THRESHOLDS.calm_minutes:
            in_light = in_high = False
        if not in_light and scan.is_light:
            in_light, light = True, light + 1
        if not in_high and is_high(scan, is_paired=is_paired):
            in_light = in_high = True
            high += 1
    return light, high


def minutes_to_high(scan: Scan, units: Iterator[UnitBucket], *, is_paired: bool) -> float:
    """After how many minutes it is HIGH; infinite if never."""
    for unit in units:
        scan.add(unit)
        if unit.x and is_high(scan, is_paired=is_paired):
            return (unit.minute - START) / MINUTE + 1
    return math.inf


def measure_gross(effort: float) -> list[str]:
    """False alarms of rates, and how fast rises are seen."""
    weeks = max(1, round(100 * effort))
    assumed = scale_odds(USUAL, 1.25)
    lines = [
        f"False alarms of a rate per stream-week (usual {USUAL:.0%}, padded by a quarter; {weeks} weeks a line), "
        "LIGHT / HIGH or SUSTAINED:",
        "",
        "| attempts/min | baseline right | truth 1.25 × it | truth 1.5 × it |",
        "|--:|--:|--:|--:|",
    ]
    for per_minute in (0.2, 1.0, 5.0, 25.0):
        cells = []
        for wrong in (1.0, 1.25, 1.5):
            units = minutes_of(
                random.Random(f"{per_minute} {wrong}"), per_minute=per_minute, rate=USUAL * wrong, minutes=weeks * WEEK
            )
            light, high = alarms(scan_of(Stream.T1_REFUSED, rate=assumed), units, is_paired=False)
            cells.append(f"{light / weeks:.2f} / {high / weeks:.2f}")
        lines.append(f"| {per_minute:g} | {' | '.join(cells)} |")
    return lines


def measure_rises(effort: float) -> list[str]:
    """How fast a rise of a rate is seen."""
    runs = max(11, round(101 * effort))
    assumed = scale_odds(USUAL, 1.25)
    lines = [
        f"Median minutes until a rate that rises is HIGH or SUSTAINED (usual {USUAL:.0%}, {runs} runs a cell):",
        "",
        "| attempts/min | odds × 2 | × 3 | × 5 | × 10 |",
        "|--:|--:|--:|--:|--:|",
    ]
    for per_minute in (1.0, 5.0, 25.0):
        cells = []
        for odds in (2.0, 3.0, 5.0, 10.0):
            rate = scale_odds(USUAL, odds)
            delays = [
                minutes_to_high(
                    scan_of(Stream.T1_REFUSED, rate=assumed),
                    minutes_of(random.Random(run), per_minute=per_minute, rate=rate, minutes=2 * DAY),
                    is_paired=False,
                )
                for run in range(runs)
            ]
            cells.append(_minutes(statistics.median(delays)))
        lines.append(f"| {per_minute:g} | {' | '.join(cells)} |")
    return lines


def measure_paired(effort: float) -> list[str]:
    """How fast wrong refusals are seen."""
    runs = max(10, round(400 * effort))
    lines = [
        f"Minutes until wrong refusals are HIGH, mean (95 % within), {runs} runs a cell:",
        "",
        "| decisions/min | 0.1 % wrong | 1 % | 5 % | 20 % |",
        "|--:|--:|--:|--:|--:|",
    ]
    for per_minute in (0.05, 1.0, 5.0, 25.0):
        cells = []
        for rate in (0.001, 0.01, 0.05, 0.2):
            delays = sorted(
                minutes_to_high(
                    scan_of(Stream.T1_DISPUTED, rate=PAIRED_BASELINE.rate),
                    events_of(random.Random(run), per_minute=per_minute, rate=rate, minutes=math.inf)
                    if rate < 0.05
                    else minutes_of(random.Random(run), per_minute=per_minute, rate=rate, minutes=30 * DAY),
                    is_paired=True,
                )
                for run in range(runs)
            )
            within = delays[int(0.95 * len(delays))]
            cells.append(f"{_minutes(statistics.fmean(delays))} ({_minutes(within)})")
        lines.append(f"| {per_minute:g} | {' | '.join(cells)} |")
    return lines


def measure_fleet(effort: float) -> list[str]:
    """False automatic actions in a fleet where every disagreement is chance."""
    years = max(1, round(40 * effort))
    tenants = sum(number for _, number in FLEET)
    lines = [
        f"False HIGH of paired streams (T1 disputed: a rollback; T3: a freeze) per fleet-year; {tenants} tenants, two "
        f"such streams each, {years} fleet-years a line; the detector assumes 1 in 10,000:",
        "",
        "| truly disagreeing by chance | LIGHT by score | HIGH | upper bound, 95 % |",
        "|--:|--:|--:|--:|",
    ]
    for rate in (0.00005, 0.0001, 0.0002, 0.0004):
        light = high = 0
        for per_minute, number in FLEET:
            units = events_of(
                random.Random(f"{rate} {per_minute}"),
                per_minute=per_minute,
                rate=rate,
                minutes=2.0 * number * years * MINUTES_PER_YEAR,
            )
            found = alarms(scan_of(Stream.T1_DISPUTED, rate=PAIRED_BASELINE.rate), units, is_paired=True)
            light, high = light + found[0], high + found[1]
        # The upper bound of a Poisson mean, as the limit of a binomial one.
        bound = beta.upper_bound(high, n=10**7) * 10**7 / years
        lines.append(f"| 1 in {1 / rate:,.0f} | {light / years:.2f} | {high / years:.3f} | {bound:.3f} |")
    return lines


def measure_blips(effort: float) -> list[str]:
    """What short bursts, and one player's retries, do."""
    runs = max(20, round(400 * effort))
    assumed = scale_odds(USUAL, 1.25)
    lines = [
        f"A burst of refusals, × 20 for some minutes at 25/min ({runs} runs), on both kinds of stream:",
        "",
        "| minutes | rate is HIGH | paired is HIGH | rate, without cap, minutes and bound |",
        "|--:|--:|--:|--:|",
    ]
    bare = replace(THRESHOLDS, step_max=math.inf, high_minutes=1, confidence=0.0)
    for length in (1, 2, 3, 5):
        shares = []
        for stream, rate, thresholds in (
            (Stream.T1_REFUSED, assumed, THRESHOLDS),
            (Stream.T1_DISPUTED, PAIRED_BASELINE.rate, THRESHOLDS),
            (Stream.T1_REFUSED, assumed, bare),
        ):
            high = 0
            for run in range(runs):
                scan = Scan(
                    stream,
                    (),
                    baseline=Baseline(p0=rate),
                    thresholds=thresholds,
                    checkpoint=None,
                    last_minute=START - MINUTE,
                )
                usual = 0.0 if stream.is_paired else USUAL
                burst = scale_odds(USUAL, 20)
                high += math.isfinite(
                    minutes_to_high(scan, _burst(random.Random(run), usual, burst, length), is_paired=stream.is_paired)
                )
            shares.append(f"{high / runs:.2f}")
        lines.append(f"| {length} | {' | '.join(shares)} |")
    return [*lines, "", *_retries(max(1, round(20 * effort)))]


def _burst(rng: random.Random, usual: float, burst: float, length: int) -> Iterator[UnitBucket]:
    quiet = Poisson(25 * (1 - usual)), Poisson(25 * usual)
    loud = Poisson(25 * (1 - burst)), Poisson(25 * burst)
    player = 0
    for number in range(120):
        good, bad = loud if 60 <= number < 60 + length else quiet
        x = bad.draw(rng)
        players = frozenset(str(each) for each in range(player, player + x))
        player += x
        yield UnitBucket(START + timedelta(minutes=number), good.draw(rng) + x, x, players, False)


def _retries(weeks: int) -> list[str]:
    """Everybody who is refused tries again with probability 0.7, at once: counted as requests and as players."""
    assumed = scale_odds(USUAL, 1.25)
    rng = random.Random("retries")
    bad, good = Poisson(5 * USUAL), Poisson(5 * (1 - USUAL))
    raw: list[UnitBucket] = []
    counted: list[Bucket] = []
    player = 0
    for number in range(weeks * WEEK):
        minute = START + timedelta(minutes=number)
        players = [str(each) for each in range(player, player + bad.draw(rng))]
        player += len(players)
        x = 0
        for _ in players:
            x += 1
            while rng.random() < 0.7:
                x += 1
        n = x + good.draw(rng)
        raw.append(
            UnitBucket(minute, n, x, frozenset(f"{name} {each}" for name in players for each in range(x)), False)
        )
        counted.append(Bucket(minute=minute, n=n, x=x, players=frozenset(players)))
    units = count_units(counted, cell_minutes=THRESHOLDS.cell_minutes, count_nameless=False)
    shares = [
        _share_alarmed(scan_of(Stream.T1_REFUSED, rate=assumed), each, minutes=weeks * WEEK)
        for each in (iter(raw), units)
    ]
    return [
        f"Refused players who try again with probability 0.7, at 5/min ({weeks} stream-weeks), share of the time at "
        f"LIGHT or worse: counted by request {shares[0]:.1%}, by player {shares[1]:.1%}.",
    ]


def _share_alarmed(scan: Scan, units: Iterator[UnitBucket], *, minutes: int) -> float:
    alarmed = 0
    for unit in units:
        scan.add(unit)
        alarmed += scan.is_light or is_high(scan, is_paired=False)
    return alarmed / minutes


def _minutes(value: float) -> str:
    return "> 2 days" if math.isinf(value) else f"{value:,.0f}"


SECTIONS: Final[dict[str, Callable[[float], list[str]]]] = {
    "paired": measure_paired,
    "fleet": measure_fleet,
    "gross": measure_gross,
    "rises": measure_rises,
    "blips": measure_blips,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, and keep them if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"comma-separated, of: {', '.join(SECTIONS)}")
    parser.add_argument("--effort", type=float, default=1.0, help="how many runs, in multiples of what is documented")
    parser.add_argument("--write", action="store_true", help="replace the tables in docs/detection.md")
    options = parser.parse_args(arguments)
    for name in options.only.split(","):
        begun = time.monotonic()
        lines = SECTIONS[name](options.effort)
        print("\n".join(lines), f"\n({time.monotonic() - begun:.0f} s)\n", flush=True)
        if options.write:
            _write(name, lines)


def _write(name: str, lines: Sequence[str]) -> None:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = DOCUMENT.read_text().partition(begin)
    _, _, after = rest.partition(end)
    DOCUMENT.write_text("\n".join([f"{before}{begin}", *lines, f"{end}{after}"]))


if __name__ == "__main__":
    main()
