"""The audit: who did what to what, when and from where, with the reason and what it changed; and the whole as CSV.

What stands in the address and cannot be read is shown beside its field and left out of the search.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.response import Stream

from backend.app.console import render, text, visit
from backend.app.console.access import Page
from backend.app.console.visit import page
from backend.app.domain.audit import AuditFilter
from backend.app.domain.csv_cells import write_rows
from backend.app.domain.desk.audit_desk import CSV_HEADER, SeenDeed, changes_of, csv_row
from backend.app.domain.errors import FieldError
from backend.app.services.audit import Audit

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
FIELDS: Final = ("action", "actor", "object_id", "date_from", "date_to")
LENGTH_MAX: Final = 254
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
class Asked:
    """What an address asks for. fields: the texts as they were typed; problems: a text's key by field."""

    filter: AuditFilter
    fields: Mapping[str, str]
    problems: Mapping[str, str]

    def query(self, **more: str) -> str:
        """The filter as the query of an address, with its question mark; empty when nothing is asked."""
        fields = {**self.fields, **more}
        return f"?{urlencode(fields)}" if fields else ""


@page("/audit", of=Page.AUDIT)
async def list_deeds(request: AnyRequest, audit: NamedDependency[Audit]) -> Response[Any]:
    """The deeds that the address asks for, newest first."""
    scope = visit.admin_of(request).scope_tenant_id
    asked = read_filter(request)
    before_id = _uuid(request.query_params.get("before"))
    found, has_more = await audit.list_newest(scope, asked=asked.filter, before_id=before_id, limit=ROWS)
    return await render.show(
        request,
        "audit/list.html",
        asked=asked,
        found=found,
        has_more=has_more,
        is_later_page=before_id is not None,
        actions=actions_by_object(),
        place_of=place_of,
        changes_of=changes_of,
        is_everywhere=scope is None,
    )


@page("/audit.csv", of=Page.AUDIT_EXPORT)
async def export_deeds(request: AnyRequest, audit: NamedDependency[Audit]) -> Stream:
    """The whole of what the address asks for, streamed as it is at one moment; the export is a deed of its own."""
    asked = read_filter(request)
    for name, problem in asked.problems.items():
        # A file must not hold more than was asked for.
        raise FieldError(name, problem)
    scope = visit.admin_of(request).scope_tenant_id
    pages = await audit.export(scope, asked=asked.filter, actor=visit.actor_of(request))

    async def lines() -> AsyncIterator[bytes]:
        yield write_rows([CSV_HEADER])
        async for found in pages:
            yield write_rows(csv_row(deed) for deed in found)

    filename = f"audit-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.csv"
    return Stream(
        lines(),
        media_type="text/csv",
        headers={**render.PAGE_HEADERS, "Content-Disposition": f'attachment; filename="{filename}"'},
    )


def read_filter(request: AnyRequest) -> Asked:
    """What the request's address asks for."""
    given = {name: request.query_params.get(name, "").strip()[:LENGTH_MAX] for name in FIELDS}
    fields = {name: given_text for name, given_text in given.items() if given_text}
    problems: dict[str, str] = {}

    def plain(name: str) -> str | None:
        found = fields.get(name)
        if found is not None and not found.isprintable():
            problems[name] = "filter.problem.text"
            return None
        return found

    def day(name: str, *, end: bool) -> datetime | None:
        if name not in fields:
            return None
        try:
            first = date.fromisoformat(fields[name])
            # The last day belongs to the range.
            first = first + timedelta(days=1) if end else first
        except (ValueError, OverflowError):
            problems[name] = "filter.problem.day"
            return None
        return datetime(first.year, first.month, first.day, tzinfo=UTC)

    actor = plain("actor")
    asked = AuditFilter(
        action=plain("action"),
        # People are known by their addresses, which are kept in lower case.
        actor=actor.lower() if actor is not None and "@" in actor else actor,
        object_id=plain("object_id"),
        date_from=day("date_from", end=False),
        date_to=day("date_to", end=True),
    )
    return Asked(filter=asked, fields=fields, problems=problems)


def actions_by_object() -> Mapping[str, list[str]]:
    """The deeds that the catalogue knows, by what they are done to."""
    groups: dict[str, list[str]] = {}
    for key in text.catalogue("en"):
        name = key.removeprefix(ACTIONS_FAMILY)
        if name != key and name not in NO_DEEDS:
            groups.setdefault(name.partition(".")[0], []).append(name)
    return groups


def place_of(deed: SeenDeed) -> tuple[Page, str] | None:
    """Where the object of a deed is shown, and what its reader must be allowed to see; None: nowhere."""
    place = PLACES.get(deed.object_kind)
    if place is None or _uuid(deed.object_id) is None:
        return None
    return place[0], place[1] + deed.object_id


def _uuid(given: str | None) -> UUID | None:
    try:
        return None if given is None else UUID(given)
    except ValueError:
        return None


HANDLERS: Final = (list_deeds, export_deeds)
