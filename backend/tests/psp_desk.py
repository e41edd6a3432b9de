"""A desk where deliveries of providers come in, without HTTP around it: the product's own services on a database.

Time is the test's: a delivery is judged by the moment that the test says, and applied when the test says so. The
provider is the outside world and says what the test has it say.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from pydantic import SecretStr

from backend.app.domain.payments.psp_delivery import Delivery, Receipt
from backend.app.domain.payments.psp_event import PspEvent
from backend.app.domain.reconciliation.statement import StatementPage
from backend.app.psp import standard_webhooks
from backend.app.psp.adapter import (
    CaptureRequest,
    Lookup,
    NotFound,
    Outcome,
    PayoutRequest,
    Pending,
    RefundRequest,
    Unknown,
)
from backend.app.psp.mockpsp_events import MockPspWebhooks
from backend.app.repositories.database import Database as Pools
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.psp_inbox import PspInbox
from backend.app.services.payments.webhook_secrets import WebhookSecrets
from backend.app.services.payments.webhooks import Webhooks
from backend.app.services.wallets import Wallets
from backend.tests.factories import Owner, Player, connect_owner, deposit_command, eventually, open_pools, settings_of
from backend.tests.webhook_deliveries import ADYEN_KEY, MOCK_SECRET, MOCK_SECRET_OLD

if TYPE_CHECKING:  # conftest.py makes its fixtures with these modules
    from backend.tests.conftest import Database

PROVIDER: Final = "mockpsp"
ACME_SECRET: Final = "whsec_YWNtZS1vd24tc2VjcmV0LXdpdGgtMzItYnl0ZXMhISE="
STRIPE_SECRET: Final = "whsec_own_test_secret"
SECRETS: Final[dict[str, Any]] = {
    "webhook_secret_mockpsp": SecretStr(MOCK_SECRET),
    "webhook_secret_mockpsp_previous": SecretStr(MOCK_SECRET_OLD),
    "webhook_secrets": {
        "ACME": SecretStr(ACME_SECRET),
        "STRIPE": SecretStr(STRIPE_SECRET),
        "ADYEN": SecretStr(ADYEN_KEY),
    },
}


class ScriptedPsp(MockPspWebhooks):
    """A provider that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.truth: dict[str, Lookup] = {}
        self.asked: list[str] = []

    async def authorize_deposit(self, request: CaptureRequest) -> Outcome:
        return Pending(provider_ref=payment_id(request.reference))

    async def capture_deposit(self, request: CaptureRequest) -> Outcome:
        return self.outcome or Pending(provider_ref=payment_id(request.reference))

    async def refund_deposit(self, request: RefundRequest) -> Outcome:
        return Unknown(reason="not scripted")

    async def payout_withdrawal(self, request: PayoutRequest) -> Outcome:
        return Unknown(reason="not scripted")

    async def get_payment(self, payment_ref: str, *, account_id: str) -> Lookup:
        self.asked.append(payment_ref)
        return self.truth.get(payment_ref, NotFound())

    async def find_payment_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        self.asked.append(reference)
        return self.truth.get(reference, NotFound())

    async def get_payout(self, payout_ref: str, *, account_id: str) -> Lookup:
        return NotFound()

    async def find_payout_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        return NotFound()

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        return StatementPage(lines=(), next_cursor=None, control_count=0, control_sums={}, is_complete=True)


def payment_id(deposit_id: UUID) -> str:
    """What the scripted provider calls the payment of a deposit."""
    return f"pay_{deposit_id.hex}"


def account_of(tenant_id: UUID) -> str:
    """The tenant's account at MockPSP."""
    return f"mock_{tenant_id.hex}"


@dataclass(frozen=True, kw_only=True)
class Told:
    """A webhook as MockPSP would write it."""

    type: str
    deposit_id: UUID | None
    account: str | None
    amount: int = 10_00
    currency: str = "USD"
    sequence: int | None = None
    event_id: str = field(default_factory=lambda: f"evt_{uuid4().hex}")
    payment: str | None = None

    @property
    def body(self) -> bytes:
        data = {
            "account": self.account,
            "payment_id": self.payment or (payment_id(self.deposit_id) if self.deposit_id else "pay_unknown"),
            "reference": str(self.deposit_id) if self.deposit_id else None,
            "status": self.type.partition(".")[2],
            "sequence": self.sequence,
            "amount_minor": self.amount,
            "currency": self.currency,
        }
        known = {name: value for name, value in data.items() if value is not None}
        return json.dumps({"type": self.type, "timestamp": "2026-01-15T10:00:00Z", "data": known}).encode()

    @property
    def event(self) -> PspEvent:
        """What it says, as the provider says it when it is asked."""
        (event,) = MockPspWebhooks().parse_event(self.body, delivery_id=self.event_id)
        return event

    def signed(self, *secrets: str, at: datetime | None = None) -> dict[str, str]:
        """Its headers, signed with these secrets at a moment."""
        return standard_webhooks.sign(
            self.body, delivery_id=self.event_id, signed_at=at or datetime.now(UTC), secrets=secrets or (MOCK_SECRET,)
        )


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Services and the world around them."""

    database: "Database"
    owner: Owner
    pools: Pools
    psp: ScriptedPsp
    deposits: Deposits
    webhooks: Webhooks
    inbox: PspInbox

    async def open_deposit(self, player: Player, amount: int = 10_00) -> UUID:
        """A deposit that the provider has taken and not decided."""
        answer = await self.deposits.deposit(deposit_command(player, amount))
        return answer.deposit.id

    async def deliver(
        self,
        told: Told,
        *secrets: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        at: datetime | None = None,
        account_id: str | None = None,
        provider: str = PROVIDER,
    ) -> Receipt:
        """Hand a webhook in; raises as `receive` does."""
        return await self.webhooks.receive(
            Delivery(
                provider=provider,
                account_id=account_id,
                raw_body=told.body if body is None else body,
                headers=told.signed(*secrets) if headers is None else headers,
                request_id=None,
                received_at=at or datetime.now(UTC),
            )
        )

    async def tell(self, *tellings: Told) -> None:
        """Hand webhooks in and apply each at once."""
        for told in tellings:
            receipt = await self.deliver(told)
            if not receipt.is_duplicate:
                assert await self.inbox.apply([receipt.event_id])

    async def row(self, event_id: UUID) -> dict[str, Any]:
        """A delivery in the inbox."""
        columns = ("state", "effect", "detail", "signature_status", "account_id", "tenant_id", "tx_id", "last_error")
        cursor = await self.owner.execute(
            f"SELECT {', '.join(columns)}, attempts FROM psp_events WHERE id = %s", (event_id,)
        )
        row = await cursor.fetchone()
        assert row is not None, "it was stored"
        return dict(zip((*columns, "attempts"), row, strict=True))

    async def stored(self, provider_event_id: str) -> int:
        """How many deliveries of a name are in the inbox."""
        cursor = await self.owner.execute(
            "SELECT count(*) FROM psp_events WHERE provider_event_id = %s", (provider_event_id,)
        )
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def findings(self, tenant_id: UUID) -> list[tuple[str, str]]:
        """Types and severities of a tenant's findings."""
        cursor = await self.owner.execute(
            "SELECT finding_type, severity FROM reconciliation_findings WHERE tenant_id = %s ORDER BY 1", (tenant_id,)
        )
        return [(str(kind), str(severity)) for kind, severity in await cursor.fetchall()]

    async def deposit_state(self, deposit_id: UUID) -> str:
        """Where a deposit stands."""
        cursor = await self.owner.execute("SELECT state FROM deposits WHERE id = %s", (deposit_id,))
        row = await cursor.fetchone()
        assert row is not None
        return str(row[0])

    async def enforce(self, value: bool | None, *, scope: str = "provider", holder: str = PROVIDER) -> None:
        """Set `webhook_signature_enforced` on a level; None removes the setting."""
        key = ("webhook_signature_enforced", scope, holder)
        await self.owner.execute("DELETE FROM flag_settings WHERE (flag, scope, holder) = (%s, %s, %s)", key)
        if value is not None:
            await self.owner.execute(
                "INSERT INTO flag_settings (flag, scope, holder, value, set_by) VALUES (%s, %s, %s, %s, 'a test')",
                (*key, value),
            )

    async def until_blocked(self, sessions: int) -> None:
        """Return when so many sessions of the desk's database wait for a lock."""
        async with connect_owner(self.database) as watcher:

            async def are_blocked() -> bool:
                cursor = await watcher.execute(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
                )
                row = await cursor.fetchone()
                return row is not None and int(row[0]) >= sessions

            await eventually(are_blocked, what=f"{sessions} sessions wait for a lock")

    async def make_account(
        self, tenant_id: UUID, account_id: str, *, provider: str = PROVIDER, secret_name: str | None = None
    ) -> None:
        """A row of psp_accounts."""
        await self.owner.execute(
            "INSERT INTO psp_accounts (provider, account_id, tenant_id, webhook_secret_name) VALUES (%s, %s, %s, %s)",
            (provider, account_id, tenant_id, secret_name),
        )


@asynccontextmanager
async def open_desk(database: "Database") -> AsyncIterator[Desk]:
    """A desk on a database that nobody else's service works on."""
    async with open_pools(database) as pools, connect_owner(database) as owner:
        psp = ScriptedPsp()
        mismatches = MismatchRecorder(pools, is_enabled=True)
        deposits = Deposits(pools, psp, Wallets(pools), mismatches, is_dev=True, unverified_daily_cap=Decimal(100))
        webhooks = Webhooks(pools, WebhookSecrets(settings_of(database, **SECRETS)))
        inbox = PspInbox(pools, deposits=deposits, payouts=None)
        yield Desk(
            database=database, owner=owner, pools=pools, psp=psp, deposits=deposits, webhooks=webhooks, inbox=inbox
        )
        for service in (webhooks, deposits, mismatches):
            await service.drain(deadline_seconds=5)


def in_turn(tellings: Sequence[Told], order: Sequence[int]) -> list[Told]:
    """The tellings in this order; the event ids stay, so that one that comes again is the same event."""
    return [replace(tellings[number]) for number in order]
