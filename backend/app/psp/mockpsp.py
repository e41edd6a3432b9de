"""The adapter to MockPSP, over HTTP like to any provider."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import STATUS_CLASSES, PspEvent, PspEventType, StatusClass
from backend.app.domain.reconciliation.statement import StatementKind, StatementLine, StatementPage
from backend.app.psp import mockpsp_events
from backend.app.psp.adapter import (
    CaptureRequest,
    Done,
    Lookup,
    NotFound,
    Outcome,
    PayoutRequest,
    Pending,
    PspKeyConflict,
    PspUnavailable,
    RefundRequest,
    Refused,
    Unknown,
)
from backend.app.psp.event_fields import (
    EventSequence,
    decode,
    find_failure_code,
    find_identifier,
    read_identifier,
    read_money,
)
from backend.app.psp.http import Answer, PspHttp
from backend.app.psp.mockpsp_events import MockPspWebhooks
from backend.app.psp.webhook import UnparsableEvent

PROVIDER: Final = mockpsp_events.PROVIDER

STATEMENT_PAGE_LINES: Final = 500
# What MockPSP says of a line, in our words; anything else says nothing final.
_LINE_CLASSES: Final[Mapping[str, StatusClass]] = {
    "captured": StatusClass.SUCCESS,
    "paid": StatusClass.SUCCESS,
    "refunded": StatusClass.REVERSED,
    "returned": StatusClass.REVERSED,
    "failed": StatusClass.FAILED,
}
AUTHORIZED: Final = "authorized"
KEY_CONFLICT: Final = "idempotency_key_conflict"
# Refusals that MockPSP gives before anything is booked: final, and no money moved. Any other status is no such promise.
FINAL_CODES: Final = frozenset({"invalid_request", "not_capturable", "not_refundable", "amount_not_refundable"})


class _Order(msgspec.Struct, frozen=True):
    id: str
    account: str
    reference: str
    status: str
    amount_minor: int
    currency: str
    sequence: EventSequence
    event_id: str
    event_type: PspEventType
    occurred_at: datetime
    failure_code: str | None = None


class _Orders(msgspec.Struct, frozen=True):
    items: list[_Order]


class _Problem(msgspec.Struct, frozen=True):
    code: str


class _Line(msgspec.Struct, frozen=True):
    event_id: str
    id: str
    kind: StatementKind
    status: str
    amount_minor: int
    currency: str
    occurred_at: datetime
    reference: str | None = None


class _Control(msgspec.Struct, frozen=True):
    count: int
    sum_by_currency: dict[str, int]


class _Statement(msgspec.Struct, frozen=True):
    items: list[_Line]
    next_cursor: str | None
    control: _Control
    complete: bool


_ORDER: Final = msgspec.json.Decoder(_Order)
_ORDERS: Final = msgspec.json.Decoder(_Orders)
_PROBLEM: Final = msgspec.json.Decoder(_Problem)
_STATEMENT: Final = msgspec.json.Decoder(_Statement)


class MockPsp(MockPspWebhooks):
    """A `PspAdapter`. Close it when nobody asks any more."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        timeout_seconds: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`timeout_seconds` is the longest that one call takes; `transport` is given when the peer is in-process."""
        self._http = PspHttp(
            url.rstrip("/"),
            headers={"authorization": f"Bearer {api_key}"},
            timeout_seconds=timeout_seconds,
            transport=transport,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def authorize_deposit(self, request: CaptureRequest) -> Outcome:
        """Reserve the money; `Pending` names the reservation. Raises PspKeyConflict."""
        answer = await self._post_payment(request, capture=False)
        return _outcome(answer, account=request.account_id, reference=str(request.reference))

    async def capture_deposit(self, request: CaptureRequest) -> Outcome:
        """Collect the money, whether it was reserved under the key before or not. Raises PspKeyConflict."""
        reference = str(request.reference)
        answer = await self._post_payment(request, capture=True)
        order = _find_order(answer, account=request.account_id, reference=reference)
        if isinstance(order, _Order) and order.status == AUTHORIZED:
            answer = await self._http.post(f"/payments/{quote(order.id, safe='')}/capture", b"")
        return _outcome(answer, account=request.account_id, reference=reference)

    async def refund_deposit(self, request: RefundRequest) -> Outcome:
        """Give captured money back. Raises PspKeyConflict."""
        answer = await self._http.post(
            f"/payments/{quote(request.payment_ref, safe='')}/refund",
            msgspec.json.encode(_money_fields(request.money)),
            idempotency_key=request.idempotency_key,
        )
        _ensure_no_conflict(answer, idempotency_key=request.idempotency_key)
        return _outcome(answer, account=request.account_id, reference=None)

    async def payout_withdrawal(self, request: PayoutRequest) -> Outcome:
        """Send money out; the reference is the key. Raises PspKeyConflict."""
        answer = await self._http.post(
            "/payouts",
            msgspec.json.encode(
                {
                    "account": request.account_id,
                    "reference": request.reference,
                    "method": request.method,
                    "address": request.address,
                    **_money_fields(request.money),
                }
            ),
            idempotency_key=request.reference,
        )
        _ensure_no_conflict(answer, idempotency_key=request.reference)
        return _outcome(answer, account=request.account_id, reference=request.reference)

    async def get_payment(self, payment_ref: str, *, account_id: str) -> Lookup:
        """What became of a deposit, by MockPSP's id."""
        return await self._get("payments", payment_ref, account_id=account_id)

    async def find_payment_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        """What became of a deposit, by our id."""
        return await self._find("payments", reference, account_id=account_id)

    async def get_payout(self, payout_ref: str, *, account_id: str) -> Lookup:
        """What became of a payout, by MockPSP's id."""
        return await self._get("payouts", payout_ref, account_id=account_id)

    async def find_payout_by_reference(self, reference: str, *, account_id: str) -> Lookup:
        """What became of a payout, by our attempt's name."""
        return await self._find("payouts", reference, account_id=account_id)

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """A page of what really moved in [from_at, to_at). Raises PspUnavailable."""
        query = {
            "account": account_id,
            "from": from_at.isoformat(),
            "to": to_at.isoformat(),
            "limit": str(STATEMENT_PAGE_LINES),
        }
        answer = await self._http.get("/transactions", query | ({} if cursor is None else {"cursor": cursor}))
        if isinstance(answer, Unknown):
            raise PspUnavailable(answer.reason)
        if not answer.is_success:
            raise PspUnavailable(f"status_{answer.status}")
        try:
            return _statement_page(decode(answer.body, decoder=_STATEMENT))
        except UnparsableEvent as error:
            raise PspUnavailable(f"unreadable: {error}") from None

    async def _post_payment(self, request: CaptureRequest, *, capture: bool) -> Answer | Unknown:
        answer = await self._http.post(
            "/payments",
            msgspec.json.encode(
                {
                    "account": request.account_id,
                    "reference": str(request.reference),
                    "method": request.method,
                    "capture": capture,
                    **_money_fields(request.money),
                }
            ),
            idempotency_key=request.idempotency_key,
        )
        _ensure_no_conflict(answer, idempotency_key=request.idempotency_key)
        return answer

    async def _get(self, orders: str, order_ref: str, *, account_id: str) -> Lookup:
        answer = await self._http.get(f"/{orders}/{quote(order_ref, safe='')}", {"account": account_id})
        if isinstance(answer, Answer) and _find_code(answer) == "not_found":
            return NotFound()
        order = _find_order(answer, account=account_id, reference=None)
        return order if isinstance(order, Unknown) else _observed(order)

    async def _find(self, orders: str, reference: str, *, account_id: str) -> Lookup:
        answer = await self._http.get(f"/{orders}", {"account": account_id, "reference": reference})
        if isinstance(answer, Unknown):
            return answer
        if not answer.is_success:
            return Unknown(reason=f"status_{answer.status}")
        try:
            items = decode(answer.body, decoder=_ORDERS).items
        except UnparsableEvent:
            return Unknown(reason="unreadable")
        if not items:
            return NotFound()
        if len(items) > 1 or (items[0].account, items[0].reference) != (account_id, reference):
            # Two orders with one reference are two movements of money: which of them is meant is not ours to guess.
            return Unknown(reason="ambiguous_reference")
        return _observed(items[0])


def _money_fields(money: Money) -> dict[str, object]:
    return {"amount_minor": money.amount_minor, "currency": money.currency}


def _find_code(answer: Answer) -> str | None:
    """MockPSP's own code for a refusal; None where something else answered in its place."""
    if answer.is_success:
        return None
    try:
        return decode(answer.body, decoder=_PROBLEM).code
    except UnparsableEvent:
        return None


def _ensure_no_conflict(answer: Answer | Unknown, *, idempotency_key: str) -> None:
    if isinstance(answer, Answer) and _find_code(answer) == KEY_CONFLICT:
        raise PspKeyConflict(f"MockPSP knows {idempotency_key} for something else")


def _find_order(answer: Answer | Unknown, *, account: str, reference: str | None) -> _Order | Unknown:
    """The order that an answer is about. An answer about another than was asked for says nothing."""
    if isinstance(answer, Unknown):
        return answer
    if not answer.is_success:
        return Unknown(reason=f"status_{answer.status}")
    try:
        order = decode(answer.body, decoder=_ORDER)
        read_identifier(order.id, field="id")
        read_identifier(order.event_id, field="event_id")
        _money(order.amount_minor, order.currency)
        _utc(order.occurred_at)
    except UnparsableEvent:
        return Unknown(reason="unreadable")
    if order.account != account or (reference is not None and order.reference != reference):
        return Unknown(reason="answer_about_another")
    return order


def _outcome(answer: Answer | Unknown, *, account: str, reference: str | None) -> Outcome:
    if isinstance(answer, Answer):
        code = _find_code(answer)
        if code in FINAL_CODES:
            return Refused(provider_ref=None, failure_code=code)
    order = _find_order(answer, account=account, reference=reference)
    if isinstance(order, Unknown):
        return order
    match STATUS_CLASSES[order.event_type]:
        case StatusClass.PENDING:
            return Pending(provider_ref=order.id)
        case StatusClass.FAILED:
            return Refused(provider_ref=order.id, failure_code=find_failure_code(order.failure_code) or "failed")
        case StatusClass.SUCCESS | StatusClass.REVERSED:
            return Done(
                provider_ref=order.id,
                provider_event_id=order.event_id,
                occurred_at=_utc(order.occurred_at),
                money=_money(order.amount_minor, order.currency),
                sequence=order.sequence,
            )


def _observed(order: _Order) -> PspEvent:
    return PspEvent(
        provider=PROVIDER,
        account_hint=order.account,
        provider_event_id=order.event_id,
        type=order.event_type,
        provider_ref=order.id,
        reference=order.reference,
        sequence=order.sequence,
        money=_money(order.amount_minor, order.currency),
        occurred_at=_utc(order.occurred_at),
        failure_code=find_failure_code(order.failure_code),
    )


def _statement_page(statement: _Statement) -> StatementPage:
    return StatementPage(
        lines=tuple(
            StatementLine(
                provider_event_id=read_identifier(line.event_id, field="event_id"),
                provider_ref=read_identifier(line.id, field="id"),
                reference=find_identifier(line.reference, field="reference"),
                kind=line.kind,
                status=line.status,
                status_class=_LINE_CLASSES.get(line.status, StatusClass.PENDING),
                money=_money(line.amount_minor, line.currency),
                occurred_at=_utc(line.occurred_at),
            )
            for line in statement.items
        ),
        next_cursor=statement.next_cursor,
        control_count=statement.control.count,
        control_sums=statement.control.sum_by_currency,
        is_complete=statement.complete,
    )


def _money(amount_minor: int, currency: str) -> Money:
    exponents: Mapping[str, int] = {}
    return read_money(amount_minor, currency=currency, exponents=exponents)


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise UnparsableEvent("a time without an offset")
    return at.astimezone(UTC)
