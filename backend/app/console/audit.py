"""The audit: who did what to what, when and from where, with the reason and what it changed; and the whole as CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.response import Stream

from backend.app.console import changes, render, text, visit
from backend.app.console.access import Page
from backend.app.console.cookies import language_of
from backend.app.console.list_filter import FieldReader, Fields, day_begins, day_ends, place_of, plain
from backend.app.console.visit import page
from backend.app.domain.audit import AuditFilter
from backend.app.domain.csv_cells import write_pages
from backend.app.domain.desk.audit_desk import CSV_HEADER, SeenDeed, csv_row
from backend.app.domain.ids import find_uuid
from backend.app.services.audit import Audit

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
FIELDS: Final = ("action", "actor", "object_id", "date_from", "date_to")
ACTIONS_FAMILY: Final = "event.deed."
# Never written, only shown in the timeline of a withdrawal.
NO_DEEDS: Final = frozenset({"withdrawal.requested"})
# Where an object of a deed is shown, and to whom; any other is named by its id alone.
PLACES: Final[Mapping[str, tuple[Page, str]]] = {
    "withdrawal": (Page.WITHDRAWALS, "/console/withdrawals/"),
    "player": (Page.PLAYERS, "/console/players/"),
    "admin": (Page.ADMINS, "/console/admins/"),
    "tenant": (Page.TENANTS, "/console/tenants/"),
    "finding": (Page.RECONCILIATION, "/console/reconciliation/findings/"),
    "adjustment": (Page.ADJUSTMENTS, "/console/adjustments/"),
    "psp_event": (Page.WEBHOOKS, "/console/webhooks/"),
    "rollout_hold": (Page.ROLLOUT_DEEDS, "/console/rollout/holds/"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Fields):
    """What an address asks for."""

    filter: AuditFilter


@page("/audit", of=Page.AUDIT)
async def list_deeds(request: AnyRequest, audit: NamedDependency[Audit]) -> Response[Any]:
    """The deeds that the address asks for, newest first."""
    scope = visit.admin_of(request).scope_tenant_id
    asked = read_filter(request)
    before_id = place_of(request)
    found, has_more = await audit.list_newest(scope, asked=asked.filter, before_id=before_id, limit=ROWS)
    return await render.show(
        request,
        "audit/list.html",
        asked=asked,
        found=found,
        has_more=has_more,
        is_later_page=before_id is not None,
        actions=actions_by_object(),
        shown_at=shown_at,
        changes_of=partial(changes.shown, language=language_of(request)),
        is_everywhere=scope is None,
    )


@page("/audit.csv", of=Page.AUDIT_EXPORT)
async def export_deeds(request: AnyRequest, audit: NamedDependency[Audit]) -> Stream:
    """The whole of what the address asks for, streamed as it is at one moment; the export is a deed of its own."""
    asked = read_filter(request)
    asked.refuse_problems()
    scope = visit.admin_of(request).scope_tenant_id
    pages = await audit.export(scope, asked=asked.filter, actor=visit.actor_of(request))
    return render.download("audit", write_pages(CSV_HEADER, pages, csv_row))


def read_filter(request: AnyRequest) -> Asked:
    """What the request's address asks for."""
    reader = FieldReader(request, FIELDS)
    read = reader.read
    asked = AuditFilter(
        action=read("action", plain, "filter.problem.text"),
        actor=read("actor", _actor, "filter.problem.text"),
        object_id=read("object_id", plain, "filter.problem.text"),
        date_from=read("date_from", day_begins, "filter.problem.day"),
        date_to=read("date_to", day_ends, "filter.problem.day"),
    )
    return Asked(filter=asked, fields=reader.fields, problems=reader.problems)


def _actor(given: str) -> str:
    """People are known by their addresses, which are kept in lower case."""
    return plain(given).lower() if "@" in given else plain(given)


def actions_by_object() -> Mapping[str, list[str]]:
    """The deeds that the catalogue knows, by what they are done to."""
    groups: dict[str, list[str]] = {}
    for key in text.catalogue("en"):
        name = key.removeprefix(ACTIONS_FAMILY)
        if name != key and name not in NO_DEEDS:
            groups.setdefault(name.partition(".")[0], []).append(name)
    return groups


def shown_at(deed: SeenDeed) -> tuple[Page, str] | None:
    """Where the object of a deed is shown, and what its reader must be allowed to see; None: nowhere."""
    place = PLACES.get(deed.object_kind)
    if place is None or find_uuid(deed.object_id) is None:
        return None
    return place[0], place[1] + deed.object_id


HANDLERS: Final = (list_deeds, export_deeds)
