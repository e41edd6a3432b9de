"""Evidence: what is counted of decisions and deliveries, that it is counted once, and what is left out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from backend.app.domain.ledger import Arbiter, InsufficientFunds, PostCode, PostResult
from backend.app.domain.money import Money
from backend.app.domain.monitor import evidence as evidence_domain
from backend.app.domain.monitor.bucket import Stream
from backend.app.domain.monitor.evidence import Claim, Tally
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Database as Pools
from backend.app.repositories.monitor import evidence_repo
from backend.app.repositories.monitor.evidence_repo import Flush
from backend.app.services.evidence import KEEP, Evidence
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.withdrawals import Withdrawals
from backend.tests.api_client import WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    connect_owner,
    deposit,
    deposit_command,
    eventually,
    make_player,
    make_players,
    make_tenant,
    open_pools,
    post,
    set_enforce,
    set_legacy,
    withdrawal,
)
from backend.tests.processes import ServeProcess

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def result_of(**fields: Any) -> PostResult:
    """What the door says of a request that both sides cover, with these fields changed."""
    usual: dict[str, Any] = {
        "event_no": 1,
        "code": PostCode.APPLIED,
        "is_replay": False,
        "transaction_id": uuid4(),
        "reference": uuid4(),
        "recorded_at": NOON,
        "arbiter": Arbiter.LEDGER,
        "epoch": 3,
        "legacy_ok": True,
        "ledger_ok": True,
        "wallet_opened": True,
        "wallet_version": 2,
        "legacy_available_before": 10,
        "legacy_held_before": 0,
        "ledger_available_before": 10,
        "ledger_pending_before": 0,
        "legacy_available_after": 5,
        "legacy_held_after": 5,
        "ledger_available_after": 5,
        "ledger_pending_after": 5,
    }
    return PostResult(**{**usual, **fields})


def counted(tally: Tally) -> dict[Stream, tuple[int, int]]:
    """(n, x) by stream, all keys together."""
    totals: dict[Stream, tuple[int, int]] = {}
    for counts in tally.empty().decisions.values():
        for stream, n, x in counts.by_stream():
            before = totals.get(stream, (0, 0))
            totals[stream] = (before[0] + n, before[1] + x)
    return totals


REFUSED = {"code": PostCode.INSUFFICIENT_FUNDS}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {Stream.T1_DISPUTED: (1, 0)}),
        # Genuine: both sides say no.
        (
            {**REFUSED, "legacy_ok": False, "ledger_ok": False},
            {Stream.T1_DISPUTED: (1, 0), Stream.T1_REFUSED: (1, 1)},
        ),
        # The ledger refuses what the legacy column allows: a wrong refusal while the ledger decides,
        ({**REFUSED, "ledger_ok": False}, {Stream.T1_DISPUTED: (1, 1), Stream.T1_REFUSED: (1, 1)}),
        # and one to come while the legacy column does.
        ({"arbiter": Arbiter.LEGACY, "ledger_ok": False}, {Stream.T1_DISPUTED: (1, 1)}),
        # The ledger allows what the legacy column refuses: paid, or to be paid once it decides.
        ({"legacy_ok": False}, {Stream.T1_DISPUTED: (1, 0), Stream.T1_OVERPAID: (1, 1)}),
        (
            {**REFUSED, "arbiter": Arbiter.LEGACY, "legacy_ok": False},
            {Stream.T1_DISPUTED: (1, 0), Stream.T1_OVERPAID: (1, 1), Stream.T1_REFUSED: (1, 1)},
        ),
        # A replay decides nothing, nor does a request that did not reach the question.
        ({"is_replay": True, "code": PostCode.EXISTS}, {}),
        ({"code": PostCode.KYC_REQUIRED, "legacy_ok": None, "ledger_ok": None}, {}),
        # Without shadow writing there is only one side.
        ({"ledger_ok": None}, {}),
    ],
)
def test_decision_is_counted_by_what_both_sides_said(
    fields: dict[str, Any], expected: dict[Stream, tuple[int, int]]
) -> None:
    tally = Tally()
    tally.count_decision(result_of(**fields), tenant_id=uuid4(), player_id=uuid4(), currency="USD", amount_minor=500)
    assert counted(tally) == expected
    assert counted(tally) == {}, "emptied"


def test_minutes_epochs_and_arbiters_are_kept_apart() -> None:
    tally, tenant_id = Tally(), uuid4()
    for fields in (
        {},
        {"recorded_at": NOON + timedelta(seconds=29)},
        {"recorded_at": NOON + timedelta(seconds=30)},
        # Back again: what two lanes write is not in order.
        {"recorded_at": NOON},
        {"epoch": 4},
        {"arbiter": Arbiter.LEGACY},
    ):
        tally.count_decision(
            result_of(**fields), tenant_id=tenant_id, player_id=uuid4(), currency="USD", amount_minor=1
        )
    minute = int(NOON.timestamp()) // 60
    assert {key[1:]: counts.decisions for key, counts in tally.empty().decisions.items()} == {
        (3, "ledger", minute): 3,
        (3, "ledger", minute + 1): 1,
        (4, "ledger", minute): 1,
        (3, "legacy", minute): 1,
    }


def test_tally_has_limits_and_says_what_it_had_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_domain, "KEYS_MAX", 5)
    monkeypatch.setattr(evidence_domain, "SUBJECTS_PER_MINUTE", 3)
    monkeypatch.setattr(evidence_domain, "CLAIMS_MAX", 2)
    tally, tenant_id = Tally(), uuid4()
    for minute in range(7):
        at = NOON + timedelta(minutes=minute)
        for _ in range(4):
            tally.count_decision(
                result_of(recorded_at=at, ledger_ok=False),
                tenant_id=tenant_id,
                player_id=uuid4(),
                currency="USD",
                amount_minor=1,
            )
    for number in range(10):
        claim = Claim(reference=str(number), provider_ref=None)
        tally.count_delivery("mockpsp", result="mismatch", is_credible=False, claim=claim, at=NOON)
    kept = tally.empty()
    assert [counts.disputed for counts in kept.decisions.values()] == [4] * 5, "counted, though not all by name"
    assert len(kept.subjects) == 5 * 3
    assert kept.dropped == 2 * 4
    assert sorted(kept.deliveries.values()) == [1, 1, 8], "beyond the limit nobody looks whose payment it is"


# ---------------------------------------------------------------------------------------------------------------------
# On a database
# ---------------------------------------------------------------------------------------------------------------------


class Counting:
    """A process that decides and counts: the services, and what stands in the tables."""

    def __init__(self, pools: Pools, owner: Owner) -> None:
        self.owner = owner
        self.pools = pools
        self.evidence = Evidence(pools, app_version="a test", is_metered=False)
        self.mismatches = MismatchRecorder(pools, is_enabled=True, evidence=self.evidence)
        self.withdrawals = Withdrawals(pools, self.mismatches, self.evidence, is_dev=True)

    async def request(self, player: Player, amount: int, *, key: str | None = None) -> bool:
        """Ask for money; whether it was granted."""
        try:
            await self.withdrawals.request(withdrawal(player, amount, key=key))
        except InsufficientFunds:
            return False
        return True

    async def totals(self, tenant_id: UUID) -> dict[str, tuple[int, int]]:
        """(n, x) by stream."""
        cursor = await self.owner.execute(
            "SELECT stream, sum(n)::BIGINT, sum(x)::BIGINT FROM evidence_buckets WHERE tenant_id = %s GROUP BY stream",
            (tenant_id,),
        )
        return {stream: (n, x) for stream, n, x in await cursor.fetchall()}

    async def subjects(self, tenant_id: UUID, stream: str) -> dict[str, tuple[int, int]]:
        """(events, amount) by player."""
        cursor = await self.owner.execute(
            "SELECT subject, sum(events)::BIGINT, sum(amount)::BIGINT FROM evidence_subjects "
            "WHERE tenant_id = %s AND stream = %s GROUP BY subject",
            (tenant_id, stream),
        )
        return {subject: (events, amount) for subject, events, amount in await cursor.fetchall()}


@pytest.fixture
async def counting(pools: Pools, owner: Owner) -> AsyncIterator[Counting]:
    made = Counting(pools, owner)
    yield made
    await made.evidence.stop(deadline_seconds=10)


async def test_parallel_decisions_of_two_processes_are_counted_exactly(
    pools: Pools, owner: Owner, counting: Counting
) -> None:
    other = Counting(pools, owner)
    tenant_id = await make_tenant(owner, enforce_override=True)
    players = await make_players(owner, tenant_id, 30)
    for player in players:
        await post(pools, deposit(player, 100))
    # Ten of them have, in the eyes of another system, more than the ledger knows of.
    for player in players[:10]:
        await set_legacy(owner, player, available=1_000)
    processes = [counting, other]

    granted = await asyncio.gather(
        *(processes[turn % 2].request(player, 60) for player in players for turn in range(3)),
        *(process.evidence.flush() for process in processes for _ in range(5)),
    )
    for process in processes:
        await process.evidence.flush()

    assert sum(answer is True for answer in granted) == 30, "of three times 60, each has money for one"
    totals = await counting.totals(tenant_id)
    # The first to be granted makes the legacy column follow the snapshot: what is refused after it is refused rightly.
    disputed = totals["t1_disputed"][1]
    assert totals["t1_disputed"] == (90, disputed)
    assert totals["t1_refused"] == (60, 60)
    assert "t1_overpaid" not in totals
    assert totals["t3_mismatch"][0] == 90
    assert set(await counting.subjects(tenant_id, "t3_mismatch")) == {str(player.id) for player in players[:10]}
    cursor = await owner.execute(
        "SELECT count(*) FROM ledger_refusals WHERE tenant_id = %s AND legacy_ok AND NOT ledger_ok", (tenant_id,)
    )
    assert await cursor.fetchone() == (disputed,)


async def test_wrong_refusals_are_told_from_genuine_ones_and_named(
    owner: Owner, pools: Pools, counting: Counting
) -> None:
    tenant_id = await make_tenant(owner, enforce_override=True)
    wronged, poor = await make_players(owner, tenant_id, 2)
    for player in (wronged, poor):
        await post(pools, deposit(player, 100))
    await set_legacy(owner, wronged, available=1_000)

    key = "the same request"
    answers = [await counting.request(wronged, 500, key=key) for _ in range(3)]
    answers += [await counting.request(wronged, 700), await counting.request(poor, 500)]
    await counting.evidence.flush()

    assert answers == [False] * 5
    assert await counting.totals(tenant_id) == {
        "t1_disputed": (3, 2),
        "t1_refused": (3, 3),
        "t3_mismatch": (3, 1),
    }, "a replay is no decision, and a wallet that goes on to differ is one mismatch"
    assert await counting.subjects(tenant_id, "t1_disputed") == {str(wronged.id): (2, 1_200)}
    async with pools.connection() as conn:
        summary = await evidence_repo.summarize(conn, tenant_id, since=datetime.now(UTC) - timedelta(hours=1))
    assert (summary.decisions, summary.disputed, summary.disputed_players, summary.overpaid) == (3, 2, 1, 0)
    assert (summary.comparisons, summary.mismatches, summary.traffic_minutes) == (3, 1, summary.traffic_minutes)
    assert summary.first_minute is not None


async def test_decisions_before_and_after_a_flip_are_kept_apart(owner: Owner, pools: Pools, counting: Counting) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id, available=1_000)
    assert await counting.request(player, 10)
    await set_enforce(owner, tenant_id, True)
    assert await counting.request(player, 10)
    await counting.evidence.flush()
    now = datetime.now(UTC)
    for epoch, arbiter in ((0, Arbiter.LEGACY), (1, Arbiter.LEDGER)):
        async with pools.connection() as conn:
            buckets = await evidence_repo.list_buckets(
                conn,
                tenant_id,
                since=now - timedelta(hours=1),
                until=now + timedelta(minutes=1),
                epoch=epoch,
                arbiter=arbiter,
                late_after=timedelta(minutes=10),
            )
        (bucket,) = buckets[Stream.T1_DISPUTED]
        assert (bucket.n, bucket.x, bucket.is_revised) == (1, 0, False)


async def test_flush_that_is_sent_again_counts_once(owner: Owner, pools: Pools, counting: Counting) -> None:
    tenant_id = await make_tenant(owner)
    minute = NOON.replace(second=0).isoformat()
    key = {"tenant_id": str(tenant_id), "minute": minute, "epoch": 0, "arbiter": "legacy"}
    async with pools.connection() as conn:
        flush = Flush(
            instance=await evidence_repo.take_number(conn),
            flush_number=1,
            app_version="a test",
            clock_skew_seconds=0.0,
            dropped=0,
            buckets=[{**key, "stream": "t1_disputed", "n": 7, "x": 2}],
            subjects=[{**key, "stream": "t1_disputed", "subject": "p", "currency": "USD", "events": 2, "amount": 9}],
            deliveries=[
                {"provider": f"p{tenant_id}", "minute": minute, "result": "valid", "is_credible": True, "n": 4}
            ],
            delivery_subjects=[],
        )

    async def send(sent: Flush) -> bool:
        async with pools.connection() as conn:
            return (await evidence_repo.flush(conn, sent)).is_new

    answers = await asyncio.gather(*(send(flush) for _ in range(8)))

    assert Counter(answers) == {True: 1, False: 7}, "also when the first try is still under way"
    assert await counting.totals(tenant_id) == {"t1_disputed": (7, 2)}
    assert await counting.subjects(tenant_id, "t1_disputed") == {"p": (2, 9)}
    assert await send(replace(flush, flush_number=2, deliveries=[]))
    assert await counting.totals(tenant_id) == {"t1_disputed": (14, 4)}
    assert not await send(flush), "an old one that comes late is nothing new"
    cursor = await owner.execute("SELECT n FROM delivery_buckets WHERE provider = %s", (f"p{tenant_id}",))
    assert await cursor.fetchall() == [(4,)]


async def test_answer_that_gets_lost_loses_and_doubles_nothing(
    owner: Owner, pools: Pools, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id, available=1_000)
    assert await counting.request(player, 10)
    flush = evidence_repo.flush
    failures = [psycopg.OperationalError("the answer got lost"), psycopg.OperationalError("again")]

    async def losing_answers(conn: Any, counted: Flush) -> Any:
        answer = await flush(conn, counted)
        if failures:
            raise failures.pop()
        return answer

    monkeypatch.setattr(evidence_repo, "flush", losing_answers)
    for _ in range(2):
        with pytest.raises(Exception, match="database is not available"):
            await counting.evidence.flush()
        assert await counting.request(player, 10), "counting goes on"
    await counting.evidence.flush()
    assert await counting.totals(tenant_id) == {"t1_disputed": (3, 0), "t3_mismatch": (3, 0)}


async def test_killed_process_loses_what_it_had_not_flushed_and_nothing_else(
    owner: Owner, pools: Pools, counting: Counting
) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id, available=1_000)
    killed = Counting(pools, owner)
    assert await killed.request(player, 10)
    await killed.evidence.flush()
    assert await killed.request(player, 10)
    del killed
    # The next process has a number of its own, so that its flushes are never taken for those of the dead one.
    assert await counting.request(player, 10)
    await counting.evidence.flush()
    assert await counting.totals(tenant_id) == {"t1_disputed": (2, 0), "t3_mismatch": (2, 0)}


async def test_deposits_are_compared_and_are_no_decisions_on_funds(
    owner: Owner, pools: Pools, counting: Counting
) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id)
    (result,) = await post(pools, deposit(player, 100))
    await counting.mismatches.note(result, tenant_id=tenant_id, player_id=player.id, currency="USD")
    await counting.evidence.flush()
    assert await counting.totals(tenant_id) == {"t3_mismatch": (1, 0)}


# ---------------------------------------------------------------------------------------------------------------------
# Deliveries
# ---------------------------------------------------------------------------------------------------------------------


async def deliveries(owner: Owner, provider: str) -> dict[tuple[str, bool], int]:
    """How many by result and credibility."""
    cursor = await owner.execute(
        "SELECT result, is_credible, sum(n)::BIGINT FROM delivery_buckets WHERE provider = %s "
        "GROUP BY result, is_credible",
        (provider,),
    )
    return {(result, is_credible): n for result, is_credible, n in await cursor.fetchall()}


async def test_only_an_open_payment_of_ours_makes_an_unsigned_delivery_credible(
    owner: Owner, pools: Pools, counting: Counting
) -> None:
    provider = f"psp-{uuid4().hex[:8]}"
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id)
    command = deposit_command(player, 100)
    async with pools.connection() as conn:
        await deposit_repo.open_many(conn, [replace(command, provider=provider)])
    old = uuid4()
    await owner.execute(
        "INSERT INTO deposits (id, tenant_id, player_id, amount, currency, state, method, provider, provider_ref, "
        "idempotency_key, request_hash, created_at, updated_at) "
        "VALUES (%s, %s, %s, 1, 'USD', 'completed', 'test', %s, 'ref-old', %s, '', now() - INTERVAL '1 day', "
        "now() - INTERVAL '1 day')",
        (old, tenant_id, player.id, provider, old.hex),
    )
    now = datetime.now(UTC)

    def deliver(reference: str | None, provider_ref: str | None = None, *, result: str = "mismatch") -> None:
        claim = Claim(reference=reference, provider_ref=provider_ref)
        counting.evidence.count_delivery(provider, result=result, is_credible=False, claim=claim, received_at=now)

    deliver(str(command.deposit_id))
    deliver(str(command.deposit_id))
    deliver(str(uuid4()))
    deliver("not an id", "not known")
    deliver(str(old))
    deliver(None, "ref-old")
    counting.evidence.count_delivery(provider, result="missing", is_credible=False, claim=None, received_at=now)
    counting.evidence.count_delivery(provider, result="valid", is_credible=True, claim=None, received_at=now)
    await counting.evidence.flush()

    assert await deliveries(owner, provider) == {
        ("mismatch", True): 2,
        ("mismatch", False): 4,
        ("missing", False): 1,
        ("valid", True): 1,
    }
    cursor = await owner.execute("SELECT subject, events FROM delivery_subjects WHERE provider = %s", (provider,))
    assert await cursor.fetchall() == [(str(player.id), 2)], "a player with many deliveries is one subject"


async def test_old_minutes_are_pruned(new_database: Callable[..., Database]) -> None:
    database = new_database()
    now = datetime.now(UTC)
    async with open_pools(database) as pools, connect_owner(database) as owner:
        tenant_id = await make_tenant(owner)
        evidence = Evidence(pools, app_version="a test", is_metered=False)
        for age in (timedelta(), KEEP - timedelta(hours=1), KEEP + timedelta(hours=1)):
            evidence.count_decision(
                result_of(recorded_at=now - age, ledger_ok=False),
                tenant_id=tenant_id,
                player_id=uuid4(),
                money=Money(amount_minor=1, currency="USD"),
            )
            evidence.count_delivery("mockpsp", result="valid", is_credible=True, claim=None, received_at=now - age)
        await evidence.flush()
        assert await evidence.prune(now) == 3
        for table in ("evidence_buckets", "evidence_subjects", "delivery_buckets"):
            cursor = await owner.execute(f"SELECT count(*), min(minute) > %s FROM {table}", (now - KEEP,))
            assert await cursor.fetchone() == (2, True), table


# ---------------------------------------------------------------------------------------------------------------------
# A process that is killed
# ---------------------------------------------------------------------------------------------------------------------


async def test_kill_loses_at_most_what_was_not_flushed_and_counts_nothing_twice(
    new_database: Callable[..., Database], home: Path
) -> None:
    database = new_database()
    urls = {"DATABASE_URL": database.service_url, "DATABASE_OWNER_URL": database.owner_url}
    service = ServeProcess(home, environment=urls, arguments=("--no-worker",))
    async with connect_owner(database) as owner:
        tenant_id = await make_tenant(owner)
        player = await make_player(owner, tenant_id, available=1_000_00)

        async def flushed() -> int:
            cursor = await owner.execute(
                "SELECT coalesce(sum(n), 0) FROM evidence_buckets WHERE stream = 't1_disputed'"
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row[0])

        async def ask(times: int) -> None:
            async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
                client = WalletClient(http=http, player=player, secret=ServeProcess.JWT_SECRET)
                for _ in range(times):
                    assert (await client.withdraw("1.00")).status_code == httpx.codes.CREATED

        async def is_flushed() -> bool:
            return await flushed() >= 5

        try:
            await service.start()
            await ask(5)
            await eventually(is_flushed, what="the first five are flushed")
            await ask(3)
            service.kill()
            survived = await flushed()
            assert 5 <= survived <= 8
            await service.start()
            await ask(4)
        finally:
            service.stop()
        assert await flushed() == survived + 4, "an orderly stop flushes"
        cursor = await owner.execute("SELECT count(DISTINCT instance) FROM evidence_buckets")
        assert await cursor.fetchone() == (2,)
