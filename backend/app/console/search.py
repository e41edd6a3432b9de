"""The search that every page offers: straight to what an id or a reference names, else to players."""

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency

from backend.app.console import render, visit
from backend.app.console.access import Page, may
from backend.app.console.visit import page
from backend.app.domain.desk.search_desk import Found, FoundKind
from backend.app.domain.identity import Role
from backend.app.services.desk.search_desk import SearchDesk

AnyRequest = Request[Any, Any, Any]
SEARCH_LENGTH_MAX: Final = 254
# What one must be allowed to see to find something of a kind. A payment also leads to its player, whom all may see.
SEEN_BY: Final = {
    FoundKind.WITHDRAWAL: Page.PLAYERS,
    FoundKind.PLAYER: Page.PLAYERS,
    FoundKind.DEPOSIT: Page.PLAYERS,
    FoundKind.TRANSACTION: Page.PLAYERS,
    FoundKind.FINDING: Page.RECONCILIATION,
    FoundKind.ADJUSTMENT: Page.ADJUSTMENTS,
    FoundKind.EVENT: Page.WEBHOOKS,
    FoundKind.RUN: Page.RECONCILIATION,
    FoundKind.BACKFILL: Page.BACKFILL,
    FoundKind.ATTEMPT: Page.PLAYERS,
}


@page("/search", of=Page.SEARCH)
async def search(request: AnyRequest, search_desk: NamedDependency[SearchDesk]) -> Response[Any]:
    """To the one thing that the text names; of several, to a choice; else to players whose name begins like that."""
    text = request.query_params.get("q", "").strip()[:SEARCH_LENGTH_MAX]
    players = f"/console/players?{urlencode({'q': text})}"
    if not text or not text.isprintable():
        return render.redirect(request, players)
    admin = visit.admin_of(request)
    kinds = [kind for kind in FoundKind if may(admin.role, SEEN_BY[kind])]
    found, names = await search_desk.find(admin.scope_tenant_id, text=text, kinds=kinds)
    places = {place_of(each, role=admin.role): each for each in reversed(found)}
    if len(places) > 1:
        return await render.show(
            request,
            "home/found.html",
            asked=text,
            found=[
                (path, each, None if each.tenant_id is None else names.get(each.tenant_id))
                for path, each in reversed(places.items())
            ],
            players=players,
        )
    return render.redirect(request, next(iter(places), players))


def place_of(found: Found, *, role: Role) -> str:
    """Where it is shown to somebody of a role."""
    if found.kind in (FoundKind.WITHDRAWAL, FoundKind.ATTEMPT) and may(role, Page.WITHDRAWALS):
        mark = "" if found.number is None else f"#attempt-{found.number}"
        return f"/console/withdrawals/{found.id}{mark}"
    if found.kind is FoundKind.BACKFILL:
        # The list goes on from before an id, so that of the next one begins with this run.
        return f"/console/backfill?before={UUID(int=found.id.int + 1)}#run-{found.id}"
    paths = {
        FoundKind.FINDING: "reconciliation/findings",
        FoundKind.ADJUSTMENT: "adjustments",
        FoundKind.EVENT: "webhooks",
        FoundKind.RUN: "reconciliation/runs",
    }
    if found.kind in paths:
        return f"/console/{paths[found.kind]}/{found.id}"
    return f"/console/players/{found.player_id}"


HANDLERS: Final = (search,)
