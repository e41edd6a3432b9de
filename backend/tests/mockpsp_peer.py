"""MockPSP for tests, in-process with its adapter, and the outside world that receives its webhooks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import httpx
import uvicorn
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from backend.app.domain.money import Money
from backend.app.psp.adapter import CaptureRequest, PayoutRequest
from backend.app.psp.mockpsp import MockPsp
from backend.app.psp.mockpsp_events import MockPspWebhooks
from backend.app.psp.webhook import Secret, SecretLabel, Verdict
from backend.mockpsp import app as mockpsp
from backend.mockpsp.deliveries import TIMEOUT_SECONDS, Secrets, Target
from backend.tests.api_client import MOCKPSP_API_KEY, WEBHOOK_SECRET, WEBHOOK_SECRET_PREVIOUS, alive

if TYPE_CHECKING:  # conftest.py imports tests' modules
    from backend.tests.conftest import Database

DEADLINE_SECONDS: Final = 30.0
# A second of MockPSP's schedules is a millisecond.
CLOCK_FACTOR: Final = 0.001
SECRETS: Final = (
    Secret(value=WEBHOOK_SECRET),
    Secret(value=WEBHOOK_SECRET_PREVIOUS, label=SecretLabel.PREVIOUS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A webhook as it came in, with the verdict of that moment."""

    headers: Mapping[str, str]
    body: bytes
    verdict: Verdict

    @property
    def event_id(self) -> str:
        """What it calls itself."""
        return self.headers["webhook-id"]


@dataclass(slots=True)
class Receiver:
    """Somebody's server: keeps what comes in, and answers by `answer`, called with the number of the delivery."""

    answer: Callable[[int], tuple[int, dict[str, str]]] = lambda _: (200, {})
    deliveries: list[Delivery] = field(default_factory=list)
    # Cleared: requests are received and never answered.
    is_answering: asyncio.Event = field(default_factory=asyncio.Event)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.is_answering.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        assert scope["type"] == ScopeType.HTTP, scope
        body = b""
        while True:
            message = await receive()
            assert message["type"] == "http.request", message
            body += message["body"]
            if not message["more_body"]:
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        verdict = MockPspWebhooks().verify_webhook(body, headers=headers, secrets=SECRETS, now=datetime.now(UTC))
        async with self._came:
            self.deliveries.append(Delivery(headers=headers, body=body, verdict=verdict))
            status, answer_headers = self.answer(len(self.deliveries))
            self._came.notify_all()
        await self.is_answering.wait()
        raw_headers = [(name.encode(), value.encode()) for name, value in answer_headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw_headers})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})

    async def until(self, count: int) -> list[Delivery]:
        """The deliveries, once there are that many."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._came:
            await self._came.wait_for(lambda: len(self.deliveries) >= count)
        return list(self.deliveries)

    def of(self, reference: str) -> list[Delivery]:
        """The deliveries about one reference, in the order in which they came."""
        return [delivery for delivery in self.deliveries if f'"{reference}"'.encode() in delivery.body]

    async def until_about(self, reference: str, count: int) -> list[Delivery]:
        """The deliveries about one reference, once there are that many."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._came:
            await self._came.wait_for(lambda: len(self.of(reference)) >= count)
        return self.of(reference)


async def eventually(ask: Callable[[], Awaitable[Any]], is_it: Callable[[Any], bool]) -> Any:
    """The first answer that it is; asked again and again until a deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        answer = await ask()
        while not is_it(answer):
            await asyncio.sleep(0.01)
            answer = await ask()
    return answer


def config(
    database: "Database",
    *,
    receiver: ASGIApp | None = None,
    clock_factor: float = CLOCK_FACTOR,
    timeout_seconds: float = TIMEOUT_SECONDS,
    is_sending: bool = True,
) -> mockpsp.Config:
    """An installation on a database. Without a receiver its webhooks reach nobody."""
    transport = None
    if receiver is not None:
        transport = httpx.ASGITransport(app=receiver, raise_app_exceptions=False)  # type: ignore[arg-type]  # the frameworks type ASGI differently
    return mockpsp.Config(
        database_url=database.service_url,
        set_role=None,
        api_key=MOCKPSP_API_KEY,
        # The port of discard: nothing listens there.
        target=Target(url="http://127.0.0.1:9/webhook", transport=transport, timeout_seconds=timeout_seconds),
        secrets=Secrets(current=WEBHOOK_SECRET, previous=WEBHOOK_SECRET_PREVIOUS),
        clock_factor=clock_factor,
        is_sending=is_sending,
    )


def adapter_to(app: Litestar, *, timeout_seconds: float = DEADLINE_SECONDS, api_key: str = MOCKPSP_API_KEY) -> MockPsp:
    """The product's adapter, calling the application without a network."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]  # as above
    return MockPsp("http://mockpsp", api_key=api_key, timeout_seconds=timeout_seconds, transport=transport)


@asynccontextmanager
async def running(installation: mockpsp.Config) -> AsyncIterator[Litestar]:
    """MockPSP with its life span."""
    app = mockpsp.build(installation)
    async with alive(app):
        yield app


@asynccontextmanager
async def adapter_on(database: "Database") -> AsyncIterator[MockPsp]:
    """An adapter to a MockPSP that sends no webhooks, for tests about something else."""
    async with running(config(database, is_sending=False)) as app:
        adapter = adapter_to(app)
        yield adapter
        await adapter.close()


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """An application behind a real socket of this machine; its URL."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not server.started:
            assert not serving.done(), "the server ended before it started"
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


def capture(
    method: str = "test",
    *,
    reference: UUID | None = None,
    key: str | None = None,
    amount: int = 10_00,
    currency: str = "USD",
    account: str = "a",
) -> CaptureRequest:
    """A request to collect; its key is made of the reference unless it is given."""
    reference = reference or uuid4()
    return CaptureRequest(
        account_id=account,
        reference=reference,
        money=Money(amount_minor=amount, currency=currency),
        method=method,
        idempotency_key=key or f"dep_{reference}",
    )


def payout(
    method: str = "test",
    *,
    reference: str | None = None,
    amount: int = 10_00,
    currency: str = "USD",
    account: str = "a",
) -> PayoutRequest:
    """A request to pay out."""
    return PayoutRequest(
        account_id=account,
        reference=reference or f"wd_{uuid4()}_1",
        money=Money(amount_minor=amount, currency=currency),
        method=method,
        address="TR00 0000",
    )
