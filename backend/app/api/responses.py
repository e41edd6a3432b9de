"""Answers: how refusals are described in the OpenAPI document, and the cheap way to send what comes by the thousand."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream
from litestar.types import ASGIApp, Receive, Scope, Send

from backend.app.api.problems import MEDIA_TYPE, Problem
from backend.app.domain.csv_cells import file_name

Item = TypeVar("Item", bound=msgspec.Struct)

CSV_MEDIA_TYPE: Final = "text/csv"

_MEANING: Final[Mapping[int, str]] = {
    400: "The request cannot be carried out as it is; error_code says why",
    401: "No valid bearer token; of a webhook: no valid signature",
    403: "Not allowed",
    404: "No such object in this tenant",
    409: "In conflict with what is stored",
    413: "The body is too large",
    422: "A field is not valid; errors names it",
    429: "Too many attempts; come back after Retry-After seconds",
    503: "Temporarily unavailable; repeat with the same key",
}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem responses an operation can give; every operation can also be temporarily unavailable."""
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=_MEANING[status],
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in sorted({*statuses, 503})
    }


def also(status: int, container: type, description: str) -> dict[int, ResponseSpec]:
    """A further good answer of an operation."""
    return {
        status: ResponseSpec(data_container=container, description=description, generate_examples=False),
    }


def download(noun: str, lines: AsyncIterator[bytes]) -> Stream:
    """CSV as it is written, under a name that says what it is and of when."""
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(noun, datetime.now(UTC))}"',
        "Cache-Control": "no-store",
    }
    return Stream(lines, media_type=CSV_MEDIA_TYPE, headers=headers)


class JsonAnswer(Response[Item]):
    """A struct as JSON, and nothing of what the framework's responses can do besides: no cookies, encoders, tasks.

    Those are looked at for each response, which costs several times what encoding the struct does.
    """

    def __init__(self, content: Item, *, status_code: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        # Not the framework's: it would prepare the parts that are left out here.
        self.content = content
        self.status_code = status_code
        self._headers = headers

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]  # an ASGI application is enough
        """The two messages that are the response. What the arguments could add is used nowhere."""
        body = msgspec.json.encode(self.content)
        headers = [*self._headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

        async def send_answer(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": self.status_code or 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})

        return send_answer
