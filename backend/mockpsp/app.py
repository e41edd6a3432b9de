"""MockPSP as an ASGI application: routes, and who may call them. What they take and answer is in shapes.py."""

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import psycopg
from litestar import Litestar, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ClientException, HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from psycopg_pool import PoolClosed, PoolTimeout
from uuid_utils.compat import uuid7

from backend.mockpsp import statement
from backend.mockpsp.books import Books
from backend.mockpsp.deliveries import Deliveries, Secrets, Target
from backend.mockpsp.desk import Desk, Taken
from backend.mockpsp.records import Amount, Kind, Order, Refusal
from backend.mockpsp.shapes import (
    OrderOut,
    OrdersOut,
    PaymentIn,
    PayoutIn,
    ProblemOut,
    RefundIn,
    StatementOut,
    order_out,
    statement_out,
)

AnyRequest = Request[Any, Any, Any]

BODY_BYTES_MAX: Final = 64 * 1024
# A caller that is left waiting gives up long before.
HANG_SECONDS_MAX: Final = 120.0

IdempotencyKey = Annotated[str, HeaderParameter(name="Idempotency-Key", min_length=1, max_length=255)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an installation of MockPSP is told. `clock_factor` 0.001 makes a second of its schedules a millisecond.

    `is_sending` False: webhooks are kept for whoever sends later.
    """

    database_url: str = field(repr=False)
    set_role: str | None
    api_key: str = field(repr=False)
    target: Target
    secrets: Secrets
    clock_factor: float = 1.0
    is_sending: bool = True


def build(config: Config) -> Litestar:
    """The application. Its life span opens the books and sends webhooks."""
    books = Books(config.database_url, set_role=config.set_role)
    deliveries = Deliveries(books, target=config.target, secrets=config.secrets, clock_factor=config.clock_factor)
    desk = Desk(books, deliveries, clock_factor=config.clock_factor)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await books.open()
        if config.is_sending:
            deliveries.start()
        try:
            yield
        finally:
            await deliveries.stop()
            await books.close()

    def require_key(connection: ASGIConnection[Any, Any, Any, Any], __: BaseRouteHandler) -> None:
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.encode(), config.api_key.encode()):
            raise Refusal(401, "unauthorized", "the API key is missing or wrong")

    return Litestar(
        route_handlers=[
            Router(
                "/payments", route_handlers=[post_payment, capture_payment, refund_payment, get_payment, find_payments]
            ),
            Router("/payouts", route_handlers=[post_payout, cancel_payout, get_payout, find_payouts]),
            list_transactions,
        ],
        guards=[require_key],
        dependencies={
            "books": Provide(lambda: books, sync_to_thread=False, use_cache=True),
            "desk": Provide(lambda: desk, sync_to_thread=False, use_cache=True),
        },
        exception_handlers={
            Refusal: _answer_refusal,
            ClientException: _answer_client_error,
            psycopg.DataError: _answer_data_error,
            psycopg.OperationalError: _answer_away,
            PoolTimeout: _answer_away,
            PoolClosed: _answer_away,
        },
        lifespan=[lifespan],
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,
    )


@post("/")
async def post_payment(
    request: AnyRequest, data: JSONBody[PaymentIn], idempotency_key: IdempotencyKey, desk: NamedDependency[Desk]
) -> Response[OrderOut | ProblemOut]:
    """Collect or reserve a payment, once per key."""
    order = Order(
        kind=Kind.PAYMENT,
        id=f"mpay_{uuid7().hex}",
        idempotency_key=idempotency_key,
        account=data.account,
        reference=data.reference,
        amount=Amount(data.amount_minor, data.currency),
        method=data.method,
        is_captured_at_once=data.capture,
    )
    return await _answer(request, await desk.take(order, now=datetime.now(UTC)))


@post("/{payment_id:str}/capture", status_code=200)
async def capture_payment(payment_id: FromPath[str], desk: NamedDependency[Desk]) -> OrderOut:
    """Collect a payment that was reserved."""
    return order_out(await desk.capture(payment_id, now=datetime.now(UTC)))


@post("/{payment_id:str}/refund", status_code=200)
async def refund_payment(
    payment_id: FromPath[str], data: JSONBody[RefundIn], idempotency_key: IdempotencyKey, desk: NamedDependency[Desk]
) -> OrderOut:
    """Give back what was captured, or a part of it."""
    amount = Amount(data.amount_minor, data.currency)
    now = datetime.now(UTC)
    return order_out(await desk.refund(payment_id, amount=amount, idempotency_key=idempotency_key, now=now))


@get("/{payment_id:str}")
async def get_payment(payment_id: FromPath[str], account: FromQuery[str], books: NamedDependency[Books]) -> OrderOut:
    """A payment as it is now."""
    return await _get(books, Kind.PAYMENT, payment_id, account=account)


@get("/")
async def find_payments(reference: FromQuery[str], account: FromQuery[str], books: NamedDependency[Books]) -> OrdersOut:
    """Payments with the merchant's reference."""
    return await _find(books, Kind.PAYMENT, reference, account=account)


@post("/")
async def post_payout(
    request: AnyRequest, data: JSONBody[PayoutIn], idempotency_key: IdempotencyKey, desk: NamedDependency[Desk]
) -> Response[OrderOut | ProblemOut]:
    """Send money, once per key."""
    order = Order(
        kind=Kind.PAYOUT,
        id=f"mpo_{uuid7().hex}",
        idempotency_key=idempotency_key,
        account=data.account,
        reference=data.reference,
        amount=Amount(data.amount_minor, data.currency),
        method=data.method,
        address=data.address,
    )
    return await _answer(request, await desk.take(order, now=datetime.now(UTC)))


@post("/{payout_id:str}/cancel", status_code=200)
async def cancel_payout(payout_id: FromPath[str], desk: NamedDependency[Desk]) -> OrderOut:
    """Stop a payout that is still pending."""
    return order_out(await desk.cancel(payout_id, now=datetime.now(UTC)))


@get("/{payout_id:str}")
async def get_payout(payout_id: FromPath[str], account: FromQuery[str], books: NamedDependency[Books]) -> OrderOut:
    """A payout as it is now."""
    return await _get(books, Kind.PAYOUT, payout_id, account=account)


@get("/")
async def find_payouts(reference: FromQuery[str], account: FromQuery[str], books: NamedDependency[Books]) -> OrdersOut:
    """Payouts with the merchant's reference."""
    return await _find(books, Kind.PAYOUT, reference, account=account)


@get("/transactions")
async def list_transactions(
    account: FromQuery[str],
    from_at: Annotated[datetime, QueryParameter(name="from")],
    to_at: Annotated[datetime, QueryParameter(name="to")],
    books: NamedDependency[Books],
    cursor: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=statement.LIMIT_MAX)] = statement.LIMIT_DEFAULT,
) -> StatementOut:
    """What really moved in [from, to), oldest first."""
    if from_at.tzinfo is None or to_at.tzinfo is None:
        raise Refusal(422, "invalid_request", "from and to need an offset")
    page = await statement.draw(
        books, account=account, from_at=from_at, to_at=to_at, cursor=cursor, limit=limit, now=datetime.now(UTC)
    )
    return statement_out(page)


async def _answer(request: AnyRequest, taken: Taken) -> Response[OrderOut | ProblemOut]:
    if taken.event is None or not taken.is_answered:
        await _hang(request)
        return Response(ProblemOut(code="timeout", message="gave up"), status_code=504)
    return Response(order_out(taken.event), status_code=200 if taken.is_replay else 201)


async def _hang(request: AnyRequest) -> None:
    """Keep the caller waiting until it leaves; no connection to the books is held meanwhile."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_SECONDS_MAX):
            while (await request.receive())["type"] != "http.disconnect":
                pass


async def _get(books: Books, kind: Kind, object_id: str, *, account: str) -> OrderOut:
    event = await books.find_latest(kind, object_id, account=account, now=datetime.now(UTC))
    if event is None:
        raise Refusal(404, "not_found", "the account has no such order")
    return order_out(event)


async def _find(books: Books, kind: Kind, reference: str, *, account: str) -> OrdersOut:
    events = await books.list_by_reference(kind, reference, account=account, now=datetime.now(UTC))
    return OrdersOut(items=[order_out(event) for event in events])


def _answer_refusal(_: AnyRequest, refusal: Refusal) -> Response[ProblemOut]:
    return Response(ProblemOut(code=refusal.code, message=refusal.message), status_code=refusal.status)


def _answer_client_error(_: AnyRequest, error: HTTPException) -> Response[ProblemOut]:
    """What the framework refuses; bad bodies and parameters (its 400) are requests that book nothing."""
    if error.status_code == 400:
        return Response(ProblemOut(code="invalid_request", message=error.detail), status_code=422)
    return Response(ProblemOut(code=f"status_{error.status_code}", message=error.detail), status_code=error.status_code)


def _answer_data_error(_: AnyRequest, __: Exception) -> Response[ProblemOut]:
    """Text or times in a query that PostgreSQL has no room for."""
    return Response(ProblemOut(code="invalid_request", message="not a value that the books can hold"), status_code=422)


def _answer_away(_: AnyRequest, __: Exception) -> Response[ProblemOut]:
    return Response(ProblemOut(code="unavailable", message="the books are away"), status_code=503)
