"""The backfill for tests: as a coroutine, and as an operator types it, in real processes on a database of the run."""

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import psycopg

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.backfill.backfill import BackfillWallets
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.backfill import BackfillReport, WalletBackfill
from backend.config import CHECKOUT
from backend.tests import commands
from backend.tests.conftest import Database
from backend.tests.factories import Owner, Player

MODULE: Final = "backend.scripts.backfill_wallet_balances"
SECONDS_MAX: Final = 120
SYSTEM: Final = Actor(kind=ActorKind.SYSTEM, actor_id=None, label="a test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> str:
        """The last line of standard output."""
        return self.out.splitlines()[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The command on one database; `environment` adds to it or replaces what it says."""

    database: Database
    home: Path

    def start(
        self, *options: str, folder: Path = CHECKOUT, module: str = MODULE, **environment: str
    ) -> subprocess.Popen[str]:
        """Start it without waiting, as a process that can be killed."""
        return self._start(
            (sys.executable, "-m", module), options, folder=folder, module=module, environment=environment
        )

    def _start(
        self,
        words: tuple[str, ...],
        options: tuple[str, ...],
        *,
        folder: Path,
        module: str,
        environment: dict[str, str],
    ) -> subprocess.Popen[str]:
        arguments = ["backfill", *options] if module == "backend.scripts" else list(options)
        return subprocess.Popen(
            [*words, *arguments],
            cwd=folder,
            env=commands.environment_of(self.database, self.home, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *options: str, folder: Path = CHECKOUT, module: str = MODULE, **environment: str) -> Ran:
        """Run it to its end."""
        words = commands.words(module)
        with self._start(words, options, folder=folder, module=module, environment=environment) as process:
            out, err = process.communicate(timeout=SECONDS_MAX)
        return Ran(code=process.returncode, out=out, err=err)


async def backfill(pools: Pools, tenant_id: UUID | None, **fields: object) -> BackfillReport:
    """Backfill as a job would."""
    wish = BackfillWallets(tenant_id=tenant_id, actor=SYSTEM, **fields)  # type: ignore[arg-type]  # passed through
    return await WalletBackfill(pools, wish).run()


async def force(pools: Pools, tenant_id: UUID, **fields: object) -> BackfillReport:
    """The same, with force."""
    return await backfill(pools, tenant_id, is_forced=True, **fields)


async def runs(owner: Owner, tenant_id: UUID) -> list[tuple[object, ...]]:
    """The tenant's runs: how they ended and their counters."""
    cursor = await owner.execute(
        "SELECT mode, state, scanned, created, skipped_exists, updated_forced, errors, differing FROM backfill_runs "
        "WHERE tenant_id = %s ORDER BY id",
        (tenant_id,),
    )
    return await cursor.fetchall()


def elsewhere(owner_url: str, statement: str, *values: object) -> None:
    """What another system does between two chunks."""
    with psycopg.connect(owner_url) as conn:
        conn.execute(statement.encode(), values)


def summary(**counters: int) -> dict[str, int]:
    """The five counters with these values, the rest zero."""
    found = dict.fromkeys(("created", "skipped_exists", "updated_forced", "errors"), 0) | counters
    return {"scanned": sum(found.values()), **found}


async def kill_under_way(command: Command, *options: str, owner: Owner, tenant_id: UUID) -> None:
    """Start a backfill and kill -9 it after a few of its chunks."""

    async def scanned() -> int:
        cursor = await owner.execute("SELECT max(scanned) FROM backfill_runs WHERE tenant_id = %s", (tenant_id,))
        row = await cursor.fetchone()
        return row[0] or 0 if row is not None else 0

    before = await scanned()
    with command.start(*options) as process:
        async with asyncio.timeout(60):
            while await scanned() < before + 20:
                assert process.poll() is None, f"it ended before it could be killed: {process.communicate()}"
                await asyncio.sleep(0.002)
        process.kill()
        process.communicate()
    assert process.returncode == -9


async def open_withdrawals(owner: Owner, player: Player) -> list[tuple[object, ...]]:
    """Method, state and amount of the player's withdrawals."""
    cursor = await owner.execute(
        "SELECT method, state, amount FROM withdrawals WHERE player_id = %s ORDER BY created_at, amount", (player.id,)
    )
    return await cursor.fetchall()
