"""One PostgreSQL data folder and its postmaster: made, configured, started, stopped, looked at.

Nothing here is safe against another process doing the same; postgres.py holds the locks.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psutil

from backend.app.repositories.embedded.account import binaries, open_binaries, server_account
from backend.app.repositories.embedded.file_lock import POLL_SECONDS
from backend.app.repositories.embedded.settings import server_settings
from backend.app.repositories.faults import EmbeddedPostgresError

SUPERUSER = "postgres"
PORT = 5432

START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 60
ORPHANS_TIMEOUT_SECONDS = 30
INITDB_TIMEOUT_SECONDS = 120
FREE_BYTES_NEEDED = 256 * 1024 * 1024
LOG_BYTES_KEPT = 16 * 1024 * 1024

# sun_path holds 104 bytes on macOS and 108 on Linux, the end mark and PostgreSQL's ".lock" included.
SOCKET_PATH_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """What a live server's postmaster.pid says.

    `process` knows its start time, so a recycled pid is not taken for it.
    """

    process: psutil.Process
    socket_folder: Path
    is_ready: bool

    def is_alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class Cluster:
    """The data folder `HOME/postgres`, its log and its server process."""

    def __init__(self, home: Path) -> None:
        self.data = home / "postgres"
        self.log = home / "postgres.log"
        self._home = home
        self._account = server_account(self.data)
        self._log_seen_bytes = 0

    def initialise(self, *, superuser_password: str, durable: bool) -> None:
        """Make the data folder unless it is there; a half-made one never carries the final name.

        Raises EmbeddedPostgresError: made by another major version, disk full, no permission.
        """
        open_binaries(self._account)
        self._account.reach(self.data)
        if self.data.exists():
            self._refuse_other_major()
            return
        if shutil.disk_usage(self._home).free < FREE_BYTES_NEEDED:
            raise EmbeddedPostgresError(f"less than {FREE_BYTES_NEEDED >> 20} MiB are free for {self._home}")
        draft = self._home / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._account.own(draft)
        with tempfile.NamedTemporaryFile(mode="w", dir=self._home, prefix=".initdb.") as password_file:
            password_file.write(superuser_password + "\n")
            password_file.flush()
            self._account.own(Path(password_file.name))
            self._run(
                ["initdb", "--pgdata", str(draft), "--username", SUPERUSER, "--pwfile", password_file.name]
                + ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]
                # Orders by code point like C, yet lower() and upper() know every letter.
                + ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
                + ["--no-instructions"]
                + ([] if durable else ["--no-sync"]),
                timeout_seconds=INITDB_TIMEOUT_SECONDS,
                purpose="create its data folder",
            )
        draft.rename(self.data)

    def start(self, *, durable: bool) -> Postmaster:
        """Start the server in a session of its own and wait until it accepts connections.

        Signals for this process (Ctrl-C) do not reach it. Not `durable` gives up crash safety for speed.
        Raises EmbeddedPostgresError with the last lines of the log.
        """
        socket_folder = self._make_socket_folder()
        self._remove_stale_lock_files(socket_folder)
        settings = server_settings(socket_folder=socket_folder, durable=durable)
        # What an operator sets with ALTER SYSTEM lives in postgresql.auto.conf and wins over this file.
        (self.data / "postgresql.conf").write_text(settings, "utf-8")
        self._rotate_log()
        self._launch()
        postmaster = self.find_postmaster()
        if postmaster is None:
            raise self._error("start", "it ended at once")
        return postmaster

    def stop(self) -> None:
        """End the sessions and stop with everything committed on disk. Raises EmbeddedPostgresError."""
        self._run(
            ["pg_ctl", "stop", "--silent", "--wait", "--mode", "fast", "--pgdata", str(self.data)]
            + ["--timeout", str(STOP_TIMEOUT_SECONDS)],
            timeout_seconds=STOP_TIMEOUT_SECONDS + 10,
            purpose="stop",
        )
        with contextlib.suppress(OSError):
            # Under the system's temporary folder nobody else would clean up; in the home it is made anew.
            self._socket_folder().rmdir()

    def find_postmaster(self) -> Postmaster | None:
        """The live server of this data folder, or None.

        The process must be PostgreSQL working in this folder: after a crash or a restart of a
        container, the pid in a stale file may belong to anything.
        """
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8").splitlines()
            process = psutil.Process(int(lines[0]))
            if process.status() == psutil.STATUS_ZOMBIE or not Path(process.cwd()).samefile(self.data):
                return None
        except (FileNotFoundError, IndexError, ValueError, psutil.Error):
            return None
        socket_folder = Path(lines[4]) if len(lines) > 4 else self._socket_folder()
        is_ready = len(lines) > 7 and lines[7].strip() == "ready"
        return Postmaster(process=process, socket_folder=socket_folder, is_ready=is_ready)

    def await_ready(self) -> Postmaster | None:
        """The live server once it accepts connections, or None. Raises EmbeddedPostgresError."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while (postmaster := self.find_postmaster()) and not postmaster.is_ready:
            if time.monotonic() > deadline:
                raise self._error("become ready", f"it is still starting after {START_TIMEOUT_SECONDS} s")
            time.sleep(POLL_SECONDS)
        return postmaster

    def _refuse_other_major(self) -> None:
        version_file = self.data / "PG_VERSION"
        if not version_file.exists():
            raise EmbeddedPostgresError(f"{self.data} is not a PostgreSQL data folder: move it away")
        theirs = version_file.read_text("ascii").strip()
        ours = self._run(["postgres", "--version"], timeout_seconds=10, purpose="tell its version")
        major = ours.split()[-1].split(".")[0]
        if theirs != major:
            raise EmbeddedPostgresError(
                f"{self.data} was made by PostgreSQL {theirs}, and this is PostgreSQL {major}: dump it with "
                "the version that made it, or point HAKEM_HOME to another folder"
            )

    def _launch(self) -> None:
        deadline = time.monotonic() + ORPHANS_TIMEOUT_SECONDS
        while True:
            try:
                self._run(
                    ["pg_ctl", "start", "--silent", "--wait", "--timeout", str(START_TIMEOUT_SECONDS)]
                    + ["--pgdata", str(self.data), "--log", str(self.log)],
                    timeout_seconds=START_TIMEOUT_SECONDS + 10,
                    purpose="start",
                )
                return
            except EmbeddedPostgresError as error:
                # Sessions of a killed server finish what they are at before they notice; PostgreSQL
                # rightly waits until the last one has let go of the shared memory.
                if "is still in use" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def _remove_stale_lock_files(self, socket_folder: Path) -> None:
        """Remove the lock files of a server that is dead although its pid seems taken.

        PostgreSQL itself clears a lock whose pid is free, but refuses to start when the pid is a zombie
        that nobody reaps or, after a restart of a container, belongs to another program. Removing is
        safe: the caller holds the start lock, the socket folder serves this data folder only, and
        PostgreSQL still finds orphaned sessions by the shared memory that is keyed on the data folder.
        """
        if self.find_postmaster() is None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            (socket_folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _socket_folder(self) -> Path:
        beside_data = self._home / "run"
        is_short = len(os.fsencode(beside_data / f".s.PGSQL.{PORT}.lock")) <= SOCKET_PATH_LIMIT
        # A comma separates hosts in a libpq URL and cannot be escaped.
        if is_short and "," not in str(beside_data):
            return beside_data
        name = sha256(os.fsencode(self._home.resolve())).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"hakem-{os.getuid()}-{name}"

    def _make_socket_folder(self) -> Path:
        folder = self._socket_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid not in {os.getuid(), self._account.uid} or status.st_mode & 0o022:
            raise EmbeddedPostgresError(f"{folder}, the folder for the socket, belongs to somebody else: remove it")
        self._account.own(folder)
        self._account.reach(folder / "socket")
        return folder

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.log.touch(mode=0o600)
        self._account.own(self.log)

    def _run(self, command: list[str], *, timeout_seconds: float, purpose: str) -> str:
        program, *arguments = command
        account = self._account
        self._log_seen_bytes = self.log.stat().st_size if self.log.exists() else 0
        # A file, not a pipe: the server keeps what it inherits open, and a pipe would never end.
        with tempfile.TemporaryFile("w+") as output:
            try:
                done = subprocess.run(
                    [str(binaries() / program), *arguments],
                    user=account.uid if account.is_other else None,
                    group=account.gid if account.is_other else None,
                    extra_groups=[] if account.is_other else None,
                    cwd="/",
                    env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    timeout=timeout_seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise self._error(purpose, f"no end after {timeout_seconds:.0f} s") from None
            except OSError as error:
                raise self._error(purpose, str(error)) from error
            output.seek(0)
            said = output.read().strip()
        if done.returncode != 0:
            raise self._error(purpose, said)
        return said

    def _error(self, purpose: str, reason: str) -> EmbeddedPostgresError:
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_seen_bytes)
            news = log.read(LOG_BYTES_KEPT).decode("utf-8", "replace").splitlines()
            tail = [line for line in news if any(level in line for level in ("FATAL", "PANIC", "HINT"))][-3:]
            reason = "; ".join([reason, *tail])
        said = " ".join(reason.split())
        return EmbeddedPostgresError(f"the embedded PostgreSQL could not {purpose}: {said} (log: {self.log})")
