"""The desk: takes orders and what is asked about them. Rules are in scenarios.py, tables in books.py."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from backend.mockpsp import books, scenarios
from backend.mockpsp.books import Books
from backend.mockpsp.deliveries import Deliveries
from backend.mockpsp.records import Amount, Delivery, Event, KeyConflict, Kind, Order, Refusal, Stage
from backend.mockpsp.scenarios import Loss, Webhooks

# A payout that is about to be paid can no longer be stopped: whoever looks now may see it paid before we have written.
CANCEL_MARGIN: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What an order is answered with; None when the request itself was lost. `is_answered` False: let them wait."""

    event: Event | None
    is_answered: bool
    is_replay: bool


class Desk:
    """One merchant's desk; all accounts are the merchant's."""

    def __init__(self, books: Books, deliveries: Deliveries, *, clock_factor: float) -> None:
        self._books = books
        self._deliveries = deliveries
        self._clock_factor = clock_factor

    async def take(self, order: Order, *, now: datetime) -> Taken:
        """Book an order, once per key. Raises KeyConflict."""
        scenario = scenarios.scenario_of(order.method)
        if scenario.loss is Loss.REQUEST and await self._books.lose_request(order.idempotency_key, now=now):
            return Taken(event=None, is_answered=False, is_replay=False)
        if order.is_captured_at_once:
            events = scenarios.plan_course(order, first_sequence=1, now=now, clock_factor=self._clock_factor)
        else:
            events = scenarios.plan_authorization(order, now=now)
        deliveries = scenarios.plan_deliveries(order, events, clock_factor=self._clock_factor)
        is_early = scenario.webhooks is Webhooks.EARLY
        if is_early:
            # Ours from the start: no other sender may take them before we have.
            leased_until = self._deliveries.lease_from(now)
            deliveries = tuple(replace(delivery, due_at=leased_until) for delivery in deliveries)
        if not await self._books.book(order, events, deliveries, now=now):
            return await self._answer_again(order)
        # From here on the order is booked.
        if is_early:
            await self._deliveries.deliver_first_of(order.id, now=now)
        elif deliveries:
            self._deliveries.wake()
        return Taken(event=events[0], is_answered=scenario.loss is not Loss.ANSWER, is_replay=False)

    async def _answer_again(self, order: Order) -> Taken:
        booked = await self._books.find_booked(order.kind, order.idempotency_key)
        assert booked is not None, "a key is only taken by what is booked"
        known, first_event = booked
        if not known.is_same_request(order):
            raise KeyConflict
        return Taken(event=first_event, is_answered=True, is_replay=True)

    async def capture(self, payment_id: str, *, now: datetime) -> Event:
        """Collect what was authorized; again: the same answer. Raises Refusal."""
        async with self._books.locked(Kind.PAYMENT, payment_id) as (conn, order):
            if order is None:
                raise _not_found()
            first, *later = await books.list_events(conn, order.id)
            if scenarios.stage_of(first) is not Stage.AUTHORIZED:
                raise Refusal(409, "not_capturable", f"the payment was not authorized: {first.status}")
            if later:
                return later[0]
            events = scenarios.plan_course(order, first_sequence=2, now=now, clock_factor=self._clock_factor)
            deliveries = scenarios.plan_deliveries(order, events, clock_factor=self._clock_factor)
            await books.add_events(conn, order, events, deliveries)
        self._deliveries.wake()
        return events[0]

    async def refund(self, payment_id: str, *, amount: Amount, idempotency_key: str, now: datetime) -> Event:
        """Give back captured money, in parts if need be. Raises Refusal, KeyConflict."""
        async with self._books.locked(Kind.PAYMENT, payment_id) as (conn, order):
            if order is None:
                raise _not_found()
            events = await books.list_events(conn, order.id)
            known = next((event for event in events if event.idempotency_key == idempotency_key), None)
            if known is not None:
                if known.amount != amount:
                    raise KeyConflict
                return known
            _ensure_refundable(events, amount=amount, now=now)
            refund = scenarios.new_event(
                order,
                stage=Stage.RETURNED,
                sequence=events[-1].sequence + 1,
                amount=amount,
                occurred_at=now,
                idempotency_key=idempotency_key,
            )
            await self._add(conn, order, refund)
        self._deliveries.wake()
        return refund

    async def cancel(self, payout_id: str, *, now: datetime) -> Event:
        """Stop a payout that is still pending; again: the same answer. Raises Refusal."""
        async with self._books.locked(Kind.PAYOUT, payout_id) as (conn, order):
            if order is None:
                raise _not_found()
            events = await books.list_events(conn, order.id)
            if events[-1].failure_code == "cancelled":
                return events[-1]
            past = [event for event in events if event.occurred_at <= now + CANCEL_MARGIN]
            if scenarios.stage_of(past[-1]) is not Stage.PENDING:
                raise Refusal(409, "not_cancellable", f"the payout is {past[-1].status}")
            await books.remove_events_after(conn, order.id, now=now)
            cancelled = scenarios.new_event(
                order,
                stage=Stage.FAILED,
                sequence=past[-1].sequence + 1,
                amount=order.amount,
                occurred_at=now,
                failure_code="cancelled",
            )
            await self._add(conn, order, cancelled)
        self._deliveries.wake()
        return cancelled

    async def _add(self, conn: books.Connection, order: Order, event: Event) -> None:
        deliveries: Sequence[Delivery] = scenarios.plan_deliveries(order, [event], clock_factor=self._clock_factor)
        await books.add_events(conn, order, [event], deliveries)


def _ensure_refundable(events: Sequence[Event], *, amount: Amount, now: datetime) -> None:
    """Refuse what is not captured, is about to change by itself, or is more than is left."""
    captured = next((event for event in events if scenarios.stage_of(event) is Stage.SETTLED), None)
    if captured is None or events[-1].occurred_at > now:
        raise Refusal(409, "not_refundable", "the payment is not captured, or on its way back")
    refunded = sum(event.amount.minor for event in events if scenarios.stage_of(event) is Stage.RETURNED)
    is_within = amount.currency == captured.amount.currency and amount.minor <= captured.amount.minor - refunded
    if not is_within:
        raise Refusal(409, "amount_not_refundable", "more than is left of the payment, or another currency")


def _not_found() -> Refusal:
    return Refusal(404, "not_found", "there is no such order")
