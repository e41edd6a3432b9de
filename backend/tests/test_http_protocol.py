"""Answers leave whole and in order, also when the connection is closed right behind them."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from backend.app.api.http_protocol import GatheringTransport
from backend.tests.factories import DEADLINE_SECONDS


class Speaker(asyncio.Protocol):
    """Speaks when it is connected to, and again in a later turn of the loop."""

    def __init__(self, speak: Callable[[GatheringTransport], None]) -> None:
        self._speak = speak

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        loop = asyncio.get_running_loop()
        gathering = GatheringTransport(transport, loop)  # type: ignore[arg-type]  # TCP goes in both directions
        self._speak(gathering)


def say_in_two_turns(transport: GatheringTransport) -> None:
    def go_on() -> None:
        transport.write(b"late")
        transport.close()

    transport.write(b"head")
    transport.write(b"body")
    asyncio.get_running_loop().call_later(0.01, go_on)


def say_and_close(transport: GatheringTransport) -> None:
    for part in (b"head", b"body", b"late"):
        transport.write(part)
    transport.close()
    assert transport.is_closing()


def hang_up(transport: GatheringTransport) -> None:
    transport.write(b"nobody hears this")
    transport.abort()


async def hear(speak: Callable[[GatheringTransport], None]) -> bytes:
    server = await asyncio.get_running_loop().create_server(lambda: Speaker(speak), "127.0.0.1", 0)
    async with asyncio.timeout(DEADLINE_SECONDS), server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        heard = await reader.read()
        writer.close()
        return heard


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize(
    ("speak", "heard"), [(say_in_two_turns, b"headbodylate"), (say_and_close, b"headbodylate"), (hang_up, b"")]
)
def test_what_is_written_arrives(
    run: Callable[..., bytes], speak: Callable[[GatheringTransport], None], heard: bytes
) -> None:
    assert run(hear(speak)) == heard
