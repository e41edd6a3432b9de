"""The way back: never refused, in no state, and nothing is lost on it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import AsyncConnection

from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.rollout_state import HoldKind
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.census import Census
from backend.app.services.rollout import rollout_holds
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    connect_owner,
    deposit,
    hold,
    make_player,
    make_tenant,
    open_pools,
    post,
    post_one,
    set_global,
    set_legacy,
    sides,
    until_somebody_waits_for,
)
from backend.tests.invariants import assert_sound
from backend.tests.rollout_desk import ACTOR, WHY, RolloutDesk, desk_on
from backend.tests.test_presence import running

SUMS = """
SELECT
    sum(p.balance_real_available), sum(w.balance_real_available), sum(p.balance_real_held), sum(w.balance_real_pending)
FROM players p JOIN wallet_balances w ON w.player_id = p.id WHERE p.tenant_id = %s
"""
ENTRY = """
INSERT INTO ledger_transactions (
    id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
    legacy_held_after, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account, arbiter,
    idempotency_key, request_hash, provider
)
SELECT
    uuid_v7(), tenant_id, player_id, wallet_version + 1, 1, available_after + 1, 0, available_after + 1, 0, now(),
    clock_timestamp(), epoch - 1, 'USD', 'deposit_captured', 'psp:mockpsp:clearing', 'player:available', 'ledger',
    'overtaken', '', 'mockpsp'
FROM ledger_transactions WHERE player_id = %s ORDER BY wallet_version DESC LIMIT 1
"""


# A database of this module's own: whoever else registers in the shared one is a writer that the gates look at.
@pytest.fixture(scope="module")
def database(server: Any) -> Iterator[Database]:
    made = server.create()
    yield made
    server.drop(made)


@pytest.fixture(scope="module")
async def pools(database: Database) -> AsyncIterator[Pools]:
    async with open_pools(database) as opened:
        yield opened


@pytest.fixture(scope="module")
async def owner(database: Database) -> AsyncIterator[Owner]:
    async with connect_owner(database) as conn:
        yield conn


@pytest.fixture(scope="module")
def desk(database: Database, pools: Pools, owner: Owner) -> RolloutDesk:
    return desk_on(database, pools, owner)


async def sums(desk: RolloutDesk, tenant_id: UUID) -> tuple[int, ...]:
    row = await (await desk.owner.execute(SUMS, (tenant_id,))).fetchone()
    assert row is not None
    return tuple(map(int, row))


async def test_there_and_back_again_loses_nothing(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.ready_tenant(players=4)
    for number in range(5):
        await desk.enforce(tenant_id)
        await post(desk.pools, deposit(players[0], 5 + number), hold(players[1], 3))
        back = await desk.roll_back(tenant_id)
        assert (back.arbiter, back.is_changed, back.is_fenced) == (Arbiter.LEGACY, True, True)
        legacy, snapshot, held, pending = await sums(desk, tenant_id)
        assert (legacy, held) == (snapshot, pending)
        assert back.attestation is not None
        assert back.attestation[0]["legacy_available"] == back.attestation[0]["ledger_available"] == legacy
    await assert_sound(desk.owner, tenant_id, with_withdrawals=False)


async def test_repeating_it_changes_nothing(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.enforced_tenant()
    first = await desk.roll_back(tenant_id)
    before = await desk.flips(tenant_id), await desk.actions(tenant_id)
    again = await desk.roll_back(tenant_id)
    assert (again.arbiter, again.epoch, again.is_changed) == (Arbiter.LEGACY, first.epoch, False)
    assert (await desk.flips(tenant_id), await desk.actions(tenant_id)) == before


async def test_tenant_that_nobody_enforced_can_be_rolled_back(desk: RolloutDesk) -> None:
    tenant_id = await make_tenant(desk.owner)
    back = await desk.roll_back(tenant_id)
    assert (back.arbiter, back.epoch, back.is_changed) == (Arbiter.LEGACY, 0, False)
    with pytest.raises(TenantNotFound):
        await desk.roll_back(uuid4())


async def place(desk: RolloutDesk, kind: HoldKind, tenant_id: UUID | None) -> None:
    async with desk.pools.transaction() as conn:
        until = datetime.now(UTC) + timedelta(hours=1)
        await rollout_holds.place(conn, kind, tenant_id, reason=WHY, until=until, actor=ACTOR)


async def held(desk: RolloutDesk, tenant_id: UUID) -> None:
    await place(desk, HoldKind.HOLD, tenant_id)


async def cooling_down(desk: RolloutDesk, tenant_id: UUID) -> None:
    await place(desk, HoldKind.COOLDOWN, tenant_id)


async def pinned(desk: RolloutDesk, tenant_id: UUID) -> None:
    await place(desk, HoldKind.PIN, tenant_id)


async def frozen(desk: RolloutDesk, tenant_id: UUID) -> None:
    await place(desk, HoldKind.FREEZE, None)


async def mismatching(desk: RolloutDesk, tenant_id: UUID) -> None:
    await desk.execute("UPDATE players SET balance_real_available = 1 WHERE tenant_id = %s", tenant_id)


async def unopened(desk: RolloutDesk, tenant_id: UUID) -> None:
    await make_player(desk.owner, tenant_id, available=1)


async def without_shadow(desk: RolloutDesk, tenant_id: UUID) -> None:
    await desk.execute(
        "UPDATE tenants SET flags = flags || '{\"ledger_shadow_override\": false}' WHERE id = %s", tenant_id
    )


async def without_reason(desk: RolloutDesk, tenant_id: UUID) -> None:
    back = await desk.rollout.rollback(tenant_id, reason=" ", actor=ACTOR)
    assert (await desk.flips(tenant_id))[-1].reason == "no reason was given"
    assert back.is_changed


async def enforced_globally(desk: RolloutDesk, tenant_id: UUID) -> None:
    await set_global(desk.owner, "ledger_enforce_balance", True)
    await desk.execute("UPDATE tenants SET flags = '{}' WHERE id = %s", tenant_id)
    assert await desk.mode(tenant_id) == ("ledger", 3)


@pytest.mark.parametrize(
    "make_it_so",
    [
        held, cooling_down, pinned, frozen, mismatching, unopened, without_shadow, without_reason, enforced_globally,
    ],
    ids=lambda state: state.__name__,
)  # fmt: skip
async def test_no_state_stands_against_the_way_back(
    new_database: Callable[..., Database],
    make_it_so: Callable[[RolloutDesk, UUID], object],
) -> None:
    # A database of its own: some states are everybody's.
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        desk = desk_on(database, pools, owner)
        tenant_id, players = await desk.enforced_tenant()
        await make_it_so(desk, tenant_id)  # type: ignore[misc]  # coroutines all of them
        await desk.roll_back(tenant_id)
        arbiter, epoch = await desk.mode(tenant_id)
        assert arbiter == "legacy"
        if make_it_so is not without_shadow:
            assert (await post_one(pools, deposit(players[0], 1))).epoch == epoch


async def test_slow_transaction_does_not_keep_the_way_back_waiting(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.enforced_tenant()
    async with desk.open_money_transaction(tenant_id) as slow:
        back = await desk.roll_back(tenant_id)
        # It is over while that transaction is still open: nobody waited for its end.
        assert (back.arbiter, back.is_fenced) == (Arbiter.LEGACY, False)
        assert back.fence_waited_ms > 0
        assert (await (await slow.execute("SELECT 1")).fetchone()) == (1,)
        result = await post_one(desk.pools, deposit(players[0], 1))
        assert (result.arbiter, result.epoch) == (Arbiter.LEGACY, back.epoch)
    assert (await desk.flips(tenant_id))[-1].is_fenced is False


async def test_money_moves_while_the_way_back_asks_for_the_fence(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.enforced_tenant()
    async with desk.open_money_transaction(tenant_id) as slow:
        back = asyncio.create_task(desk.roll_back(tenant_id))
        await until_somebody_waits_for(desk.owner, slow)
        moved = []
        while not back.done():
            moved.append(await post_one(desk.pools, deposit(players[0], 1)))
        change = await back
    assert moved
    assert {result.code for result in moved} == {"applied"}
    assert {(result.arbiter, result.epoch) for result in moved} <= {
        (Arbiter.LEDGER, change.epoch - 1),
        (Arbiter.LEGACY, change.epoch),
    }


async def test_call_that_a_rollback_without_fence_overtook_is_no_difference(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.enforced_tenant(players=1)
    async with desk.open_money_transaction(tenant_id):
        await desk.roll_back(tenant_id)
        await post_one(desk.pools, deposit(players[0], 1))
    # As it stands when a call that was judged before the rollback commits after one that was judged behind it.
    await desk.execute(ENTRY, players[0].id)
    await desk.execute(
        "UPDATE wallet_balances SET balance_real_available = balance_real_available + 1, version = version + 1 "
        "WHERE player_id = %s",
        players[0].id,
    )
    await set_legacy(desk.owner, players[0], available=100_02)
    report = await Census(desk.pools).run(tenant_id, started_by="a test", is_fresh=True)
    assert report.is_clean, report.counts
    # Behind a fence that was held it would be one.
    fenced_id, others = await desk.enforced_tenant(players=1)
    await desk.roll_back(fenced_id)
    await post_one(desk.pools, deposit(others[0], 1))
    await desk.execute(ENTRY, others[0].id)
    await desk.execute(
        "UPDATE wallet_balances SET balance_real_available = balance_real_available + 1, version = version + 1 "
        "WHERE player_id = %s",
        others[0].id,
    )
    await set_legacy(desk.owner, others[0], available=100_02)
    report = await Census(desk.pools).run(fenced_id, started_by="a test", is_fresh=True)
    assert [count.difference_class for count in report.counts] == ["injected_row"]


async def test_everybody_goes_back_and_nothing_below_enforces_anybody(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        desk = desk_on(database, pools, owner)
        by_override = [(await desk.enforced_tenant())[0] for _ in range(3)]
        bystander, _ = await desk.opened_tenant()
        await set_global(owner, "ledger_enforce_balance", True)
        follower = await make_tenant(owner)
        assert await desk.mode(follower) == ("ledger", 0)
        changes = await desk.rollout.rollback_all(reason="an incident", actor=ACTOR)
        assert {change.tenant_id for change in changes} == {*by_override, bystander, follower}
        assert all(change.is_fenced for change in changes)
        newcomer = await make_tenant(owner)
        for tenant_id in (*by_override, bystander, follower, newcomer):
            assert (await desk.mode(tenant_id))[0] == "legacy"
        assert "flag.changed" in await desk.actions(None)
        assert await desk.rollout.rollback_all(reason="an incident", actor=ACTOR) == []


async def test_psql_alone_is_enough(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.enforced_tenant()
    _, epoch = await desk.mode(tenant_id)
    async with await AsyncConnection.connect(desk.database.owner_url) as psql:
        cursor = await psql.execute("SELECT * FROM rollout_kill_v1(%s, 'the service is down')", (tenant_id,))
        rows = await cursor.fetchall()
    assert [row[:5] for row in rows] == [(tenant_id, f"t-{tenant_id.hex}", "legacy", epoch + 1, True)]
    assert (await desk.flips(tenant_id))[-1].reason == "the service is down"
    assert (await desk.actions(tenant_id))[-1] == "arbiter.changed"
    async with await AsyncConnection.connect(desk.database.owner_url) as psql:
        cursor = await psql.execute("SELECT * FROM rollout_kill_v1(%s, '')", (tenant_id,))
        assert await cursor.fetchall() == []


async def test_kill_switch_of_one_process_takes_everybody_back_with_an_epoch_and_lets_go_again(
    new_database: Callable[..., Database],
) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        desk = desk_on(database, pools, owner)
        enforced, players = await desk.enforced_tenant(available=10)
        bystander, _ = await desk.opened_tenant()
        _, epoch = await desk.mode(enforced)
        async with running(database, ledger_enforce_balance=False):
            assert await desk.mode(enforced) == ("legacy", epoch + 1)
            assert await desk.mode(bystander) == ("legacy", 0), "its arbiter is the one it was"
            effective = {flag.flag: flag for flag in await desk.flags.list_effective(enforced)}
            told = effective["ledger_enforce_balance"]  # type: ignore[index]  # a StrEnum is a string
            assert (told.value, told.source, told.own_value) == (False, "environment_false", True)
            assert told.reason == "in the environment of a running process"
            assert not (await desk.roll_back(bystander)).is_changed
            await set_legacy(owner, players[0], available=500)
            assert (await post_one(pools, hold(players[0], 400))).arbiter == Arbiter.LEGACY
        flip = (await desk.flips(enforced))[-1]
        assert (flip.kind, flip.arbiter, flip.is_fenced) == ("flags", "legacy", True)
        assert "ledger_enforce_balance=False" in flip.reason
        async with running(database):
            assert await desk.mode(enforced) == ("ledger", epoch + 2)


async def test_environment_that_says_nothing_changes_nothing(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        desk = desk_on(database, pools, owner)
        enforced, _ = await desk.enforced_tenant()
        legacy, _ = await desk.opened_tenant()
        before = [(await desk.mode(id_), await desk.flips(id_)) for id_ in (enforced, legacy)]
        async with running(database), running(database, ledger_shadow_write=True):
            assert [(await desk.mode(id_), await desk.flips(id_)) for id_ in (enforced, legacy)] == before


async def test_environment_that_enforces_counts_for_exactly_those_it_binds(
    new_database: Callable[..., Database],
) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        desk = desk_on(database, pools, owner)
        follower, players = await desk.opened_tenant()
        exception = await make_tenant(owner, enforce_override=False)
        enforced, _ = await desk.enforced_tenant()
        epochs = {id_: (await desk.mode(id_))[1] for id_ in (follower, exception, enforced)}
        stranger = await make_player(owner, follower, available=9)
        async with running(database, ledger_enforce_balance=True):
            assert await desk.mode(follower) == ("ledger", epochs[follower] + 1)
            assert await desk.mode(exception) == ("legacy", epochs[exception])
            assert await desk.mode(enforced) == ("ledger", epochs[enforced])
            refused = await post_one(pools, hold(stranger, 1))
            assert (refused.code, refused.wallet_opened) == ("insufficient_funds", False)
            (unmet,) = await desk.status.list_unmet(source="environment", limit=10)
            assert unmet.facts.tenant.tenant_id == follower
            assert "coverage" in {gate.gate.value for gate in unmet.gates if gate.stands_against}
            await desk.roll_back(follower)
            assert (await desk.mode(follower))[0] == "legacy"
        assert await sides(owner, players[0]) == await sides(owner, players[1])


async def test_start_does_not_wait_for_a_slow_transaction(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        desk = desk_on(database, pools, owner)
        enforced, _ = await desk.enforced_tenant()
        async with desk.open_money_transaction(enforced), running(database, ledger_enforce_balance=False):
            assert (await desk.mode(enforced))[0] == "legacy"
            assert (await desk.flips(enforced))[-1].is_fenced is False
