"""Idempotency keys: what a valid one is, and the hash that tells the same request from another."""

import hashlib
import re
from typing import Final

from backend.app.domain.errors import AppError

HEADER: Final = "Idempotency-Key"
# 1–255 visible ASCII characters; in the quoted form of RFC 8941 (structured fields) the quotes are not part of the key.
_BARE: Final = re.compile(r"[!-~]{1,255}")
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')


class IdempotencyKeyRequired(AppError):
    """400: the operation moves money and the request has no usable key."""

    error_code = "IDEMPOTENCY_KEY_REQUIRED"
    status = 400
    title = "An Idempotency-Key header of 1 to 255 visible ASCII characters is required"


class IdempotencyKeyReused(AppError):
    """409: the key stands for another request of the same player and operation."""

    error_code = "IDEMPOTENCY_KEY_REUSE_CONFLICT"
    status = 409
    title = "The idempotency key was used for a different request"


def parse_key(header: str | None) -> str:
    """The key in a header value. Raises IdempotencyKeyRequired when there is none or it is malformed."""
    value = (header or "").strip(" \t")
    quoted = _QUOTED.fullmatch(value)
    if quoted is not None:
        key = re.sub(r"\\(.)", r"\1", quoted.group(1))
        if _BARE.fullmatch(key):
            return key
    elif _BARE.fullmatch(value) and not value.startswith('"'):
        return value
    raise IdempotencyKeyRequired


def request_hash(*parts: str | int) -> bytes:
    """SHA-256 over the parts that make two requests the same; lengths are included, so no two lists collide."""
    canonical = "".join(f"{len(text)}:{text}" for text in map(str, parts))
    return hashlib.sha256(canonical.encode()).digest()
