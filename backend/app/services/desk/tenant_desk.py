"""Looking at tenants: which there are and who decides in each. What is done about them is services/tenants.py."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from backend.app.domain.desk.tenant_desk import TenantDetail, TenantSeen
from backend.app.domain.payments.psp_account import AccountKey
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.database import Database
from backend.app.repositories.desk import tenant_desk_repo
from backend.app.repositories.payments import psp_account_repo
from backend.app.repositories.rollout import flag_repo

ACCOUNTS_MAX: Final = 50
BEFORE_ALL: Final = AccountKey("", "")


class TenantDesk:
    """The reading service for tenants. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(
        self, scope_tenant_id: UUID | None, *, before_id: UUID | None, limit: int
    ) -> tuple[Sequence[TenantSeen], bool]:
        """All tenants, newest first, and whether there are more; only the one that the request is about, if any."""
        async with self._database.connection() as conn:
            found = await tenant_desk_repo.list_tenants(conn, scope_tenant_id, before_id=before_id, limit=limit + 1)
        return found[:limit], len(found) > limit

    async def get(self, scope_tenant_id: UUID | None, *, tenant_id: UUID) -> TenantDetail:
        """One tenant. Raises TenantNotFound, also for another one than the request is about."""
        if scope_tenant_id not in (None, tenant_id):
            raise TenantNotFound
        async with self._database.connection() as conn:
            found = await tenant_desk_repo.list_tenants(conn, tenant_id, limit=1)
            if not found:
                raise TenantNotFound
            return TenantDetail(
                tenant=found[0],
                flags=await flag_repo.list_effective(conn, tenant_id, provider=None),
                accounts=await psp_account_repo.list_page(conn, tenant_id, after=BEFORE_ALL, limit=ACCOUNTS_MAX),
            )
