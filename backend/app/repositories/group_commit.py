"""Group commit: requests in flight share one round trip to the database, each with its own outcome.

While a batch is being written, whoever arrives waits in line; the next batch takes them all. There is no artificial
delay: a lone request is written at once, alone. Per-call database work costs several times what the same event costs
inside a batch (docs/decisions/0006), so this is where throughput comes from.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

import psycopg
import structlog
from prometheus_client import Counter, Histogram

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.repositories.database import Connection, Database, DatabaseAway

log = structlog.get_logger()

Command = TypeVar("Command")
Result = TypeVar("Result")

# The whole transaction was rolled back and nothing of it happened: the same call may be made again.
ROLLED_BACK: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
)
ALONE_AT_ONCE_MAX: Final = 8
# Commands for each lane: enough to share what a batch shares, so that two such batches beside each other are quicker
# than one (docs/decisions/0025).
LONG_LINE: Final = 16
# Twice what a full batch takes on a busy small machine.
STALLED_SECONDS: Final = 0.05
RETRIES_MAX: Final = 100

batch_size = Histogram(
    "hakem_group_commit_batch_size",
    "Commands per batch",
    ("writer",),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
retries = Counter("hakem_group_commit_retries", "Batches written again", ("writer", "reason"))


class Overloaded(TemporarilyUnavailable):
    """503: too many requests wait already; this one was not begun."""

    error_code = "OVERLOADED"
    title = "Too many requests are waiting; repeat the request with the same key"


class OutcomeUnknown(TemporarilyUnavailable):
    """503: no answer came in time. Repeating the request with the same key tells what happened."""

    error_code = "OUTCOME_UNKNOWN"
    title = "No answer in time; repeat the request with the same key to learn the outcome"


class GroupCommit(Generic[Command, Result]):
    """Collects commands and writes them in batches through `write`, a function that must be idempotent by its keys.

    Idempotency is what makes every retry here safe, a lost connection included: if the first try was committed before
    its answer got lost, the second one replays it.

    At most `lanes` batches are under way at once; usually one, see `_needs_a_lane`.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        write: Callable[[Connection, Sequence[Command]], Awaitable[Sequence[Result]]],
        *,
        lanes: int = 2,
        batch_max: int = 256,
        waiting_max: int = 20_000,
        deadline_seconds: float = 10.0,
    ) -> None:
        self._name = name
        self._database = database
        self._write = write
        self._lanes = lanes
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._deadline_seconds = deadline_seconds
        self._waiting: deque[tuple[Command, asyncio.Future[Result]]] = deque()
        # Counted here and not by the tasks: a task is still listed for a moment after its lane has seen an empty line,
        # and a command that arrives in that moment would wait for a lane that never looks again.
        self._lanes_open = 0
        self._lanes_writing = 0
        self._batch_began_at = 0.0
        self._running: set[asyncio.Task[None]] = set()
        self._alone = asyncio.Semaphore(ALONE_AT_ONCE_MAX)
        self._batch_size = batch_size.labels(name)

    async def submit(self, command: Command) -> Result:
        """Write the command with whoever else is waiting; its own result.

        Raises Overloaded, OutcomeUnknown, DatabaseAway, or what `write` raises for this command alone.
        """
        # In line, or split off to be written alone; not the lanes themselves.
        if len(self._waiting) + len(self._running) - self._lanes_open >= self._waiting_max:
            raise Overloaded
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((command, outcome))
        if self._needs_a_lane(loop.time()):
            self._lanes_open += 1
            self._start(self._run_lane())
        # A timer of the loop, not asyncio.timeout(): it costs a third, and this is the hottest line of the service.
        timer = loop.call_later(self._deadline_seconds, _give_up, outcome)
        try:
            return await outcome
        finally:
            timer.cancel()

    def _needs_a_lane(self, now: float) -> bool:
        # In a short line one lane makes the larger, cheaper batches. A second helps when the line is long enough for
        # all that would take from it, since a batch keeps one processor of the database busy and not two; and it must
        # be had when a batch waits for somebody's lock, which strangers must not wait for as well.
        if self._lanes_open == 0:
            return True
        return self._lanes_open < self._lanes and (
            len(self._waiting) >= LONG_LINE * (self._lanes_at_the_line() + 1)
            or now - self._batch_began_at > STALLED_SECONDS
        )

    def _lanes_at_the_line(self) -> int:
        return self._lanes_open - self._lanes_writing

    def _next_batch(self) -> list[tuple[Command, asyncio.Future[Result]]]:
        # Lanes that were opened for one long line find it together: each takes its part, and not the first all of it.
        part = math.ceil(len(self._waiting) / self._lanes_at_the_line())
        taken = [self._waiting.popleft() for _ in range(min(part, self._batch_max))]
        # Whoever gave up or hung up while waiting in line is not written: nothing has happened for them yet.
        return [(command, outcome) for command, outcome in taken if not outcome.done()]

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait until nothing is under way, at most so long. For an orderly stop, after the last submit."""
        async with asyncio.timeout(deadline_seconds):
            while self._running:
                await asyncio.wait(tuple(self._running))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"group-commit-{self._name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_lane(self) -> None:
        try:
            await self._write_all_waiting()
        finally:
            # No await lies between the last look at the line and this.
            self._lanes_open -= 1

    async def _write_all_waiting(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            if not batch:
                continue
            self._batch_size.observe(len(batch))
            self._batch_began_at = asyncio.get_running_loop().time()
            self._lanes_writing += 1
            try:
                await self._write_batch(batch)
            except Exception as error:
                # Whatever it is, nobody may be left waiting for an answer that will not come.
                for _, outcome in batch:
                    _fail(outcome, error)
            finally:
                self._lanes_writing -= 1

    async def _write_batch(self, batch: list[tuple[Command, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._write_with_retries([command for command, _ in batch], is_for_batch=True)
        except (psycopg.Error, DatabaseAway) as error:
            if isinstance(error, DatabaseAway) and not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
            # One of them cannot be written, or waits for a row that somebody holds: from here on each is alone, so that
            # it harms nobody but itself. The lane goes on: two held rows would otherwise stop everybody.
            log.warning("group_commit.split", writer=self._name, size=len(batch), error=type(error).__name__)
            retries.labels(self._name, "split").inc()
            for command, outcome in batch:
                self._start(self._write_alone(command, outcome))
            return
        for (_, outcome), result in zip(batch, results, strict=True):
            if not outcome.done():
                outcome.set_result(result)

    async def _write_alone(self, command: Command, outcome: asyncio.Future[Result]) -> None:
        async with self._alone:
            if outcome.done():
                return
            try:
                (result,) = await self._write_with_retries([command], is_for_batch=False)
            except Exception as error:
                _fail(outcome, error)
            else:
                if not outcome.done():
                    outcome.set_result(result)

    async def _write_with_retries(self, commands: Sequence[Command], *, is_for_batch: bool) -> Sequence[Result]:
        """Write, again where that is safe, until the deadline. Raises the last DatabaseAway, or what `write` raises."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_seconds
        for attempt in range(1, RETRIES_MAX):
            try:
                async with self._database.connection(is_for_batch=is_for_batch) as conn:
                    return await self._write(conn, commands)
            except DatabaseAway as error:
                if is_for_batch and isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                    raise
                reason = "rolled_back" if isinstance(error.__cause__, ROLLED_BACK) else "connection_lost"
                pause_seconds = random.uniform(0, min(0.5, 0.01 * 2**attempt))
                if loop.time() + pause_seconds > deadline:
                    raise
            retries.labels(self._name, reason).inc()
            await asyncio.sleep(pause_seconds)
        raise OutcomeUnknown


def _give_up(outcome: asyncio.Future[Any]) -> None:
    if not outcome.done():
        outcome.set_exception(OutcomeUnknown())


def _fail(outcome: asyncio.Future[Any], error: BaseException) -> None:
    if not outcome.done():
        outcome.set_exception(error)
