"""Nobody rewrites money: the service may only go through the door, and not even the owner changes what was written."""

import psycopg
import pytest
from psycopg import errors

from backend.app.repositories import ledger_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.factories import (
    Owner,
    Player,
    Sides,
    both,
    deposit,
    hold,
    make_player,
    make_tenant,
    post,
    set_legacy,
    sides,
)
from backend.tests.invariants import assert_sound

APPEND_ONLY = ("ledger_transactions", "ledger_refusals", "legacy_movements")
MONEY_TABLES = (*APPEND_ONLY, "wallet_balances", "deposits", "withdrawals")


@pytest.fixture
async def player(owner: Owner, pools: Pools) -> Player:
    """A player with a ledger row, a stored refusal and a movement from a time without shadow writing."""
    one = await make_player(owner, await make_tenant(owner), available=100)
    await post(pools, deposit(one, 5), hold(one, 1000))
    await owner.execute(
        "INSERT INTO legacy_movements (id, tenant_id, player_id, currency, type, amount, legacy_available_after, "
        "legacy_held_after, epoch, idempotency_key, request_hash, recorded_at) "
        "VALUES (gen_random_uuid(), %s, %s, 'USD', 'deposit_captured', 1, 1, 0, 0, 'old', '', now())",
        (one.tenant_id, one.id),
    )
    return one


@pytest.mark.parametrize("table", MONEY_TABLES)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET player_id = player_id WHERE player_id = %(player_id)s",
        "DELETE FROM {table} WHERE player_id = %(player_id)s",
        "TRUNCATE {table}",
        "INSERT INTO {table} SELECT * FROM {table} WHERE player_id = %(player_id)s",
    ],
)
async def test_service_may_not_write_money_tables(
    owner: Owner, pools: Pools, player: Player, table: str, statement: str
) -> None:
    before = await sides(owner, player)
    async with pools.connection() as conn:
        with pytest.raises(errors.InsufficientPrivilege):
            await conn.execute(statement.format(table=table), {"player_id": player.id})
    assert await sides(owner, player) == before == both(105)
    await assert_sound(owner, player.tenant_id)


@pytest.mark.parametrize("column", ["balance_real_available", "balance_real_held", "tenant_id", "currency", "id"])
async def test_service_may_not_write_what_decides_about_a_players_money(
    owner: Owner, pools: Pools, player: Player, column: str
) -> None:
    async with pools.connection() as conn:
        with pytest.raises(errors.InsufficientPrivilege):
            await conn.execute(f"UPDATE players SET {column} = {column} WHERE id = %s", (player.id,))
    assert await sides(owner, player) == both(105)


@pytest.mark.parametrize("function", ["ledger_open_wallets_v1", "ledger_post_many_v1", "ledger_replay_v1"])
async def test_service_may_not_call_what_only_the_door_calls_under_its_locks(pools: Pools, function: str) -> None:
    async with pools.connection() as conn:
        cursor = await conn.execute(
            "SELECT bool_or(has_function_privilege(current_user, oid, 'EXECUTE')) FROM pg_proc WHERE proname = %s",
            (function,),
        )
        assert await cursor.fetchone() == (False,)


async def test_service_may_not_switch_off_what_guards_the_ledger(pools: Pools) -> None:
    for statement in (
        "ALTER TABLE ledger_transactions DISABLE TRIGGER ALL",
        "DROP TRIGGER ledger_transactions_append_only ON ledger_transactions",
        "SET session_replication_role = replica",
        "SET ROLE hakem_owner",
    ):
        async with pools.connection() as conn:
            with pytest.raises(errors.InsufficientPrivilege):
                await conn.execute(statement)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET amount = amount + 1 WHERE player_id = %(player_id)s",
        "DELETE FROM {table} WHERE player_id = %(player_id)s",
        "TRUNCATE {table} CASCADE",
    ],
)
async def test_not_even_the_owner_changes_what_was_written(
    owner: Owner, player: Player, table: str, statement: str
) -> None:
    with pytest.raises(errors.RestrictViolation, match=f"{table} is append-only"):
        await owner.execute(statement.format(table=table), {"player_id": player.id})
    await assert_sound(owner, player.tenant_id)


async def test_owner_may_still_write_the_legacy_columns(owner: Owner, player: Player) -> None:
    await set_legacy(owner, player, available=7, held=3)
    assert await sides(owner, player) == Sides(7, 3, 105, 0)


async def test_versions_and_keys_are_unique_whoever_inserts(owner: Owner, player: Player) -> None:
    copied = "INSERT INTO ledger_transactions SELECT * FROM ledger_transactions WHERE player_id = %s"
    with pytest.raises(errors.UniqueViolation):
        await owner.execute(copied, (player.id,))


async def test_wallet_written_behind_the_doors_back_is_noticed(
    owner: Owner, pools: Pools, player: Player, owner_url: str
) -> None:
    # The trigger stands for a writer that slips in between the door's reading and writing of one wallet.
    async with (
        await psycopg.AsyncConnection.connect(owner_url, autocommit=True) as other,
        other.transaction(force_rollback=True),
    ):
        await other.execute(
            "CREATE FUNCTION pg_temp.meddle() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN "
            "UPDATE wallet_balances SET version = version + 1 WHERE player_id = NEW.player_id; RETURN NEW; END $$"
        )
        await other.execute(
            "CREATE TRIGGER meddle BEFORE INSERT ON ledger_transactions FOR EACH ROW EXECUTE FUNCTION pg_temp.meddle()"
        )
        with pytest.raises(errors.SerializationFailure, match="another writer than the door"):
            await ledger_repo.append_event(other, deposit(player, 1))
    assert await sides(owner, player) == both(105)


async def test_tenant_of_the_ledger_cannot_be_deleted(owner: Owner, player: Player) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        await owner.execute("DELETE FROM tenants WHERE id = %s", (player.tenant_id,))
