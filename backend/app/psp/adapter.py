"""What a payment provider looks like from here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from backend.app.domain.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """Ask a provider to collect money. The idempotency key is ours and names the deposit, never the HTTP call."""

    account_id: str
    reference: UUID
    money: Money
    method: str
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The provider did it; final."""

    provider_ref: str
    provider_event_id: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The provider will not do it; final, no money moved."""

    provider_ref: str
    failure_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The provider took it and will say later."""

    provider_ref: str


Outcome = Done | Refused | Pending


class PspKeyConflict(Exception):
    """The provider knows the idempotency key for another amount, currency or payment: a bug on our side."""


class PspAdapter(Protocol):
    """One provider. Same idempotency key, same outcome, however often it is asked."""

    provider: str

    async def capture_deposit(self, request: CaptureRequest) -> Outcome:
        """Collect the money. Raises PspKeyConflict."""
        ...
