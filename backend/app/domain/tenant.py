"""Tenants: operators whose players, money and admins are kept apart."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import State
from backend.app.domain.errors import AppError, FieldError, NotFound
from backend.app.domain.identity import AdminIdentity

BASE_CURRENCY_DEFAULT: Final = "USD"
# As the table has it: letters, digits and inner hyphens, at most 63, so that a slug can be a host name.
SLUG_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_LENGTH_MAX: Final = 200


class TenantNotFound(NotFound):
    """404: no such tenant, or not the one of this request."""

    error_code = "TENANT_NOT_FOUND"
    title = "No such tenant"


class TenantExists(AppError):
    """409: the slug is taken."""

    error_code = "TENANT_EXISTS"
    status = 409
    title = "A tenant with this slug exists"


class InvalidTenant(AppError):
    """400: the tenant that a body names does not exist."""

    error_code = "INVALID_TENANT"
    status = 400
    title = "The tenant does not exist"


class TenantRequired(AppError):
    """400: the owner belongs to no tenant and has not said which one is meant."""

    error_code = "TENANT_REQUIRED"
    status = 400
    title = "Name the tenant, by X-Tenant-ID or tenant_id"


class InvalidTenantHeader(AppError):
    """400: X-Tenant-ID names no tenant."""

    error_code = "INVALID_TENANT_HEADER"
    status = 400
    title = "X-Tenant-ID does not name a tenant"


class TenantHeaderForbidden(AppError):
    """403: only an owner may choose a tenant."""

    error_code = "TENANT_HEADER_FORBIDDEN"
    status = 403
    title = "Only a platform owner may send X-Tenant-ID"


class PspAccount(NamedTuple):
    """An account of a tenant at a payment provider."""

    provider: str
    account_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTenant:
    """The wish for a new tenant."""

    name: str
    slug: str
    base_currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant as an owner sees it. `ledger_enforce_override` None leaves the arbiter to the levels below."""

    id: UUID
    slug: str
    name: str
    base_currency: str
    ledger_enforce_override: bool | None
    psp_accounts: tuple[PspAccount, ...]
    created_at: datetime
    updated_at: datetime

    @property
    def audit_state(self) -> State:
        """What the audit keeps of it."""
        return {"name": self.name, "slug": self.slug, "base_currency": self.base_currency}


def parse_slug(text: str, *, field: str = "slug") -> str:
    """The slug itself. Raises FieldError; needed beside the pattern, whose $ also matches before a final newline."""
    if not re.fullmatch(SLUG_PATTERN, text):
        raise FieldError(field, "may have small letters, digits and inner hyphens, at most 63 characters")
    return text


def parse_tenant_id(text: str) -> UUID | None:
    """The id in a header, or None when it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def account_id_of(tenant_id: UUID) -> str:
    """The tenant's account at MockPSP, made with the tenant."""
    return f"mock_{tenant_id.hex}"


def tenant_of_new(identity: AdminIdentity, *, asked: UUID | None) -> UUID:
    """The tenant that a new object will belong to: the one of the request, else the one the body asks for.

    Raises TenantRequired when neither says, TenantNotFound when the body asks for another than the request is about.
    """
    scope = identity.scope_tenant_id
    if scope is None:
        if asked is None:
            raise TenantRequired
        return asked
    if asked not in (None, scope):
        raise TenantNotFound
    return scope
