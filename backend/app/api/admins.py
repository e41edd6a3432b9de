"""Admins, for platform owners and tenant admins."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from backend.app.api.auth import Email, NewPassword
from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import Limit, Offset
from backend.app.api.responses import problems
from backend.app.api.schemas import LIMIT_DEFAULT, PRINTABLE, Page, PageMeta
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.people.admin import Admin, AdminNotFound, ChangeAdmin, CreateAdmin, tenant_of_new_admin
from backend.app.domain.people.email import parse_email
from backend.app.domain.people.password import parse_password
from backend.app.services.people.admins import Admins

AnyRequest = Request[Any, Any, Any]

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=PRINTABLE)]
AdminId = Annotated[str, PathParameter(description="The admin", schema_extra={"format": "uuid"})]


class AdminIn(msgspec.Struct, kw_only=True):
    """A new admin. `tenant_id` is for owners who send no X-Tenant-ID; an owner belongs to no tenant."""

    email: Email
    password: NewPassword
    role: Role
    tenant_id: UUID | None = None
    is_active: bool = True


class AdminChange(msgspec.Struct, kw_only=True):
    """What to change of an admin; what is left out stays. The tenant never changes."""

    email: Email | None = None
    password: NewPassword | None = None
    role: Role | None = None
    is_active: bool | None = None
    reason: Reason | None = None


class SessionsEnd(msgspec.Struct, kw_only=True):
    """Why somebody is signed out."""

    reason: Reason | None = None


class SessionsEnded(msgspec.Struct, kw_only=True):
    """How many sessions there were."""

    ended: int


class AdminOut(msgspec.Struct, kw_only=True):
    """An admin."""

    id: UUID
    tenant_id: UUID | None
    email: str
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime


@get(responses=problems(400, 401, 403, 422), summary="Admins, newest first")
async def list_admins(
    request: AnyRequest, admins: NamedDependency[Admins], limit: Limit = LIMIT_DEFAULT, offset: Offset = 0
) -> Page[AdminOut]:
    """The admins of one's tenant; for an owner without X-Tenant-ID, all of them."""
    admin: AdminIdentity = request.user
    page, total = await admins.list_page(admin.scope_tenant_id, limit=limit, offset=offset)
    return Page(items=[_admin_out(each) for each in page], meta=PageMeta(total=total, limit=limit, offset=offset))


@post(responses=problems(400, 401, 403, 404, 409, 413, 422), summary="Make an admin")
async def post_admin(request: AnyRequest, data: JSONBody[AdminIn], admins: NamedDependency[Admins]) -> AdminOut:
    """A new admin of one's tenant.

    An owner names the tenant by X-Tenant-ID or `tenant_id` (400 TENANT_REQUIRED), or makes another owner, who has none.
    """
    creator: AdminIdentity = request.user
    admin = await admins.create(
        CreateAdmin(
            tenant_id=tenant_of_new_admin(creator, role=data.role, asked=data.tenant_id),
            email=parse_email(data.email),
            password=parse_password(data.password),
            role=data.role,
            is_active=data.is_active,
        ),
        actor=actor_of(request),
    )
    return _admin_out(admin)


@patch("/{admin_id:str}", responses=problems(400, 401, 403, 404, 409, 413, 422), summary="Change an admin")
async def patch_admin(
    request: AnyRequest, admin_id: AdminId, data: JSONBody[AdminChange], admins: NamedDependency[Admins]
) -> AdminOut:
    """Takes effect at the admin's next request. The last active owner cannot be deactivated (409 LAST_OWNER), and
    nobody changes their own role (403 OWN_ACCOUNT).
    """
    by: AdminIdentity = request.user
    admin = await admins.change(
        by.scope_tenant_id,
        admin_id=path_uuid(admin_id, missing=AdminNotFound()),
        change=ChangeAdmin(
            email=None if data.email is None else parse_email(data.email),
            password=None if data.password is None else parse_password(data.password),
            role=data.role,
            is_active=data.is_active,
            reason=data.reason,
        ),
        by=by,
        actor=actor_of(request),
    )
    return _admin_out(admin)


@post(
    "/{admin_id:str}/end-sessions",
    status_code=200,
    responses=problems(400, 401, 403, 404, 413, 422),
    summary="Sign an admin out of the console",
)
async def post_end_sessions(
    request: AnyRequest, admin_id: AdminId, data: JSONBody[SessionsEnd], admins: NamedDependency[Admins]
) -> SessionsEnded:
    """Ends every session at the console. Tokens of this API are not sessions: deactivate the account to stop those."""
    by: AdminIdentity = request.user
    ended = await admins.end_sessions(
        by.scope_tenant_id,
        admin_id=path_uuid(admin_id, missing=AdminNotFound()),
        reason=data.reason,
        actor=actor_of(request),
    )
    return SessionsEnded(ended=ended)


def _admin_out(admin: Admin) -> AdminOut:
    return AdminOut(
        id=admin.id,
        tenant_id=admin.tenant_id,
        email=admin.email,
        role=Role(admin.role),
        is_active=admin.is_active,
        created_at=admin.created_at,
        updated_at=admin.updated_at,
    )


router: Final = Router(
    "/admins",
    guards=[require_admin(Role.TENANT_ADMIN)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[list_admins, post_admin, patch_admin, post_end_sessions],
    tags=["admins"],
    security=[{"bearer": []}],
)
