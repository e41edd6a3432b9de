"""Runs of reconciliation: ask for one, and look at what became of it."""

from datetime import date, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter

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
from backend.app.domain.identity import AdminIdentity, Forbidden, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.money import CURRENCY_EXPONENTS, format_amount
from backend.app.domain.reconciliation.reconciliation import Run, RunNotFound, RunStatus, StartRun
from backend.app.domain.tenant import TenantRequired
from backend.app.repositories.reconciliation.reconciliation_repo import Balance
from backend.app.services.reconciliation.reconciliation import Reconciliation

AnyRequest = Request[Any, Any, Any]

PROVIDER_DEFAULT: Final = "mockpsp"
ROLES: Final = (Role.RECON, Role.FINANCE, Role.TENANT_ADMIN)
RunId = Annotated[str, PathParameter(description="The run", schema_extra={"format": "uuid"})]
AskedTenant = Annotated[
    UUID | None,
    QueryParameter(description="Another tenant than one's own: owners only"),
]


class RunIn(msgspec.Struct, kw_only=True):
    """What to compare. Every field may be a query parameter instead; the body counts where both say something."""

    provider: str | None = None
    tenant_id: UUID | None = None
    window_start: str | None = None
    window_end: str | None = None
    dry_run: bool | None = None
    full: bool | None = None


class RunAskedOut(msgspec.Struct, kw_only=True):
    """A run that was asked for."""

    run_id: UUID
    status: RunStatus


class RunOut(msgspec.Struct, kw_only=True):
    """One run. tenant_id null: an owner's order to run all tenants, each of which has a run of its own.

    partial: what was found holds, and nothing else may be concluded. cutoff: until when the feed is final. file: the
    settlement file that was compared in the place of the provider's interface, with its digest.
    """

    id: UUID
    provider: str
    tenant_id: UUID | None
    parent_id: UUID | None
    status: RunStatus
    window_start: datetime | None
    window_end: datetime | None
    cutoff: datetime | None
    is_full: bool
    dry_run: bool
    is_feed_complete: bool | None
    counts: dict[str, Any]
    control_totals: dict[str, Any]
    file: dict[str, Any] | None
    started_by: str
    resumes: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None


class BalanceOut(msgspec.Struct, kw_only=True):
    """What both sides moved on a day, net: positive came in. Explained is what the findings add up to."""

    account_id: str
    currency: str
    day: date
    psp_items: int
    psp_net: str
    ledger_transactions: int
    ledger_net: str
    explained_net: str
    unexplained_net: str


class BalancesOut(msgspec.Struct, kw_only=True):
    """Days, the newest first."""

    items: list[BalanceOut]


@post(
    "/run", status_code=202, responses=problems(400, 401, 403, 409, 422), summary="Compare a provider with the ledger"
)
async def post_run(
    request: AnyRequest,
    reconciliation: NamedDependency[Reconciliation],
    data: JSONBody[RunIn | None] = None,
    provider: Text = None,
    tenant_id: AskedTenant = None,
    window_start: Instant = None,
    window_end: Instant = None,
    dry_run: Annotated[bool | None, QueryParameter()] = None,
    full: Annotated[bool | None, QueryParameter()] = None,
) -> RunAskedOut:
    """A worker carries it out; the run says what became of it. Without a window, what was not compared yet; `full`:
    from the beginning, and what is matched already once more. One of a tenant and provider at a time.

    Owners without a tenant compare all of them. A dry run writes no finding.
    """
    body = data or RunIn()
    admin: AdminIdentity = request.user
    start, end = body.window_start or window_start, body.window_end or window_end
    run_id = await reconciliation.start(
        StartRun(
            provider=body.provider or provider or PROVIDER_DEFAULT,
            tenant_id=tenant_of_run(admin, asked=body.tenant_id or tenant_id),
            started_by=admin.email,
            started_by_id=admin.admin_id,
            window_start=parse_from(start, field="window_start"),
            window_end=parse_to(end, field="window_end"),
            is_dry_run=_either(body.dry_run, dry_run),
            is_full=_either(body.full, full),
        )
    )
    return RunAskedOut(run_id=run_id, status=RunStatus.QUEUED)


@get("/runs", responses=problems(400, 401, 403, 422), summary="Runs, newest first")
async def list_runs(
    request: AnyRequest,
    reconciliation: NamedDependency[Reconciliation],
    provider: Text = None,
    status: Annotated[RunStatus | None, QueryParameter()] = None,
    tenant_id: AskedTenant = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[RunOut]:
    """The runs of one's tenant; for an owner without X-Tenant-ID, all of them."""
    admin: AdminIdentity = request.user
    page, total = await reconciliation.list_page(
        admin.scope_tenant_id,
        asked_tenant_id=tenant_id,
        provider=provider,
        status=status,
        before_id=cursor,
        limit=limit,
        offset=offset,
    )
    last_id = page[-1].id if page else None
    return CursorPage(
        items=[run_out(run) for run in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=next_cursor(last_id, size=len(page), limit=limit)
        ),
    )


@get("/runs/{run_id:str}", responses=problems(400, 401, 403, 404), summary="One run")
async def get_run(request: AnyRequest, run_id: RunId, reconciliation: NamedDependency[Reconciliation]) -> RunOut:
    """What it compared, with what result, and what each side claimed in all."""
    admin: AdminIdentity = request.user
    return run_out(await reconciliation.get(admin.scope_tenant_id, run_id=path_uuid(run_id, missing=RunNotFound())))


@get("/balances", responses=problems(400, 401, 403, 422), summary="Both sides day by day")
async def list_balances(
    request: AnyRequest,
    reconciliation: NamedDependency[Reconciliation],
    provider: Text = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> BalancesOut:
    """By account, currency and UTC day, as of the last run that looked at the day."""
    admin: AdminIdentity = request.user
    if admin.scope_tenant_id is None:
        raise TenantRequired
    balances = await reconciliation.list_balances(
        admin.scope_tenant_id, provider=provider or PROVIDER_DEFAULT, limit=limit, offset=offset
    )
    return BalancesOut(items=[_balance_out(each) for each in balances])


def tenant_of_run(admin: AdminIdentity, *, asked: UUID | None) -> UUID | None:
    """The tenant that a run is about; None: all of them. Raises Forbidden for another's, unless an owner asks."""
    if asked is None or asked == admin.scope_tenant_id:
        return admin.scope_tenant_id
    if admin.role is not Role.OWNER or admin.scope_tenant_id is not None:
        raise Forbidden("another tenant can be compared by platform owners only")
    return asked


def run_out(run: Run) -> RunOut:
    """The run as an answer shows it."""
    return RunOut(
        id=run.id,
        provider=run.provider,
        tenant_id=run.tenant_id,
        parent_id=run.parent_id,
        status=RunStatus(run.status),
        window_start=run.window_start,
        window_end=run.window_end,
        cutoff=run.cutoff,
        is_full=run.is_full,
        dry_run=run.is_dry_run,
        is_feed_complete=run.is_feed_complete,
        counts=dict(run.counts),
        control_totals=dict(run.control_totals),
        file=None if run.file is None else dict(run.file),
        started_by=run.started_by,
        resumes=run.resumes,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        error=run.error,
    )


def _either(first: bool | None, second: bool | None) -> bool:
    return bool(second if first is None else first)


def _balance_out(balance: Balance) -> BalanceOut:
    def amount(minor: Any) -> str:
        known = balance.currency in CURRENCY_EXPONENTS
        return format_amount(int(minor), currency=balance.currency) if known else str(minor)

    return BalanceOut(
        account_id=balance.account_id,
        currency=balance.currency,
        day=balance.day,
        psp_items=balance.psp_items,
        psp_net=amount(balance.psp_net),
        ledger_transactions=balance.ledger_transactions,
        ledger_net=amount(balance.ledger_net),
        explained_net=amount(balance.explained_net),
        unexplained_net=amount(balance.psp_net - balance.ledger_net - balance.explained_net),
    )


router: Final = Router(
    "/payments/reconciliation",
    guards=[require_admin(*ROLES)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[post_run, list_runs, get_run, list_balances],
    tags=["reconciliation"],
    security=[{"bearer": []}],
)
