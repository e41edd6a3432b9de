"""Passwords: which are accepted, and the one form in which they are compared."""

import unicodedata
from typing import Final

from backend.app.domain.errors import FieldError

# NIST SP 800-63B §5.1.1.2: at least 8 characters, no rules of composition; the upper bound limits the work of hashing.
PASSWORD_LENGTH_MIN: Final = 8
PASSWORD_LENGTH_MAX: Final = 128


def parse_password(text: str, *, field: str = "password") -> str:
    """A new password, in the form to hash. Raises FieldError when it is too short or too long."""
    if not PASSWORD_LENGTH_MIN <= len(text) <= PASSWORD_LENGTH_MAX:
        raise FieldError(field, f"must have {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters")
    return comparable(text)


def comparable(text: str) -> str:
    """The password in NFC (RFC 8265 §4.2): keyboards disagree about how "ü" is composed, people do not."""
    return unicodedata.normalize("NFC", text)
