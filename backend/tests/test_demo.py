"""The demo keeps what it promises: two tenants with a past, one sound, one with exactly the drift planted there."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
import pytest

from backend.app import mockpsp_mount
from backend.app.domain.backfill.census import DifferenceClass
from backend.app.domain.demo import demo_story
from backend.app.domain.demo.demo_story import Plot
from backend.app.domain.rollout.gates import Gate
from backend.app.domain.rollout.rollout_state import Stage
from backend.app.domain.withdrawal import WithdrawalState
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.census import Census
from backend.app.services.demo.demo import CASTS, DEPOSIT_KEY, DRIFT_SLUG, PLAYERS, SLUG, DemoTenant
from backend.app.services.demo.demo_traffic import LEFT, REQUESTED_MAX, DemoTraffic
from backend.app.services.evidence import Evidence
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.finance import Finance
from backend.app.services.payments.payouts import Payouts
from backend.app.services.people.admins import Admins
from backend.app.services.people.passwords import Passwords
from backend.app.services.players import Players
from backend.app.services.rollout.rollout_status import RolloutStatus
from backend.app.services.tenants import Tenants
from backend.app.services.wallets import Wallets
from backend.app.services.withdrawals import Withdrawals
from backend.app.wiring import build_gates, build_monitor
from backend.scripts import demo
from backend.tests import factories, invariants
from backend.tests.api_client import SECRETS
from backend.tests.conftest import Database
from backend.tests.factories import Owner, engine_of, settings_of

# Half an hour of traffic.
ACTS: Final = 450
DRIFT: Plot = next(cast.plot for cast in CASTS if cast.plot.slug == DRIFT_SLUG)
# Everything with a time of its own that a history has.
TIMES = (
    ("tenants", "created_at", "id"),
    ("players", "created_at", "tenant_id"),
    ("ledger_transactions", "recorded_at", "tenant_id"),
    ("deposits", "created_at", "tenant_id"),
    ("withdrawals", "created_at", "tenant_id"),
    ("payout_attempts", "created_at", "tenant_id"),
    ("audit_events", "recorded_at", "tenant_id"),
    ("psp_events", "received_at", "tenant_id"),
    ("reconciliation_findings", "created_at", "tenant_id"),
    ("backfill_runs", "started_at", "tenant_id"),
    ("census_runs", "started_at", "tenant_id"),
)


class Seeded(NamedTuple):
    """A database with the demo, seeded once for all tests that only look."""

    database: Database
    tenants: tuple[DemoTenant, ...]
    home: Path
    seconds: float

    @property
    def ready_id(self) -> UUID:
        return self.tenants[0].tenant_id

    @property
    def drift_id(self) -> UUID:
        return self.tenants[1].tenant_id


async def seed(database: Database, home: Path) -> tuple[DemoTenant, ...]:
    settings = settings_of(database, **SECRETS, hakem_home=home)
    return await demo.seed(engine_of(database), settings)


@pytest.fixture(scope="module")
async def seeded(server: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seeded]:
    database = server.create()
    home = tmp_path_factory.mktemp("demo")
    began_at = datetime.now(UTC)
    tenants = await seed(database, home)
    yield Seeded(database, tenants, home, (datetime.now(UTC) - began_at).total_seconds())
    server.drop(database)


@pytest.fixture
async def owner(seeded: Seeded) -> AsyncIterator[Owner]:
    async with factories.connect_owner(seeded.database) as conn:
        yield conn


@pytest.fixture
async def pools(seeded: Seeded) -> AsyncIterator[Pools]:
    async with factories.open_pools(seeded.database) as opened:
        yield opened


async def rows(conn: Owner, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query, values)).fetchall()


@pytest.mark.parametrize("cast", CASTS, ids=lambda cast: cast.plot.slug)
def test_same_story_is_told_again_and_in_the_order_of_time(cast: Any) -> None:
    now = datetime(2025, 3, 1, 12, tzinfo=UTC)
    told = list(demo_story.tell(cast.plot, now=now))
    assert told == list(demo_story.tell(cast.plot, now=now))
    assert [scene.at for scene in told] == sorted(scene.at for scene in told)
    assert told[-1].at < now
    later = now + timedelta(days=400, hours=7)
    assert [type(scene) for scene in demo_story.tell(cast.plot, now=later)] == [type(scene) for scene in told]


async def test_both_tenants_have_withdrawals_in_every_state(seeded: Seeded, owner: Owner) -> None:
    for tenant_id in (seeded.ready_id, seeded.drift_id):
        found = dict(
            await rows(owner, "SELECT state, count(*) FROM withdrawals WHERE tenant_id = %s GROUP BY 1", tenant_id)
        )
        assert found.keys() == {state.value for state in WithdrawalState}
        assert found["paid"] > 50
        assert 5 <= found["requested"] <= REQUESTED_MAX
        deposits = await rows(owner, "SELECT DISTINCT state FROM deposits WHERE tenant_id = %s", tenant_id)
        assert {state for (state,) in deposits} == {"completed", "failed", "pending_provider", "refunded"}
        kyc = await rows(owner, "SELECT DISTINCT kyc_status FROM players WHERE tenant_id = %s", tenant_id)
        assert {status for (status,) in kyc} == {"pending", "verified", "rejected"}


async def test_history_has_evidence_of_all_kinds(seeded: Seeded, owner: Owner) -> None:
    refused = await rows(owner, "SELECT code FROM ledger_refusals WHERE tenant_id = %s", seeded.ready_id)
    assert len(refused) >= 5
    findings = await rows(owner, "SELECT tenant_id, finding_type, severity, status FROM reconciliation_findings")
    assert len({finding_type for _, finding_type, _, _ in findings}) >= 4
    assert {status for _, _, _, status in findings} == {"OPEN", "RESOLVED"}
    # Who is to be enforced next has no critical one that nobody looked at.
    assert not [each for each in findings if each == (seeded.ready_id, each[1], "critical", "OPEN")]
    webhooks = await rows(owner, "SELECT DISTINCT signature_status, effect FROM psp_events")
    assert {("valid", "applied"), ("valid", "orphan"), ("unverified", "nothing_new")} <= set(webhooks)
    assert (await rows(owner, "SELECT count(*) FROM psp_events WHERE state = 'pending'")) == [(0,)]


@pytest.mark.parametrize(("table", "column", "tenant_column"), TIMES)
async def test_history_lies_in_the_past(
    seeded: Seeded, owner: Owner, table: str, column: str, tenant_column: str
) -> None:
    ((first, newest, inverted),) = await rows(
        owner,
        f"""
        SELECT min({column}), max({column}), count(*) FILTER (WHERE {column} > clock_timestamp())
        FROM {table} WHERE {tenant_column} = %s
        """,
        seeded.drift_id,
    )
    now = datetime.now(UTC)
    assert inverted == 0
    # Of that tenant only the audit knows when its history was written.
    if table != "audit_events":
        assert newest < now - timedelta(minutes=10), "the demo's history ends a while before it was made"
    recent = table in {"psp_events", "reconciliation_findings"}
    assert first < now - timedelta(days=1 if recent else 80)


async def test_stretched_times_keep_their_order(seeded: Seeded, owner: Owner) -> None:
    assert await rows(
        owner,
        """
        SELECT count(*) FROM (
            SELECT recorded_at, occurred_at, lag(recorded_at) OVER wallet AS earlier FROM ledger_transactions
            WINDOW wallet AS (PARTITION BY tenant_id, player_id, currency ORDER BY wallet_version)
        ) AS line WHERE recorded_at < earlier
        """,
    ) == [(0,)]
    assert await rows(
        owner,
        """
        SELECT count(*) FROM withdrawals
        WHERE created_at > updated_at OR first_approved_at < created_at OR second_approved_at < first_approved_at
        """,
    ) == [(0,)]
    # MockPSP's own books are of the same day as ours.
    assert await rows(
        owner,
        """
        SELECT count(*)
        FROM deposits AS deposit INNER JOIN mockpsp.payments AS payment ON payment.payment_id = deposit.provider_ref
        WHERE
            deposit.state = 'completed'
            AND payment.created_at NOT BETWEEN deposit.created_at AND deposit.updated_at
        """,
    ) == [(0,)]


async def test_money_tables_are_append_only_again(seeded: Seeded, owner: Owner) -> None:
    for table in ("ledger_transactions", "ledger_refusals", "audit_events"):
        with pytest.raises(psycopg.errors.RestrictViolation):
            await owner.execute(f"DELETE FROM {table}")
    guards = await rows(owner, "SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname LIKE '%%_append_only'")
    assert guards == [("O",)]


async def test_ready_tenant_is_sound_and_complete(seeded: Seeded, owner: Owner, pools: Pools) -> None:
    await invariants.assert_sound(owner, seeded.ready_id)
    report = await Census(pools).run(seeded.ready_id, started_by="a test", is_fresh=True)
    assert report.is_clean, report.differences
    (total,) = report.totals
    assert total.players == total.opened_wallets
    assert total.legacy_available == total.snapshot_available == total.folded_available


async def test_only_the_monitors_word_is_missing_until_it_may_be_enforced(seeded: Seeded, pools: Pools) -> None:
    detail = await RolloutStatus(pools, build_gates()).get(None, tenant_id=seeded.ready_id)
    assert [result.gate for result in detail.status.gates if not result.is_met] == [Gate.QUIET]


async def test_other_tenant_differs_in_what_was_planted_and_in_nothing_else(
    seeded: Seeded, owner: Owner, pools: Pools
) -> None:
    report = await Census(pools).run(seeded.drift_id, started_by="a test", is_fresh=True)
    drifted = [each for each in report.differences if each.difference_class == DifferenceClass.AVAILABLE_DIFF]
    assert sorted(each.amount_minor for each in drifted) == sorted(abs(change) for change in DRIFT.drifts_minor)
    counts = {count.difference_class: count.differences for count in report.counts}
    assert counts[DifferenceClass.MISSING_WALLET] == DRIFT.late_imports
    assert counts[DifferenceClass.AVAILABLE_DIFF] == len(drifted)
    assert counts.keys() <= {
        DifferenceClass.MISSING_WALLET, DifferenceClass.AVAILABLE_DIFF, DifferenceClass.LEGACY_DRIFT
    }  # fmt: skip
    # Whose column nobody has written since is as the last deed did not leave it: the same people.
    others = [each for each in report.differences if each.difference_class == DifferenceClass.LEGACY_DRIFT]
    assert {each.player_id for each in others} <= {each.player_id for each in drifted}
    noticed = await rows(owner, "SELECT player_id FROM ledger_mismatches WHERE tenant_id = %s", seeded.drift_id)
    assert noticed
    assert {player_id for (player_id,) in noticed} <= {each.player_id for each in drifted}


async def test_statement_of_the_provider_is_what_the_ledger_booked(seeded: Seeded, owner: Owner) -> None:
    """In the ready tenant: reconciliation of the months has nothing to find but what webhooks found already."""
    assert await rows(
        owner,
        """
        SELECT count(*)
        FROM mockpsp.events AS event
        INNER JOIN psp_accounts AS account ON account.account_id = event.account_id
        LEFT JOIN ledger_transactions AS booked
            ON booked.provider_event_id = event.event_id AND booked.tenant_id = account.tenant_id
        WHERE
            event.movement IS NOT NULL AND event.occurred_at < clock_timestamp() AND account.tenant_id = %s
            AND booked.id IS NULL
        """,
        seeded.ready_id,
    ) == [(0,)]


async def test_seeding_again_adds_nothing(seeded: Seeded, owner: Owner) -> None:
    tables = [table for table, _, _ in TIMES] + ["admins", "ledger_refusals", "wallet_balances"]
    counted = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    before = await rows(owner, counted)
    assert await seed(seeded.database, seeded.home) == seeded.tenants
    assert await rows(owner, counted) == before
    assert await rows(owner, "SELECT sum(amount), count(*) FROM deposits WHERE idempotency_key = %s", DEPOSIT_KEY) == [
        (250_00, 1)
    ]


async def test_everybody_who_is_printed_has_a_password_of_their_own(seeded: Seeded) -> None:
    people = [each for tenant in seeded.tenants for each in tenant.sign_ins]
    assert [each.title for each in seeded.tenants[0].sign_ins] == [
        "owner", "tenant admin", "finance", "approver", "recon", "viewer", "player, verified", "player, not verified"
    ]  # fmt: skip
    passwords = {each.password for each in people}
    assert None not in passwords
    assert len(passwords) == len(people) == 13
    printed = demo.lines(seeded.tenants, url="http://127.0.0.1:1")
    assert all(f"{each.email}  " in printed or f"{each.email} " in printed for each in people)
    assert f"{SLUG} tenant {seeded.ready_id}" in printed


async def test_history_that_was_cut_off_is_said_to_be(new_database: Callable[..., Database], tmp_path: Path) -> None:
    database = new_database()
    async with factories.connect_owner(database) as conn:
        for cast in CASTS:
            ((tenant_id,),) = await rows(
                conn,
                "INSERT INTO tenants (slug, name, base_currency) VALUES (%s, %s, %s) RETURNING id",
                cast.plot.slug,
                cast.name,
                cast.currency,
            )
            # What the first scene of a story leaves behind.
            await conn.execute(
                "INSERT INTO audit_events (tenant_id, actor_kind, actor_label, action, object_kind, object_id) "
                "VALUES (%s, 'operator', 'demo', 'players.imported', 'tenant', %s)",
                (tenant_id, str(tenant_id)),
            )
        tenants = await seed(database, tmp_path)
        assert [tenant.is_history_whole for tenant in tenants] == [False, False]
        assert "was not written to the end" in demo.lines(tenants, url="http://127.0.0.1:1")
        # The tour works all the same.
        assert await rows(conn, "SELECT email::TEXT FROM players ORDER BY email") == [
            ("unverified@demo.example",),
            ("verified@demo.example",),
        ]


async def test_traffic_keeps_queues_at_their_size_and_leaves_alone_whom_it_must(
    seeded: Seeded, pools: Pools, owner: Owner
) -> None:
    settings = settings_of(seeded.database, **SECRETS)
    mockpsp = mockpsp_mount.connect(settings, engine_of(seeded.database), ourselves=None)
    assert mockpsp.adapter is not None
    passwords = Passwords()
    evidence = Evidence(pools, app_version="a test", is_metered=False)
    mismatches = MismatchRecorder(pools, is_enabled=True, evidence=evidence)
    traffic = DemoTraffic(
        tenants=Tenants(pools),
        admins=Admins(pools, passwords),
        players=Players(pools, passwords),
        deposits=Deposits(
            pools, mockpsp.adapter, Wallets(pools), mismatches, is_dev=True, unverified_daily_cap=Decimal(100)
        ),
        withdrawals=Withdrawals(pools, mismatches, evidence, is_dev=True),
        finance=Finance(
            pools,
            Payouts(pools, {mockpsp.adapter.provider: mockpsp.adapter}, mismatches),
            mismatches,
            four_eyes_threshold=None,
        ),
    )
    unopened = """
        SELECT count(*) FROM players AS player LEFT JOIN wallet_balances AS wallet ON wallet.player_id = player.id
        WHERE wallet.player_id IS NULL
        """
    tour = """
        SELECT count(*) FROM ledger_transactions AS line INNER JOIN players AS player ON player.id = line.player_id
        WHERE player.email = ANY(%s)
        """
    addresses = [email for _, email in PLAYERS]
    before = await rows(owner, unopened) + await rows(owner, tour, addresses)
    assert before == [(DRIFT.late_imports,), (1,)]
    async with mockpsp.running():
        acts = sum([await traffic.step(datetime.now(UTC)) for _ in range(ACTS)])
    await mismatches.drain(deadline_seconds=5)
    assert acts > ACTS / 2
    # Refusals that pile up are what the monitor looks for, and differences as well: traffic adds neither.
    assert await rows(owner, "SELECT count(*) FROM ledger_refusals WHERE idempotency_key LIKE 'live-%%'") == [(0,)]
    assert await rows(owner, unopened) + await rows(owner, tour, addresses) == before
    for tenant_id in (seeded.ready_id, seeded.drift_id):
        queues = dict(
            await rows(owner, "SELECT state, count(*) FROM withdrawals WHERE tenant_id = %s GROUP BY 1", tenant_id)
        )
        assert queues["requested"] <= REQUESTED_MAX
        assert all(queues[state.value] > 0 for state in LEFT)
    await invariants.assert_sound(owner, seeded.ready_id)
    # What it left behind says nothing against anybody: one stays ready, the other is held for what was planted.
    await evidence.flush()
    await build_monitor(pools).evaluate()
    detail = await RolloutStatus(pools, build_gates()).get(None, tenant_id=seeded.ready_id)
    assert detail.status.stage is Stage.READY, [gate for gate in detail.status.gates if not gate.is_met]
    assert await rows(owner, "SELECT kind FROM rollout_holds WHERE tenant_id IS NULL AND lifted_at IS NULL") == []
