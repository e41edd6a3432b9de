"""How answers leave the process: head and body together, in one system call.

uvicorn hands the two to the loop one after the other, and the loop sends each at once. That is a second system call,
and it wakes whoever waits at the other end for half an answer (docs/decisions/0026).
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's HTTP protocol on a gathering transport. For uvicorn's option `http`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # TCP in both directions, though uvloop's own class does not derive from this one.
        super().connection_made(GatheringTransport(cast(asyncio.Transport, transport), self.loop))


class GatheringTransport(asyncio.Transport):
    """Sends what is written within one turn of the loop together, when the turn ends or the transport is closed."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send with whatever else is written in this turn."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)

    def _flush(self) -> None:
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._transport.write(data)

    def close(self) -> None:
        """Send what is gathered, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what is gathered is lost, as with any transport."""
        self._gathered.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the connection knows about itself: its socket, its peer."""
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection over."""
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told what arrives."""
        return self._transport.get_protocol()

    def pause_reading(self) -> None:
        """Take nothing more from the peer until told so."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the peer sends again."""
        self._transport.resume_reading()
