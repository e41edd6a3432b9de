"""Payouts: whatever breaks between us and a provider, a withdrawal ends as what the provider really did, and once."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from backend.app.domain.identity import Role
from backend.app.domain.money import Money
from backend.app.domain.payments.payout import (
    AttemptState,
    is_stale,
    wait_before_check,
)
from backend.app.domain.payments.psp_event import Effect, PspEventType
from backend.app.psp.adapter import PayoutRequest
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.payouts import Payouts
from backend.tests.api_client import serving
from backend.tests.conftest import Server
from backend.tests.factories import (
    Sides,
    both,
    connect_owner,
    ledger_types,
    make_player,
    make_tenant,
    open_pools,
    set_global,
    set_legacy,
    sides,
    unopened,
)
from backend.tests.finance_desk import AMOUNT, BALANCE, FINANCE, Desk, reference
from backend.tests.fixtures import People, assert_problem
from backend.tests.invariants import assert_sound
from backend.tests.payout_provider import PROVIDER, Fate, Line, Provider, other_event

GRACE = timedelta(seconds=60)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ENDS = {"paid": ("paid", 0), "refused": ("failed", AMOUNT)}


# ---------------------------------------------------------------------------------------------------------------------
# Nobody knows what happened
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["paid", "refused"])
@pytest.mark.parametrize("line", ["lost_request", "lost_answer"])
async def test_lost_call_ends_as_what_the_provider_did(desk: Desk, line: Line, fate: Fate) -> None:
    tx_id = await desk.into("approved")
    desk.provider.fate, desk.provider.line = fate, line
    assert (await desk.done(tx_id, "mark_paid"))["state"] == "processing"
    assert await desk.attempts(tx_id) == ["unknown"]
    assert await sides(desk.owner, desk.player) == both(60_00, 40_00)
    # Nobody may release what may have been paid.
    for action in ("cancel", "reject", "retry", "mark_paid", "mark_paid_manually"):
        assert_problem(await desk.act(tx_id, action), httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")

    desk.provider.line = "good"
    await desk.resolve_due(after=timedelta(seconds=31))

    state, held = ENDS[fate]
    assert await desk.state(tx_id) == state
    assert await sides(desk.owner, desk.player) == both(60_00, held)
    assert list(desk.provider.payouts) == [reference(tx_id)]
    # Sent again only when the provider had never heard of it.
    assert desk.provider.calls == (2 if line == "lost_request" else 1)
    assert await desk.resolve_due(after=DAY) == 0
    await assert_sound(desk.owner, desk.tenant_id)


async def test_provider_that_is_down_is_asked_on_and_on_and_nothing_is_released(desk: Desk) -> None:
    tx_id = await desk.into("approved")
    desk.provider.line = "down"
    await desk.done(tx_id, "mark_paid")
    for wait in (30 * timedelta(seconds=1), 2 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, *(DAY for _ in range(7))):
        assert await desk.findings(tx_id) == []
        assert await desk.resolve_due(after=wait - timedelta(seconds=20)) == 0, "asked too early"
        assert await desk.resolve_due(after=timedelta(seconds=30)) == 1
        # The next question is planned from the database's clock: put the schedule where the test's clock is.
        await _shift_schedule(desk, tx_id)
    assert await desk.findings(tx_id) == ["stale_in_transit"]
    assert (await desk.attempts(tx_id), await desk.state(tx_id)) == (["unknown"], "processing")
    # Whoever watches the metrics sees it too; other tests may have left more of them.
    assert (REGISTRY.get_sample_value("hakem_payouts_unknown") or 0) >= 1
    assert (REGISTRY.get_sample_value("hakem_payouts_unknown_oldest_seconds") or 0) >= 7 * DAY.total_seconds()
    assert await sides(desk.owner, desk.player) == both(60_00, 40_00)

    # Late enough for the provider to have forgotten the key: it is not sent again, however unknown it is there.
    desk.provider.line = "good"
    assert await desk.resolve_due(after=DAY + MINUTE) == 1
    assert (desk.provider.calls, desk.provider.payouts) == (1, {})
    assert await desk.state(tx_id) == "processing"
    await assert_sound(desk.owner, desk.tenant_id)


async def _shift_schedule(desk: Desk, tx_id: UUID) -> None:
    await desk.owner.execute(
        "UPDATE payout_attempts SET next_check_at = next_check_at + (%s - clock_timestamp()) WHERE withdrawal_id = %s",
        (desk.now, tx_id),
    )


@pytest.mark.parametrize("is_sent", [False, True], ids=["before the call", "after the call"])
async def test_process_that_died_at_the_call_is_taken_over_after_a_minute(desk: Desk, is_sent: bool) -> None:
    tx_id = await desk.into("approved")
    desk.provider.gate = asyncio.Event()
    # The answer never reaches this process: it ends while the call is out.
    dying = asyncio.create_task(desk.act(tx_id, "mark_paid"))
    await asyncio.wait_for(desk.provider.asked.wait(), 20)
    assert await desk.attempts(tx_id) == ["created"], "committed before the provider is called"
    assert await sides(desk.owner, desk.player) == both(60_00, 40_00)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    desk.provider.gate = None
    if is_sent:
        await desk.provider.payout_withdrawal(await _request_of(desk, tx_id))
    assert await desk.pull(tx_id) is None, "it may still be under way"
    assert await desk.resolve_due(after=GRACE - timedelta(seconds=10)) == 0
    assert await desk.resolve_due(after=timedelta(seconds=20)) == 1
    assert (await desk.state(tx_id), list(desk.provider.payouts)) == ("paid", [reference(tx_id)])
    assert await sides(desk.owner, desk.player) == both(60_00)
    await assert_sound(desk.owner, desk.tenant_id)


async def _request_of(desk: Desk, tx_id: UUID) -> PayoutRequest:
    cursor = await desk.owner.execute("SELECT account_id FROM payout_attempts WHERE withdrawal_id = %s", (tx_id,))
    ((account_id,),) = await cursor.fetchall()
    return PayoutRequest(
        account_id=account_id,
        reference=reference(tx_id),
        money=Money(amount_minor=AMOUNT, currency="USD"),
        method="test_bank",
        address="TR00 0000",
    )


async def test_key_that_the_provider_knows_for_something_else_is_a_finding(desk: Desk) -> None:
    tx_id = await desk.into("approved")
    other = PayoutRequest(
        account_id="somebody",
        reference=reference(tx_id),
        money=Money(amount_minor=1, currency="USD"),
        method="x",
        address="x",
    )
    await desk.provider.payout_withdrawal(other)
    assert (await desk.done(tx_id, "mark_paid"))["state"] == "processing"
    assert (await desk.attempts(tx_id), await desk.findings(tx_id)) == (["unknown"], ["duplicate_in_psp"])


async def test_pending_payout_is_asked_about_later_and_never_fails_by_time(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    assert await desk.attempts(tx_id) == ["pending"]
    assert await desk.resolve_due(after=59 * MINUTE) == 0
    assert await desk.resolve_due(after=2 * MINUTE) == 1
    assert await desk.attempts(tx_id) == ["pending"]
    desk.provider.line = "down"
    assert await desk.resolve_due(after=40 * DAY) == 1
    assert await desk.attempts(tx_id) == ["pending"], "what is pending does not become unknown again"
    desk.provider.line = "good"
    desk.provider.settle(reference(tx_id), "paid")
    assert await desk.resolve_due(after=40 * DAY) == 1
    assert await desk.state(tx_id) == "paid"
    await assert_sound(desk.owner, desk.tenant_id)


async def test_payout_that_the_provider_lost_is_a_finding_and_not_sent_again(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    desk.provider.payouts.clear()
    await desk.resolve_due(after=2 * HOUR)
    assert (await desk.findings(tx_id), desk.provider.payouts) == (["missing_in_psp"], {})
    assert await desk.state(tx_id) == "processing"


async def test_looking_at_it_asks_the_provider_at_most_once_a_minute(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    desk.provider.settle(reference(tx_id), "paid")
    path = f"{FINANCE}/{tx_id}"
    assert (await desk.finance.get(path)).json()["state"] == "processing", "it was just sent"
    assert desk.provider.questions == 0
    await desk.owner.execute(
        "UPDATE payout_attempts SET created_at = created_at - INTERVAL '2 minutes', "
        "checked_at = clock_timestamp() - INTERVAL '30 seconds' WHERE withdrawal_id = %s",
        (tx_id,),
    )
    assert (await desk.finance.get(path)).json()["state"] == "processing"
    await desk.owner.execute(
        "UPDATE payout_attempts SET checked_at = clock_timestamp() - INTERVAL '61 seconds' WHERE withdrawal_id = %s",
        (tx_id,),
    )
    responses = await asyncio.gather(*(desk.finance.get(path) for _ in range(8)))
    assert {response.status_code for response in responses} == {httpx.codes.OK}
    assert desk.provider.questions == 1
    assert (await desk.finance.get(path)).json()["state"] == "paid"


async def test_many_resolvers_share_the_work(desk: Desk) -> None:
    desk.provider.line = "lost_answer"
    ids = []
    for _ in range(6):
        desk.player = await make_player(desk.owner, desk.tenant_id, available=BALANCE)
        ids.append(await desk.into("approved"))
        await desk.done(ids[-1], "mark_paid")
    desk.provider.line = "good"
    now = datetime.now(UTC) + MINUTE
    counts = await asyncio.gather(*(desk.payouts.resolve_due(now=now, limit=2) for _ in range(4)))
    assert (sum(counts), max(counts)) == (6, 2)
    assert [await desk.state(tx_id) for tx_id in ids] == ["paid"] * 6
    assert desk.provider.calls == desk.provider.questions == 6
    await assert_sound(desk.owner, desk.tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# What the provider says
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pays", "finding"),
    [
        (Money(amount_minor=AMOUNT - 1, currency="USD"), "amount_mismatch"),
        (Money(amount_minor=AMOUNT + 1, currency="USD"), "amount_mismatch"),
        (Money(amount_minor=AMOUNT, currency="EUR"), "currency_mismatch"),
    ],
)
async def test_payment_of_something_else_settles_and_releases_nothing(desk: Desk, pays: Money, finding: str) -> None:
    tx_id = await desk.into("approved")
    desk.provider.pays = pays
    assert (await desk.done(tx_id, "mark_paid"))["state"] == "processing"
    assert (await desk.attempts(tx_id), await desk.findings(tx_id)) == (["pending"], [finding])
    await desk.resolve_due(after=2 * HOUR)
    assert await desk.findings(tx_id) == [finding], "seen again, it is the same finding"
    assert await sides(desk.owner, desk.player) == both(60_00, 40_00)
    # The provider corrects itself.
    desk.provider.settle(reference(tx_id), "paid", money=Money(amount_minor=AMOUNT, currency="USD"))
    await desk.resolve_due(after=DAY)
    assert await desk.state(tx_id) == "paid"
    await assert_sound(desk.owner, desk.tenant_id)


async def test_delivery_for_another_account_moves_nothing(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    event = desk.provider.settle(reference(tx_id), "paid")
    applied = await desk.observe(event, account_id="somebody-else")
    assert (applied.effect, applied.tenant_id, applied.tx_id) == (Effect.ORPHAN, desk.tenant_id, tx_id)
    assert (await desk.state(tx_id), await desk.findings(tx_id)) == ("processing", ["tenant_mismatch"])
    applied = await desk.observe(event, account_id=event.account_hint)
    assert (applied.effect, await desk.state(tx_id)) == (Effect.APPLIED, "paid")


async def test_event_of_nothing_of_ours_is_an_orphan(desk: Desk) -> None:
    await desk.into("processing")
    (known,) = desk.provider.payouts
    event = other_event(desk.provider.settle(known, "paid"), reference=reference(uuid4()), provider_ref="po_other")
    await desk.owner.execute(
        "INSERT INTO psp_accounts (provider, account_id, tenant_id) VALUES ('mockpsp', %s, %s)",
        (f"acct-{desk.tenant_id}", desk.tenant_id),
    )
    for account_id, tenant_id in ((None, None), ("nobody's", None), (f"acct-{desk.tenant_id}", desk.tenant_id)):
        applied = await desk.observe(event, account_id=account_id)
        assert (applied.effect, applied.tenant_id, applied.tx_id) == (Effect.ORPHAN, tenant_id, None)
    cursor = await desk.owner.execute(
        "SELECT finding_type, occurrences FROM reconciliation_findings WHERE tenant_id = %s", (desk.tenant_id,)
    )
    assert await cursor.fetchall() == [("orphan_webhook", 1)]


async def test_event_without_our_reference_is_found_by_the_provider_s_name(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    event = other_event(desk.provider.settle(reference(tx_id), "paid"), reference=None)
    assert (await desk.observe(event)).effect is Effect.APPLIED
    assert await desk.state(tx_id) == "paid"


async def test_event_that_means_nothing_to_us_does_nothing(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    event = other_event(desk.provider.event(reference(tx_id)), type=PspEventType.UNKNOWN)
    assert (await desk.observe(event)).effect is Effect.NOTHING_NEW
    assert await desk.state(tx_id) == "processing"


async def test_second_payout_under_our_name_is_a_finding(desk: Desk) -> None:
    tx_id = await desk.into("paid")
    event = other_event(desk.provider.event(reference(tx_id)), provider_ref="po_second", provider_event_id="ev_second")
    assert (await desk.observe(event)).effect is Effect.FINDING
    assert (await desk.findings(tx_id), await desk.state(tx_id)) == (["duplicate_in_psp"], "paid")


async def test_failed_after_paid_is_a_finding_and_no_overwrite(desk: Desk) -> None:
    tx_id = await desk.into("paid")
    applied = await desk.observe(desk.provider.settle(reference(tx_id), "refused"))
    assert (applied.effect, await desk.findings(tx_id)) == (Effect.FINDING, ["status_mismatch"])
    assert (await desk.state(tx_id), await sides(desk.owner, desk.player)) == ("paid", both(60_00))


@pytest.mark.parametrize("then", ["nothing", "cancelled", "paid again"])
async def test_paid_after_failed_is_critical_and_no_overwrite(desk: Desk, then: str) -> None:
    tx_id = await desk.into("failed")
    if then == "cancelled":
        await desk.done(tx_id, "cancel")
    elif then == "paid again":
        await desk.done(tx_id, "retry")
        await desk.done(tx_id, "mark_paid")
    state, before = await desk.state(tx_id), await sides(desk.owner, desk.player)
    applied = await desk.observe(desk.provider.settle(reference(tx_id), "paid"))
    assert (applied.effect, await desk.findings(tx_id)) == (Effect.FINDING, ["paid_after_release"])
    cursor = await desk.owner.execute("SELECT severity FROM reconciliation_findings WHERE tx_id = %s", (tx_id,))
    assert await cursor.fetchone() == ("critical",)
    assert (await desk.state(tx_id), await sides(desk.owner, desk.player)) == (state, before)
    await assert_sound(desk.owner, desk.tenant_id)


async def test_ledger_that_cannot_follow_is_a_finding_and_tried_again(desk: Desk) -> None:
    """Another system emptied the held column, which is the arbiter, while the provider paid."""
    tx_id = await desk.into("processing")
    await set_legacy(desk.owner, desk.player, available=100_00, held=0)
    event = desk.provider.settle(reference(tx_id), "paid")
    for _ in range(2):
        assert (await desk.observe(event)).effect is Effect.FINDING
    assert (await desk.state(tx_id), await desk.findings(tx_id)) == ("processing", ["ledger_invariant"])
    await set_legacy(desk.owner, desk.player, available=60_00, held=40_00)
    await desk.resolve_due(after=2 * HOUR)
    assert await desk.state(tx_id) == "paid"
    (paid,) = [row for row in await desk.posted(tx_id) if row[0] == "withdraw_paid"]
    assert paid[1] == f"{reference(tx_id)}~3", "a refused key stays refused; the next one is fresh"
    assert await sides(desk.owner, desk.player) == both(60_00)
    await assert_sound(desk.owner, desk.tenant_id)


async def test_twenty_deliveries_at_once_have_one_effect(desk: Desk) -> None:
    tx_id = await desk.into("processing")
    event = desk.provider.settle(reference(tx_id), "paid")
    effects = [applied.effect for applied in await asyncio.gather(*(desk.observe(event) for _ in range(20)))]
    assert sorted(effects) == sorted([Effect.APPLIED] + [Effect.NOTHING_NEW] * 19)
    assert await sides(desk.owner, desk.player) == both(60_00)
    await assert_sound(desk.owner, desk.tenant_id)


async def test_what_is_observed_is_audited(desk: Desk) -> None:
    tx_id = await desk.into("failed")
    cursor = await desk.owner.execute(
        "SELECT actor_kind, actor_label, reason, state_before ->> 'state', state_after ->> 'state' FROM audit_events "
        "WHERE object_id = %s AND action = 'withdrawal.failed'",
        (str(tx_id),),
    )
    assert await cursor.fetchall() == [("system", "payouts", "account_closed", "processing", "failed")]


# ---------------------------------------------------------------------------------------------------------------------
# In any order, any number of times
# ---------------------------------------------------------------------------------------------------------------------


TOLD = ("pending", "paid", "refused", "returned", "short")
CONTRADICTIONS = frozenset({"status_mismatch", "paid_after_release"})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_order_and_repetition_ends_the_same(desk: Desk, data: st.DataObject) -> None:
    told = data.draw(st.lists(st.sampled_from(TOLD), min_size=1, max_size=5))
    repeated = told + data.draw(st.lists(st.sampled_from(told), max_size=4))
    ends = [await end_of(desk, order) for order in (told, data.draw(st.permutations(repeated)))]
    if any(CONTRADICTIONS & set(findings) for _, findings, _ in ends):
        # Then the first final answer stands, and each order says that there was another.
        assert all(CONTRADICTIONS & set(findings) for _, findings, _ in ends), ends
    else:
        assert ends[0] == ends[1]
    await assert_sound(desk.owner, desk.tenant_id)


async def end_of(desk: Desk, order: list[str]) -> tuple[str, list[str], Sides]:
    """(state, findings, both sides) of a withdrawal whose payout's provider said all this."""
    desk.player = await make_player(desk.owner, desk.tenant_id, available=BALANCE)
    tx_id = await desk.into("processing")
    payout = desk.provider.payouts[reference(tx_id)]
    for word in order:
        payout.status = "paid" if word == "short" else word
        # A provider numbers what happens, not what it sends.
        payout.sequence = TOLD.index(word) + 1
        payout.money = Money(amount_minor=AMOUNT - (word == "short"), currency="USD")
        event = desk.provider.event(reference(tx_id))
        await desk.observe(other_event(event, provider_event_id=f"{event.provider_event_id}_{word}"))
    return await desk.state(tx_id), await desk.findings(tx_id), await sides(desk.owner, desk.player)


# ---------------------------------------------------------------------------------------------------------------------
# Rules
# ---------------------------------------------------------------------------------------------------------------------


def test_plan_of_questions() -> None:
    unknown = [wait_before_check(AttemptState.UNKNOWN, checks=checks) for checks in range(8)]
    assert unknown == [30 * timedelta(seconds=1), 2 * MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, DAY, DAY]
    pending = [wait_before_check(AttemptState.PENDING, checks=checks) for checks in range(4)]
    assert pending == [HOUR, 6 * HOUR, DAY, DAY]
    assert wait_before_check(AttemptState.CREATED, checks=0) == GRACE
    assert [is_stale(AttemptState.UNKNOWN, checks=checks) for checks in (11, 12)] == [False, True]
    assert [is_stale(AttemptState.PENDING, checks=checks) for checks in (8, 9)] == [False, True]
    assert wait_before_check(AttemptState.UNKNOWN, checks=10_000) == DAY, "for ever"


# ---------------------------------------------------------------------------------------------------------------------
# Where only the legacy column is written
# ---------------------------------------------------------------------------------------------------------------------


async def test_without_shadow_writing_the_legacy_column_goes_the_same_ways(server: Server) -> None:
    database = server.create()
    provider = Provider()
    async with (
        connect_owner(database) as owner,
        open_pools(database) as pools,
        serving(database, adapters={PROVIDER: provider}) as client,
    ):
        await set_global(owner, "ledger_shadow_write", False)
        tenant_id = await make_tenant(owner)
        people = People(client, owner)
        mismatches = MismatchRecorder(pools, is_enabled=True)
        desk = Desk(
            owner=owner,
            pools=pools,
            people=people,
            provider=provider,
            payouts=Payouts(pools, {PROVIDER: provider}, mismatches),
            tenant_id=tenant_id,
            player=await make_player(owner, tenant_id, available=BALANCE),
            finance=await people.admin(Role.FINANCE, tenant_id),
            approver=await people.admin(Role.APPROVER, tenant_id),
        )
        for state, available, held in (
            ("requested", 60_00, 40_00),
            ("rejected", 100_00, 0),
            ("cancelled", 100_00, 0),
            ("processing", 60_00, 40_00),
            ("failed", 60_00, 40_00),
            ("paid", 60_00, 0),
            ("returned", 100_00, 0),
        ):
            desk.player = await make_player(owner, tenant_id, available=BALANCE)
            tx_id = await desk.into(state)
            assert await sides(owner, desk.player) == unopened(available, held)
            assert await ledger_types(owner, desk.player) == []
            if state == "failed":
                assert (await desk.done(tx_id, "cancel"))["state"] == "cancelled"
                assert await sides(owner, desk.player) == unopened(100_00)
    server.drop(database)
