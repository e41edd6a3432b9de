"""People over HTTP: admins and players with tokens, and tenants of their own for one test.

Rows are made by SQL (factories.py) and tokens with the server's secret, so that a test about one thing does not depend
on signing in; signing in has tests of its own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from backend.app.api.tokens import Tokens
from backend.app.domain.identity import PlayerIdentity, Role
from backend.tests.api_client import JWT_SECRET
from backend.tests.factories import Owner, Player

API: Final = "/api/v1"
# No password has this hash.
NO_PASSWORD: Final = "nobody signs in with this"


def new_email(name: str = "someone") -> str:
    """An address that no other test uses."""
    return f"{name}-{uuid4().hex}@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who calls the API; `headers` say who."""

    http: httpx.AsyncClient
    headers: dict[str, str]
    id: UUID | None = None
    tenant_id: UUID | None = None
    email: str = ""

    async def get(self, path: str, **query: Any) -> httpx.Response:
        """GET with these query parameters."""
        return await self.http.get(API + path, params=query, headers=self.headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST a JSON body."""
        return await self.http.post(API + path, json=body, headers={**self.headers, **headers})

    async def patch(self, path: str, body: Any = None) -> httpx.Response:
        """PATCH with a JSON body."""
        return await self.http.patch(API + path, json=body, headers=self.headers)

    def about(self, tenant_id: object) -> "Caller":
        """The same somebody, sending X-Tenant-ID."""
        return Caller(
            http=self.http,
            headers={**self.headers, "X-Tenant-ID": str(tenant_id)},
            id=self.id,
            tenant_id=self.tenant_id,
            email=self.email,
        )


class People:
    """Makes callers for tests."""

    def __init__(self, http: httpx.AsyncClient, owner: Owner) -> None:
        self.http = http
        self._owner = owner

    def nobody(self, **headers: str) -> Caller:
        """Somebody without a token, or with these headers."""
        return Caller(http=self.http, headers=headers)

    def bearer(self, token: str) -> Caller:
        """Somebody with this token."""
        return self.nobody(Authorization=f"Bearer {token}")

    async def admin(self, role: Role, tenant_id: UUID | None = None, *, is_active: bool = True) -> Caller:
        """A new admin with a token; an owner has no tenant."""
        admin_id, email = uuid7(), new_email(role.value)
        await self._owner.execute(
            "INSERT INTO admins (id, tenant_id, email, password_hash, role, is_active) VALUES (%s, %s, %s, %s, %s, %s)",
            (admin_id, tenant_id, email, NO_PASSWORD, role.value, is_active),
        )
        token = Tokens(JWT_SECRET).issue_admin(admin_id, now=datetime.now(UTC))
        return Caller(
            http=self.http,
            headers={"Authorization": f"Bearer {token}"},
            id=admin_id,
            tenant_id=tenant_id,
            email=email,
        )

    def player(self, player: Player) -> Caller:
        """A player with a token."""
        identity = PlayerIdentity(tenant_id=player.tenant_id, player_id=player.id, currency=player.currency)
        return self.bearer(Tokens(JWT_SECRET).issue_player(identity, now=datetime.now(UTC)))


@pytest.fixture(scope="session")
def people(http: httpx.AsyncClient, owner: Owner) -> People:
    """Makes admins and players who call that application."""
    return People(http, owner)


def assert_problem(response: httpx.Response, status: int, error_code: str) -> dict[str, Any]:
    """The problem document, once it is sure that it is this one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["error_code"] == error_code, document
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    return document
