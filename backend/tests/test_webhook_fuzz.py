"""Whatever bytes come in: no verdict of random is valid, nothing raises but what is announced."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import Secret, SecretLabel, SignatureStatus, UnparsableEvent
from backend.tests.webhook_deliveries import (
    GENUINE,
    NOTIFICATION,
    Delivery,
    at,
    judge,
)

HEADER_NAMES = ["webhook-id", "Webhook-Timestamp", "webhook-signature", "Stripe-Signature", "HmacSignature", "x"]
# Surrogates included: a server may hand them on where it decodes leniently.
any_text = st.text(st.characters(), max_size=80)
likely_text = st.sampled_from(
    [value for delivery in GENUINE.values() for value in delivery.headers.values()] + ["t=1,v1=", "1", "v1,"]
)
any_headers = st.dictionaries(st.sampled_from(HEADER_NAMES) | any_text, any_text | likely_text, max_size=8)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
any_body = st.binary(max_size=200) | any_json.map(lambda document: json.dumps(document).encode())
any_secrets = st.lists(st.builds(Secret, value=any_text, label=st.sampled_from(SecretLabel)), max_size=3)


@given(
    provider=st.sampled_from(sorted(SCHEMES)),
    raw_body=any_body,
    headers=any_headers,
    secrets=any_secrets,
    seconds=st.integers(0, 4 * 10**9),
)
@settings(max_examples=600)
def test_no_random_delivery_is_valid_and_none_raises(
    provider: str, raw_body: bytes, headers: dict[str, str], secrets: list[Secret], seconds: int
) -> None:
    scheme = SCHEMES[provider]
    known = [Secret(value=delivery.secret) for delivery in GENUINE.values() if delivery.provider == provider]
    verdict = scheme.verify_webhook(raw_body, headers=headers, secrets=[*secrets, *known], now=at(seconds))
    assert verdict.status is not SignatureStatus.VALID


def set_somewhere(document: Any, value: Any, choose: Any) -> Any:
    """The document with the value in the place of one of its members, at any depth."""
    if isinstance(document, dict) and document and choose(st.booleans()):
        name = choose(st.sampled_from(sorted(document)))
        return document | {name: set_somewhere(document[name], value, choose)}
    if isinstance(document, list) and document:
        return [set_somewhere(document[0], value, choose), *document[1:]]
    return value


@given(delivery=st.sampled_from(list(GENUINE.values())), value=any_json, data=st.data())
@settings(max_examples=600)
def test_a_genuine_delivery_with_one_member_changed_never_raises(delivery: Delivery, value: Any, data: Any) -> None:
    document = set_somewhere(json.loads(delivery.raw_body), value, data.draw)
    raw_body = json.dumps(document).encode()
    verdict = judge(replace(delivery, raw_body=raw_body))
    # What an item does not sign may change; what is signed as a whole may not.
    assert not verdict.is_valid or (delivery is NOTIFICATION and verdict.provider_event_id == delivery.event_id)
    try:
        events = SCHEMES[delivery.provider].parse_event(raw_body, delivery_id="evt_1")
    except UnparsableEvent:
        return
    assert events


@given(provider=st.sampled_from(sorted(SCHEMES)), raw_body=any_body, delivery_id=any_text)
@settings(max_examples=600)
def test_reading_random_bytes_raises_one_error_only(provider: str, raw_body: bytes, delivery_id: str) -> None:
    try:
        events = SCHEMES[provider].parse_event(raw_body, delivery_id=delivery_id)
    except UnparsableEvent:
        return
    assert events
