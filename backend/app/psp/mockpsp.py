"""MockPSP: the provider of development and tests. It keeps its own books (schema mockpsp) and confirms at once.

Scenarios are chosen by the payment method `mock:<name>`; any other method is the plain good case.
"""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from backend.app import sql
from backend.app.domain.payment_method import find_scenario
from backend.app.psp import mockpsp_events
from backend.app.psp.adapter import CaptureRequest, Done, Outcome, Pending, PspKeyConflict, Refused

PROVIDER: Final = mockpsp_events.PROVIDER
# What a scenario does to a capture; those that shape webhooks and payouts capture plainly.
_STATUS_BY_SCENARIO: Final[dict[str | None, str]] = {"decline": "declined", "pending": "pending"}

SQL = sql.load("mockpsp")


class Connections(Protocol):
    """Where MockPSP's books can be reached."""

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[TupleRow]]:
        """A connection in autocommit."""
        ...


class MockPsp:
    """The adapter to MockPSP."""

    provider = PROVIDER

    def __init__(self, books: Connections) -> None:
        self._books = books

    async def capture_deposit(self, request: CaptureRequest) -> Outcome:
        """Capture at once, decline (`mock:decline`) or leave pending (`mock:pending`). Raises PspKeyConflict."""
        async with self._books.connection() as conn:
            cursor = await conn.execute(
                SQL.capture_payment,
                {
                    "idempotency_key": request.idempotency_key,
                    "payment_id": f"mpay_{request.reference.hex}",
                    "event_id": f"mevt_{request.reference.hex}",
                    "account_id": request.account_id,
                    "reference": str(request.reference),
                    "amount": request.money.amount_minor,
                    "currency": request.money.currency,
                    "status": _STATUS_BY_SCENARIO.get(find_scenario(request.method), "captured"),
                },
            )
            row = await cursor.fetchone()
        assert row is not None, "an upsert returns its row"
        payment_id, event_id, account_id, reference, amount, currency, status, created_at = row
        if (account_id, UUID(reference), amount, currency) != (
            request.account_id,
            request.reference,
            request.money.amount_minor,
            request.money.currency,
        ):
            raise PspKeyConflict(f"MockPSP knows {request.idempotency_key} for another payment")
        if status == "declined":
            return Refused(provider_ref=payment_id, failure_code="declined")
        if status == "pending":
            return Pending(provider_ref=payment_id)
        return Done(
            provider_ref=payment_id,
            provider_event_id=event_id,
            occurred_at=created_at,
            money=request.money,
            sequence=None,
        )
