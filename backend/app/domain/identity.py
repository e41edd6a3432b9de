"""Who is asking: identities that a token stands for, and what a role may do."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from backend.app.domain.errors import AppError


class Role(StrEnum):
    """What an admin may do; an owner belongs to no tenant and sees them all."""

    OWNER = "owner"
    TENANT_ADMIN = "tenant_admin"
    FINANCE = "finance"
    APPROVER = "approver"
    RECON = "recon"
    VIEWER = "viewer"


class Unauthorized(AppError):
    """401: no token, or one that is not good (expired, forged, of the other kind, of a disabled account)."""

    error_code = "UNAUTHORIZED"
    status = 401
    title = "A valid bearer token is required"


class Forbidden(AppError):
    """403: the role does not allow it."""

    error_code = "FORBIDDEN"
    status = 403
    title = "The role does not allow this"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerIdentity:
    """The player a token stands for. A player's currency never changes, so the token carries it."""

    tenant_id: UUID
    player_id: UUID
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminIdentity:
    """The admin a token stands for, as the database has it at this moment.

    tenant_id: the admin's own tenant; None for an owner. scope_tenant_id: the tenant this request is about (an owner
    chooses it with X-Tenant-ID); None means all tenants.
    """

    admin_id: UUID
    email: str
    role: Role
    tenant_id: UUID | None
    scope_tenant_id: UUID | None

    @property
    def is_platform_owner(self) -> bool:
        """Whether this admin owns the platform."""
        return self.role is Role.OWNER
