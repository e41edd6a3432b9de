"""Checks that run before a handler and before its body is read: who is asking, and is there a key."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from backend.app.api.tokens import TokenKind, Tokens
from backend.app.domain import idempotency
from backend.app.domain.identity import PlayerIdentity, Unauthorized

AnyConnection = ASGIConnection[Any, Any, Any, Any]
# A token of ours is about 300 characters; a longer header is not one.
AUTHORIZATION_LENGTH_MAX: Final = 4096


def bearer_token(connection: AnyConnection) -> str:
    """The token of the Authorization header. Raises Unauthorized when there is none."""
    header = connection.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(header) > AUTHORIZATION_LENGTH_MAX:
        raise Unauthorized
    return token.strip()


def require_player(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Only a player may pass; the identity is then `request.user`."""
    tokens: Tokens = connection.app.state.tokens
    claims = tokens.read(bearer_token(connection), kind=TokenKind.PLAYER, now=datetime.now(UTC))
    if claims.tenant_id is None:
        raise Unauthorized
    connection.scope["user"] = PlayerIdentity(tenant_id=claims.tenant_id, player_id=claims.subject)


def require_idempotency_key(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Only a request with a usable key may pass; the key is then `request.scope["idempotency_key"]`."""
    connection.scope["idempotency_key"] = idempotency.parse_key(connection.headers.get(idempotency.HEADER))  # type: ignore[typeddict-unknown-key]  # our own


def path_uuid(text: str, *, missing: Exception) -> UUID:
    """An id from a path. What is no UUID names nothing, so it raises `missing` like an unknown id."""
    try:
        return UUID(text)
    except ValueError:
        raise missing from None
