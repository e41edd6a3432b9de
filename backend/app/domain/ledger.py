"""The ledger's vocabulary: events that go through the one door, and what the door answers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError
from backend.app.domain.idempotency import IdempotencyKeyReused
from backend.app.domain.money import Money, format_amount


class TransactionType(StrEnum):
    """What a ledger transaction is for; debit and credit accounts are declared in `ledger_transaction_types`."""

    OPENING_BALANCE = "opening_balance"
    DEPOSIT_CAPTURED = "deposit_captured"
    DEPOSIT_REFUNDED = "deposit_refunded"
    WITHDRAW_REQUESTED = "withdraw_requested"
    WITHDRAW_REJECTED = "withdraw_rejected"
    WITHDRAW_CANCELLED = "withdraw_cancelled"
    WITHDRAW_FAILED = "withdraw_failed"
    WITHDRAW_DISPATCHED = "withdraw_dispatched"
    WITHDRAW_PAID = "withdraw_paid"
    PAYOUT_FAILED = "payout_failed"
    WITHDRAW_RETURNED = "withdraw_returned"
    BACKFILL_ADJUSTMENT = "backfill_adjustment"
    MANUAL_ADJUSTMENT = "manual_adjustment"
    CLEARING_ADJUSTMENT = "clearing_adjustment"


class Arbiter(StrEnum):
    """The side whose balance decides: the legacy column, or the snapshot folded from the ledger."""

    LEGACY = "legacy"
    LEDGER = "ledger"


class PostCode(StrEnum):
    """The door's answer to one event; see functions/ledger_types_v1.sql."""

    APPLIED = "applied"
    EXISTS = "exists"
    EXISTS_DIFFERENT = "exists_different"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    INSUFFICIENT_HELD = "insufficient_held"
    KYC_REQUIRED = "kyc_required"
    PLAYER_DISABLED = "player_disabled"
    UNKNOWN_PLAYER = "unknown_player"
    CURRENCY_MISMATCH = "currency_mismatch"
    INVALID_EVENT = "invalid_event"
    BALANCE_OUT_OF_RANGE = "balance_out_of_range"
    MODE_REFUSED = "mode_refused"
    JOURNAL_REFUSED = "journal_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEvent:
    """One transfer to post. Idempotent by (tenant, player, type, idempotency_key), and by provider event if it has one.

    The accounts may be left out for a type that declares one pair only. Consecutive events with the same journal_id
    are posted all or none.
    """

    tenant_id: UUID
    player_id: UUID
    type: TransactionType
    money: Money
    idempotency_key: str
    request_hash: bytes
    reference: UUID | None = None
    provider: str | None = None
    provider_ref: str | None = None
    provider_event_id: str | None = None
    debit_account: str | None = None
    credit_account: str | None = None
    journal_id: UUID | None = None
    occurred_at: datetime | None = None
    is_by_player: bool = False


class PostResult(NamedTuple):
    """What the door did with one event, in the order of ledger_post_v1's columns. Amounts are minor units.

    Before-balances are None on a replay. Where shadow writing is off, ledger_ok is None and the ledger's balances are
    the snapshot as it was left (zero without one).
    """

    event_no: int
    code: PostCode
    is_replay: bool
    transaction_id: UUID | None
    reference: UUID | None
    recorded_at: datetime
    arbiter: Arbiter | None
    epoch: int | None
    legacy_ok: bool | None
    ledger_ok: bool | None
    wallet_opened: bool
    wallet_version: int | None
    legacy_available_before: int | None
    legacy_held_before: int | None
    ledger_available_before: int | None
    ledger_pending_before: int | None
    legacy_available_after: int | None
    legacy_held_after: int | None
    ledger_available_after: int | None
    ledger_pending_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What the arbiter says a player has, in minor units."""

    currency: str
    available_minor: int
    held_minor: int

    @property
    def total_minor(self) -> int:
        """Available and held together."""
        return self.available_minor + self.held_minor


class InsufficientFunds(AppError):
    """400: the arbiter's balance does not cover the amount."""

    error_code = "INSUFFICIENT_FUNDS"
    status = 400
    title = "The available balance does not cover the amount"


class CurrencyMismatch(AppError):
    """400: the wallet is in another currency."""

    error_code = "CURRENCY_MISMATCH"
    status = 400
    title = "The player's wallet is in another currency"


class BalanceOutOfRange(AppError):
    """409: a balance is beyond what can be computed with safely; an operator has to look at the player."""

    error_code = "BALANCE_OUT_OF_RANGE"
    status = 409
    title = "A balance of the player is out of range"


class LedgerModeRefused(AppError):
    """503: the tenant is enforced while shadow writing is off; nothing may move until that is resolved."""

    error_code = "LEDGER_MODE_REFUSED"
    status = 503
    title = "The tenant's ledger flags contradict each other"


class PlayerNotFound(AppError):
    """404: no such player in this tenant."""

    error_code = "PLAYER_NOT_FOUND"
    status = 404
    title = "No such player"


class PlayerUnauthorized(AppError):
    """401: the token's player is disabled or gone."""

    error_code = "UNAUTHORIZED"
    status = 401
    title = "The account is not active"


class KycRequired(AppError):
    """403: money may leave only for a verified player."""

    error_code = "KYC_REQUIRED_FOR_WITHDRAWAL"
    status = 403
    title = "The player's identity has to be verified before a withdrawal"


_REFUSALS: dict[PostCode, type[AppError]] = {
    PostCode.EXISTS_DIFFERENT: IdempotencyKeyReused,
    PostCode.KYC_REQUIRED: KycRequired,
    PostCode.PLAYER_DISABLED: PlayerUnauthorized,
    PostCode.UNKNOWN_PLAYER: PlayerNotFound,
    PostCode.CURRENCY_MISMATCH: CurrencyMismatch,
    PostCode.BALANCE_OUT_OF_RANGE: BalanceOutOfRange,
    PostCode.MODE_REFUSED: LedgerModeRefused,
}


def ensure_posted(result: PostResult, *, money: Money) -> None:
    """Return when the event is in the ledger, now or before; else raise the refusal that the code stands for.

    The line between a value and an exception: only called after the refusal is committed.
    """
    if result.code in (PostCode.APPLIED, PostCode.EXISTS):
        return
    if result.code in (PostCode.INSUFFICIENT_FUNDS, PostCode.INSUFFICIENT_HELD):
        available_minor, _ = arbiter_balance_after(result)
        raise InsufficientFunds(
            f"{format_amount(money.amount_minor, currency=money.currency)} {money.currency} asked for, "
            f"{format_amount(available_minor, currency=money.currency)} available",
            available_real=format_amount(available_minor, currency=money.currency),
            is_replay=result.is_replay,
        )
    refusal = _REFUSALS.get(result.code)
    assert refusal is not None, f"the door refused an event that the service built: {result}"
    raise refusal


def arbiter_balance_after(result: PostResult) -> tuple[int, int]:
    """(available, held) in minor units after the event, as the side says that decided it."""
    if result.arbiter == Arbiter.LEDGER:
        available, held = result.ledger_available_after, result.ledger_pending_after
    else:
        available, held = result.legacy_available_after, result.legacy_held_after
    assert available is not None, f"no balance in {result}"
    assert held is not None, f"no balance in {result}"
    return available, held


def available_taken(result: PostResult) -> int:
    """How much the arbiter's available balance fell, in minor units; by a whole journal, given its last line."""
    available_after, _ = arbiter_balance_after(result)
    is_ledger = result.arbiter == Arbiter.LEDGER
    available_before = result.ledger_available_before if is_ledger else result.legacy_available_before
    assert available_before is not None, f"a replay says nothing of what was before: {result}"
    return available_before - available_after


def balance_after(result: PostResult, *, currency: str) -> Balance:
    """The arbiter's balance right after the event; on a replay, as it was then."""
    available_minor, held_minor = arbiter_balance_after(result)
    return Balance(currency=currency, available_minor=available_minor, held_minor=held_minor)
