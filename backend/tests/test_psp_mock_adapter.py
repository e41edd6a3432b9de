"""MockPSP keeps its word: one key is one movement of money, whatever goes wrong on the way there and back.

Most tests call the peer without a socket, which proves the same; what is about processes and networks runs as processes
that talk over one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import msgspec
import psycopg
import pytest
from litestar import Litestar

from backend.app.domain.money import Money
from backend.app.domain.payments import payment_method
from backend.app.domain.payments.psp_event import PspEvent, PspEventType
from backend.app.domain.reconciliation.statement import StatementKind, StatementLine
from backend.app.psp.adapter import (
    CaptureRequest,
    Done,
    Lookup,
    NotFound,
    Outcome,
    PayoutRequest,
    Pending,
    PspAdapter,
    PspKeyConflict,
    PspUnavailable,
    RefundRequest,
    Refused,
    Unknown,
)
from backend.app.psp.mockpsp import STATEMENT_PAGE_LINES, MockPsp
from backend.app.psp.webhook import SecretLabel, SignatureStatus
from backend.mockpsp import deliveries, scenarios
from backend.tests.api_client import MOCKPSP_API_KEY, WEBHOOK_SECRET
from backend.tests.conftest import Database, Server
from backend.tests.mockpsp_peer import (
    DEADLINE_SECONDS,
    Delivery,
    Receiver,
    adapter_to,
    capture,
    config,
    eventually,
    listening,
    payout,
    running,
)
from backend.tests.processes import MockPspProcess

USD_10: Final = Money(amount_minor=10_00, currency="USD")
# Enough to book on a busy machine, and short enough to wait for.
SHORT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """MockPSP on a database of its own, with an adapter, and the receiver of its webhooks."""

    app: Litestar
    adapter: MockPsp
    receiver: Receiver
    database: Database

    def raw(self, api_key: str = MOCKPSP_API_KEY) -> httpx.AsyncClient:
        """A client without an adapter."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),  # type: ignore[arg-type]  # the frameworks type ASGI differently
            base_url="http://mockpsp",
            headers={"authorization": f"Bearer {api_key}"},
        )


@pytest.fixture(scope="session")
def books(server: Server) -> Database:
    """MockPSP's database; not the worker's, whose own MockPSP would send these webhooks elsewhere."""
    return server.create()


@pytest.fixture(scope="session")
async def peer(books: Database) -> AsyncIterator[Peer]:
    """One for all tests that ask only about what they booked themselves."""
    receiver = Receiver()
    receiver.answer = lambda number: (200 if receiver.deliveries[number - 1].verdict.is_valid else 401, {})
    async with running(config(books, receiver=receiver)) as app:
        adapter = adapter_to(app)
        yield Peer(app=app, adapter=adapter, receiver=receiver, database=books)
        await adapter.close()


@pytest.fixture
def psp(peer: Peer) -> PspAdapter:
    return peer.adapter


# ---------------------------------------------------------------------------------------------------------------------
# Every scenario, for money that comes and money that goes
# ---------------------------------------------------------------------------------------------------------------------

IN, OUT, BACK_OUT, BACK_IN = StatementKind.DEPOSIT, StatementKind.PAYOUT, StatementKind.REFUND, StatementKind.RETURN
SETTLED: Final = {"deposit": PspEventType.DEPOSIT_CAPTURED, "payout": PspEventType.PAYOUT_PAID}
RETURNED: Final = {"deposit": PspEventType.DEPOSIT_REFUNDED, "payout": PspEventType.PAYOUT_RETURNED}
FAILED: Final = {"deposit": PspEventType.DEPOSIT_FAILED, "payout": PspEventType.PAYOUT_FAILED}
PENDING: Final = {"deposit": PspEventType.DEPOSIT_PENDING, "payout": PspEventType.PAYOUT_PENDING}
GOOD, BAD, STALE = SignatureStatus.VALID, SignatureStatus.MISMATCH, SignatureStatus.STALE


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a scenario must lead to: the first answer, the end, what moved, and the webhooks with their verdicts."""

    answer: type[Outcome] = Done
    end: dict[str, PspEventType] | None = None
    moved: Money = USD_10
    movements: int = 1
    webhooks: tuple[tuple[dict[str, PspEventType], SignatureStatus], ...] = ((SETTLED, GOOD),)


EXPECTED: Final = {
    "plain": Expected(),
    "decline": Expected(answer=Refused, end=FAILED, movements=0, webhooks=((FAILED, GOOD),)),
    "timeout_created": Expected(answer=Unknown),
    "timeout_never": Expected(answer=Unknown),
    "paid_then_returned": Expected(end=RETURNED, movements=2, webhooks=((SETTLED, GOOD), (RETURNED, GOOD))),
    "duplicate_webhooks": Expected(webhooks=((SETTLED, GOOD), (SETTLED, GOOD))),
    "reversed_webhooks": Expected(answer=Pending, webhooks=((SETTLED, GOOD), (PENDING, GOOD))),
    "short_by_one": Expected(moved=Money(amount_minor=9_99, currency="USD")),
    "no_webhook": Expected(webhooks=()),
    "early_webhook": Expected(),
    "bad_signature_first": Expected(webhooks=((SETTLED, BAD), (SETTLED, GOOD))),
    "old_timestamp": Expected(webhooks=((SETTLED, STALE), (SETTLED, GOOD))),
    "old_secret": Expected(),
    "other_currency": Expected(moved=Money(amount_minor=10_00, currency="EUR")),
    "pending": Expected(answer=Pending),
    "same_id_other_body": Expected(webhooks=((SETTLED, GOOD), (SETTLED, GOOD))),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A deposit or a payout by one scenario."""

    kind: str
    request: CaptureRequest | PayoutRequest

    @property
    def reference(self) -> str:
        """Ours."""
        return str(self.request.reference)

    async def ask(self, psp: PspAdapter) -> Outcome:
        """Have it done."""
        if isinstance(self.request, CaptureRequest):
            return await psp.capture_deposit(self.request)
        return await psp.payout_withdrawal(self.request)

    async def find(self, psp: PspAdapter) -> Lookup:
        """Look it up by our reference."""
        find = psp.find_payment_by_reference if self.kind == "deposit" else psp.find_payout_by_reference
        return await find(self.reference, account_id=self.request.account_id)

    async def get(self, psp: PspAdapter, ref: str) -> Lookup:
        """Look it up by MockPSP's id."""
        get = psp.get_payment if self.kind == "deposit" else psp.get_payout
        return await get(ref, account_id=self.request.account_id)


def trade(kind: str, scenario: str = "plain", **fields: Any) -> Trade:
    """One of an account of its own, so that its statement is about nothing else."""
    method = "test" if scenario == "plain" else f"mock:{scenario}"
    make: Callable[..., CaptureRequest | PayoutRequest] = capture if kind == "deposit" else payout
    return Trade(kind=kind, request=make(method, account=f"acc_{uuid4().hex}", **fields))


async def attempts_at(database: Database, object_id: str | None) -> tuple[int, int]:
    """How many attempts were made at the webhooks of an order, and how many webhooks still wait for one."""
    async with await psycopg.AsyncConnection.connect(database.owner_url) as conn:
        cursor = await conn.execute(
            "SELECT coalesce(sum(attempts), 0), count(*) FILTER (WHERE state <> 'delivered') "
            "FROM mockpsp.deliveries WHERE object_id = %s",
            (object_id,),
        )
        row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


def event_type(delivery: Delivery) -> str:
    return str(msgspec.json.decode(delivery.body)["type"])


def test_every_scenario_that_a_player_may_name_is_played_and_tested() -> None:
    assert set(scenarios.SCENARIOS) == payment_method.SCENARIOS
    assert set(EXPECTED) == payment_method.SCENARIOS | {"plain"}


@pytest.mark.parametrize("kind", ["deposit", "payout"])
@pytest.mark.parametrize("scenario", sorted(EXPECTED))
async def test_scenario_does_what_it_is_named_for(peer: Peer, scenario: str, kind: str) -> None:
    expected, order = EXPECTED[scenario], trade(kind, scenario)
    patience = SHORT_SECONDS if expected.answer is Unknown else DEADLINE_SECONDS
    asking = adapter_to(peer.app, timeout_seconds=patience)
    answer = await order.ask(asking)
    await asking.close()
    assert isinstance(answer, expected.answer)
    if isinstance(answer, Unknown):
        assert answer.reason == "timeout"
        assert isinstance(await order.find(peer.adapter), PspEvent if scenario == "timeout_created" else NotFound)
        assert isinstance(await order.ask(peer.adapter), Done), "the same key gets through now"

    end = (expected.end or SETTLED)[kind]
    seen: PspEvent = await eventually(
        lambda: order.find(peer.adapter), lambda it: isinstance(it, PspEvent) and it.type == end
    )
    assert seen.provider_ref is not None
    assert await order.get(peer.adapter, seen.provider_ref) == seen
    assert (seen.reference, seen.account_hint) == (order.reference, order.request.account_id)
    if expected.movements:
        assert seen.money == expected.moved
    if isinstance(answer, Done):
        assert answer.money == expected.moved
        assert answer.provider_ref == seen.provider_ref

    webhooks = await peer.receiver.until_about(order.reference, len(expected.webhooks))
    assert [(event_type(each), each.verdict.status) for each in webhooks] == [
        (types[kind], status) for types, status in expected.webhooks
    ]
    told = {each.event_id for each in webhooks if event_type(each) == end}
    assert told <= {seen.provider_event_id}, "answer, lookup and webhook name one fact by one id"
    # Nothing more is to come.
    await eventually(
        lambda: attempts_at(peer.database, seen.provider_ref), lambda it: it == (len(expected.webhooks), 0)
    )

    page = await peer.adapter.list_transactions(
        account_id=order.request.account_id,
        from_at=datetime.now(UTC) - timedelta(hours=1),
        to_at=datetime.now(UTC) + timedelta(hours=1),
        cursor=None,
    )
    kinds = (IN, BACK_OUT) if kind == "deposit" else (OUT, BACK_IN)
    assert [(line.kind, line.money, line.reference) for line in page.lines] == [
        (kind, expected.moved, order.reference) for kind in kinds[: expected.movements]
    ]
    assert page.control_count == expected.movements
    assert sum(page.control_sums.values()) == expected.movements * expected.moved.amount_minor


async def test_declined_says_why(psp: PspAdapter) -> None:
    declined, closed = trade("deposit", "decline"), trade("payout", "decline")
    first, second = await declined.ask(psp), await closed.ask(psp)
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert (first.failure_code, second.failure_code) == ("declined", "account_closed")
    assert first.provider_ref is not None


async def test_early_webhook_comes_before_the_answer(peer: Peer) -> None:
    order = trade("payout", "early_webhook")
    await order.ask(peer.adapter)
    assert len(peer.receiver.of(order.reference)) == 1, "it was there when the answer came"


async def test_old_secret_is_the_previous_one_and_plain_webhooks_carry_both(peer: Peer) -> None:
    old, plain = trade("deposit", "old_secret"), trade("deposit")
    for order in (old, plain):
        await order.ask(peer.adapter)
    (by_old,) = await peer.receiver.until_about(old.reference, 1)
    (by_both,) = await peer.receiver.until_about(plain.reference, 1)
    assert (by_old.verdict.secret_label, len(by_old.headers["webhook-signature"].split())) == (SecretLabel.PREVIOUS, 1)
    assert (by_both.verdict.secret_label, len(by_both.headers["webhook-signature"].split())) == (SecretLabel.CURRENT, 2)


async def test_same_id_comes_with_another_amount_and_the_books_keep_the_first(peer: Peer) -> None:
    order = trade("payout", "same_id_other_body")
    await order.ask(peer.adapter)
    first, second = await peer.receiver.until_about(order.reference, 2)
    assert first.event_id == second.event_id
    amounts = [msgspec.json.decode(each.body)["data"]["amount_minor"] for each in (first, second)]
    assert amounts == [10_00, 10_01]
    found = await order.find(peer.adapter)
    assert isinstance(found, PspEvent)
    assert found.money == USD_10


async def test_webhook_is_written_as_the_contract_says(peer: Peer) -> None:
    order = trade("payout", "decline")
    await order.ask(peer.adapter)
    (delivery,) = await peer.receiver.until_about(order.reference, 1)
    body = msgspec.json.decode(delivery.body)
    assert set(body) == {"type", "timestamp", "data"}
    assert body["data"] == {
        "account": order.request.account_id,
        "payout_id": body["data"]["payout_id"],
        "reference": order.reference,
        "status": "failed",
        "sequence": 1,
        "amount_minor": 10_00,
        "currency": "USD",
        "failure_code": "account_closed",
    }
    (told,) = peer.adapter.parse_event(delivery.body, delivery_id=delivery.event_id)
    assert told == await order.find(peer.adapter)


# ---------------------------------------------------------------------------------------------------------------------
# Keys
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["deposit", "payout"])
@pytest.mark.parametrize("scenario", ["plain", "decline", "pending", "no_webhook", "paid_then_returned"])
async def test_same_key_gives_the_same_answer(psp: PspAdapter, scenario: str, kind: str) -> None:
    order = trade(kind, scenario)
    first = await order.ask(psp)
    await eventually(lambda: order.find(psp), lambda it: it.type not in (PENDING[kind],))
    assert await order.ask(psp) == first


async def test_outcome_was_decided_by_the_first_request_of_the_key(psp: PspAdapter) -> None:
    declined = capture("mock:decline")
    first = await psp.capture_deposit(declined)
    assert isinstance(first, Refused)
    assert await psp.capture_deposit(replace(declined, method="test")) == first


@pytest.mark.parametrize("kind", ["deposit", "payout"])
async def test_one_key_twenty_times_at_once_is_one_movement(peer: Peer, kind: str) -> None:
    order = trade(kind)
    outcomes = await asyncio.gather(*(order.ask(peer.adapter) for _ in range(20)))
    assert len(set(outcomes)) == 1
    assert isinstance(outcomes[0], Done)
    async with await psycopg.AsyncConnection.connect(peer.database.owner_url) as conn:
        cursor = await conn.execute(
            "SELECT (SELECT count(*) FROM mockpsp.payments WHERE reference = %(reference)s) "
            "+ (SELECT count(*) FROM mockpsp.payouts WHERE reference = %(reference)s), "
            "(SELECT sum(amount)::BIGINT FROM mockpsp.events WHERE reference = %(reference)s), "
            "(SELECT count(*) FROM mockpsp.deliveries WHERE object_id = %(id)s)",
            {"reference": order.reference, "id": outcomes[0].provider_ref},
        )
        assert await cursor.fetchone() == (1, 10_00, 1)


@pytest.mark.parametrize(
    "other", [{"amount": 10_01}, {"currency": "EUR"}, {"account": "b"}, {"reference": UUID(int=7)}]
)
async def test_key_of_another_payment_is_a_conflict(psp: PspAdapter, other: dict[str, Any]) -> None:
    reference = uuid4()
    key = f"dep_{reference}"
    await psp.capture_deposit(capture(key=key, reference=reference))
    with pytest.raises(PspKeyConflict, match=key):
        await psp.capture_deposit(capture(key=key, **{"reference": reference, **other}))


@pytest.mark.parametrize("other", [{"amount": 10_01}, {"currency": "EUR"}, {"account": "b"}])
async def test_key_of_another_payout_is_a_conflict(psp: PspAdapter, other: dict[str, Any]) -> None:
    first = payout()
    await psp.payout_withdrawal(first)
    with pytest.raises(PspKeyConflict, match=first.reference):
        await psp.payout_withdrawal(payout(reference=first.reference, **other))


async def test_two_amounts_under_one_key_at_once_book_one(peer: Peer) -> None:
    reference = f"wd_{uuid4()}_1"
    outcomes = await asyncio.gather(
        *(peer.adapter.payout_withdrawal(payout(reference=reference, amount=amount)) for amount in (1, 2)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Done", "PspKeyConflict"]
    assert isinstance(await peer.adapter.find_payout_by_reference(reference, account_id="a"), PspEvent)


# ---------------------------------------------------------------------------------------------------------------------
# Reserve, collect, give back, stop
# ---------------------------------------------------------------------------------------------------------------------


async def test_reserved_money_is_collected_by_the_same_key_once(peer: Peer) -> None:
    order = trade("deposit")
    assert isinstance(order.request, CaptureRequest)
    reserved = await peer.adapter.authorize_deposit(order.request)
    assert isinstance(reserved, Pending)
    assert isinstance(await order.find(peer.adapter), PspEvent)
    captured = await asyncio.gather(*(order.ask(peer.adapter) for _ in range(5)))
    assert set(captured) == {captured[0]}
    assert isinstance(captured[0], Done)
    assert (captured[0].provider_ref, captured[0].sequence) == (reserved.provider_ref, 2)
    (webhook,) = await peer.receiver.until_about(order.reference, 1)
    assert webhook.event_id == captured[0].provider_event_id


async def test_declined_reservation_cannot_be_collected(psp: PspAdapter) -> None:
    asked = capture("mock:decline")
    assert isinstance(await psp.authorize_deposit(asked), Refused)
    assert isinstance(await psp.capture_deposit(asked), Refused)


def refund(of: Done, *, amount: int, key: str, currency: str = "USD", account: str) -> RefundRequest:
    return RefundRequest(
        account_id=account,
        payment_ref=of.provider_ref,
        money=Money(amount_minor=amount, currency=currency),
        idempotency_key=key,
    )


async def test_refunds_give_back_what_was_collected_and_no_more(peer: Peer) -> None:
    order = trade("deposit")
    account, key = order.request.account_id, uuid4().hex
    captured = await order.ask(peer.adapter)
    assert isinstance(captured, Done)

    first = await peer.adapter.refund_deposit(refund(captured, amount=4_00, key=f"{key}-1", account=account))
    again = await peer.adapter.refund_deposit(refund(captured, amount=4_00, key=f"{key}-1", account=account))
    assert isinstance(first, Done)
    assert again == first
    assert (first.money.amount_minor, first.provider_ref, first.sequence) == (4_00, captured.provider_ref, 2)
    with pytest.raises(PspKeyConflict):
        await peer.adapter.refund_deposit(refund(captured, amount=5_00, key=f"{key}-1", account=account))

    for refused in (
        refund(captured, amount=6_01, key=f"{key}-2", account=account),
        refund(captured, amount=6_00, key=f"{key}-3", currency="EUR", account=account),
    ):
        outcome = await peer.adapter.refund_deposit(refused)
        assert outcome == Refused(provider_ref=None, failure_code="amount_not_refundable")
    assert isinstance(
        await peer.adapter.refund_deposit(refund(captured, amount=6_00, key=f"{key}-4", account=account)), Done
    )
    webhooks = await peer.receiver.until_about(order.reference, 3)
    assert [event_type(each) for each in webhooks] == ["deposit.captured", "deposit.refunded", "deposit.refunded"]


async def test_twenty_refunds_at_once_give_back_no_more_than_was_collected(psp: PspAdapter) -> None:
    order = trade("deposit")
    account, key = order.request.account_id, uuid4().hex
    captured = await order.ask(psp)
    assert isinstance(captured, Done)
    outcomes = await asyncio.gather(
        *(psp.refund_deposit(refund(captured, amount=3_00, key=f"{key}-{n}", account=account)) for n in range(20))
    )
    assert Counter(type(outcome) for outcome in outcomes) == {Done: 3, Refused: 17}


async def test_key_of_another_payments_refund_is_a_conflict(psp: PspAdapter) -> None:
    key = uuid4().hex
    for expectation in (None, PspKeyConflict):
        order = trade("deposit")
        captured = await order.ask(psp)
        assert isinstance(captured, Done)
        asked = refund(captured, amount=1_00, key=key, account=order.request.account_id)
        if expectation is None:
            assert isinstance(await psp.refund_deposit(asked), Done)
        else:
            with pytest.raises(expectation):
                await psp.refund_deposit(asked)


async def test_pending_payment_is_not_refundable(books: Database) -> None:
    async with running(config(books, clock_factor=1.0, is_sending=False)) as app:
        psp, order = adapter_to(app), trade("deposit", "pending")
        pending = await order.ask(psp)
        assert isinstance(pending, Pending)
        outcome = await psp.refund_deposit(
            RefundRequest(
                account_id=order.request.account_id,
                payment_ref=pending.provider_ref,
                money=USD_10,
                idempotency_key=uuid4().hex,
            )
        )
        assert outcome == Refused(provider_ref=None, failure_code="not_refundable")
        await psp.close()


async def test_pending_payout_can_be_stopped_and_then_stays_so(books: Database) -> None:
    # A factor above one: nobody can be too slow to stop it.
    async with running(config(books, clock_factor=1_000.0, is_sending=False)) as app:
        peer = Peer(app=app, adapter=adapter_to(app), receiver=Receiver(), database=books)
        order = trade("payout", "pending")
        pending = await order.ask(peer.adapter)
        assert isinstance(pending, Pending)
        async with peer.raw() as http:
            first, again = [await http.post(f"/payouts/{pending.provider_ref}/cancel") for _ in range(2)]
        assert (first.status_code, first.json()["status"], first.json()["failure_code"]) == (200, "failed", "cancelled")
        assert again.json() == first.json()
        found = await order.find(peer.adapter)
        assert isinstance(found, PspEvent)
        assert (found.type, found.provider_event_id) == (PspEventType.PAYOUT_FAILED, first.json()["event_id"])
        async with await psycopg.AsyncConnection.connect(books.owner_url) as conn:
            cursor = await conn.execute(
                "SELECT array_agg(type ORDER BY sequence) FROM mockpsp.events WHERE object_id = %s",
                (pending.provider_ref,),
            )
            assert await cursor.fetchone() == (["payout.pending", "payout.failed"],)
        await peer.adapter.close()


async def test_paid_payout_cannot_be_stopped(peer: Peer) -> None:
    paid = await trade("payout").ask(peer.adapter)
    assert isinstance(paid, Done)
    async with peer.raw() as http:
        answer = await http.post(f"/payouts/{paid.provider_ref}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancellable")


# ---------------------------------------------------------------------------------------------------------------------
# Lookups, and answers that say nothing
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["deposit", "payout"])
async def test_what_is_not_there_or_anothers_is_not_found(psp: PspAdapter, kind: str) -> None:
    order, stranger = trade(kind), trade(kind)
    done = await order.ask(psp)
    assert isinstance(done, Done)
    assert await stranger.find(psp) == NotFound()
    assert await stranger.get(psp, "mpo_0") == NotFound()
    assert await stranger.get(psp, done.provider_ref) == NotFound(), "another account's"
    other_kind = trade("payout" if kind == "deposit" else "deposit")
    assert await other_kind.get(psp, done.provider_ref) == NotFound()


async def test_two_payments_with_one_reference_are_not_guessed_between(psp: PspAdapter) -> None:
    reference = uuid4()
    for key in ("one", "two"):
        await psp.capture_deposit(capture(reference=reference, key=f"{key}-{reference}"))
    found = await psp.find_payment_by_reference(str(reference), account_id="a")
    assert found == Unknown(reason="ambiguous_reference")


async def test_wrong_api_key_opens_nothing_and_proves_nothing(peer: Peer) -> None:
    stranger = adapter_to(peer.app, api_key="guessed")
    order = trade("payout")
    assert await order.ask(stranger) == Unknown(reason="status_401")
    assert await order.find(stranger) == Unknown(reason="status_401")
    with pytest.raises(PspUnavailable, match="status_401"):
        await stranger.list_transactions(
            account_id="a", from_at=datetime.now(UTC), to_at=datetime.now(UTC), cursor=None
        )
    await stranger.close()
    assert await order.find(peer.adapter) == NotFound()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"amount_minor": 0}, {}),
        ({"amount_minor": 1.5}, {}),
        ({"currency": "usd"}, {}),
        ({"reference": ""}, {}),
        ({"reference": "a\x00b"}, {}),
        ({}, {"idempotency-key": ""}),
    ],
)
async def test_request_that_makes_no_sense_books_nothing(
    peer: Peer, body: dict[str, object], headers: dict[str, str]
) -> None:
    reference = uuid4().hex
    good = {
        "account": "a", "reference": reference, "amount_minor": 5, "currency": "USD", "method": "test", "address": "x"
    }  # fmt: skip
    async with peer.raw() as http:
        answer = await http.post("/payouts", json=good | body, headers={"idempotency-key": reference} | headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        found = await http.get("/payouts", params={"reference": reference, "account": "a"})
        assert found.json() == {"items": []}
        assert (await http.post("/payouts", content=b"{", headers={"idempotency-key": "k"})).status_code == 422
        assert (await http.post("/payouts", json=good)).status_code == 422, "a key is required"


def answering(status: int, body: bytes) -> Receiver | Any:
    """Somebody who gives this answer to everything."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"", "unreadable"),
        (200, b"<html>", "unreadable"),
        (200, b'{"id": "x"}', "unreadable"),
        (200, b"\xff" * 5_000_000, "answer_too_large"),
        (302, b"", "status_302"),
        (404, b"<html>no such page</html>", "status_404"),
        (409, b"{}", "status_409"),
        (422, b"a proxy's opinion", "status_422"),
        (500, b"", "status_500"),
        (503, b'{"code": "unavailable"}', "status_503"),
    ],
)
async def test_answer_that_does_not_say_what_happened_is_unknown(status: int, body: bytes, reason: str) -> None:
    async with listening(answering(status, body)) as url:
        psp = MockPsp(url, api_key="k", timeout_seconds=DEADLINE_SECONDS)
        order = trade("payout")
        assert await order.ask(psp) == Unknown(reason=reason)
        assert await order.get(psp, "mpo_1") == Unknown(reason=reason)
        assert await trade("deposit").ask(psp) == Unknown(reason=reason)
        await psp.close()


async def test_answer_about_another_order_is_unknown(peer: Peer) -> None:
    async with peer.raw() as http:
        other = await http.post(
            "/payouts",
            json={
                "account": "a", "reference": uuid4().hex, "amount_minor": 5, "currency": "USD", "method": "test",
                "address": "x",
            },
            headers={"idempotency-key": uuid4().hex},
        )  # fmt: skip
    async with listening(answering(201, other.content)) as url:
        psp = MockPsp(url, api_key="k", timeout_seconds=DEADLINE_SECONDS)
        assert await psp.payout_withdrawal(payout(account="a")) == Unknown(reason="answer_about_another")
        await psp.close()


async def test_nobody_there_is_unknown_and_found_out_at_once() -> None:
    async with listening(answering(200, b"")) as url:
        pass
    psp = MockPsp(url, api_key="k", timeout_seconds=DEADLINE_SECONDS)
    assert await trade("payout").ask(psp) == Unknown(reason="connection")
    await psp.close()


async def test_hanging_requests_hold_no_connection_to_the_books(peer: Peer) -> None:
    # More than MockPSP has connections: if they held one each, nobody else would be answered.
    hanging = [asyncio.create_task(trade("deposit", "timeout_created").ask(peer.adapter)) for _ in range(30)]
    outcomes = await asyncio.gather(*(trade("deposit").ask(peer.adapter) for _ in range(10)))
    assert {type(outcome) for outcome in outcomes} == {Done}
    assert not any(task.done() for task in hanging)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


# ---------------------------------------------------------------------------------------------------------------------
# Statements
# ---------------------------------------------------------------------------------------------------------------------


async def test_statement_adds_up_while_money_keeps_moving(peer: Peer) -> None:
    account = f"acc_{uuid4().hex}"
    from_at, to_at = datetime.now(UTC) - timedelta(minutes=1), datetime.now(UTC) + timedelta(minutes=1)
    is_over = asyncio.Event()

    async def keep_moving(currency: str) -> int:
        booked = 0
        while not is_over.is_set():
            await peer.adapter.capture_deposit(capture(account=account, currency=currency, amount=1 + booked))
            booked += 1
        return booked

    async def draw(http: httpx.AsyncClient) -> list[dict[str, Any]]:
        query = {"account": account, "from": from_at.isoformat(), "to": to_at.isoformat(), "limit": "7"}
        items: list[dict[str, Any]] = []
        control = None
        while True:
            page = (await http.get("/transactions", params=query)).json()
            assert control in (None, page["control"]), "the totals are of one statement, on every page"
            control = page["control"]
            assert page["complete"] is False, "the window is not over"
            items += page["items"]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == 7
            query["cursor"] = page["next_cursor"]
        sums = Counter[str]()
        for item in items:
            sums[item["currency"]] += item["amount_minor"]
        assert control == {"count": len(items), "sum_by_currency": dict(sums)}
        assert len({item["event_id"] for item in items}) == len(items)
        return items

    movers = [asyncio.create_task(keep_moving(currency)) for currency in ("USD", "EUR", "USD")]
    drawn: list[list[dict[str, Any]]] = []
    async with peer.raw() as http:
        while len(drawn) < 5 or len(drawn[-1]) < 50:
            drawn.append(await draw(http))
        is_over.set()
        booked = sum(await asyncio.gather(*movers))
        assert len(await draw(http)) == booked, "in the end nothing is missing"
    assert len(drawn[0]) < len(drawn[-1]), "money did move meanwhile"


async def test_adapter_reads_a_statement_to_its_end(psp: PspAdapter) -> None:
    account = f"acc_{uuid4().hex}"
    count = STATEMENT_PAGE_LINES + 3
    requests = [payout(account=account) for _ in range(count)]
    for start in range(0, count, 50):
        await asyncio.gather(*(psp.payout_withdrawal(request) for request in requests[start : start + 50]))
    lines: list[StatementLine] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await psp.list_transactions(
            account_id=account,
            from_at=datetime.now(UTC) - timedelta(hours=1),
            to_at=datetime.now(UTC) + timedelta(hours=1),
            cursor=cursor,
        )
        lines += page.lines
        cursor, pages = page.next_cursor, pages + 1
        assert (page.control_count, page.control_sums) == (count, {"USD": count * 10_00})
    assert pages == 2
    assert {line.reference for line in lines} == {request.reference for request in requests}
    assert [line.occurred_at for line in lines] == sorted(line.occurred_at for line in lines)


async def test_statement_holds_the_beginning_of_its_window_and_not_the_end(psp: PspAdapter) -> None:
    order = trade("payout")
    paid = await order.ask(psp)
    assert isinstance(paid, Done)
    instant = timedelta(microseconds=1)
    for from_at, to_at, count in (
        (paid.occurred_at, paid.occurred_at + instant, 1),
        (paid.occurred_at - instant, paid.occurred_at, 0),
        (paid.occurred_at + instant, paid.occurred_at + timedelta(hours=1), 0),
    ):
        page = await psp.list_transactions(
            account_id=order.request.account_id, from_at=from_at, to_at=to_at, cursor=None
        )
        assert (len(page.lines), page.control_count) == (count, count)


async def test_window_that_is_long_over_is_complete(peer: Peer) -> None:
    query = {"account": "a", "from": "2026-01-01T00:00:00+00:00", "to": "2026-01-02T00:00:00+00:00"}
    async with peer.raw() as http:
        page = (await http.get("/transactions", params=query)).json()
        assert page == {
            "items": [],
            "next_cursor": None,
            "complete": True,
            "control": {"count": 0, "sum_by_currency": {}},
        }
        for wrong in ({"cursor": "x"}, {"cursor": "e30="}, {"limit": "0"}, {"from": "yesterday"}):
            answer = await http.get("/transactions", params=query | wrong)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), wrong


# ---------------------------------------------------------------------------------------------------------------------
# Webhooks that do not arrive at once
# ---------------------------------------------------------------------------------------------------------------------


async def delivery_rows(database: Database) -> list[tuple[Any, ...]]:
    """(state, attempts, seconds until it is due, last result) of every webhook, in their order."""
    async with await psycopg.AsyncConnection.connect(database.owner_url) as conn:
        cursor = await conn.execute(
            "SELECT state, attempts, EXTRACT(EPOCH FROM due_at - clock_timestamp())::FLOAT8, last_result "
            "FROM mockpsp.deliveries ORDER BY delivery_id"
        )
        return await cursor.fetchall()


MakeDatabase = Callable[..., Database]


async def test_webhook_is_repeated_until_somebody_says_2xx_signed_anew_each_time(new_database: MakeDatabase) -> None:
    statuses = [500, 404, 302, 204]
    receiver = Receiver(answer=lambda number: (statuses[min(number, len(statuses)) - 1], {}))
    database = new_database()
    async with running(config(database, receiver=receiver, clock_factor=0.0001)) as app:
        psp = adapter_to(app)
        await psp.payout_withdrawal(payout())
        received = await receiver.until(4)
        await eventually(lambda: delivery_rows(database), lambda rows: rows[0][0] == "delivered")
        await psp.close()
    assert len({each.event_id for each in received}) == 1
    assert len({each.body for each in received}) == 1
    assert [each.verdict.is_valid for each in received] == [True] * 4
    (row,) = await delivery_rows(database)
    assert (row[0], row[1], row[3]) == ("delivered", 4, "status_204")
    assert len(receiver.deliveries) == 4


async def test_webhook_is_given_up_after_the_last_attempt_of_the_schedule(new_database: MakeDatabase) -> None:
    receiver = Receiver(answer=lambda _: (500, {}))
    database = new_database()
    async with running(config(database, receiver=receiver, clock_factor=1e-6)) as app:
        psp = adapter_to(app)
        await psp.payout_withdrawal(payout())
        (row,) = await eventually(lambda: delivery_rows(database), lambda rows: rows[0][0] != "waiting")
        await psp.close()
    assert (row[0], row[1], row[3]) == ("given_up", len(deliveries.SCHEDULE_SECONDS), "status_500")
    assert len(receiver.deliveries) == len(deliveries.SCHEDULE_SECONDS) == 10


async def test_receiver_that_asks_for_time_gets_it(new_database: MakeDatabase) -> None:
    receiver = Receiver(answer=lambda _: (503, {"Retry-After": "3600"}))
    database = new_database()
    async with running(config(database, receiver=receiver, clock_factor=1.0)) as app:
        psp = adapter_to(app)
        await psp.payout_withdrawal(payout())
        (row,) = await eventually(lambda: delivery_rows(database), lambda rows: rows[0][3] is not None)
        await psp.close()
    assert (row[0], row[1], row[3]) == ("waiting", 1, "status_503")
    assert 3_000 < row[2] <= 3_600


def test_next_attempt_is_never_before_the_schedule_or_what_was_asked_for() -> None:
    for attempt, seconds in enumerate(deliveries.SCHEDULE_SECONDS[1:], start=1):
        assert seconds <= deliveries.next_delay_seconds(attempt, retry_after_seconds=None) <= seconds * 1.1
        assert deliveries.next_delay_seconds(attempt, retry_after_seconds=1.0) >= seconds
    assert deliveries.next_delay_seconds(1, retry_after_seconds=120.0) == 120.0
    assert deliveries.next_delay_seconds(1, retry_after_seconds=1e9) == deliveries.RETRY_AFTER_SECONDS_MAX
    assert deliveries.SCHEDULE_SECONDS == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Thu, 15 Jan 2026 12:01:00 GMT", 60.0),
        ("Thu, 15 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after_is_read_in_both_of_its_forms(value: str, seconds: float | None) -> None:
    headers = httpx.Headers([(b"retry-after", value.encode())])
    now = datetime(2026, 1, 15, 12, tzinfo=UTC)
    assert deliveries.read_retry_after(headers, now=now) == seconds


async def test_receiver_that_never_answers_is_left_and_tried_again(new_database: MakeDatabase) -> None:
    receiver = Receiver()
    receiver.is_answering.clear()
    database = new_database()
    async with running(config(database, receiver=receiver, clock_factor=0.0001, timeout_seconds=0.2)) as app:
        psp = adapter_to(app)
        await psp.payout_withdrawal(payout())
        await receiver.until(2)
        receiver.is_answering.set()
        await eventually(lambda: delivery_rows(database), lambda rows: rows[0][0] == "delivered")
        await psp.close()


async def test_many_senders_make_each_attempt_once(new_database: MakeDatabase) -> None:
    failed_once: set[str] = set()
    receiver = Receiver()

    def fail_each_first(number: int) -> tuple[int, dict[str, str]]:
        event_id = receiver.deliveries[number - 1].event_id
        is_first = event_id not in failed_once
        failed_once.add(event_id)
        return (500 if is_first else 200), {}

    receiver.answer = fail_each_first
    installation = config(new_database(), receiver=receiver, clock_factor=0.01)
    async with (
        running(installation) as one,
        running(installation) as two,
        running(installation) as three,
        running(installation) as four,
    ):
        adapters = [adapter_to(app) for app in (one, two, three, four)]
        await asyncio.gather(*(adapters[number % 4].payout_withdrawal(payout()) for number in range(60)))
        await receiver.until(120)
        await eventually(
            lambda: delivery_rows_of(installation.database_url), lambda states: states == {"delivered": 60}
        )
        for adapter in adapters:
            await adapter.close()
    assert set(Counter(each.event_id for each in receiver.deliveries).values()) == {2}


async def delivery_rows_of(url: str) -> dict[str, int]:
    """How many webhooks are in each state."""
    async with await psycopg.AsyncConnection.connect(url) as conn:
        cursor = await conn.execute("SELECT state, count(*) FROM mockpsp.deliveries GROUP BY state")
        return dict(await cursor.fetchall())


# ---------------------------------------------------------------------------------------------------------------------
# A process of its own
# ---------------------------------------------------------------------------------------------------------------------


def mockpsp_process(home: Path, database: Database, *, webhook_url: str, clock_factor: float) -> MockPspProcess:
    """`hakem mockpsp serve` on a database, sending there."""
    return MockPspProcess(
        home,
        arguments=("--webhook-url", webhook_url, "--webhook-timeout-seconds", "1"),
        environment={
            "DATABASE_URL": database.service_url,
            "DATABASE_OWNER_URL": database.owner_url,
            "MOCKPSP_API_KEY": MOCKPSP_API_KEY,
            "MOCKPSP_CLOCK_FACTOR": str(clock_factor),
            "WEBHOOK_SECRET_MOCKPSP": WEBHOOK_SECRET,
            "ENV": "dev",
        },
    )


async def test_killed_process_forgets_no_webhook_and_no_key(home: Path, new_database: MakeDatabase) -> None:
    receiver = Receiver(answer=lambda _: (503, {}))
    database = new_database()
    orders = [trade("payout"), trade("payout", "pending"), trade("deposit", "paid_then_returned")]
    async with listening(receiver) as url:
        process = mockpsp_process(home, database, webhook_url=f"{url}/hooks", clock_factor=0.1)
        try:
            await process.start()
            psp = MockPsp(process.url, api_key=MOCKPSP_API_KEY, timeout_seconds=DEADLINE_SECONDS)
            answers = [await order.ask(psp) for order in orders]
            await receiver.until(2)
            # From here on the receiver leaves it hanging, so that the kill finds deliveries under way.
            receiver.is_answering.clear()
            await receiver.until(len(receiver.deliveries) + 1)
            process.kill()
            assert await orders[0].ask(psp) == Unknown(reason="connection")
            await psp.close()

            receiver.answer = lambda _: (200, {})
            receiver.is_answering.set()
            await process.start()
            psp = MockPsp(process.url, api_key=MOCKPSP_API_KEY, timeout_seconds=DEADLINE_SECONDS)
            assert [await order.ask(psp) for order in orders] == answers
            await eventually(lambda: delivery_rows_of(database.owner_url), lambda states: states == {"delivered": 4})
            ends = [await order.find(psp) for order in orders]
            await psp.close()
        finally:
            process.stop()
    assert [end.type for end in ends if isinstance(end, PspEvent)] == [
        PspEventType.PAYOUT_PAID,
        PspEventType.PAYOUT_PAID,
        PspEventType.DEPOSIT_REFUNDED,
    ]
    told = {each.event_id for each in receiver.deliveries}
    assert {end.provider_event_id for end in ends if isinstance(end, PspEvent)} < told
    assert all(each.verdict.is_valid for each in receiver.deliveries)


async def test_network_call_ends_at_its_deadline_though_the_other_side_hangs(home: Path, books: Database) -> None:
    process = mockpsp_process(home, books, webhook_url="http://127.0.0.1:9/", clock_factor=1.0)
    try:
        await process.start()
        hasty = MockPsp(process.url, api_key=MOCKPSP_API_KEY, timeout_seconds=SHORT_SECONDS)
        order = trade("payout", "timeout_created")
        assert await order.ask(hasty) == Unknown(reason="timeout")
        found = await order.find(hasty)
        assert isinstance(found, PspEvent)
        assert isinstance(await order.ask(hasty), Done)
        await hasty.close()
    finally:
        process.stop()
