"""Counting and timing: one Measurement per driver, closed and open loops for drivers that run in this process."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How one request ended."""

    APPLIED = "applied"
    REFUSED = "refused"
    REPLAYED = "replayed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One line of the table. Latencies are of one call, which may carry many events; what is empty was not measured."""

    group: str
    name: str
    events_per_second: float | None = None
    latencies_ms: tuple[float, float, float] | None = None
    shares: dict[Outcome, float] = field(default_factory=dict)
    note: str = ""


def percentiles_ms(latencies_seconds: Sequence[float]) -> tuple[float, float, float] | None:
    """The 50th, 99th and 99.9th percentile in milliseconds; None without samples."""
    if not latencies_seconds:
        return None
    ordered = sorted(latencies_seconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    return at(0.50), at(0.99), at(0.999)


def shares(outcomes: Counter[Outcome]) -> dict[Outcome, float]:
    """Each outcome's part of the whole."""
    total = sum(outcomes.values())
    return {outcome: count / total for outcome, count in outcomes.items() if count} if total else {}


@dataclass(slots=True)
class Tally:
    """What a loop saw."""

    latencies_seconds: list[float] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    elapsed_seconds: float = 0.0
    first_failure: str = ""

    def measurement(self, group: str, name: str) -> Measurement:
        """The line of the table; what failed is not part of the rate."""
        done = sum(self.outcomes.values()) - self.outcomes[Outcome.FAILED]
        return Measurement(
            group=group,
            name=name,
            events_per_second=done / self.elapsed_seconds,
            latencies_ms=percentiles_ms(self.latencies_seconds),
            shares=shares(self.outcomes),
            note=self.first_failure,
        )


Operation = Callable[[], Awaitable[Outcome]]


async def closed_loop(operation: Operation, *, in_flight: int, seconds: float) -> Tally:
    """So many callers, each sending its next request when it has its answer."""
    tally = Tally()
    started_at = time.perf_counter()
    deadline = started_at + seconds

    async def caller() -> None:
        while (sent_at := time.perf_counter()) < deadline:
            await _timed(operation, since=sent_at, tally=tally)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller())
    tally.elapsed_seconds = time.perf_counter() - started_at
    return tally


async def open_loop(operation: Operation, *, per_second: float, seconds: float) -> Tally:
    """Requests that come at their own pace, whoever still waits. Latency counts from when a request was due.

    So a pause of the server is charged to every request that it made late, not only to those that were under way
    (the correction for coordinated omission).
    """
    tally = Tally()
    started_at = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(per_second * seconds)):
            due_at = started_at + number / per_second
            wait_seconds = due_at - time.perf_counter()
            if wait_seconds > 0:
                await asyncio.sleep(wait_seconds)
            group.create_task(_timed(operation, since=due_at, tally=tally))
            if number % 64 == 0:
                await asyncio.sleep(0)
    tally.elapsed_seconds = time.perf_counter() - started_at
    return tally


async def _timed(operation: Operation, *, since: float, tally: Tally) -> None:
    try:
        outcome = await operation()
    except Exception as error:
        outcome = Outcome.FAILED
        tally.first_failure = tally.first_failure or f"first failure: {error!r}"
    tally.latencies_seconds.append(time.perf_counter() - since)
    tally.outcomes[outcome] += 1
