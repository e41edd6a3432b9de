"""Looking at what providers delivered. What is done with a delivery is services/payments/psp_inbox.py."""

from typing import Final
from uuid import UUID

from backend.app.domain.desk.webhook_desk import WebhookDetail, WebhookFilter, WebhookPage, WebhookQueue
from backend.app.domain.payments.psp_delivery import PspEventNotFound
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database
from backend.app.repositories.desk import reconciliation_desk_repo, webhook_desk_repo

# More findings or deeds of one delivery than anybody reads.
DETAIL_ROWS_MAX: Final = 100


class WebhookDesk:
    """The desk's reading service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queues(self, scope_tenant_id: UUID | None) -> list[WebhookQueue]:
        """What waits, by state."""
        async with self._database.connection() as conn:
            return await webhook_desk_repo.list_queues(conn, scope_tenant_id)

    async def page(
        self, scope_tenant_id: UUID | None, *, asked: WebhookFilter, before_id: UUID | None, limit: int
    ) -> WebhookPage:
        """A page of the deliveries of a tenant, or of everywhere when it is None, with the queues above it."""
        async with self._database.connection() as conn:
            found = await webhook_desk_repo.list_events(
                conn, scope_tenant_id, asked=asked, before_id=before_id, limit=limit + 1
            )
            page = found[:limit]
            if len(found) > limit:
                goes_on_before: UUID | None = page[-1].id
            else:
                goes_on_before = await webhook_desk_repo.find_oldest_looked_at(
                    conn, scope_tenant_id, asked=asked, before_id=before_id
                )
            tenant_ids = {event.tenant_id for event in page if event.tenant_id is not None}
            return WebhookPage(
                events=page,
                goes_on_before=goes_on_before,
                names=await reconciliation_desk_repo.list_names(conn, sorted(tenant_ids)),
                queues=await webhook_desk_repo.list_queues(conn, scope_tenant_id),
            )

    async def get(self, scope_tenant_id: UUID | None, *, event_id: UUID) -> WebhookDetail:
        """Everything that is kept of a delivery. Raises PspEventNotFound."""
        async with self._database.snapshot() as conn:
            found = await webhook_desk_repo.find(conn, scope_tenant_id, event_id=event_id)
            if found is None:
                raise PspEventNotFound
            event, kept = found
            findings = []
            if event.tenant_id is not None:
                findings = await webhook_desk_repo.list_findings(
                    conn, event.tenant_id, event=event, limit=DETAIL_ROWS_MAX
                )
            history = await audit_repo.list_of_object(
                conn, event.tenant_id, object_kind="psp_event", object_id=event_id, limit=DETAIL_ROWS_MAX
            )
        return WebhookDetail(event=event, kept=kept, findings=findings, history=history)
