"""Flags: what they come to and why, and setting them at every level."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from backend.app.domain.errors import FieldError
from backend.app.domain.rollout.flags import Flag, FlagChanged, FlagsContradict, FlagScope, SetFlag
from backend.app.domain.rollout.gates import GatesNotMet
from backend.app.domain.rollout.rollout_state import FenceBusy, TooManyTenants
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.rollout import flag_repo
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.rollout import flags as flags_service
from backend.app.services.rollout.flag_cache import FlagCache
from backend.tests.conftest import Database
from backend.tests.factories import (
    connect_owner,
    deposit,
    engine_of,
    eventually,
    make_tenant,
    open_pools,
    post_one,
    set_legacy,
)
from backend.tests.rollout_desk import ACTOR, VERSION, WHY, RolloutDesk, desk_on
from backend.tests.test_presence import running

ENFORCE, SHADOW = Flag.LEDGER_ENFORCE_BALANCE, Flag.LEDGER_SHADOW_WRITE
LOG, WEBHOOK = Flag.LEDGER_BALANCE_MISMATCH_LOG, Flag.WEBHOOK_SIGNATURE_ENFORCED
HOUR: Final = timedelta(hours=1)
DEFAULTS: Final = {ENFORCE: False, SHADOW: True, LOG: True, WEBHOOK: False}


@pytest.fixture(scope="module")
async def desk(server: Any) -> AsyncIterator[RolloutDesk]:
    """A database of this module's own: global flags bind every tenant."""
    database = server.create()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        yield desk_on(database, pools, owner)
    server.drop(database)


@pytest.fixture(autouse=True)
async def without_settings(desk: RolloutDesk) -> None:
    await desk.execute("TRUNCATE flag_settings")


def wish(flag: Flag, value: bool | None, **fields: Any) -> SetFlag:
    usual: dict[str, Any] = {"tenant_id": None, "provider": None, "expires_at": None}
    fields = {**usual, **fields}
    scope = FlagScope.GLOBAL if fields["tenant_id"] is None else FlagScope.TENANT
    return SetFlag(flag=flag, value=value, scope=scope, reason=WHY, **fields)


async def set_flag(desk: RolloutDesk, flag: Flag, value: bool | None, **fields: Any) -> tuple[bool, str]:
    """Set it; (value, source) of what it then comes to."""
    effective = await desk.flags.set(wish(flag, value, **fields), actor=ACTOR, now=datetime.now(UTC))
    (found,) = [each for each in effective if each.flag is flag]
    return found.value, found.source.value


# ---------------------------------------------------------------------------------------------------------------------
# Provenance
# ---------------------------------------------------------------------------------------------------------------------

Said = tuple[tuple[bool, ...], tuple[bool, bool] | None, tuple[bool, bool] | None]
# What the environments of processes say; the global value and the tenant's or provider's own, each with whether it is
# over.
VALUES: Final = st.tuples(
    st.lists(st.booleans(), max_size=3).map(tuple),
    st.none() | st.tuples(st.booleans(), st.booleans()),
    st.none() | st.tuples(st.booleans(), st.booleans()),
)


def model(flag: Flag, said: Said) -> tuple[bool, str]:
    """The rules of decision 0009 once more, in Python and in the order of their strength."""
    environments, global_value, own = said
    if flag in (ENFORCE, WEBHOOK) and False in environments:
        return False, "environment_false"
    # The ledger's own values of tenants have no clock: a job ends them.
    if own is not None and (not own[1] or flag in (ENFORCE, SHADOW)):
        return own[0], "provider" if flag is WEBHOOK else "tenant"
    if global_value is not None and not global_value[1]:
        return global_value[0], "global"
    if environments:
        return all(environments), "environment"
    return DEFAULTS[flag], "default"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.fixed_dictionaries(dict.fromkeys(Flag, VALUES)))
async def test_every_flag_comes_to_what_the_rules_say(desk: RolloutDesk, said: dict[Flag, Said]) -> None:
    tenant_id = uuid4()
    own = {flag: None if (mine := said[flag][2]) is None else mine[0] for flag in (ENFORCE, SHADOW)}
    async with desk.owner.transaction(force_rollback=True):
        await desk.execute(
            "INSERT INTO tenants (id, slug, name, base_currency, flags) VALUES (%s, %s, 'x', 'USD', %s)",
            tenant_id,
            tenant_id.hex,
            Jsonb({"ledger_enforce_override": own[ENFORCE], "ledger_shadow_override": own[SHADOW]}),
        )
        for flag, (environments, global_value, own_value) in said.items():
            rows: list[tuple[str, str, bool, bool]] = [
                ("environment", str(number), value, False) for number, value in enumerate(environments)
            ]
            if global_value is not None:
                rows.append(("global", "", *global_value))
            if own_value is not None:
                scope, holder = ("provider", "mockpsp") if flag is WEBHOOK else ("tenant", str(tenant_id))
                rows.append((scope, holder, *own_value))
            for scope, holder, value, is_over in rows:
                await desk.execute(
                    "INSERT INTO flag_settings (flag, scope, holder, value, set_by, reason, expires_at) "
                    "VALUES (%s, %s, %s, %s, 'somebody', 'for a reason', CASE WHEN %s THEN now() - INTERVAL '1 s' END)",
                    flag.value, scope, holder, value, is_over,
                )  # fmt: skip
        found = await flag_repo.list_effective(desk.owner, tenant_id, provider="mockpsp")
        assert {each.flag: (each.value, each.source) for each in found} == {
            flag: model(flag, said[flag]) for flag in Flag
        }
        for each in found:
            assert (each.set_by is None) == (each.source == "default"), each
        # The door's own view of the two flags that it reads.
        cursor = await desk.owner.execute(
            "SELECT arbiter = 'ledger', enforce_source, shadow_write FROM tenant_modes WHERE tenant_id = %s",
            (tenant_id,),
        )
        assert await cursor.fetchone() == (*model(ENFORCE, said[ENFORCE]), model(SHADOW, said[SHADOW])[0])


# ---------------------------------------------------------------------------------------------------------------------
# Setting
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [LOG, WEBHOOK, SHADOW])
async def test_value_is_set_and_removed_with_its_reason(desk: RolloutDesk, flag: Flag) -> None:
    value = not DEFAULTS[flag]
    before = len(await desk.actions(None))
    assert await set_flag(desk, flag, value) == (value, "global")
    (found,) = [each for each in await desk.flags.list_effective(None) if each.flag is flag]
    assert (found.reason, found.set_by, found.own_value, found.expires_at) == (WHY, ACTOR.label, None, None)
    assert await set_flag(desk, flag, None) == (DEFAULTS[flag], "default")
    assert (await desk.actions(None))[before:] == ["flag.changed", "flag.changed"]
    cursor = await desk.owner.execute(
        "SELECT state_before ->> 'value', state_after ->> 'value', reason, actor_label FROM audit_events "
        "WHERE tenant_id IS NULL AND object_id = %s ORDER BY id DESC LIMIT 2",
        (flag.value,),
    )
    text = str(value).lower()
    assert await cursor.fetchall() == [(text, None, WHY, ACTOR.label), (None, text, WHY, ACTOR.label)]


async def test_tenant_and_provider_have_values_of_their_own(desk: RolloutDesk) -> None:
    tenant_id = await make_tenant(desk.owner)
    assert await set_flag(desk, LOG, False) == (False, "global")
    assert await set_flag(desk, LOG, True, tenant_id=tenant_id) == (True, "tenant")
    assert await set_flag(desk, SHADOW, False, tenant_id=tenant_id) == (False, "tenant")
    assert await set_flag(desk, SHADOW, None, tenant_id=tenant_id) == (True, "default")
    assert await set_flag(desk, WEBHOOK, True) == (True, "global")
    until = datetime.now(UTC) + HOUR
    assert await set_flag(desk, WEBHOOK, False, provider="mockpsp", expires_at=until) == (False, "provider")
    (found,) = [each for each in await desk.flags.list_effective(None, provider="mockpsp") if each.flag is WEBHOOK]
    assert found.expires_at == until
    await desk.execute("UPDATE flag_settings SET expires_at = now() WHERE scope = 'provider'")
    (found,) = [each for each in await desk.flags.list_effective(None, provider="mockpsp") if each.flag is WEBHOOK]
    assert (found.value, found.source) == (True, "global")
    with pytest.raises(FieldError):
        await set_flag(desk, WEBHOOK, True, provider="nobody")
    with pytest.raises(TenantNotFound):
        await set_flag(desk, LOG, True, tenant_id=uuid4())


async def test_enforcing_by_flag_passes_the_gates_too(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.opened_tenant()
    with pytest.raises(GatesNotMet):
        await set_flag(desk, ENFORCE, True, tenant_id=tenant_id)
    await desk.rollout.rehearse(tenant_id, reason=WHY, actor=ACTOR)
    assert await set_flag(desk, ENFORCE, True, tenant_id=tenant_id) == (True, "tenant")
    assert (await desk.mode(tenant_id))[0] == "ledger"
    assert await set_flag(desk, ENFORCE, False, tenant_id=tenant_id) == (False, "tenant")
    assert await set_flag(desk, ENFORCE, None, tenant_id=tenant_id) == (False, "default")
    assert [flip.arbiter for flip in await desk.flips(tenant_id) if flip.kind == "flip"] == ["ledger", "legacy"]


async def test_enforcement_of_a_tenant_ends_when_its_time_has_come(desk: RolloutDesk) -> None:
    tenant_id, _ = await desk.ready_tenant()
    until = datetime.now(UTC) + HOUR
    await set_flag(desk, ENFORCE, True, tenant_id=tenant_id, expires_at=until)
    other_id = await make_tenant(desk.owner)
    await set_flag(desk, SHADOW, False, tenant_id=other_id, expires_at=until)
    assert await desk.rollout.expire_due(datetime.now(UTC)) == 0
    await desk.execute("UPDATE flag_settings SET expires_at = now() WHERE scope = 'tenant'")
    assert await desk.rollout.expire_due(datetime.now(UTC)) == 2
    assert (await desk.mode(tenant_id))[0] == "legacy"
    flip = (await desk.flips(tenant_id))[-1]
    assert (flip.arbiter, flip.is_fenced) == ("legacy", True)
    assert "it was set until" in flip.reason
    (shadow,) = [each for each in await desk.flags.list_effective(other_id) if each.flag is SHADOW]
    assert (shadow.value, shadow.source) == (True, "default")
    assert await desk.rollout.expire_due(datetime.now(UTC)) == 0


async def test_shadow_writing_is_not_switched_off_under_the_ledger(desk: RolloutDesk) -> None:
    tenant_id, players = await desk.enforced_tenant()
    for fields in ({}, {"tenant_id": tenant_id}):
        with pytest.raises(FlagsContradict):
            await set_flag(desk, SHADOW, False, **fields)
    assert (await post_one(desk.pools, deposit(players[0], 1))).code == "applied"
    # Whom the ledger does not decide about is free to.
    assert await set_flag(desk, SHADOW, False, tenant_id=await make_tenant(desk.owner)) == (False, "tenant")
    await desk.roll_back(tenant_id)


async def test_shadow_writing_and_enforcing_at_once_do_not_both_come_through(desk: RolloutDesk) -> None:
    for _ in range(5):
        tenant_id, _ = await desk.ready_tenant(players=1)
        outcomes = await asyncio.gather(
            desk.enforce(tenant_id),
            set_flag(desk, SHADOW, False, tenant_id=tenant_id),
            return_exceptions=True,
        )
        failures = [each for each in outcomes if isinstance(each, BaseException)]
        assert len(failures) == 1
        assert isinstance(failures[0], (FlagsContradict, GatesNotMet))
        cursor = await desk.owner.execute("SELECT is_refused FROM tenant_modes WHERE tenant_id = %s", (tenant_id,))
        assert await cursor.fetchone() == (False,)
        await desk.roll_back(tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Enforcing everybody
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def alone(new_database: Callable[..., Database]) -> AsyncIterator[RolloutDesk]:
    """A database of the test's own: who is in it is who is enforced."""
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        yield desk_on(database, pools, owner)


async def epochs(desk: RolloutDesk, *tenant_ids: UUID) -> list[int]:
    return [(await desk.mode(tenant_id))[1] for tenant_id in tenant_ids]


async def test_global_value_flips_exactly_those_it_binds(alone: RolloutDesk) -> None:
    ready = [(await alone.ready_tenant())[0] for _ in range(3)]
    enforced, _ = await alone.enforced_tenant()
    exception = await make_tenant(alone.owner, enforce_override=False)
    for tenant_id in ready:
        await alone.rollout._census.run(tenant_id, started_by="a test")
        await alone.execute("UPDATE tenants SET flags = '{}' WHERE id = %s", tenant_id)
    before = await epochs(alone, *ready, enforced, exception)
    assert await set_flag(alone, ENFORCE, True) == (True, "global")
    after = await epochs(alone, *ready, enforced, exception)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1, 0, 0]
    assert [(await alone.mode(tenant_id))[0] for tenant_id in (*ready, enforced, exception)] == ["ledger"] * 4 + [
        "legacy"
    ]
    assert (await alone.flips(ready[0]))[-1][:5] == ("flags", "ledger", after[0], WHY, True)
    assert await set_flag(alone, ENFORCE, None) == (False, "default")
    assert await epochs(alone, *ready, enforced, exception) == [*(epoch + 1 for epoch in after[:3]), *after[3:]]


async def test_global_value_waits_for_the_last_gate_of_the_last_tenant(alone: RolloutDesk) -> None:
    tenant_id, _ = await alone.ready_tenant()
    await alone.rollout._census.run(tenant_id, started_by="a test")
    unready, _ = await alone.opened_tenant()
    with pytest.raises(GatesNotMet) as refusal:
        await set_flag(alone, ENFORCE, True)
    assert refusal.value.extras["tenant_id"] == str(unready)
    assert [(await alone.mode(each))[0] for each in (tenant_id, unready)] == ["legacy", "legacy"]
    cursor = await alone.owner.execute("SELECT count(*) FROM flag_settings WHERE scope = 'global'")
    assert await cursor.fetchone() == (0,), "what was only tried left nothing"


async def test_global_value_does_not_flip_without_every_fence(
    alone: RolloutDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags_service, "FENCE_SECONDS_MAX", 0.3)
    tenants = [(await alone.ready_tenant())[0] for _ in range(2)]
    for tenant_id in tenants:
        await alone.rollout._census.run(tenant_id, started_by="a test")
    async with alone.open_money_transaction(tenants[1]):
        with pytest.raises(FenceBusy):
            await set_flag(alone, ENFORCE, True)
    assert [(await alone.mode(each))[0] for each in tenants] == ["legacy", "legacy"]
    assert await set_flag(alone, ENFORCE, True) == (True, "global")


async def test_too_many_at_once_go_in_waves(alone: RolloutDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags_service, "ENFORCED_AT_ONCE_MAX", 1)
    for _ in range(2):
        await alone.ready_tenant()
    with pytest.raises(TooManyTenants):
        await set_flag(alone, ENFORCE, True)


async def test_global_value_under_the_kill_switch_enforces_nobody(alone: RolloutDesk) -> None:
    tenant_id, _ = await alone.opened_tenant()
    async with running(alone.database, ledger_enforce_balance=False):
        await alone.execute("UPDATE service_instances SET app_version = %s", VERSION)
        assert await set_flag(alone, ENFORCE, True) == (False, "environment_false")
        with pytest.raises(GatesNotMet) as refusal:
            await alone.enforce(tenant_id)
        gates: Any = refusal.value.extras["gates"]
        assert [(gate["gate"], gate["case"]) for gate in gates] == [("holds", "killed")]


async def test_processes_of_an_older_release_stand_against_enforcing(alone: RolloutDesk) -> None:
    tenant_id, _ = await alone.ready_tenant()
    async with running(alone.database):
        await alone.execute("UPDATE service_instances SET app_version = '1.1.9'")
        with pytest.raises(GatesNotMet) as refusal:
            await alone.enforce(tenant_id)
        gates: Any = refusal.value.extras["gates"]
        assert [(gate["gate"], gate["case"]) for gate in gates] == [("writers", "old")]
    assert (await alone.enforce(tenant_id)).is_changed, "a process that is gone writes no more"


# ---------------------------------------------------------------------------------------------------------------------
# The copy that processes keep
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def cache(desk: RolloutDesk) -> AsyncIterator[FlagCache]:
    kept = FlagCache(engine_of(desk.database), defaults=DEFAULTS)
    await kept.start()
    await until(kept, lambda: kept.reads > 0, what="the first read")
    yield kept
    await kept.stop()


async def until(cache: FlagCache, condition: Callable[[], bool], *, what: str) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds, what=what)


async def test_copy_hears_of_every_change_at_once(desk: RolloutDesk, cache: FlagCache) -> None:
    tenant_id = await make_tenant(desk.owner)
    assert cache.is_mismatch_logged(tenant_id)
    await set_flag(desk, LOG, False)
    await until(cache, lambda: not cache.is_mismatch_logged(tenant_id), what="the global value is heard of")
    await set_flag(desk, LOG, True, tenant_id=tenant_id)
    await until(cache, lambda: cache.is_mismatch_logged(tenant_id), what="the tenant's value is heard of")
    assert not cache.is_mismatch_logged(uuid4())
    await set_flag(desk, WEBHOOK, True, provider="mockpsp")
    await until(cache, lambda: cache.is_on(WEBHOOK, holder="mockpsp"), what="the provider's value is heard of")
    assert not cache.is_on(WEBHOOK, holder="stripe")
    assert cache.warnings() == ()


async def test_copy_reads_everything_anew_after_it_lost_its_session(
    desk: RolloutDesk, cache: FlagCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.app.services.rollout.flag_cache.RECONNECT_SECONDS", 0.01)
    async with desk.pools.connection() as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'hakem-flags' AND datname = current_database()"
        )
    # Nobody listens while this is said, or somebody does: it is known all the same.
    await set_flag(desk, LOG, False)
    await until(cache, lambda: not cache.is_on(LOG), what="what was missed is read")


async def test_mismatches_are_logged_as_the_database_says(desk: RolloutDesk, cache: FlagCache) -> None:
    recorder = MismatchRecorder(desk.pools, is_enabled=True, is_enabled_for=cache.is_mismatch_logged)
    tenant_id, players = await desk.opened_tenant(players=2)

    async def note(number: int) -> int:
        player = players[number]
        await set_legacy(desk.owner, player, available=1)
        result = await post_one(desk.pools, deposit(player, 1))
        await recorder.note(result, tenant_id=tenant_id, player_id=player.id, currency=player.currency)
        cursor = await desk.owner.execute("SELECT count(*) FROM ledger_mismatches WHERE player_id = %s", (player.id,))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    await set_flag(desk, LOG, False, tenant_id=tenant_id)
    await until(cache, lambda: not cache.is_mismatch_logged(tenant_id), what="the tenant's value is heard of")
    assert await note(0) == 0
    await set_flag(desk, LOG, None, tenant_id=tenant_id)
    await until(cache, lambda: cache.is_mismatch_logged(tenant_id), what="it is heard that it is gone")
    assert await note(1) == 1


async def test_flags_of_the_table_are_those_of_the_code(desk: RolloutDesk) -> None:
    cursor = await desk.owner.execute("SELECT flag, default_value FROM flags")
    assert dict(await cursor.fetchall()) == {flag.value: value for flag, value in DEFAULTS.items()}


@pytest.mark.parametrize("flag", [LOG, SHADOW, WEBHOOK])
@pytest.mark.parametrize("is_of_tenant", [True, False])
async def test_of_many_who_looked_at_the_same_one_sets_it(desk: RolloutDesk, flag: Flag, is_of_tenant: bool) -> None:
    if flag is WEBHOOK and is_of_tenant:
        pytest.skip("has no values of tenants")
    tenant_id = await make_tenant(desk.owner) if is_of_tenant else None
    (looked_at,) = [each for each in await desk.flags.list_effective(tenant_id) if each.flag is flag]
    outcomes = await asyncio.gather(
        *(
            desk.flags.set(
                wish(flag, not looked_at.value, tenant_id=tenant_id),
                actor=ACTOR,
                now=datetime.now(UTC),
                seen=looked_at.mark,
            )
            for _ in range(4)
        ),
        return_exceptions=True,
    )
    refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refusals) == 3
    # Whoever waits too long for the others is told so, and has set nothing either.
    assert {type(refusal) for refusal in refusals} <= {FlagChanged, FenceBusy}, refusals
    (now,) = [each for each in await desk.flags.list_effective(tenant_id) if each.flag is flag]
    assert now.value is not looked_at.value
