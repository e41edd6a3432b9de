"""E-mail addresses: the name of an account. Compared in lower case, stored in lower case."""

from typing import Final

from backend.app.domain.errors import FieldError

# RFC 5321 §4.5.3.1.3 as corrected by RFC 3696 erratum 1690.
EMAIL_LENGTH_MAX: Final = 254
# The same rule for readers of the OpenAPI document; parse_email decides.
EMAIL_PATTERN: Final = r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$"


def parse_email(text: str, *, field: str = "email") -> str:
    """The address in lower case. Raises FieldError when it is not one.

    Whether somebody reads mail there cannot be seen from the text, so only the shape is asked for: one @ with something
    on both sides, nothing that cannot be printed, no spaces.
    """
    email = text.lower()
    name, _, host = email.partition("@")
    if not (name and host) or "@" in host or " " in email or not email.isprintable():
        raise FieldError(field, "is not an address such as name@example.com")
    if len(email) > EMAIL_LENGTH_MAX:
        raise FieldError(field, f"is longer than {EMAIL_LENGTH_MAX} characters")
    return email
