"""Accounts at payment providers, and the names of the secrets that their webhooks are signed with."""

import re
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError, FieldError, NotFound

# As the table has it: the rest of a variable's name after WEBHOOK_SECRET_.
SECRET_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
ACCOUNT_ID_LENGTH_MAX: Final = 255


class PspAccountExists(AppError):
    """409: the account at the provider belongs to a tenant already."""

    error_code = "PSP_ACCOUNT_EXISTS"
    status = 409
    title = "The account is known already"


class PspAccountNotFound(NotFound):
    """404: no such account at the provider."""

    error_code = "PSP_ACCOUNT_NOT_FOUND"
    title = "No such account at the provider"


class AccountKey(NamedTuple):
    """An account at a provider, by the provider's own name for it."""

    provider: str
    account_id: str


class SignedAccount(NamedTuple):
    """An account, its tenant, and its secret's name; None for the secret that the provider's accounts share."""

    provider: str
    account_id: str
    tenant_id: UUID
    secret_name: str | None


def parse_secret_name(text: str, *, field: str) -> str:
    """The name itself. Raises FieldError."""
    if not SECRET_NAME.fullmatch(text) or text == "PREVIOUS" or text.endswith("_PREVIOUS"):
        raise FieldError(
            field,
            "is what follows WEBHOOK_SECRET_ in the environment: capital letters, digits and _, at most 40, "
            "not ending in _PREVIOUS",
        )
    return text


def parse_account_id(text: str, *, field: str) -> str:
    """The id itself. Raises FieldError."""
    if not text or len(text) > ACCOUNT_ID_LENGTH_MAX or not text.isprintable():
        raise FieldError(field, f"has 1 to {ACCOUNT_ID_LENGTH_MAX} printable characters")
    return text
