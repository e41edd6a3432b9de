"""The audit, for every admin in the scope of their tenant."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from backend.app.api.guards import TENANT_PARAMETERS, require_admin
from backend.app.api.lists import (
    Cursor,
    CursorMeta,
    CursorPage,
    Instant,
    Limit,
    Offset,
    Text,
    next_cursor,
    parse_from,
    parse_to,
)
from backend.app.api.responses import problems
from backend.app.api.schemas import LIMIT_DEFAULT
from backend.app.domain.audit import ActorKind, AuditEvent, AuditFilter, State
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.services.audit import Audit

AnyRequest = Request[Any, Any, Any]


class AuditEventOut(msgspec.Struct, kw_only=True):
    """Who did what to which object. tenant_id null: a deed of the platform."""

    id: UUID
    tenant_id: UUID | None
    actor_kind: ActorKind
    actor_id: UUID | None
    actor_label: str
    action: str
    object_kind: str
    object_id: str
    reason: str | None
    before: State | None
    after: State | None
    request_id: str | None
    client_address: str | None
    recorded_at: datetime


@get("/events", responses=problems(400, 401, 403, 422), summary="What was done by whom, newest first")
async def list_events(
    request: AnyRequest,
    audit: NamedDependency[Audit],
    action: Text = None,
    actor: Annotated[Text, QueryParameter(description="Id or label of who acted")] = None,
    object_kind: Text = None,
    object_id: Text = None,
    tenant_id: Annotated[UUID | None, QueryParameter(description="Only deeds in this tenant")] = None,
    date_from: Instant = None,
    date_to: Instant = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[AuditEventOut]:
    """The deeds in one's tenant; for an owner without X-Tenant-ID, all of them and those of the platform."""
    admin: AdminIdentity = request.user
    page, total = await audit.list_page(
        admin.scope_tenant_id,
        asked=AuditFilter(
            tenant_id=tenant_id,
            action=action,
            actor=actor,
            object_kind=object_kind,
            object_id=object_id,
            date_from=parse_from(date_from, field="date_from"),
            date_to=parse_to(date_to, field="date_to"),
        ),
        before_id=cursor,
        limit=limit,
        offset=offset,
    )
    last_id = page[-1].id if page else None
    return CursorPage(
        items=[_event_out(event) for event in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=next_cursor(last_id, size=len(page), limit=limit)
        ),
    )


def _event_out(event: AuditEvent) -> AuditEventOut:
    return AuditEventOut(
        id=event.id,
        tenant_id=event.tenant_id,
        actor_kind=ActorKind(event.actor_kind),
        actor_id=event.actor_id,
        actor_label=event.actor_label,
        action=event.action,
        object_kind=event.object_kind,
        object_id=event.object_id,
        reason=event.reason,
        before=event.state_before,
        after=event.state_after,
        request_id=event.request_id,
        client_address=event.client_address,
        recorded_at=event.recorded_at,
    )


router: Final = Router(
    "/audit",
    guards=[require_admin(*Role)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[list_events],
    tags=["audit"],
    security=[{"bearer": []}],
)
