"""The modes: which sides are written, and what is refused when flags contradict each other."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from backend.app.domain.ledger import Arbiter, PostCode
from backend.app.domain.mismatch import MismatchClass
from backend.app.repositories import ledger_repo, withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.app.repositories.presence import FlagsRefused, ensure_flags_agree
from backend.app.services.ledger_telemetry import mismatch_counter
from backend.tests.api_client import WalletClient, serving
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Sides,
    both,
    connect_owner,
    count,
    deposit,
    engine_of,
    hold,
    ledger_types,
    make_player,
    make_tenant,
    open_pools,
    post,
    post_one,
    set_enforce,
    set_global,
    set_legacy,
    sides,
    unopened,
    withdrawal,
)
from backend.tests.invariants import assert_sound
from backend.tests.processes import ServeProcess

MakeDatabase = Callable[..., Database]
SHADOW, ENFORCE = "ledger_shadow_write", "ledger_enforce_balance"


# ---------------------------------------------------------------------------------------------------------------------
# Modes
# ---------------------------------------------------------------------------------------------------------------------


async def test_shadow_off_writes_the_legacy_column_only(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        await set_global(owner, SHADOW, False)
        player = await make_player(owner, await make_tenant(owner), available=100)
        results = await post(pools, deposit(player, 20), hold(player, 50), hold(player, 500))
        assert [result.code for result in results] == [
            PostCode.APPLIED,
            PostCode.APPLIED,
            PostCode.INSUFFICIENT_FUNDS,
        ]
        assert {result.arbiter for result in results} == {Arbiter.LEGACY}
        assert await sides(owner, player) == Sides(70, 50, None, None)
        assert await count(owner, "ledger_transactions", player) == 0
        assert await count(owner, "legacy_movements", player) == 2
        assert await count(owner, "ledger_refusals", player) == 1


async def test_shadow_off_has_no_second_opinion_and_counts_no_mismatch(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, serving(database) as http:
        await set_global(owner, SHADOW, False)
        player = await make_player(owner, await make_tenant(owner), available=100_00)
        client = WalletClient(http=http, player=player)
        assert (await client.withdraw("80.00")).status_code == 201
        assert (await client.withdraw("80.00")).status_code == 400
        assert [mismatch_counter[(player.tenant_id, each)] for each in MismatchClass] == [0, 0, 0]
        cursor = await owner.execute("SELECT legacy_ok, ledger_ok FROM ledger_refusals")
        assert await cursor.fetchall() == [(False, None)]


async def test_shadow_off_still_answers_a_key_once(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        await set_global(owner, SHADOW, False)
        player = await make_player(owner, await make_tenant(owner))
        paid = deposit(player, 20, key="a", provider_event_id="evt")
        results = await asyncio.gather(*(post_one(pools, paid) for _ in range(10)))
        assert sorted(result.code for result in results) == ["applied"] + ["exists"] * 9
        assert {result.legacy_available_after for result in results} == {20}
        for different in (deposit(player, 21, key="a"), deposit(player, 21, key="b", provider_event_id="evt")):
            assert (await post_one(pools, different)).code == PostCode.EXISTS_DIFFERENT
        assert (await post_one(pools, deposit(player, 20, key="b", provider_event_id="evt"))).code == PostCode.EXISTS
        assert await sides(owner, player) == unopened(20)
        await set_global(owner, SHADOW, True)
        assert (await post_one(pools, paid)).code == PostCode.EXISTS, "a key outlives the mode it was used in"
        assert await sides(owner, player) == unopened(20)


async def test_shadow_off_places_a_withdrawal_with_its_row(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        await set_global(owner, SHADOW, False)
        player = await make_player(owner, await make_tenant(owner), available=100)
        command = withdrawal(player, 80)
        async with pools.connection() as conn:
            first = await withdrawal_repo.request(conn, [command, withdrawal(player, 80)])
            again = await withdrawal_repo.request(conn, [command])
        assert [result.code for result in (*first, *again)] == ["applied", "insufficient_funds", "exists"]
        assert again[0].reference == first[0].reference == command.withdrawal_id
        assert await count(owner, "withdrawals", player) == 1
        assert await sides(owner, player) == Sides(20, 80, None, None)


async def test_wallet_opened_after_a_time_without_shadow_carries_what_moved_then(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        tenant_id = await make_tenant(owner)
        player = await make_player(owner, tenant_id, available=100)
        await set_global(owner, SHADOW, False)
        await post(pools, deposit(player, 20))
        await set_global(owner, SHADOW, True)
        await post(pools, deposit(player, 3))
        assert await sides(owner, player) == both(123)
        assert await ledger_types(owner, player) == ["opening_balance", "deposit_captured"]
        await assert_sound(owner, tenant_id)


async def test_wallet_that_was_open_drifts_while_shadow_is_off_and_stays_a_true_fold(
    new_database: MakeDatabase,
) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        tenant_id = await make_tenant(owner)
        player = await make_player(owner, tenant_id, available=100)
        await post(pools, deposit(player, 1))
        await set_global(owner, SHADOW, False)
        await post(pools, deposit(player, 20))
        assert await sides(owner, player) == Sides(121, 0, 101, 0)
        await set_global(owner, SHADOW, True)
        await post(pools, deposit(player, 3))
        assert await sides(owner, player) == Sides(124, 0, 104, 0)
        await assert_sound(owner, tenant_id, with_legacy=False)


async def test_shadow_on_writes_both_sides_in_one_transaction(owner: Owner, pools: Pools) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id, available=100)
    async with pools.connection() as conn, conn.transaction(force_rollback=True):
        await ledger_repo.append_event(conn, deposit(player, 20))
    assert await sides(owner, player) == unopened(100), "neither side without the other"
    await post(pools, deposit(player, 20))
    assert await sides(owner, player) == both(120)
    await assert_sound(owner, tenant_id)


async def test_enforced_legacy_column_becomes_the_snapshot(owner: Owner, pools: Pools) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id, available=100)
    await post(pools, hold(player, 30))
    await set_legacy(owner, player, available=9999, held=1)
    await set_enforce(owner, tenant_id, True)
    await post(pools, deposit(player, 5))
    assert await sides(owner, player) == both(75, 30)
    await assert_sound(owner, tenant_id, with_withdrawals=False)


# ---------------------------------------------------------------------------------------------------------------------
# Enforcing without shadow writing
# ---------------------------------------------------------------------------------------------------------------------


async def test_door_refuses_to_decide_by_a_ledger_that_is_not_written(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        await set_global(owner, SHADOW, False)
        enforced, other = await make_tenant(owner, enforce_override=True), await make_tenant(owner)
        player, neighbour = [await make_player(owner, tenant_id, available=100) for tenant_id in (enforced, other)]
        results = await post(pools, hold(player, 1, key="k"), deposit(player, 1), deposit(neighbour, 1))
        assert [result.code for result in results] == ["mode_refused", "mode_refused", "applied"]
        assert await sides(owner, player) == unopened(100)
        await set_enforce(owner, enforced, None)
        assert (await post_one(pools, hold(player, 1, key="k"))).code == PostCode.APPLIED, "nothing was stored"


async def test_contradiction_is_a_503_for_the_player(new_database: MakeDatabase) -> None:
    database = new_database()
    async with connect_owner(database) as owner, serving(database) as http:
        await set_global(owner, SHADOW, False)
        player = await make_player(owner, await make_tenant(owner, enforce_override=True), available=100_00)
        response = await WalletClient(http=http, player=player).withdraw("1.00")
        assert (response.status_code, response.json()["error_code"]) == (503, "LEDGER_MODE_REFUSED")
        assert await sides(owner, player) == unopened(100_00)


@pytest.mark.parametrize("environment", [{SHADOW: False}, {SHADOW: False, ENFORCE: True}])
async def test_process_that_would_contradict_a_tenant_does_not_start_and_leaves_no_trace(
    new_database: MakeDatabase, environment: Mapping[str, bool]
) -> None:
    database = new_database()
    async with connect_owner(database) as owner:
        player = await make_player(owner, await make_tenant(owner, enforce_override=True))
        with pytest.raises(FlagsRefused, match=f"t-{player.tenant_id.hex}"):
            await ensure_flags_agree(engine_of(database), app_version="test", environment_flags=environment)
        cursor = await owner.execute(
            "SELECT (SELECT count(*) FROM flag_settings), (SELECT count(*) FROM service_instances)"
        )
        assert await cursor.fetchone() == (0, 0)


async def test_serve_refuses_to_start_for_a_tenant_that_is_enforced(new_database: MakeDatabase, tmp_path: Path) -> None:
    database = new_database()
    async with connect_owner(database) as owner:
        tenant_id = await make_tenant(owner, enforce_override=True)
    service = ServeProcess(
        tmp_path,
        environment={
            "DATABASE_URL": database.service_url,
            "DATABASE_OWNER_URL": database.owner_url,
            "LEDGER_SHADOW_WRITE": "False",
        },
    )
    with pytest.raises(AssertionError, match="not ready"):
        await service.start()
    assert service.stop() == 3
    assert f"t-{tenant_id.hex}" in service.log
    assert "Traceback" not in service.log
