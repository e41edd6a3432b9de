"""The monitor on a database: what the evidence leads to, once, and by one process at a time."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.assessment import Verdict
from backend.app.domain.monitor.bucket import Stream, Trigger
from backend.app.domain.monitor.monitor import COOLDOWN_MAX, MonitorBusy, SubjectKind, VerdictNotFound, cooldown_after
from backend.app.domain.monitor.thresholds import Thresholds
from backend.app.repositories.monitor import evidence_repo, monitor_repo, verdict_repo
from backend.app.repositories.monitor.monitor_repo import LeaseLost
from backend.app.services.backfill.census import Census
from backend.app.services.monitor import monitor_watch
from backend.app.services.monitor.monitor import Monitor
from backend.app.services.monitor.monitor_inputs import Inputs
from backend.app.services.monitor.monitor_looks import Looks
from backend.app.services.monitor.monitor_reader import MonitorReader
from backend.app.services.monitor.monitor_watch import MonitorWatch
from backend.app.services.monitor.selftest import Selftest
from backend.tests.conftest import Database
from backend.tests.factories import make_tenant, set_enforce, set_legacy
from backend.tests.monitor_desk import MonitorDesk, automatic, monitor_desk, of_trigger, soon, verdicts

PERSON = Actor(kind=ActorKind.OPERATOR, actor_id=None, label="somebody")


@pytest.fixture
async def desk(new_database: Callable[..., Database]) -> AsyncIterator[MonitorDesk]:
    async with monitor_desk(new_database()) as made:
        yield made


async def ensure_derived_again(desk: MonitorDesk) -> int:
    """Every decision of the database, made again from its evidence; how many there are."""
    reader = MonitorReader(desk.pools)
    page, total = await reader.list_decisions(None, before_id=None, limit=200, offset=0)
    for row in page:
        derived = await reader.derive_again(None, decision_id=row.id)
        assert derived.is_same, (derived.kept_actions, derived.again.actions_document)
    return total


# ---------------------------------------------------------------------------------------------------------------------
# Wrong refusals
# ---------------------------------------------------------------------------------------------------------------------


async def test_wrong_refusals_of_several_players_roll_the_tenant_back_where_that_is_allowed(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    players = await desk.players(tenant_id, 8)
    await desk.refuse_wrongly(players)

    evaluation = await desk.evaluate()

    assert verdicts(evaluation, tenant_id)["T1"] == "high"
    assert of_trigger(evaluation, tenant_id, Trigger.T1).is_rolled_back
    assert await desk.arbiter(tenant_id) == "legacy"
    assert "cooldown" in await desk.holds(tenant_id)
    decision = next(each for each in await desk.decisions(tenant_id) if each["trigger"] == "T1")
    assert automatic(decision)[0] == "rollback"
    assert (decision["verdict_before"], decision["verdict"], decision["is_rollback"]) == ("no_data", "high", True)
    change = await desk.one(
        "SELECT row_to_json(c) FROM arbiter_changes c WHERE tenant_id = %s ORDER BY epoch DESC LIMIT 1", tenant_id
    )
    assert (change["is_automatic"], change["decision_id"]) == (True, decision["id"])
    hold = await desk.one(
        "SELECT row_to_json(h) FROM rollout_holds h WHERE tenant_id = %s AND kind = 'cooldown'", tenant_id
    )
    ends_in = datetime.fromisoformat(hold["ends_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < ends_in <= timedelta(hours=24)
    assert hold["decision_id"] == decision["id"]

    again = await desk.evaluate()
    assert again.decisions == 0, "a verdict that goes on leads to nothing anew"
    assert verdicts(again, tenant_id)["T1"] == "high", "it stands until somebody takes note"
    assert await desk.arbiter(tenant_id) == "legacy", "and nobody is enforced by itself again"
    assert await ensure_derived_again(desk) == len(await desk.decisions(tenant_id))


async def test_without_leave_the_rollback_is_recommended_with_its_command(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    evaluation = await desk.evaluate()
    decided = of_trigger(evaluation, tenant_id, Trigger.T1).decided
    assert decided.verdict is Verdict.HIGH
    assert await desk.arbiter(tenant_id) == "ledger"
    assert decided.recommended[0].action == "rollback"
    assert decided.recommended[0].command is not None
    assert decided.recommended[0].command.startswith(f"hakem rollout rollback {tenant_id} --reason ")
    assert "hold" in await desk.holds(tenant_id)

    # Leave that is given later counts at once: the evidence still calls for it.
    await desk.monitor.set_auto_rollback(tenant_id, is_on=True, reason="we trust it", actor=PERSON)
    evaluation = await desk.evaluate()
    assert of_trigger(evaluation, tenant_id, Trigger.T1).is_rolled_back
    assert await desk.arbiter(tenant_id) == "legacy"
    actions = await desk.owner.execute(
        "SELECT action, reason FROM audit_events WHERE tenant_id = %s AND actor_label = 'somebody'", (tenant_id,)
    )
    assert await actions.fetchall() == [("auto_rollback.changed", "we trust it")]
    await ensure_derived_again(desk)


async def test_second_tenant_within_a_day_freezes_the_fleet(desk: MonitorDesk) -> None:
    tenants = [await desk.tenant(auto_rollback=True) for _ in range(2)]
    for place, tenant_id in enumerate(tenants):
        await desk.refuse_wrongly(await desk.players(tenant_id, 8))
        await desk.owner.execute("DELETE FROM evidence_buckets WHERE stream = 't3_mismatch'")
        await desk.evaluate()
        assert await desk.arbiter(tenant_id) == "legacy"
        assert await desk.holds(None) == ["freeze"] * place
    await ensure_derived_again(desk)


async def test_second_rollback_of_a_tenant_takes_longer_and_pins_it(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    await desk.evaluate()
    assert "pin" not in await desk.holds(tenant_id)
    # Somebody overrides all that stands against it.
    await set_enforce(desk.owner, tenant_id, True)
    assert (await desk.evaluate()).decisions == 0
    assert await desk.arbiter(tenant_id) == "ledger", "what was counted before the flip does not roll back again"
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    await desk.evaluate()
    assert await desk.arbiter(tenant_id) == "legacy"
    assert "pin" in await desk.holds(tenant_id)
    lasts = await desk.one(
        "SELECT max(ends_at) > now() + INTERVAL '47 hours' FROM rollout_holds "
        "WHERE kind = 'cooldown' AND tenant_id = %s",
        tenant_id,
    )
    assert lasts is True
    (pin,) = [
        hold
        for decision in await desk.decisions(tenant_id)
        for hold in decision["actions"]["holds"]
        if hold["kind"] == "pin"
    ]
    assert pin["reasons"]["tr"].startswith("2 kez kendiliğinden geri dönüldü: ")
    assert pin["reasons"]["en"].startswith("rolled back by itself 2 times: ")
    await ensure_derived_again(desk)


def test_cooldown_doubles_up_to_a_week() -> None:
    hours = [cooldown_after(rollbacks) / timedelta(hours=1) for rollbacks in (1, 2, 3, 4, 50)]
    assert hours == [24, 48, 96, COOLDOWN_MAX / timedelta(hours=1), 168]


async def test_money_that_the_legacy_column_would_have_refused_is_critical_at_once(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    (player,) = await desk.players(tenant_id, 1)
    await set_legacy(desk.owner, player, available=0)
    assert await desk.ask(player, 50_00)
    await desk.evidence.flush()
    evaluation = await desk.evaluate()
    assert verdicts(evaluation, tenant_id)["T1"] == "critical"
    assert await desk.arbiter(tenant_id) == "legacy"
    assert await desk.holds(None) == ["freeze"]
    await ensure_derived_again(desk)


async def test_wallets_that_a_census_finds_to_differ_count_as_mismatches(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    for player in await desk.players(tenant_id, 3):
        await set_legacy(desk.owner, player, available=1_000_00)
    report = await Census(desk.pools).run(tenant_id, started_by="a test")
    assert report.found > 0
    evaluation = await desk.evaluate()
    assert verdicts(evaluation, tenant_id) == {"T1": "no_data", "T3": "light"}, "though nobody has touched them"
    await ensure_derived_again(desk)


async def test_legacy_tenant_is_held_and_there_is_nothing_to_roll_back(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(enforced=False, auto_rollback=True)
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    evaluation = await desk.evaluate()
    decided = of_trigger(evaluation, tenant_id, Trigger.T1).decided
    assert decided.verdict.severity > 0
    assert not decided.is_rollback
    assert "rollback" not in [step.action for step in decided.recommended]
    assert "hold" in await desk.holds(tenant_id)
    async with desk.pools.connection() as conn:
        worst = await verdict_repo.find_worst(conn, tenant_id, since=datetime.now(UTC) - timedelta(hours=6))
    assert worst is not None
    assert worst.severity > 0, "the gate `quiet` hears of it"


# ---------------------------------------------------------------------------------------------------------------------
# What leads to nothing
# ---------------------------------------------------------------------------------------------------------------------


async def test_quiet_traffic_one_looping_player_and_a_night_lead_to_nothing(desk: MonitorDesk) -> None:
    quiet, looping, empty = [await desk.tenant(auto_rollback=True) for _ in range(3)]
    for place, player in enumerate(await desk.players(quiet, 20)):
        desk.evidence.minutes_back = place % 5
        assert await desk.ask(player, 50_00)
    (player,) = await desk.players(looping, 1)
    await set_legacy(desk.owner, player, available=1_000_00)
    for turn in range(40):
        desk.evidence.minutes_back = turn % 8
        assert not await desk.ask(player, 500_00)
    await desk.evidence.flush()

    evaluation = await desk.evaluate()

    assert verdicts(evaluation, quiet) == {"T1": "ok", "T3": "ok"}
    assert verdicts(evaluation, empty) == {"T1": "no_data", "T3": "no_data"}
    assert verdicts(evaluation, looping)["T3"] == "ok"
    assert evaluation.decisions == 0
    assert [await desk.arbiter(each) for each in (quiet, looping, empty)] == ["ledger"] * 3
    assert [await desk.holds(each) for each in (quiet, looping, empty, None)] == [[], [], [], []]


async def test_masses_of_forged_webhooks_from_outside_cause_nothing(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    players = await desk.players(tenant_id, 2)
    (known, _) = await desk.open_deposits(players)
    now = datetime.now(UTC)
    for minute in range(8):
        at = now - timedelta(minutes=minute)
        for _ in range(100):
            desk.deliver(uuid4(), at=at, result="missing")
        # Even the one payment that somebody knows the name of, their own: it is one player's, again and again.
        for _ in range(50):
            desk.deliver(known, at=at)
    await desk.evidence.flush()
    evaluation = await desk.evaluate()
    assert verdicts(evaluation, "mockpsp") == {"T2": "ok"}
    assert evaluation.decisions == 0
    async with desk.pools.connection() as conn:
        buckets = await evidence_repo.list_delivery_buckets(
            conn,
            "mockpsp",
            since=now - timedelta(hours=1),
            until=soon(),
            late_after=timedelta(minutes=10),
        )
    assert sum(bucket.x for bucket in buckets[Stream.T2_NOISE]) == 800, "shown all the same"


async def test_wrong_secret_at_a_provider_is_told_and_never_acted_upon(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    players = await desk.players(tenant_id, 16)
    now = datetime.now(UTC)
    for place, deposit_id in enumerate(await desk.open_deposits(players)):
        desk.deliver(deposit_id, at=now - timedelta(minutes=place % 8))
    await desk.evidence.flush()
    evaluation = await desk.evaluate()
    decided = of_trigger(evaluation, "mockpsp", Trigger.T2).decided
    assert decided.verdict is Verdict.HIGH
    assert decided.automatic == ()
    assert [step.action for step in decided.recommended] == ["check_secret", "relax_signatures", "rotate_secret"]
    assert "WEBHOOK_SIGNATURE_ENFORCED".lower() in str(decided.recommended[1].command)
    assert await desk.holds(tenant_id) == await desk.holds(None) == []
    assert await desk.arbiter(tenant_id) == "ledger"
    await ensure_derived_again(desk)


# ---------------------------------------------------------------------------------------------------------------------
# One monitor at a time, and none
# ---------------------------------------------------------------------------------------------------------------------


async def test_monitors_at_once_come_to_one_decision(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    now = soon()
    await asyncio.gather(*(desk.evaluate(now=now) for _ in range(4)))
    decisions = await desk.decisions(tenant_id)
    assert sorted(each["trigger"] for each in decisions) == ["T1", "T3"]
    assert sum(each["is_rollback"] for each in decisions) == 1
    assert await desk.one("SELECT count(*) FROM arbiter_changes WHERE tenant_id = %s", tenant_id) == 1
    assert (await desk.holds(tenant_id)).count("cooldown") == 1


async def test_monitor_that_lost_its_lease_writes_nothing(desk: MonitorDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    count_rollbacks, is_stale = monitor_repo.count_rollbacks, asyncio.Event()

    async def hang_there(*arguments: Any, **options: Any) -> Any:
        """The stale one stands still right before it would write, until another one has taken over and is done."""
        if not is_stale.is_set():
            is_stale.set()
            await desk.owner.execute("UPDATE monitor_lease SET expires_at = '-infinity'")
            await desk.owner.execute("UPDATE monitor_lease SET token = token + 1")
        return await count_rollbacks(*arguments, **options)

    monkeypatch.setattr(monitor_repo, "count_rollbacks", hang_there)
    with pytest.raises(LeaseLost):
        await desk.evaluate()
    assert await desk.decisions(tenant_id) == []
    assert await desk.one("SELECT count(*) FROM monitor_verdicts") == 0
    assert await desk.arbiter(tenant_id) == "ledger"
    assert (await desk.evaluate()).decisions == 2, "and the next one does it"


async def test_who_comes_while_another_evaluates_is_told_so(desk: MonitorDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk.pools.connection() as conn:
        assert await monitor_repo.take_lease(conn, holder="another") is not None
    monkeypatch.setattr("backend.app.services.monitor.monitor.BUSY_SECONDS_MAX", 0.0)
    with pytest.raises(MonitorBusy):
        await desk.evaluate()
    assert await desk.monitor.run_due(datetime.now(UTC)) == 0


async def test_rollback_that_could_not_be_carried_out_is_by_the_next_evaluation(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))

    class Away:
        """The rollout of a process whose database goes away at that moment."""

        async def rollback(self, tenant_id: UUID, **_: Any) -> object:
            raise TemporarilyUnavailable

    await Monitor(desk.pools, rollout=Away()).evaluate(now=soon())
    assert await desk.arbiter(tenant_id) == "ledger"
    (decision,) = [each for each in await desk.decisions(tenant_id) if each["is_rollback"]]

    evaluation = await desk.evaluate()

    assert of_trigger(evaluation, tenant_id, Trigger.T1).is_rolled_back
    assert await desk.arbiter(tenant_id) == "legacy"
    assert sum(each["is_rollback"] for each in await desk.decisions(tenant_id)) == 1, "the same decision"
    assert await desk.one("SELECT decision_id FROM arbiter_changes WHERE tenant_id = %s", tenant_id) == UUID(
        decision["id"]
    )
    assert (await desk.holds(tenant_id)).count("cooldown") == 1


async def test_silent_monitor_is_told_by_readiness_and_metric(
    desk: MonitorDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = await desk.tenant()
    watch = MonitorWatch(desk.pools)
    watch.start()
    try:
        await desk.evaluate()
        await watch.refresh()
        assert watch.warnings() == ()
        evaluated_at = await desk.one("SELECT evaluated_at FROM monitor_lease")
        assert monitor_watch.last_evaluation._value.get() == evaluated_at.timestamp()
        labels = monitor_watch.verdict_gauge.labels(str(tenant_id), "T1", "no_data")
        assert labels._value.get() == 1
        assert monitor_watch.verdict_gauge.labels(str(tenant_id), "T3", "critical")._value.get() == 0
        await desk.owner.execute("UPDATE monitor_lease SET evaluated_at = now() - INTERVAL '4 minutes'")
        await watch.refresh()
        (warning,) = watch.warnings()
        assert "the monitor has not evaluated for 4 minutes" in warning
    finally:
        await watch.stop()


# ---------------------------------------------------------------------------------------------------------------------
# Taking note, looking back
# ---------------------------------------------------------------------------------------------------------------------


async def test_verdict_ends_when_somebody_took_note_and_the_evidence_is_well_for_an_hour(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    now = soon()
    await desk.evaluate(now=now)
    with pytest.raises(VerdictNotFound):
        await desk.monitor.acknowledge(
            kind=SubjectKind.TENANT, key=str(uuid4()), trigger=Trigger.T1, note="which?", actor=PERSON
        )
    kept = await desk.monitor.acknowledge(
        kind=SubjectKind.TENANT, key=str(tenant_id), trigger=Trigger.T1, note="the import was wrong", actor=PERSON
    )
    assert kept.acknowledged_by == "somebody"
    # Days of good traffic, each looked at as it comes.
    healthy = await desk.players(tenant_id, 1)
    stands = []
    for step in range(1, 27):
        later = now + timedelta(hours=24, minutes=5 * step)
        await desk.owner.execute(
            "INSERT INTO evidence_buckets (tenant_id, stream, minute, instance, epoch, arbiter, flush_number, n, x, "
            "flushed_at) SELECT %s, stream, date_trunc('minute', %s::TIMESTAMPTZ - INTERVAL '4 minutes'), 1, 0, "
            "'ledger', 1, 10, 0, %s FROM unnest(ARRAY['t1_disputed', 't3_mismatch']) AS stream",
            (tenant_id, later, later),
        )
        evaluation = await desk.evaluate(now=later)
        stands.append(verdicts(evaluation, tenant_id)["T1"])
    assert stands[0] == "high"
    assert stands[-1] == "ok"
    assert verdicts(evaluation, tenant_id)["T3"] == "high", "of that one nobody took note"
    assert healthy
    await ensure_derived_again(desk)


async def test_note_that_is_taken_while_the_monitor_evaluates_is_not_lost(
    desk: MonitorDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = await desk.tenant()
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    await desk.evaluate()
    count_rollbacks = monitor_repo.count_rollbacks

    async def meanwhile(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(monitor_repo, "count_rollbacks", count_rollbacks)
        await desk.monitor.acknowledge(
            kind=SubjectKind.TENANT, key=str(tenant_id), trigger=Trigger.T1, note="seen", actor=PERSON
        )
        return await count_rollbacks(*arguments, **options)

    monkeypatch.setattr(monitor_repo, "count_rollbacks", meanwhile)
    await desk.evaluate()
    by = await desk.one("SELECT acknowledged_by FROM monitor_verdicts WHERE trigger = 'T1'")
    assert by == "somebody"
    await desk.evaluate()
    latch = await desk.one("SELECT latches -> 't1_disputed' FROM monitor_verdicts WHERE trigger = 'T1'")
    assert latch["acknowledged_at"] is not None


async def test_any_past_moment_can_be_looked_at_with_other_thresholds(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    await desk.refuse_wrongly(await desk.players(tenant_id, 8))
    now = soon()
    before = await desk.monitor.preview(at=now - timedelta(hours=2), tenant_id=tenant_id)
    then = await desk.monitor.preview(at=now)
    strict = Thresholds(high_minutes=60, high_events=500, light_events=400, light_players=300, fast_players=100)
    mild = await desk.monitor.preview(at=now, thresholds=strict)
    assert verdicts(before, tenant_id) == {"T1": "no_data", "T3": "no_data"}
    assert verdicts(then, tenant_id) == {"T1": "high", "T3": "high"}
    assert verdicts(mild, tenant_id) == {"T1": "ok", "T3": "ok"}
    for table in ("monitor_verdicts", "monitor_decisions", "rollout_holds", "monitor_baselines"):
        assert await desk.one(f"SELECT count(*) FROM {table}") == 0, "nothing was kept or done"


async def test_minutes_that_are_folded_into_the_scores_need_not_be_read_again(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    generator = random.Random(7)
    rows: list[tuple[Any, ...]] = []
    for back in range(1, 1300):
        minute, n = now - timedelta(minutes=back), generator.randrange(1, 9)
        # The very first one too, so that both readings begin with it.
        x = int(generator.random() < 0.01 or back == 1299)
        for stream, of_it in (("t1_disputed", x), ("t1_refused", int(generator.random() < 0.3)), ("t3_mismatch", x)):
            if stream != "t1_refused" or of_it:
                rows.append((tenant_id, stream, minute, n if stream != "t1_refused" else of_it, of_it))
    async with desk.owner.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO evidence_buckets (tenant_id, stream, minute, instance, epoch, arbiter, flush_number, n, x, "
            "flushed_at) VALUES (%s, %s, %s, 1, 0, 'ledger', 1, %s, %s, now() - INTERVAL '2 days')",
            rows,
        )
        await cursor.execute(
            "INSERT INTO evidence_subjects "
            "(tenant_id, stream, minute, epoch, arbiter, subject, currency, events, amount) "
            "SELECT tenant_id, stream, minute, 0, 'ledger', 'p' || extract(EPOCH FROM minute), 'USD', 1, 1 "
            "FROM evidence_buckets WHERE x > 0"
        )
    earlier = now - timedelta(minutes=30)
    await desk.evaluate(now=earlier)
    async with desk.pools.connection() as conn:
        kept = {(each.subject.key, each.subject.trigger): each for each in await verdict_repo.list_verdicts(conn)}
        whole = await evidence_repo.list_buckets(
            conn,
            tenant_id,
            since=now - timedelta(days=2),
            until=now,
            epoch=0,
            arbiter=Arbiter.LEDGER,
            late_after=timedelta(minutes=10),
        )
    read = 0
    async for looked in Inputs(desk.pools).gather(now=now, kept=kept, tenant_id=tenant_id):
        for part in looked.inputs:
            read += len(part.buckets)
            from_all = replace(part, buckets=tuple(whole[part.stream])).assess()
            if part.stream is Stream.T1_REFUSED:
                # Who was refused rightly a day ago is a name in a sentence, and in no rule.
                from_all = replace(from_all, distinct_players_day=part.assess().distinct_players_day)
            assert part.assess() == from_all, part.stream
    assert read < sum(len(buckets) for buckets in whole.values()) / 4


async def test_drill_down_names_players_classes_and_processes(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    players = await desk.players(tenant_id, 8)
    await desk.refuse_wrongly(players)
    await desk.evaluate()
    found = await MonitorReader(desk.pools).read_tenant(tenant_id)
    assert found is not None
    assert {each.player_id for each in found.top_players} == {str(player.id) for player in players}
    disputed = [each for each in found.top_players if each.stream == "t1_disputed"]
    assert {(each.currency, each.events, each.amount_minor) for each in disputed} == {("USD", 1, 500_00)}
    assert [(each.mismatch_class, each.wallets) for each in found.classes] == [("available_diff", 8)]
    assert {each.app_version for each in found.instances} == {"a test"}
    assert sum(point.x for point in found.series[Stream.T1_DISPUTED]) == 8
    assert {each.trigger for each in found.decisions} == {"T1", "T3"}
    fleet = await MonitorReader(desk.pools).read_fleet()
    assert [tenant.tenant_id for tenant in fleet.top_tenants[Stream.T1_DISPUTED]] == [tenant_id]
    assert await MonitorReader(desk.pools).read_tenant(uuid4()) is None


async def test_what_a_decision_has_looked_at_is_kept_with_it(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant()
    players = await desk.players(tenant_id, 8)
    await desk.refuse_wrongly(players)
    await desk.evaluate()
    cursor = await desk.owner.execute(
        "SELECT args FROM procrastinate.procrastinate_jobs WHERE task_name = 'monitor.look' ORDER BY id"
    )
    arguments = [row[0] for row in await cursor.fetchall()]
    assert {each["action"] for each in arguments} >= {"backfill_dry_run", "census"}
    looks = Looks(desk.pools, Census(desk.pools))
    for each in arguments:
        await looks.run(each)
    async with desk.pools.connection() as conn:
        results = await monitor_repo.list_results(conn, [UUID(each["decision_id"]) for each in arguments])
    by_action = {each.action: each.result for each in results}
    assert by_action["backfill_dry_run"]["differing"] == 8
    assert by_action["census"]["differences"]["available_diff"] == 8
    assert await desk.one("SELECT count(*) FROM backfill_runs") == 0, "dry"


# ---------------------------------------------------------------------------------------------------------------------
# The self-test
# ---------------------------------------------------------------------------------------------------------------------


async def test_selftest_sees_planted_faults_and_touches_nobody(desk: MonitorDesk) -> None:
    tenant_id = await desk.tenant(auto_rollback=True)
    await desk.players(tenant_id, 2)
    figures = [
        f"SELECT coalesce(json_agg(t ORDER BY t::TEXT)::TEXT, '') FROM {table} t WHERE tenant_id = '{tenant_id}'"
        for table in ("players", "wallet_balances", "evidence_buckets", "monitor_verdicts", "rollout_holds")
    ]
    before = [await desk.one(figure) for figure in figures]
    selftest = Selftest(desk.pools, desk.monitor, app_version="a test")

    for _ in range(2):
        report = await selftest.run(started_by="a test")
        assert report.outcome == "passed", report.findings

    assert [await desk.one(figure) for figure in figures] == before
    assert await desk.holds(None) == []
    sandbox_id = await desk.one("SELECT id FROM tenants WHERE is_sandbox")
    assert await desk.arbiter(sandbox_id) == "legacy"
    open_sides = await desk.one(
        "SELECT count(*) FROM players p JOIN wallet_balances w ON w.player_id = p.id WHERE p.tenant_id = %s AND "
        "(p.balance_real_available, p.balance_real_held) <> (w.balance_real_available, w.balance_real_pending)",
        sandbox_id,
    )
    assert open_sides == 0, "what was planted is gone"
    assert await desk.one("SELECT count(*) FROM deposits WHERE state = 'pending_provider'") == 0
    fleet = await MonitorReader(desk.pools).read_fleet()
    assert fleet.verdicts == []
    assert fleet.last_selftest is not None
    assert fleet.last_selftest.outcome == "passed"
    assert sandbox_id not in await Census(desk.pools).list_tenant_ids()
    evaluation = await desk.evaluate()
    assert {each.subject.key for each in evaluation.subjects} == {str(tenant_id)}


async def test_selftest_fails_when_nobody_is_rolled_back(desk: MonitorDesk) -> None:
    class Deaf:
        """A rollout that does nothing."""

        async def rollback(self, tenant_id: UUID, **_: Any) -> object:
            return None

    report = await Selftest(desk.pools, Monitor(desk.pools, rollout=Deaf()), app_version="a test").run(
        started_by="a test"
    )
    assert report.outcome == "failed"
    assert not report.findings["rollback"]["is_as_expected"]
    watch = MonitorWatch(desk.pools)
    watch.start()
    try:
        await watch.refresh()
        assert watch.warnings() == ("the monitor's last self-test failed: hakem rollout selftest",)
    finally:
        await watch.stop()


async def test_faults_can_be_planted_in_the_sandbox_only(desk: MonitorDesk) -> None:
    tenant_id = await make_tenant(desk.owner)
    (player,) = await desk.players(tenant_id, 1)
    async with desk.pools.connection() as conn:
        cursor = await conn.execute("SELECT sandbox_plant_v1(%s, 77)", ([player.id],))
        assert await cursor.fetchone() == (0,)
    assert await desk.one("SELECT balance_real_available FROM players WHERE id = %s", player.id) == 100_00
