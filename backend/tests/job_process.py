"""A worker process with jobs for tests: the product's own wiring and runner, only the list of jobs is another.

What the jobs do they leave in the table job_marks; a job that waits, waits for a row in job_gates. test_jobs.py makes
both.
"""

import asyncio
import dataclasses
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from backend.app.domain.job import Arguments, DeferredJob, PeriodicJob
from backend.app.repositories import home
from backend.app.repositories.database import Database
from backend.app.repositories.engine import resolve
from backend.app.services import logs
from backend.app.services.jobs import Jobs
from backend.app.wiring import wire
from backend.config import Settings
from backend.scripts import worker
from backend.scripts.connection import ensure_schema

TICK: Final = "test.tick"
TICK_SECONDS: Final = 15
LOOP: Final = "test.loop"
WAIT: Final = "test.wait"
HANG: Final = "test.hang"
FAIL_ONCE: Final = "test.fail_once"
FAIL: Final = "test.fail"


def main() -> None:
    """Work until told to stop, with the jobs named by the arguments."""
    logs.configure()
    settings = home.with_dev_secrets(Settings.load())
    engine = resolve(settings)
    ensure_schema(engine, is_dev=True)
    core = wire(settings, engine, is_worker=True)
    marks = Marks(core.database)
    periodic = [
        PeriodicJob(name=TICK, run=marks.tick, every_seconds=TICK_SECONDS, deadline_seconds=10),
        PeriodicJob(name=LOOP, run=marks.loop, every_seconds=0.05, deadline_seconds=10),
    ]
    deferred = [
        DeferredJob(name=WAIT, run=marks.wait, deadline_seconds=60),
        DeferredJob(name=HANG, run=marks.hang, deadline_seconds=0.2, attempts_max=1),
        DeferredJob(name=FAIL_ONCE, run=marks.fail_once, deadline_seconds=10),
        DeferredJob(name=FAIL, run=marks.fail, deadline_seconds=10, attempts_max=1),
    ]
    asked = set(sys.argv[1:])
    jobs = Jobs(
        engine,
        core.database,
        periodic=[job for job in periodic if job.name in asked],
        deferred=[job for job in deferred if job.name in asked],
    )
    worker.run(dataclasses.replace(core, jobs=jobs))


class Marks:
    """The jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tick(self, _now: datetime) -> int:
        """Leave a mark at each tick."""
        await self._mark(TICK)
        return 1

    async def loop(self, _now: datetime) -> int:
        """Leave a mark in each round."""
        await self._mark(LOOP)
        return 1

    async def wait(self, arguments: Arguments) -> None:
        """Begin, wait for the gate, end."""
        await self._mark(f"{arguments['mark']} began")
        await self._until(self._is_gate_open)
        await self._mark(f"{arguments['mark']} ended")

    async def hang(self, arguments: Arguments) -> None:
        """Begin and never end."""
        await self._mark(f"{arguments['mark']} began")
        await asyncio.Event().wait()

    async def fail_once(self, arguments: Arguments) -> None:
        """Fail unless it is there already: the first attempt fails, the second does not."""
        is_first = await self._mark(str(arguments["mark"])) == 1
        assert not is_first, "the first attempt"

    async def fail(self, arguments: Arguments) -> None:
        """Fail."""
        await self._mark(str(arguments["mark"]))
        raise ValueError(arguments["mark"])

    async def _mark(self, mark: str) -> int:
        """Leave a mark; how many there are of it then."""
        async with self._database.connection() as conn:
            await conn.execute("INSERT INTO job_marks (mark, pid) VALUES (%s, %s)", (mark, os.getpid()))
            row = await (await conn.execute("SELECT count(*) FROM job_marks WHERE mark = %s", (mark,))).fetchone()
        assert row is not None
        return int(row[0])

    async def _is_gate_open(self) -> bool:
        async with self._database.connection() as conn:
            row = await (await conn.execute("SELECT EXISTS (SELECT FROM job_gates)")).fetchone()
        return row == (True,)

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():  # noqa: ASYNC110 - the gate is a row
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()
