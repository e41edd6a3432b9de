"""The load process: reads a plan from standard input, sends requests over kept connections, prints a report.

It speaks just enough HTTP/1.1 for one route, because a general client would take more of the shared cores than the
service it measures.
"""

import asyncio
import gc
import sys
import time
from datetime import UTC, datetime
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from backend.app.api.tokens import Tokens
from backend.app.domain.identity import PlayerIdentity
from backend.app.domain.money import format_amount
from bench.measure import Outcome, Tally, closed_loop, open_loop, percentiles_ms
from bench.workload import CURRENCY, PLAYERS, TENANT, Ask, Spread, Workload, player_id

PATH: Final = "/api/v1/player/wallet/withdraw"
ANSWER_SECONDS_MAX: Final = 30.0


class LoadPlan(msgspec.Struct, kw_only=True, frozen=True):
    """What to send. With `per_second` the requests come at that pace, else each client sends when it has its answer."""

    url: str
    jwt_secret: str
    spread: str
    run: str
    clients: int
    seconds: float
    per_second: float | None = None


class LoadReport(msgspec.Struct, kw_only=True, frozen=True):
    """What came back, and what asking cost this process."""

    per_second: float
    cpu_seconds: float
    latencies_ms: tuple[float, float, float] | None
    outcomes: dict[str, int]
    first_failure: str


class UnexpectedStatus(Exception):
    """An answer that is neither the withdrawal nor its refusal."""


class Client(asyncio.Protocol):
    """One kept connection with one request under way."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # TCP in both directions, though uvloop's own class does not derive from this one.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        """Called by the loop; an answer is complete when as much has come as its length says."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._received[:end]).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(self._received) >= end + 4 + length:
            self._received.clear()
            if not self._answer.done():
                self._answer.set_result((int(head[9:12]), head))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and head of the answer. Raises OSError."""
        if self._transport is None:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


class Load:
    """Requests of one plan, and the connections that carry them."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._workload = Workload(Spread(plan.spread), seed=1, run=plan.run)
        tokens = Tokens(plan.jwt_secret)
        # Players have signed in before: making their tokens is not part of the load.
        self._heads = [_head(number, tokens) for number in range(PLAYERS + 1)]
        self._idle: asyncio.Queue[Client] = asyncio.Queue()

    async def run(self) -> LoadReport:
        """Connect, send for as long as the plan says, and sum up."""
        target = urlsplit(self._plan.url)
        assert target.hostname is not None, "the service printed a whole URL"
        assert target.port is not None, "the service printed a whole URL"
        for _ in range(self._plan.clients):
            _, client = await asyncio.get_running_loop().create_connection(Client, target.hostname, target.port)
            self._idle.put_nowait(client)
        # What is here now lives as long as the process; looking for garbage in it would be CPU taken from the service.
        gc.freeze()
        cpu_before = time.process_time()
        # One timer for all answers: one for each would cost more than the rest of asking.
        async with asyncio.timeout(self._plan.seconds + ANSWER_SECONDS_MAX):
            tally = await self._send_all()
        line = tally.measurement("http", "")
        return LoadReport(
            per_second=line.events_per_second or 0.0,
            cpu_seconds=time.process_time() - cpu_before,
            latencies_ms=percentiles_ms(tally.latencies_seconds),
            outcomes={outcome.value: count for outcome, count in tally.outcomes.items()},
            first_failure=tally.first_failure,
        )

    async def _send_all(self) -> Tally:
        plan = self._plan
        if plan.per_second is None:
            return await closed_loop(self._withdraw, in_flight=plan.clients, seconds=plan.seconds)
        return await open_loop(self._withdraw, per_second=plan.per_second, seconds=plan.seconds)

    async def _withdraw(self) -> Outcome:
        request = self._request(self._workload.next())
        client = await self._idle.get()
        try:
            status, head = await client.send(request)
        finally:
            self._idle.put_nowait(client)
        if b"idempotent-replayed: true" in head:
            return Outcome.REPLAYED
        outcome = {201: Outcome.APPLIED, 400: Outcome.REFUSED}.get(status)
        if outcome is None:
            raise UnexpectedStatus(status)
        return outcome

    def _request(self, ask: Ask) -> bytes:
        body = msgspec.json.encode(
            {
                "amount": format_amount(ask.amount_minor, currency=CURRENCY),
                "method": "test",
                "address": "DE89370400440532013000",
            }
        )
        return b"%bIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            self._heads[ask.player_number],
            ask.key.encode(),
            len(body),
            body,
        )


def _head(player_number: int, tokens: Tokens) -> bytes:
    identity = PlayerIdentity(tenant_id=TENANT, player_id=player_id(player_number), currency=CURRENCY)
    token = tokens.issue_player(identity, now=datetime.now(UTC))
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: bench.invalid\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\n"
    ).encode()


def main() -> None:
    """Standard input to standard output."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(Load(plan).run())))


if __name__ == "__main__":
    main()
