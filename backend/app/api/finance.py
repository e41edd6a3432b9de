"""Withdrawals as finance works on them: look for them, decide, pay, give up, export."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter
from litestar.response import Stream

from backend.app.api.finance_query import PageCursor, provide_filter
from backend.app.api.finance_schemas import (
    BulkAnswer,
    BulkIn,
    BulkResult,
    DeedAnswerOut,
    MarkPaidIn,
    Rail,
    ReasonIn,
    ReviewIn,
    WithdrawalDetailOut,
    WithdrawalOut,
    withdrawal_detail_out,
    withdrawal_out,
)
from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import (
    CursorMeta,
    CursorPage,
    Limit,
    Offset,
)
from backend.app.api.problems import REPLAYED_HEADER
from backend.app.api.responses import CSV_MEDIA_TYPE, download, problems
from backend.app.api.schemas import LIMIT_DEFAULT
from backend.app.domain import idempotency
from backend.app.domain.csv_cells import write_pages
from backend.app.domain.desk.withdrawal_csv import csv_header, csv_row
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.payments.finance import (
    Deed,
    DeedAnswer,
    FinanceWithdrawal,
    Sort,
    WithdrawalFilter,
)
from backend.app.domain.payments.finance_cursor import format_cursor, parse_cursor
from backend.app.domain.payments.withdrawal_lifecycle import Action, WithdrawalNotFound
from backend.app.services.payments.finance import Finance

AnyRequest = Request[Any, Any, Any]

WithdrawalId = Annotated[str, PathParameter(description="The withdrawal", schema_extra={"format": "uuid"})]
OptionalKey = Annotated[
    str | None,
    HeaderParameter(
        name=idempotency.HEADER,
        required=False,
        min_length=1,
        max_length=1024,
        description="The same key and content again is answered with the first answer and `Idempotent-Replayed: true`",
    ),
]
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        required=False,
        min_length=1,
        max_length=64,
        description="The version that was seen, as in `ETag`; another is current: 409 INVALID_STATE_TRANSITION",
    ),
]
DEED_PROBLEMS: Final = problems(400, 401, 403, 404, 409, 413, 422)
# The framework adds the charset.


@get(
    "/withdrawals",
    dependencies={"asked": Provide(provide_filter, sync_to_thread=False)},
    responses=problems(400, 401, 403, 422),
    summary="Withdrawals, newest first unless sorted otherwise",
)
async def list_withdrawals(
    request: AnyRequest,
    finance: NamedDependency[Finance],
    asked: NamedDependency[WithdrawalFilter],
    sort: Annotated[Sort, QueryParameter(description="Amounts are compared in minor units")] = Sort.NEWEST,
    cursor: PageCursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[WithdrawalOut]:
    """The withdrawals of one's tenant; for an owner without X-Tenant-ID, all of them."""
    admin: AdminIdentity = request.user
    page, total = await finance.list_page(
        admin.scope_tenant_id,
        asked=asked,
        sort=sort,
        after=None if cursor is None else parse_cursor(cursor, sort=sort),
        limit=limit,
        offset=offset,
    )
    is_last = len(page) < limit
    return CursorPage(
        items=[_out(finance, withdrawal, admin) for withdrawal in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=None if is_last else format_cursor(page[-1], sort)
        ),
    )


@get(
    "/withdrawals.csv",
    dependencies={"asked": Provide(provide_filter, sync_to_thread=False)},
    media_type=CSV_MEDIA_TYPE,
    responses=problems(400, 401, 403, 422),
    summary="The withdrawals that match, all of them, as CSV",
)
async def export_withdrawals(
    request: AnyRequest,
    finance: NamedDependency[Finance],
    asked: NamedDependency[WithdrawalFilter],
    sort: Annotated[Sort, QueryParameter(description="Amounts are compared in minor units")] = Sort.NEWEST,
) -> Stream:
    """The whole filtered set as it is at one moment, streamed. A text that a spreadsheet would take for a formula gets
    an apostrophe before it; numbers are left alone. The export is audited.
    """
    admin: AdminIdentity = request.user
    pages = await finance.export(admin.scope_tenant_id, asked=asked, sort=sort, actor=actor_of(request))
    return download("withdrawals", write_pages(csv_header(), pages, csv_row))


@get("/withdrawals/{tx_id:str}", responses=problems(400, 401, 403, 404), summary="One withdrawal with its history")
async def get_withdrawal(
    request: AnyRequest, tx_id: WithdrawalId, finance: NamedDependency[Finance]
) -> Response[WithdrawalDetailOut]:
    """The withdrawal, its timeline, attempts and ledger transactions. A provider that has not said what became of it is
    asked, at most once a minute.
    """
    admin: AdminIdentity = request.user
    detail = await finance.get(admin.scope_tenant_id, withdrawal_id=_id(tx_id), now=datetime.now(UTC))
    allowed = finance.allowed_actions(detail.withdrawal, admin_id=admin.admin_id)
    return Response(
        withdrawal_detail_out(detail, allowed_actions=allowed), headers={"ETag": f'"{detail.withdrawal.version}"'}
    )


@post(
    "/withdrawals/{tx_id:str}/review",
    status_code=HTTPStatus.OK,
    responses=DEED_PROBLEMS,
    summary="Approve or reject",
)
async def review(
    request: AnyRequest,
    tx_id: WithdrawalId,
    data: JSONBody[ReviewIn],
    finance: NamedDependency[Finance],
    idempotency_key: OptionalKey = None,
    if_match: IfMatch = None,
) -> Response[DeedAnswerOut]:
    """From the four-eyes threshold on, two different people have to approve; the first approval leads to
    `awaiting_second_approval`. Rejecting needs a reason and releases the hold.
    """
    deed = Deed(
        withdrawal_id=_id(tx_id),
        action=Action(data.action.value),
        reason=data.reason,
        seen_version=_seen_version(data.version, if_match),
        idempotency_key=_parse_key(idempotency_key),
    )
    return await _perform(request, finance, deed)


@post(
    "/withdrawals/{tx_id:str}/mark-paid",
    status_code=HTTPStatus.OK,
    responses=DEED_PROBLEMS,
    summary="Pay, through the provider or by hand",
)
async def mark_paid(
    request: AnyRequest,
    tx_id: WithdrawalId,
    data: JSONBody[MarkPaidIn],
    finance: NamedDependency[Finance],
    idempotency_key: OptionalKey = None,
    if_match: IfMatch = None,
) -> Response[DeedAnswerOut]:
    """Without a rail: through the withdrawal's provider; `paid` when it confirms at once, else `processing`. With the
    rail `manual`: it was paid outside, which `evidence_ref` proves.
    """
    is_manual = data.rail is Rail.MANUAL
    evidence_ref = (data.evidence_ref or "").strip() or None
    if is_manual and evidence_ref is None:
        raise FieldError("evidence_ref", "is required on the manual rail")
    if evidence_ref is not None and not is_manual:
        raise FieldError("evidence_ref", "belongs to the manual rail")
    deed = Deed(
        withdrawal_id=_id(tx_id),
        action=Action.PAY_MANUALLY if is_manual else Action.DISPATCH,
        evidence_ref=evidence_ref,
        seen_version=_seen_version(data.version, if_match),
        idempotency_key=_parse_key(idempotency_key),
    )
    return await _perform(request, finance, deed)


@post(
    "/withdrawals/{tx_id:str}/retry",
    status_code=HTTPStatus.OK,
    responses=DEED_PROBLEMS,
    summary="Let a failed one be paid again",
)
async def retry(
    request: AnyRequest,
    tx_id: WithdrawalId,
    data: JSONBody[ReasonIn],
    finance: NamedDependency[Finance],
    idempotency_key: OptionalKey = None,
    if_match: IfMatch = None,
) -> Response[DeedAnswerOut]:
    """Back to `approved`; its approvals still stand. The next payment is a new attempt."""
    return await _perform_with_reason(
        request, finance, Action.RETRY, tx_id=tx_id, data=data, key=idempotency_key, if_match=if_match
    )


@post(
    "/withdrawals/{tx_id:str}/cancel",
    status_code=HTTPStatus.OK,
    responses=DEED_PROBLEMS,
    summary="Give up and release the hold",
)
async def cancel(
    request: AnyRequest,
    tx_id: WithdrawalId,
    data: JSONBody[ReasonIn],
    finance: NamedDependency[Finance],
    idempotency_key: OptionalKey = None,
    if_match: IfMatch = None,
) -> Response[DeedAnswerOut]:
    """Of one that is requested, approved or failed; never while a provider may be paying it. Needs a reason."""
    return await _perform_with_reason(
        request, finance, Action.CANCEL, tx_id=tx_id, data=data, key=idempotency_key, if_match=if_match
    )


@post(
    "/withdrawals/bulk",
    status_code=HTTPStatus.OK,
    responses=problems(400, 401, 403, 413, 422),
    summary="The same for many",
)
async def bulk(
    request: AnyRequest,
    data: JSONBody[BulkIn],
    finance: NamedDependency[Finance],
    idempotency_key: OptionalKey = None,
) -> BulkAnswer:
    """Each on its own: some may be done and others refused, and each result says which. An id that is named twice is
    done once and has one result.
    """
    admin: AdminIdentity = request.user
    key = _parse_key(idempotency_key)
    ids = list(dict.fromkeys(data.tx_ids))
    deeds = [
        Deed(
            withdrawal_id=tx_id,
            action=Action(data.action.value),
            reason=data.reason,
            # A key names one deed, and a player may have several withdrawals in one call.
            idempotency_key=None if key is None else f"{key} {tx_id}",
        )
        for tx_id in ids
    ]
    outcomes = await finance.perform_many(deeds, admin=admin, actor=actor_of(request))
    return BulkAnswer(
        results=[_bulk_result(finance, tx_id, each, admin) for tx_id, each in zip(ids, outcomes, strict=True)]
    )


async def _perform_with_reason(
    request: AnyRequest,
    finance: Finance,
    action: Action,
    *,
    tx_id: str,
    data: ReasonIn,
    key: str | None,
    if_match: str | None,
) -> Response[DeedAnswerOut]:
    deed = Deed(
        withdrawal_id=_id(tx_id),
        action=action,
        reason=data.reason,
        seen_version=_seen_version(data.version, if_match),
        idempotency_key=_parse_key(key),
    )
    return await _perform(request, finance, deed)


async def _perform(request: AnyRequest, finance: Finance, deed: Deed) -> Response[DeedAnswerOut]:
    admin: AdminIdentity = request.user
    answer = await finance.perform(deed, admin=admin, actor=actor_of(request))
    headers = {"ETag": f'"{answer.withdrawal.version}"'}
    if answer.is_replay:
        headers[REPLAYED_HEADER] = "true"
    return Response(DeedAnswerOut(transaction=_out(finance, answer.withdrawal, admin)), headers=headers)


def _bulk_result(finance: Finance, tx_id: UUID, outcome: DeedAnswer | AppError, admin: AdminIdentity) -> BulkResult:
    if isinstance(outcome, AppError):
        return BulkResult(tx_id=tx_id, ok=False, error_code=outcome.error_code, detail=outcome.detail)
    return BulkResult(tx_id=tx_id, ok=True, transaction=_out(finance, outcome.withdrawal, admin))


def _out(finance: Finance, withdrawal: FinanceWithdrawal, admin: AdminIdentity) -> WithdrawalOut:
    return withdrawal_out(withdrawal, allowed_actions=finance.allowed_actions(withdrawal, admin_id=admin.admin_id))


def _id(text: str) -> UUID:
    return path_uuid(text, missing=WithdrawalNotFound())


def _parse_key(header: str | None) -> str | None:
    return None if header is None else idempotency.parse_key(header)


def _seen_version(in_body: int | None, if_match: str | None) -> int | None:
    """The version that the client saw, from the body or the header. Raises FieldError when they disagree."""
    if if_match is None or if_match.strip() == "*":
        return in_body
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise FieldError("If-Match", "must be the version as in ETag")
    if in_body is not None and in_body != int(text):
        raise FieldError("version", "differs from If-Match")
    return int(text)


router: Final = Router(
    "/finance",
    guards=[require_admin(Role.TENANT_ADMIN, Role.FINANCE, Role.APPROVER)],
    parameters=TENANT_PARAMETERS,
    route_handlers=[
        list_withdrawals,
        export_withdrawals,
        get_withdrawal,
        review,
        mark_paid,
        retry,
        cancel,
        bulk,
    ],
    tags=["finance"],
    security=[{"bearer": []}],
)
