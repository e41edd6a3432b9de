"""The application as a client sees it: the real ASGI application with its life span, and players who hold tokens."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
from litestar import Litestar
from pydantic import SecretStr

from backend.app import main
from backend.app.api.tokens import Tokens
from backend.app.domain.identity import PlayerIdentity
from backend.app.psp.adapter import PspAdapter
from backend.tests.factories import Player, engine_of, new_key, settings_of

if TYPE_CHECKING:  # conftest.py makes its fixtures with this module
    from backend.tests.conftest import Database

JWT_SECRET: Final = "signs-the-tokens-of-tests-and-nothing-else"
WALLET: Final = "/api/v1/player/wallet"
REPLAYED: Final = "Idempotent-Replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletClient:
    """A player with a client, on one or another server. Amounts are decimal strings."""

    http: httpx.AsyncClient
    player: Player
    secret: str = JWT_SECRET

    async def withdraw(self, amount: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """Ask for money."""
        asked = {"amount": amount, "method": "test_bank", "address": "TR00 0000", **body}
        return await self._post("withdraw", asked, key=key)

    async def deposit(self, amount: str, *, key: str | None = None, **body: Any) -> httpx.Response:
        """Pay in."""
        return await self._post("deposit", {"amount": amount, "method": "test", **body}, key=key)

    async def balance(self) -> tuple[str, str]:
        """(available, held) as the API tells them."""
        response = await self.http.get(f"{WALLET}/balance", headers=self._headers())
        assert response.status_code == httpx.codes.OK, response.text
        document = response.json()
        return document["available_real"], document["held_real"]

    async def _post(self, what: str, body: dict[str, Any], *, key: str | None) -> httpx.Response:
        headers = {**self._headers(), "Idempotency-Key": key or new_key()}
        return await self.http.post(f"{WALLET}/{what}", json=body, headers=headers)

    def _headers(self) -> dict[str, str]:
        identity = PlayerIdentity(
            tenant_id=self.player.tenant_id, player_id=self.player.id, currency=self.player.currency
        )
        return {"Authorization": f"Bearer {Tokens(self.secret).issue_player(identity, now=datetime.now(UTC))}"}


@asynccontextmanager
async def serving(
    database: "Database", *, adapters: Mapping[str, PspAdapter] | None = None, **values: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on a database, with these settings and the defaults, and providers of the test's."""
    settings = settings_of(database, jwt_secret=SecretStr(JWT_SECRET), **values)
    app = main.build(settings, engine_of(database), adapters=adapters)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # the frameworks type ASGI differently
    async with _alive(app), httpx.AsyncClient(transport=transport, base_url="http://hakem") as client:
        yield client


@asynccontextmanager
async def _alive(app: Litestar) -> AsyncIterator[None]:
    """The application's life span in a task of its own: a fixture is torn down by another task than set it up."""
    is_started, is_over = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            is_started.set()
            await is_over.wait()

    life = asyncio.create_task(live())
    life.add_done_callback(lambda _: is_started.set())
    try:
        await is_started.wait()
        if not life.done():
            yield
    finally:
        is_over.set()
        await life
