"""pgbench as load generator: its own TPC-B, and scripts of ours. Written in C, it leaves the cores to the server."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from backend.app.repositories.embedded import account

PROGRAM: Final = account.binaries() / "pgbench"
SCRIPTS: Final = Path(__file__).parent / "scripts"
TPCB_SCALE: Final = 20
_VARIABLES: Final = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What pgbench logged. With a rate, latency counts from when a transaction was due."""

    transactions: int
    failures: int
    elapsed_seconds: float
    latencies_seconds: list[float]

    @property
    def per_second(self) -> float:
        """Transactions a second."""
        return self.transactions / self.elapsed_seconds


class PgbenchFailed(RuntimeError):
    """pgbench ended with an error; the message is its own."""


def initialise_tpcb(url: str) -> None:
    """Make pgbench's own tables."""
    _call(url, ["-i", "-q", "-s", str(TPCB_SCALE)])


def run(
    url: str,
    *,
    script: str | None,
    clients: int,
    seconds: float,
    defines: Mapping[str, int | str] | None = None,
    per_second: float | None = None,
    protocol: str = "prepared",
) -> Run:
    """Run one of `scripts/`, or TPC-B without one, in a closed loop, or open with a rate. Raises PgbenchFailed."""
    with tempfile.TemporaryDirectory(prefix="hakem-pgbench-") as folder:
        arguments = ["-n", "-M", protocol, "-c", str(clients), "-j", str(min(2, clients)), "-T", str(round(seconds))]
        if script is not None:
            arguments += ["-f", str(SCRIPTS / f"{script}.sql")]
        if per_second is not None:
            arguments += ["--rate", f"{per_second:.0f}"]
        arguments += [f"-D{name}={value}" for name, value in (defines or {}).items()]
        _call(url, [*arguments, "--log", f"--log-prefix={folder}/log"])
        return _read(Path(folder), seconds=round(seconds))


def _read(folder: Path, *, seconds: float) -> Run:
    latencies: list[float] = []
    failures = 0
    for log in folder.glob("log.*"):
        with log.open() as lines:
            for line in lines:
                # client, number, microseconds, script, …
                time = line.split(" ", 3)[2]
                if time.isdigit():
                    latencies.append(int(time) / 1e6)
                else:
                    failures += 1
    return Run(transactions=len(latencies), failures=failures, elapsed_seconds=seconds, latencies_seconds=latencies)


def _call(url: str, arguments: list[str]) -> None:
    facts = conninfo_to_dict(url)
    # By environment: arguments are shown to everybody by `ps`.
    environment = os.environ | {_VARIABLES[name]: str(value) for name, value in facts.items() if name in _VARIABLES}
    done = subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PgbenchFailed(f"pgbench {' '.join(arguments[:6])}: {done.stderr.strip()[-500:]}")
