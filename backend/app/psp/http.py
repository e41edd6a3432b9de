"""One exchange with a provider over HTTP, in which nothing a provider or a network does is an exception.

An exchange ends with an answer or with a reason why there is none. It is never repeated here: whether a request may be
sent again depends on its key, and that is the caller's to know.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

from backend.app.psp.adapter import Unknown

CONNECT_SECONDS_MAX: Final = 3.0
CONNECTIONS_MAX: Final = 50
KEPT_ALIVE_MAX: Final = 10
RESPONSE_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status and body, read to its end."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class PspHttp:
    """A provider's API. Close it, as it keeps connections."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        timeout_seconds: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout_seconds` is for an exchange as a whole; waiting for a free connection is part of it.

        `transport`: another way than the network.
        """
        self._timeout_seconds = timeout_seconds
        self._client = httpx.AsyncClient(
            base_url=base_url,
            # Compressed, a small answer could be a huge one.
            headers={**headers, "accept": "application/json", "accept-encoding": "identity"},
            timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS_MAX, timeout_seconds)),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=KEPT_ALIVE_MAX),
            transport=transport,
            follow_redirects=False,
            # A proxy in somebody's shell is none of a provider's business.
            trust_env=False,
        )

    async def get(self, path: str, query: Mapping[str, str]) -> Answer | Unknown:
        """Ask."""
        return await self._exchange("GET", path, query=query, body=None, headers={})

    async def post(self, path: str, body: bytes, *, idempotency_key: str | None = None) -> Answer | Unknown:
        """Send a JSON body."""
        headers = {"content-type": "application/json"}
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        return await self._exchange("POST", path, query={}, body=body, headers=headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _exchange(
        self, method: str, path: str, *, query: Mapping[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> Answer | Unknown:
        try:
            # httpx's time-outs start anew with every byte, and an application called in-process knows none.
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream(method, path, params=query, content=body, headers=headers) as response,
            ):
                read = bytearray()
                async for chunk in response.aiter_raw():
                    read += chunk
                    if len(read) > RESPONSE_BYTES_MAX:
                        return Unknown(reason="answer_too_large")
                return Answer(status=response.status_code, body=bytes(read))
        except (TimeoutError, httpx.TimeoutException):
            return Unknown(reason="timeout")
        except (httpx.HTTPError, httpx.StreamError, OSError):
            return Unknown(reason="connection")
