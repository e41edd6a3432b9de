"""Players and their wallets: found by a search, both balances side by side, the ledger as a statement."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import figures, render, text, visit
from backend.app.console.access import Page
from backend.app.console.cookies import language_of
from backend.app.console.list_filter import place_of
from backend.app.console.text import Language
from backend.app.console.visit import action, page
from backend.app.console.withdrawal_page import parse_reason
from backend.app.domain.desk.player_desk import PlayerDetail
from backend.app.domain.errors import FieldError
from backend.app.domain.ids import path_uuid
from backend.app.domain.ledger import PlayerNotFound
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.domain.player import KycStatus
from backend.app.services.desk.player_desk import PlayerDesk
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.players import Players

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
SEARCH_LENGTH_MAX: Final = 254
# Fewer points are no picture.
CHART_POINTS_MIN: Final = 3


@page("/players", of=Page.PLAYERS)
async def list_players(request: AnyRequest, player_desk: NamedDependency[PlayerDesk]) -> Response[Any]:
    """The newest players, or those whose address or name begins with the text of the search."""
    asked = request.query_params.get("q", "").strip()[:SEARCH_LENGTH_MAX]
    asked = asked if asked.isprintable() else ""
    scope = visit.admin_of(request).scope_tenant_id
    found, has_more = await player_desk.search(scope, text=asked, before_id=place_of(request), limit=ROWS)
    return await render.show(
        request,
        "players/list.html",
        asked=asked,
        found=found,
        has_more=has_more,
        is_later_page="before" in request.query_params,
        is_everywhere=scope is None,
    )


@page("/players/{player_id:str}", of=Page.PLAYERS)
async def get_player(
    request: AnyRequest, player_id: FromPath[str], player_desk: NamedDependency[PlayerDesk]
) -> Response[Any]:
    """A player with both balances, what is known of the identity, deposits, withdrawals, and the statement."""
    scope = visit.admin_of(request).scope_tenant_id
    detail = await player_desk.get(
        scope,
        player_id=_player_id(player_id),
        before_version=_version(request.query_params.get("before")),
        before_at=_instant(request.query_params.get("money_before")),
    )
    return await render.show(
        request,
        "players/page.html",
        detail=detail,
        player=detail.player,
        chart=chart_of(detail, language=language_of(request)),
        is_later_page="before" in request.query_params,
        is_later_money="money_before" in request.query_params,
        kyc_statuses=tuple(KycStatus),
        is_everywhere=scope is None,
    )


@page("/players/{player_id:str}/explain", of=Page.PLAYERS)
async def explain(
    request: AnyRequest, player_id: FromPath[str], player_desk: NamedDependency[PlayerDesk]
) -> Response[Any]:
    """How the balance came to be: an opening, what each type of transaction added up to, and whether that is it."""
    found, explanation = await player_desk.explain(
        visit.admin_of(request).scope_tenant_id, player_id=_player_id(player_id)
    )
    return await render.show(request, "players/explain.html", player=found.player, explanation=explanation)


@action("/players/{player_id:str}/kyc", of=Page.PLAYER_KYC)
async def post_kyc(
    request: AnyRequest,
    player_id: FromPath[str],
    players: NamedDependency[Players],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Records what was found out about a player's identity, and why. Raises PlayerNotFound or FieldError."""
    form = await request.form()
    try:
        status = KycStatus(str(form.get("status", "")))
    except ValueError:
        raise FieldError("status", "is not known") from None
    player = await players.set_kyc_status(
        visit.admin_of(request).scope_tenant_id,
        player_id=_player_id(player_id),
        kyc_status=status,
        reason=parse_reason(str(form.get("reason", ""))),
        actor=visit.actor_of(request),
    )
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": f"kyc.{status}"})
    return render.redirect(request, f"/console/players/{player.id}")


def chart_of(detail: PlayerDetail, *, language: Language) -> str | None:
    """The running balance over the page of the statement, as charts.js takes it; None when there is too little."""
    if len(detail.lines) < CHART_POINTS_MIN:
        return None
    lines = list(reversed(detail.lines))
    unit = 10 ** CURRENCY_EXPONENTS[detail.player.currency]
    document = {
        "labels": [figures.minute(line.recorded_at, language=language) for line in lines],
        "series": [
            {
                "name": text.text(language, "player.available"),
                "step": True,
                # For drawing only; the table beside it has the exact amounts.
                "values": [line.available_after / unit for line in lines],
            },
            {
                "name": text.text(language, "player.held"),
                "step": True,
                "values": [line.pending_after / unit for line in lines],
            },
        ],
    }
    return msgspec.json.encode(document).decode()


def _player_id(path: str) -> UUID:
    return path_uuid(path, missing=PlayerNotFound())


def _version(given: str | None) -> int | None:
    """A wallet version in an address; None for none and for what is none."""
    is_number = given is not None and given.isascii() and given.isdecimal() and len(given) < 19
    return int(given) if is_number and given is not None else None


def _instant(given: str | None) -> datetime | None:
    """A time in an address; None for none and for what is none."""
    try:
        moment = None if given is None else datetime.fromisoformat(given)
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else moment


HANDLERS: Final = (list_players, get_player, explain, post_kyc)
