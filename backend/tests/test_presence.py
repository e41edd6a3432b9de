"""What running processes have in their environment: the kill switch, and when what they said is swept away."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from backend.app.domain.ledger import Arbiter
from backend.app.repositories import presence
from backend.app.repositories.presence import Presence
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    Sides,
    connect_owner,
    deposit,
    engine_of,
    eventually,
    hold,
    make_player,
    make_tenant,
    open_pools,
    post,
    set_global,
    set_legacy,
    sides,
)
from backend.tests.invariants import assert_sound

MakeDatabase = Callable[..., Database]
ENFORCE = "ledger_enforce_balance"


@asynccontextmanager
async def running(database: Database, **environment: bool) -> AsyncIterator[Presence]:
    """A process whose environment says this, for the length of the block."""
    process = Presence(engine_of(database), app_version="test", environment_flags=environment)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


async def arbiter_of(owner: Owner, player: Player) -> tuple[str, str]:
    """Who decides for the player's tenant, and where that comes from."""
    cursor = await owner.execute(
        "SELECT arbiter, enforce_source FROM tenant_modes WHERE tenant_id = %s", (player.tenant_id,)
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


async def test_kill_switch_beats_every_other_level_while_one_process_holds_it(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        await set_global(owner, ENFORCE, True)
        tenant_id = await make_tenant(owner, enforce_override=True)
        player = await make_player(owner, tenant_id, available=100)
        await post(pools, deposit(player, 1))
        await set_legacy(owner, player, available=60)
        async with running(database, **{ENFORCE: True}):
            assert await arbiter_of(owner, player) == ("ledger", "tenant")
            async with running(database, **{ENFORCE: False}):
                assert await arbiter_of(owner, player) == ("legacy", "environment_false")
                results = await post(pools, hold(player, 80), hold(player, 60))
                assert [result.code for result in results] == ["insufficient_funds", "applied"]
                assert {result.arbiter for result in results} == {Arbiter.LEGACY}
        assert await sides(owner, player) == Sides(0, 60, 41, 60)
        await assert_sound(owner, tenant_id, with_withdrawals=False, with_legacy=False)


async def test_kill_switch_outlives_its_process_until_the_next_one_starts(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner:
        player = await make_player(owner, await make_tenant(owner, enforce_override=True))
        async with running(database, **{ENFORCE: False}):
            pass
        assert await arbiter_of(owner, player) == ("legacy", "environment_false")
        async with running(database):
            assert await arbiter_of(owner, player) == ("ledger", "tenant")


async def test_starting_process_sweeps_the_dead_and_leaves_the_living(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner:
        player = await make_player(owner, await make_tenant(owner, enforce_override=True))
        async with running(database, **{ENFORCE: False}):
            async with running(database, **{ENFORCE: False}):
                pass
            async with running(database), running(database):
                assert await arbiter_of(owner, player) == ("legacy", "environment_false")
                cursor = await owner.execute("SELECT count(*) FROM service_instances")
                assert await cursor.fetchone() == (3,), "three live, one was swept"


async def test_instances_of_another_database_are_nobodys_business(new_database: MakeDatabase) -> None:
    here, there = new_database(), new_database()
    async with connect_owner(here) as owner:
        player = await make_player(owner, await make_tenant(owner, enforce_override=True))
        async with running(here, **{ENFORCE: False}):
            pass
        # The same number in another database of the cluster holds a lock that looks alike but for its database.
        async with running(there), running(here):
            assert await arbiter_of(owner, player) == ("ledger", "tenant")


async def test_process_that_lost_its_session_states_its_environment_again(
    new_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "WATCH_SECONDS", 0.02)
    database = new_database()
    async with connect_owner(database) as owner:
        player = await make_player(owner, await make_tenant(owner, enforce_override=True))

        async def is_killed() -> bool:
            return await arbiter_of(owner, player) == ("legacy", "environment_false")

        async with running(database, **{ENFORCE: False}):
            cursor = await owner.execute("SELECT number FROM service_instances")
            first = await cursor.fetchone()
            # The service's sessions may end one another: both are the same role.
            async with open_pools(database) as pools, pools.connection() as conn:
                await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'hakem-presence' AND datname = current_database()"
                )

            async def is_registered_anew() -> bool:
                cursor = await owner.execute("SELECT max(number) FROM service_instances")
                return await cursor.fetchone() != first

            await eventually(is_registered_anew, what="the process registers again")
            async with running(database):
                assert await is_killed()


async def test_environment_decides_for_tenants_that_nobody_set(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner:
        follower = await make_player(owner, await make_tenant(owner))
        exception = await make_player(owner, await make_tenant(owner, enforce_override=False))
        assert await arbiter_of(owner, follower) == ("legacy", "default")
        async with running(database, **{ENFORCE: True}):
            assert await arbiter_of(owner, follower) == ("ledger", "environment")
            assert await arbiter_of(owner, exception) == ("legacy", "tenant")
            await set_global(owner, ENFORCE, False)
            assert await arbiter_of(owner, follower) == ("legacy", "global")


async def test_expired_setting_says_nothing(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner:
        player = await make_player(owner, await make_tenant(owner))
        await set_global(owner, ENFORCE, True)
        assert await arbiter_of(owner, player) == ("ledger", "global")
        await owner.execute("UPDATE flag_settings SET expires_at = now() - INTERVAL '1 second'")
        assert await arbiter_of(owner, player) == ("legacy", "default")
