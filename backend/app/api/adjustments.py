"""Adjustments: propose one, and approve or reject somebody else's."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

from backend.app.api.findings import ensure_reason
from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import Cursor, CursorMeta, CursorPage, Limit, Offset, next_cursor
from backend.app.api.reconciliation import ROLES
from backend.app.api.responses import problems
from backend.app.api.schemas import LIMIT_DEFAULT
from backend.app.domain.finding import FindingNotFound
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.money import format_amount
from backend.app.domain.reconciliation.adjustment import (
    REASON_LENGTH_MAX,
    Adjustment,
    AdjustmentNotFound,
    AdjustmentStatus,
    ProposeAdjustment,
    parse_signed,
)
from backend.app.domain.tenant import tenant_of_new
from backend.app.services.reconciliation.adjustments import Adjustments
from backend.app.services.reconciliation.findings import Findings

AnyRequest = Request[Any, Any, Any]

FindingId = Annotated[str, PathParameter(description="The finding", schema_extra={"format": "uuid"})]
AdjustmentId = Annotated[str, PathParameter(description="The adjustment", schema_extra={"format": "uuid"})]
Reason = Annotated[str, msgspec.Meta(max_length=REASON_LENGTH_MAX)]
Signed = Annotated[
    str,
    msgspec.Meta(
        max_length=40, pattern=r"^-?[0-9]+(\.[0-9]+)?$", description="A decimal string in major units; may be negative"
    ),
]


class AdjustmentIn(msgspec.Struct, kw_only=True):
    """close_payment: settle the finding's open payment at what really moved; the amounts follow from that.

    Else player_amount: what the player gets (negative: gives); clearing_amount: what the provider has collected for us
    beyond what is booked (negative: less). Both against house:adjustment.
    """

    reason: Reason
    close_payment: bool = False
    player_amount: Signed | None = None
    clearing_amount: Signed | None = None


class FreeAdjustmentIn(msgspec.Struct, kw_only=True):
    """An adjustment without a finding. tenant_id: for owners who are in no tenant."""

    player_id: UUID
    player_amount: Signed
    reason: Reason
    tenant_id: UUID | None = None


class DecisionIn(msgspec.Struct, kw_only=True):
    """Why."""

    note: Reason | None = None


class AdjustmentOut(msgspec.Struct, kw_only=True):
    """One adjustment. closes_id: the deposit or withdrawal that it settles."""

    id: UUID
    tenant_id: UUID
    player_id: UUID
    finding_id: UUID | None
    currency: str
    player_amount: str
    clearing_amount: str
    provider: str | None
    closes_kind: str | None
    closes_id: UUID | None
    reason: str
    status: AdjustmentStatus
    proposed_by: UUID
    proposed_at: datetime
    decided_by: UUID | None
    decided_at: datetime | None
    decision_note: str | None


@post(
    "/findings/{finding_id:str}/adjustment",
    status_code=201,
    responses=problems(400, 401, 403, 404, 409, 422),
    summary="Propose the correction of a finding",
)
async def post_adjustment(
    request: AnyRequest,
    finding_id: FindingId,
    adjustments: NamedDependency[Adjustments],
    findings: NamedDependency[Findings],
    data: JSONBody[AdjustmentIn],
) -> AdjustmentOut:
    """Nothing moves until somebody else approves it."""
    admin: AdminIdentity = request.user
    reason = ensure_reason(data.reason)
    found_id = path_uuid(finding_id, missing=FindingNotFound())
    if data.close_payment:
        command, tenant_id = await adjustments.plan_for(admin.scope_tenant_id, finding_id=found_id, reason=reason)
    else:
        finding = await findings.get(admin.scope_tenant_id, finding_id=found_id)
        tenant_id = finding.tenant_id
        if finding.player_id is None:
            raise FindingNotFound("the finding is about no player")
        currency = await adjustments.currency_of(tenant_id, player_id=finding.player_id)
        command = ProposeAdjustment(
            player_id=finding.player_id,
            player_amount=parse_signed(data.player_amount, currency=currency, field="player_amount"),
            clearing_amount=parse_signed(data.clearing_amount, currency=currency, field="clearing_amount"),
            reason=reason,
            provider=finding.provider,
            finding_id=found_id,
        )
    return _out(
        await adjustments.propose(admin.scope_tenant_id, command=command, tenant_id=tenant_id, actor=actor_of(request))
    )


@post(
    "/adjustments",
    status_code=201,
    responses=problems(400, 401, 403, 404, 422),
    summary="Propose a correction of a player's balance",
)
async def post_free_adjustment(
    request: AnyRequest, adjustments: NamedDependency[Adjustments], data: JSONBody[FreeAdjustmentIn]
) -> AdjustmentOut:
    """Nothing moves until somebody else approves it."""
    admin: AdminIdentity = request.user
    tenant_id = tenant_of_new(admin, asked=data.tenant_id)
    currency = await adjustments.currency_of(tenant_id, player_id=data.player_id)
    command = ProposeAdjustment(
        player_id=data.player_id,
        player_amount=parse_signed(data.player_amount, currency=currency, field="player_amount"),
        clearing_amount=0,
        reason=ensure_reason(data.reason),
    )
    return _out(
        await adjustments.propose(admin.scope_tenant_id, command=command, tenant_id=tenant_id, actor=actor_of(request))
    )


@get("/adjustments", responses=problems(400, 401, 403, 422), summary="Adjustments, newest first")
async def list_adjustments(
    request: AnyRequest,
    adjustments: NamedDependency[Adjustments],
    status: Annotated[AdjustmentStatus | None, QueryParameter()] = None,
    finding_id: Annotated[UUID | None, QueryParameter()] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[AdjustmentOut]:
    """The adjustments of one's tenant; for an owner without X-Tenant-ID, all of them."""
    admin: AdminIdentity = request.user
    page, total = await adjustments.list_page(
        admin.scope_tenant_id,
        status=status,
        finding_id=finding_id,
        before_id=cursor,
        limit=limit,
        offset=offset,
    )
    last_id = page[-1].id if page else None
    return CursorPage(
        items=[_out(each) for each in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=next_cursor(last_id, size=len(page), limit=limit)
        ),
    )


@post(
    "/adjustments/{adjustment_id:str}/approve",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409, 422),
    summary="Approve an adjustment of somebody else",
)
async def post_approve(
    request: AnyRequest,
    adjustment_id: AdjustmentId,
    adjustments: NamedDependency[Adjustments],
    data: JSONBody[DecisionIn | None] = None,
) -> AdjustmentOut:
    """It is carried out at once, or refused as a whole and still a proposal. Its finding is resolved with it."""
    return await _decide(request, adjustment_id, adjustments, is_approved=True, data=data)


@post(
    "/adjustments/{adjustment_id:str}/reject",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409, 422),
    summary="Reject an adjustment, or take one's own back",
)
async def post_reject(
    request: AnyRequest,
    adjustment_id: AdjustmentId,
    adjustments: NamedDependency[Adjustments],
    data: JSONBody[DecisionIn | None] = None,
) -> AdjustmentOut:
    """Nothing moves."""
    return await _decide(request, adjustment_id, adjustments, is_approved=False, data=data)


async def _decide(
    request: AnyRequest,
    adjustment_id: str,
    adjustments: Adjustments,
    *,
    is_approved: bool,
    data: DecisionIn | None,
) -> AdjustmentOut:
    admin: AdminIdentity = request.user
    return _out(
        await adjustments.decide(
            admin.scope_tenant_id,
            adjustment_id=path_uuid(adjustment_id, missing=AdjustmentNotFound()),
            is_approved=is_approved,
            note=None if data is None else data.note,
            actor=actor_of(request),
        )
    )


def _out(adjustment: Adjustment) -> AdjustmentOut:
    return AdjustmentOut(
        id=adjustment.id,
        tenant_id=adjustment.tenant_id,
        player_id=adjustment.player_id,
        finding_id=adjustment.finding_id,
        currency=adjustment.currency,
        player_amount=format_amount(adjustment.player_amount, currency=adjustment.currency),
        clearing_amount=format_amount(adjustment.clearing_amount, currency=adjustment.currency),
        provider=adjustment.provider,
        closes_kind=adjustment.closes_kind,
        closes_id=adjustment.closes_id,
        reason=adjustment.reason,
        status=AdjustmentStatus(adjustment.status),
        proposed_by=adjustment.proposed_by,
        proposed_at=adjustment.proposed_at,
        decided_by=adjustment.decided_by,
        decided_at=adjustment.decided_at,
        decision_note=adjustment.decision_note,
    )


router: Final = Router(
    "/payments/reconciliation",
    guards=[require_admin(*ROLES)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[post_adjustment, post_free_adjustment],
    tags=["reconciliation"],
    security=[{"bearer": []}],
)
decisions_router: Final = Router(
    "/payments/reconciliation",
    guards=[require_admin(*ROLES, Role.APPROVER)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[list_adjustments, post_approve, post_reject],
    tags=["reconciliation"],
    security=[{"bearer": []}],
)
