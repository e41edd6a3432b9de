"""Tenants: made with their account at MockPSP, renamed, listed."""

from uuid import UUID

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.tenant import CreateTenant, PspAccount, Tenant, TenantNotFound, account_id_of
from backend.app.psp import mockpsp
from backend.app.repositories import audit_repo, tenant_repo
from backend.app.repositories.database import Connection, Database


class Tenants:
    """The tenant service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, command: CreateTenant, *, actor: Actor) -> Tenant:
        """Make a tenant and its account at MockPSP. Raises TenantExists."""
        async with self._database.transaction() as conn:
            tenant_id = await tenant_repo.insert(conn, command)
            account = PspAccount(provider=mockpsp.PROVIDER, account_id=account_id_of(tenant_id))
            await tenant_repo.insert_psp_account(conn, tenant_id, account)
            tenant = await _get(conn, tenant_id)
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="tenant.created",
                    object_kind="tenant",
                    object_id=str(tenant_id),
                    after=tenant.audit_state,
                ),
            )
        return tenant

    async def rename(self, scope_tenant_id: UUID | None, *, tenant_id: UUID, name: str, actor: Actor) -> Tenant:
        """Give a tenant another name. Raises TenantNotFound, also for another one than the request is about."""
        if scope_tenant_id not in (None, tenant_id):
            raise TenantNotFound
        async with self._database.transaction() as conn:
            former_name = await tenant_repo.lock_name(conn, tenant_id)
            if former_name is None:
                raise TenantNotFound
            await tenant_repo.rename(conn, tenant_id, name=name)
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="tenant.renamed",
                    object_kind="tenant",
                    object_id=str(tenant_id),
                    before={"name": former_name},
                    after={"name": name},
                ),
            )
            return await _get(conn, tenant_id)

    async def get(self, scope_tenant_id: UUID | None, *, tenant_id: UUID) -> Tenant:
        """One tenant. Raises TenantNotFound, also for another one than the request is about."""
        if scope_tenant_id not in (None, tenant_id):
            raise TenantNotFound
        async with self._database.connection() as conn:
            return await _get(conn, tenant_id)

    async def find_id(self, *, slug: str) -> UUID | None:
        """The tenant with a slug."""
        async with self._database.connection() as conn:
            return await tenant_repo.find_id(conn, slug=slug)

    async def list_page(self, scope_tenant_id: UUID | None, *, limit: int, offset: int) -> tuple[list[Tenant], int]:
        """A page of tenants, newest first, and how many there are; only the one that the request is about, if any."""
        async with self._database.connection() as conn:
            return await tenant_repo.list_page(conn, scope_tenant_id, limit=limit, offset=offset)


async def _get(conn: Connection, tenant_id: UUID) -> Tenant:
    tenants, _ = await tenant_repo.list_page(conn, tenant_id, limit=1, offset=0)
    if not tenants:
        raise TenantNotFound
    return tenants[0]
