"""The rollout: where tenants stand, the flip and the way back."""

from typing import Annotated, Any, Final

from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import Limit, Offset
from backend.app.api.responses import problems
from backend.app.api.rollout_schemas import (
    ArbiterOut,
    EnforceIn,
    TenantRolloutDetailOut,
    TenantRolloutOut,
    arbiter_out,
    detail_out,
    status_out,
)
from backend.app.api.schemas import LIMIT_DEFAULT, Page, PageMeta
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.rollout.flags import parse_reason
from backend.app.domain.rollout.gates import parse_waived
from backend.app.domain.tenant import TenantNotFound
from backend.app.services.rollout.rollout import Rollout
from backend.app.services.rollout.rollout_status import RolloutStatus

AnyRequest = Request[Any, Any, Any]
TenantId = Annotated[str, PathParameter(description="The tenant", schema_extra={"format": "uuid"})]


@get(responses=problems(400, 401, 403, 422), guards=[require_admin(*Role)], summary="Where tenants stand")
async def list_rollout(
    request: AnyRequest,
    rollout_status: NamedDependency[RolloutStatus],
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> Page[TenantRolloutOut]:
    """Stage, flags and where they come from, coverage, mismatches, gates and holds of every tenant one may see."""
    admin: AdminIdentity = request.user
    page, total = await rollout_status.list_page(admin.scope_tenant_id, limit=limit, offset=offset)
    return Page(items=[status_out(each) for each in page], meta=PageMeta(total=total, limit=limit, offset=offset))


@get(
    "/tenants/{tenant_id:str}",
    responses=problems(400, 401, 403, 404),
    guards=[require_admin(*Role)],
    summary="Where one tenant stands",
)
async def get_tenant_rollout(
    request: AnyRequest, tenant_id: TenantId, rollout_status: NamedDependency[RolloutStatus]
) -> TenantRolloutDetailOut:
    """The same of one tenant, with its last flips and the wallets that were seen to differ."""
    admin: AdminIdentity = request.user
    id_ = path_uuid(tenant_id, missing=TenantNotFound())
    return detail_out(await rollout_status.get(admin.scope_tenant_id, tenant_id=id_))


@post(
    "/tenants/{tenant_id:str}/enforce",
    status_code=200,
    responses=problems(400, 401, 403, 404, 409, 413, 422),
    guards=[require_admin()],
    summary="Let the ledger decide, or roll back",
)
async def post_enforce(
    request: AnyRequest, tenant_id: TenantId, data: JSONBody[EnforceIn], rollout: NamedDependency[Rollout]
) -> ArbiterOut:
    """Answered once the flip is effective everywhere: nobody is judged by the old arbiter any more. Enforcing is 409
    `GATES_NOT_MET`, naming them, while gates stand against it; rolling back is never refused. Repeating changes
    nothing.
    """
    owner: AdminIdentity = request.user
    id_ = path_uuid(tenant_id, missing=TenantNotFound())
    if owner.scope_tenant_id not in (None, id_):
        raise TenantNotFound
    reason = parse_reason(data.reason)
    waived = parse_waived(data.override_gates)
    if data.enabled:
        return arbiter_out(await rollout.enforce(id_, reason=reason, actor=actor_of(request), waived_gates=waived))
    return arbiter_out(await rollout.rollback(id_, reason=reason, actor=actor_of(request)))


router: Final = Router(
    "/ops/rollout",
    parameters=TENANT_PARAMETERS,
    route_handlers=[list_rollout, get_tenant_rollout, post_enforce],
    tags=["rollout"],
    security=[{"bearer": []}],
)
