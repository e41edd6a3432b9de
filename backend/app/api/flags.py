"""Flags: set with a reason, answered with what they come to."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from litestar import Request, Router, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.responses import problems
from backend.app.api.rollout_schemas import FlagIn, FlagsOut, flag_out
from backend.app.domain.errors import FieldError
from backend.app.domain.identity import AdminIdentity
from backend.app.domain.rollout.flags import SetFlag, parse_flag, parse_reason
from backend.app.domain.tenant import TenantNotFound
from backend.app.services.rollout.flags import Flags

FlagName = Annotated[str, PathParameter(description="The flag, such as webhook_signature_enforced")]


@put(
    "/{flag:str}",
    responses=problems(400, 401, 403, 404, 409, 413, 422),
    summary="Set a flag, or leave it to the levels below",
)
async def put_flag(
    request: Request[Any, Any, Any], flag: FlagName, data: JSONBody[FlagIn], flags: NamedDependency[Flags]
) -> FlagsOut:
    """The effective flags afterwards, and where each comes from. To let the ledger decide is to pass the gates, here
    too.
    """
    owner: AdminIdentity = request.user
    if data.expires_at is not None and data.expires_at.tzinfo is None:
        raise FieldError("expires_at", "needs an offset, such as Z")
    if data.tenant_id is not None and owner.scope_tenant_id not in (None, data.tenant_id):
        raise TenantNotFound
    wish = SetFlag(
        flag=parse_flag(flag),
        value=data.value,
        scope=data.scope,
        tenant_id=data.tenant_id,
        provider=data.provider,
        reason=parse_reason(data.reason),
        expires_at=data.expires_at,
    )
    effective = await flags.set(wish, actor=actor_of(request), now=datetime.now(UTC))
    return FlagsOut(tenant_id=wish.tenant_id, provider=wish.provider, flags=[flag_out(each) for each in effective])


router: Final = Router(
    "/ops/flags",
    guards=[require_admin()],
    parameters=TENANT_PARAMETERS,
    route_handlers=[put_flag],
    tags=["rollout"],
    security=[{"bearer": []}],
)
