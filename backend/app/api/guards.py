"""Checks that run before a handler and before its body is read: who is asking, and is there a key."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter, ParameterKwarg

from backend.app.api.tokens import TokenKind, Tokens
from backend.app.domain import idempotency
from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.identity import AdminIdentity, Forbidden, PlayerIdentity, Role, Unauthorized
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.services.people.admins import Admins

AnyConnection = ASGIConnection[Any, Any, Any, Any]
# A token of ours is about 300 characters; a longer header is not one.
AUTHORIZATION_LENGTH_MAX: Final = 4096
TENANT_HEADER: Final = "X-Tenant-ID"
# For the `parameters` of routers of admins: read by require_admin, described in the OpenAPI document.
TENANT_PARAMETERS: Final[dict[str, ParameterKwarg]] = {
    "tenant_header": HeaderParameter(
        annotation=str,
        name=TENANT_HEADER,
        required=False,
        description="The tenant that the request is about. A platform owner may choose one; nobody else may send it.",
        schema_extra={"format": "uuid"},
    )
}


def bearer_token(connection: AnyConnection) -> str:
    """The token of the Authorization header. Raises Unauthorized when there is none."""
    header = connection.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token or len(header) > AUTHORIZATION_LENGTH_MAX:
        raise Unauthorized
    return token.strip()


# Guards are coroutines although they never wait: the framework runs plain functions in a thread, and two hops there and
# back cost more than all the rest of a withdrawal request.
async def require_player(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Only a player may pass; the identity is then `request.user`."""
    _identify_player(connection)


def _identify_player(connection: AnyConnection) -> None:
    tokens: Tokens = connection.app.state.tokens
    claims = tokens.read(bearer_token(connection), kind=TokenKind.PLAYER, now=datetime.now(UTC))
    if claims.tenant_id is None or claims.currency not in CURRENCY_EXPONENTS:
        raise Unauthorized
    connection.scope["user"] = PlayerIdentity(
        tenant_id=claims.tenant_id, player_id=claims.subject, currency=claims.currency
    )


def require_admin(*roles: Role) -> Callable[[AnyConnection, BaseRouteHandler], Awaitable[None]]:
    """A guard that lets admins of these roles pass, and owners always; the AdminIdentity is then `request.user`.

    Refuses in this order: the token (401), X-Tenant-ID (403 from non-owners, 400 for no tenant), the role (403).
    """
    allowed = frozenset({Role.OWNER, *roles})

    async def guard(connection: AnyConnection, _: BaseRouteHandler) -> None:
        tokens: Tokens = connection.app.state.tokens
        admins: Admins = connection.app.state.admins
        claims = tokens.read(bearer_token(connection), kind=TokenKind.ADMIN, now=datetime.now(UTC))
        identity = await admins.identify(
            claims.subject, issued_at=claims.issued_at, tenant_header=connection.headers.get(TENANT_HEADER)
        )
        if identity.role not in allowed:
            raise Forbidden(f"this needs one of the roles {', '.join(sorted(allowed))}")
        connection.scope["user"] = identity

    return guard


def actor_of(request: Request[Any, Any, Any]) -> Actor:
    """The admin who asks, for the audit. Only where require_admin has let the request pass."""
    admin: AdminIdentity = request.user
    return Actor(
        kind=ActorKind.ADMIN,
        actor_id=admin.admin_id,
        label=admin.email,
        request_id=request_id_of(request),
        client_address=request.client.host if request.client else None,
    )


def request_id_of(request: Request[Any, Any, Any]) -> str | None:
    """The request's id as the middleware has it."""
    return request.scope.get("request_id")  # type: ignore[return-value]  # ours


async def player_with_key(request: Request[Any, Any, Any]) -> None:
    """Only a player with a usable key may pass; the key is then `request.scope["idempotency_key"]`.

    For `before_request` of the two requests that come by the thousand, which is as early as a guard: for each guard the
    framework copies the whole route handler.
    """
    _identify_player(request)
    request.scope["idempotency_key"] = idempotency.parse_key(request.headers.get(idempotency.HEADER))  # type: ignore[typeddict-unknown-key]  # our own
