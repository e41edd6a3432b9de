"""A finance desk for one test: a tenant with a player, admins who decide, and a provider that may misbehave."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
import pytest
from uuid_utils.compat import uuid7

from backend.app.domain.identity import Role
from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import Applied, PspEvent
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.payouts import Payouts
from backend.tests import api_client
from backend.tests.factories import Owner, Player, make_player, make_tenant, new_key
from backend.tests.fixtures import Caller, People
from backend.tests.payout_provider import PROVIDER, Provider

if TYPE_CHECKING:  # conftest.py makes its fixtures with this module
    from backend.tests.conftest import Database

FINANCE: Final = "/finance/withdrawals"
# From here on two people have to approve, in major units of any currency.
THRESHOLD: Final = Decimal("50.00")
BALANCE: Final = 100_00
AMOUNT: Final = 40_00
AMOUNT_OF_TWO: Final = 60_00


@dataclass(slots=True)
class Desk:
    """What a test of withdrawals needs. Amounts are minor units."""

    owner: Owner
    pools: Pools
    people: People
    provider: Provider
    payouts: Payouts
    tenant_id: UUID
    player: Player
    finance: Caller
    approver: Caller
    # When the test is, for what is due by time.
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def request(self, amount: int = AMOUNT, *, player: Player | None = None, method: str = "test_bank") -> UUID:
        """A player's request, by the function that the player's route ends in."""
        asking = player or self.player
        command = RequestWithdrawal(
            withdrawal_id=uuid7(),
            tenant_id=asking.tenant_id,
            player_id=asking.id,
            money=Money(amount_minor=amount, currency=asking.currency),
            method=method,
            address="TR00 0000",
            idempotency_key=new_key(),
        )
        async with self.pools.connection() as conn:
            (result,) = await withdrawal_repo.request(conn, [command])
        assert result.code == "applied", result
        return command.withdrawal_id

    async def act(
        self, tx_id: UUID, action: str, *, by: Caller | None = None, key: str | None = None
    ) -> httpx.Response:
        """An admin's action, by the name it has in `allowed_actions`."""
        caller = by or self.finance
        headers = {} if key is None else {"Idempotency-Key": key}
        path, body = {
            "approve": ("review", {"action": "approve"}),
            "reject": ("review", {"action": "reject", "reason": "documents missing"}),
            "cancel": ("cancel", {"reason": "the player asked"}),
            "mark_paid": ("mark-paid", {}),
            "mark_paid_manually": ("mark-paid", {"rail": "manual", "evidence_ref": f"bank-{tx_id}"}),
            "retry": ("retry", {"reason": "the account works again"}),
        }[action]
        return await caller.post(f"{FINANCE}/{tx_id}/{path}", body, **headers)

    async def done(self, tx_id: UUID, action: str, *, by: Caller | None = None) -> dict[str, Any]:
        """The transaction after an action that was allowed."""
        response = await self.act(tx_id, action, by=by)
        assert response.status_code == httpx.codes.OK, response.text
        transaction: dict[str, Any] = response.json()["transaction"]
        return transaction

    async def observe(self, event: PspEvent, *, account_id: str | None = None) -> Applied:
        """What a webhook's delivery does, in a transaction of its own."""
        async with self.pools.transaction() as conn:
            return await self.payouts.observe(conn, event, account_id=account_id)

    async def pull(self, tx_id: UUID) -> Applied | None:
        """Ask the provider."""
        return await self.payouts.pull(self.tenant_id, tx_id, now=self.now)

    async def resolve_due(self, *, after: timedelta) -> int:
        """Time passes, and the job runs."""
        self.now += after
        return await self.payouts.resolve_due(now=self.now, limit=1000)

    async def into(self, state: str) -> UUID:
        """A withdrawal in a state, by the way that leads there."""
        needs_two = state == "awaiting_second_approval"
        tx_id = await self.request(AMOUNT_OF_TWO if needs_two else AMOUNT)
        former = self.provider.fate
        if state in ("requested",):
            return tx_id
        if state in ("rejected", "cancelled"):
            await self.done(tx_id, {"rejected": "reject", "cancelled": "cancel"}[state])
            return tx_id
        await self.done(tx_id, "approve")
        if state in ("awaiting_second_approval", "approved"):
            return tx_id
        self.provider.fate = {"processing": "pending", "failed": "refused"}.get(state, "paid")  # type: ignore[assignment]
        await self.done(tx_id, "mark_paid")
        self.provider.fate = former
        if state == "returned":
            await self.observe(self.provider.settle(reference(tx_id), "returned"))
        assert await self.state(tx_id) == state
        return tx_id

    async def state(self, tx_id: UUID) -> str:
        """The withdrawal's state as it is stored."""
        row = await (await self.owner.execute("SELECT state FROM withdrawals WHERE id = %s", (tx_id,))).fetchone()
        assert row is not None
        return str(row[0])

    async def attempts(self, tx_id: UUID) -> list[str]:
        """The states of its attempts, in order."""
        cursor = await self.owner.execute(
            "SELECT state FROM payout_attempts WHERE withdrawal_id = %s ORDER BY number", (tx_id,)
        )
        return [str(row[0]) for row in await cursor.fetchall()]

    async def findings(self, tx_id: UUID) -> list[str]:
        """The types of the findings about it, in alphabetical order."""
        cursor = await self.owner.execute(
            "SELECT finding_type FROM reconciliation_findings WHERE tx_id = %s ORDER BY finding_type", (tx_id,)
        )
        return [str(row[0]) for row in await cursor.fetchall()]

    async def posted(self, tx_id: UUID) -> list[tuple[Any, ...]]:
        """(type, key, provider, provider's name, provider's event) of the ledger's transactions for it, in order."""
        cursor = await self.owner.execute(
            "SELECT type, idempotency_key, provider, provider_ref, provider_event_id FROM ledger_transactions "
            "WHERE reference = %s ORDER BY wallet_version",
            (tx_id,),
        )
        return await cursor.fetchall()


def reference(tx_id: UUID, number: int = 1) -> str:
    """An attempt's name at the provider."""
    return f"wd_{tx_id}_{number}"


@pytest.fixture(scope="session")
async def desk_app(database: "Database") -> AsyncIterator[tuple[httpx.AsyncClient, Provider]]:
    """The application with a provider of the tests and a four-eyes threshold."""
    provider = Provider()
    async with api_client.serving(database, adapters={PROVIDER: provider}, four_eyes_threshold=THRESHOLD) as client:
        yield client, provider


@pytest.fixture
async def desk(owner: Owner, pools: Pools, desk_app: tuple[httpx.AsyncClient, Provider]) -> AsyncIterator[Desk]:
    """A desk of its own for one test."""
    client, provider = desk_app
    provider.reset()
    # What earlier tests left open is not due any more: the resolver looks at all tenants.
    await owner.execute("UPDATE payout_attempts SET next_check_at = 'infinity' WHERE next_check_at IS NOT NULL")
    mismatches = MismatchRecorder(pools, is_enabled=True)
    people = People(client, owner)
    tenant_id = await make_tenant(owner)
    yield Desk(
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
    await mismatches.drain(deadline_seconds=5)
