"""Reading the audit. It is written by whoever does the deed, in the deed's transaction (repositories/audit_repo)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from backend.app.domain.audit import Actor, AuditEntry, AuditEvent, AuditFilter
from backend.app.domain.desk.audit_desk import SeenDeed
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database

EXPORT_PAGE: Final = 500
EXPORTS_AT_ONCE: Final = 2


class Audit:
    """The audit service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._export_slots = asyncio.Semaphore(EXPORTS_AT_ONCE)

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

    async def list_newest(
        self, scope_tenant_id: UUID | None, *, asked: AuditFilter, before_id: UUID | None, limit: int
    ) -> tuple[Sequence[SeenDeed], bool]:
        """A page of deeds, newest first, uncounted however many there are; and whether there are more."""
        async with self._database.connection() as conn:
            found = await audit_repo.list_newest(
                conn, scope_tenant_id, asked=asked, before_id=before_id, limit=limit + 1
            )
        return found[:limit], len(found) > limit

    async def export(
        self, scope_tenant_id: UUID | None, *, asked: AuditFilter, actor: Actor
    ) -> AsyncIterator[Sequence[SeenDeed]]:
        """All deeds that match, newest first, in pages, as they are at one moment. That it was asked for is audited
        first, and is the first of them where it matches.

        The first page is read before this returns, so that what cannot be exported is a refusal and not half a file.
        """
        async with self._database.transaction() as conn:
            await audit_repo.insert(
                conn,
                scope_tenant_id,
                AuditEntry(
                    actor=actor,
                    action="audit.exported",
                    object_kind="audit",
                    object_id=str(scope_tenant_id or "all"),
                    after=_filter_state(asked),
                ),
            )
        pages = self._pages(scope_tenant_id, asked=asked)
        first = await anext(pages)

        async def chain() -> AsyncIterator[Sequence[SeenDeed]]:
            yield first
            async for page in pages:
                yield page

        return chain()

    async def _pages(self, scope_tenant_id: UUID | None, *, asked: AuditFilter) -> AsyncIterator[Sequence[SeenDeed]]:
        """Pages by id, in one snapshot. Who stops reading loses the connection after its idle timeout."""
        async with self._export_slots, self._database.snapshot() as conn:
            before_id: UUID | None = None
            while True:
                page = await audit_repo.list_newest(
                    conn, scope_tenant_id, asked=asked, before_id=before_id, limit=EXPORT_PAGE
                )
                yield page
                if len(page) < EXPORT_PAGE:
                    return
                before_id = page[-1].id


def _filter_state(asked: AuditFilter) -> dict[str, str | int | bool | None]:
    """The filter as the audit keeps it: what was given."""
    given = {
        "action": asked.action,
        "actor": asked.actor,
        "object_id": asked.object_id,
        "date_from": asked.date_from,
        "date_to": asked.date_to,
    }
    return {name: str(value) for name, value in given.items() if value is not None}
