"""The flip to the ledger: what it needs, what it leaves behind, and what it does not do."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import AsyncConnection, errors

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.errors import FieldError
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.flags import FlagsContradict
from backend.app.domain.rollout.gates import SOFT_GATES, Gate, GatesNotMet, parse_waived
from backend.app.domain.rollout.rollout_state import AlreadyEnforced, FenceBusy, HoldKind
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.app.repositories.rollout import rollout_repo
from backend.app.repositories.rollout.rollout_documents import facts_document
from backend.app.services.rollout import rollout_fence, rollout_holds
from backend.app.services.rollout.rollout_verification import verify
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
    set_legacy,
    until_somebody_waits_for,
    withdrawal,
)
from backend.tests.invariants import assert_sound
from backend.tests.rollout_desk import ACTOR, WHY, Flip, RolloutDesk, desk_on


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


@pytest.fixture(scope="module")
def large_desk(database: Database, pools: Pools, owner: Owner) -> RolloutDesk:
    """For it every tenant of more than one player is a large one."""
    return desk_on(database, pools, owner, inside_players_max=1)


def failing(refusal: pytest.ExceptionInfo[GatesNotMet]) -> dict[str, dict[str, object]]:
    """The gates that a refusal names."""
    gates = refusal.value.extras["gates"]
    assert isinstance(gates, list)
    return {gate["gate"]: gate for gate in gates}


# ---------------------------------------------------------------------------------------------------------------------
# What a flip leaves behind
# ---------------------------------------------------------------------------------------------------------------------


async def test_flip_writes_flag_epoch_audit_and_sums_together(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.ready_tenant(players=3, available=50_00)
    await post(desk.pools, deposit(players[0], 7_00))
    async with desk.pools.connection() as conn:
        await withdrawal_repo.request(conn, [withdrawal(players[1], 20_00)])
    change = await desk.enforce(tenant_id, waived_gates=())
    assert (change.arbiter, change.is_changed, change.is_fenced) == (Arbiter.LEDGER, True, True)
    assert await desk.mode(tenant_id) == ("ledger", change.epoch)
    assert change.attestation == [
        {
            "currency": "USD",
            "players": 3,
            "unopened": 0,
            "differing": 0,
            "legacy_available": 137_00,
            "legacy_held": 20_00,
            "snapshot_available": 137_00,
            "snapshot_pending": 20_00,
            "ledger_available": 137_00,
            "ledger_pending": 20_00,
        }
    ]
    assert (await desk.flips(tenant_id))[-1] == Flip("flip", "ledger", change.epoch, WHY, True, [])
    assert (await desk.actions(tenant_id))[-2:] == ["flag.changed", "arbiter.changed"]
    cursor = await desk.owner.execute(
        "SELECT actor_kind, actor_label, reason, request_id, state_before ->> 'arbiter', state_after ->> 'arbiter' "
        "FROM audit_events WHERE tenant_id = %s AND action = 'arbiter.changed'",
        (tenant_id,),
    )
    assert await cursor.fetchall() == [
        ("operator", ACTOR.label, WHY, ACTOR.request_id, "legacy", "ledger"),
    ]


async def test_flip_that_was_made_already_changes_nothing(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.enforced_tenant()
    before = await desk.mode(tenant_id), await desk.flips(tenant_id), await desk.actions(tenant_id)
    again = await desk.enforce(tenant_id, waived_gates=())
    assert (again.arbiter, again.epoch, again.is_changed) == (Arbiter.LEDGER, before[0][1], False)
    assert (await desk.mode(tenant_id), await desk.flips(tenant_id), await desk.actions(tenant_id)) == before


async def test_of_many_who_flip_at_once_one_does(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    _, epoch = await desk.mode(tenant_id)
    changes = await asyncio.gather(*(desk.enforce(tenant_id) for _ in range(6)))
    assert sorted(change.is_changed for change in changes) == [False] * 5 + [True]
    assert {change.epoch for change in changes} == {epoch + 1}


async def test_decisions_after_the_flip_are_the_ledgers(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.enforced_tenant(players=1, available=10_00)
    _, epoch = await desk.mode(tenant_id)
    await set_legacy(desk.owner, players[0], available=999_00)
    result = await post_one(desk.pools, hold(players[0], 11_00))
    assert (result.code, result.arbiter, result.epoch) == ("insufficient_funds", Arbiter.LEDGER, epoch)
    result = await post_one(desk.pools, hold(players[0], 4_00))
    assert (result.code, result.legacy_available_after) == ("applied", 6_00)


async def test_unknown_tenant_is_not_found(desk: RolloutDesk) -> None:
    with pytest.raises(TenantNotFound):
        await desk.enforce(uuid4())


# ---------------------------------------------------------------------------------------------------------------------
# Gates
# ---------------------------------------------------------------------------------------------------------------------


async def test_one_unopened_wallet_stands_against_it_by_name(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    stranger = await make_player(desk.owner, tenant_id, available=1)
    before = await desk.mode(tenant_id)
    with pytest.raises(GatesNotMet) as refusal:
        await desk.enforce(tenant_id)
    gate = failing(refusal)["coverage"]
    assert gate["numbers"] == {"players": 4, "unopened": 1, "player_ids": [str(stranger.id)]}
    assert str(stranger.id) in refusal.value.detail
    assert gate["command"] == f"hakem backfill --tenant-id {tenant_id}"
    assert await desk.mode(tenant_id) == before
    await desk.open_wallets(stranger)
    assert (await desk.enforce(tenant_id)).is_changed


@pytest.mark.parametrize("large", [False, True])
async def test_one_mismatch_stands_against_it_by_name(desk: RolloutDesk, large_desk: RolloutDesk, large: bool) -> None:
    tenant_id, players = await desk.ready_tenant()
    # A large tenant brings its census; a small one gets it on the way.
    assert (await desk.rollout._census.run(tenant_id, started_by="a test")).is_clean
    await set_legacy(desk.owner, players[1], available=99_99)
    with pytest.raises(GatesNotMet) as refusal:
        await (large_desk if large else desk).enforce(tenant_id)
    gate = failing(refusal)["census"]
    assert gate["case"] == "differing"
    assert gate["numbers"] == {"differing": 1, "player_ids": [str(players[1].id)]}


async def test_census_of_a_small_tenant_is_taken_on_the_way(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.ready_tenant()
    # Both sides agree, and neither is what the transactions add up to.
    await desk.execute("UPDATE players SET balance_real_available = 5 WHERE id = %s", players[0].id)
    await desk.execute("UPDATE wallet_balances SET balance_real_available = 5 WHERE player_id = %s", players[0].id)
    with pytest.raises(GatesNotMet) as refusal:
        await desk.enforce(tenant_id)
    assert set(failing(refusal)) == {"census"}
    cursor = await desk.owner.execute("SELECT state FROM census_runs WHERE tenant_id = %s", (tenant_id,))
    assert await cursor.fetchall() == [("differences",)]


async def test_large_tenant_needs_a_census_of_its_own(desk: RolloutDesk, large_desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    with pytest.raises(GatesNotMet) as refusal:
        await large_desk.enforce(tenant_id)
    assert failing(refusal)["census"]["case"] == "never"
    await desk.rollout._census.run(tenant_id, started_by="a test")
    assert (await large_desk.enforce(tenant_id)).is_changed
    await desk.roll_back(tenant_id)
    await desk.execute(
        "UPDATE census_runs SET started_at = now() - INTERVAL '25 hours' WHERE tenant_id = %s", tenant_id
    )
    with pytest.raises(GatesNotMet) as refusal:
        await large_desk.enforce(tenant_id)
    assert failing(refusal)["census"]["case"] == "old"


async def test_open_critical_finding_stands_against_it(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    await desk.execute(
        "INSERT INTO reconciliation_findings (id, provider, tenant_id, finding_type, severity, message, evidence, "
        "evidence_hash, fingerprint) VALUES (gen_random_uuid(), 'mockpsp', %s, 'missing_in_ledger', 'critical', 'x', "
        "'{}', '', uuid_send(gen_random_uuid()))",
        tenant_id,
    )
    with pytest.raises(GatesNotMet) as refusal:
        await desk.enforce(tenant_id)
    assert set(failing(refusal)) == {"findings"}
    await desk.execute(
        "UPDATE reconciliation_findings SET status = 'RESOLVED', resolved_at = now() WHERE tenant_id = %s", tenant_id
    )
    assert (await desk.enforce(tenant_id)).is_changed


async def test_soft_gates_are_overridden_by_name_and_the_waiver_is_kept(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.opened_tenant()
    with pytest.raises(GatesNotMet) as refusal:
        await desk.enforce(tenant_id, waived_gates=())
    assert set(failing(refusal)) == {"rehearsal"}
    await desk.enforce(tenant_id, waived_gates=parse_waived(["rehearsal", "quiet"]))
    # Only what stood against it was waived.
    assert (await desk.flips(tenant_id))[-1].waived_gates == ["rehearsal"]


@pytest.mark.parametrize("name", [*sorted(set(Gate) - SOFT_GATES), "everything"])
def test_hard_gates_cannot_be_overridden(name: str) -> None:
    with pytest.raises(FieldError):
        parse_waived([name])


async def test_shadow_writing_that_is_off_stands_against_it(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    await desk.execute(
        "UPDATE tenants SET flags = flags || '{\"ledger_shadow_override\": false}' WHERE id = %s", tenant_id
    )
    with pytest.raises(GatesNotMet) as refusal:
        await desk.enforce(tenant_id)
    assert failing(refusal)["writers"]["case"] == "shadow_off"
    with pytest.raises(FlagsContradict):
        await desk.rollout.rehearse(tenant_id, reason=WHY, actor=ACTOR)


async def test_hold_stands_against_it_until_it_is_lifted_and_never_against_the_way_back(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    async with desk.pools.transaction() as conn:
        await rollout_holds.place(conn, HoldKind.HOLD, tenant_id, reason="look first", until=None, actor=ACTOR)
    with pytest.raises(GatesNotMet) as refusal:
        await desk.enforce(tenant_id)
    assert failing(refusal)["holds"]["numbers"] == {
        "holds": 1, "kind": "hold", "reason": "look first", "ends_at": None, "whole_fleet": False,
    }  # fmt: skip
    async with desk.pools.transaction() as conn:
        await rollout_holds.lift(conn, tenant_id, reason="looked", actor=ACTOR)
    assert (await desk.enforce(tenant_id)).is_changed
    assert "rollout_hold.lifted" in await desk.actions(tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Inside the fence
# ---------------------------------------------------------------------------------------------------------------------


async def test_what_happens_while_the_fence_is_waited_for_is_seen_inside_it(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.ready_tenant()
    async with desk.open_money_transaction(tenant_id) as busy:
        flip = asyncio.create_task(desk.enforce(tenant_id))
        await until_somebody_waits_for(desk.owner, busy)
        # The gates outside the fence were met. This is written by another system, past every lock of ours.
        await set_legacy(desk.owner, players[0], available=1)
    with pytest.raises(GatesNotMet) as refusal:
        await flip
    assert failing(refusal)["census"]["case"] == "differing"


async def test_money_moves_while_a_flip_waits_for_an_open_transaction(
    desk: RolloutDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_fence, "FENCE_SECONDS_MAX", 0.5)
    tenant_id, players = await desk.ready_tenant()
    async with desk.open_money_transaction(tenant_id) as busy:
        flip = asyncio.create_task(desk.enforce(tenant_id))
        await until_somebody_waits_for(desk.owner, busy)
        moved = 0
        while not flip.done():
            result = await post_one(desk.pools, deposit(players[0], 1))
            assert (result.code, result.arbiter) == ("applied", Arbiter.LEGACY)
            moved += 1
        with pytest.raises(FenceBusy) as told:
            await flip
        assert moved > 0
        assert str(busy.info.backend_pid) in told.value.detail
    assert (await desk.enforce(tenant_id)).is_changed


async def test_count_of_a_large_tenant_is_brought_up_to_date_by_what_was_written_since(
    desk: RolloutDesk, large_desk: RolloutDesk
) -> None:
    tenant_id, players = await desk.ready_tenant(players=6)
    async with verify(desk.pools, tenant_id, inside_players_max=1) as verification:
        assert verification.before is not None
        await post(desk.pools, deposit(players[0], 5), hold(players[1], 7))
        newcomer = await make_player(desk.owner, tenant_id, available=3)
        await desk.execute("UPDATE players SET id = uuid_v7() WHERE id = %s", newcomer.id)
        async with desk.pools.transaction() as conn:
            sides = await verification.refresh(conn)
            whole = await rollout_repo.attest_whole(conn, tenant_id)
        assert sides is not None
        assert whole is not None
        assert sides.document == whole.document
        assert (sides.players, sides.unopened, sides.unopened_ids) == (7, 1, whole.unopened_ids)
        assert verification.sides.document != sides.document


async def test_large_tenant_is_flipped_with_exact_sums_while_money_moves(
    desk: RolloutDesk, large_desk: RolloutDesk
) -> None:
    tenant_id, players = await desk.ready_tenant(players=8)
    await desk.rollout._census.run(tenant_id, started_by="a test")
    is_over = asyncio.Event()

    async def play(number: int) -> None:
        while not is_over.is_set():
            await post_one(desk.pools, deposit(players[number], 3))

    playing = [asyncio.create_task(play(number)) for number in range(8)]
    try:
        change = await large_desk.enforce(tenant_id)
    finally:
        is_over.set()
        await asyncio.gather(*playing)
    assert change.attestation is not None
    (sums,) = change.attestation
    cursor = await desk.owner.execute(
        "SELECT sum(CASE WHEN type = 'deposit_captured' THEN amount ELSE 0 END) FROM ledger_transactions "
        "WHERE tenant_id = %s AND epoch < %s",
        (tenant_id, change.epoch),
    )
    row = await cursor.fetchone()
    assert row is not None
    assert sums["legacy_available"] == sums["snapshot_available"] == sums["ledger_available"] == 800_00 + (row[0] or 0)
    await assert_sound(desk.owner, tenant_id, with_withdrawals=False)


async def test_flip_without_the_fence_is_refused_by_the_database(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    async with desk.pools.connection() as conn:
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="needs the fence"):
            await rollout_repo.enforce(
                conn,
                tenant_id,
                kind="flip",
                override=True,
                expires_at=None,
                reason=WHY,
                actor=ACTOR,
                facts=facts_document(),
                attestation=[],
            )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants SET flags = '{\"ledger_enforce_override\": true}'",
        "UPDATE tenants SET epoch = epoch + 1",
        "INSERT INTO arbiter_changes DEFAULT VALUES",
        "DELETE FROM arbiter_changes",
        "DELETE FROM rollout_holds",
        "SELECT rollout_note_v1(NULL, 'flip', 'ledger', 'x', '{}', '{}', '[]', TRUE)",
        "SELECT tenant_flag_write_v1(NULL, 'ledger_enforce_balance', TRUE, 'x', '{}', NULL)",
    ],
)
async def test_service_has_no_other_way_to_a_flip(desk: RolloutDesk, statement: str) -> None:
    async with await AsyncConnection.connect(desk.database.service_url) as conn:
        with pytest.raises(errors.InsufficientPrivilege):
            await conn.execute(statement.encode())


# ---------------------------------------------------------------------------------------------------------------------
# Rehearsal
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("override", [None, False])
async def test_rehearsal_goes_there_and_back_and_nobody_is_judged_by_it(
    desk: RolloutDesk, override: bool | None
) -> None:
    tenant_id, players = await desk.opened_tenant()
    await desk.execute(
        "UPDATE tenants SET flags = jsonb_build_object('ledger_enforce_override', %s::BOOLEAN) WHERE id = %s",
        override,
        tenant_id,
    )
    done = await desk.rollout.rehearse(tenant_id, reason=WHY, actor=ACTOR)
    assert done.enforce_ms > 0 < done.rollback_ms
    assert await desk.mode(tenant_id) == ("legacy", 2)
    assert [(flip.kind, flip.arbiter, flip.is_fenced) for flip in await desk.flips(tenant_id)] == [
        ("rehearsal", "ledger", True),
        ("rehearsal", "legacy", True),
    ]
    cursor = await desk.owner.execute(
        "SELECT flags -> 'ledger_enforce_override' FROM tenants WHERE id = %s", (tenant_id,)
    )
    assert await cursor.fetchone() == (override,)
    assert (await post_one(desk.pools, deposit(players[0], 1))).epoch == 2


async def test_enforced_tenant_is_not_rehearsed(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.enforced_tenant()
    with pytest.raises(AlreadyEnforced):
        await desk.rollout.rehearse(tenant_id, reason=WHY, actor=ACTOR)


async def test_rollback_that_was_made_counts_as_rehearsed(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.opened_tenant()
    await desk.enforce(tenant_id)
    await desk.roll_back(tenant_id)
    assert (await desk.enforce(tenant_id, waived_gates=())).is_changed


async def test_actor_of_a_deed_is_kept_with_his_id(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    admin = Actor(kind=ActorKind.ADMIN, actor_id=uuid4(), label="owner@example.com", request_id="request-7")
    await desk.rollout.enforce(tenant_id, reason=WHY, actor=admin)
    cursor = await desk.owner.execute(
        "SELECT actor_kind, actor_id, actor_label FROM arbiter_changes WHERE tenant_id = %s AND kind = 'flip'",
        (tenant_id,),
    )
    assert await cursor.fetchall() == [("admin", admin.actor_id, admin.label)]


async def test_tenants_in_the_list_of_slugs_are_found_by_both_names(desk: RolloutDesk) -> None:
    tenant_id = await make_tenant(desk.owner)
    async with desk.pools.connection() as conn:
        found: list[UUID | None] = [
            await rollout_repo.find_tenant_id(conn, name=name)
            for name in (str(tenant_id), str(tenant_id).upper(), f"t-{tenant_id.hex}", "nobody")
        ]
    assert found == [tenant_id, tenant_id, tenant_id, None]
