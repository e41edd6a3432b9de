"""Withdrawals: a player's request, the hold it places, and what is answered."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from backend.app.domain.idempotency import request_hash
from backend.app.domain.ledger import Balance, PlayerUnauthorized, PostCode, PostResult, balance_after, ensure_posted
from backend.app.domain.money import Money


class WithdrawalState(StrEnum):
    """Where a withdrawal stands."""

    REQUESTED = "requested"
    AWAITING_SECOND_APPROVAL = "awaiting_second_approval"
    APPROVED = "approved"
    PROCESSING = "processing"
    PAID = "paid"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWithdrawal:
    """A player asks for money. `withdrawal_id` is the id it gets if this request is the first with its key."""

    withdrawal_id: UUID
    tenant_id: UUID
    player_id: UUID
    money: Money
    method: str
    address: str
    idempotency_key: str

    @property
    def request_hash(self) -> bytes:
        """What makes a second request with the key the same request."""
        return request_hash("withdraw", self.money.amount_minor, self.money.currency, self.method, self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A withdrawal as the player sees it."""

    id: UUID
    player_id: UUID
    money: Money
    state: WithdrawalState
    method: str
    address: str
    idempotency_key: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalAnswer:
    """What the player is told; the same again for the same key."""

    withdrawal: Withdrawal
    balance: Balance
    is_replay: bool


def settle_request(command: RequestWithdrawal, result: PostResult) -> WithdrawalAnswer:
    """The answer to a request that is decided and committed. Raises the refusal when there was one.

    A replay gives the first answer again, as it was then: state `requested`, and the balance right after the hold.
    """
    if result.code == PostCode.UNKNOWN_PLAYER:
        # The player asks with a token of their own: who is gone is nobody, not somebody who was not found.
        raise PlayerUnauthorized
    ensure_posted(result, money=command.money)
    assert result.reference is not None, "a posted withdrawal refers to its row"
    withdrawal = Withdrawal(
        id=result.reference,
        player_id=command.player_id,
        money=command.money,
        state=WithdrawalState.REQUESTED,
        method=command.method,
        address=command.address,
        idempotency_key=command.idempotency_key,
        created_at=result.recorded_at,
        updated_at=result.recorded_at,
    )
    return WithdrawalAnswer(
        withdrawal=withdrawal,
        balance=balance_after(result, currency=command.money.currency),
        is_replay=result.is_replay,
    )
