"""The console's cookies: the session, the secret of a form before there is a session, and two preferences."""

from typing import Any, Final, Literal

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie

from backend.app.console.text import LANGUAGES, Language

AnyConnection = ASGIConnection[Any, Any, Any, Any]

SESSION: Final = "hakem-session"
FORM: Final = "hakem-form"
LANGUAGE: Final = "hakem-language"
THEME: Final = "hakem-theme"
THEMES: Final = ("auto", "light", "dark")
YEAR_SECONDS: Final = 365 * 24 * 3600
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# A browser takes a cookie of this name only over https, for this host alone and all of it (RFC 6265bis §4.1.3.2).
HOST_PREFIX: Final = "__Host-"

Theme = Literal["auto", "light", "dark"]


def is_plain_loopback(connection: AnyConnection) -> bool:
    """Whether this is plain http on the machine itself, the only place where a session may travel without TLS."""
    return connection.url.scheme == "http" and connection.url.hostname in LOOPBACK


def is_unprotected(connection: AnyConnection) -> bool:
    """Whether a password would cross a network in the clear."""
    return connection.url.scheme == "http" and not is_plain_loopback(connection)


def read_secret(connection: AnyConnection, name: str) -> str | None:
    """What the browser keeps under one of our secret names."""
    return connection.cookies.get(_name(connection, name)) or None


def secret_cookie(request: Request[Any, Any, Any], name: str, value: str) -> Cookie:
    """A cookie that scripts cannot read; it ends with the browser's session."""
    return Cookie(
        key=_name(request, name),
        value=value,
        path="/",
        httponly=True,
        secure=not is_plain_loopback(request),
        samesite="lax",
    )


def ended_cookie(request: Request[Any, Any, Any], name: str) -> Cookie:
    """Takes a secret back."""
    cookie = secret_cookie(request, name, "")
    cookie.max_age = 0
    return cookie


def preference_cookie(request: Request[Any, Any, Any], name: str, value: str) -> Cookie:
    """A cookie that keeps a choice for a year."""
    return Cookie(
        key=name,
        value=value,
        path="/console",
        max_age=YEAR_SECONDS,
        httponly=True,
        secure=not is_plain_loopback(request),
        samesite="lax",
    )


def language_of(connection: AnyConnection) -> Language:
    """The language that was chosen; else Turkish for a browser that asks for it first, else English."""
    chosen = connection.cookies.get(LANGUAGE)
    for language in LANGUAGES:
        if chosen == language:
            return language
    first = connection.headers.get("accept-language", "")[:2].lower()
    return "tr" if first == "tr" else "en"


def theme_of(connection: AnyConnection) -> Theme:
    """Light, dark, or what the system says."""
    chosen = connection.cookies.get(THEME)
    if chosen == "light":
        return "light"
    return "dark" if chosen == "dark" else "auto"


def _name(connection: AnyConnection, name: str) -> str:
    return name if is_plain_loopback(connection) else HOST_PREFIX + name
