"""Signing in, registering, and who am I."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from backend.app.api.guards import TENANT_PARAMETERS, request_id_of, require_admin
from backend.app.api.responses import problems
from backend.app.api.schemas import PRINTABLE, CurrencyCode
from backend.app.api.tokens import Tokens
from backend.app.domain.identity import AdminIdentity, PlayerIdentity, Role
from backend.app.domain.people.email import EMAIL_LENGTH_MAX, EMAIL_PATTERN, parse_email
from backend.app.domain.people.password import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, parse_password
from backend.app.domain.people.sign_in import Realm, SignInCommand
from backend.app.domain.player import USERNAME_LENGTH_MAX, CreatePlayer
from backend.app.services.people.admins import Admins
from backend.app.services.people.sign_in import SignIn
from backend.app.services.players import Players

AnyRequest = Request[Any, Any, Any]

Email = Annotated[
    str,
    msgspec.Meta(
        min_length=3,
        max_length=EMAIL_LENGTH_MAX,
        pattern=EMAIL_PATTERN,
        description="Compared and stored in lower case",
    ),
]
Username = Annotated[str, msgspec.Meta(min_length=1, max_length=USERNAME_LENGTH_MAX, pattern=PRINTABLE)]
NewPassword = Annotated[str, msgspec.Meta(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX)]
# At sign-in nothing is said about the shape of an address or a password: what is wrong is 401 like any other.
AnyEmail = Annotated[str, msgspec.Meta(min_length=1, max_length=EMAIL_LENGTH_MAX, pattern=PRINTABLE)]
AnyPassword = Annotated[str, msgspec.Meta(min_length=1, max_length=PASSWORD_LENGTH_MAX)]


class LoginIn(msgspec.Struct, kw_only=True):
    """An admin signs in."""

    email: AnyEmail
    password: AnyPassword


class PlayerLoginIn(msgspec.Struct, kw_only=True):
    """A player signs in to a tenant."""

    tenant_id: UUID
    email: AnyEmail
    password: AnyPassword


class RegisterIn(msgspec.Struct, kw_only=True):
    """A player registers with a tenant. `currency` is the tenant's base currency when left out."""

    tenant_id: UUID
    email: Email
    username: Username
    password: NewPassword
    currency: CurrencyCode | None = None


class MeOut(msgspec.Struct, kw_only=True):
    """An admin, as seen by themselves."""

    id: UUID
    email: str
    role: Role
    tenant_id: UUID | None
    is_platform_owner: bool


class LoginOut(msgspec.Struct, kw_only=True):
    """A token for an admin."""

    access_token: str
    token_type: str
    admin: MeOut


class PlayerMeOut(msgspec.Struct, kw_only=True):
    """A player, as seen by themselves."""

    id: UUID
    username: str
    tenant_id: UUID


class PlayerLoginOut(msgspec.Struct, kw_only=True):
    """A token for a player."""

    access_token: str
    token_type: str
    player: PlayerMeOut


class RegisterOut(msgspec.Struct, kw_only=True):
    """A new player."""

    player_id: UUID


TOKEN_TYPE: Final = "bearer"


@post(
    "/login",
    status_code=HTTPStatus.OK,
    responses=problems(400, 401, 413, 422, 429),
    summary="Sign in as an admin",
)
async def post_login(
    request: AnyRequest, data: JSONBody[LoginIn], sign_in: NamedDependency[SignIn], admins: NamedDependency[Admins]
) -> LoginOut:
    """A bearer token for an admin; 429 after repeated failures, even with the right password."""
    checked_at = await sign_in.read_clock()
    admin_id = await sign_in.sign_in(
        SignInCommand(
            realm=Realm.ADMIN,
            tenant_id=None,
            email=data.email.lower(),
            password=data.password,
            client_address=_client_address(request),
            now=datetime.now(UTC),
        )
    )
    tokens: Tokens = request.app.state.tokens
    return LoginOut(
        access_token=tokens.issue_admin(admin_id, now=checked_at),
        token_type=TOKEN_TYPE,
        admin=_me_out(await admins.identify(admin_id, issued_at=checked_at, tenant_header=None)),
    )


@get(
    "/me",
    guards=[require_admin(*Role)],
    security=[{"bearer": []}],
    responses=problems(400, 401, 403),
    summary="The admin behind the token",
)
async def get_me(request: AnyRequest) -> MeOut:
    """Role and tenant as they are now, whatever they were when the token was made."""
    return _me_out(request.user)


@post(
    "/player/register",
    responses=problems(400, 409, 413, 422),
    summary="Register as a player",
)
async def post_register(
    request: AnyRequest, data: JSONBody[RegisterIn], players: NamedDependency[Players]
) -> RegisterOut:
    """A new player with a wallet opened at zero; 409 when the address is taken in the tenant."""
    email = parse_email(data.email)
    player = await players.register(
        CreatePlayer(
            tenant_id=data.tenant_id,
            email=email,
            username=data.username,
            password=parse_password(data.password),
            currency=await players.currency(data.tenant_id, asked=data.currency),
        ),
        request_id=request_id_of(request),
    )
    return RegisterOut(player_id=player.id)


@post(
    "/player/login",
    status_code=HTTPStatus.OK,
    responses=problems(400, 401, 413, 422, 429),
    summary="Sign in as a player",
)
async def post_player_login(
    request: AnyRequest,
    data: JSONBody[PlayerLoginIn],
    sign_in: NamedDependency[SignIn],
    players: NamedDependency[Players],
) -> PlayerLoginOut:
    """A bearer token for a player; 429 after repeated failures, even with the right password."""
    now = datetime.now(UTC)
    player_id = await sign_in.sign_in(
        SignInCommand(
            realm=Realm.PLAYER,
            tenant_id=data.tenant_id,
            email=data.email.lower(),
            password=data.password,
            client_address=_client_address(request),
            now=now,
        )
    )
    player = await players.get(data.tenant_id, player_id=player_id)
    tokens: Tokens = request.app.state.tokens
    return PlayerLoginOut(
        access_token=tokens.issue_player(
            PlayerIdentity(tenant_id=player.tenant_id, player_id=player.id, currency=player.currency),
            now=now,
        ),
        token_type=TOKEN_TYPE,
        player=PlayerMeOut(id=player.id, username=player.username, tenant_id=player.tenant_id),
    )


def _client_address(request: AnyRequest) -> str | None:
    return request.client.host if request.client else None


def _me_out(admin: AdminIdentity) -> MeOut:
    return MeOut(
        id=admin.admin_id,
        email=admin.email,
        role=admin.role,
        tenant_id=admin.tenant_id,
        is_platform_owner=admin.is_platform_owner,
    )


router: Final = Router(
    "/auth",
    route_handlers=[
        post_login,
        Router("", parameters=TENANT_PARAMETERS, route_handlers=[get_me]),
        post_register,
        post_player_login,
    ],
    tags=["sign-in"],
)
