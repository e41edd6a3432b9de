"""The job queue as rows: putting jobs in, taking abandoned ones up, removing finished ones, counting.

The tables are those of procrastinate; the package itself is used in job_queue.py and nowhere else.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.job import AbandonedJob, Arguments, DeferredJob, PeriodicJob, QueueState
from backend.app.repositories.database import Connection

SQL = sql.load("job")

# A worker says this often that it lives, and is taken for dead when it has not for so long.
HEARTBEAT_SECONDS: Final = 10.0
STALLED_SECONDS: Final = 30.0
# A periodic job that kills its process is tried again by its next tick anyway.
PERIODIC_ATTEMPTS_MAX: Final = 3

# What procrastinate calls the ends of a job.
SUCCEEDED: Final = ("succeeded",)
NOT_SUCCEEDED: Final = ("failed", "aborted", "cancelled")


async def defer(
    conn: Connection,
    name: str,
    arguments: Arguments,
    *,
    lock: str | None = None,
    not_before: datetime | None = None,
) -> int:
    """Put a DeferredJob of that name into the queue, in the caller's transaction: no commit, no job. Its id.

    A worker takes it within milliseconds of the commit, or at the first look (some seconds) after `not_before`.
    lock: jobs with the same one never run at the same time and run in the order in which they were deferred. Each
    commit with a job notifies the workers, one commit after the other: not for something that every request does.
    """
    parameters = {"name": name, "arguments": Jsonb(dict(arguments)), "lock": lock, "not_before": not_before}
    row = await (await conn.execute(SQL.defer, parameters)).fetchone()
    assert row is not None, "the function returns the id"
    return int(row[0])


async def read_queue(conn: Connection) -> QueueState:
    """What waits and who works."""
    row = await (await conn.execute(SQL.read_queue, {"stalled_seconds": STALLED_SECONDS})).fetchone()
    assert row is not None, "counts always are a row"
    return QueueState._make(row)


async def list_abandoned(conn: Connection, jobs: Sequence[PeriodicJob | DeferredJob]) -> list[AbandonedJob]:
    """Jobs of these kinds that are marked as running and are not, at most 100."""
    parameters = {
        "names": [job.name for job in jobs],
        "deadlines_seconds": [float(job.deadline_seconds) for job in jobs],
        "attempts_max": [job.attempts_max if isinstance(job, DeferredJob) else PERIODIC_ATTEMPTS_MAX for job in jobs],
        "stalled_seconds": STALLED_SECONDS,
    }
    return [AbandonedJob._make(row) for row in await (await conn.execute(SQL.list_abandoned, parameters)).fetchall()]


async def take_up(conn: Connection, job: AbandonedJob) -> str | None:
    """Put it back into the queue, or end it: `queued`, `failed`, `superseded` by its next tick, or None when it moved
    on."""
    parameters = {"job_id": job.id, "worker_id": job.worker_id, "is_last": job.is_last_attempt}
    row = await (await conn.execute(SQL.take_up, parameters)).fetchone()
    assert row is not None, "the function returns a word or null"
    return None if row[0] is None else str(row[0])


async def prune_finished(conn: Connection, statuses: Sequence[str], *, ended_before: datetime, limit: int) -> int:
    """Remove up to `limit` of the oldest jobs that ended so; how many there were."""
    parameters = {"statuses": list(statuses), "ended_before": ended_before, "limit": limit}
    row = await (await conn.execute(SQL.prune_finished, parameters)).fetchone()
    assert row is not None, "the function returns a number"
    return int(row[0])
