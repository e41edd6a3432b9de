"""A real `hakem serve` process on loopback, for the HTTP driver and for the time it takes to start."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

READY: Final = "hakem: ready on "
START_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 30.0


class Serving:
    """One service process; `environment` says which database, or none for an embedded one in the home. `options` are
    further ones of the command.
    """

    def __init__(
        self, home: Path, *, environment: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> None:
        self.jwt_secret = secrets.token_urlsafe(48)
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / "serve.log"
        # Only this run's own settings count, whatever is exported in the shell that started it.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LEDGER_", "DATABASE_", "HAKEM_", "WEBHOOK_", "BOOTSTRAP_"))
        }
        started_at = time.perf_counter()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend.scripts", "serve", "--port", "0", *options],
                env=inherited
                | {"HAKEM_HOME": str(home), "ENV": "dev", "JWT_SECRET": self.jwt_secret}
                | dict(environment or {}),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.url = self._await_ready()
        self.start_seconds = time.perf_counter() - started_at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu_seconds(self) -> float:
        """What the process has used of the processors so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def _await_ready(self) -> str:
        assert self._process.stdout is not None, "it was opened as a pipe"
        # A process that hangs without a word must not hang the benchmark: its end closes the pipe.
        timer = threading.Timer(START_SECONDS_MAX, self._process.kill)
        timer.start()
        try:
            for line in self._process.stdout:
                if line.startswith(READY):
                    return line.removeprefix(READY).strip()
        finally:
            timer.cancel()
        self._process.wait()
        raise RuntimeError(f"hakem serve did not become ready: {self._log.read_text('utf-8')[-800:]}")
