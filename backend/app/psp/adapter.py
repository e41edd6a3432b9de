"""What a payment provider looks like from here.

Every call is made outside any transaction, has a deadline, and never raises for what a provider may do: what happened
is a value. A timeout, a connection that broke and an answer that cannot be read are `Unknown`: the provider may have
acted, so nothing may be concluded but that it has to be asked again, with the same key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import PspEvent
from backend.app.domain.reconciliation.statement import StatementPage
from backend.app.psp.webhook import Headers, Secret, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """Ask a provider to collect money. The idempotency key is ours and names the deposit, never the HTTP call."""

    account_id: str
    reference: UUID
    money: Money
    method: str
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequest:
    """Ask a provider to send money to a player. `reference` is the attempt's `wd_<withdrawal id>_<n>` and its key."""

    account_id: str
    reference: str
    money: Money
    method: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """Ask a provider to give back what it captured. `payment_ref` is the provider's name for the payment."""

    account_id: str
    payment_ref: str
    money: Money
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The provider did it; final. `money` is what really moved, which may differ from what was asked for."""

    provider_ref: str
    provider_event_id: str
    occurred_at: datetime
    money: Money
    sequence: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The provider will not do it; final, no money moved. `provider_ref` where it made something to refer to."""

    provider_ref: str | None
    failure_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The provider took it and will say later."""

    provider_ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """No answer that says what happened. `reason` is fit for a log: timeout, connection, status_503, unreadable."""

    reason: str


Outcome = Done | Refused | Pending | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """The provider answered that it knows of no such payment or payout."""


# What a provider says when it is asked about one payment: its latest event, that it knows none, or nothing readable.
Lookup = PspEvent | NotFound | Unknown


class PspKeyConflict(Exception):
    """The provider knows the idempotency key for another amount, currency or payment: a bug on our side."""


class PspUnavailable(Exception):
    """A statement could not be read; the reason is fit for a log."""


class PspAdapter(Protocol):
    """One provider. Same idempotency key, same outcome, however often it is asked."""

    provider: str

    async def authorize_deposit(self, request: CaptureRequest) -> Outcome:
        """Reserve the money without collecting it; `Pending` names the reservation. Raises PspKeyConflict."""
        ...

    async def capture_deposit(self, request: CaptureRequest) -> Outcome:
        """Collect the money. Raises PspKeyConflict."""
        ...

    async def refund_deposit(self, request: RefundRequest) -> Outcome:
        """Give captured money back. Raises PspKeyConflict."""
        ...

    async def payout_withdrawal(self, request: PayoutRequest) -> Outcome:
        """Send money out. Raises PspKeyConflict."""
        ...

    async def get_payment(self, payment_ref: str, *, account_id: str) -> Lookup:
        """What became of a deposit, by the provider's name for it."""
        ...

    async def find_payment_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        """What became of a deposit, by our id of it."""
        ...

    async def get_payout(self, payout_ref: str, *, account_id: str) -> Lookup:
        """What became of a payout, by the provider's name for it."""
        ...

    async def find_payout_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        """What became of a payout, by our attempt's name."""
        ...

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """A page of the account's statement over [from_at, to_at). Raises PspUnavailable."""
        ...

    def verify_webhook(self, raw_body: bytes, *, headers: Headers, secrets: Sequence[Secret], now: datetime) -> Verdict:
        """The verdict on a delivery. Never raises."""
        ...

    def parse_event(self, raw_body: bytes, *, delivery_id: str) -> tuple[PspEvent, ...]:
        """The events in a body. Raises UnparsableEvent."""
        ...
