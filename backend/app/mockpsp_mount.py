"""The one place that knows both sides: MockPSP inside our process in dev, or as a process of its own at MOCKPSP_URL.

Inside, the two still speak HTTP, without a socket: the adapter calls MockPSP's application, and MockPSP's webhooks call
ours. What neither can do is to reach for the other's objects.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx
from litestar import Litestar
from litestar.types import ASGIApp

from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories.engine import Engine
from backend.config import Settings
from backend.mockpsp import app as mockpsp
from backend.mockpsp.deliveries import Secrets, Target

MOUNT_PATH: Final = "/mockpsp"
WEBHOOK_PATH: Final = "/api/v1/payments/webhook/mockpsp"
# Names for what is called without a network; they show up in nothing but a request's host header.
INSIDE_URL: Final = "http://mockpsp"
OURSELVES_URL: Final = "http://hakem"


@dataclass(frozen=True, slots=True, kw_only=True)
class MockPspMount:
    """The adapter, None where there is no MockPSP; and MockPSP itself, None where it runs elsewhere or not at all."""

    adapter: MockPsp | None
    peer: Litestar | None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """For the length of a block: MockPSP's books and webhooks, if it is inside, and the adapter's connections."""
        async with AsyncExitStack() as stack:
            if self.peer is not None:
                await stack.enter_async_context(self.peer.lifespan())
            if self.adapter is not None:
                stack.push_async_callback(self.adapter.close)
            yield


def connect(settings: Settings, engine: Engine, *, ourselves: ASGIApp | None) -> MockPspMount:
    """MockPSP as the settings have it. `ourselves` takes its webhooks; None: they wait for a process that does."""
    if settings.mockpsp_url is not None:
        return MockPspMount(adapter=_adapter(settings, url=str(settings.mockpsp_url), transport=None), peer=None)
    if settings.env != "dev":
        return MockPspMount(adapter=None, peer=None)
    target = Target(url=OURSELVES_URL + WEBHOOK_PATH, transport=None if ourselves is None else _transport_to(ourselves))
    peer = mockpsp.build(config_of(settings, engine, target=target, is_sending=ourselves is not None))
    return MockPspMount(adapter=_adapter(settings, url=INSIDE_URL, transport=_transport_to(peer)), peer=peer)


def config_of(settings: Settings, engine: Engine, *, target: Target, is_sending: bool = True) -> mockpsp.Config:
    """What MockPSP is told of our settings: its database and the secrets that both sides share."""
    assert settings.mockpsp_api_key is not None, "with_dev_secrets or the operator has seen to it"
    assert settings.webhook_secret_mockpsp is not None, "likewise"
    previous = settings.webhook_secret_mockpsp_previous
    return mockpsp.Config(
        database_url=engine.service_url,
        set_role=engine.set_role,
        api_key=settings.mockpsp_api_key.get_secret_value(),
        target=target,
        secrets=Secrets(
            current=settings.webhook_secret_mockpsp.get_secret_value(),
            previous=None if previous is None else previous.get_secret_value(),
        ),
        clock_factor=settings.mockpsp_clock_factor,
        is_sending=is_sending,
    )


def _adapter(settings: Settings, *, url: str, transport: httpx.AsyncBaseTransport | None) -> MockPsp:
    assert settings.mockpsp_api_key is not None, "with_dev_secrets or ensure_startable has seen to it"
    return MockPsp(
        url,
        api_key=settings.mockpsp_api_key.get_secret_value(),
        timeout_seconds=settings.psp_timeout_seconds,
        transport=transport,
    )


def _transport_to(app: ASGIApp) -> httpx.ASGITransport:
    # What crashes over there is a 500 here, as it would be over a network.
    return httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]  # the frameworks type ASGI differently
