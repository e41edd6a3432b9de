"""Reading the audit. It is written by whoever does the deed, in the deed's transaction (repositories/audit_repo)."""

from uuid import UUID

from backend.app.domain.audit import AuditEvent, AuditFilter
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database


class Audit:
    """The audit service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(
        self,
        scope_tenant_id: UUID | None,
        *,
        asked: AuditFilter,
        before_id: UUID | None,
        limit: int,
        offset: int,
    ) -> tuple[list[AuditEvent], int]:
        """A page of the deeds in a tenant, or everywhere when it is None, newest first; and how many match."""
        async with self._database.connection() as conn:
            return await audit_repo.list_page(
                conn, scope_tenant_id, asked=asked, before_id=before_id, limit=limit, offset=offset
            )
