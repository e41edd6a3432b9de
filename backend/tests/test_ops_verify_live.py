"""The census beside live traffic, cut off in the middle, and typed as an operator types it."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from backend.app.domain.backfill.census import CensusReport, Progress
from backend.app.repositories.backfill import census_repo
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.census import Census, CensusTaken
from backend.tests import api_client, commands, factories, ledger_history
from backend.tests.conftest import Database
from backend.tests.factories import Owner
from backend.tests.ledger_history import World
from backend.tests.test_cli_people import environment

WRITERS: Final = 8
ROUNDS: Final = 20
REGISTERED_MAX: Final = 10
# Enough for a run to be caught in the middle.
PLAYERS: Final = 30_000
ATTEMPTS: Final = 5


async def test_live_traffic_raises_no_false_alarm(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with (
        factories.connect_owner(database) as owner,
        factories.open_pools(database) as pools,
        api_client.serving(database) as http,
    ):
        world = World(database=database, owner=owner, pools=pools, http=http)
        tenant_id, players = await ledger_history.make_tenant(world, players=6)
        census = Census(pools, chunk_players_max=5)
        async with asyncio.TaskGroup() as group:
            is_over = asyncio.Event()
            writers = [group.create_task(_write(world, players, seed=seed, is_over=is_over)) for seed in range(WRITERS)]
            writers.append(group.create_task(_flip_and_register(world, tenant_id, is_over=is_over)))
            try:
                transactions = 0
                for _ in range(ROUNDS):
                    report = await census.run(tenant_id, started_by="a test", is_fresh=True)
                    assert report.is_clean, report.differences
                    # Not even seen once: a statement sees what belongs together together.
                    assert report.run.unconfirmed == 0
                    await _until_more(owner, tenant_id, transactions=report.transactions)
                    assert report.transactions > transactions
                    transactions = report.transactions
            finally:
                is_over.set()
        assert all(task.result() for task in writers), "every writer wrote"


async def _write(world: World, players: list[factories.Player], *, seed: int, is_over: asyncio.Event) -> int:
    rounds = 0
    while not is_over.is_set():
        await ledger_history.move_at_random(world, players, seed=seed * 10_000 + rounds, moves=10, by_http=seed < 2)
        rounds += 1
    return rounds


async def _flip_and_register(world: World, tenant_id: UUID, *, is_over: asyncio.Event) -> int:
    rounds = 0
    async with factories.connect_owner(world.database) as owner:
        while not is_over.is_set():
            await factories.set_enforce(owner, tenant_id, rounds % 2 == 0)
            rounds += 1
            if rounds > REGISTERED_MAX:
                continue
            body = {
                "tenant_id": str(tenant_id),
                "email": f"{uuid4().hex}@example.com",
                "username": "somebody",
                "password": "correct horse",
            }
            response = await world.http.post("/api/v1/auth/player/register", json=body)
            assert response.status_code == httpx.codes.CREATED, response.text
    return rounds


async def _until_more(owner: Owner, tenant_id: UUID, *, transactions: int) -> None:
    async def is_more() -> bool:
        cursor = await owner.execute("SELECT count(*) FROM ledger_transactions WHERE tenant_id = %s", (tenant_id,))
        row = await cursor.fetchone()
        return row is not None and row[0] > transactions

    await factories.eventually(is_more, what="the writers write")


async def test_difference_that_is_gone_when_read_again_does_not_count(
    database: Database, owner: Owner, pools: Pools, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(database=database, owner=owner, pools=pools, http=http)
    tenant_id, players = await ledger_history.make_tenant(world)
    await factories.set_legacy(owner, players[0], available=1)
    reads = 0

    # The moment between both readings, made long enough for somebody to put things right in it.
    read_chunk = census_repo.read_chunk

    async def read_and_repair(*arguments: Any, **named: Any) -> Any:
        nonlocal reads
        reads += 1
        chunk = await read_chunk(*arguments, **named)
        if reads == 1:
            await factories.set_legacy(owner, players[0], available=ledger_history.AVAILABLE)
        return chunk

    monkeypatch.setattr(census_repo, "read_chunk", read_and_repair)
    report = await Census(pools).run(tenant_id, started_by="a test", is_fresh=True)
    assert (report.is_clean, report.counts, report.differences) == (True, [], [])
    assert report.run.unconfirmed == 2


async def test_run_steps_back_while_somebody_waits_for_a_lock(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with factories.connect_owner(database) as owner, factories.open_pools(database) as pools:
        tenant_id = await factories.make_tenant(owner)
        player = await factories.make_player(owner, tenant_id)
        await factories.post_one(pools, factories.deposit(player, 5))
        seen: list[Progress] = []
        waiting_long = asyncio.Event()

        async def wait_for_lock() -> None:
            async with pools.transaction() as conn:
                await conn.execute("SELECT FROM players WHERE id = %s FOR NO KEY UPDATE", (player.id,))

        def watch(progress: Progress) -> None:
            seen.append(progress)
            if progress.paused_because:
                waiting_long.set()

        async def has_waited() -> bool:
            cursor = await owner.execute(
                "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity USING (pid) WHERE NOT l.granted "
                "AND datname = current_database() AND waitstart < clock_timestamp() - INTERVAL '600 ms')"
            )
            row = await cursor.fetchone()
            return row is not None and bool(row[0])

        async with asyncio.TaskGroup() as group, factories.row_held(database, player):
            group.create_task(wait_for_lock())
            await factories.eventually(has_waited, what="somebody waits for a lock")
            run = group.create_task(Census(pools).run(tenant_id, started_by="a test", on_progress=watch))
            await asyncio.wait_for(waiting_long.wait(), factories.DEADLINE_SECONDS)
            assert not run.done()
        report = run.result()
        assert report.run.paused_ms > 0
        assert seen[0].paused_because == "1 sessions wait for locks"


async def test_run_goes_on_at_its_checkpoint(database: Database, owner: Owner, pools: Pools) -> None:
    tenant_id = await factories.make_tenant(owner)
    await factories.make_players(owner, tenant_id, 9, available=1)
    census = Census(pools, chunk_players_max=2)
    cut_off = await census.run(tenant_id, started_by="a test", budget_seconds=0)
    assert (cut_off.run.finished_at, cut_off.players) == (None, 2)
    report = await census.run(tenant_id, started_by="somebody else")
    assert (report.run.id, report.run.resumes, report.run.started_by) == (cut_off.run.id, 1, "a test")
    fresh = await census.run(tenant_id, started_by="a test", is_fresh=True)
    assert _result(report) == _result(fresh)
    assert (report.found, report.players) == (9, 9)


async def test_run_whose_findings_are_gone_begins_anew(database: Database, owner: Owner, pools: Pools) -> None:
    tenant_id = await factories.make_tenant(owner)
    players = await factories.make_players(owner, tenant_id, 5, available=1)
    census = Census(pools, chunk_players_max=2)
    cut_off = await census.run(tenant_id, started_by="a test", budget_seconds=0)
    assert cut_off.found == 2
    async with pools.connection() as conn:
        await conn.execute("SELECT wallet_open_v1(%s, %b)", (tenant_id, [player.id for player in players]))
    report = await census.run(tenant_id, started_by="a test")
    assert (report.is_clean, report.run.id != cut_off.run.id) == (True, True)
    states = await (await owner.execute("SELECT state FROM census_runs WHERE id = %s", (cut_off.run.id,))).fetchone()
    assert states == ("abandoned",)


async def test_scheduled_run_that_another_process_works_on_is_left_to_it(
    database: Database, owner: Owner, pools: Pools
) -> None:
    tenant_id = await factories.make_tenant(owner)
    await factories.make_players(owner, tenant_id, 5)
    census = Census(pools, chunk_players_max=2)
    cut_off = await census.run(tenant_id, started_by="a test", is_scheduled=True, budget_seconds=0)
    cursor = await owner.execute(
        "SELECT pg_advisory_lock(4711006, number) FROM census_runs WHERE id = %s", (cut_off.run.id,)
    )
    assert await cursor.fetchone() is not None
    try:
        with pytest.raises(CensusTaken):
            await census.run(tenant_id, started_by="a test", is_scheduled=True)
        # A person is answered all the same.
        assert (await census.run(tenant_id, started_by="a test")).run.id != cut_off.run.id
    finally:
        await owner.execute("SELECT pg_advisory_unlock_all()")


def _result(report: CensusReport) -> tuple[Any, ...]:
    differences = [(each.subject, each.wallet_version, each.amount_minor, each.place) for each in report.differences]
    return report.run.state, list(report.totals), list(report.accounts), list(report.counts), differences


# ---------------------------------------------------------------------------------------------------------------------
# Real processes
# ---------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def verifying(database: Database, home: Path, *arguments: str) -> AsyncIterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-m", "backend.scripts", "verify", *arguments],
        env=environment(database, home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def verify(database: Database, home: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*commands.words(), "verify", *arguments],
        env=environment(database, home),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


async def test_kill_9_and_resume_gives_the_same(new_database: Callable[..., Database], tmp_path: Path) -> None:
    database = new_database()
    async with factories.connect_owner(database) as owner:
        tenant_id = await factories.make_tenant(owner)
        await owner.execute(
            "INSERT INTO players (tenant_id, email, username, currency, balance_real_available) "
            "SELECT %s, n || '@example.com', 'somebody', 'USD', n FROM generate_series(1, %s) AS n",
            (tenant_id, PLAYERS),
        )
        await owner.execute(
            "SELECT wallet_open_v1(%(t)s, array_agg(id)) FROM players WHERE tenant_id = %(t)s", {"t": tenant_id}
        )
        # Found before the kill and after it.
        ends = "(SELECT id FROM players WHERE tenant_id = %(t)s ORDER BY id {} LIMIT 1)"
        await owner.execute(
            "UPDATE players SET balance_real_available = -7 WHERE id IN "
            f"({ends.format('')}, {ends.format('DESC')})".encode(),
            {"t": tenant_id},
        )
        for _ in range(ATTEMPTS):
            async with verifying(database, tmp_path, "--tenant-id", str(tenant_id)) as process:
                if await _until_under_way(owner, process):
                    process.send_signal(signal.SIGKILL)
                    await asyncio.to_thread(process.wait, 30)
                    break
        else:
            raise AssertionError("never caught in the middle")
        state = await (await owner.execute("SELECT state, chunks FROM census_runs ORDER BY id DESC LIMIT 1")).fetchone()
        assert state is not None
        assert (state[0], state[1] > 0) == ("running", True)
        resumed = await asyncio.to_thread(verify, database, tmp_path, "--json")
        fresh = await asyncio.to_thread(verify, database, tmp_path, "--json", "--fresh")
        assert (resumed[0], fresh[0]) == (1, 1)
        resumed_run, fresh_run = (json.loads(done[1])["runs"][0] for done in (resumed, fresh))
        assert (resumed_run["resumes"], fresh_run["resumes"]) == (1, 0)
        for part in ("state", "totals", "accounts", "classes"):
            assert resumed_run[part] == fresh_run[part]
        assert [each["differences"] for each in fresh_run["classes"]] == [2, 2, 2]


async def _until_under_way(owner: Owner, process: subprocess.Popen[str]) -> bool:
    """Whether the run could be caught after a chunk and before its end."""
    deadline = time.monotonic() + factories.DEADLINE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        cursor = await owner.execute("SELECT chunks > 0 FROM census_runs WHERE state = 'running'")
        if await cursor.fetchone() == (True,):
            return True
        await asyncio.sleep(0.001)
    return False


async def test_exit_codes_and_what_is_printed(new_database: Callable[..., Database], tmp_path: Path) -> None:
    database = new_database()
    async with (
        factories.connect_owner(database) as owner,
        factories.open_pools(database) as pools,
        api_client.serving(database) as http,
    ):
        world = World(database=database, owner=owner, pools=pools, http=http)
        tenant_id, players = await ledger_history.make_tenant(world)
        other_id = await factories.make_tenant(owner)

        async def typed(*arguments: str) -> tuple[int, str, str]:
            return await asyncio.to_thread(verify, database, tmp_path, *arguments)

        exit_code, printed, _ = await typed()
        assert exit_code == 0
        assert printed.splitlines()[-1].startswith("clean: tenants=2 players=3 transactions=18 differences=0 seconds=")
        await factories.set_legacy(owner, players[0], available=1)
        exit_code, printed, _ = await typed()
        assert exit_code == 1
        assert printed.splitlines()[-1].startswith("differences: tenants=2 players=3 transactions=18 differences=2 ")
        assert f"player_id={players[0].id} amount=139.99 USD" in printed
        assert "available_diff: 1 in tenant" in printed
        exit_code, printed, _ = await typed("--tenant-id", str(tenant_id), "--json")
        document = json.loads(printed)
        assert (exit_code, document["is_clean"], document["differences"]) == (1, False, 2)
        named = document["runs"][0]["classes"][0]["named"][0]
        assert (named["player_id"], named["evidence"]["wallet"]["available"]) == (
            str(players[0].id),
            ledger_history.AVAILABLE,
        )
        assert (await typed("--tenant-id", str(other_id)))[0] == 0
        unknown = await typed("--tenant-id", str(uuid4()))
        assert (unknown[0], "there is no tenant" in unknown[2]) == (2, True)
        assert (await typed("--tenant-id", "nobody"))[0] == 2


def test_missing_schema_and_missing_database_are_the_environments_fault(
    new_database: Callable[..., Database], tmp_path: Path
) -> None:
    empty = new_database(migrated=False)
    exit_code, printed, complaint = verify(empty, tmp_path)
    assert (exit_code, printed) == (3, "")
    assert "hakem db migrate" in complaint
    gone = Database(
        name="gone",
        owner_url=empty.owner_url.replace(empty.name, "gone"),
        service_url=empty.service_url.replace(empty.name, "gone"),
        superuser_url="",
    )
    assert verify(gone, tmp_path)[0] == 3


def test_service_role_may_read_all_that_is_judged(database: Database) -> None:
    with psycopg.connect(database.service_url) as conn:
        for table in ("ledger_transactions", "legacy_movements", "ledger_refusals", "deposits", "withdrawals"):
            conn.execute(f"SELECT FROM {table} LIMIT 1".encode())
