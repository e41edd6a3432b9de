"""What a person sees when something cannot be shown or done: a page in the same look, with what helps."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

import psycopg
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, NotFoundException

from backend.app.console import cookies, render, text
from backend.app.console.visit import FormRefused, SignInNeeded, local_path
from backend.app.domain.errors import AppError
from backend.app.domain.people.sign_in import RateLimited

log = structlog.get_logger()

AnyRequest = Request[Any, Any, Any]
Handler = Callable[[AnyRequest, Any], Response[Any]]

PREFIX: Final = "/console"
# Statuses with a text of their own; any other reads as the one for 400 or 500.
STATUSES: Final = (400, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503)


def under_console(otherwise: Handler) -> Handler:
    """A handler of errors that answers with a page under /console, and as before everywhere else."""

    def handle(request: AnyRequest, error: Any) -> Response[Any]:
        path = request.scope["path"]
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            return answer(request, error)
        return otherwise(request, error)

    return handle


def answer(request: AnyRequest, error: Exception) -> Response[Any]:
    """The page for an error."""
    if isinstance(error, SignInNeeded):
        return _to_sign_in(request)
    if isinstance(error, FormRefused):
        return failure_page(request, 403, code="form_refused")
    if isinstance(error, AppError):
        headers = {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, RateLimited) else {}
        # What is not there reads the same whatever it would have been: nobody learns that it is somebody else's.
        code = "" if error.status == HTTPStatus.NOT_FOUND else error.error_code
        return failure_page(request, error.status, code=code, headers=headers)
    if isinstance(error, NotFoundException):
        return failure_page(request, 404)
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return failure_page(request, error.status_code, headers=dict(error.headers or {}))
    if isinstance(error, psycopg.OperationalError):
        log.warning("console.database_unavailable", error=type(error).__name__)
        return failure_page(request, 503)
    log.error("console.crashed", path=request.scope["path"], exc_info=error)
    return failure_page(request, 500)


def failure_page(
    request: AnyRequest, status: int, *, code: str = "", headers: dict[str, str] | None = None
) -> Response[str]:
    """A page about a status; with the reason where the catalogue has a text for the code."""
    known = status if status in STATUSES else 400 if status < HTTPStatus.INTERNAL_SERVER_ERROR else 500
    reason = f"refusal.{code}"
    return render.part(
        request,
        "failure/page.html",
        status=status,
        headers=headers,
        status_text=f"failure.{known}",
        reason=reason if text.has("en", reason) else f"failure.{known}.detail",
        request_id=str(request.scope.get("request_id", "")),
        shown_status=status,
        again=_page_again(request, status),
    )


def _page_again(request: AnyRequest, status: int) -> str | None:
    """Where it is worth another try: the page whose form it was, or this one when the failure may pass."""
    if request.scope["method"] != "GET":
        came_from = urlsplit(request.headers.get("referer", ""))
        return local_path(came_from.path + (f"?{came_from.query}" if came_from.query else ""))
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    return local_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))


def _to_sign_in(request: AnyRequest) -> Response[Any]:
    """To the sign-in page, and afterwards back to a page that can be read again."""
    url = request.headers.get("hx-current-url") if request.headers.get("hx-request") == "true" else None
    if url is not None:
        address = "/" + url.partition("//")[2].partition("/")[2]
    elif request.scope["method"] == "GET":
        address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    else:
        address = PREFIX
    ended = (cookies.ended_cookie(request, cookies.SESSION),)
    return render.redirect(request, f"{PREFIX}/sign-in?next={quote(address, safe='')}", cookies_=ended)
