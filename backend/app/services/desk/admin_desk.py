"""Looking at admins: who there is, signed in how, who did what last. Deeds are services/people/admins.py."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from backend.app.domain.audit import AuditFilter
from backend.app.domain.desk.admin_desk import Person, PersonDetail
from backend.app.domain.people.admin import AdminNotFound
from backend.app.domain.people.console_session import hash_token
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database
from backend.app.repositories.desk import admin_desk_repo

SESSIONS_MAX: Final = 20
DEEDS: Final = 10


class AdminDesk:
    """The reading service for admins. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_page(
        self, scope_tenant_id: UUID | None, *, before_id: UUID | None, limit: int
    ) -> tuple[Sequence[Person], bool]:
        """The admins of a tenant, or of everywhere when it is None, newest first; and whether there are more."""
        async with self._database.connection() as conn:
            found = await admin_desk_repo.list_people(conn, scope_tenant_id, before_id=before_id, limit=limit + 1)
        return found[:limit], len(found) > limit

    async def get(self, scope_tenant_id: UUID | None, *, admin_id: UUID, own_token: str) -> PersonDetail:
        """One admin. own_token: of the session that asks, which is then told from the others. Raises AdminNotFound."""
        async with self._database.connection() as conn:
            found = await admin_desk_repo.list_people(conn, scope_tenant_id, admin_id=admin_id, limit=1)
            if not found:
                raise AdminNotFound
            tenant_id = found[0].tenant_id
            return PersonDetail(
                person=found[0],
                sessions=await admin_desk_repo.list_sessions(
                    conn, tenant_id, admin_id=admin_id, own_token_hash=hash_token(own_token), limit=SESSIONS_MAX
                ),
                deeds=await audit_repo.list_newest(
                    conn,
                    # An owner acts in every tenant; whoever looks at one of them sees what they may see.
                    tenant_id or scope_tenant_id,
                    asked=AuditFilter(actor=str(admin_id)),
                    before_id=None,
                    limit=DEEDS,
                ),
            )
