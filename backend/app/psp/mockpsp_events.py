"""MockPSP's webhooks: signed by Standard Webhooks, one event to a body, named by the header `webhook-id`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import STATUS_CLASSES, PspEvent, PspEventType, StatusClass
from backend.app.psp import standard_webhooks
from backend.app.psp.event_fields import (
    EventSequence,
    decode,
    find_failure_code,
    find_identifier,
    find_time,
    read_identifier,
    read_money,
)
from backend.app.psp.webhook import Headers, Secret, UnparsableEvent, Verdict

PROVIDER: Final = "mockpsp"

# MockPSP's words are ours.
_TYPES: Final = {event_type.value: event_type for event_type in PspEventType}


class _Data(msgspec.Struct, frozen=True):
    account: str | None = None
    payment_id: str | None = None
    payout_id: str | None = None
    reference: str | None = None
    sequence: EventSequence | None = None
    amount_minor: int | None = None
    currency: str | None = None
    failure_code: str | None = None


class _Body(msgspec.Struct, frozen=True):
    type: str
    data: _Data
    timestamp: str | None = None


_BODY: Final = msgspec.json.Decoder(_Body)


class MockPspWebhooks:
    """The scheme of MockPSP."""

    provider = PROVIDER

    def find_key(self, secret: str) -> bytes | None:
        """Base64 after `whsec_`, or else the text itself."""
        return standard_webhooks.find_key(secret)

    def verify_webhook(self, raw_body: bytes, *, headers: Headers, secrets: Sequence[Secret], now: datetime) -> Verdict:
        """The verdict by Standard Webhooks. Never raises."""
        return standard_webhooks.verify(raw_body, headers=headers, secrets=secrets, now=now)

    def parse_event(self, raw_body: bytes, *, delivery_id: str) -> tuple[PspEvent, ...]:
        """The one event of the body, named by the delivery. Raises UnparsableEvent."""
        body = decode(raw_body, decoder=_BODY)
        event_type = _TYPES.get(body.type, PspEventType.UNKNOWN)
        return (
            PspEvent(
                provider=PROVIDER,
                account_hint=find_identifier(body.data.account, field="data.account"),
                provider_event_id=read_identifier(delivery_id, field="delivery_id"),
                type=event_type,
                provider_ref=_find_provider_ref(body.data, event_type=event_type),
                reference=find_identifier(body.data.reference, field="data.reference"),
                sequence=body.data.sequence,
                money=_find_money(body.data, event_type=event_type),
                occurred_at=find_time(body.timestamp),
                failure_code=find_failure_code(body.data.failure_code),
            ),
        )


def _find_provider_ref(data: _Data, *, event_type: PspEventType) -> str | None:
    if event_type == PspEventType.UNKNOWN:
        return find_identifier(data.payment_id or data.payout_id, field="data.payment_id")
    if event_type.startswith("deposit."):
        return read_identifier(data.payment_id, field="data.payment_id")
    return read_identifier(data.payout_id, field="data.payout_id")


def _find_money(data: _Data, *, event_type: PspEventType) -> Money | None:
    """The amount, which may be left out only where nothing is settled by it."""
    if event_type == PspEventType.UNKNOWN:
        return None
    if data.amount_minor is not None and data.currency is not None:
        return read_money(data.amount_minor, currency=data.currency, exponents={})
    is_settled = STATUS_CLASSES[event_type] in (StatusClass.SUCCESS, StatusClass.REVERSED)
    if is_settled or data.amount_minor is not None or data.currency is not None:
        raise UnparsableEvent("data.amount_minor and data.currency belong together")
    return None
