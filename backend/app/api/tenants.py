"""Tenants, for platform owners."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import Limit, Offset
from backend.app.api.responses import problems
from backend.app.api.schemas import LIMIT_DEFAULT, PRINTABLE, CurrencyCode, Page, PageMeta
from backend.app.domain.identity import AdminIdentity
from backend.app.domain.ids import path_uuid
from backend.app.domain.money import parse_currency
from backend.app.domain.tenant import (
    BASE_CURRENCY_DEFAULT,
    NAME_LENGTH_MAX,
    SLUG_PATTERN,
    CreateTenant,
    Tenant,
    TenantNotFound,
    parse_slug,
)
from backend.app.services.tenants import Tenants

AnyRequest = Request[Any, Any, Any]

TenantId = Annotated[str, PathParameter(description="The tenant", schema_extra={"format": "uuid"})]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH_MAX, pattern=PRINTABLE)]
Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=SLUG_PATTERN)]


class TenantIn(msgspec.Struct, kw_only=True):
    """A new tenant. `slug` is its short name in addresses and on the command line, and never changes."""

    name: Name
    slug: Slug
    base_currency: CurrencyCode = BASE_CURRENCY_DEFAULT


class TenantChange(msgspec.Struct, kw_only=True):
    """What to change of a tenant; what is left out stays."""

    name: Name | None = None


class TenantFlags(msgspec.Struct, kw_only=True):
    """The tenant's own flags. ledger_enforce_override null: the levels below decide who the arbiter is."""

    ledger_enforce_override: bool | None


class PspAccountOut(msgspec.Struct, kw_only=True):
    """An account at a payment provider."""

    provider: str
    account_id: str


class TenantOut(msgspec.Struct, kw_only=True):
    """A tenant."""

    id: UUID
    slug: str
    name: str
    base_currency: str
    flags: TenantFlags
    psp_accounts: list[PspAccountOut]
    created_at: datetime
    updated_at: datetime


@get(responses=problems(400, 401, 403, 422), summary="Tenants, newest first")
async def list_tenants(
    request: AnyRequest, tenants: NamedDependency[Tenants], limit: Limit = LIMIT_DEFAULT, offset: Offset = 0
) -> Page[TenantOut]:
    """All tenants; with X-Tenant-ID, that one."""
    owner: AdminIdentity = request.user
    page, total = await tenants.list_page(owner.scope_tenant_id, limit=limit, offset=offset)
    return Page(items=[_tenant_out(tenant) for tenant in page], meta=PageMeta(total=total, limit=limit, offset=offset))


@post(responses=problems(400, 401, 403, 409, 413, 422), summary="Make a tenant")
async def post_tenant(request: AnyRequest, data: JSONBody[TenantIn], tenants: NamedDependency[Tenants]) -> TenantOut:
    """A new tenant, with an account of its own at MockPSP; 409 when the slug is taken."""
    tenant = await tenants.create(
        CreateTenant(
            name=data.name,
            slug=parse_slug(data.slug),
            base_currency=parse_currency(data.base_currency, field="base_currency"),
        ),
        actor=actor_of(request),
    )
    return _tenant_out(tenant)


@patch("/{tenant_id:str}", responses=problems(400, 401, 403, 404, 413, 422), summary="Rename a tenant")
async def patch_tenant(
    request: AnyRequest, tenant_id: TenantId, data: JSONBody[TenantChange], tenants: NamedDependency[Tenants]
) -> TenantOut:
    """The tenant as it is afterwards. Flags are changed by the rollout's own routes."""
    owner: AdminIdentity = request.user
    id_ = path_uuid(tenant_id, missing=TenantNotFound())
    if data.name is None:
        return _tenant_out(await tenants.get(owner.scope_tenant_id, tenant_id=id_))
    return _tenant_out(
        await tenants.rename(owner.scope_tenant_id, tenant_id=id_, name=data.name, actor=actor_of(request))
    )


def _tenant_out(tenant: Tenant) -> TenantOut:
    return TenantOut(
        id=tenant.id,
        slug=tenant.slug,
        name=tenant.name,
        base_currency=tenant.base_currency,
        flags=TenantFlags(ledger_enforce_override=tenant.ledger_enforce_override),
        psp_accounts=[
            PspAccountOut(provider=account.provider, account_id=account.account_id) for account in tenant.psp_accounts
        ],
        created_at=tenant.created_at,
        updated_at=tenant.updated_at,
    )


router: Final = Router(
    "/tenants",
    guards=[require_admin()],
    parameters=TENANT_PARAMETERS,
    route_handlers=[list_tenants, post_tenant, patch_tenant],
    tags=["tenants"],
    security=[{"bearer": []}],
)
