"""Backfills that meet: held rows, newcomers, flips, dead and doubled runs, and the money path's own opening."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from backend.app.domain.backfill.backfill import BackfillWallets
from backend.app.repositories import ledger_repo
from backend.app.repositories.backfill import backfill_repo
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.backfill import BackfillProgress, WalletBackfill
from backend.tests.backfill_command import SYSTEM, Command, backfill, elsewhere, kill_under_way, runs, summary
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    both,
    deposit,
    ledger_types,
    make_player,
    make_players,
    make_tenant,
    row_held,
    sides,
    until_blocked,
)
from backend.tests.invariants import assert_sound


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def test_dead_run_is_abandoned_by_a_run_from_the_start(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID, tmp_path: Path
) -> None:
    await make_players(owner, tenant_id, 60, available=5)
    command = Command(database=database, home=tmp_path)
    await kill_under_way(command, "--tenant-id", str(tenant_id), "--batch-size", "1", owner=owner, tenant_id=tenant_id)
    ran = await asyncio.to_thread(command.run, "--tenant-id", str(tenant_id))
    assert ran.code == 0
    assert ran.summary.startswith("scanned=60 ")
    cursor = await owner.execute("SELECT state FROM backfill_runs WHERE tenant_id = %s ORDER BY id", (tenant_id,))
    assert await cursor.fetchall() == [("abandoned",), ("completed",)]
    await assert_sound(owner, tenant_id)


async def test_cancelled_run_is_stopped_and_resumed_with_its_counters(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    await make_players(owner, tenant_id, 40, available=5)
    has_begun = asyncio.Event()
    wish = BackfillWallets(tenant_id=tenant_id, actor=SYSTEM, batch_size=1, is_resumed=True)
    task = asyncio.create_task(WalletBackfill(pools, wish, on_progress=lambda _: has_begun.set()).run())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    cursor = await owner.execute("SELECT state FROM backfill_runs WHERE tenant_id = %s", (tenant_id,))
    assert await cursor.fetchall() == [("stopped",)]
    report = await WalletBackfill(pools, wish).run()
    assert (report.counts.scanned, report.counts.created) == (40, 40)
    cursor = await owner.execute("SELECT state FROM backfill_runs WHERE tenant_id = %s", (tenant_id,))
    assert await cursor.fetchall() == [("completed",)]
    await assert_sound(owner, tenant_id)


async def test_process_that_lost_its_run_can_write_nothing_more(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    players = await make_players(owner, tenant_id, 4, available=5)
    async with pools.connection() as conn:
        (tenant,) = await backfill_repo.list_tenants(conn, tenant_id, after_id=None)
        old = await backfill_repo.insert_run(
            conn,
            tenant_id,
            mode=BackfillWallets(tenant_id=tenant_id, actor=SYSTEM).mode,
            reason=None,
            actor=SYSTEM,
            runner="thought dead",
            batch_size=1,
            forced_max=0,
            arbiter=tenant.arbiter,
            epoch=tenant.epoch,
        )
        assert (await backfill_repo.work_chunk(conn, old, rows=1, rows_per_second=0)).counts.scanned == 1
        new = await backfill_repo.take_over_run(conn, tenant_id, run_id=old.run_id, runner="alive", batch_size=1)
        assert (await backfill_repo.work_chunk(conn, old, rows=1, rows_per_second=0)).code == "lease_lost"
        assert (await backfill_repo.work_chunk(conn, new, rows=1, rows_per_second=0)).counts.scanned == 2
    assert [await sides(owner, player) for player in players].count(both(5)) == 2


async def test_first_touch_waits_for_the_chunk_and_finds_the_wallet_open(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=100, held=3)
    async with pools.connection() as touching, pools.connection() as conn:
        (tenant,) = await backfill_repo.list_tenants(conn, tenant_id, after_id=None)
        async with conn.transaction():
            lease = await backfill_repo.insert_run(
                conn,
                tenant_id,
                mode=BackfillWallets(tenant_id=tenant_id, actor=SYSTEM).mode,
                reason=None,
                actor=SYSTEM,
                runner="a test",
                batch_size=10,
                forced_max=0,
                arbiter=tenant.arbiter,
                epoch=tenant.epoch,
            )
            assert (await backfill_repo.work_chunk(conn, lease, rows=10, rows_per_second=0)).counts.created == 1
            first = asyncio.create_task(ledger_repo.append_event(touching, deposit(player, 5)))
            await until_blocked(owner, touching)
        await first
    assert await sides(owner, player) == both(105, 3)
    assert await ledger_types(owner, player) == ["opening_balance", "opening_balance", "deposit_captured"]
    await assert_sound(owner, tenant_id)


async def test_two_backfills_at_once_in_one_process(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    players = await make_players(owner, tenant_id, 50, available=5)
    wish = BackfillWallets(tenant_id=tenant_id, actor=SYSTEM, batch_size=3)
    reports = await asyncio.gather(*(WalletBackfill(pools, wish).run() for _ in range(3)))
    assert sum(report.counts.created for report in reports) == 50
    assert [await sides(owner, player) for player in players] == [both(5)] * 50
    await assert_sound(owner, tenant_id)


async def test_service_may_write_no_counter_of_a_run(pools: Pools) -> None:
    for column in ("scanned", "created", "checkpoint", "phase", "money", "rows_max", "arbiter"):
        async with pools.connection() as conn:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await conn.execute(f"UPDATE backfill_runs SET {column} = {column}".encode())


async def test_player_whose_row_is_held_gets_another_turn(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID
) -> None:
    players = await make_players(owner, tenant_id, 30, available=10)
    busy = sorted(players, key=lambda player: player.id)[3]

    async def deferred() -> int:
        cursor = await owner.execute("SELECT count(*) FROM backfill_deferred WHERE player_id = %s", (busy.id,))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async with row_held(database, busy) as holder:
        running = asyncio.create_task(backfill(pools, tenant_id, batch_size=10))
        async with asyncio.timeout(20):
            while not await deferred():  # noqa: ASYNC110 - happens in another session
                await asyncio.sleep(0.002)
        # Everybody else is served before the one who is busy.
        await holder.execute("UPDATE players SET balance_real_available = 4 WHERE id = %s", (busy.id,))
    assert (await running).counts.summary == summary(created=30)
    assert await sides(owner, busy) == both(4)
    assert await deferred() == 0
    await assert_sound(owner, tenant_id)


async def test_player_whose_row_stays_held_is_named_and_the_rest_goes_on(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID
) -> None:
    players = await make_players(owner, tenant_id, 3, available=10)
    async with row_held(database, players[1]):
        report = await backfill(pools, tenant_id)
    assert report.counts.summary == summary(created=2, errors=1)
    assert [(noted.player_id, noted.code) for noted in report.noted] == [(players[1].id, "locked")]
    assert (await backfill(pools, tenant_id)).counts.summary == summary(created=1, skipped_exists=2)
    await assert_sound(owner, tenant_id)


async def test_players_who_came_behind_the_checkpoint_are_swept_up(
    owner: Owner, pools: Pools, tenant_id: UUID, owner_url: str
) -> None:
    await make_players(owner, tenant_id, 40, available=10)
    # Registered by another system while the run is under way, with an id below all that were scanned.
    late = Player(tenant_id=tenant_id, id=UUID(int=uuid4().int % 2**64))
    negative = Player(tenant_id=tenant_id, id=UUID(int=uuid4().int % 2**64))

    def on_progress(progress: BackfillProgress) -> None:
        if progress.counts.scanned == 5:
            elsewhere(
                owner_url,
                "INSERT INTO players (id, tenant_id, email, username, currency, balance_real_available) VALUES "
                "(%s, %s, gen_random_uuid() || '@example.com', 'late', 'USD', 77), "
                "(%s, %s, gen_random_uuid() || '@example.com', 'late', 'USD', -1)",
                late.id,
                tenant_id,
                negative.id,
                tenant_id,
            )

    wish = BackfillWallets(tenant_id=tenant_id, actor=SYSTEM, batch_size=1)
    report = await WalletBackfill(pools, wish, on_progress=on_progress).run()
    assert report.counts.summary == summary(created=41, errors=1)
    assert await sides(owner, late) == both(77)
    await assert_sound(owner, tenant_id)


async def test_flip_under_way_ends_the_run(owner: Owner, pools: Pools, tenant_id: UUID, owner_url: str) -> None:
    await make_players(owner, tenant_id, 30, available=10)

    def on_progress(progress: BackfillProgress) -> None:
        if progress.counts.scanned == 5:
            elsewhere(owner_url, "UPDATE tenants SET epoch = epoch + 1 WHERE id = %s", tenant_id)

    wish = BackfillWallets(tenant_id=tenant_id, actor=SYSTEM, batch_size=1)
    report = await WalletBackfill(pools, wish, on_progress=on_progress).run()
    assert "the arbiter was changed" in report.refusals[0]
    assert report.counts.created == 5
    assert [row[:2] for row in await runs(owner, tenant_id)] == [("open", "refused")]
    assert (await backfill(pools, tenant_id)).counts.scanned == 30
    await assert_sound(owner, tenant_id)
