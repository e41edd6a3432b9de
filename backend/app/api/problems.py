"""Every error as application/problem+json (RFC 9457): one shape, for refusals, for bad requests and for bugs."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import psycopg
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)

from backend.app.api.body import MalformedJson
from backend.app.domain.errors import AppError, TemporarilyUnavailable
from backend.app.domain.identity import Unauthorized
from backend.app.domain.payments.psp_delivery import WebhookSignatureInvalid
from backend.app.domain.people.sign_in import RateLimited

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:hakem:problem:"
RETRY_AFTER_SECONDS: Final = "1"
REPLAYED_HEADER: Final = "Idempotent-Replayed"

# Codes for what the framework refuses before a handler is reached.
_CODE_BY_STATUS: Final = {
    400: "BAD_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
}


class Problem(msgspec.Struct, kw_only=True):
    """The members that every problem document has. Named extras stand beside them."""

    type: str
    title: str
    status: int
    detail: str
    error_code: str
    request_id: str


def problem(
    request: Request[Any, Any, Any],
    *,
    status: int,
    error_code: str,
    title: str,
    detail: str,
    extras: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[bytes]:
    """The response for one problem."""
    document = {
        "type": TYPE_PREFIX + error_code.lower().replace("_", "-"),
        "title": title,
        "status": status,
        "detail": detail,
        "error_code": error_code,
        "request_id": request.scope.get("request_id", ""),
        **(extras or {}),
    }
    return Response(
        msgspec.json.encode(document), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def handle_app_error(request: Request[Any, Any, Any], error: AppError) -> Response[bytes]:
    """A refusal that was meant."""
    headers = {}
    if error.is_replay:
        headers[REPLAYED_HEADER] = "true"
    if isinstance(error, WebhookSignatureInvalid):
        headers["WWW-Authenticate"] = error.challenge
    elif isinstance(error, Unauthorized) or error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TemporarilyUnavailable):
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return problem(
        request,
        status=error.status,
        error_code=error.error_code,
        title=error.title,
        detail=error.detail,
        extras=error.extras,
        headers=headers,
    )


def handle_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """A refusal of the framework: unknown route, wrong method, unreadable or invalid body or parameters."""
    if isinstance(error, ValidationException):
        return _validation_problem(request, error)
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return handle_bug(request, error)
    if isinstance(error, NotFoundException):
        detail = "there is nothing at this address"
    elif isinstance(error, MethodNotAllowedException):
        detail = f"{request.method} is not supported here"
    elif isinstance(error.__cause__, SerializationException) or "deseriali" in error.detail.lower():
        return handle_app_error(request, MalformedJson())
    else:
        detail = error.detail
    return problem(
        request,
        status=status,
        error_code=_CODE_BY_STATUS.get(status, "BAD_REQUEST"),
        title=HTTPStatus(status).phrase,
        detail=detail,
        headers=error.headers,
    )


def handle_unreadable_body(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    """A body that cannot be decoded: not JSON, not UTF-8, nested beyond all reason."""
    return handle_app_error(request, MalformedJson())


def handle_database_error(request: Request[Any, Any, Any], error: psycopg.OperationalError) -> Response[bytes]:
    """The database went away outside the repositories' own handling."""
    log.warning("request.database_unavailable", error=type(error).__name__)
    return problem(
        request,
        status=503,
        error_code="DATABASE_UNAVAILABLE",
        title="The database is not available",
        detail="repeat the request; with the same key nothing happens twice",
        headers={"Retry-After": RETRY_AFTER_SECONDS},
    )


def handle_bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What nobody expected: somebody must act. The caller learns the request id and nothing else."""
    log.error("request.crashed", path=request.scope.get("path"), exc_info=error)
    return problem(
        request,
        status=500,
        error_code="INTERNAL_ERROR",
        title="Internal error",
        detail="the request could not be handled; quote the request id",
    )


def _validation_problem(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    reasons = error.extra if isinstance(error.extra, list) else []
    errors = [
        {"field": str(reason.get("key") or reason.get("source") or "body"), "message": str(reason.get("message", ""))}
        for reason in reasons
        if isinstance(reason, dict)
    ] or [{"field": "body", "message": "is not valid"}]
    return problem(
        request,
        status=422,
        error_code="VALIDATION_ERROR",
        title="The request is not valid",
        detail="; ".join(f"{each['field']}: {each['message']}" for each in errors)[:500],
        extras={"errors": errors},
    )


EXCEPTION_HANDLERS: Final[dict[Any, Any]] = {
    AppError: handle_app_error,
    HTTPException: handle_http_exception,
    SerializationException: handle_unreadable_body,
    RecursionError: handle_unreadable_body,
    psycopg.OperationalError: handle_database_error,
    Exception: handle_bug,
}
