"""Background jobs: what they are called, when they run, and what becomes of one that fails."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

# A name is also the name of a queue, and PostgreSQL has room for so much of it in the name of a channel.
_NAME: Final = re.compile(r"[a-z][a-z0-9_.]{1,38}")

# From this interval on a tick is worth rows in the queue; what runs more often runs in the leader's own loop.
QUEUED_FROM_SECONDS: Final = 15

BACKOFF_FIRST_SECONDS: Final = 5
BACKOFF_MAX_SECONDS: Final = 3600
# A loop that fails tries again soon enough to go on when the database is back.
LOOP_BACKOFF_MAX_SECONDS: Final = 30.0

Arguments = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicJob:
    """Something to do again and again, by one process at a time.

    run: gets the time (UTC) and says how many things it did; it must bear being run twice and being cut off, since a
    process can die or lose its database at any point.
    Either every_seconds, or cron: five fields in UTC, such as "15 3 * * *". From fifteen seconds on an interval divides
    an hour or a day, because ticks are at full intervals since midnight, UTC.
    deadline_seconds: a run that takes longer is cut off and counts as failed; the next tick tries again.
    """

    name: str
    run: Callable[[datetime], Awaitable[int]]
    deadline_seconds: float
    every_seconds: float | None = None
    cron: str | None = None

    def __post_init__(self) -> None:
        assert _NAME.fullmatch(self.name), f"not a name for a job: {self.name!r}"
        assert (self.every_seconds is None) != (self.cron is None), f"{self.name}: an interval or a cron line"
        assert self.deadline_seconds > 0, self.name
        if self.is_queued:
            schedule_of(self)
        else:
            assert self.every_seconds, f"{self.name}: an interval is longer than nothing"

    @property
    def is_queued(self) -> bool:
        """Whether each tick is a job in the queue, run by any process; otherwise the leader runs it in a loop."""
        return self.every_seconds is None or self.every_seconds >= QUEUED_FROM_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredJob:
    """Something to do once for each time that it is deferred (job_repo.defer), soon after the commit.

    run: gets the arguments; it must bear being run twice and being cut off. When it raises or takes longer than the
    deadline it is tried again after a growing pause, attempts_max times in all, and then stays in the queue as failed.
    """

    name: str
    run: Callable[[Arguments], Awaitable[None]]
    deadline_seconds: float
    attempts_max: int = 10

    def __post_init__(self) -> None:
        assert _NAME.fullmatch(self.name), f"not a name for a job: {self.name!r}"
        assert self.deadline_seconds > 0, self.name
        assert self.attempts_max > 0, self.name


class AbandonedJob(NamedTuple):
    """A job that is marked as running and is not, in the order of the query's columns."""

    id: int
    name: str
    worker_id: int | None
    attempts: int
    attempts_max: int

    @property
    def is_last_attempt(self) -> bool:
        """Whether the attempt that its process did not survive was the last one: a job may be what killed it."""
        return self.attempts + 1 >= self.attempts_max


class QueueState(NamedTuple):
    """What waits and who works, in the order of the query's columns."""

    jobs_waiting: int
    waiting_seconds: float
    workers_alive: int


def schedule_of(job: PeriodicJob) -> str:
    """The cron line of a queued job, with seconds as the sixth field where it needs them."""
    if job.cron is not None:
        assert len(job.cron.split()) == 5, f"{job.name}: a cron line has five fields"
        return job.cron
    assert job.every_seconds is not None
    seconds = int(job.every_seconds)
    assert seconds == job.every_seconds, f"{job.name}: whole seconds"
    for unit_seconds, units_in_the_next, line in (
        (1, 60, "* * * * * */{}"),
        (60, 60, "*/{} * * * *"),
        (3600, 24, "0 */{} * * *"),
    ):
        units, rest = divmod(seconds, unit_seconds)
        if rest == 0 and units < units_in_the_next and units_in_the_next % units == 0:
            return line.format(units)
    assert seconds == 86_400, f"{job.name}: ticks every {seconds} s would not be evenly spaced"
    return "0 0 * * *"


def pause_before_retry(attempts: int) -> int:
    """Seconds to wait after that many failed attempts: 5, 10, 20 … and never more than an hour."""
    assert attempts > 0, "nothing failed yet"
    return int(min(BACKOFF_FIRST_SECONDS * 2 ** min(attempts - 1, 20), BACKOFF_MAX_SECONDS))


def pause_between_runs(every_seconds: float, *, failures: int) -> float:
    """Seconds until a looped job runs again: its interval, doubled for each failure in a row, up to half a minute."""
    if failures == 0:
        return every_seconds
    return max(every_seconds, min(every_seconds * 2.0 ** min(failures, 20), LOOP_BACKOFF_MAX_SECONDS))
