"""PostgreSQL out of a wheel, for a machine that has none: `start(home)` and it is there.

All services of one home share one server. Two locks in the home keep the order, and the kernel
releases both when a process dies:

    users.lock   shared by everyone who uses the server; who gets it exclusively is alone
    start.lock   exclusive while somebody starts or stops

The last user that leaves stops the server. A server whose users were all killed lives on and is
adopted by the next one.
"""

import threading
from pathlib import Path
from types import TracebackType
from typing import LiteralString, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from backend.app.repositories.embedded.cluster import PORT, SUPERUSER, Cluster, Postmaster
from backend.app.repositories.embedded.file_lock import FileLock
from backend.app.repositories.faults import EmbeddedPostgresError
from backend.app.repositories.home import open_home, read_or_create_secret

DATABASE = "hakem"
OWNER_ROLE = "hakem_owner"
SERVICE_ROLE = "hakem_service"

LOCK_TIMEOUT_SECONDS = 90
CONNECT_TIMEOUT_SECONDS = 10


class EmbeddedPostgres:
    """One use of the home's server, from `start` until `stop` or the end of the process.

    May be shared between threads. Blocking: a coroutine calls it through `asyncio.to_thread`.
    """

    def __init__(self, home: Path, *, durable: bool) -> None:
        self._home = open_home(home)
        self._durable = durable
        self._cluster = Cluster(self._home)
        self._thread_lock = threading.Lock()
        self._users = FileLock(self._home / "users.lock")
        self._has_left = False
        self._passwords = {
            role: read_or_create_secret(self._home, f"postgres_password_{role}")
            for role in (SUPERUSER, OWNER_ROLE, SERVICE_ROLE)
        }
        with self._start_lock():
            self._users.acquire_shared()
            try:
                self._postmaster = self._adopt_or_start()
                self._provision()
            except BaseException:
                self._leave()
                raise

    @property
    def owner_url(self) -> str:
        """libpq URL of the role that owns the database `hakem` and migrates; no superuser."""
        return self.url_of(OWNER_ROLE)

    @property
    def service_url(self) -> str:
        """libpq URL of the service's login role, which has no rights but those granted."""
        return self.url_of(SERVICE_ROLE)

    @property
    def superuser_url(self) -> str:
        """libpq URL of the bootstrap superuser, for tests and repair only."""
        return self.url_of(SUPERUSER)

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self._cluster.log

    @property
    def pid(self) -> int:
        """Process id of the server this use knows of."""
        return self._postmaster.process.pid

    def url_of(self, role: str, *, database: str = DATABASE) -> str:
        """libpq URL of one of the three roles at a database of this server."""
        host = quote(str(self._postmaster.socket_folder), safe="")
        return f"postgresql://{role}:{self._passwords[role]}@/{quote(database, safe='')}?host={host}&port={PORT}"

    def ensure_running(self) -> bool:
        """Start the server again when it died; True when this call did so.

        A call costs microseconds while the server lives. Whoever notices first restarts it, the others
        find it running. Raises EmbeddedPostgresError.
        """
        if self._postmaster.is_alive():
            return False
        with self._thread_lock:
            assert not self._has_left, "ensure_running() after stop()"
            if self._postmaster.is_alive():
                return False
            with self._start_lock():
                was_running = self._cluster.find_postmaster() is not None
                self._postmaster = self._adopt_or_start()
            return not was_running

    def stop(self) -> None:
        """Leave; the last user stops the server. Harmless when repeated. Raises EmbeddedPostgresError."""
        with self._thread_lock:
            if self._has_left:
                return
            self._has_left = True
            with self._start_lock():
                self._leave()

    def leave_running(self) -> None:
        """Leave without stopping, for a URL that is handed out; a later user or `stop_unused` stops it."""
        with self._thread_lock:
            self._has_left = True
            self._users.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _leave(self) -> None:
        try:
            # Newcomers wait for the start lock: who is alone now stays alone.
            if self._users.try_exclusive() and self._cluster.find_postmaster():
                self._cluster.stop()
        finally:
            self._users.release()

    def _start_lock(self) -> FileLock:
        return _hold_start_lock(self._home)

    def _adopt_or_start(self) -> Postmaster:
        self._cluster.initialise(superuser_password=self._passwords[SUPERUSER], durable=self._durable)
        return self._cluster.await_ready() or self._cluster.start(durable=self._durable)

    def _provision(self) -> None:
        """Make the roles and the database unless they are there; each step may find the last one's crash."""
        url = self.url_of(SUPERUSER, database="postgres")
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS) as conn:
                for role in (OWNER_ROLE, SERVICE_ROLE):
                    if not _exists(conn, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                        conn.execute(
                            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                                sql.Identifier(role), sql.Literal(self._passwords[role])
                            )
                        )
                if not _exists(conn, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
                    conn.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {}").format(
                            sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE)
                        )
                    )
        except psycopg.OperationalError as error:
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL runs but does not let Hakem in: {' '.join(str(error).split())} "
                f"(passwords: {self._home / 'secrets'}, log: {self.log_path})"
            ) from error


def start(home: Path, *, durable: bool = True) -> EmbeddedPostgres:
    """Use the PostgreSQL of that home, made and started if need be; returns when it accepts connections.

    Not `durable` gives up crash safety for speed, for data that may be lost; a server that already runs
    keeps what it was started with. Raises EmbeddedPostgresError.
    """
    try:
        return EmbeddedPostgres(home, durable=durable)
    except OSError as error:
        raise EmbeddedPostgresError(f"the embedded PostgreSQL cannot use its home {home}: {error}") from error


def stop_unused(home: Path) -> bool:
    """Stop a server that was left running; True when one was stopped, False when none ran.

    Raises EmbeddedPostgresError while some process still uses it.
    """
    if not (home / "postgres").exists():
        return False
    home = open_home(home)
    with _hold_start_lock(home), FileLock(home / "users.lock") as users:
        cluster = Cluster(home)
        if cluster.find_postmaster() is None:
            return False
        if not users.try_exclusive():
            raise EmbeddedPostgresError(f"the embedded PostgreSQL of {home} is in use: stop the service first")
        cluster.stop()
        return True


def _hold_start_lock(home: Path) -> FileLock:
    lock = FileLock(home / "start.lock")
    try:
        lock.acquire_exclusive(timeout_seconds=LOCK_TIMEOUT_SECONDS)
    except TimeoutError:
        lock.release()
        raise EmbeddedPostgresError(
            f"another process has been starting or stopping the PostgreSQL of {home} for {LOCK_TIMEOUT_SECONDS} s"
        ) from None
    return lock


def _exists(conn: psycopg.Connection, query: LiteralString, name: str) -> bool:
    return conn.execute(query, (name,)).fetchone() is not None
