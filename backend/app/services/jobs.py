"""Background jobs of one process: what is registered, who runs it, what it measures.

Two ways to run a periodic job, chosen by its interval:

* From fifteen seconds on each tick is a job in the queue (procrastinate), put in once however many processes there are,
  and run by whoever is free. A tick costs some ten rows: nothing four times a minute, and a lot every second.
* More often it is a loop in one process, the leader (repositories/leadership.py): a tick costs what the job itself
  asks, and the other processes ask once in five seconds whether they should lead. A job per event, deferred in the
  event's own transaction, would be faster still; but commits that notify take turns (PostgreSQL keeps notifications in
  the order of commits, under one lock), and that is no price for a webhook to pay.

Taking up jobs whose process died is one of those loops and not a job: if it were in the queue, it could itself be the
job that is stuck.

Every process has a worker of its own; `hakem serve --workers 4` has four. Idle, one costs half a small
statement a second (docs/decisions/0010-jobs-on-procrastinate.md), and nobody has to decide which of them has it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog
from prometheus_client import Counter, Gauge, Histogram

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.job import (
    Arguments,
    DeferredJob,
    PeriodicJob,
    QueueState,
    pause_between_runs,
    schedule_of,
)
from backend.app.repositories import job_queue, job_repo
from backend.app.repositories.database import Database
from backend.app.repositories.engine import Engine
from backend.app.repositories.job_queue import QueuedTask, QueueLost, QueueWorker
from backend.app.repositories.leadership import Leadership

log = structlog.get_logger()

CONCURRENCY: Final = 4
LEADER_KEY: Final = 1
# How long running jobs may go on when the process stops.
DRAIN_SECONDS: Final = 8.0
RESTART_SECONDS: Final = 1.0
TAKE_UP_SECONDS: Final = 10.0
OBSERVE_SECONDS: Final = 15.0
PRUNE_SECONDS: Final = 300.0
PRUNE_BATCH: Final = 1000
PRUNE_BATCHES_MAX: Final = 50
KEEP_SUCCEEDED: Final = timedelta(days=1)
KEEP_NOT_SUCCEEDED: Final = timedelta(days=30)
# Without a worker for so long, readiness warns.
WORKERLESS_SECONDS_MAX: Final = 120.0

job_runs_total: Final = Counter("hakem_job_runs", "Runs of background jobs", ("job", "outcome"))
job_seconds: Final = Histogram(
    "hakem_job_seconds",
    "Time that a run took",
    ("job",),
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800),
)
jobs_waiting: Final = Gauge(
    "hakem_jobs_waiting", "Jobs in the queue that could run now", multiprocess_mode="mostrecent"
)
jobs_waiting_seconds: Final = Gauge(
    "hakem_jobs_waiting_seconds", "For how long the oldest of them could have", multiprocess_mode="mostrecent"
)
job_workers_alive: Final = Gauge(
    "hakem_job_workers_alive", "Workers that said lately that they live", multiprocess_mode="mostrecent"
)


class Jobs:
    """Runs the jobs of this process. Built once, started after the pools are open.

    is_worker: whether this process works at all; if not, it only watches the queue.
    """

    def __init__(
        self,
        engine: Engine,
        database: Database,
        *,
        periodic: Sequence[PeriodicJob],
        deferred: Sequence[DeferredJob] = (),
        is_worker: bool = True,
    ) -> None:
        self._engine = engine
        self._database = database
        own = PeriodicJob(
            name="jobs.prune_finished", run=self._prune_finished, every_seconds=PRUNE_SECONDS, deadline_seconds=120
        )
        take_up = PeriodicJob(
            name="jobs.take_up", run=self._take_up, every_seconds=TAKE_UP_SECONDS, deadline_seconds=30
        )
        self._queued = [job for job in (*periodic, own) if job.is_queued]
        self._looped = [job for job in (*periodic, take_up) if not job.is_queued]
        self._deferred = list(deferred)
        names = [job.name for job in [*self._queued, *self._looped]] + [job.name for job in self._deferred]
        assert len(set(names)) == len(names), f"two jobs of one name: {sorted(names)}"
        self._is_worker = is_worker
        self._is_ready = asyncio.Event()
        self._is_over = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._leader: asyncio.Task[None] | None = None
        self._observer: asyncio.Task[None] | None = None
        self._worker_seen_at = time.monotonic()

    async def start(self) -> None:
        """Begin; returns at once. The worker comes up by itself, now and whenever the database was away."""
        self._worker_seen_at = time.monotonic()
        self._observer = asyncio.create_task(self._observe(), name="jobs-observer")
        if self._is_worker:
            self._worker = asyncio.create_task(self._keep_working(), name="jobs-worker")
            leadership = Leadership(self._engine, key=LEADER_KEY, is_over=self._is_over)
            self._leader = asyncio.create_task(leadership.lead(self._run_loops), name="jobs-leader")

    async def ready(self) -> None:
        """Return when the worker is registered."""
        await self._is_ready.wait()

    async def stop(self) -> None:
        """Stop in order: nothing new begins; what runs gets DRAIN_SECONDS to end, and is cut off and given back
        then."""
        self._is_over.set()
        for task in (self._observer, self._worker):
            if task is not None:
                # The worker takes this as the request to stop, and gives its jobs DRAIN_SECONDS.
                task.cancel()
        tasks = {task for task in (self._observer, self._worker, self._leader) if task is not None}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
        if self._leader in late:
            self._leader.cancel()
        # The worker now gives its jobs back. Without its database it cannot; another one takes them up then.
        _, late = await asyncio.wait(tasks, timeout=job_queue.OPEN_SECONDS_MAX)
        for task in late:
            log.warning("jobs.stopped_late", task=task.get_name())
            task.cancel()

    def warnings(self) -> Sequence[str]:
        """Sentences for readiness: nothing that keeps requests from being answered."""
        workerless_seconds = time.monotonic() - self._worker_seen_at
        if workerless_seconds < WORKERLESS_SECONDS_MAX:
            return ()
        return (f"no worker has been alive for {workerless_seconds / 60:.0f} minutes: run hakem worker",)

    async def _keep_working(self) -> None:
        tasks = [self._periodic_task(job) for job in self._queued] + [
            self._deferred_task(job) for job in self._deferred
        ]
        worker = QueueWorker(
            self._engine,
            tasks,
            concurrency=CONCURRENCY,
            drain_seconds=DRAIN_SECONDS,
            on_ready=self._is_ready.set,
        )
        while not self._is_over.is_set():
            try:
                await worker.run()
            except QueueLost as error:
                if self._is_over.is_set():
                    return
                log.warning("jobs.worker_lost", error=str(error))
                await asyncio.sleep(RESTART_SECONDS)

    def _periodic_task(self, job: PeriodicJob) -> QueuedTask:
        async def run(_arguments: Arguments, attempt: int) -> None:
            await _measured(job.name, job.run(datetime.now(UTC)), job.deadline_seconds, attempt=attempt)

        return QueuedTask(name=job.name, run=run, cron=schedule_of(job), attempts_max=1)

    def _deferred_task(self, job: DeferredJob) -> QueuedTask:
        async def run(arguments: Arguments, attempt: int) -> None:
            is_last = attempt + 1 >= job.attempts_max
            await _measured(
                job.name,
                job.run(arguments),
                job.deadline_seconds,
                attempt=attempt,
                is_last=is_last,
                arguments=arguments,
            )

        return QueuedTask(name=job.name, run=run, cron=None, attempts_max=job.attempts_max)

    async def _run_loops(self) -> None:
        """The leader's work: each job in a loop of its own, until the process stops."""
        async with asyncio.TaskGroup() as group:
            for job in self._looped:
                group.create_task(self._run_loop(job), name=f"jobs-{job.name}")

    async def _run_loop(self, job: PeriodicJob) -> None:
        assert job.every_seconds is not None, "cron lines are queued"
        failures = 0
        while not self._is_over.is_set():
            try:
                await _measured(job.name, job.run(datetime.now(UTC)), job.deadline_seconds, attempt=failures)
                failures = 0
            except Exception:
                # Logged and counted; the next run is the retry.
                failures += 1
            with contextlib.suppress(TimeoutError):
                pause = pause_between_runs(job.every_seconds, failures=failures)
                await asyncio.wait_for(self._is_over.wait(), pause)

    async def _take_up(self, _now: datetime) -> int:
        """Put the jobs of dead processes back into the queue."""
        async with self._database.connection() as conn:
            abandoned = await job_repo.list_abandoned(conn, [*self._queued, *self._deferred])
            for job in abandoned:
                outcome = await job_repo.take_up(conn, job)
                log.warning("job.taken_up", job=job.name, job_id=job.id, attempts=job.attempts, outcome=outcome)
        return len(abandoned)

    async def _prune_finished(self, now: datetime) -> int:
        """Remove jobs that ended long ago, some at a time."""
        pruned = 0
        for statuses, keep in ((job_repo.SUCCEEDED, KEEP_SUCCEEDED), (job_repo.NOT_SUCCEEDED, KEEP_NOT_SUCCEEDED)):
            for _ in range(PRUNE_BATCHES_MAX):
                async with self._database.connection() as conn:
                    count = await job_repo.prune_finished(conn, statuses, ended_before=now - keep, limit=PRUNE_BATCH)
                pruned += count
                if count < PRUNE_BATCH:
                    break
        return pruned

    async def _observe(self) -> None:
        while True:
            with contextlib.suppress(TemporarilyUnavailable, psycopg.Error):
                async with self._database.connection() as conn:
                    self._note(await job_repo.read_queue(conn))
            await asyncio.sleep(OBSERVE_SECONDS)

    def _note(self, state: QueueState) -> None:
        jobs_waiting.set(state.jobs_waiting)
        jobs_waiting_seconds.set(state.waiting_seconds)
        job_workers_alive.set(state.workers_alive)
        if state.workers_alive > 0:
            self._worker_seen_at = time.monotonic()


async def _measured(
    name: str,
    run: Awaitable[object],
    deadline_seconds: float,
    *,
    attempt: int,
    is_last: bool = False,
    arguments: Arguments | None = None,
) -> None:
    """One run with its deadline, counted, timed and logged; raises what it raised, or TimeoutError."""
    started = time.perf_counter()
    outcome = "succeeded"
    facts = {"job": name, "attempt": attempt + 1, "arguments": arguments}
    try:
        async with asyncio.timeout(deadline_seconds):
            done = await run
        if done:
            log.info("job.done", **facts, done=done)
    except asyncio.CancelledError:
        outcome = "cut_off"
        log.warning("job.cut_off", **facts)
        raise
    except TemporarilyUnavailable as error:
        outcome = "failed"
        log.warning("job.failed", **facts, error=type(error).__name__)
        raise
    except Exception as error:
        outcome = "failed"
        # Error level means that somebody must act: a job that nobody tries again.
        (log.error if is_last else log.warning)("job.failed", **facts, error=repr(error), exc_info=True)
        raise
    finally:
        job_runs_total.labels(name, outcome).inc()
        job_seconds.labels(name).observe(time.perf_counter() - started)
