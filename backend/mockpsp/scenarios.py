"""What each scenario does, as one table; and the course it gives to an order. Pure: no clock, no books.

A scenario is chosen by the payment method `mock:<name>`. Every other method, and a name that is not in the table, is
the plain good case: settled in the answer, one webhook.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

import msgspec

from backend.mockpsp.records import Amount, Delivery, Event, Kind, Order, Signing, Stage

METHOD_PREFIX: Final = "mock:"

# Seconds on the clock that the clock factor compresses.
SETTLES_AFTER: Final = 3.0
RETURNS_AFTER: Final = 5.0
REVERSED_GAP: Final = 2.0
OTHER_BODY_GAP: Final = 2.0


class Loss(Enum):
    """What becomes of the first answer."""

    NONE = auto()
    # The caller waits in vain, but the order is booked.
    ANSWER = auto()
    # The caller waits in vain and nothing is booked; the next request with the key gets through.
    REQUEST = auto()


class Webhooks(Enum):
    """Which webhooks an order causes."""

    ONCE = auto()
    NONE = auto()
    TWICE = auto()
    # Newest first, the pending state included.
    REVERSED = auto()
    # Before the request that causes them is answered.
    EARLY = auto()
    # The second one has the id of the first and another amount.
    OTHER_BODY = auto()


class Moves(Enum):
    """How much really moves."""

    AS_ASKED = auto()
    ONE_LESS = auto()
    OTHER_CURRENCY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A course: stages with the seconds that lie before each. The other fields are what goes wrong on the way."""

    course: tuple[tuple[Stage, float], ...] = ((Stage.SETTLED, 0),)
    loss: Loss = Loss.NONE
    webhooks: Webhooks = Webhooks.ONCE
    signing: Signing = Signing.GENUINE
    moves: Moves = Moves.AS_ASKED


PLAIN: Final = Scenario()
_SETTLES_LATER: Final = ((Stage.PENDING, 0.0), (Stage.SETTLED, SETTLES_AFTER))

SCENARIOS: Final[dict[str, Scenario]] = {
    "decline": Scenario(course=((Stage.FAILED, 0),)),
    "timeout_created": Scenario(loss=Loss.ANSWER),
    "timeout_never": Scenario(loss=Loss.REQUEST),
    "paid_then_returned": Scenario(course=((Stage.SETTLED, 0), (Stage.RETURNED, RETURNS_AFTER))),
    "duplicate_webhooks": Scenario(webhooks=Webhooks.TWICE),
    "reversed_webhooks": Scenario(course=_SETTLES_LATER, webhooks=Webhooks.REVERSED),
    "short_by_one": Scenario(moves=Moves.ONE_LESS),
    "no_webhook": Scenario(webhooks=Webhooks.NONE),
    "early_webhook": Scenario(webhooks=Webhooks.EARLY),
    "bad_signature_first": Scenario(signing=Signing.BAD_FIRST),
    "old_timestamp": Scenario(signing=Signing.OLD_TIMESTAMP_FIRST),
    "old_secret": Scenario(signing=Signing.PREVIOUS_SECRET),
    "other_currency": Scenario(moves=Moves.OTHER_CURRENCY),
    "pending": Scenario(course=_SETTLES_LATER),
    "same_id_other_body": Scenario(webhooks=Webhooks.OTHER_BODY),
}

# Per kind and stage: type of the event, status, and what the statement calls the movement.
_WORDS: Final[dict[Kind, dict[Stage, tuple[str, str, str | None]]]] = {
    Kind.PAYMENT: {
        Stage.AUTHORIZED: ("deposit.pending", "authorized", None),
        Stage.PENDING: ("deposit.pending", "pending", None),
        Stage.SETTLED: ("deposit.captured", "captured", "deposit"),
        Stage.FAILED: ("deposit.failed", "failed", None),
        Stage.RETURNED: ("deposit.refunded", "refunded", "refund"),
    },
    Kind.PAYOUT: {
        Stage.PENDING: ("payout.pending", "pending", None),
        Stage.SETTLED: ("payout.paid", "paid", "payout"),
        Stage.FAILED: ("payout.failed", "failed", None),
        Stage.RETURNED: ("payout.returned", "returned", "return"),
    },
}
_STAGES: Final = {(kind, status): stage for kind, words in _WORDS.items() for stage, (_, status, _) in words.items()}
FAILURE_CODES: Final = {Kind.PAYMENT: "declined", Kind.PAYOUT: "account_closed"}


def scenario_of(method: str) -> Scenario:
    """The scenario that a payment method names, or the plain one."""
    if not method.startswith(METHOD_PREFIX):
        return PLAIN
    return SCENARIOS.get(method.removeprefix(METHOD_PREFIX), PLAIN)


def stage_of(event: Event) -> Stage:
    """The stage that an event is the beginning of."""
    return _STAGES[event.kind, event.status]


def plan_authorization(order: Order, *, now: datetime) -> tuple[Event, ...]:
    """The one event of a payment that is to be captured later: reserved, or declined."""
    is_declined = scenario_of(order.method).course[0][0] is Stage.FAILED
    stage = Stage.FAILED if is_declined else Stage.AUTHORIZED
    return (new_event(order, stage=stage, sequence=1, amount=order.amount, occurred_at=now),)


def plan_course(order: Order, *, first_sequence: int, now: datetime, clock_factor: float) -> tuple[Event, ...]:
    """Everything that will happen to the order by its scenario, the first of it now."""
    scenario = scenario_of(order.method)
    events = []
    occurred_at = now
    for sequence, (stage, seconds) in enumerate(scenario.course, start=first_sequence):
        occurred_at += timedelta(seconds=seconds * clock_factor)
        is_moving = stage in (Stage.SETTLED, Stage.RETURNED)
        amount = _moved(order.amount, moves=scenario.moves) if is_moving else order.amount
        events.append(new_event(order, stage=stage, sequence=sequence, amount=amount, occurred_at=occurred_at))
    return tuple(events)


def plan_deliveries(order: Order, events: Sequence[Event], *, clock_factor: float) -> tuple[Delivery, ...]:
    """The webhooks that the order's scenario makes of these events, first attempts in the order of their due times."""
    scenario = scenario_of(order.method)
    return tuple(_deliveries(events, scenario=scenario, clock_factor=clock_factor))


def new_event(
    order: Order,
    *,
    stage: Stage,
    sequence: int,
    amount: Amount,
    occurred_at: datetime,
    failure_code: str | None = None,
    idempotency_key: str | None = None,
) -> Event:
    """An event of the order; a failure without a code of its own gets the one of its kind."""
    event_type, status, movement = _WORDS[order.kind][stage]
    if stage is Stage.FAILED and failure_code is None:
        failure_code = FAILURE_CODES[order.kind]
    return Event(
        # Its place in its order names it, so that whoever is told about it, and how often, is told the same name.
        event_id=f"evt_{order.id.partition('_')[2]}_{sequence}",
        kind=order.kind,
        object_id=order.id,
        account=order.account,
        reference=order.reference,
        sequence=sequence,
        type=event_type,
        status=status,
        amount=amount,
        movement=movement,
        failure_code=failure_code,
        idempotency_key=idempotency_key,
        occurred_at=occurred_at,
    )


def webhook_body(event: Event) -> bytes:
    """The bytes that are signed and sent."""
    data: dict[str, object] = {
        "account": event.account,
        f"{event.kind}_id": event.object_id,
        "reference": event.reference,
        "status": event.status,
        "sequence": event.sequence,
        "amount_minor": event.amount.minor,
        "currency": event.amount.currency,
    }
    if event.failure_code is not None:
        data["failure_code"] = event.failure_code
    return msgspec.json.encode({"type": event.type, "timestamp": event.occurred_at, "data": data})


def _moved(asked: Amount, *, moves: Moves) -> Amount:
    match moves:
        case Moves.AS_ASKED:
            return asked
        case Moves.ONE_LESS:
            return Amount(asked.minor - 1, asked.currency)
        case Moves.OTHER_CURRENCY:
            return Amount(asked.minor, "USD" if asked.currency == "EUR" else "EUR")


def _deliveries(events: Sequence[Event], *, scenario: Scenario, clock_factor: float) -> Iterator[Delivery]:
    told = [event for event in events if stage_of(event) not in (Stage.AUTHORIZED, Stage.PENDING)]

    def tell(event: Event, *, due_at: datetime, body: bytes | None = None) -> Delivery:
        return Delivery(
            event_id=event.event_id,
            object_id=event.object_id,
            body=body or webhook_body(event),
            signing=scenario.signing,
            due_at=due_at,
        )

    match scenario.webhooks:
        case Webhooks.NONE:
            return
        case Webhooks.ONCE | Webhooks.EARLY:
            yield from (tell(event, due_at=event.occurred_at) for event in told)
        case Webhooks.TWICE:
            yield from (tell(event, due_at=event.occurred_at) for event in told for _ in range(2))
        case Webhooks.REVERSED:
            due_at = max(event.occurred_at for event in events)
            for event in reversed(events):
                yield tell(event, due_at=due_at)
                due_at += timedelta(seconds=REVERSED_GAP * clock_factor)
        case Webhooks.OTHER_BODY:
            for event in told:
                yield tell(event, due_at=event.occurred_at)
                one_more = Amount(event.amount.minor + 1, event.amount.currency)
                yield tell(
                    event,
                    due_at=event.occurred_at + timedelta(seconds=OTHER_BODY_GAP * clock_factor),
                    body=webhook_body(replace(event, amount=one_more)),
                )
