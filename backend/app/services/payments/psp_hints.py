"""Follows hints: deliveries that nobody vouches for. What they say counts for nothing; the provider is asked itself."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol
from uuid import UUID

from backend.app.domain.payments.payout import find_attempt_name
from backend.app.domain.payments.psp_delivery import EventState, Outcome, PendingEvent, outcome_of
from backend.app.domain.payments.psp_event import Applied, PspEvent
from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import UnparsableEvent
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.deposit_repo import PaymentName
from backend.app.repositories.payments import psp_event_repo

HINTS_MAX: Final = 10


class Observer(Protocol):
    """Who applies provider events of one kind of payment."""

    async def observe(self, conn: Connection, event: PspEvent, *, account_id: str | None) -> Applied:
        """Apply one event inside the caller's transaction."""
        ...

    async def pull(self, tenant_id: UUID, tx_id: UUID, /) -> Applied | None:
        """Ask the provider about a payment and apply the answer; None when there is none."""
        ...


class Hints:
    """Asks providers about the payments of ours that hints name."""

    def __init__(self, database: Database, *, deposits: Observer, payouts: Observer | None) -> None:
        self._database = database
        self._deposits = deposits
        self._payouts = payouts

    async def follow(self, event: PendingEvent) -> Outcome:
        """Ask the provider about what an unverified delivery names; what it says itself counts for nothing."""
        try:
            told = SCHEMES[event.provider].parse_event(event.body, delivery_id=event.provider_event_id or "hint")
        except UnparsableEvent:
            return Outcome(state=EventState.IGNORED, detail="not verified, and not readable as a hint")
        pulls = [await self._find_pull(each) for each in told[:HINTS_MAX]]
        applied = [each for each in [await pull() for pull in pulls if pull is not None] if each is not None]
        if not applied:
            return Outcome(
                state=EventState.IGNORED,
                event_type=types_of(told),
                detail="not verified, and nothing learnt by asking",
            )
        return outcome_of(applied, event_type=types_of(told))

    async def ask(self, event: PendingEvent) -> Sequence[Applied]:
        """Ask the provider about the payments of the delivery's own tenant that it names, verified or not.

        What they answered and did; nothing when there was nothing to be asked, or no answer.
        """
        try:
            told = SCHEMES[event.provider].parse_event(event.body, delivery_id=event.provider_event_id or "hint")
        except UnparsableEvent:
            return ()
        pulls = [await self._find_pull(each, tenant_id=event.tenant_id) for each in told[:HINTS_MAX]]
        return [each for each in [await pull() for pull in pulls if pull is not None] if each is not None]

    async def _find_pull(
        self, hint: PspEvent, *, tenant_id: UUID | None = None
    ) -> Callable[[], Awaitable[Applied | None]] | None:
        """How to ask about the payment that a hint names; None when it is none of ours, or not of the tenant given."""
        attempt = find_attempt_name(hint.reference)
        async with self._database.connection() as conn:
            if attempt is not None:
                payouts = self._payouts
                found_id = await psp_event_repo.find_withdrawal_tenant(conn, withdrawal_id=attempt.withdrawal_id)
                if payouts is None or found_id is None or tenant_id not in (None, found_id):
                    return None
                return partial(payouts.pull, found_id, attempt.withdrawal_id)
            key = await deposit_repo.find_payment(conn, PaymentName(hint.provider, hint.reference, hint.provider_ref))
        if key is None or tenant_id not in (None, key.tenant_id):
            return None
        return partial(self._deposits.pull, key.tenant_id, key.deposit_id)


def types_of(events: Sequence[PspEvent]) -> str:
    """The kinds of events, each once."""
    return ", ".join(dict.fromkeys(each.type.value for each in events))
