"""MockPSP keeps its word: one idempotency key is one payment with one outcome, however often it is asked."""

import asyncio
from uuid import UUID, uuid4

import pytest

from backend.app.domain.money import Money
from backend.app.psp.adapter import CaptureRequest, Done, Outcome, Pending, PspAdapter, PspKeyConflict, Refused
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories.database import Database as Pools
from backend.tests.factories import Owner


@pytest.fixture
def psp(pools: Pools) -> PspAdapter:
    return MockPsp(pools)


def capture(
    *, key: str, reference: UUID, amount: int = 10_00, currency: str = "USD", method: str = "test", account: str = "a"
) -> CaptureRequest:
    return CaptureRequest(
        account_id=account,
        reference=reference,
        money=Money(amount_minor=amount, currency=currency),
        method=method,
        idempotency_key=key,
    )


async def test_capture_is_confirmed_with_a_reference_and_an_event(psp: PspAdapter) -> None:
    reference = uuid4()
    outcome = await psp.capture_deposit(capture(key=f"dep_{reference}", reference=reference))
    assert isinstance(outcome, Done)
    assert outcome.provider_ref == f"mpay_{reference.hex}"
    assert outcome.provider_event_id == f"mevt_{reference.hex}"
    assert outcome.occurred_at.tzinfo is not None


@pytest.mark.parametrize(
    ("method", "kind"),
    [("test", Done), ("mock:decline", Refused), ("mock:pending", Pending), ("mock:no_webhook", Done)],
)
async def test_same_key_gives_the_same_outcome(psp: PspAdapter, method: str, kind: type[Outcome]) -> None:
    reference = uuid4()
    asked = capture(key=f"dep_{reference}", reference=reference, method=method)
    first = await psp.capture_deposit(asked)
    assert isinstance(first, kind)
    assert await psp.capture_deposit(asked) == first


async def test_outcome_was_decided_by_the_first_request_of_the_key(psp: PspAdapter) -> None:
    reference = uuid4()
    first = await psp.capture_deposit(capture(key=f"dep_{reference}", reference=reference, method="mock:decline"))
    again = await psp.capture_deposit(capture(key=f"dep_{reference}", reference=reference, method="test"))
    assert isinstance(first, Refused)
    assert again == first


async def test_one_key_twenty_times_at_once_is_one_payment(owner: Owner, psp: PspAdapter) -> None:
    reference = uuid4()
    asked = capture(key=f"dep_{reference}", reference=reference)
    outcomes = await asyncio.gather(*(psp.capture_deposit(asked) for _ in range(20)))
    assert len(set(outcomes)) == 1
    cursor = await owner.execute(
        "SELECT count(*), sum(amount) FROM mockpsp.payments WHERE reference = %s", (str(reference),)
    )
    assert await cursor.fetchone() == (1, 10_00)


@pytest.mark.parametrize(
    "other", [{"amount": 10_01}, {"currency": "EUR"}, {"account": "b"}, {"reference": UUID(int=7)}]
)
async def test_key_of_another_payment_is_a_conflict(psp: PspAdapter, other: dict[str, object]) -> None:
    reference = uuid4()
    key = f"dep_{reference}"
    await psp.capture_deposit(capture(key=key, reference=reference))
    with pytest.raises(PspKeyConflict, match=key):
        await psp.capture_deposit(capture(key=key, **{"reference": reference, **other}))  # type: ignore[arg-type]  # one of the shapes above


async def test_two_amounts_under_one_key_at_once_book_one(owner: Owner, psp: PspAdapter) -> None:
    reference = uuid4()
    outcomes = await asyncio.gather(
        *(psp.capture_deposit(capture(key=f"dep_{reference}", reference=reference, amount=a)) for a in (1, 2)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Done", "PspKeyConflict"]
    cursor = await owner.execute("SELECT count(*) FROM mockpsp.payments WHERE reference = %s", (str(reference),))
    assert await cursor.fetchone() == (1,)
