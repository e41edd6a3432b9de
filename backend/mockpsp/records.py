"""What MockPSP's books are made of. Amounts are minor units, times aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """A payment brings money in, a payout sends it out."""

    PAYMENT = "payment"
    PAYOUT = "payout"


class Stage(StrEnum):
    """How far a payment or payout is, whatever it is called there."""

    # Of payments only: reserved, to be captured by a request of its own.
    AUTHORIZED = "authorized"
    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"
    RETURNED = "returned"


class Signing(StrEnum):
    """How a delivery is signed."""

    GENUINE = "genuine"
    # The first attempt is signed with a secret that nobody has.
    BAD_FIRST = "bad_first"
    # The first attempt is signed ten minutes too early.
    OLD_TIMESTAMP_FIRST = "old_timestamp_first"
    PREVIOUS_SECRET = "previous_secret"


class Amount(NamedTuple):
    """An amount in minor units of a currency."""

    minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a merchant asked for, under the id that we gave it. Payments have no address."""

    kind: Kind
    id: str
    idempotency_key: str
    account: str
    reference: str
    amount: Amount
    method: str
    address: str = ""
    is_captured_at_once: bool = True

    def is_same_request(self, other: "Order") -> bool:
        """Whether both ask for the same; the key was made for this and nothing else."""
        return (self.kind, self.account, self.reference, self.amount) == (
            other.kind,
            other.account,
            other.reference,
            other.amount,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to an order, or will at `occurred_at`. `amount` is what really moved.

    `movement` is the word of the statement for it, None where no money moved. `idempotency_key` is set when a request
    of its own made the event.
    """

    event_id: str
    kind: Kind
    object_id: str
    account: str
    reference: str
    sequence: int
    type: str
    status: str
    amount: Amount
    movement: str | None
    failure_code: str | None
    idempotency_key: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A webhook to send: its exact bytes, named by its event."""

    event_id: str
    object_id: str
    body: bytes
    signing: Signing
    due_at: datetime


class Claimed(NamedTuple):
    """A delivery that is ours to attempt, for the `attempt`th time (from 1)."""

    delivery_id: int
    event_id: str
    object_id: str
    body: bytes
    signing: Signing
    attempt: int


class Line(NamedTuple):
    """One movement as the statement shows it, in the order of its columns."""

    event_id: str
    object_id: str
    reference: str
    movement: str
    status: str
    amount_minor: int
    currency: str
    occurred_at: datetime


class Refusal(Exception):
    """What MockPSP answers instead: an HTTP status and a code that programs read."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class KeyConflict(Refusal):
    """409: the key was used for something else."""

    def __init__(self) -> None:
        super().__init__(409, "idempotency_key_conflict", "the idempotency key was used for another request")
