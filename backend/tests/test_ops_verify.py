"""The census: a sound ledger is clean whatever happened to it, and each planted error is found, located, and alone."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.backfill.census import CensusReport, DifferenceClass, RunState
from backend.app.domain.ledger import Arbiter
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.census import Census
from backend.tests import factories, invariants, ledger_history
from backend.tests.conftest import Database
from backend.tests.factories import Owner, Player
from backend.tests.ledger_history import World, forge

BIGINT_MAX: Final = 2**63 - 1


@pytest.fixture
def world(database: Database, owner: Owner, pools: Pools, http: httpx.AsyncClient) -> World:
    return World(database=database, owner=owner, pools=pools, http=http)


async def census(world: World, tenant_id: UUID, **options: Any) -> CensusReport:
    return await Census(world.pools, chunk_players_max=2).run(tenant_id, started_by="a test", is_fresh=True, **options)


def classes(report: CensusReport) -> dict[str, int]:
    return {count.difference_class.value: count.differences for count in report.counts}


@pytest.mark.parametrize("arbiter", Arbiter)
async def test_busy_tenant_is_clean(world: World, arbiter: Arbiter) -> None:
    tenant_id, players = await ledger_history.make_tenant(world, arbiter=arbiter)
    await ledger_history.move_at_random(world, players, seed=1, moves=60)
    await factories.set_enforce(world.owner, tenant_id, arbiter == Arbiter.LEGACY)
    await ledger_history.move_at_random(world, players, seed=2, moves=60)
    await invariants.assert_sound(world.owner, tenant_id)
    report = await census(world, tenant_id)
    assert classes(report) == {}
    assert report.run.state == RunState.CLEAN
    assert report.run.unconfirmed == 0
    total = report.totals[0]
    assert (total.players, total.opened_wallets, len(report.totals)) == (3, 3, 1)
    cursor = await world.owner.execute(
        "SELECT sum(balance_real_available), sum(balance_real_held), (SELECT count(*) FROM ledger_transactions t "
        "WHERE t.tenant_id = p.tenant_id) FROM players p WHERE tenant_id = %s GROUP BY tenant_id",
        (tenant_id,),
    )
    available, held, transactions = await cursor.fetchone() or ()
    assert (total.legacy_available, total.snapshot_available, total.folded_available) == (available,) * 3
    assert (total.legacy_held, total.snapshot_pending, total.folded_pending) == (held,) * 3
    assert (total.open_withdrawals, total.transactions) == (held, transactions)
    assert sum(account.balance for account in report.accounts) == -(available + held)


async def test_tenant_without_players_is_clean(world: World) -> None:
    report = await census(world, await factories.make_tenant(world.owner))
    assert (report.is_clean, report.players, report.run.chunks) == (True, 0, 1)


async def test_unknown_tenant_is_named(world: World) -> None:
    tenant_id = uuid4()
    with pytest.raises(TenantNotFound, match=str(tenant_id)):
        await census(world, tenant_id)


class Planted(NamedTuple):
    """One error: how it is made, and what the census must say of it (the first bad version where it is a row)."""

    name: str
    query: str
    found: Mapping[str, int | None]
    # How often each class: a reference that points elsewhere is missed in one place and too much in the other.
    times: int = 1


ROW: Final = "UPDATE ledger_transactions SET {} WHERE player_id = %(id)s AND wallet_version = {}"
INSERT_ROW: Final = """
INSERT INTO ledger_transactions (
    id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
    legacy_held_after, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account, arbiter,
    idempotency_key, request_hash
)
SELECT uuid_v7(), {tenant}, {player}, {version}, 100, {after}, 3000, 14000, 3000, now(), now(), 0, '{currency}',
    'manual_adjustment', 'house:adjustment', 'player:available', 'legacy', 'forged', '\\x'
"""
OWN: Final = {"tenant": "%(tenant_id)s", "player": "%(id)s", "version": 7, "after": 14100, "currency": "USD"}
INSERT_MOVEMENT: Final = """
INSERT INTO legacy_movements (
    id, tenant_id, player_id, currency, type, amount, legacy_available_after, legacy_held_after, epoch,
    idempotency_key, request_hash, provider, provider_event_id, recorded_at
)
SELECT uuid_v7(), tenant_id, {player}, currency, {type}, amount, 14000, 3000, 0, {key}, '\\x', provider,
    {event}, now()
FROM ledger_transactions WHERE player_id = %(id)s AND wallet_version = 3
"""

PLANTED: Final = (
    Planted(
        "wallet not opened",
        "UPDATE wallet_balances SET opened_at = NULL WHERE player_id = %(id)s",
        {"missing_wallet": None},
    ),
    Planted(
        "wallet gone",
        "DELETE FROM wallet_balances WHERE player_id = %(id)s",
        {"missing_wallet": None, "fold_diff": 1, "zero_sum": None},
    ),
    Planted(
        "legacy available written by others",
        "UPDATE players SET balance_real_available = balance_real_available + 1 WHERE id = %(id)s",
        {"available_diff": None, "legacy_drift": 6},
    ),
    Planted(
        "legacy held written by others",
        "UPDATE players SET balance_real_held = balance_real_held - 1 WHERE id = %(id)s",
        {"pending_diff": None, "legacy_drift": 6},
    ),
    Planted(
        "arbiter below zero",
        "UPDATE players SET balance_real_available = -1 WHERE id = %(id)s",
        {"available_diff": None, "legacy_drift": 6, "negative_arbiter": None},
    ),
    Planted("arbiter let too much go", ROW.format("legacy_available_after = -1", 4), {"negative_arbiter": 4}),
    Planted(
        "snapshot available",
        "UPDATE wallet_balances SET balance_real_available = balance_real_available + 1 WHERE player_id = %(id)s",
        {"fold_diff": None, "available_diff": None, "zero_sum": None},
    ),
    Planted(
        "snapshot moved within itself",
        "UPDATE wallet_balances SET balance_real_available = balance_real_available - 1, "
        "balance_real_pending = balance_real_pending + 1 WHERE player_id = %(id)s",
        {"fold_diff": None, "available_diff": None, "pending_diff": None, "open_withdrawals": None},
    ),
    Planted("snapshot version", "UPDATE wallet_balances SET version = 9 WHERE player_id = %(id)s", {"fold_diff": None}),
    Planted(
        "gap",
        ROW.format("wallet_version = 9", 6) + "; UPDATE wallet_balances SET version = 9 WHERE player_id = %(id)s",
        {"version_gap": 9},
    ),
    Planted(
        "row gone",
        "DELETE FROM ledger_transactions WHERE player_id = %(id)s AND wallet_version = 3",
        {"version_gap": 4, "injected_row": 4, "fold_diff": None, "deposit_diff": None, "zero_sum": None},
    ),
    Planted(
        "last row gone",
        "DELETE FROM ledger_transactions WHERE player_id = %(id)s AND wallet_version = 6",
        {"fold_diff": None, "legacy_drift": 5, "withdrawal_diff": None},
    ),
    Planted("row that nobody counted", INSERT_ROW.format(**OWN), {"fold_diff": 7, "zero_sum": None}),
    Planted(
        "row counted and explained by nothing",
        INSERT_ROW.format(**OWN | {"after": 14000})
        + "; UPDATE wallet_balances SET balance_real_available = 14100, version = 7 WHERE player_id = %(id)s",
        {"injected_row": 7, "available_diff": None},
    ),
    Planted("after-image", ROW.format("available_after = available_after + 1", 4), {"injected_row": 4}),
    Planted("pending after-image", ROW.format("pending_after = 0", 5), {"injected_row": 5}),
    Planted(
        "amount", ROW.format("amount = amount + 1", 4), {"injected_row": 4, "fold_diff": None, "withdrawal_diff": None}
    ),
    Planted("account nobody declared", ROW.format("debit_account = 'house:gifts'", 3), {"injected_row": 3}),
    Planted("clearing of another provider", ROW.format("provider = 'other'", 3), {"injected_row": 3}),
    Planted("type nobody declared", ROW.format("type = 'gift'", 3), {"injected_row": 3, "deposit_diff": None}),
    Planted("opening of another balance", ROW.format("legacy_available_after = 9", 1), {"injected_row": 1}),
    Planted("epoch to come", ROW.format("epoch = 99", 6), {"injected_row": 6}),
    Planted(
        "row of nobody",
        INSERT_ROW.format(**OWN | {"player": "uuid_v7()", "version": 1}),
        {"stray_row": 1, "injected_row": 1, "fold_diff": 1, "zero_sum": None},
    ),
    Planted(
        "row of another tenant's player",
        INSERT_ROW.format(**OWN | {"player": "%(stranger_id)s", "version": 1, "after": 100}).replace("3000", "0"),
        {"stray_row": 1, "fold_diff": 1, "zero_sum": None},
    ),
    Planted(
        "row in another currency",
        INSERT_ROW.format(**OWN | {"currency": "EUR", "version": 1, "after": 100}).replace("3000", "0"),
        {"stray_row": 1, "fold_diff": 1, "zero_sum": None},
    ),
    Planted(
        "wallet in another currency",
        "INSERT INTO wallet_balances (tenant_id, player_id, currency) VALUES (%(tenant_id)s, %(id)s, 'EUR')",
        {"stray_wallet": None},
    ),
    Planted("legacy column not as it was left", ROW.format("legacy_available_after = 1", 6), {"legacy_drift": 6}),
    Planted(
        "withdrawal asks for more",
        "UPDATE withdrawals SET amount = amount + 1 WHERE player_id = %(id)s AND amount = 1000",
        {"open_withdrawals": None, "withdrawal_diff": None},
    ),
    Planted(
        "legacy hold gone",
        "DELETE FROM withdrawals WHERE player_id = %(id)s AND method = 'legacy_hold'",
        {"open_withdrawals": None},
    ),
    Planted(
        "withdrawal paid by no money",
        "UPDATE withdrawals SET state = 'paid', first_approved_by = id WHERE player_id = %(id)s AND state = 'rejected'",
        {"withdrawal_diff": None},
    ),
    Planted(
        "deposit that came in and is open",
        "UPDATE deposits SET state = 'pending_provider' WHERE player_id = %(id)s",
        {"deposit_diff": None},
    ),
    Planted(
        "deposit of another amount", "UPDATE deposits SET amount = 1 WHERE player_id = %(id)s", {"deposit_diff": None}
    ),
    Planted(
        "money for a deposit that is not there", ROW.format("reference = uuid_v7()", 3), {"deposit_diff": None}, times=2
    ),
    Planted(
        "refusal that was applied",
        "UPDATE ledger_refusals SET idempotency_key = (SELECT idempotency_key FROM ledger_transactions "
        "WHERE player_id = %(id)s AND wallet_version = 4) WHERE player_id = %(id)s",
        {"duplicate_effect": 4},
    ),
    Planted(
        "key with two effects",
        INSERT_MOVEMENT.format(player="player_id", type="type", key="idempotency_key", event="NULL"),
        {"duplicate_effect": 3},
    ),
    Planted(
        "provider event with two effects",
        INSERT_MOVEMENT.format(player="player_id", type="type", key="'other'", event="provider_event_id"),
        {"duplicate_effect": 3},
    ),
)


@pytest.mark.parametrize("planted", PLANTED, ids=[planted.name for planted in PLANTED])
async def test_planted_error_is_found_and_located_and_only_that(world: World, planted: Planted) -> None:
    tenant_id, players = await ledger_history.make_tenant(world)
    stranger = await factories.make_player(world.owner, await factories.make_tenant(world.owner))
    victim = min(players, key=lambda player: player.id)
    assert (await census(world, tenant_id)).is_clean
    for query in planted.query.split("; "):
        forge(world.database, query, id=victim.id, tenant_id=tenant_id, stranger_id=stranger.id)
    report = await census(world, tenant_id)
    assert classes(report) == dict.fromkeys(planted.found, planted.times)
    assert {each.difference_class.value: each.wallet_version for each in report.differences} == planted.found
    for difference in report.differences:
        if difference.difference_class == DifferenceClass.ZERO_SUM:
            assert difference.player_id is None
        elif planted.name not in {"row of nobody", "row of another tenant's player"}:
            assert difference.player_id == victim.id
            assert difference.evidence["player"]["tenant_id"] == str(tenant_id)
        if difference.wallet_version is not None:
            assert difference.evidence["transaction"]["wallet_version"] == difference.wallet_version
    assert report.run.state == RunState.DIFFERENCES
    assert report.run.unconfirmed == 0


async def test_imported_player_is_a_missing_wallet_with_its_money(world: World) -> None:
    tenant_id, _ = await ledger_history.make_tenant(world)
    player = await factories.make_player(world.owner, tenant_id, available=5_000, held=2_000)
    report = await census(world, tenant_id)
    assert [(each.difference_class, each.player_id, each.amount_minor) for each in report.differences] == [
        (DifferenceClass.MISSING_WALLET, player.id, 7_000)
    ]


async def test_only_the_asked_tenant_is_judged(world: World) -> None:
    (bad_id, bad), (good_id, _) = [await ledger_history.make_tenant(world) for _ in range(2)]
    await factories.set_legacy(world.owner, bad[0], available=1)
    assert (await census(world, good_id)).is_clean
    assert classes(await census(world, bad_id)) == {"available_diff": 1, "legacy_drift": 1}


async def test_enforced_column_that_was_put_right_is_no_drift(world: World) -> None:
    tenant_id, players = await ledger_history.make_tenant(world, arbiter=Arbiter.LEDGER)
    await factories.set_legacy(world.owner, players[0], available=1)
    assert classes(await census(world, tenant_id)) == {"available_diff": 1, "legacy_drift": 1}
    snapshot = (await factories.sides(world.owner, players[0])).available
    assert snapshot is not None
    await factories.set_legacy(world.owner, players[0], available=snapshot)
    assert (await census(world, tenant_id)).is_clean


async def test_sums_beyond_bigint_and_absurd_rows_are_judged(world: World) -> None:
    tenant_id = await factories.make_tenant(world.owner)
    rich = [await factories.make_player(world.owner, tenant_id, available=BIGINT_MAX - 1) for _ in range(3)]
    async with world.pools.connection() as conn:
        await conn.execute("SELECT wallet_open_v1(%s, %b)", (tenant_id, [player.id for player in rich]))
    report = await census(world, tenant_id)
    assert report.is_clean
    assert report.totals[0].snapshot_available == 3 * (BIGINT_MAX - 1)
    forge(
        world.database,
        "INSERT INTO ledger_transactions SELECT (r).* FROM (SELECT jsonb_populate_record(t, jsonb_build_object("
        "'wallet_version', 2, 'idempotency_key', 'x', 'type', 'manual_adjustment', 'amount', 9223372036854775807, "
        "'available_after', -9223372036854775808)) AS r FROM ledger_transactions t WHERE player_id = %(id)s) AS s",
        id=rich[0].id,
    )
    forge(
        world.database,
        "UPDATE wallet_balances SET balance_real_pending = -9223372036854775808 WHERE player_id = %(id)s",
        id=rich[0].id,
    )
    report = await census(world, tenant_id)
    assert classes(report).keys() >= {"injected_row", "fold_diff", "pending_diff", "open_withdrawals", "zero_sum"}
    assert {each.player_id for each in report.differences} == {rich[0].id, None}


async def test_many_differences_are_counted_and_the_first_ones_named(world: World) -> None:
    tenant_id = await factories.make_tenant(world.owner)
    players = await factories.make_players(world.owner, tenant_id, 150, available=1)
    report = await Census(world.pools).run(tenant_id, started_by="a test")
    assert classes(report) == {"missing_wallet": 150}
    named = [each.player_id for each in report.differences]
    assert named == sorted(player.id for player in players)[: len(named)]
    assert 0 < len(named) <= 100


async def test_while_shadow_writing_is_off_the_sides_are_not_compared(new_database: Any) -> None:
    database = new_database()
    async with factories.open_pools(database) as pools, factories.connect_owner(database) as owner:
        tenant_id = await factories.make_tenant(owner)
        player = await factories.make_player(owner, tenant_id, available=1_000)
        await factories.post_one(pools, factories.deposit(player, 5))
        await factories.set_global(owner, "ledger_shadow_write", False)
        await factories.make_player(owner, tenant_id, available=1)
        await factories.post_one(pools, factories.deposit(player, 10))
        report = await Census(pools).run(tenant_id, started_by="a test")
        assert (classes(report), report.run.sides_compared) == ({}, False)
        await factories.set_global(owner, "ledger_shadow_write", None)
        report = await Census(pools).run(tenant_id, started_by="a test")
        assert (classes(report), report.run.sides_compared) == ({"missing_wallet": 1, "available_diff": 1}, True)


async def test_schedule_looks_at_every_tenant_once_a_cycle(new_database: Any) -> None:
    database = new_database()
    async with factories.open_pools(database) as pools, factories.connect_owner(database) as owner:
        tenant_ids = {await factories.make_tenant(owner) for _ in range(3)}
        player = await factories.make_player(owner, min(tenant_ids), available=1)
        cursor = await owner.execute("SELECT now()")
        (now,) = await cursor.fetchone() or ()
        scheduled = Census(pools)
        assert await scheduled.run_due(now) == 3
        assert await scheduled.run_due(now) == 0
        rows = await (await owner.execute("SELECT tenant_id, state, is_scheduled FROM census_runs")).fetchall()
        assert {(row[0], row[1]) for row in rows} == {
            (each, "differences" if each == player.tenant_id else "clean") for each in tenant_ids
        }
        assert all(row[2] for row in rows)


async def test_service_may_write_what_a_census_found_and_nothing_that_it_judges(world: World) -> None:
    async with world.pools.connection() as conn:
        cursor = await conn.execute(
            "SELECT relname, has_table_privilege(oid, 'INSERT, UPDATE, DELETE') FROM pg_class WHERE relname = ANY(%b)",
            (
                [
                    "census_runs",
                    "census_differences",
                    "ledger_transactions",
                    "wallet_balances",
                    "withdrawals",
                    "deposits",
                ],
            ),
        )
        assert dict(await cursor.fetchall()) == {
            "census_runs": True,
            "census_differences": True,
            "ledger_transactions": False,
            "wallet_balances": False,
            "withdrawals": False,
            "deposits": False,
        }


async def test_player_of_the_smallest_and_largest_id_is_looked_at(world: World) -> None:
    tenant_id, players = await ledger_history.make_tenant(world)
    for player, id_ in zip(players, (UUID(int=0), UUID(int=2**128 - 1)), strict=False):
        await _rename(world, player, id_)
    try:
        report = await census(world, tenant_id)
        assert (report.is_clean, report.players) == (True, 3)
    finally:
        # The ids are the database's and not a tenant's: another test may want them.
        for player, id_ in zip(players, (UUID(int=0), UUID(int=2**128 - 1)), strict=False):
            await _rename(world, Player(tenant_id=tenant_id, id=id_), player.id)


async def _rename(world: World, player: Player, id_: UUID) -> None:
    forge(world.database, "UPDATE players SET id = %(id)s WHERE id = %(old)s", id=id_, old=player.id)
    for table in ("ledger_transactions", "wallet_balances", "withdrawals", "deposits", "ledger_refusals"):
        forge(
            world.database,
            f"UPDATE {table} SET player_id = %(id)s WHERE player_id = %(old)s",
            id=id_,
            old=player.id,
        )
