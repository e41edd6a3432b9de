"""Reconciliation: what is open by severity and type, findings by a filter that stands in the address, and as CSV."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.response import Stream

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.list_filter import AGES, FieldReader, Fields, place_of, plain
from backend.app.console.live import live_of
from backend.app.console.visit import page
from backend.app.domain.csv_cells import write_pages
from backend.app.domain.desk.reconciliation_desk import LOOKED_AT_MAX, SEVERITIES
from backend.app.domain.finding import FindingFilter, FindingStatus, FindingType, Severity
from backend.app.domain.reconciliation.finding_csv import COLUMNS, csv_row, money_of
from backend.app.services.desk.reconciliation_desk import ReconciliationDesk
from backend.app.services.reconciliation.findings import Findings
from backend.app.services.reconciliation.reconciliation import Reconciliation

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
FIELDS: Final = ("status", "type", "severity", "provider", "assigned", "age", "run", "tx", "player")
# Without a choice it is what is open; "any" is all of them.
STATUSES: Final = ("OPEN", "RESOLVED", "any")
ME: Final = "me"
NOBODY: Final = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Fields):
    """What an address asks for."""

    filter: FindingFilter
    before_id: UUID | None

    @property
    def status(self) -> str:
        """The choice of STATUSES that is in force."""
        return "any" if self.filter.status is None else str(self.filter.status)

    @property
    def is_refined(self) -> bool:
        """Whether anything was chosen that the board above the list does not show."""
        return bool(self.fields.keys() - {"severity", "type"})


def read_filter(request: AnyRequest, *, admin_id: UUID) -> Asked:
    """What the request's address asks for. admin_id: who "me" is."""
    reader = FieldReader(request, FIELDS)
    read = reader.read
    status = read("status", lambda text: STATUSES[STATUSES.index(text)], "filter.problem.choice") or "OPEN"
    assigned = read("assigned", lambda text: text if text in (ME, NOBODY) else UUID(text), "filter.problem.id")
    age = read("age", AGES.__getitem__, "filter.problem.choice")
    asked = FindingFilter(
        status=None if status == "any" else FindingStatus(status),
        finding_type=read("type", FindingType, "filter.problem.choice"),
        severity=read("severity", Severity, "filter.problem.choice"),
        provider=read("provider", plain, "filter.problem.text"),
        assigned_to=admin_id if assigned == ME else assigned if isinstance(assigned, UUID) else None,
        is_unassigned=assigned == NOBODY,
        created_before=None if age is None else datetime.now(UTC) - age,
        run_id=read("run", UUID, "filter.problem.id"),
        tx_id=read("tx", UUID, "filter.problem.id"),
        player_id=read("player", UUID, "filter.problem.id"),
    )
    return Asked(filter=asked, before_id=place_of(request), fields=reader.fields, problems=reader.problems)


@page("/reconciliation", of=Page.RECONCILIATION)
async def list_findings(
    request: AnyRequest,
    reconciliation_desk: NamedDependency[ReconciliationDesk],
    reconciliation: NamedDependency[Reconciliation],
) -> Response[Any]:
    """What is open, and the findings that the address asks for."""
    admin = visit.admin_of(request)
    asked = read_filter(request, admin_id=admin.admin_id)
    found = await reconciliation_desk.page(
        admin.scope_tenant_id, asked=asked.filter, before_id=asked.before_id, limit=ROWS
    )
    return await render.show(
        request,
        "reconciliation/list.html",
        asked=asked,
        page=found,
        is_full=len(found.findings) == ROWS,
        looked_at_max=LOOKED_AT_MAX,
        statuses=STATUSES,
        types=tuple(FindingType),
        severities=SEVERITIES,
        ages=tuple(AGES),
        providers=reconciliation.providers,
        money_of=money_of,
        me=ME,
        nobody=NOBODY,
        is_everywhere=admin.scope_tenant_id is None,
        **_board_values(request, asked=asked, board=found.board),
    )


@page("/reconciliation/board", of=Page.RECONCILIATION, is_live=True)
async def get_board(request: AnyRequest, reconciliation_desk: NamedDependency[ReconciliationDesk]) -> Response[Any]:
    """What is open alone, for the page that refreshes it."""
    admin = visit.admin_of(request)
    asked = read_filter(request, admin_id=admin.admin_id)
    board = await reconciliation_desk.board(admin.scope_tenant_id)
    return render.part(request, "reconciliation/board.html", **_board_values(request, asked=asked, board=board))


@page("/reconciliation.csv", of=Page.RECONCILIATION_EXPORT)
async def export_findings(request: AnyRequest, findings: NamedDependency[Findings]) -> Stream:
    """The whole of what the address asks for, streamed as it is at one moment; the export is audited."""
    admin = visit.admin_of(request)
    asked = read_filter(request, admin_id=admin.admin_id)
    asked.refuse_problems()
    pages = await findings.export(admin.scope_tenant_id, asked=asked.filter, actor=visit.actor_of(request))
    return render.download("findings", write_pages(COLUMNS, pages, csv_row))


def _board_values(request: AnyRequest, *, asked: Asked, board: Any) -> dict[str, Any]:
    return {
        "board": board,
        "live": live_of(request),
        "current_severity": asked.filter.severity if asked.status == "OPEN" else None,
        "current_type": asked.filter.finding_type if asked.status == "OPEN" else None,
    }


HANDLERS: Final = (list_findings, get_board, export_findings)
