"""The audit in PostgreSQL: written with the deed, read by tenant."""

from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.audit import AuditEntry, AuditEvent, AuditFilter
from backend.app.domain.desk.audit_desk import SeenDeed, first_id_at, last_id_before
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
            "client_address": entry.actor.client_address,
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


async def list_of_object(
    conn: Connection, tenant_id: UUID | None, *, object_kind: str, object_id: UUID | str, limit: int
) -> list[AuditEvent]:
    """What was done to an object of a tenant, or of none, the latest first."""
    cursor = await conn.execute(
        SQL.list_of_object,
        {"tenant_id": tenant_id, "object_kind": object_kind, "object_id": object_id, "limit": limit},
    )
    return [AuditEvent._make(row) for row in await cursor.fetchall()]


async def list_newest(
    conn: Connection, tenant_id: UUID | None, *, asked: AuditFilter, before_id: UUID | None, limit: int
) -> list[SeenDeed]:
    """A page of the deeds in a tenant, or everywhere when it is None, newest first, from before an event.

    An actor that is an id is looked for by it, any other by the label; an object by its id alone.
    """
    actor_id = _uuid(asked.actor)
    before = last_id_before(asked.date_to)
    filters = {
        "action": asked.action,
        "actor_label": asked.actor if actor_id is None else None,
        "actor_id": actor_id,
        "date_from": asked.date_from,
        "date_to": asked.date_to,
        "from_id": first_id_at(asked.date_from),
        "before_id": before if before_id is None else min(before, before_id),
        "limit": limit,
    }
    scope = tenant_id or asked.tenant_id
    is_by_tenant = scope is None and asked.object_id is None and not (asked.action is None and asked.actor is None)
    query = SQL.list_newest_ids_everywhere if is_by_tenant else SQL.list_newest_ids
    own = {} if is_by_tenant else {"tenant_id": scope, "object_id": asked.object_id}
    cursor = await conn.execute(query, {**filters, **own}, prepare=False)
    ids = [row[0] for row in await cursor.fetchall()]
    cursor = await conn.execute(
        SQL.list_by_id, {"tenant_id": tenant_id, "event_ids": ids, "limit": limit}, prepare=False
    )
    return [SeenDeed._make(row) for row in await cursor.fetchall()]


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None
