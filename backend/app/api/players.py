"""Players as admins see them: both balances side by side, verification, the ledger."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from backend.app.api.auth import Email, NewPassword, Username
from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import BIGINT_MAX, Cursor, CursorMeta, CursorPage, Limit, Offset, Text, next_cursor
from backend.app.api.responses import problems
from backend.app.api.schemas import LIMIT_DEFAULT, PRINTABLE, CurrencyCode, RawAmount
from backend.app.domain import money
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.ledger import Arbiter, PlayerNotFound
from backend.app.domain.people.email import parse_email
from backend.app.domain.people.password import parse_password
from backend.app.domain.player import CreatePlayer, KycStatus, LegacyBalances, Player, PlayerFilter
from backend.app.domain.tenant import tenant_of_new
from backend.app.services.players import Players

AnyRequest = Request[Any, Any, Any]

PlayerId = Annotated[str, PathParameter(description="The player", schema_extra={"format": "uuid"})]
VersionCursor = Annotated[
    int,
    QueryParameter(
        ge=0, le=BIGINT_MAX, description="List from after this wallet_version: `next_cursor` of the page before"
    ),
]


class PlayerIn(msgspec.Struct, kw_only=True):
    """A new player. `tenant_id` is for owners who send no X-Tenant-ID. Without a password the player cannot sign in.

    The two balances are those of the system that the player comes from. Given, they leave the wallet unopened, to be
    opened from them; without them it is opened at zero.
    """

    email: Email
    username: Username
    password: NewPassword | None = None
    currency: CurrencyCode | None = None
    kyc_status: KycStatus = KycStatus.PENDING
    # An undecoded value cannot be `| None`; one without bytes is a field that was left out.
    balance_real_available: RawAmount = msgspec.field(default_factory=msgspec.Raw)
    balance_real_held: RawAmount = msgspec.field(default_factory=msgspec.Raw)
    tenant_id: UUID | None = None


class KycIn(msgspec.Struct, kw_only=True):
    """What was found out about a player's identity."""

    status: KycStatus
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=PRINTABLE)] | None = None


class WalletOut(msgspec.Struct, kw_only=True):
    """The ledger's side. opened_at null: nothing was carried over from the legacy side yet."""

    opened_at: datetime | None
    balance_real_available: str
    balance_real_pending: str
    version: int


class PlayerOut(msgspec.Struct, kw_only=True):
    """A player with both sides; `arbiter` says which of them decides."""

    id: UUID
    tenant_id: UUID
    email: str
    username: str
    currency: str
    kyc_status: KycStatus
    is_active: bool
    balance_real_available: str
    balance_real_held: str
    wallet: WalletOut | None
    arbiter: Arbiter
    created_at: datetime


class LedgerTransactionOut(msgspec.Struct, kw_only=True):
    """One transfer: it debits one account and credits another by one amount."""

    id: UUID
    wallet_version: int
    type: str
    debit_account: str
    credit_account: str
    amount: str
    currency: str
    available_after: str
    pending_after: str
    arbiter: Arbiter
    epoch: int
    reference: UUID | None
    journal_id: UUID | None
    idempotency_key: str
    provider: str | None
    provider_ref: str | None
    provider_event_id: str | None
    occurred_at: datetime
    recorded_at: datetime


@get(responses=problems(400, 401, 403, 422), summary="Players, newest first")
async def list_players(
    request: AnyRequest,
    players: NamedDependency[Players],
    tenant_id: Annotated[UUID | None, QueryParameter(description="Only this tenant's players")] = None,
    email: Text = None,
    kyc_status: Annotated[KycStatus | None, QueryParameter(description="Only players of this status")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[PlayerOut]:
    """The players of one's tenant; for an owner without X-Tenant-ID, all of them."""
    admin: AdminIdentity = request.user
    page, total = await players.list_page(
        admin.scope_tenant_id,
        asked=PlayerFilter(tenant_id=tenant_id, email=None if email is None else email.lower(), kyc_status=kyc_status),
        before_id=cursor,
        limit=limit,
        offset=offset,
    )
    last_id = page[-1].id if page else None
    return CursorPage(
        items=[_player_out(player) for player in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=next_cursor(last_id, size=len(page), limit=limit)
        ),
    )


@post(
    guards=[require_admin(Role.TENANT_ADMIN)],
    responses=problems(400, 401, 403, 404, 409, 413, 422),
    summary="Make a player",
)
async def post_player(request: AnyRequest, data: JSONBody[PlayerIn], players: NamedDependency[Players]) -> PlayerOut:
    """A new player of one's tenant.

    An owner names the tenant by X-Tenant-ID or `tenant_id` (400 TENANT_REQUIRED). 409 when the address is taken there.
    """
    admin: AdminIdentity = request.user
    tenant_id = tenant_of_new(admin, asked=data.tenant_id)
    email = parse_email(data.email)
    currency = await players.currency(tenant_id, asked=data.currency)
    player = await players.create(
        CreatePlayer(
            tenant_id=tenant_id,
            email=email,
            username=data.username,
            password=None if data.password is None else parse_password(data.password),
            currency=currency,
            kyc_status=data.kyc_status,
            legacy_balances=_legacy_balances(data, currency=currency),
        ),
        actor=actor_of(request),
    )
    return _player_out(player)


@get("/{player_id:str}", responses=problems(400, 401, 403, 404), summary="One player")
async def get_player(request: AnyRequest, player_id: PlayerId, players: NamedDependency[Players]) -> PlayerOut:
    """The player with both balances side by side."""
    admin: AdminIdentity = request.user
    id_ = path_uuid(player_id, missing=PlayerNotFound())
    return _player_out(await players.get(admin.scope_tenant_id, player_id=id_))


@post(
    "/{player_id:str}/kyc",
    guards=[require_admin(Role.TENANT_ADMIN, Role.FINANCE)],
    status_code=HTTPStatus.OK,
    responses=problems(400, 401, 403, 404, 413, 422),
    summary="Verify or reject a player's identity",
)
async def post_kyc(
    request: AnyRequest, player_id: PlayerId, data: JSONBody[KycIn], players: NamedDependency[Players]
) -> PlayerOut:
    """The player afterwards. For owners, tenant admins and finance; the audit keeps who, why, before and after."""
    admin: AdminIdentity = request.user
    player = await players.set_kyc_status(
        admin.scope_tenant_id,
        player_id=path_uuid(player_id, missing=PlayerNotFound()),
        kyc_status=data.status,
        reason=data.reason,
        actor=actor_of(request),
    )
    return _player_out(player)


@get(
    "/{player_id:str}/ledger",
    responses=problems(400, 401, 403, 404, 422),
    summary="A player's ledger transactions, in order",
)
async def list_ledger(
    request: AnyRequest,
    player_id: PlayerId,
    players: NamedDependency[Players],
    cursor: VersionCursor = 0,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[LedgerTransactionOut]:
    """Oldest first; `total` counts the whole ledger. wallet_version has no gaps."""
    admin: AdminIdentity = request.user
    page, total = await players.list_ledger(
        admin.scope_tenant_id,
        player_id=path_uuid(player_id, missing=PlayerNotFound()),
        after_version=cursor,
        limit=limit,
        offset=offset,
    )
    last_version = page[-1]["wallet_version"] if page else None
    return CursorPage(
        items=[ledger_transaction_out(row) for row in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=next_cursor(last_version, size=len(page), limit=limit)
        ),
    )


def _legacy_balances(data: JSONBody[PlayerIn], *, currency: str) -> LegacyBalances | None:
    available = _balance_minor(data.balance_real_available, currency=currency, field="balance_real_available")
    held = _balance_minor(data.balance_real_held, currency=currency, field="balance_real_held")
    if available is None and held is None:
        return None
    return LegacyBalances(available_minor=available or 0, held_minor=held or 0)


def _balance_minor(raw: RawAmount, *, currency: str, field: str) -> int | None:
    if bytes(raw) in (b"", b"null"):
        return None
    return money.parse_json_balance(bytes(raw), currency=currency, field=field)


def _player_out(player: Player) -> PlayerOut:
    currency = player.currency
    wallet = None
    if player.ledger_available is not None:
        wallet = WalletOut(
            opened_at=player.wallet_opened_at,
            balance_real_available=money.format_amount(player.ledger_available, currency=currency),
            balance_real_pending=money.format_amount(player.ledger_pending or 0, currency=currency),
            version=player.wallet_version or 0,
        )
    return PlayerOut(
        id=player.id,
        tenant_id=player.tenant_id,
        email=player.email,
        username=player.username,
        currency=currency,
        kyc_status=KycStatus(player.kyc_status),
        is_active=player.is_active,
        balance_real_available=money.format_amount(player.legacy_available, currency=currency),
        balance_real_held=money.format_amount(player.legacy_held, currency=currency),
        wallet=wallet,
        arbiter=Arbiter(player.arbiter),
        created_at=player.created_at,
    )


def ledger_transaction_out(row: dict[str, Any]) -> LedgerTransactionOut:
    """One row of a ledger, its amounts in major units."""
    amounts = {
        name: money.format_amount(row[name], currency=row["currency"])
        for name in ("amount", "available_after", "pending_after")
    }
    return LedgerTransactionOut(**{**row, **amounts})


router: Final = Router(
    "/players",
    guards=[require_admin(*Role)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[list_players, post_player, get_player, post_kyc, list_ledger],
    tags=["players"],
    security=[{"bearer": []}],
)
