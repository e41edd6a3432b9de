"""The provider's process: reads a plan from standard input, delivers signed captures at a pace, prints a report."""

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import uvloop

from backend.app.psp import standard_webhooks
from bench.http_load import Client, LoadReport, UnexpectedStatus
from bench.measure import Outcome, open_loop, percentiles_ms
from bench.workload import CURRENCY

PATH: Final = "/api/v1/payments/webhook/mockpsp"
CONNECTIONS: Final = 32
# Every so manieth delivery is one of an event that was delivered before.
REPEATED_EVERY: Final = 10


class WebhookPlan(msgspec.Struct, kw_only=True, frozen=True):
    """What to deliver: captures of the deposits with the numbers after `delivered`."""

    url: str
    secret: str
    account_id: str
    amount_minor: int
    per_second: float
    seconds: float
    delivered: int = 0


def deposit_id(number: int) -> UUID:
    """The id of a deposit of the benchmark; the loader makes the same ones in SQL."""
    return UUID(f"01900000-0000-7000-9000-{number:012x}")


class Provider:
    """Deliveries of one plan, and the connections that carry them."""

    def __init__(self, plan: WebhookPlan) -> None:
        self._plan = plan
        self._delivered = plan.delivered
        self._idle: asyncio.Queue[Client] = asyncio.Queue()

    async def run(self) -> LoadReport:
        """Connect, deliver for as long as the plan says, and sum up."""
        target = urlsplit(self._plan.url)
        assert target.hostname is not None, "the service printed a whole URL"
        assert target.port is not None, "the service printed a whole URL"
        for _ in range(CONNECTIONS):
            _, client = await asyncio.get_running_loop().create_connection(Client, target.hostname, target.port)
            self._idle.put_nowait(client)
        cpu_before = time.process_time()
        tally = await open_loop(self._deliver, per_second=self._plan.per_second, seconds=self._plan.seconds)
        line = tally.measurement("webhook", "")
        return LoadReport(
            per_second=line.events_per_second or 0.0,
            cpu_seconds=time.process_time() - cpu_before,
            latencies_ms=percentiles_ms(tally.latencies_seconds),
            outcomes={outcome.value: count for outcome, count in tally.outcomes.items()},
            first_failure=tally.first_failure,
        )

    async def _deliver(self) -> Outcome:
        self._delivered += 1
        is_repeated = self._delivered % REPEATED_EVERY == 0
        request = self._request(self._delivered - 1 if is_repeated else self._delivered)
        client = await self._idle.get()
        try:
            status, _ = await client.send(request)
        finally:
            self._idle.put_nowait(client)
        if status != 200:
            raise UnexpectedStatus(status)
        return Outcome.REPLAYED if is_repeated else Outcome.APPLIED

    def _request(self, number: int) -> bytes:
        reference = deposit_id(number)
        body = msgspec.json.encode(
            {
                "type": "deposit.captured",
                "timestamp": "2026-01-15T10:00:00Z",
                "data": {
                    "account": self._plan.account_id,
                    "payment_id": f"mpay_{reference.hex}",
                    "reference": str(reference),
                    "status": "captured",
                    "sequence": 2,
                    "amount_minor": self._plan.amount_minor,
                    "currency": CURRENCY,
                },
            }
        )
        headers = standard_webhooks.sign(
            body, delivery_id=f"evt_{reference.hex}", signed_at=datetime.now(UTC), secrets=[self._plan.secret]
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {PATH} HTTP/1.1\r\nHost: bench.invalid\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


def main() -> None:
    """Standard input to standard output."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=WebhookPlan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(Provider(plan).run())))


if __name__ == "__main__":
    main()
