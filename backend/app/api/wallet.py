"""A player's own wallet: balance, deposit, withdraw, transactions."""

from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody, QueryParameter
from uuid_utils.compat import uuid7

from backend.app.api.guards import player_with_key, require_player
from backend.app.api.problems import REPLAYED_HEADER
from backend.app.api.responses import JsonAnswer, also, problems
from backend.app.api.schemas import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    OFFSET_MAX,
    PRINTABLE,
    BalanceOut,
    CurrencyCode,
    Method,
    Page,
    PageMeta,
    RawAmount,
    TransactionOut,
    WalletAnswer,
    balance_out,
)
from backend.app.domain import money
from backend.app.domain.deposit import Deposit, DepositAnswer, OpenDeposit
from backend.app.domain.identity import PlayerIdentity
from backend.app.domain.withdrawal import RequestWithdrawal, Withdrawal, WithdrawalAnswer
from backend.app.psp import mockpsp
from backend.app.services.payments.deposits import Deposits
from backend.app.services.wallets import Wallets
from backend.app.services.withdrawals import Withdrawals

AnyRequest = Request[Any, Any, Any]

IdempotencyKey = Annotated[
    str,
    HeaderParameter(name="Idempotency-Key", min_length=1, max_length=512, description="1-255 visible ASCII characters"),
]
Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)]
Offset = Annotated[int, QueryParameter(ge=0, le=OFFSET_MAX)]

# The two requests that come by the thousand have one dependency each: for several, the framework starts a group of
# tasks, which costs a quarter of the whole request.
_REPLAYED: Final = ((REPLAYED_HEADER.lower().encode(), b"true"),)


class DepositIn(msgspec.Struct, kw_only=True):
    """A deposit request."""

    amount: RawAmount
    method: Method
    currency: CurrencyCode | None = None


class WithdrawIn(msgspec.Struct, kw_only=True):
    """A withdrawal request. `address` is where the money goes, in the method's own notation."""

    amount: RawAmount
    method: Method
    address: Annotated[
        str, msgspec.Meta(min_length=1, max_length=256, pattern=PRINTABLE, examples=["DE89370400440532013000"])
    ]
    currency: CurrencyCode | None = None


@get(
    "/balance",
    guards=[require_player],
    responses=problems(401),
    summary="The wallet as the arbiter sees it",
)
async def get_balance(request: AnyRequest, wallets: NamedDependency[Wallets]) -> BalanceOut:
    """The player's balance."""
    player: PlayerIdentity = request.user
    return balance_out(await wallets.balance(player.tenant_id, player_id=player.player_id))


@post(
    "/deposit",
    before_request=player_with_key,
    responses=also(200, WalletAnswer, "The same request was answered before") | problems(400, 401, 403, 409, 413, 422),
    summary="Pay in",
)
async def post_deposit(
    request: AnyRequest,
    data: JSONBody[DepositIn],
    idempotency_key: IdempotencyKey,  # noqa: ARG001 - documents the header; player_with_key has parsed it
    deposits: NamedDependency[Deposits],
) -> JsonAnswer[WalletAnswer]:
    """Take a deposit to the provider; 201 with its state, or 200 when the key was used for the same deposit before."""
    player: PlayerIdentity = request.user
    currency = money.parse_currency(data.currency or player.currency)
    answer = await deposits.deposit(
        OpenDeposit(
            deposit_id=uuid7(),
            tenant_id=player.tenant_id,
            player_id=player.player_id,
            money=money.parse_json_amount(bytes(data.amount), currency=currency),
            method=data.method,
            provider=mockpsp.PROVIDER,
            idempotency_key=request.scope["idempotency_key"],  # type: ignore[typeddict-item]  # set there
            unverified_cap_minor=deposits.unverified_cap_minor(currency),
        )
    )
    return _answer(answer, _deposit_out(answer.deposit))


@post(
    "/withdraw",
    before_request=player_with_key,
    responses=also(200, WalletAnswer, "The same request was answered before") | problems(400, 401, 403, 409, 413, 422),
    summary="Ask for money",
)
async def post_withdraw(
    request: AnyRequest,
    data: JSONBody[WithdrawIn],
    idempotency_key: IdempotencyKey,  # noqa: ARG001 - documents the header; player_with_key has parsed it
    withdrawals: NamedDependency[Withdrawals],
) -> JsonAnswer[WalletAnswer]:
    """Place a hold on the amount; 201, or 200 when the key was used for the same request before."""
    player: PlayerIdentity = request.user
    currency = money.parse_currency(data.currency or player.currency)
    answer = await withdrawals.request(
        RequestWithdrawal(
            withdrawal_id=uuid7(),
            tenant_id=player.tenant_id,
            player_id=player.player_id,
            money=money.parse_json_amount(bytes(data.amount), currency=currency),
            method=data.method,
            address=data.address,
            idempotency_key=request.scope["idempotency_key"],  # type: ignore[typeddict-item]  # set there
        )
    )
    return _answer(answer, _withdrawal_out(answer.withdrawal))


@get(
    "/transactions",
    guards=[require_player],
    responses=problems(401, 422),
    summary="Deposits and withdrawals, newest first",
)
async def list_transactions(
    request: AnyRequest, wallets: NamedDependency[Wallets], limit: Limit = LIMIT_DEFAULT, offset: Offset = 0
) -> Page[TransactionOut]:
    """A page of the player's deposits and withdrawals."""
    player: PlayerIdentity = request.user
    movements, total = await wallets.list_money(
        player.tenant_id, player_id=player.player_id, limit=limit, offset=offset
    )
    items = [
        TransactionOut(
            **{
                **movement,
                "amount": money.format_amount(movement["amount"], currency=movement["currency"]),
            }
        )
        for movement in movements
    ]
    return Page(items=items, meta=PageMeta(total=total, limit=limit, offset=offset))


def _answer(answer: DepositAnswer | WithdrawalAnswer, transaction: TransactionOut) -> JsonAnswer[WalletAnswer]:
    return JsonAnswer(
        WalletAnswer(transaction=transaction, balance=balance_out(answer.balance)),
        status_code=HTTPStatus.OK if answer.is_replay else HTTPStatus.CREATED,
        headers=_REPLAYED if answer.is_replay else (),
    )


def _deposit_out(deposit: Deposit) -> TransactionOut:
    return TransactionOut(
        id=deposit.id,
        type="deposit",
        amount=money.format_amount(deposit.money.amount_minor, currency=deposit.money.currency),
        currency=deposit.money.currency,
        state=deposit.state.value,
        method=deposit.method,
        idempotency_key=deposit.idempotency_key,
        provider=deposit.provider,
        provider_ref=deposit.provider_ref,
        provider_event_id=deposit.provider_event_id,
        created_at=deposit.created_at,
        updated_at=deposit.updated_at,
        failure_code=deposit.failure_code,
    )


def _withdrawal_out(withdrawal: Withdrawal) -> TransactionOut:
    return TransactionOut(
        id=withdrawal.id,
        type="withdrawal",
        amount=money.format_amount(withdrawal.money.amount_minor, currency=withdrawal.money.currency),
        currency=withdrawal.money.currency,
        state=withdrawal.state.value,
        method=withdrawal.method,
        idempotency_key=withdrawal.idempotency_key,
        provider=None,
        provider_ref=None,
        provider_event_id=None,
        created_at=withdrawal.created_at,
        updated_at=withdrawal.updated_at,
        address=withdrawal.address,
    )


router: Final = Router(
    "/player/wallet",
    route_handlers=[get_balance, post_deposit, post_withdraw, list_transactions],
    tags=["player wallet"],
    security=[{"bearer": []}],
)
