"""One request to the console: who asks, from which session, and whether a form is really ours.

Guards do all of it before a handler runs, for every route alike, so that no handler can forget it.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import HttpMethod, Request, post, route
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

from backend.app.console import cookies
from backend.app.console.access import Page, may
from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.identity import AdminIdentity, Forbidden
from backend.app.domain.people.console_session import ConsoleSession, is_form_token
from backend.app.services.people.console_sessions import ConsoleSessions

AnyRequest = Request[Any, Any, Any]
AnyConnection = ASGIConnection[Any, Any, Any, Any]

FORM_FIELD: Final = "form_token"
FORM_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
READING: Final = (HttpMethod.GET, HttpMethod.HEAD)
# Where a route says which page it belongs to; read by tests.
PAGE_OPTION: Final = "console_page"
Form = Mapping[str, str]
Guard = Callable[[AnyConnection, BaseRouteHandler], Awaitable[None]]


class SignInNeeded(Exception):
    """Nobody is signed in, or not any more."""


class FormRefused(Exception):
    """A form that is not one of ours, or of another session: nothing was done."""


def page(path: str, *, of: Page, is_live: bool = False) -> Callable[..., HTTPRouteHandler]:
    """Declare a page, or a part of one, for the roles that `of` allows.

    is_live: fetched by the page itself again and again, so it keeps nobody signed in.
    """
    return route(path, http_method=list(READING), guards=[require(of, is_activity=not is_live)], opt={PAGE_OPTION: of})


def action(path: str, *, of: Page) -> Callable[..., HTTPRouteHandler]:
    """Declare what a form does, for the roles that `of` allows."""
    return post(path, guards=[require(of)], opt={PAGE_OPTION: of})


def require(page_: Page, *, is_activity: bool = True) -> Guard:
    """A guard that lets signed-in admins pass whose role may; the AdminIdentity is then `request.user`.

    Raises SignInNeeded, FormRefused for a form that does not prove that it is ours, Forbidden.
    """

    async def guard(connection: AnyConnection, _: BaseRouteHandler) -> None:
        session = await _load_session(connection, is_activity=is_activity)
        if session is None:
            raise SignInNeeded
        if not is_reading(connection):
            await _ensure_own_form(connection, secret=session.token)
        if not may(session.admin.role, page_):
            raise Forbidden

    return guard


async def welcome(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard for what works with and without a session: signing in, and preferences. Raises FormRefused."""
    session = await _load_session(connection, is_activity=False)
    if not is_reading(connection):
        secret = session.token if session is not None else cookies.read_secret(connection, cookies.FORM)
        await _ensure_own_form(connection, secret=secret)


def is_reading(connection: AnyConnection) -> bool:
    """Whether the request only reads; any other has to carry the proof that a form of ours made it."""
    assert isinstance(connection, Request), "a route over HTTP gets its request"
    return connection.method in READING


def session_of(connection: AnyConnection) -> ConsoleSession | None:
    """The session that the guard found."""
    session: ConsoleSession | None = connection.scope.get("console_session")  # type: ignore[assignment]  # ours
    return session


def own_session(request: AnyRequest) -> ConsoleSession:
    """The session, where the guard asks for one."""
    session = session_of(request)
    assert session is not None, "the guard has seen to it"
    return session


def admin_of(request: AnyRequest) -> AdminIdentity:
    """Who asks, where the guard asks for somebody."""
    return own_session(request).admin


def actor_of(request: AnyRequest) -> Actor:
    """Who asks, for the audit."""
    admin = admin_of(request)
    request_id: str | None = request.scope.get("request_id")  # type: ignore[assignment]  # ours
    return Actor(
        kind=ActorKind.ADMIN,
        actor_id=admin.admin_id,
        label=admin.email,
        request_id=request_id,
        client_address=request.client.host if request.client else None,
    )


async def form_of(request: AnyRequest) -> Form:
    """What was typed into the form that was sent, by its fields."""
    return {name: str(value) for name, value in (await request.form()).items()}


def new_form_secret() -> str:
    """The secret of forms for somebody without a session."""
    return secrets.token_urlsafe(32)


def local_path(text: str | None) -> str | None:
    """A path of the console to go on to, or None for anything that could lead elsewhere."""
    if not text or not text.startswith("/console") or len(text) > 2000:
        return None
    # Browsers read a backslash as a slash, and drop tabs and line ends.
    if any(character in text for character in "\\\t\r\n") or text.startswith("//"):
        return None
    parts = urlsplit(text)
    is_local = not parts.scheme and not parts.netloc
    return text if is_local and (parts.path == "/console" or parts.path.startswith("/console/")) else None


async def _load_session(connection: AnyConnection, *, is_activity: bool) -> ConsoleSession | None:
    sessions: ConsoleSessions = connection.app.state.console_sessions
    token = cookies.read_secret(connection, cookies.SESSION)
    session = None if token is None else await sessions.find(token, is_activity=is_activity)
    connection.scope["console_session"] = session  # type: ignore[typeddict-unknown-key]  # ours
    if session is not None:
        connection.scope["user"] = session.admin
    return session


async def _ensure_own_form(connection: AnyConnection, *, secret: str | None) -> None:
    """Raise FormRefused unless the browser says that one of our pages sent it, and it carries its holder's token."""
    assert isinstance(connection, Request), "a route over HTTP gets its request"
    if secret is None or _is_foreign(connection):
        raise FormRefused
    if connection.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_MEDIA_TYPE:
        raise HTTPException(status_code=415)
    form = await connection.form()
    if not is_form_token(str(form.get(FORM_FIELD, "")), secret=secret):
        raise FormRefused


def _is_foreign(connection: AnyConnection) -> bool:
    site = connection.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return True
    origin = connection.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != connection.headers.get("host", "")
