"""A tenant with payments through a real MockPSP, whose books a test can then get wrong."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import AnyHttpUrl

from backend.app.domain.money import Money
from backend.app.domain.reconciliation.reconciliation import Grace, Run, StartRun
from backend.app.domain.reconciliation.statement import StatementPage
from backend.app.domain.tenant import account_id_of
from backend.app.psp.adapter import CaptureRequest, Done, PspUnavailable, RefundRequest
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories.database import Database as Pools
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.payouts import Payouts
from backend.app.services.reconciliation.findings import Findings
from backend.app.services.reconciliation.reconciliation import Reconciliation
from backend.app.services.reconciliation.reconciliation_feed import Source, StatementFeed
from backend.app.services.wallets import Wallets
from backend.tests import api_client, mockpsp_peer
from backend.tests.factories import Owner, Player, deposit_command, make_player, make_tenant

if TYPE_CHECKING:  # conftest.py makes its fixtures with these modules
    from backend.tests.conftest import Database

PROVIDER: Final = "mockpsp"
# The books are looked at so much later: everything is beyond its grace.
LATER: Final = timedelta(hours=2)
AT_ONCE: Final = 20
# How many of each kind are got wrong, among how many that are right.
EACH: Final = 5
GOOD: Final = 100
GRACE: Final = Grace(missing_in_ledger=timedelta(minutes=1), missing_in_psp=timedelta(minutes=1))


class CutOff:
    """A feed that breaks off after so many pages."""

    def __init__(self, feed: StatementFeed, *, pages: int) -> None:
        self._feed = feed
        self.pages = pages

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """As the real one, until it is over."""
        if self.pages <= 0:
            raise PspUnavailable("the line is dead")
        self.pages -= 1
        return await self._feed.list_transactions(account_id=account_id, from_at=from_at, to_at=to_at, cursor=cursor)


class SmallPages:
    """A feed in pages of a few lines, so that a short statement has many."""

    def __init__(self, feed: StatementFeed, *, size: int) -> None:
        self._feed = feed
        self._size = size
        self.served = 0

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """A piece of the whole."""
        whole = await self._feed.list_transactions(account_id=account_id, from_at=from_at, to_at=to_at, cursor=None)
        start = int(cursor or 0)
        end = start + self._size
        self.served += 1
        return replace(whole, lines=whole.lines[start:end], next_cursor=str(end) if end < len(whole.lines) else None)


@dataclass(slots=True)
class World:
    """One tenant, and both sides of its payments."""

    owner: Owner
    pools: Pools
    psp: MockPsp
    deposits: Deposits
    payouts: Payouts
    findings: Findings
    tenant_id: UUID
    players: list[Player]
    source: Source
    now: datetime

    @property
    def account_id(self) -> str:
        """The tenant's account at MockPSP."""
        return account_id_of(self.tenant_id)

    @property
    def reconciliation(self) -> Reconciliation:
        """The service, looking from later on."""
        return Reconciliation(self.pools, {PROVIDER: self.source}, clock=lambda: self.now)

    async def run(self, *, source: Source | None = None, **command: Any) -> Run:
        """One run, to its end, as the worker would do it."""
        self.now += timedelta(seconds=1)
        service = self.reconciliation
        run_id = await service.start(
            StartRun(provider=PROVIDER, tenant_id=self.tenant_id, started_by="test", **command), is_deferred=False
        )
        return await service.execute(run_id, source=source)

    async def deposit(self, count: int, *, method: str = "test", amount: int = 10_00) -> list[UUID]:
        """Deposits of the tenant's players in turn, through MockPSP; their ids."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> UUID:
            command = replace(deposit_command(self.players[number % len(self.players)], amount + number), method=method)
            async with slots:
                answer = await self.deposits.deposit(command)
            return answer.deposit.id

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    async def order_again(self, deposit_id: UUID, *, amount: int) -> str:
        """Another payment at MockPSP under a deposit's name; its id there."""
        outcome = await self.psp.capture_deposit(
            CaptureRequest(
                account_id=self.account_id,
                reference=deposit_id,
                money=Money(amount_minor=amount, currency="USD"),
                method="test",
                idempotency_key=f"again_{uuid4()}",
            )
        )
        assert isinstance(outcome, Done), outcome
        return outcome.provider_ref

    async def alter(self, references: Sequence[UUID], assignment: str) -> None:
        """Get the lines of these payments wrong in MockPSP's books."""
        await self.owner.execute(
            f"UPDATE mockpsp.events SET {assignment} WHERE reference = ANY(%s) AND movement IS NOT NULL",
            ([str(each) for each in references],),
        )

    async def drop(self, references: Sequence[UUID]) -> None:
        """MockPSP forgets these payments."""
        await self.owner.execute(
            "DELETE FROM mockpsp.events WHERE reference = ANY(%s)", ([str(each) for each in references],)
        )

    async def found(self, status: str = "OPEN") -> Counter[str]:
        """The tenant's findings by type."""
        cursor = await self.owner.execute(
            "SELECT finding_type, count(*) FROM reconciliation_findings "
            "WHERE tenant_id = %s AND status = %s GROUP BY 1",
            (self.tenant_id, status),
        )
        return Counter({str(name): int(count) for name, count in await cursor.fetchall()})

    async def subjects(self, finding_type: str) -> set[UUID | None]:
        """The payments that open findings of a type are about."""
        cursor = await self.owner.execute(
            "SELECT tx_id FROM reconciliation_findings WHERE tenant_id = %s AND finding_type = %s AND status = 'OPEN'",
            (self.tenant_id, finding_type),
        )
        return {row[0] for row in await cursor.fetchall()}

    async def finding_id(self, finding_type: str) -> UUID:
        """The one finding of a type."""
        cursor = await self.owner.execute(
            "SELECT id FROM reconciliation_findings WHERE tenant_id = %s AND finding_type = %s",
            (self.tenant_id, finding_type),
        )
        ((finding_id,),) = await cursor.fetchall()
        return UUID(str(finding_id))


@asynccontextmanager
async def make_world(owner: Owner, pools: Pools, psp: MockPsp, *, players: int = 20) -> AsyncIterator[World]:
    """A world of its own for one test."""
    mismatches = MismatchRecorder(pools, is_enabled=True)
    wallets = Wallets(pools)
    deposits = Deposits(pools, psp, wallets, mismatches, is_dev=True, unverified_daily_cap=Decimal(100))
    payouts = Payouts(pools, {PROVIDER: psp}, mismatches)
    tenant_id = await make_tenant(owner)
    yield World(
        owner=owner,
        pools=pools,
        psp=psp,
        deposits=deposits,
        payouts=payouts,
        findings=Findings(pools, {PROVIDER: psp}, deposits=deposits, payouts=payouts),
        tenant_id=tenant_id,
        players=[await make_player(owner, tenant_id, available=1000_00) for _ in range(players)],
        source=Source(feed=psp, grace=GRACE),
        now=datetime.now(UTC) + LATER,
    )
    await mismatches.drain(deadline_seconds=5)


@pytest.fixture(scope="module")
async def psp(own_database: "Database") -> AsyncIterator[MockPsp]:
    """MockPSP without webhooks, on the module's own database: what it does we learn by its answers and statements.

    In a database that tests share, another test's MockPSP would send what this one keeps to itself.
    """
    async with mockpsp_peer.running(mockpsp_peer.config(own_database, is_sending=False, clock_factor=0.0)) as app:
        adapter = mockpsp_peer.adapter_to(app)
        yield adapter
        await adapter.close()


@asynccontextmanager
async def serving(database: "Database", psp: MockPsp) -> AsyncIterator[httpx.AsyncClient]:
    """The application with that provider, and without the MockPSP that it would have inside.

    That one would find the payments in the books and send its webhooks, at a moment of its own.
    """
    nobody = AnyHttpUrl("http://127.0.0.1:9")
    async with api_client.serving(database, adapters={PROVIDER: psp}, mockpsp_url=nobody) as client:
        yield client


@pytest.fixture
async def world(own_owner: Owner, own_pools: Pools, psp: MockPsp) -> AsyncIterator[World]:
    """A world of the test's own."""
    async with make_world(own_owner, own_pools, psp) as made:
        yield made


async def plant(world: World) -> tuple[Counter[str], dict[str, set[object]]]:
    """Everything at once; how many of each type there are to be found, and about which payments."""
    ids = await world.deposit(GOOD + 7 * EACH)
    groups = [ids[GOOD + number * EACH : GOOD + (number + 1) * EACH] for number in range(7)]
    dropped, repeated, amount, currency, status, delayed, returned = groups
    await world.drop(dropped)
    for number, each in enumerate(repeated):
        await world.order_again(each, amount=1000 + number)
    await world.alter(amount, "amount = amount + 1")
    await world.alter(currency, "currency = 'EUR'")
    await world.alter(status, "status = 'failed'")
    await world.alter(delayed, "occurred_at = occurred_at + INTERVAL '3 days'")
    for each in returned:
        await give_back(world, each)
    # Captured at the provider, and nobody told us.
    unheard = await world.deposit(EACH, method="mock:pending")
    planted: dict[str, set[object]] = {
        "missing_in_psp": {*dropped, *delayed},
        "duplicate_in_psp": set(repeated),
        "amount_mismatch": set(amount),
        "currency_mismatch": set(currency),
        "status_mismatch": set(status),
        "returned_after_paid": set(returned),
        "missing_in_ledger": set(unheard),
    }
    return Counter({name: len(each) for name, each in planted.items()}), planted


async def give_back(world: World, deposit_id: object) -> None:
    """The provider gives a deposit back, and does not tell."""
    row = await (
        await world.owner.execute("SELECT provider_ref, amount FROM deposits WHERE id = %s", (deposit_id,))
    ).fetchone()
    assert row is not None
    outcome = await world.psp.refund_deposit(
        RefundRequest(
            account_id=world.account_id,
            payment_ref=row[0],
            money=Money(amount_minor=row[1], currency="USD"),
            idempotency_key=f"back_{deposit_id}",
        )
    )
    assert isinstance(outcome, Done), outcome
