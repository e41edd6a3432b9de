"""What needs somebody's attention, for the first page."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from backend.app.domain.desk.attention import Attention
from backend.app.domain.desk.withdrawal_desk import gather_queues
from backend.app.repositories.database import Database
from backend.app.repositories.desk import attention_repo, withdrawal_desk_repo

# A provider usually settles a deposit within minutes.
DEPOSIT_WAITS_LONG: Final = timedelta(hours=1)
MISMATCH_IS_NEWS: Final = timedelta(days=1)
CENSUSES: Final = 12


class AttentionDesk:
    """The reading service of the first page. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, scope_tenant_id: UUID | None, *, now: datetime, with_queues: bool) -> Attention:
        """What is open in a tenant, or everywhere when it is None."""
        async with self._database.connection() as conn:
            queues = await withdrawal_desk_repo.list_queues(conn, scope_tenant_id) if with_queues else None
            return Attention(
                queues=() if queues is None else gather_queues(queues),
                counts=await attention_repo.list_open_counts(
                    conn,
                    scope_tenant_id,
                    waiting_since=now - DEPOSIT_WAITS_LONG,
                    seen_since=now - MISMATCH_IS_NEWS,
                ),
                censuses=await attention_repo.list_last_censuses(conn, scope_tenant_id, limit=CENSUSES),
            )
