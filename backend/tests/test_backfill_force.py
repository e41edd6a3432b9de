"""Force: the side that does not decide is moved to where the arbiter stands, exactly, explained, and not too often."""

from uuid import UUID

import pytest

from backend.app.domain.backfill.backfill import BackfillRefused, BackfillWallets
from backend.app.repositories import withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.backfill import WalletBackfill
from backend.tests.backfill_command import SYSTEM, backfill, elsewhere, force, open_withdrawals, runs, summary
from backend.tests.factories import (
    Owner,
    Sides,
    both,
    ledger_types,
    make_player,
    make_players,
    make_tenant,
    set_enforce,
    set_legacy,
    sides,
    withdrawal,
)
from backend.tests.invariants import assert_sound


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def test_force_in_an_enforced_tenant_repairs_the_legacy_column(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=50, held=20)
    await backfill(pools, tenant_id)
    await set_enforce(owner, tenant_id, True)
    await set_legacy(owner, player, available=-8, held=77)
    assert (await force(pools, tenant_id)).counts.summary == summary(updated_forced=1)
    assert await sides(owner, player) == both(50, 20)
    assert await ledger_types(owner, player) == ["opening_balance", "opening_balance"]
    cursor = await owner.execute(
        "SELECT actor_kind, reason, state_before ->> 'available_minor', state_after ->> 'available_minor' "
        "FROM audit_events WHERE tenant_id = %s AND action = 'player.legacy_repaired' AND object_id = %s",
        (tenant_id, str(player.id)),
    )
    assert await cursor.fetchall() == [("system", "forced backfill by a test, who gave no reason", "-8", "50")]
    cursor = await owner.execute(
        "SELECT class, legacy_available, ledger_available, arbiter FROM ledger_mismatches WHERE player_id = %s",
        (player.id,),
    )
    assert await cursor.fetchall() == [("available_diff", -8, 50, "ledger")]
    await assert_sound(owner, tenant_id)


async def test_enforced_ledger_that_contradicts_itself_repairs_nothing(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=50)
    await backfill(pools, tenant_id)
    await set_enforce(owner, tenant_id, True)
    await owner.execute("UPDATE wallet_balances SET balance_real_available = 1000 WHERE player_id = %s", (player.id,))
    report = await force(pools, tenant_id)
    assert report.counts.summary == summary(errors=1)
    assert [noted.code for noted in report.noted] == ["snapshot_not_fold"]
    assert await sides(owner, player) == Sides(50, 0, 1000, 0)


async def test_force_mends_a_snapshot_that_was_written_into(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=50)
    await backfill(pools, tenant_id)
    await owner.execute("UPDATE wallet_balances SET balance_real_available = 7 WHERE player_id = %s", (player.id,))
    assert (await force(pools, tenant_id)).counts.summary == summary(updated_forced=1)
    assert await ledger_types(owner, player) == ["opening_balance"]
    await assert_sound(owner, tenant_id)


async def test_forced_hold_below_the_open_withdrawals_is_reported(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=50, held=20)
    await backfill(pools, tenant_id)
    await set_legacy(owner, player, available=60, held=5)
    report = await force(pools, tenant_id)
    assert (report.counts.summary, report.counts.unexplained_holds) == (summary(updated_forced=1), 1)
    assert report.counts.has_differences
    assert [(noted.player_id, noted.code) for noted in report.noted] == [(player.id, "held_below_withdrawals")]
    assert await sides(owner, player) == both(60, 5)
    await assert_sound(owner, tenant_id, with_withdrawals=False)

    # Back again: the withdrawal that is still open explains it, and no second one is made.
    await set_legacy(owner, player, available=60, held=20)
    assert (await force(pools, tenant_id)).counts.unexplained_holds == 0
    assert await open_withdrawals(owner, player) == [("legacy_hold", "requested", 20)]
    await assert_sound(owner, tenant_id)


async def test_force_leaves_equal_wallets_and_negative_balances_alone(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    equal, negative = await make_player(owner, tenant_id, available=5), await make_player(owner, tenant_id, available=5)
    await backfill(pools, tenant_id)
    await set_legacy(owner, negative, available=-5)
    assert (await force(pools, tenant_id)).counts.summary == summary(skipped_exists=1, errors=1)
    assert await ledger_types(owner, equal) == await ledger_types(owner, negative) == ["opening_balance"]


async def test_force_of_more_than_allowed_is_refused_and_moves_nothing(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    players = await make_players(owner, tenant_id, 3, available=10)
    await backfill(pools, tenant_id)
    for player in players:
        await set_legacy(owner, player, available=11)
    with pytest.raises(BackfillRefused, match="3 wallets would be forced, and at most 2"):
        await force(pools, tenant_id, forced_max=2)
    assert [await sides(owner, player) for player in players] == [Sides(11, 0, 10, 0)] * 3
    assert (await force(pools, tenant_id, forced_max=3)).counts.summary == summary(updated_forced=3)
    await assert_sound(owner, tenant_id)


async def test_force_that_finds_more_than_it_planned_stops_at_its_limit(
    owner: Owner, pools: Pools, tenant_id: UUID, owner_url: str
) -> None:
    players = await make_players(owner, tenant_id, 3, available=10)
    await backfill(pools, tenant_id)
    await set_legacy(owner, players[0], available=11)
    wish = BackfillWallets(tenant_id=tenant_id, actor=SYSTEM, is_forced=True, forced_max=1)

    def drift(_: object) -> None:
        elsewhere(owner_url, "UPDATE players SET balance_real_available = 11 WHERE tenant_id = %s", tenant_id)

    (refusal,) = (await WalletBackfill(pools, wish, on_plan=drift).run()).refusals
    assert "may force 1 wallets and has come to more" in refusal
    assert [await sides(owner, player) for player in players] == [Sides(11, 0, 10, 0)] * 3
    assert [row[:2] for row in await runs(owner, tenant_id)] == [("open", "completed"), ("force", "refused")]


async def test_open_withdrawals_of_players_stay_explained(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=50, held=20)
    async with pools.connection() as conn:
        await withdrawal_repo.request(conn, [withdrawal(player, 5)])
    await set_legacy(owner, player, available=45, held=30)
    assert (await force(pools, tenant_id)).counts.summary == summary(updated_forced=1)
    assert await sides(owner, player) == both(45, 30)
    await assert_sound(owner, tenant_id)
