"""procrastinate behind one module: a worker on the job queue, from its start until it is stopped or loses the
database."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import procrastinate
import structlog
from procrastinate import exceptions, jobs, manager, retry
from psycopg import sql as compose
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from backend.app.domain.job import Arguments, pause_before_retry
from backend.app.repositories.database import LOCK_TIMEOUT_MS, Connection
from backend.app.repositories.engine import Engine
from backend.app.repositories.job_repo import HEARTBEAT_SECONDS, STALLED_SECONDS
from backend.app.repositories.schema import JOBS_SCHEMA

log = structlog.get_logger()

# A worker hears of new jobs by NOTIFY. It looks by itself for retries that have become due, and for what it did not
# hear.
POLL_SECONDS: Final = 5.0
OPEN_SECONDS_MAX: Final = 5.0
CLOSE_SECONDS_MAX: Final = 2.0
STATEMENT_TIMEOUT_MS: Final = 15_000
# What procrastinate says about single jobs is logged and counted where they are run.
_SAID_ELSEWHERE: Final = frozenset({"job_error", "job_error_retry", "job_aborted", "job_aborted_retry"})


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTask:
    """A kind of job as the worker sees it.

    run: gets the arguments and how many attempts there were before. Raises when the job failed.
    cron: when a job of this kind is put in; None when others do that.
    attempts_max: how often one is tried; a periodic one once, since its next tick tries again.
    """

    name: str
    run: Callable[[Arguments, int], Awaitable[None]]
    cron: str | None
    attempts_max: int


class QueueLost(Exception):
    """The worker ended because the database did; start another one."""


class QueueWorker:
    """Works on jobs of some kinds; `run` is one life of it, from the start until it is stopped or the database goes.

    concurrency: how many jobs at a time. drain_seconds: how long running jobs may go on when it is stopped.
    on_ready: called each time that the worker is registered.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Sequence[QueuedTask],
        *,
        concurrency: int,
        drain_seconds: float,
        on_ready: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._registration = _Registration(on_ready)

    async def run(self) -> None:
        """Work until cancelled: then running jobs may end, and what does not end in time is given back.

        Everything is built anew for each life, so that nothing of a lost connection stays. Raises QueueLost.
        """
        app = procrastinate.App(connector=procrastinate.PsycopgConnector())
        app.job_manager = _RegisteringManager(app.connector, self._registration)
        for task in self._tasks:
            _register(app, task)
        pool = _new_pool(self._engine)
        try:
            await pool.open(wait=True, timeout=OPEN_SECONDS_MAX)
            await app.open_async(pool)
            await app.run_worker_async(
                # A job of a kind that only a newer release knows stays in its queue until that release takes it.
                queues=[task.name for task in self._tasks],
                concurrency=self._concurrency,
                fetch_job_polling_interval=POLL_SECONDS,
                abort_job_polling_interval=POLL_SECONDS,
                update_heartbeat_interval=HEARTBEAT_SECONDS,
                stalled_worker_timeout=STALLED_SECONDS,
                shutdown_graceful_timeout=self._drain_seconds,
                install_signal_handlers=False,
            )
        except (exceptions.ConnectorException, PoolTimeout) as error:
            raise QueueLost(type(error.__cause__ or error).__name__) from error
        finally:
            await pool.close(timeout=CLOSE_SECONDS_MAX)
        # It also returns, after saying why, when one of its own loops failed.
        raise QueueLost("the worker stopped by itself")


def _new_pool(engine: Engine) -> AsyncConnectionPool[Connection]:
    async def configure(conn: Connection) -> None:
        # Not among the arguments below: procrastinate adds its own to them for the connection that listens.
        await conn.set_autocommit(True)
        if engine.set_role is not None:
            await conn.execute(compose.SQL("SET ROLE {}").format(compose.Identifier(engine.set_role)))

    options = {
        "search_path": JOBS_SCHEMA,
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "timezone": "UTC",
        "jit": "off",
    }
    return AsyncConnectionPool(
        engine.service_url,
        min_size=1,
        max_size=2,
        timeout=OPEN_SECONDS_MAX,
        reconnect_timeout=OPEN_SECONDS_MAX,
        name="hakem-jobs",
        open=False,
        configure=configure,
        kwargs={
            "application_name": "hakem-jobs",
            "connect_timeout": round(OPEN_SECONDS_MAX),
            "options": " ".join(f"-c {option}={value}" for option, value in options.items()),
        },
    )


@dataclass(slots=True)
class _Registration:
    """The worker's row, from one life to the next."""

    on_ready: Callable[[], None]
    worker_id: int | None = None


class _RegisteringManager(manager.JobManager):
    """Says when the worker is registered, for which procrastinate has no event, and clears up after the last life.

    A life that lost its database could not leave the register. Its jobs have ended all the same, and need not wait
    until its last sign of life is old enough.
    """

    def __init__(self, connector: Any, registration: _Registration) -> None:
        super().__init__(connector)
        self._registration = registration

    async def register_worker(self) -> int:
        if self._registration.worker_id is not None:
            await self.unregister_worker(self._registration.worker_id)
        self._registration.worker_id = await super().register_worker()
        self._registration.on_ready()
        return self._registration.worker_id

    async def unregister_worker(self, worker_id: int) -> None:
        await super().unregister_worker(worker_id)
        self._registration.worker_id = None


class _Retry(retry.BaseRetryStrategy):
    """A job that was cut off because the worker stops is given back; one that failed is tried again later."""

    def __init__(self, *, attempts_max: int) -> None:
        self._attempts_max = attempts_max

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> retry.RetryDecision | None:
        if isinstance(exception, asyncio.CancelledError):
            return retry.RetryDecision()
        attempts = job.attempts + 1
        if attempts >= self._attempts_max:
            return None
        return retry.RetryDecision(retry_in={"seconds": pause_before_retry(attempts)})


def _register(app: procrastinate.App, task: QueuedTask) -> None:
    async def run(context: procrastinate.JobContext, /, **arguments: Any) -> None:
        await task.run(arguments, context.job.attempts)

    is_periodic = task.cron is not None
    registered = app.task(
        name=task.name,
        queue=task.name,
        # Of a periodic job one runs and one waits at most, however many processes and however long it takes.
        lock=task.name if is_periodic else None,
        queueing_lock=task.name if is_periodic else None,
        retry=_Retry(attempts_max=task.attempts_max),
        pass_context=True,
    )(run)
    if task.cron is not None:
        app.periodic(cron=task.cron, periodic_id=task.name)(registered)  # type: ignore[arg-type]  # the tick


class _Bridge(logging.Handler):
    """Warnings of procrastinate as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "action", None) in _SAID_ELSEWHERE:
            return
        error = record.exc_info[1] if record.exc_info else None
        log.warning("jobs.library_warned", said=record.getMessage(), error=repr(error) if error else None)


def _bridge_logs() -> None:
    library = logging.getLogger("procrastinate")
    library.handlers = [_Bridge(level=logging.WARNING)]
    library.propagate = False
    library.setLevel(logging.WARNING)


_bridge_logs()
