"""Deposits: opened before the provider is called, settled by whoever confirms first."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError
from backend.app.domain.idempotency import IdempotencyKeyReused, request_hash
from backend.app.domain.ledger import Balance, CurrencyMismatch, PlayerUnauthorized
from backend.app.domain.money import Money, format_amount


class DepositState(StrEnum):
    """Where a deposit stands."""

    PENDING_PROVIDER = "pending_provider"
    COMPLETED = "completed"
    FAILED = "failed"
    # The provider has given the money back.
    REFUNDED = "refunded"


class OpenCode(StrEnum):
    """What deposit_open_v1 says about one request."""

    OPENED = "opened"
    EXISTS = "exists"
    EXISTS_DIFFERENT = "exists_different"
    UNKNOWN_PLAYER = "unknown_player"
    PLAYER_DISABLED = "player_disabled"
    CURRENCY_MISMATCH = "currency_mismatch"
    KYC_DEPOSIT_LIMIT = "kyc_deposit_limit"


class KycDepositLimit(AppError):
    """403: an unverified player would exceed the day's cap."""

    error_code = "KYC_DEPOSIT_LIMIT"
    status = 403
    title = "The daily deposit limit of an unverified player would be exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDeposit:
    """A player wants to pay in. `deposit_id` is the id it gets if this request is the first with its key."""

    deposit_id: UUID
    tenant_id: UUID
    player_id: UUID
    money: Money
    method: str
    provider: str
    idempotency_key: str
    # The most an unverified player may deposit in a UTC day, in minor units of the money's currency.
    unverified_cap_minor: int

    @property
    def request_hash(self) -> bytes:
        """What makes a second request with the key the same request."""
        return request_hash("deposit", self.money.amount_minor, self.money.currency, self.method)


class OpenedDeposit(NamedTuple):
    """One row of deposit_open_v1, in the order of its columns."""

    event_no: int
    code: OpenCode
    deposit_id: UUID
    state: DepositState | None
    provider: str
    provider_ref: str | None
    provider_event_id: str | None
    failure_code: str | None
    created_at: datetime
    updated_at: datetime
    deposited_today_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """A deposit as the player sees it."""

    id: UUID
    player_id: UUID
    money: Money
    state: DepositState
    method: str
    provider: str
    provider_ref: str | None
    provider_event_id: str | None
    failure_code: str | None
    idempotency_key: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositAnswer:
    """What the player is told."""

    deposit: Deposit
    balance: Balance
    is_replay: bool


_REFUSALS: dict[OpenCode, type[AppError]] = {
    OpenCode.EXISTS_DIFFERENT: IdempotencyKeyReused,
    OpenCode.UNKNOWN_PLAYER: PlayerUnauthorized,
    OpenCode.PLAYER_DISABLED: PlayerUnauthorized,
    OpenCode.CURRENCY_MISMATCH: CurrencyMismatch,
}


def ensure_opened(command: OpenDeposit, opened: OpenedDeposit) -> None:
    """Return when the deposit's row exists, now or from before; else raise the refusal."""
    if opened.code in (OpenCode.OPENED, OpenCode.EXISTS):
        return
    if opened.code == OpenCode.KYC_DEPOSIT_LIMIT:
        currency = command.money.currency
        raise KycDepositLimit(
            daily_cap=format_amount(command.unverified_cap_minor, currency=currency),
            deposited_today=format_amount(opened.deposited_today_minor or 0, currency=currency),
        )
    raise _REFUSALS[opened.code]


def deposit_from(command: OpenDeposit, opened: OpenedDeposit) -> Deposit:
    """The deposit that a row and the request that made it describe."""
    assert opened.state is not None, "an opened deposit has a state"
    return Deposit(
        id=opened.deposit_id,
        player_id=command.player_id,
        money=command.money,
        state=DepositState(opened.state),
        method=command.method,
        provider=opened.provider,
        provider_ref=opened.provider_ref,
        provider_event_id=opened.provider_event_id,
        failure_code=opened.failure_code,
        idempotency_key=command.idempotency_key,
        created_at=opened.created_at,
        updated_at=opened.updated_at,
    )
