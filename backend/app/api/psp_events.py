"""The inbox of provider events, for those who look after payments."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import Cursor, CursorMeta, CursorPage, Limit, Offset, Text, next_cursor
from backend.app.api.responses import problems
from backend.app.api.schemas import LIMIT_DEFAULT
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.payments.psp_delivery import EventState, PspEventFilter, PspEventNotFound, PspEventRow
from backend.app.services.payments.psp_inbox import PspInbox

AnyRequest = Request[Any, Any, Any]

EventId = Annotated[str, PathParameter(description="The event", schema_extra={"format": "uuid"})]


class PspEventOut(msgspec.Struct, kw_only=True):
    """A delivery of a provider and what became of it. effect null: not applied, or nothing to apply.

    account_id is empty where the delivery names no account; signature_result says why it is not valid.
    """

    id: UUID
    provider: str
    account_id: str
    provider_event_id: str | None
    signature_status: str
    signature_result: str
    secret_name: str | None
    state: str
    event_type: str | None
    effect: str | None
    detail: str | None
    last_error: str | None
    attempts: int
    next_attempt_at: datetime | None
    body_size: int
    tenant_id: UUID | None
    tx_id: UUID | None
    received_at: datetime
    applied_at: datetime | None


class PullOut(msgspec.Struct, kw_only=True):
    """What each answer did: applied, nothing_new, orphan or finding."""

    effects: list[str]


@get("/", responses=problems(400, 401, 403, 422), summary="Provider events, newest first")
async def list_psp_events(
    request: AnyRequest,
    inbox: NamedDependency[PspInbox],
    provider: Text = None,
    # A name of its own: the framework keeps `state` for the application's.
    event_state: Annotated[EventState | None, QueryParameter(name="state")] = None,
    signature_status: Annotated[Text, QueryParameter(description="valid or unverified")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[PspEventOut]:
    """Deliveries of one's tenant; for an owner without X-Tenant-ID all, those of unknown tenants included."""
    admin: AdminIdentity = request.user
    page, total = await inbox.list_page(
        admin.scope_tenant_id,
        asked=PspEventFilter(
            provider=provider,
            state=None if event_state is None else event_state.value,
            signature_status=signature_status,
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


@post(
    "/{event_id:str}/reprocess",
    status_code=200,
    responses=problems(400, 401, 403, 404),
    summary="Apply a provider event again",
)
async def post_reprocess(request: AnyRequest, event_id: EventId, inbox: NamedDependency[PspInbox]) -> PspEventOut:
    """Make it due now, however often it failed; applying it twice has one effect. An unverified one is asked about."""
    admin: AdminIdentity = request.user
    event = await inbox.reprocess(
        admin.scope_tenant_id, event_id=path_uuid(event_id, missing=PspEventNotFound()), actor=actor_of(request)
    )
    return _event_out(event)


@post(
    "/{event_id:str}/pull",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409),
    summary="Ask the provider about the payments that an event names",
)
async def post_pull(request: AnyRequest, event_id: EventId, inbox: NamedDependency[PspInbox]) -> PullOut:
    """Its answers are applied as a webhook's would be; twice is once. No effects: it has said nothing that is known."""
    admin: AdminIdentity = request.user
    applied = await inbox.pull(
        admin.scope_tenant_id, event_id=path_uuid(event_id, missing=PspEventNotFound()), actor=actor_of(request)
    )
    return PullOut(effects=[each.effect.value for each in applied])


def _event_out(event: PspEventRow) -> PspEventOut:
    return PspEventOut(**event._asdict())


router: Final = Router(
    "/payments/events",
    guards=[require_admin(Role.RECON, Role.FINANCE, Role.TENANT_ADMIN)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[list_psp_events, post_reprocess, post_pull],
    tags=["provider events"],
    security=[{"bearer": []}],
)
