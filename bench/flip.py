"""Flips and rollbacks while clients withdraw: how long each takes, and what they cost the withdrawals."""

import asyncio
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.rollout.gates import SOFT_GATES
from backend.app.repositories.database import Database
from backend.app.repositories.embedded.postgres import SERVICE_ROLE
from backend.app.repositories.engine import Engine
from backend.app.services.backfill.census import Census
from backend.app.services.rollout.rollout import Rollout
from backend.app.services.rollout.rollout_gates import STORED_EVIDENCE, GateReader
from backend.config import Settings
from bench.context import Context
from bench.http_load import LoadPlan, LoadReport
from bench.http_withdraw import CLIENTS, load
from bench.measure import Measurement, Outcome, percentiles_ms, shares
from bench.server import Urls
from bench.serving import Serving
from bench.workload import TENANT, Spread

# Beside the service's clients the flips must find time: at a pace that leaves some, and not as fast as they can.
PER_SECOND: Final = 500.0
PAUSE_SECONDS: Final = 0.05
ACTOR: Final = Actor(kind=ActorKind.SYSTEM, actor_id=None, label="bench")
FENCE: Final = "SELECT pg_advisory_xact_lock_shared(4711001, number) FROM tenants WHERE id = %s"


def measure(context: Context) -> list[Measurement]:
    """The same load without flips and with them, and a rollback beside a transaction that stays open."""
    urls = context.server.clone("flip")
    with (
        tempfile.TemporaryDirectory(prefix="hakem-bench-flip-") as folder,
        Serving(
            Path(folder) / "home", environment={"DATABASE_URL": urls.service, "DATABASE_OWNER_URL": urls.owner}
        ) as serving,
        ThreadPoolExecutor(1) as beside,
    ):

        def under_load(run: str) -> LoadReport:
            return load(
                LoadPlan(
                    url=serving.url,
                    jwt_secret=serving.jwt_secret,
                    spread=Spread.UNIFORM.value,
                    run=run,
                    clients=CLIENTS,
                    seconds=context.seconds,
                    per_second=PER_SECOND,
                )
            )

        # The census that the gates ask for, and the connections, before anything is measured.
        asyncio.run(_prepare(urls))
        quiet = under_load(f"quiet-{uuid4()}")
        loading = beside.submit(under_load, f"flips-{uuid4()}")
        enforced, rolled_back = asyncio.run(_flip_until(urls, deadline=time.monotonic() + context.seconds))
        disturbed = loading.result()
        slow = asyncio.run(_beside_open_transaction(urls))
    return [
        _load_line(f"withdrawals at {PER_SECOND:g}/s without flips", quiet),
        _load_line(f"withdrawals at {PER_SECOND:g}/s while the arbiter goes back and forth", disturbed),
        _flip_line("enforce, gates inside the fence", enforced),
        _flip_line("rollback", rolled_back),
        _flip_line("rollback beside a transaction that stays open", slow),
    ]


def _load_line(name: str, report: LoadReport) -> Measurement:
    return Measurement(
        group="flip",
        name=name,
        events_per_second=report.per_second,
        latencies_ms=report.latencies_ms,
        shares=shares(Counter({Outcome(key): count for key, count in report.outcomes.items()})),
        note=report.first_failure,
    )


def _flip_line(name: str, seconds: list[float]) -> Measurement:
    return Measurement(
        group="flip",
        name=name,
        latencies_ms=percentiles_ms(seconds),
        note=(
            f"{len(seconds)} times: median {statistics.median(seconds) * 1000:.0f} ms, "
            f"worst {max(seconds) * 1000:.0f} ms"
        ),
    )


def _open(urls: Urls) -> Database:
    engine = Engine(
        owner_url=urls.owner, service_url=urls.service, set_role=None, service_login=SERVICE_ROLE, embedded=None
    )
    # Sums over a tenant of any size are taken in pages; each of them is short.
    return Database(engine, Settings.model_construct())


def _rollout(database: Database) -> Rollout:
    return Rollout(database, GateReader(app_version="0", readers=STORED_EVIDENCE))


async def _prepare(urls: Urls) -> None:
    database = _open(urls)
    await database.open()
    try:
        await Census(database).run(TENANT, started_by="bench", is_fresh=True)
    finally:
        await database.close()


async def _flip_until(urls: Urls, *, deadline: float) -> tuple[list[float], list[float]]:
    """Back and forth; seconds of each flip and of each rollback."""
    database = _open(urls)
    await database.open()
    rollout = _rollout(database)
    enforced: list[float] = []
    rolled_back: list[float] = []
    try:
        while time.monotonic() < deadline or not rolled_back:
            started = time.perf_counter()
            await rollout.enforce(TENANT, reason="bench", actor=ACTOR, waived_gates=SOFT_GATES)
            enforced.append(time.perf_counter() - started)
            await asyncio.sleep(PAUSE_SECONDS)
            started = time.perf_counter()
            await rollout.rollback(TENANT, reason="bench", actor=ACTOR)
            rolled_back.append(time.perf_counter() - started)
            await asyncio.sleep(PAUSE_SECONDS)
    finally:
        await database.close()
    return enforced, rolled_back


async def _beside_open_transaction(urls: Urls) -> list[float]:
    """Enforce, then roll back while a money transaction of the tenant is open; three times."""
    database = _open(urls)
    await database.open()
    rollout = _rollout(database)
    seconds: list[float] = []
    try:
        for _ in range(3):
            await rollout.enforce(TENANT, reason="bench", actor=ACTOR, waived_gates=SOFT_GATES)
            async with await psycopg.AsyncConnection.connect(urls.owner) as slow:
                await slow.execute(FENCE, (TENANT,))
                started = time.perf_counter()
                await rollout.rollback(TENANT, reason="bench", actor=ACTOR)
                seconds.append(time.perf_counter() - started)
                await slow.rollback()
    finally:
        await database.close()
    return seconds
