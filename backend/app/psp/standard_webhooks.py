"""Signatures by Standard Webhooks, version 1 (standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.

Three headers; `webhook-signature` is a list of tokens `v1,<base64>`, so that a sender can sign with two secrets
while one takes the place of the other. Unlike the reference libraries nothing that comes in raises, a junk token does
not spoil its neighbours, and a timestamp is digits and nothing else.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from backend.app.psp.webhook import (
    Headers,
    Secret,
    SignatureStatus,
    Unverifiable,
    Verdict,
    ensure_timely,
    find_signer,
    read_header,
    usable_keys,
    utf8_key,
)

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

SECRET_PREFIX: Final = "whsec_"
TOKEN_PREFIX: Final = "v1,"
TOKENS_MAX: Final = 10

# No dot: with one in the id, two different deliveries could have the same string to sign.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_TOKEN: Final = re.compile(r"v1,([A-Za-z0-9+/]{43}=)")


def verify(raw_body: bytes, *, headers: Headers, secrets: Sequence[Secret], now: datetime) -> Verdict:
    """The verdict on a delivery: any of its first TOKENS_MAX tokens under any secret that is in force. Never raises."""
    delivery_id = None
    try:
        delivery_id = _read(headers, ID_HEADER, pattern=_ID)
        timestamp = _read(headers, TIMESTAMP_HEADER, pattern=_TIMESTAMP)
        label = find_signer(
            _message(raw_body, delivery_id=delivery_id, timestamp=timestamp),
            signatures=_read_signatures(headers),
            keys=usable_keys(secrets, now=now, find_key=find_key),
            encode=base64.b64encode,
        )
        ensure_timely(int(timestamp), now=now)
    except Unverifiable as refusal:
        return Verdict(status=refusal.status, provider_event_id=delivery_id)
    return Verdict(status=SignatureStatus.VALID, secret_label=label, provider_event_id=delivery_id)


def sign(raw_body: bytes, *, delivery_id: str, signed_at: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of a delivery, with one token for each secret in the order given.

    Raises ValueError for a secret that spells no key.
    """
    assert _ID.fullmatch(delivery_id), f"not an id of this scheme: {delivery_id!r}"
    assert 1 <= len(secrets) <= TOKENS_MAX, f"{len(secrets)} secrets"
    timestamp = str(int(signed_at.timestamp()))
    message = _message(raw_body, delivery_id=delivery_id, timestamp=timestamp)
    return {
        ID_HEADER: delivery_id,
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: " ".join(_token(message, secret=secret) for secret in secrets),
    }


def find_key(secret: str) -> bytes | None:
    """The key that a secret spells: base64 after `whsec_`, or else the text itself. None when it spells none."""
    if not secret.startswith(SECRET_PREFIX):
        return utf8_key(secret) or None
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True) or None
    except ValueError:
        return None


def _read(headers: Headers, name: str, *, pattern: re.Pattern[str]) -> str:
    value = read_header(headers, name)
    if not pattern.fullmatch(value):
        raise Unverifiable(SignatureStatus.MALFORMED)
    return value


def _read_signatures(headers: Headers) -> tuple[bytes, ...]:
    tokens = read_header(headers, SIGNATURE_HEADER).split(" ", TOKENS_MAX)[:TOKENS_MAX]
    signatures = tuple(match[1].encode() for match in map(_TOKEN.fullmatch, tokens) if match)
    if not signatures:
        raise Unverifiable(SignatureStatus.MALFORMED)
    return signatures


def _message(raw_body: bytes, *, delivery_id: str, timestamp: str) -> bytes:
    return b".".join((delivery_id.encode(), timestamp.encode(), raw_body))


def _token(message: bytes, *, secret: str) -> str:
    key = find_key(secret)
    if key is None:
        raise ValueError("the secret is empty or not base64 after its prefix")
    return TOKEN_PREFIX + base64.b64encode(hmac.digest(key, message, "sha256")).decode()
