"""A provider of the tests: the outside world with books of its own, that can be told to misbehave.

It does one payout of one key, as every adapter promises of its provider; what it answers, and when, is chosen by the
test. Nothing of ours is replaced by it: the code under test talks to it through the port that every provider is behind.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import uuid4

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import PspEvent, PspEventType
from backend.app.domain.reconciliation.statement import StatementPage
from backend.app.psp.adapter import (
    CaptureRequest,
    Done,
    Lookup,
    NotFound,
    Outcome,
    PayoutRequest,
    Pending,
    PspKeyConflict,
    RefundRequest,
    Refused,
    Unknown,
)
from backend.app.psp.webhook import Headers, Secret, Verdict

PROVIDER: Final = "mockpsp"

Fate = Literal["paid", "refused", "pending"]
# lost_request: nothing arrives. lost_answer: it is done and nobody hears of it. down: nobody answers questions either.
Line = Literal["good", "lost_request", "lost_answer", "down"]

_TYPES: Final = {
    "pending": PspEventType.PAYOUT_PENDING,
    "paid": PspEventType.PAYOUT_PAID,
    "refused": PspEventType.PAYOUT_FAILED,
    "returned": PspEventType.PAYOUT_RETURNED,
}


@dataclass(slots=True)
class Payout:
    """One payout in the provider's books."""

    request: PayoutRequest
    payout_id: str
    status: str
    money: Money
    sequence: int = 1
    calls: int = 1


@dataclass(slots=True)
class Provider:
    """The provider and the line to it. `fate` is what becomes of new payouts, `line` how well it can be reached."""

    provider: str = PROVIDER
    fate: Fate = "paid"
    line: Line = "good"
    # What it pays instead of what it was asked for.
    pays: Money | None = None
    payouts: dict[str, Payout] = field(default_factory=dict)
    calls: int = 0
    questions: int = 0
    # Set, calls wait for it: a test looks at what is committed meanwhile.
    gate: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        """A new day: nothing is known and everything works."""
        self.fate, self.line, self.pays, self.gate = "paid", "good", None, None
        self.payouts, self.calls, self.questions, self.asked = {}, 0, 0, asyncio.Event()

    async def payout_withdrawal(self, request: PayoutRequest) -> Outcome:
        """Pay, once for each reference."""
        self.calls += 1
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.line in ("lost_request", "down"):
            return Unknown(reason="timeout")
        payout = self.payouts.get(request.reference)
        if payout is None:
            payout = Payout(
                request=request, payout_id=f"po_{uuid4().hex}", status=self.fate, money=self.pays or request.money
            )
            self.payouts[request.reference] = payout
        else:
            payout.calls += 1
        if payout.request != request:
            raise PspKeyConflict(request.reference)
        if self.line == "lost_answer":
            return Unknown(reason="timeout")
        return self._outcome(payout)

    def settle(self, reference: str, status: str, *, money: Money | None = None) -> PspEvent:
        """Something happens to a payout at the provider; the event that says so."""
        payout = self.payouts[reference]
        payout.status, payout.sequence = status, payout.sequence + 1
        payout.money = money or payout.money
        return self.event(reference)

    def event(self, reference: str) -> PspEvent:
        """What the provider says about a payout now."""
        payout = self.payouts[reference]
        return PspEvent(
            provider=self.provider,
            account_hint=payout.request.account_id,
            provider_event_id=f"ev_{payout.payout_id}_{payout.status}",
            type=_TYPES[payout.status],
            provider_ref=payout.payout_id,
            reference=reference,
            sequence=payout.sequence,
            money=payout.money,
            occurred_at=datetime.now(UTC),
            failure_code="account_closed" if payout.status == "refused" else None,
        )

    async def get_payout(self, payout_ref: str, *, account_id: str) -> Lookup:
        """By its own name."""
        named = (payout for payout in self.payouts.values() if payout.payout_id == payout_ref)
        return self._look(next(named, None), account_id=account_id)

    async def find_payout_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        """By ours."""
        return self._look(self.payouts.get(reference), account_id=account_id)

    def _look(self, payout: Payout | None, *, account_id: str) -> Lookup:
        self.questions += 1
        if self.line == "down":
            return Unknown(reason="status_503")
        is_theirs = payout is not None and payout.request.account_id == account_id
        return self.event(payout.request.reference) if payout is not None and is_theirs else NotFound()

    def _outcome(self, payout: Payout) -> Outcome:
        if payout.status == "refused":
            return Refused(provider_ref=payout.payout_id, failure_code="account_closed")
        if payout.status == "pending":
            return Pending(provider_ref=payout.payout_id)
        event = self.event(payout.request.reference)
        assert event.occurred_at is not None
        return Done(
            provider_ref=payout.payout_id,
            provider_event_id=event.provider_event_id,
            occurred_at=event.occurred_at,
            money=payout.money,
            sequence=payout.sequence,
        )

    # What these tests never ask for.

    async def authorize_deposit(self, request: CaptureRequest) -> Outcome:
        """No deposits here."""
        raise NotImplementedError

    async def capture_deposit(self, request: CaptureRequest) -> Outcome:
        """No deposits here."""
        raise NotImplementedError

    async def refund_deposit(self, request: RefundRequest) -> Outcome:
        """No deposits here."""
        raise NotImplementedError

    async def get_payment(self, payment_ref: str, *, account_id: str) -> Lookup:
        """No deposits here."""
        raise NotImplementedError

    async def find_payment_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        """No deposits here."""
        raise NotImplementedError

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """No statements here."""
        raise NotImplementedError

    def verify_webhook(self, raw_body: bytes, *, headers: Headers, secrets: Sequence[Secret], now: datetime) -> Verdict:
        """No webhooks here."""
        raise NotImplementedError

    def parse_event(self, raw_body: bytes, *, delivery_id: str) -> tuple[PspEvent, ...]:
        """No webhooks here."""
        raise NotImplementedError


def other_event(event: PspEvent, **changes: object) -> PspEvent:
    """The event with something else in it."""
    return replace(event, **changes)  # type: ignore[arg-type]  # named by the test
