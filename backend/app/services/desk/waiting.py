"""What waits and why, for an operator."""

from dataclasses import dataclass
from uuid import UUID

from backend.app.domain.desk.waiting import WaitingItem, WaitingQueue
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import tenant_repo
from backend.app.repositories.database import Database
from backend.app.repositories.desk import waiting_repo


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReport:
    """Items that move by themselves or are stuck, and queues that wait for a person."""

    items: tuple[WaitingItem, ...]
    queues: tuple[WaitingQueue, ...]


class Waiting:
    """Reads what is not finished."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def report(self, tenant_id: UUID | None, *, limit: int) -> WaitingReport:
        """At most `limit` of each kind, the longest waiting first; of all tenants when tenant_id is None.

        Raises TenantNotFound.
        """
        async with self._database.transaction() as conn:
            if tenant_id is not None and await tenant_repo.find_base_currency(conn, tenant_id) is None:
                raise TenantNotFound
            return WaitingReport(
                items=tuple(await waiting_repo.list_items(conn, tenant_id, limit=limit)),
                queues=tuple(await waiting_repo.list_queues(conn, tenant_id, limit=limit)),
            )
