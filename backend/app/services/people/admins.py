"""Admins: who is behind a token right now, and the managing of them."""

from datetime import datetime
from uuid import UUID

import structlog

from backend.app.domain.audit import Actor, ActorKind, AuditEntry
from backend.app.domain.identity import AdminIdentity, Role, Unauthorized
from backend.app.domain.people.admin import (
    Admin,
    AdminChanged,
    AdminExists,
    AdminNotFound,
    ChangeAdmin,
    CreateAdmin,
    LastOwner,
    ensure_role_may_become,
)
from backend.app.domain.tenant import InvalidTenantHeader, TenantHeaderForbidden, parse_tenant_id
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.people import admin_repo
from backend.app.services.people.passwords import Passwords

log = structlog.get_logger()


class Admins:
    """The admin service. Built once per process."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def identify(
        self, admin_id: UUID, *, issued_at: datetime | None = None, tenant_header: str | None
    ) -> AdminIdentity:
        """The admin a token stands for as the database has it now, and the tenant that the request is about.

        issued_at: when the token was issued; None where there is none. Raises Unauthorized for an admin who is gone or
        disabled and for a token from before the password or the sessions ended, TenantHeaderForbidden when another than
        an owner sends the header, InvalidTenantHeader when it names no tenant.
        """
        asked = None if tenant_header is None else parse_tenant_id(tenant_header)
        async with self._database.connection() as conn:
            found = await admin_repo.identify(conn, admin_id=admin_id, issued_at=issued_at, asked_tenant_id=asked)
        if found is None:
            raise Unauthorized
        role = Role(found.role)
        if tenant_header is not None:
            if role is not Role.OWNER:
                raise TenantHeaderForbidden
            if not found.asked_tenant_exists:
                raise InvalidTenantHeader
        return AdminIdentity(
            admin_id=admin_id,
            email=found.email,
            role=role,
            tenant_id=found.tenant_id,
            scope_tenant_id=found.tenant_id or asked,
        )

    async def create(self, command: CreateAdmin, *, actor: Actor) -> Admin:
        """Make an admin. Raises AdminExists or InvalidTenant."""
        password_hash = await self._passwords.hash(command.password)
        async with self._database.transaction() as conn:
            return await _insert(conn, command, password_hash=password_hash, actor=actor)

    async def ensure_owner(self, *, email: str, password: str, actor: Actor) -> bool:
        """Make the platform owner unless somebody with the address exists, who is left alone. Whether one was made.

        Processes that start together make one owner: the second finds the address taken.
        """
        async with self._database.connection() as conn:
            if await admin_repo.find_credentials(conn, email=email) is not None:
                return False
        command = CreateAdmin(tenant_id=None, email=email, password=password, role=Role.OWNER)
        try:
            owner = await self.create(command, actor=actor)
        except AdminExists:
            return False
        log.info("admin.owner_created", admin_id=str(owner.id))
        return True

    async def change(
        self,
        scope_tenant_id: UUID | None,
        *,
        admin_id: UUID,
        change: ChangeAdmin,
        by: AdminIdentity,
        actor: Actor,
    ) -> Admin:
        """Change an admin.

        Raises AdminNotFound, AdminChanged, AdminExists, LastOwner, or what `ensure_role_may_become` raises.
        """
        password_hash = await self._passwords.hash(change.password) if change.password is not None else None
        async with self._database.transaction() as conn:
            is_deactivation = change.is_active is False
            owner_ids = await admin_repo.lock_owners(conn) if is_deactivation and by.is_platform_owner else ()
            admin = await admin_repo.lock(conn, scope_tenant_id, admin_id=admin_id)
            if admin is None:
                raise AdminNotFound
            if change.seen_at not in (None, admin.updated_at):
                raise AdminChanged
            if change.role is not None:
                ensure_role_may_become(admin, change.role, by=by)
            if is_deactivation and owner_ids == (admin_id,):
                raise LastOwner
            changed = await admin_repo.update(
                conn, scope_tenant_id, admin_id=admin_id, change=change, password_hash=password_hash
            )
            await audit_repo.insert(
                conn,
                changed.tenant_id,
                AuditEntry(
                    actor=actor,
                    action="admin.changed",
                    object_kind="admin",
                    object_id=str(admin_id),
                    reason=change.reason,
                    before=admin.audit_state,
                    after={**changed.audit_state, **({"password_changed": True} if password_hash is not None else {})},
                ),
            )
        return changed

    async def end_sessions(
        self, scope_tenant_id: UUID | None, *, admin_id: UUID, reason: str | None, actor: Actor
    ) -> int:
        """Sign an admin out, of the API too; how many sessions of the console were good. Raises AdminNotFound."""
        async with self._database.transaction() as conn:
            admin = await admin_repo.lock(conn, scope_tenant_id, admin_id=admin_id)
            if admin is None:
                raise AdminNotFound
            ended = await admin_repo.end_sessions(conn, admin.tenant_id, admin_id=admin_id)
            await audit_repo.insert(
                conn,
                admin.tenant_id,
                AuditEntry(
                    actor=actor,
                    action="admin.sessions_ended",
                    object_kind="admin",
                    object_id=str(admin_id),
                    reason=reason,
                    after={"sessions_ended": ended},
                ),
            )
        log.info("admin.sessions_ended", admin_id=str(admin_id), ended=ended)
        return ended

    async def find_active_id(self, *, email: str) -> UUID | None:
        """The active admin with an address."""
        async with self._database.connection() as conn:
            found = await admin_repo.find_credentials(conn, email=email)
        return found.id if found is not None and found.is_active else None

    async def list_page(self, scope_tenant_id: UUID | None, *, limit: int, offset: int) -> tuple[list[Admin], int]:
        """A page of the admins of a tenant, or of everywhere when it is None, newest first; and how many there are."""
        async with self._database.connection() as conn:
            return await admin_repo.list_page(conn, scope_tenant_id, limit=limit, offset=offset)


def system_actor(label: str) -> Actor:
    """The service itself, as the one who acts."""
    return Actor(kind=ActorKind.SYSTEM, actor_id=None, label=label)


async def _insert(conn: Connection, command: CreateAdmin, *, password_hash: str, actor: Actor) -> Admin:
    admin = await admin_repo.insert(
        conn,
        command.tenant_id,
        email=command.email,
        password_hash=password_hash,
        role=command.role,
        is_active=command.is_active,
    )
    await audit_repo.insert(
        conn,
        admin.tenant_id,
        AuditEntry(
            actor=actor,
            action="admin.created",
            object_kind="admin",
            object_id=str(admin.id),
            after=admin.audit_state,
        ),
    )
    return admin
