"""Background jobs in real processes: once per tick, taken up after kill -9, alive after the database was away."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import AsyncConnection

from backend.app.repositories import job_repo
from backend.app.repositories.database import Database as Pools
from backend.app.repositories.embedded.postgres import SERVICE_ROLE
from backend.app.services import jobs
from backend.app.services.jobs import DRAIN_SECONDS, KEEP_NOT_SUCCEEDED, KEEP_SUCCEEDED
from backend.tests import api_client, commands
from backend.tests.conftest import Database
from backend.tests.factories import Owner, connect_owner, eventually
from backend.tests.job_process import FAIL, FAIL_ONCE, HANG, LOOP, TICK, TICK_SECONDS, WAIT
from backend.tests.processes import STOP_SECONDS_MAX, ServeProcess, TestJobsProcess, WorkerProcess, running_service

MakeDatabase = Callable[..., Database]
# A tick, the worker's own look at the queue, or a change of leaders: all take less than this.
SECONDS_MAX = 45.0
TABLES = f"""
    CREATE TABLE job_marks (
        mark TEXT, pid INTEGER, marked_by TEXT DEFAULT current_user, id BIGINT GENERATED ALWAYS AS IDENTITY
    );
    CREATE TABLE job_gates (is_open BOOLEAN);
    GRANT SELECT, INSERT ON job_marks, job_gates TO {SERVICE_ROLE};
"""
JOBS = "procrastinate.procrastinate_jobs"


@asynccontextmanager
async def working(
    home: Path, database: Database | None, *names: str, process: type[ServeProcess] = TestJobsProcess
) -> AsyncIterator[ServeProcess]:
    """A worker process for the length of a block, on a database of the run or on the embedded one of its home."""
    environment = {} if database is None else urls(database)
    worker = process(home, environment=environment, arguments=names)
    try:
        await worker.start()
        yield worker
    finally:
        worker.stop()


def urls(database: Database) -> dict[str, str]:
    return {"DATABASE_URL": database.service_url, "DATABASE_OWNER_URL": database.owner_url}


@asynccontextmanager
async def judging(database: Database) -> AsyncIterator[Owner]:
    """The owner's connection, with the tables of the test jobs and the queue's own on its path."""
    async with connect_owner(database) as owner:
        await owner.execute(TABLES)
        await owner.execute("SET search_path = public, procrastinate")
        yield owner


async def defer(owner: Owner, name: str, mark: str | None = None) -> str:
    """Put a job into the queue; the mark it will leave."""
    mark = mark or f"{name} {uuid4().hex[:8]}"
    await job_repo.defer(owner, name, {"mark": mark})
    return mark


async def until(owner: Owner, query: str, *parameters: Any, seconds: float = SECONDS_MAX) -> None:
    """Return when the query answers true."""
    try:
        async with asyncio.timeout(seconds):
            while await one(owner, query, *parameters) is not True:  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.02)
    except TimeoutError:
        rows = await (await owner.execute(f"SELECT task_name, status, attempts, worker_id FROM {JOBS}")).fetchall()
        raise AssertionError(f"not within {seconds} s: {query} {parameters}; jobs: {rows}") from None


async def until_marked(owner: Owner, mark: str, *, times: int = 1) -> None:
    await until(owner, "SELECT count(*) >= %s FROM job_marks WHERE mark = %s", times, mark)


async def one(owner: Owner, query: str, *parameters: Any) -> Any:
    row = await (await owner.execute(query, parameters)).fetchone()
    return None if row is None else row[0]


async def status_of(owner: Owner, name: str) -> tuple[str, int]:
    """(status, attempts) of the only job of that name."""
    cursor = await owner.execute(f"SELECT status::TEXT, attempts FROM {JOBS} WHERE task_name = %s", (name,))
    ((status, attempts),) = await cursor.fetchall()
    return status, attempts


async def open_gate(owner: Owner) -> None:
    await owner.execute("INSERT INTO job_gates VALUES (TRUE)")


# ---------------------------------------------------------------------------------------------------------------------
# Putting jobs in
# ---------------------------------------------------------------------------------------------------------------------


async def test_job_is_there_when_the_transaction_commits_and_only_then(pools: Pools, owner: Owner) -> None:
    name, later = f"test.{uuid4().hex[:8]}", datetime.now(UTC) + timedelta(hours=1)
    count = f"SELECT count(*) FROM {JOBS} WHERE task_name = %s"
    async with pools.connection() as conn, conn.transaction(force_rollback=True):
        await job_repo.defer(conn, name, {"number": 1})
    assert await one(owner, count, name) == 0
    async with pools.transaction() as conn:
        job_id = await job_repo.defer(conn, name, {"number": 2, "id": "x"}, lock="one at a time", not_before=later)
        assert await one(owner, count, name) == 0
    cursor = await owner.execute(
        f"SELECT id, queue_name, args, lock, scheduled_at, status::TEXT FROM {JOBS} WHERE task_name = %s", (name,)
    )
    assert await cursor.fetchall() == [
        (job_id, name, {"number": 2, "id": "x"}, "one at a time", later, "todo"),
    ]


async def test_other_roles_may_not_use_the_queue(database: Database) -> None:
    async with await AsyncConnection.connect(database.superuser_url, autocommit=True) as conn:
        role = f"stranger_{uuid4().hex[:8]}"
        await conn.execute(f"CREATE ROLE {role}")
        try:
            await conn.execute(f"SET ROLE {role}")
            for statement in (
                f"SELECT FROM {JOBS}",
                "SELECT job_defer_v1('a.job', '{}', NULL, NULL)",
                "SELECT procrastinate.procrastinate_register_worker_v1()",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await conn.execute(statement)
        finally:
            await conn.execute("RESET ROLE")
            await conn.execute(f"DROP ROLE {role}")


async def test_only_jobs_that_ended_long_ago_are_pruned(new_database: MakeDatabase, home: Path) -> None:
    database = new_database()
    now = datetime.now(UTC)
    ended: dict[tuple[str, str], datetime] = {
        ("succeeded", "old"): now - KEEP_SUCCEEDED - timedelta(hours=1),
        ("succeeded", "new"): now - KEEP_SUCCEEDED + timedelta(hours=1),
        ("failed", "old"): now - KEEP_NOT_SUCCEEDED - timedelta(hours=1),
        ("failed", "new"): now - KEEP_NOT_SUCCEEDED + timedelta(hours=1),
        ("todo", "old"): now - KEEP_NOT_SUCCEEDED - timedelta(days=100),
    }
    async with judging(database) as owner:
        for (status, age), at in ended.items():
            job_id = await job_repo.defer(owner, "test.ended", {"mark": f"{status} {age}"})
            await owner.execute(
                f"UPDATE {JOBS} SET status = %s::procrastinate.procrastinate_job_status WHERE id = %s",
                (status, job_id),
            )
            await owner.execute("UPDATE procrastinate.procrastinate_events SET at = %s WHERE job_id = %s", (at, job_id))
        async with working(home, database, process=WorkerProcess):
            pruned = f"SELECT count(*) = 3 FROM {JOBS} WHERE task_name = 'test.ended'"
            await until(owner, pruned)
        cursor = await owner.execute(f"SELECT args ->> 'mark' FROM {JOBS} WHERE task_name = 'test.ended' ORDER BY id")
        assert [mark for (mark,) in await cursor.fetchall()] == ["succeeded new", "failed new", "todo old"]


# ---------------------------------------------------------------------------------------------------------------------
# Running them
# ---------------------------------------------------------------------------------------------------------------------


async def test_periodic_job_runs_once_per_tick_with_two_processes(new_database: MakeDatabase, home: Path) -> None:
    database = new_database()
    async with judging(database) as owner:
        async with working(home, database, TICK), working(home, database, TICK):
            assert await one(owner, "SELECT count(*) FROM procrastinate.procrastinate_workers") == 2
            await until_marked(owner, TICK, times=2)
        cursor = await owner.execute(
            f"SELECT (args ->> 'timestamp')::BIGINT, status::TEXT FROM {JOBS} WHERE task_name = %s ORDER BY id", (TICK,)
        )
        found = await cursor.fetchall()
        ticks = [tick for tick, _ in found]
        assert ticks == sorted(set(ticks)), "each tick once"
        assert {tick % TICK_SECONDS for tick in ticks} == {0}
        assert {status for _, status in found} == {"succeeded"}
        assert await one(owner, "SELECT count(*) FROM job_marks WHERE mark = %s", TICK) == len(ticks)


async def test_short_interval_is_looped_in_one_process_and_goes_on_in_another(
    new_database: MakeDatabase, home: Path
) -> None:
    database = new_database()
    async with judging(database) as owner, working(home, database, LOOP) as first:
        await until_marked(owner, LOOP, times=3)
        async with working(home, database, LOOP):
            marks = await one(owner, "SELECT count(*) FROM job_marks")
            await until_marked(owner, LOOP, times=marks + 10)
            assert await one(owner, "SELECT array_agg(DISTINCT pid) FROM job_marks") == [first.pid]
            first.kill()
            await until(owner, "SELECT count(*) > 3 FROM job_marks WHERE pid <> %s", first.pid)
        cursor = await owner.execute("SELECT pid FROM job_marks ORDER BY id")
        pids = [pid for (pid,) in await cursor.fetchall()]
        assert pids == sorted(pids, key=lambda pid: pid != first.pid), "one after the other, never in turns"


async def test_job_of_a_killed_process_is_finished_by_another(new_database: MakeDatabase, home: Path) -> None:
    database = new_database()
    async with judging(database) as owner, working(home, database, WAIT) as first:
        mark = await defer(owner, WAIT)
        await until_marked(owner, f"{mark} began")
        async with working(home, database, WAIT) as second:
            first.kill()
            # What half a minute does: its last sign of life becomes old.
            await owner.execute(
                "UPDATE procrastinate.procrastinate_workers SET last_heartbeat = now() - INTERVAL '1 minute'"
                f" WHERE id = (SELECT worker_id FROM {JOBS} WHERE task_name = %s)",
                (WAIT,),
            )
            await until_marked(owner, f"{mark} began", times=2)
            await open_gate(owner)
            await until(owner, f"SELECT status = 'succeeded' FROM {JOBS} WHERE task_name = %s", WAIT)
            assert await one(owner, "SELECT array_agg(pid) FROM job_marks WHERE mark = %s", f"{mark} ended") == [
                second.pid
            ]
            assert "job.taken_up" in second.log


async def test_tick_of_a_killed_process_does_not_block_the_next_one(new_database: MakeDatabase) -> None:
    """A periodic job was running and its next tick waits for its lock: the dead one gives way."""
    database = new_database()
    async with judging(database) as owner:
        for status in ("doing", "todo"):
            await owner.execute(
                f"INSERT INTO {JOBS} (queue_name, task_name, lock, queueing_lock, status)"
                " VALUES ('a.tick', 'a.tick', 'a.tick', 'a.tick', %s::procrastinate.procrastinate_job_status)",
                (status,),
            )
        job_id = await one(owner, f"SELECT id FROM {JOBS} WHERE status = 'doing'")
        take_up = "SELECT job_take_up_v1(%s, NULL, FALSE)"
        assert await one(owner, take_up, job_id) == "superseded"
        assert await one(owner, take_up, job_id) is None, "it has ended"
        cursor = await owner.execute(f"SELECT status::TEXT FROM {JOBS} ORDER BY id")
        assert await cursor.fetchall() == [("aborted",), ("todo",)]


async def test_job_that_fails_is_tried_again_and_one_that_hangs_is_cut_off(
    new_database: MakeDatabase, home: Path
) -> None:
    database = new_database()
    async with judging(database) as owner, working(home, database, FAIL_ONCE, FAIL, HANG) as worker:
        for name in (FAIL_ONCE, FAIL, HANG):
            await defer(owner, name)
        await defer(owner, "test.of_a_newer_release")
        ended = f"SELECT count(*) = 3 FROM {JOBS} WHERE task_name = ANY(%s) AND status IN ('succeeded', 'failed')"
        await until(owner, ended, [FAIL_ONCE, FAIL, HANG])
        assert await status_of(owner, FAIL_ONCE) == ("succeeded", 2)
        assert await status_of(owner, FAIL) == ("failed", 1)
        assert await status_of(owner, HANG) == ("failed", 1)
        assert await status_of(owner, "test.of_a_newer_release") == ("todo", 0)
        failed = [line for line in worker.log.splitlines() if '"job.failed"' in line]
        assert {(re.search(r'"job":"([^"]+)"', line)[1], '"level":"error"' in line) for line in failed} == {  # type: ignore[index]  # every such line names its job
            (FAIL_ONCE, False),
            (FAIL, True),
            (HANG, True),
        }


async def test_jobs_go_on_when_the_database_was_killed(home: Path) -> None:
    """The process notices, its PostgreSQL is started again, and what was running is run again: without a restart."""
    async with working(home, None, WAIT, LOOP) as worker:
        async with await AsyncConnection.connect(worker.owner_url, autocommit=True) as owner:
            await owner.execute(TABLES)
            mark = await defer(owner, WAIT)
            await until_marked(owner, f"{mark} began")
            await until_marked(owner, LOOP)
        os.kill(postmaster_pid(home), signal.SIGKILL)
        async with await reconnected(worker) as owner:
            loops = await one(owner, "SELECT count(*) FROM job_marks WHERE mark = %s", LOOP)
            await until_marked(owner, LOOP, times=loops + 1)
            await open_gate(owner)
            await until(owner, f"SELECT status = 'succeeded' FROM {JOBS} WHERE task_name = %s", WAIT)
            later = await defer(owner, WAIT)
            await until_marked(owner, f"{later} ended")
            assert await one(owner, "SELECT array_agg(DISTINCT pid) FROM job_marks") == [worker.pid]
        assert worker.stop() == 0


def postmaster_pid(home: Path) -> int:
    (pid_file,) = home.glob("postgres/**/postmaster.pid")
    return int(pid_file.read_text().splitlines()[0])


async def reconnected(worker: ServeProcess) -> Owner:
    """A new connection of the owner, as soon as there is a server again."""
    url = await asyncio.to_thread(lambda: worker.owner_url)
    found: list[Owner] = []

    async def is_connected() -> bool:
        try:
            found.append(await AsyncConnection.connect(url, autocommit=True))
        except psycopg.OperationalError:
            return False
        return True

    await eventually(is_connected, what="the database is back")
    return found[0]


# ---------------------------------------------------------------------------------------------------------------------
# Starting and stopping
# ---------------------------------------------------------------------------------------------------------------------


async def test_running_job_may_end_when_its_worker_is_stopped(new_database: MakeDatabase, home: Path) -> None:
    database = new_database()
    async with judging(database) as owner, working(home, database, WAIT) as worker:
        mark = await defer(owner, WAIT)
        await until_marked(owner, f"{mark} began")
        os.kill(worker.pid, signal.SIGTERM)
        unheard = await defer(owner, WAIT)
        await open_gate(owner)
        assert await asyncio.to_thread(worker.stop) == 0
        assert await one(owner, "SELECT count(*) FROM job_marks WHERE mark = %s", f"{mark} ended") == 1
        cursor = await owner.execute(
            f"SELECT args ->> 'mark', status::TEXT FROM {JOBS} WHERE task_name = %s ORDER BY id", (WAIT,)
        )
        first, second = await cursor.fetchall()
        assert first == (mark, "succeeded")
        # It came at the same moment as the signal: taken and finished, or left for another worker, but never lost.
        assert second in {(unheard, "todo"), (unheard, "succeeded")}
        assert await one(owner, "SELECT count(*) FROM procrastinate.procrastinate_workers") == 0


async def test_job_that_does_not_end_in_time_is_given_back(new_database: MakeDatabase, home: Path) -> None:
    assert DRAIN_SECONDS < STOP_SECONDS_MAX / 2
    database = new_database()
    async with judging(database) as owner, working(home, database, WAIT) as worker:
        mark = await defer(owner, WAIT)
        await until_marked(owner, f"{mark} began")
        assert await asyncio.to_thread(worker.stop) == 0
        assert await status_of(owner, WAIT) == ("todo", 1)
        assert await one(owner, "SELECT count(*) FROM procrastinate.procrastinate_workers") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_hakem_worker_sweeps_and_stops_when_told(
    new_database: MakeDatabase, home: Path, number: signal.Signals
) -> None:
    database = new_database()
    async with judging(database) as owner:
        await owner.execute(
            "INSERT INTO sign_in_failures (subject, failures, window_started_at)"
            " SELECT 'old ' || n, 1, now() - INTERVAL '1 hour' FROM generate_series(1, 2500) AS n"
            " UNION ALL SELECT 'new', 1, now()"
        )
        async with working(home, database, process=WorkerProcess) as worker:
            await until(owner, "SELECT array_agg(subject) = '{new}' FROM sign_in_failures")
            os.kill(worker.pid, number)
            assert await asyncio.to_thread(worker.wait) == 0
        assert await one(owner, "SELECT count(*) FROM procrastinate.procrastinate_workers") == 0


async def test_worker_that_logs_in_as_the_owner_steps_down(new_database: MakeDatabase, home: Path) -> None:
    database = new_database()
    async with judging(database) as owner:
        worker = TestJobsProcess(
            home, environment={"DATABASE_URL": database.superuser_url}, arguments=(FAIL_ONCE, LOOP)
        )
        try:
            await worker.start()
            await defer(owner, FAIL_ONCE)
            await until(owner, "SELECT count(DISTINCT mark) = 2 FROM job_marks")
        finally:
            worker.stop()
        assert await one(owner, "SELECT array_agg(DISTINCT marked_by) FROM job_marks") == [SERVICE_ROLE]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_URL": "postgresql://nobody:hush@127.0.0.1:1/none"}, "does not answer"),
        ({"ENV": "prod", "DATABASE_URL": "postgresql://x"}, "refusing to start"),
    ],
)
def test_worker_without_its_surroundings_is_exit_code_3(home: Path, environment: dict[str, str], said: str) -> None:
    done = hakem("worker", HAKEM_HOME=str(home), **environment)
    assert done.returncode == 3, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_worker_on_an_empty_database_of_an_operator_is_exit_code_3(new_database: MakeDatabase, home: Path) -> None:
    secrets = {"JWT_SECRET": uuid4().hex * 2, "WEBHOOK_SECRET_MOCKPSP": uuid4().hex}
    done = hakem("worker", ENV="staging", HAKEM_HOME=str(home), **urls(new_database(migrated=False)), **secrets)
    assert done.returncode == 3
    assert "run hakem db migrate" in done.stderr


def test_worker_on_a_port_in_use_is_exit_code_3(new_database: MakeDatabase, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        done = hakem("worker", "--metrics-port", port, HAKEM_HOME=str(home), **urls(new_database()))
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def hakem(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend.scripts", *arguments],
        env=commands.surroundings() | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "workers"),
    [((), 1), (("--no-worker",), 0), (("--workers", "2"), 2), (("--workers", "2", "--no-worker"), 0)],
)
async def test_service_runs_a_worker_in_each_process_unless_told_not_to(
    new_database: MakeDatabase, home: Path, arguments: tuple[str, ...], workers: int
) -> None:
    database = new_database()
    async with judging(database) as owner:
        async with running_service(home, environment=urls(database), arguments=arguments) as service:
            if workers > 0:
                await until(owner, "SELECT count(*) = %s FROM procrastinate.procrastinate_workers", workers)
                await until(owner, f"SELECT count(*) > 0 FROM {JOBS} WHERE status = 'succeeded'")
            async with httpx.AsyncClient(base_url=service.url) as client:
                ready = await client.get("/readyz")
                assert (ready.status_code, ready.json()["warnings"]) == (200, [])
                metrics = (await client.get("/metrics")).text
                assert "hakem_jobs_waiting" in metrics
        # After an orderly stop: what was never done will not be done any more.
        assert await one(owner, "SELECT count(*) FROM procrastinate.procrastinate_workers") == 0
        assert (await one(owner, f"SELECT count(*) FROM {JOBS}") > 0) == (workers > 0)


async def test_readiness_warns_of_a_missing_worker_and_stays_green(
    new_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WORKERLESS_SECONDS_MAX", 0.0)
    async with api_client.serving(new_database()) as http:
        ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["warnings"] == ["no worker has been alive for 0 minutes: run hakem worker"]
