"""Admins: people of the platform and of its tenants, and who may manage whom."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.app.domain.audit import State
from backend.app.domain.errors import AppError, FieldError, NotFound
from backend.app.domain.identity import AdminIdentity, Forbidden, Role
from backend.app.domain.tenant import tenant_of_new


class AdminNotFound(NotFound):
    """404: no such admin, or not one of this request's tenant."""

    error_code = "ADMIN_NOT_FOUND"
    title = "No such admin"


class AdminExists(AppError):
    """409: the address is taken; an address signs in to one account on the whole platform."""

    error_code = "ADMIN_EXISTS"
    status = 409
    title = "An admin with this e-mail address exists"


class LastOwner(AppError):
    """409: nobody could manage the platform any more."""

    error_code = "LAST_OWNER"
    status = 409
    title = "The last active owner cannot be deactivated"


class AdminChanged(AppError):
    """409: somebody changed the account since it was looked at."""

    error_code = "ADMIN_CHANGED"
    status = 409
    title = "The account was changed meanwhile"


class OwnAccount(AppError):
    """403: nobody gives themselves another role."""

    error_code = "OWN_ACCOUNT"
    status = 403
    title = "Another admin has to do this to one's own account"


class Admin(NamedTuple):
    """One admin, in the order of the query's columns."""

    id: UUID
    tenant_id: UUID | None
    email: str
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime

    @property
    def audit_state(self) -> State:
        """What the audit keeps of it."""
        return {"email": self.email, "role": str(self.role), "is_active": self.is_active}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAdmin:
    """The wish for a new admin; the address and the password are checked already. tenant_id None: an owner."""

    tenant_id: UUID | None
    email: str
    password: str
    role: Role
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAdmin:
    """What to change of an admin; None leaves it. reason: for the audit. seen_at: the account's `updated_at` as it was
    looked at; None changes it however it is.
    """

    email: str | None = None
    password: str | None = None
    role: Role | None = None
    is_active: bool | None = None
    reason: str | None = None
    seen_at: datetime | None = None


def tenant_of_new_admin(identity: AdminIdentity, *, role: Role, asked: UUID | None) -> UUID | None:
    """The tenant of a new admin; None for an owner.

    Raises Forbidden when somebody else than an owner makes one, FieldError when an owner is asked for in a tenant, and
    what `tenant_of_new` raises.
    """
    if role is not Role.OWNER:
        return tenant_of_new(identity, asked=asked)
    if not identity.is_platform_owner:
        raise Forbidden("only an owner makes an owner")
    if asked is not None or identity.scope_tenant_id is not None:
        raise FieldError("role", "an owner belongs to no tenant")
    return None


def ensure_role_may_become(admin: Admin, role: Role, *, by: AdminIdentity) -> None:
    """Raise Forbidden when another than an owner makes an owner, FieldError when the role would change the tenant,
    OwnAccount when it is one's own: nobody raises themselves, and nobody is locked out by their own mistake.
    """
    if role is Role.OWNER and not by.is_platform_owner:
        raise Forbidden("only an owner makes an owner")
    if (role is Role.OWNER) != (admin.role == Role.OWNER):
        raise FieldError("role", "an owner belongs to no tenant, any other admin to one for ever: create a new admin")
    if admin.id == by.admin_id and role != admin.role:
        raise OwnAccount
