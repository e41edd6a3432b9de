"""What a finance desk looks at: queues, a page of withdrawals with the people in them, and one with all about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.payments.finance import FinanceWithdrawal, WithdrawalDetail
from backend.app.domain.player import Player
from backend.app.domain.withdrawal import WithdrawalState

# What waits for a person or a provider, in the order in which a withdrawal gets there.
QUEUE_STATES: Final = (
    WithdrawalState.REQUESTED,
    WithdrawalState.AWAITING_SECOND_APPROVAL,
    WithdrawalState.APPROVED,
    WithdrawalState.PROCESSING,
    WithdrawalState.FAILED,
)
# A queue is counted so far in each tenant, a list so far in all: beyond it is "more than".
COUNTED_MAX: Final = 10_000


class QueueSum(NamedTuple):
    """Part of a queue: what is in it of one currency, in the order of the query's columns. amount: minor units."""

    state: WithdrawalState
    currency: str
    withdrawals: int
    amount: int
    oldest_at: datetime
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Withdrawals that wait in one state. oldest_at None: none waits. is_cut: there are more than were counted."""

    state: WithdrawalState
    withdrawals: int
    sums: tuple[QueueSum, ...]
    oldest_at: datetime | None
    is_cut: bool


class PersonName(NamedTuple):
    """Who a player is, in the order of the query's columns."""

    id: UUID
    username: str
    email: str
    tenant_name: str


class WebhookSeen(NamedTuple):
    """A provider's word about one payment, in the order of the query's columns."""

    id: UUID
    provider: str
    account_id: str
    provider_event_id: str | None
    signature_status: str
    signature_result: str
    state: str
    event_type: str | None
    effect: str | None
    detail: str | None
    received_at: datetime
    applied_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskPage:
    """A page of withdrawals. counted: how many match, at most COUNTED_MAX + 1, which means more than COUNTED_MAX."""

    withdrawals: Sequence[FinanceWithdrawal]
    has_more: bool
    counted: int
    people: Mapping[UUID, PersonName]
    queues: Sequence[Queue]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskSelection:
    """Some withdrawals that were named, and their people."""

    withdrawals: Sequence[FinanceWithdrawal]
    people: Mapping[UUID, PersonName]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskDetail:
    """One withdrawal with its history, what providers said, and its player with both sides."""

    history: WithdrawalDetail
    webhooks: Sequence[WebhookSeen]
    player: Player
    tenant_name: str


def gather_queues(sums: Sequence[QueueSum]) -> tuple[Queue, ...]:
    """Every queue, the empty ones too, in the order of QUEUE_STATES."""
    queues = []
    for state in QUEUE_STATES:
        of_state = tuple(each for each in sums if each.state == state)
        queues.append(
            Queue(
                state=state,
                withdrawals=sum(each.withdrawals for each in of_state),
                sums=of_state,
                oldest_at=min((each.oldest_at for each in of_state), default=None),
                is_cut=any(each.is_cut for each in of_state),
            )
        )
    return tuple(queues)
