"""The embedded PostgreSQL: shared by the services of one home, and hard to kill for good."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from backend.app.repositories.embedded import postgres as embedded_postgres
from backend.app.repositories.embedded.postgres import EmbeddedPostgres
from backend.app.repositories.faults import EmbeddedPostgresError

# A service in a process of its own: says its server's pid, then stays until its input ends.
SERVICE = """
import sys
from pathlib import Path
from backend.app.repositories.embedded import postgres as embedded_postgres
with embedded_postgres.start(Path(sys.argv[1]), durable=False) as postgres:
    print(postgres.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A home whose data folder was made once; tests work on copies."""
    with tempfile.TemporaryDirectory(prefix="hakem-home-") as folder:
        home = Path(folder) / "home"
        embedded_postgres.start(home, durable=False).stop()
        yield home


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hakem-home-") as folder:
        copy = Path(folder) / "a home, with 'marks'"
        copy_tree_with_owners(made_home, copy)
        yield copy
        if (copy / "postgres" / "PG_VERSION").exists():
            embedded_postgres.stop_unused(copy)


def copy_tree_with_owners(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    for path in (source, *source.rglob("*")):
        status = path.stat()
        os.chown(target / path.relative_to(source), status.st_uid, status.st_gid)


class Service:
    """The other process."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.server_pid = int(self.process.stdout.readline())

    def leave(self) -> None:
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_server(postgres: EmbeddedPostgres) -> None:
    process = psutil.Process(postgres.pid)
    process.send_signal(signal.SIGKILL)
    # A killed process of another parent may stay a zombie: being gone means being no longer alive.
    for _ in range(10_000):
        if not is_running(process.pid):
            return
        os.sched_yield()
    raise AssertionError("the server survived SIGKILL")


def count_rows(postgres: EmbeddedPostgres) -> int:
    with psycopg.connect(postgres.owner_url) as conn:
        row = conn.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def test_cold_start_makes_roles_without_superuser_rights(tmp_path: Path) -> None:
    with embedded_postgres.start(tmp_path / "home") as postgres:
        with psycopg.connect(postgres.owner_url) as conn:
            assert conn.info.user == "hakem_owner"
            assert conn.execute(
                "SELECT rolname, rolsuper, rolcreaterole, rolcanlogin FROM pg_roles "
                "WHERE rolname LIKE 'hakem%' ORDER BY rolname"
            ).fetchall() == [("hakem_owner", False, False, True), ("hakem_service", False, False, True)]
            assert conn.execute("SELECT lower('ŞÇĞ'), current_setting('fsync')").fetchone() == ("şçğ", "on")
        with (
            psycopg.connect(postgres.service_url) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute("CREATE TABLE mine ()")
        assert (tmp_path / "home" / "postgres").stat().st_mode & 0o777 == 0o700


def test_server_is_not_reachable_without_password(home: Path) -> None:
    with (
        embedded_postgres.start(home, durable=False) as postgres,
        pytest.raises(psycopg.OperationalError, match=r"password"),
    ):
        psycopg.connect(postgres.owner_url.replace("hakem_owner:", "hakem_owner:not"))


def test_last_service_that_leaves_stops_the_server(home: Path) -> None:
    other = Service(home)
    with embedded_postgres.start(home, durable=False) as postgres:
        assert postgres.pid == other.server_pid
        other.leave()
        assert is_running(postgres.pid)
        psycopg.connect(postgres.service_url).close()
    assert not is_running(other.server_pid)
    assert embedded_postgres.stop_unused(home) is False


def test_services_that_start_at_once_share_one_server(home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        services = list(pool.map(lambda _: Service(home), range(4)))
    assert len({service.server_pid for service in services}) == 1
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Service.leave, services))
    assert not is_running(services[0].server_pid)


def test_killed_server_comes_back_with_what_was_committed(home: Path) -> None:
    with embedded_postgres.start(home) as postgres:
        with psycopg.connect(postgres.owner_url) as conn:
            conn.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        assert postgres.ensure_running() is False
        killed = postgres.pid
        kill_server(postgres)
        assert postgres.ensure_running() is True
        assert postgres.pid != killed
        assert count_rows(postgres) == 1000
        assert postgres.ensure_running() is False


def test_server_of_a_killed_service_is_adopted(home: Path) -> None:
    killed = Service(home)
    killed.kill()
    assert is_running(killed.server_pid)
    with embedded_postgres.start(home, durable=False) as postgres:
        assert postgres.pid == killed.server_pid
    assert not is_running(killed.server_pid)


def test_server_that_is_used_is_not_stopped_by_hand(home: Path) -> None:
    with embedded_postgres.start(home, durable=False) as postgres:
        with pytest.raises(EmbeddedPostgresError, match="in use"):
            embedded_postgres.stop_unused(home)
        assert is_running(postgres.pid)


def test_server_left_running_serves_until_stopped_by_hand(home: Path) -> None:
    postgres = embedded_postgres.start(home, durable=False)
    postgres.leave_running()
    psycopg.connect(postgres.owner_url).close()
    assert embedded_postgres.stop_unused(home) is True
    assert not is_running(postgres.pid)


def test_recycled_pid_in_a_stale_file_is_not_taken_for_the_server(home: Path) -> None:
    postgres = embedded_postgres.start(home, durable=False)
    pid_file = home / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    kill_server(postgres)
    postgres.leave_running()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    with embedded_postgres.start(home, durable=False) as successor:
        assert successor.pid not in {postgres.pid, os.getppid()}
        psycopg.connect(successor.owner_url).close()


def test_long_home_gets_a_socket_elsewhere(home: Path) -> None:
    long_home = home / ("x" * 90)
    copy_tree_with_owners(home / "postgres", long_home / "postgres")
    copy_tree_with_owners(home / "secrets", long_home / "secrets")
    with embedded_postgres.start(long_home, durable=False) as postgres:
        psycopg.connect(postgres.owner_url).close()


def test_data_of_another_major_version_is_refused_and_left_alone(home: Path) -> None:
    version_file = home / "postgres" / "PG_VERSION"
    version_file.write_text("14\n")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 14, and this is PostgreSQL"):
        embedded_postgres.start(home)
    assert version_file.read_text() == "14\n"


def test_failed_start_says_why_and_where_the_log_is(home: Path) -> None:
    (home / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedPostgresError, match=r"could not start: .*pg_control.*postgres\.log"):
        embedded_postgres.start(home, durable=False)
    assert not (home / "postgres" / "postmaster.pid").exists()


def test_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match="cannot use its home"):
        embedded_postgres.start(tmp_path / "file" / "home")
