"""Findings: what differs, what to do about it, and who has done it."""

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody, PathParameter, QueryParameter
from litestar.response import Stream

from backend.app.api.finding_schemas import (
    AssignIn,
    FindingOut,
    NoteIn,
    ReplayOut,
    ResolveIn,
    finding_out,
)
from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import Cursor, CursorMeta, CursorPage, Limit, Offset, Text, next_cursor
from backend.app.api.reconciliation import ROLES
from backend.app.api.responses import CSV_MEDIA_TYPE, download, problems
from backend.app.api.schemas import LIMIT_DEFAULT
from backend.app.domain.csv_cells import write_pages
from backend.app.domain.errors import FieldError
from backend.app.domain.finding import (
    FindingFilter,
    FindingNotFound,
    FindingStatus,
    FindingType,
    Severity,
    parse_resolution,
)
from backend.app.domain.identity import AdminIdentity
from backend.app.domain.ids import path_uuid
from backend.app.domain.reconciliation.finding_csv import COLUMNS, csv_row
from backend.app.services.reconciliation.findings import Findings

AnyRequest = Request[Any, Any, Any]

FindingId = Annotated[str, PathParameter(description="The finding", schema_extra={"format": "uuid"})]


def provide_filter(
    provider: Text = None,
    finding_status: Annotated[FindingStatus | None, QueryParameter(name="status")] = None,
    finding_type: Annotated[FindingType | None, QueryParameter()] = None,
    severity: Annotated[Severity | None, QueryParameter()] = None,
    tenant_id: Annotated[UUID | None, QueryParameter()] = None,
    player_id: Annotated[UUID | None, QueryParameter()] = None,
    tx_id: Annotated[UUID | None, QueryParameter()] = None,
    provider_event_id: Text = None,
    run_id: Annotated[UUID | None, QueryParameter()] = None,
    assigned_to: Annotated[UUID | None, QueryParameter()] = None,
) -> FindingFilter:
    """The filter of a list or an export."""
    return FindingFilter(
        provider=provider,
        status=finding_status,
        finding_type=finding_type,
        severity=severity,
        tenant_id=tenant_id,
        player_id=player_id,
        tx_id=tx_id,
        provider_event_id=provider_event_id,
        run_id=run_id,
        assigned_to=assigned_to,
    )


@get(
    "/findings",
    dependencies={"asked": Provide(provide_filter, sync_to_thread=False)},
    responses=problems(400, 401, 403, 422),
    summary="Findings, newest first",
)
async def list_findings(
    request: AnyRequest,
    findings: NamedDependency[Findings],
    asked: NamedDependency[FindingFilter],
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[FindingOut]:
    """The findings of one's tenant; for an owner without X-Tenant-ID, all of them."""
    admin: AdminIdentity = request.user
    page, total = await findings.list_page(
        admin.scope_tenant_id, asked=asked, before_id=cursor, limit=limit, offset=offset
    )
    last_id = page[-1].id if page else None
    return CursorPage(
        items=[finding_out(finding) for finding in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=next_cursor(last_id, size=len(page), limit=limit)
        ),
    )


@get(
    "/findings.csv",
    dependencies={"asked": Provide(provide_filter, sync_to_thread=False)},
    media_type=CSV_MEDIA_TYPE,
    responses=problems(400, 401, 403, 422),
    summary="The findings that match, all of them, as CSV",
)
async def export_findings(
    request: AnyRequest, findings: NamedDependency[Findings], asked: NamedDependency[FindingFilter]
) -> Stream:
    """The whole filtered set as it is at one moment, streamed. A text that a spreadsheet would take for a formula gets
    an apostrophe before it. The export is audited.
    """
    admin: AdminIdentity = request.user
    pages = await findings.export(admin.scope_tenant_id, asked=asked, actor=actor_of(request))
    return download("findings", write_pages(COLUMNS, pages, csv_row))


@get("/findings/{finding_id:str}", responses=problems(400, 401, 403, 404), summary="One finding")
async def get_finding(request: AnyRequest, finding_id: FindingId, findings: NamedDependency[Findings]) -> FindingOut:
    """Both sides' values, and what to do. Its history is in the audit, object kind `finding`."""
    admin: AdminIdentity = request.user
    return finding_out(await findings.get(admin.scope_tenant_id, finding_id=_id(finding_id)))


@post(
    "/findings/{finding_id:str}/resolve",
    status_code=200,
    responses=problems(400, 401, 403, 404, 422),
    summary="Be done with a finding",
)
async def post_resolve(
    request: AnyRequest,
    finding_id: FindingId,
    findings: NamedDependency[Findings],
    data: JSONBody[ResolveIn | None] = None,
) -> FindingOut:
    """Later runs leave it resolved as long as both sides say the same as now. Again: the same answer."""
    body = data or ResolveIn()
    admin: AdminIdentity = request.user
    return finding_out(
        await findings.resolve(
            admin.scope_tenant_id,
            finding_id=_id(finding_id),
            code=parse_resolution(body.resolution_code),
            note=body.note,
            actor=actor_of(request),
        )
    )


@post(
    "/findings/{finding_id:str}/reopen",
    status_code=200,
    responses=problems(400, 401, 403, 404, 422),
    summary="Open a finding again",
)
async def post_reopen(
    request: AnyRequest, finding_id: FindingId, findings: NamedDependency[Findings], data: JSONBody[NoteIn]
) -> FindingOut:
    """With the reason. An open one stays open."""
    admin: AdminIdentity = request.user
    return finding_out(
        await findings.reopen(
            admin.scope_tenant_id, finding_id=_id(finding_id), note=data.note, actor=actor_of(request)
        )
    )


@post(
    "/findings/{finding_id:str}/assign",
    status_code=200,
    responses=problems(400, 401, 403, 404, 422),
    summary="Give a finding to somebody",
)
async def post_assign(
    request: AnyRequest, finding_id: FindingId, findings: NamedDependency[Findings], data: JSONBody[AssignIn]
) -> FindingOut:
    """An active admin of its tenant, or nobody."""
    admin: AdminIdentity = request.user
    return finding_out(
        await findings.assign(
            admin.scope_tenant_id,
            finding_id=_id(finding_id),
            assigned_to=data.assigned_to,
            note=data.note,
            actor=actor_of(request),
        )
    )


@post(
    "/findings/{finding_id:str}/notes",
    status_code=200,
    responses=problems(400, 401, 403, 404, 422),
    summary="Add a remark to a finding",
)
async def post_note(
    request: AnyRequest, finding_id: FindingId, findings: NamedDependency[Findings], data: JSONBody[NoteIn]
) -> FindingOut:
    """It is kept in the audit, with who wrote it and when."""
    admin: AdminIdentity = request.user
    return finding_out(
        await findings.note(admin.scope_tenant_id, finding_id=_id(finding_id), note=data.note, actor=actor_of(request))
    )


@post(
    "/findings/{finding_id:str}/replay",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409),
    summary="Ask the provider again and apply its answer",
)
async def post_replay(request: AnyRequest, finding_id: FindingId, findings: NamedDependency[Findings]) -> ReplayOut:
    """By the same way as a webhook; nothing is booked by hand, and twice is once."""
    admin: AdminIdentity = request.user
    applied = await findings.replay(admin.scope_tenant_id, finding_id=_id(finding_id), actor=actor_of(request))
    return ReplayOut(effect=applied.effect.value, detail=applied.detail, tx_id=applied.tx_id)


def _id(text: str) -> UUID:
    return path_uuid(text, missing=FindingNotFound())


def ensure_reason(text: str) -> str:
    """The reason itself. Raises FieldError when it says nothing."""
    if not text.strip():
        raise FieldError("reason", "is required")
    return text.strip()


router: Final = Router(
    "/payments/reconciliation",
    guards=[require_admin(*ROLES)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[
        list_findings,
        export_findings,
        get_finding,
        post_resolve,
        post_reopen,
        post_assign,
        post_note,
        post_replay,
    ],
    tags=["reconciliation"],
    security=[{"bearer": []}],
)
