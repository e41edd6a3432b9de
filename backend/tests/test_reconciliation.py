"""A provider that drops, repeats, alters, delays and returns, among many payments that are right: found exactly."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from backend.app.domain.finding import ResolutionCode
from backend.app.domain.reconciliation.reconciliation import RunStatus
from backend.app.domain.reconciliation.statement import StatementPage
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories.database import Database as Pools
from backend.app.services.people.admins import system_actor
from backend.app.services.reconciliation.reconciliation_feed import StatementFeed
from backend.tests.factories import Owner
from backend.tests.invariants import assert_sound
from backend.tests.reconciliation_world import GOOD, CutOff, SmallPages, World, give_back, make_world, plant


async def test_what_agrees_is_silent(world: World) -> None:
    await world.deposit(GOOD)
    run = await world.run()
    assert (run.status, run.error) == (RunStatus.COMPLETED, None)
    assert run.counts["matched"] == GOOD
    assert await world.found() == Counter()
    again = await world.run()
    assert (again.status, again.counts["matched"], await world.found()) == (RunStatus.COMPLETED, 0, Counter())


async def test_everything_planted_is_found_and_nothing_else(world: World) -> None:
    expected, planted = await plant(world)
    run = await world.run()
    assert run.status == "completed", run
    assert await world.found() == expected
    for finding_type, payments in planted.items():
        assert await world.subjects(finding_type) == payments, finding_type
    assert run.counts["opened"] == dict(expected)
    # Again, and in full: nothing new.
    for is_full in (False, True):
        again = await world.run(is_full=is_full)
        assert (again.status, again.counts["opened"], again.counts["reopened"]) == ("completed", {}, {})
        assert again.counts["auto_cleared"] == {}
        assert await world.found() == expected
    await assert_sound(world.owner, world.tenant_id)


async def test_repaired_causes_clear_themselves_and_come_back(world: World) -> None:
    dropped, delayed, changed, unheard = (await world.deposit(4))[:4]
    (late,) = await world.deposit(1, method="mock:pending")
    await world.alter([delayed], "occurred_at = occurred_at + INTERVAL '3 days'")
    await world.alter([changed], "amount = amount + 1")
    await world.run()
    assert await world.found() == {"missing_in_psp": 1, "amount_mismatch": 1, "missing_in_ledger": 1}
    await world.alter([delayed], "occurred_at = occurred_at - INTERVAL '3 days'")
    await world.alter([changed], "amount = amount - 1")
    await world.deposits.pull(world.tenant_id, late)
    run = await world.run(is_full=True)
    assert run.counts["auto_cleared"] == {"missing_in_psp": 1, "amount_mismatch": 1, "missing_in_ledger": 1}
    assert (await world.found(), (await world.found("RESOLVED")).total()) == (Counter(), 3)
    # What had only gone by itself opens again, and the audit tells.
    await world.alter([changed], "amount = amount + 1")
    run = await world.run(is_full=True)
    assert run.counts["reopened"] == {"amount_mismatch": 1}
    actions = await (
        await world.owner.execute(
            "SELECT action, count(*) FROM audit_events WHERE tenant_id = %s AND object_kind = 'finding' GROUP BY 1 "
            "ORDER BY 1",
            (world.tenant_id,),
        )
    ).fetchall()
    assert actions == [("finding.reopened", 1), ("finding.resolved", 3)]
    assert dropped != unheard


async def test_late_item_is_found_by_the_next_ordinary_run(world: World) -> None:
    (delayed,) = await world.deposit(1)
    await world.alter([delayed], "occurred_at = occurred_at + INTERVAL '3 days'")
    await world.run()
    assert await world.found() == {"missing_in_psp": 1}
    await world.alter([delayed], "occurred_at = occurred_at - INTERVAL '3 days'")
    run = await world.run()
    assert (run.counts["auto_cleared"], await world.found()) == ({"missing_in_psp": 1}, Counter())


async def test_resolved_stays_resolved_until_the_evidence_changes(world: World) -> None:
    (changed,) = await world.deposit(1)
    await world.alter([changed], "amount = amount + 1")
    await world.run()
    finding_id = await world.finding_id("amount_mismatch")
    await world.findings.resolve(
        None, finding_id=finding_id, code=ResolutionCode.ACCEPTED, note="known", actor=system_actor("test")
    )
    for is_full in (False, True):
        run = await world.run(is_full=is_full)
        assert (run.counts["reopened"], await world.found()) == ({}, Counter())
    await world.alter([changed], "amount = amount + 1")
    run = await world.run(is_full=True)
    assert (run.counts["reopened"], await world.found()) == ({"amount_mismatch": 1}, {"amount_mismatch": 1})


async def test_feed_that_is_cut_off_misses_nothing_and_clears_nothing(world: World) -> None:
    ids = await world.deposit(40)
    await world.alter(ids[:1], "amount = amount + 1")
    await world.run()
    assert await world.found() == {"amount_mismatch": 1}
    await world.alter(ids[:1], "amount = amount - 1")
    await world.drop(ids[1:3])
    broken = replace(world.source, feed=CutOff(SmallPages(world.psp, size=10), pages=2))
    run = await world.run(source=broken, is_full=True)
    assert (run.status, run.is_feed_complete) == ("partial", False)
    assert "the line is dead" in str(run.error)
    assert (run.counts["auto_cleared"], await world.found()) == ({}, {"amount_mismatch": 1})
    whole = await world.run(is_full=True)
    assert (whole.status, await world.found()) == ("completed", {"missing_in_psp": 2})


async def test_first_feed_that_is_cut_off_finds_what_it_brought(world: World) -> None:
    ids = await world.deposit(40)
    await world.alter(ids, "amount = amount + 1")
    broken = replace(world.source, feed=CutOff(SmallPages(world.psp, size=10), pages=2))
    run = await world.run(source=broken)
    assert (run.status, await world.found()) == ("partial", {"amount_mismatch": 20})


async def test_totals_that_do_not_fit_make_the_feed_incomplete(world: World) -> None:
    ids = await world.deposit(30)
    run = await world.run(source=replace(world.source, feed=SmallPages(Losing(world.psp), size=10)))
    assert (run.status, await world.found()) == ("partial", Counter())
    assert "29 lines arrived of 30" in str(run.error)
    assert len(ids) == 30


class Losing:
    """A feed that loses its last line on the way, and does not notice."""

    def __init__(self, feed: StatementFeed) -> None:
        self._feed = feed

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        page = await self._feed.list_transactions(account_id=account_id, from_at=from_at, to_at=to_at, cursor=cursor)
        return replace(page, lines=page.lines[:-1])


async def test_dead_feed_is_one_finding(world: World) -> None:
    await world.deposit(30)
    run = await world.run(source=replace(world.source, feed=CutOff(world.psp, pages=0)))
    assert (run.status, await world.found()) == ("partial", {"feed_anomaly": 1})
    ids = await world.deposit(30)
    alive = await world.run()
    assert (alive.status, await world.found()) == ("completed", Counter())
    # Alive, complete, and empty of all that we booked.
    await world.owner.execute("DELETE FROM mockpsp.events WHERE account_id = %s", (world.account_id,))
    run = await world.run(is_full=True)
    assert (run.status, await world.found()) == ("partial", {"feed_anomaly": 1})
    sample = await (
        await world.owner.execute(
            "SELECT evidence FROM reconciliation_findings WHERE tenant_id = %s AND status = 'OPEN'",
            (world.tenant_id,),
        )
    ).fetchone()
    assert sample is not None
    assert (sample[0]["findings"], len(sample[0]["sample"]), len(ids)) == (60, 20, 30)


async def test_run_is_about_one_tenant(world: World, own_owner: Owner, own_pools: Pools, psp: MockPsp) -> None:
    async with make_world(own_owner, own_pools, psp) as other:
        ours, theirs = await world.deposit(10), await other.deposit(10)
        await world.drop(ours[:1])
        await other.drop(theirs[:2])
        await world.run()
        assert (await world.found(), await other.found()) == ({"missing_in_psp": 1}, Counter())
        await other.run()
        assert (await world.found(), await other.found()) == ({"missing_in_psp": 1}, {"missing_in_psp": 2})
        # The other's payment in our account's statement: told, without telling about the other.
        await own_owner.execute(
            "UPDATE mockpsp.events SET account_id = %s WHERE reference = %s", (world.account_id, str(theirs[5]))
        )
        await world.run(is_full=True)
        assert await world.found() == {"missing_in_psp": 1, "tenant_mismatch": 1}
        told = await (
            await own_owner.execute(
                "SELECT player_id, tx_id, evidence::TEXT FROM reconciliation_findings "
                "WHERE tenant_id = %s AND finding_type = 'tenant_mismatch'",
                (world.tenant_id,),
            )
        ).fetchone()
        assert told is not None
        assert told[:2] == (None, None)
        assert str(other.tenant_id) not in told[2]
        await other.run(is_full=True)
        assert await other.found() == {"missing_in_psp": 3}


async def test_second_booking_of_one_movement_is_a_duplicate(world: World) -> None:
    (deposit_id,) = await world.deposit(1)
    await world.owner.execute("ALTER TABLE ledger_transactions DISABLE TRIGGER USER")
    await world.owner.execute(
        "INSERT INTO ledger_transactions (id, tenant_id, player_id, wallet_version, amount, available_after, "
        "pending_after, legacy_available_after, legacy_held_after, reference, occurred_at, recorded_at, epoch, "
        "currency, type, debit_account, credit_account, arbiter, idempotency_key, request_hash, provider, "
        "provider_ref) "
        "SELECT uuid_v7(), tenant_id, player_id, 99, amount, 0, 0, 0, 0, NULL, occurred_at, recorded_at, epoch, "
        "currency, type, debit_account, credit_account, arbiter, 'again', request_hash, provider, provider_ref "
        "FROM ledger_transactions WHERE reference = %s",
        (deposit_id,),
    )
    await world.owner.execute("ALTER TABLE ledger_transactions ENABLE TRIGGER USER")
    await world.run()
    assert await world.found() == {"duplicate_in_ledger": 1}


async def test_line_that_is_listed_twice_moved_twice(world: World) -> None:
    await world.deposit(5)
    await world.run(source=replace(world.source, feed=Repeating(world.psp)))
    assert await world.found() == {"duplicate_in_psp": 1}


class Repeating:
    """A feed that lists its first line twice, and counts it twice."""

    def __init__(self, feed: StatementFeed) -> None:
        self._feed = feed

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        page = await self._feed.list_transactions(account_id=account_id, from_at=from_at, to_at=to_at, cursor=cursor)
        again = page.lines[0].money
        return replace(
            page,
            lines=[page.lines[0], *page.lines],
            control_count=page.control_count + 1,
            control_sums={again.currency: page.control_sums[again.currency] + again.amount_minor},
        )


async def test_replay_repairs_what_was_not_heard(world: World) -> None:
    (unheard,) = await world.deposit(1, method="mock:pending")
    (returned,) = await world.deposit(1)
    await give_back(world, returned)
    await world.run()
    assert await world.found() == {"missing_in_ledger": 1, "returned_after_paid": 1}
    for finding_type in ("missing_in_ledger", "returned_after_paid"):
        finding_id = await world.finding_id(finding_type)
        applied = await world.findings.replay(None, finding_id=finding_id, actor=system_actor("test"))
        assert applied.effect == "applied", applied
        twice = await world.findings.replay(None, finding_id=finding_id, actor=system_actor("test"))
        assert twice.effect == "nothing_new", twice
    run = await world.run()
    assert (run.counts["auto_cleared"].keys(), await world.found()) == (
        {"missing_in_ledger", "returned_after_paid"},
        Counter(),
    )
    assert unheard != returned
    await assert_sound(world.owner, world.tenant_id)


async def test_sums_of_days_are_explained_or_drift(world: World) -> None:
    ids = await world.deposit(20)
    await world.drop(ids[:1])
    await world.alter(ids[1:2], "amount = amount + 7")
    await world.run()
    rows = await (
        await world.owner.execute(
            "SELECT sum(psp_net - ledger_net), sum(explained_net) FROM reconciliation_balances WHERE tenant_id = %s",
            (world.tenant_id,),
        )
    ).fetchone()
    assert rows == (-10_00 + 7, -10_00 + 7)
    # Somebody takes a row out of what is known to be unmatched: the books still show it.
    await world.owner.execute("DELETE FROM reconciliation_unmatched WHERE tenant_id = %s", (world.tenant_id,))
    await world.owner.execute(
        "UPDATE reconciliation_reach SET balanced_until = balanced_until - 1, ledger_until = uuid_v7() "
        "WHERE tenant_id = %s",
        (world.tenant_id,),
    )
    world.now += timedelta(days=1)
    await world.run()
    assert (await world.found())["balance_drift"] == 1
    await world.run(is_full=True)
    assert await world.found() == {"missing_in_psp": 1, "amount_mismatch": 1}
