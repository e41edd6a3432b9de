"""The example of a client, against a real service: directly, and behind a proxy that loses answers and gives up."""

import asyncio
import contextlib
import re
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from backend.config import CHECKOUT
from backend.tests import typed_pages
from backend.tests.conftest import HOME_PREFIX, Server
from backend.tests.processes import ServeProcess, running_service
from examples.wallet_client import Answer, KeyReused, OutcomeUnknown, Refused, WalletClient

GUIDE: Final = CHECKOUT / "docs" / "api-guide.md"
PASSWORD: Final = "a password of one test"
UNAVAILABLE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Type: text/html\r\nContent-Length: 15\r\n"
    b"Connection: close\r\n\r\n<h1>later</h1>\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A running demo and its database."""

    service: ServeProcess
    tenant_id: str
    owner_url: str
    home: Path


@pytest.fixture(scope="module")
async def demo(server: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    database = server.create()
    home = tmp_path_factory.mktemp(HOME_PREFIX) / "home"
    environment = {
        "DATABASE_URL": database.service_url,
        "DATABASE_OWNER_URL": database.owner_url,
        # What a provider says three seconds later, it says at once.
        "MOCKPSP_CLOCK_FACTOR": "0.01",
    }
    try:
        async with running_service(home, environment=environment, arguments=("--demo", "--demo-quiet")) as service:
            with psycopg.connect(database.owner_url) as conn:
                row = conn.execute("SELECT id FROM tenants WHERE slug = 'demo'").fetchone()
            assert row is not None
            yield Demo(service=service, tenant_id=str(row[0]), owner_url=database.owner_url, home=home)
    finally:
        server.drop(database)


@dataclass(slots=True)
class LossyProxy:
    """What stands between the client and the service. `faults` says what happens to the next connections, in order.

    lost: the request gets through and the answer does not. unavailable: the proxy itself answers 503.
    """

    upstream: str
    faults: deque[str] = field(default_factory=deque)
    requests: list[bytes] = field(default_factory=list)
    _listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def url(self) -> str:
        """Where the client finds it."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator["LossyProxy"]:
        """Takes connections, one at a time, for the length of the block."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            # Closing would not wake accept().
            with socket.create_connection(self._listening.getsockname()):
                self.faults.appendleft("over")
            thread.join()
            self._listening.close()

    def _run(self) -> None:
        while True:
            client, _ = self._listening.accept()
            with client:
                request = _read_request(client)
                if not request:
                    return
                self.requests.append(request)
                fault = self.faults.popleft() if self.faults else ""
                if fault == "unavailable":
                    client.sendall(UNAVAILABLE)
                    continue
                answer = self._forward(request)
                if fault != "lost":
                    client.sendall(answer)

    def _forward(self, request: bytes) -> bytes:
        address = urlsplit(self.upstream)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as service:
            service.sendall(request)
            parts = []
            # urllib asks for the connection to be closed after the answer.
            while part := service.recv(65536):
                parts.append(part)
        return b"".join(parts)


def _read_request(client: socket.socket) -> bytes:
    """One request with its body; empty when nothing came."""
    read = b""
    while b"\r\n\r\n" not in read:
        part = client.recv(65536)
        if not part:
            return b""
        read += part
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", read)
    whole = read.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
    while len(read) < whole:
        read += client.recv(65536)
    return read


@dataclass(slots=True)
class Customer:
    """A verified player with a client, whose pauses are kept and not made."""

    client: WalletClient
    pauses: list[float]

    async def deposit(self, amount: str, *, key: str, method: str = "test_bank") -> Answer:
        """Pay in."""
        return await asyncio.to_thread(self.client.deposit, Decimal(amount), method=method, key=key)

    async def withdraw(self, amount: str, *, key: str) -> Answer:
        """Ask for money."""
        return await asyncio.to_thread(
            self.client.withdraw, Decimal(amount), method="test_bank", address="IBAN-1", key=key
        )

    async def money(self) -> tuple[Decimal, Decimal]:
        """(available, held)."""
        balance = await asyncio.to_thread(self.client.balance)
        return balance.available, balance.held


async def make_customer(demo: Demo, *, url: str | None = None, email: str | None = None) -> Customer:
    """A new player of the demo, or one who exists, at the service or at what stands in front of it."""
    if email is None:
        email = f"{uuid4().hex}@example.com"
        async with httpx.AsyncClient(base_url=demo.service.url) as http:
            body = {"tenant_id": demo.tenant_id, "email": email, "username": "customer", "password": PASSWORD}
            response = await http.post("/api/v1/auth/player/register", json=body)
        assert response.status_code == httpx.codes.CREATED, response.text
        with psycopg.connect(demo.owner_url) as conn:
            conn.execute("UPDATE players SET kyc_status = 'verified' WHERE email = %s", (email,))
    pauses: list[float] = []
    client = WalletClient(
        url or demo.service.url,
        tenant_id=demo.tenant_id,
        email=email,
        password=PASSWORD,
        attempts_max=4,
        pause=pauses.append,
    )
    return Customer(client=client, pauses=pauses)


async def test_money_comes_in_and_is_held(demo: Demo) -> None:
    customer = await make_customer(demo)
    deposit = await customer.deposit("50.00", key="in-1")
    assert (deposit.transaction.state, deposit.is_replay) == ("completed", False)
    withdrawal = await customer.withdraw("20.00", key="out-1")
    assert withdrawal.transaction.state == "requested"
    assert not withdrawal.transaction.is_final
    assert await customer.money() == (Decimal("30.00"), Decimal("20.00"))
    listed = list(await asyncio.to_thread(lambda: list(customer.client.iterate_transactions())))
    assert [each.id for each in listed] == [withdrawal.transaction.id, deposit.transaction.id]
    assert customer.pauses == []


async def test_deposit_that_the_provider_settles_later_is_waited_for(demo: Demo) -> None:
    customer = await make_customer(demo)
    pending = await customer.deposit("50.00", key="in-1", method="mock:pending")
    assert pending.transaction.state == "pending_provider"
    settled = await asyncio.to_thread(customer.client.wait_until_final, pending.transaction.id, deadline_seconds=30)
    assert settled.state == "completed"
    assert await customer.money() == (Decimal("50.00"), Decimal(0))


async def test_answer_that_got_lost_is_fetched_under_the_same_key(demo: Demo) -> None:
    with LossyProxy(upstream=demo.service.url).running() as proxy:
        customer = await make_customer(demo, url=proxy.url)
        assert await customer.money() == (Decimal(0), Decimal(0))
        proxy.faults.extend(["lost", "lost"])
        first = await customer.deposit("50.00", key="in-1")
        assert first.is_replay, "the first try had moved the money"
        proxy.faults.append("lost")
        assert (await customer.withdraw("20.00", key="out-1")).is_replay
        assert await customer.money() == (Decimal("30.00"), Decimal("20.00"))
        tries = [request for request in proxy.requests if b"/deposit" in request.split(b"\r\n")[0]]
    assert len(tries) == 3
    assert len(set(tries)) == 1, "the very same bytes, the key among them"
    assert len(customer.pauses) == 3


async def test_pause_is_as_long_as_the_service_asks(demo: Demo) -> None:
    with LossyProxy(upstream=demo.service.url).running() as proxy:
        customer = await make_customer(demo, url=proxy.url)
        assert await customer.money() == (Decimal(0), Decimal(0))
        proxy.faults.extend(["unavailable", "unavailable"])
        answer = await customer.deposit("50.00", key="in-1")
    assert not answer.is_replay
    assert customer.pauses == [2.0, 2.0]


async def test_without_any_answer_the_key_is_all_that_is_needed_later(demo: Demo) -> None:
    with LossyProxy(upstream=demo.service.url).running() as proxy:
        customer = await make_customer(demo, url=proxy.url)
        assert await customer.money() == (Decimal(0), Decimal(0))
        proxy.faults.extend(["lost", "unavailable", "unavailable", "unavailable"])
        with pytest.raises(OutcomeUnknown) as unknown:
            await customer.deposit("50.00", key="in-1")
        assert unknown.value.key == "in-1"
        later = await customer.deposit("50.00", key="in-1")
        assert later.is_replay
        assert await customer.money() == (Decimal("50.00"), Decimal(0))


async def test_nobody_at_the_address_is_an_unknown_outcome(demo: Demo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    customer = await make_customer(demo, url=url)
    with pytest.raises(OutcomeUnknown):
        await customer.deposit("50.00", key="in-1")


async def test_refusals_are_told_by_their_codes(demo: Demo) -> None:
    customer = await make_customer(demo)
    await customer.deposit("50.00", key="in-1")
    with pytest.raises(KeyReused) as reused:
        await customer.deposit("51.00", key="in-1")
    assert reused.value.status == httpx.codes.CONFLICT
    with pytest.raises(Refused) as refused:
        await customer.withdraw("90.00", key="out-1")
    assert refused.value.error_code == "INSUFFICIENT_FUNDS"
    assert refused.value.request_id
    await customer.deposit("90.00", key="in-2")
    with pytest.raises(Refused):
        await customer.withdraw("90.00", key="out-1")
    assert (await customer.withdraw("90.00", key="out-2")).transaction.state == "requested"
    assert await customer.money() == (Decimal("50.00"), Decimal("90.00"))
    assert customer.pauses == [], "what is refused is not repeated"


async def test_token_that_ended_is_replaced_once(demo: Demo) -> None:
    customer = await make_customer(demo)
    await customer.deposit("50.00", key="in-1")
    customer.client._token = "a token that has ended"
    assert await customer.money() == (Decimal("50.00"), Decimal(0))
    customer.client._token = None
    customer.client._password = "another"
    with pytest.raises(Refused) as refused:
        await customer.money()
    assert refused.value.error_code == "INVALID_CREDENTIALS"


async def test_guide_can_be_typed_from_top_to_bottom(demo: Demo) -> None:
    def adapt(text: str) -> str:
        return re.sub(
            r"^TENANT=.*\nAPI=.*$", f"TENANT={demo.tenant_id}\nAPI={demo.service.url}/api/v1", text, flags=re.MULTILINE
        )

    environment = {**demo.service.environment, "HAKEM_HOME": str(demo.home)}
    with typed_pages.Shell(demo.home, environment=environment, adapt=adapt, working_folder=CHECKOUT) as shell:
        printed = [await asyncio.to_thread(shell.type, block.text) for block in typed_pages.shell_blocks(GUIDE)]
    assert '"error_code":"KYC_DEPOSIT_LIMIT"' in printed[2]
    assert '"state":"pending_provider"' in printed[2]
    assert printed[4].count('"error_code":"INSUFFICIENT_FUNDS"') == 2
    assert '"type":"withdraw_paid"' in printed[5]
    assert "completed" in printed[7]
    assert "replay=false" in printed[7]
    assert "replay=true" in printed[7]
