"""A browser without a window: signed-in people at the console of the running application, over ASGI and https.

Sessions are made by SQL, so that a test about a page does not depend on signing in; signing in has tests of its own.
"""

import html
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import httpx
from uuid_utils.compat import uuid7

from backend.app.domain.identity import Role
from backend.app.domain.people.console_session import form_token, hash_token
from backend.tests.factories import Owner
from backend.tests.fixtures import NO_PASSWORD, new_email

ORIGIN: Final = "https://hakem.test"
SESSION_COOKIE: Final = "__Host-hakem-session"
CONSOLE: Final = "/console"


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """Somebody at the console. token empty: not signed in."""

    http: httpx.AsyncClient
    token: str = ""
    admin_id: UUID | None = None
    email: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def _headers(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        cookies = {"Cookie": f"{SESSION_COOKIE}={self.token}"} if self.token else {}
        return {**cookies, **self.headers, **(extra or {})}

    async def get(self, path: str, *, headers: dict[str, str] | None = None, **query: object) -> httpx.Response:
        """GET a page under /console."""
        params = {name: str(value) for name, value in query.items()}
        return await self.http.get(f"{ORIGIN}{CONSOLE}{path}", params=params or None, headers=self._headers(headers))

    async def send(
        self, path: str, fields: Mapping[str, object] | None = None, *, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """POST a form as the console's own pages do."""
        return await self.raw(path, {**(fields or {}), "form_token": form_token(self.token)}, headers=headers)

    async def raw(
        self, path: str, fields: Mapping[str, object], *, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """POST exactly these fields; a list is several of one name."""
        data = {name: value if isinstance(value, list) else str(value) for name, value in fields.items()}
        sent = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        return await self.http.post(f"{ORIGIN}{CONSOLE}{path}", data=data, headers=self._headers(sent))


def nobody(http: httpx.AsyncClient) -> Browser:
    """Somebody who is not signed in."""
    return Browser(http=http)


async def sign_in(
    http: httpx.AsyncClient, owner: Owner, role: Role, tenant_id: UUID | None = None, *, language: str = "en"
) -> Browser:
    """A new admin with an open session; an owner has no tenant."""
    admin_id, email, token = uuid7(), new_email(role.value), secrets.token_urlsafe(32)
    await owner.execute(
        "INSERT INTO admins (id, tenant_id, email, password_hash, role) VALUES (%s, %s, %s, %s, %s)",
        (admin_id, tenant_id, email, NO_PASSWORD, role.value),
    )
    await owner.execute(
        "INSERT INTO console_sessions (token_hash, admin_id, opened_at, seen_at) "
        "VALUES (%s, %s, clock_timestamp(), clock_timestamp())",
        (hash_token(token), admin_id),
    )
    return Browser(http=http, token=token, admin_id=admin_id, email=email, headers={"Accept-Language": language})


def words(response: httpx.Response) -> str:
    """What a page says: its text without tags, spaces joined."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", response.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
