"""Opening the wallets of a large tenant: players a second, memory of the process, and what live players notice."""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import psycopg
import uvloop
from uuid_utils.compat import uuid7

from backend.app.domain.ledger import PostCode
from backend.app.domain.money import Money
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import withdrawal_repo
from backend.app.repositories.database import Database
from backend.app.repositories.group_commit import GroupCommit
from backend.config import Settings
from bench.context import Context
from bench.measure import Measurement, Outcome, open_loop
from bench.server import RICH_MINOR, Urls
from bench.workload import CURRENCY, PLAYERS, TENANT, player_id

MEBIBYTE: Final = 2**20
LIVE_PER_SECOND: Final = 500.0
WARM_UP_SECONDS: Final = 2.0
END_SECONDS_MAX: Final = 600.0

# Of the same tenant and after its opened players, every tenth with money held.
ADD_PLAYERS: Final = """
INSERT INTO players (id, tenant_id, email, username, currency, kyc_status, balance_real_available, balance_real_held)
SELECT
    ('01900000-0000-7000-8000-' || lpad(to_hex(%(first)s + series.number), 12, '0'))::UUID,
    %(tenant_id)s,
    'newcomer-' || series.number || '@bench.invalid',
    'newcomer-' || series.number,
    %(currency)s,
    'verified',
    %(rich)s + series.number,
    CASE WHEN series.number %% 10 = 0 THEN 500 ELSE 0 END
FROM generate_series(1, %(players)s) AS series (number)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the command, by the row that it left and by its process."""

    scanned: int
    seconds: float
    memory_bytes: int


def measure(context: Context) -> list[Measurement]:
    """Alone: the first run and one that finds all done. Then live withdrawals without a backfill, and beside one."""
    alone = _load(context, "backfill")
    first, again = _run(alone), _run(alone)
    lines = [
        _line("first run, nobody plays", first, wanted="wanted: 20,000/s and less than 200 MB"),
        _line("again, all opened", again, wanted=""),
    ]
    beside = _load(context, "backfill_live")
    return lines + uvloop.run(_measure_live(context, beside))


def _line(name: str, run: Run, *, wanted: str) -> Measurement:
    return Measurement(
        group="backfill",
        name=f"{run.scanned:,} players, {name}",
        events_per_second=run.scanned / run.seconds,
        note=f"{run.memory_bytes / MEBIBYTE:.0f} MB at most{'; ' if wanted else ''}{wanted}",
    )


async def _measure_live(context: Context, urls: Urls) -> list[Measurement]:
    players = PLAYERS + context.backfill_players
    name = f"live withdrawals at {LIVE_PER_SECOND:g}/s of {players:,} players"
    database = Database(context.server.engine(urls), Settings.load())
    await database.open()
    writer = GroupCommit("bench_backfill_live", database, withdrawal_repo.request)
    dice = random.Random(1)

    async def withdraw() -> Outcome:
        result = await writer.submit(
            RequestWithdrawal(
                withdrawal_id=uuid7(),
                tenant_id=TENANT,
                player_id=player_id(dice.randint(1, players)),
                money=Money(amount_minor=1, currency=CURRENCY),
                method="test",
                address="DE89370400440532013000",
                idempotency_key=str(uuid7()),
            )
        )
        return Outcome.APPLIED if result.code == PostCode.APPLIED else Outcome.REFUSED

    try:
        await open_loop(withdraw, per_second=LIVE_PER_SECOND, seconds=WARM_UP_SECONDS)
        without = await open_loop(withdraw, per_second=LIVE_PER_SECOND, seconds=context.seconds)
        with _started(urls) as process:
            scanned_before = await _until_scanning(urls, process)
            beside = await open_loop(withdraw, per_second=LIVE_PER_SECOND, seconds=context.seconds)
            scanned = _scanned(urls) - scanned_before
    finally:
        await writer.drain(deadline_seconds=10.0)
        await database.close()
    lines = [without.measurement("backfill", f"{name}, alone"), beside.measurement("backfill", f"{name}, beside it")]
    p99 = [line.latencies_ms[1] if line.latencies_ms else 0.0 for line in lines]
    share = f"p99 × {p99[1] / p99[0]:.2f} (wanted: ≤ 2); " if p99[0] else ""
    lines.append(
        Measurement(
            group="backfill",
            name="players opened meanwhile",
            events_per_second=scanned / beside.elapsed_seconds,
            note=f"{share}it yields to whoever plays",
        )
    )
    return lines


def _load(context: Context, name: str) -> Urls:
    urls = context.server.clone(name)
    with psycopg.connect(urls.owner) as conn:
        conn.execute(
            ADD_PLAYERS,
            {
                "first": PLAYERS,
                "tenant_id": TENANT,
                "currency": CURRENCY,
                "rich": RICH_MINOR,
                "players": context.backfill_players,
            },
        )
    with psycopg.connect(urls.superuser, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE) players")
        conn.execute("CHECKPOINT")
    return urls


def _run(urls: Urls) -> Run:
    """Run the command to its end, watching its memory."""
    memory_bytes = 0
    with _started(urls) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                memory_bytes = max(memory_bytes, watched.memory_info().rss)
                process.wait(0.05)
            except (subprocess.TimeoutExpired, psutil.NoSuchProcess):
                continue
        assert process.returncode == 0, f"the backfill ended with {process.returncode}"
    with psycopg.connect(urls.owner) as conn:
        row = conn.execute(
            "SELECT scanned, extract(EPOCH FROM finished_at - started_at)::DOUBLE PRECISION FROM backfill_runs "
            "ORDER BY id DESC LIMIT 1"
        ).fetchone()
    assert row is not None, "a run leaves a row"
    return Run(scanned=row[0], seconds=row[1], memory_bytes=memory_bytes)


@contextmanager
def _started(urls: Urls) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory(prefix="hakem-bench-backfill-") as folder:
        log = Path(folder) / "backfill.log"
        with log.open("wb") as opened:
            process = subprocess.Popen(
                [sys.executable, "-m", "backend.scripts", "backfill", "--tenant-id", str(TENANT)],
                env={
                    **os.environ,
                    "DATABASE_URL": urls.service,
                    "DATABASE_OWNER_URL": urls.owner,
                    "HAKEM_HOME": folder,
                },
                stdout=opened,
                stderr=opened,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(END_SECONDS_MAX)


async def _until_scanning(urls: Urls, process: subprocess.Popen[bytes]) -> int:
    """Wait until the run is past the players who were open before; how many it has scanned."""
    async with asyncio.timeout(60):
        while (scanned := _scanned(urls)) <= PLAYERS:
            assert process.poll() is None, "the backfill ended before it was measured"
            await asyncio.sleep(0.05)
    return scanned


def _scanned(urls: Urls) -> int:
    with psycopg.connect(urls.owner) as conn:
        row = conn.execute("SELECT scanned FROM backfill_runs ORDER BY id DESC LIMIT 1").fetchone()
    return 0 if row is None else int(row[0])
