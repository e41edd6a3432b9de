"""Deliveries of providers, for looking at: sql/webhook_desk.sql. Nothing is written here."""

from typing import Any
from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.webhook_desk import (
    BODY_BYTES_MAX,
    COUNTED_MAX,
    LOOKED_AT_MAX,
    WAITING_STATES,
    KeptDelivery,
    LinkedFinding,
    WebhookFilter,
    WebhookQueue,
)
from backend.app.domain.payments.psp_delivery import PendingEvent, PspEventRow
from backend.app.repositories.database import Connection

SQL = sql.load("webhook_desk")


async def list_queues(conn: Connection, tenant_id: UUID | None) -> list[WebhookQueue]:
    """What waits, by state, of a tenant or of all when it is None; in the order of WAITING_STATES."""
    # Planned anew each time, as every query here whose tenant may be left open.
    states = [state.value for state in WAITING_STATES]
    cursor = await conn.execute(
        SQL.list_queues, {"tenant_id": tenant_id, "states": states, "counted_max": COUNTED_MAX}, prepare=False
    )
    return sorted(
        (WebhookQueue._make(row) for row in await cursor.fetchall()), key=lambda queue: states.index(queue.state)
    )


async def list_events(
    conn: Connection, tenant_id: UUID | None, *, asked: WebhookFilter, before_id: UUID | None, limit: int
) -> list[PspEventRow]:
    """What matches among the newest deliveries of a tenant, or of all when it is None."""
    parameters = {
        **_looked_through(tenant_id, asked, before_id),
        "provider": asked.provider,
        "state": asked.state,
        "event_type": asked.event_type,
        "effect": asked.effect,
        "signature_status": asked.signature_status,
        "provider_event_id": asked.provider_event_id,
        "received_before": asked.received_before,
        "limit": limit,
    }
    cursor = await conn.execute(SQL.list_events, parameters, prepare=False)
    return [PspEventRow._make(row) for row in await cursor.fetchall()]


async def find_oldest_looked_at(
    conn: Connection, tenant_id: UUID | None, *, asked: WebhookFilter, before_id: UUID | None
) -> UUID | None:
    """Where `list_events` stopped looking; None when it came to the end."""
    parameters = _looked_through(tenant_id, asked, before_id)
    row = await (await conn.execute(SQL.find_oldest_looked_at, parameters, prepare=False)).fetchone()
    return None if row is None else UUID(str(row[0]))


async def find(conn: Connection, tenant_id: UUID | None, *, event_id: UUID) -> tuple[PspEventRow, KeptDelivery] | None:
    """A delivery of a tenant, or of any when it is None, and what is kept of it."""
    parameters = {"tenant_id": tenant_id, "event_id": event_id, "body_bytes_max": BODY_BYTES_MAX}
    row = await (await conn.execute(SQL.find_event, parameters)).fetchone()
    if row is None:
        return None
    columns = len(PspEventRow._fields)
    return PspEventRow._make(row[:columns]), KeptDelivery._make(row[columns:])


async def find_to_ask(conn: Connection, tenant_id: UUID | None, *, event_id: UUID) -> PendingEvent | None:
    """A delivery of a tenant, or of any when it is None, with its whole body."""
    row = await (await conn.execute(SQL.find_pull, {"tenant_id": tenant_id, "event_id": event_id})).fetchone()
    return None if row is None else PendingEvent._make(row)


async def list_findings(conn: Connection, tenant_id: UUID, *, event: PspEventRow, limit: int) -> list[LinkedFinding]:
    """What a delivery led to."""
    cursor = await conn.execute(
        SQL.list_findings,
        {
            "tenant_id": tenant_id,
            "provider_event_id": event.provider_event_id,
            "tx_id": event.tx_id,
            "limit": limit,
        },
    )
    return [LinkedFinding._make(row) for row in await cursor.fetchall()]


def _looked_through(tenant_id: UUID | None, asked: WebhookFilter, before_id: UUID | None) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        # What waits is little and has an index of its own: all of it is looked through, however old.
        "waiting_state": asked.state if asked.state in WAITING_STATES else None,
        "tx_id": asked.tx_id,
        "before_id": before_id,
        "looked_at_max": LOOKED_AT_MAX,
    }
