"""What surrounds every request: its id, one log line, one measurement."""

import re
import time
from functools import cache
from typing import Final, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, LifeSpanScope, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram
from uuid_utils import uuid7

from backend.app.services import logs

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
# Requests for these say nothing that their metrics do not; they would drown the rest.
QUIET_PATHS: Final = frozenset({"/metrics", "/healthz", "/readyz", "/api/v1/health", "/api/v1/ready"})

requests_total: Final = Counter("hakem_http_requests", "HTTP requests", ("method", "route", "status"))
request_seconds: Final = Histogram(
    "hakem_http_request_seconds",
    "Time to answer",
    ("route",),
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)


def observe_requests(app: ASGIApp) -> ASGIApp:
    """Wraps the application: X-Request-ID taken or made, echoed, in every log line; time and status counted.

    Around the framework, not inside it: what the router itself refuses (404, 405) must carry an id too.
    """

    async def middleware(scope: Scope | LifeSpanScope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)  # type: ignore[arg-type]  # life span, or a websocket that is refused
            return
        scope = cast("HTTPScope", scope)
        request_id = _request_id(scope)
        scope["request_id"] = request_id  # type: ignore[typeddict-unknown-key]  # ours, read by api/problems.py
        logs.request_id.set(request_id)
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await app(scope, receive, send_with_id)
        finally:
            _record(scope, status=status, seconds=time.perf_counter() - started)

    return middleware


def _record(scope: HTTPScope, *, status: int, seconds: float) -> None:
    # The route's template, never the path: ids in labels would never stop growing.
    route = scope.get("path_template") or "unmatched"
    _request_counter(scope["method"], route, status).inc()
    _request_timer(route).observe(seconds)
    if scope["path"] not in QUIET_PATHS:
        logs.write_line(
            "http.answered",
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=round(seconds * 1000, 2),
        )


@cache
def _request_counter(method: str, route: str, status: int) -> Counter:
    return requests_total.labels(method, route, str(status))


@cache
def _request_timer(route: str) -> Histogram:
    return request_seconds.labels(route)


def _request_id(scope: HTTPScope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return uuid7().hex
