"""The audit in PostgreSQL: written with the deed, read by tenant."""

from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.audit import AuditEntry, AuditEvent, AuditFilter
from backend.app.repositories.database import Connection

SQL = sql.load("audit")


async def insert(conn: Connection, tenant_id: UUID | None, entry: AuditEntry) -> None:
    """Write one deed. Call inside the transaction of the deed; tenant_id None is for deeds of the platform."""
    await conn.execute(
        SQL.insert_event,
        {
            "tenant_id": tenant_id,
            "actor_kind": entry.actor.kind.value,
            "actor_id": entry.actor.actor_id,
            "actor_label": entry.actor.label,
            "action": entry.action,
            "object_kind": entry.object_kind,
            "object_id": entry.object_id,
            "reason": entry.reason,
            "state_before": None if entry.before is None else Jsonb(entry.before),
            "state_after": None if entry.after is None else Jsonb(entry.after),
            "request_id": entry.actor.request_id,
        },
    )


async def list_page(
    conn: Connection, tenant_id: UUID | None, *, asked: AuditFilter, before_id: UUID | None, limit: int, offset: int
) -> tuple[list[AuditEvent], int]:
    """A page of the deeds in a tenant, or everywhere when it is None, newest first; and how many match in all."""
    filters = {
        "tenant_id": tenant_id,
        "asked_tenant_id": asked.tenant_id,
        "action": asked.action,
        "actor": asked.actor,
        "object_kind": asked.object_kind,
        "object_id": asked.object_id,
        "date_from": asked.date_from,
        "date_to": asked.date_to,
    }
    # Planned anew each time (prepare=False): which filters are given decides which index serves.
    page = {**filters, "before_id": before_id, "limit": limit, "offset": offset}
    rows = await (await conn.execute(SQL.list_events, page, prepare=False)).fetchall()
    total = await (await conn.execute(SQL.count_events, filters, prepare=False)).fetchone()
    assert total is not None, "a count returns a row"
    return [AuditEvent._make(row) for row in rows], int(total[0])
