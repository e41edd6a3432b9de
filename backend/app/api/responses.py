"""How refusals are described in the OpenAPI document: one problem schema, one entry per status."""

from collections.abc import Mapping
from typing import Final

from litestar.openapi.datastructures import ResponseSpec

from backend.app.api.problems import MEDIA_TYPE, Problem

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
