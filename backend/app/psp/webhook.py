"""Inbound deliveries of providers: is the signature good, and what does the body say. No I/O, no clock, no logger.

Verifying works on the bytes that came in and answers with a verdict, whatever those bytes are. Reading the body is a
second step that may fail; what it returns may be believed only as far as the verdict goes.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Final, Protocol

from backend.app.domain.payments.psp_event import PspEvent

TOLERANCE_SECONDS: Final = 300
HEADERS_MAX: Final = 100
HEADER_CHARS_MAX: Final = 4096
SECRETS_MAX: Final = 50

# Names and values as HTTP gave them; names in any case.
Headers = Mapping[str, str]


class SignatureStatus(StrEnum):
    """The verdict on a delivery's signature, or why there is no good one."""

    VALID = "valid"
    MISSING = "missing"
    MALFORMED = "malformed"
    # Genuine by its signature, but signed too long ago, or for a time to come.
    STALE = "stale"
    FUTURE = "future"
    MISMATCH = "mismatch"
    NO_SECRET = "no_secret"


class SecretLabel(StrEnum):
    """A secret's place in its rotation."""

    CURRENT = "current"
    PREVIOUS = "previous"
    NEXT = "next"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret shared with a provider, in the spelling of its scheme; good until `expires_at`, exclusively."""

    value: str = field(repr=False)
    label: SecretLabel = SecretLabel.CURRENT
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be thought of a delivery.

    `secret_label` says which secret it was signed with, if it is valid; `provider_event_id` what the delivery calls
    itself, None if that cannot be read. A valid delivery always has one.
    """

    status: SignatureStatus
    secret_label: SecretLabel | None = None
    provider_event_id: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the provider, and nobody else, sent these bytes at about this time."""
        return self.status == SignatureStatus.VALID


class UnparsableEvent(Exception):
    """The body is not what the provider documents; the reason is fit for a log and holds nothing from the body."""


class WebhookScheme(Protocol):
    """How one provider signs and writes its webhooks."""

    provider: str

    def find_key(self, secret: str) -> bytes | None:
        """The key that a secret spells in this scheme; None or empty when nobody can sign with it."""
        ...

    def verify_webhook(self, raw_body: bytes, *, headers: Headers, secrets: Sequence[Secret], now: datetime) -> Verdict:
        """The verdict on a delivery by any of the secrets (at most SECRETS_MAX are tried). Never raises."""
        ...

    def parse_event(self, raw_body: bytes, *, delivery_id: str) -> tuple[PspEvent, ...]:
        """The events in a body, at least one.

        `delivery_id` is the verdict's provider_event_id; it names the event where the body itself does not.
        Raises UnparsableEvent, and nothing else.
        """
        ...


class Unverifiable(Exception):
    """Ends a verification with a status other than valid. Schemes raise it inside and return a verdict outside."""

    def __init__(self, status: SignatureStatus) -> None:
        super().__init__(status)
        self.status = status


def read_header(headers: Headers, name: str) -> str:
    """The value of a header, named in lower case. Raises Unverifiable: missing or empty; oversized or contradictory."""
    values = {value for key, value in islice(headers.items(), HEADERS_MAX) if key.lower() == name}
    if not values - {""}:
        raise Unverifiable(SignatureStatus.MISSING)
    value = values.pop()
    if values or len(value) > HEADER_CHARS_MAX:
        raise Unverifiable(SignatureStatus.MALFORMED)
    return value


def usable_keys(
    secrets: Sequence[Secret], *, now: datetime, find_key: Callable[[str], bytes | None]
) -> tuple[tuple[SecretLabel, bytes], ...]:
    """Keys of the secrets that are in force and well spelled, in their order. Raises Unverifiable when none is.

    `find_key` gives the key that a secret spells, or None. An empty key is none: anybody could sign with it.
    """
    keys = []
    for secret in secrets[:SECRETS_MAX]:
        key = find_key(secret.value)
        if key and (secret.expires_at is None or now < secret.expires_at):
            keys.append((secret.label, key))
    if not keys:
        raise Unverifiable(SignatureStatus.NO_SECRET)
    return tuple(keys)


def is_signed(message: bytes, *, key: bytes, signatures: Sequence[bytes], encode: Callable[[bytes], bytes]) -> bool:
    """Whether any of the signatures is the message's HMAC-SHA256 in the encoding; compared in constant time.

    The encoded text is compared, not what it decodes to, so that a signature has one spelling only.
    """
    expected = encode(hmac.digest(key, message, "sha256"))
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


def find_signer(
    message: bytes,
    *,
    keys: Sequence[tuple[SecretLabel, bytes]],
    signatures: Sequence[bytes],
    encode: Callable[[bytes], bytes],
) -> SecretLabel:
    """The label of the first key under which any of the signatures is good. Raises Unverifiable."""
    for label, key in keys:
        if is_signed(message, key=key, signatures=signatures, encode=encode):
            return label
    raise Unverifiable(SignatureStatus.MISMATCH)


def ensure_timely(signed_at_seconds: int, *, now: datetime) -> None:
    """Refuse what was signed more than TOLERANCE_SECONDS away from now, to either side. Raises Unverifiable.

    Whole seconds are compared, as the timestamp has no others. Asked after the signature, so that stale and future
    speak of genuine deliveries and not of forgeries.
    """
    age_seconds = int(now.timestamp()) - signed_at_seconds
    if age_seconds > TOLERANCE_SECONDS:
        raise Unverifiable(SignatureStatus.STALE)
    if age_seconds < -TOLERANCE_SECONDS:
        raise Unverifiable(SignatureStatus.FUTURE)


def utf8_key(secret: str) -> bytes | None:
    """The secret's own bytes; None where the text has no UTF-8 form."""
    try:
        return secret.encode()
    except UnicodeEncodeError:
        return None


def digest_id(raw_body: bytes) -> str:
    """A name for a delivery that carries none: equal bytes, equal name."""
    return f"sha256:{hashlib.sha256(raw_body).hexdigest()}"
