"""Drives `POST /player/wallet/withdraw` of a real service process from a load process of its own."""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from bench.context import Context
from bench.http_load import LoadPlan, LoadReport
from bench.measure import Measurement, Outcome, shares
from bench.serving import Serving
from bench.workload import Spread

CLIENTS: Final = 64
GRACE_SECONDS: Final = 60.0


def measure(context: Context) -> list[Measurement]:
    """Closed loops by spread, one connection each, then an open one at half of its own spread's peak."""
    urls = context.server.clone("http")
    lines: list[Measurement] = []
    with (
        tempfile.TemporaryDirectory(prefix="hakem-bench-serve-") as folder,
        Serving(
            Path(folder) / "home", environment={"DATABASE_URL": urls.service, "DATABASE_OWNER_URL": urls.owner}
        ) as serving,
    ):

        def add(name: str, *, spread: Spread, clients: int, per_second: float | None = None) -> Measurement:
            cpu_before = serving.cpu_seconds()
            report = load(
                LoadPlan(
                    url=serving.url,
                    jwt_secret=serving.jwt_secret,
                    spread=spread.value,
                    run=f"http{len(lines)}",
                    clients=clients,
                    seconds=context.seconds,
                    per_second=per_second,
                )
            )
            lines.append(
                Measurement(
                    group="http",
                    name=name,
                    events_per_second=report.per_second,
                    latencies_ms=report.latencies_ms,
                    shares=shares(Counter({Outcome(key): count for key, count in report.outcomes.items()})),
                    note=report.first_failure or _cpu_note(report, service_seconds=serving.cpu_seconds() - cpu_before),
                )
            )
            return lines[-1]

        add("first requests, 1 client", spread=Spread.UNIFORM, clients=1)
        peaks = {spread: add(f"{CLIENTS} clients, {spread}", spread=spread, clients=CLIENTS) for spread in Spread}
        half = (peaks[Spread.UNIFORM].events_per_second or 0) / 2
        add(f"open loop at {half:,.0f}/s, uniform", spread=Spread.UNIFORM, clients=CLIENTS * 2, per_second=half)
    return lines


def _cpu_note(report: LoadReport, *, service_seconds: float) -> str:
    requests = sum(report.outcomes.values())
    return (
        f"CPU per request: service {service_seconds / requests * 1e6:.0f} µs, "
        f"load {report.cpu_seconds / requests * 1e6:.0f} µs"
    )


def load(plan: LoadPlan) -> LoadReport:
    """Run the load process to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.http_load"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        timeout=plan.seconds + GRACE_SECONDS,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=LoadReport)
