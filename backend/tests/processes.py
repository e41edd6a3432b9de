"""Real `hakem` processes for tests: servers and workers, awaited by their ready line, ended by their own pid."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from backend.tests import commands

START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 30


class ServeProcess:
    """One server process. Its standard error is kept in a file and shown when it does not start."""

    COMMAND: ClassVar[tuple[str, ...]] = ("backend.scripts", "serve", "--port", "0")
    READY: ClassVar[str] = "hakem: ready on "
    JWT_SECRET: ClassVar[str] = "a-secret-for-test-processes-only-0123456789"

    def __init__(self, home: Path, *, environment: Mapping[str, str] | None = None, arguments: tuple[str, ...] = ()):
        home.mkdir(parents=True, exist_ok=True)
        self._home = home
        self._log = home / f"serve-{time.monotonic_ns()}.log"
        self._environment = {
            **commands.surroundings(),
            "HAKEM_HOME": str(home),
            "JWT_SECRET": self.JWT_SECRET,
            **(environment or {}),
        }
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def owner_url(self) -> str:
        """URL of the database owner, as `hakem db url` prints it."""
        printed = subprocess.run(
            [sys.executable, "-m", "backend.scripts", "db", "url"],
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
        )
        return printed.stdout.strip()

    @property
    def environment(self) -> dict[str, str]:
        """What it was started with."""
        return dict(self._environment)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> None:
        """Start and wait for the ready line."""
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, "-m", *self.COMMAND, *self._arguments],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS_MAX):
            line = await asyncio.to_thread(self._process.stdout.readline)
        _, ready, url = line.partition(self.READY)
        assert ready, f"not ready: {line!r}\n{self.log}"
        self.url = url.strip()

    def read_until(self, text: str, *, times: int = 1) -> str:
        """What it prints after the ready line, up to and with the line that holds the text for the nth time."""
        assert self._process is not None
        assert self._process.stdout is not None
        printed = ""
        for line in self._process.stdout:
            printed += line
            if printed.count(text) >= times:
                return printed
        raise AssertionError(f"ended before printing {text!r}: {printed!r}\n{self.log}")

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_SECONDS_MAX)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


class WorkerProcess(ServeProcess):
    """`hakem worker`."""

    COMMAND: ClassVar[tuple[str, ...]] = ("backend.scripts", "worker")
    READY = "hakem: worker ready"


class MockPspProcess(ServeProcess):
    """`hakem mockpsp serve`."""

    COMMAND = ("backend.scripts", "mockpsp", "serve", "--port", "0")
    READY = "mockpsp: ready on "


class TestJobsProcess(WorkerProcess):
    """A worker with the jobs of job_process.py."""

    __test__ = False
    COMMAND = ("backend.tests.job_process",)


@asynccontextmanager
async def running_service(
    home: Path, *, environment: Mapping[str, str] | None = None, arguments: tuple[str, ...] = ()
) -> AsyncIterator[ServeProcess]:
    """A service for the length of a block."""
    service = ServeProcess(home, environment=environment, arguments=arguments)
    try:
        await service.start()
        yield service
    finally:
        service.stop()
