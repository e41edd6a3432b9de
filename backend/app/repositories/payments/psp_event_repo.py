"""The inbox in PostgreSQL: deliveries of providers, stored before they are applied."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.payments.psp_delivery import (
    UNVERIFIED_PER_MINUTE_MAX,
    EventState,
    Outcome,
    PendingEvent,
    PspEventFilter,
    PspEventRow,
    Stored,
    StoreDelivery,
)
from backend.app.repositories.database import Connection

SQL = sql.load("psp_event")


class Backlog(NamedTuple):
    """What waits in the inbox. oldest_at: since when the oldest due one is."""

    due: int
    oldest_at: datetime | None
    dead: int


async def store_verified(conn: Connection, deliveries: Sequence[StoreDelivery]) -> list[Stored]:
    """Store verified deliveries; one result for each, in order. Of those with one name the first is stored."""
    names = {
        "providers": [each.provider for each in deliveries],
        "account_ids": [each.account_id for each in deliveries],
        "provider_event_ids": [each.provider_event_id for each in deliveries],
    }
    cursor = await conn.execute(
        SQL.insert_verified,
        {
            **names,
            "ids": [each.event_id for each in deliveries],
            "signature_results": [each.signature_result for each in deliveries],
            "secret_names": [each.secret_name for each in deliveries],
            "tenant_ids": [each.tenant_id for each in deliveries],
            "bodies": [each.body for each in deliveries],
            "body_sizes": [each.body_size for each in deliveries],
            "body_hashes": [each.body_sha256 for each in deliveries],
            "headers": [json.dumps(dict(each.headers)) for each in deliveries],
            "request_ids": [each.request_id for each in deliveries],
            "received_ats": [each.received_at for each in deliveries],
        },
    )
    new = {row[0] for row in await cursor.fetchall()}
    if len(new) == len(deliveries):
        return [Stored(each.event_id, is_new=True, is_same_body=True) for each in deliveries]
    # A statement of its own: it sees what another session stored while the first one waited for it.
    rows = await (await conn.execute(SQL.list_verified, names)).fetchall()
    stored = {place: (event_id, bytes(body_sha256)) for place, event_id, body_sha256 in rows}
    results = []
    for place, each in enumerate(deliveries, start=1):
        event_id, body_sha256 = stored[place]
        # Written twice because the first answer was lost: it is still the delivery that came first.
        results.append(Stored(event_id, is_new=event_id == each.event_id, is_same_body=body_sha256 == each.body_sha256))
    return results


async def store_unverified(conn: Connection, delivery: StoreDelivery) -> bool:
    """Store a delivery that nobody vouches for; False when too many of its provider were stored in the last minute."""
    cursor = await conn.execute(
        SQL.insert_unverified,
        {
            "event_id": delivery.event_id,
            "provider": delivery.provider,
            "account_id": delivery.account_id,
            "provider_event_id": delivery.provider_event_id,
            "signature_result": delivery.signature_result,
            "body": delivery.body,
            "body_size": delivery.body_size,
            "body_hash": delivery.body_sha256,
            "headers": Jsonb(dict(delivery.headers)),
            "request_id": delivery.request_id,
            "received_at": delivery.received_at,
            "per_minute_max": UNVERIFIED_PER_MINUTE_MAX,
        },
    )
    return await cursor.fetchone() is not None


async def list_due(conn: Connection, *, now: datetime, limit: int) -> list[UUID]:
    """Deliveries to apply now, the longest due first."""
    cursor = await conn.execute(SQL.list_due, {"now": now, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def lock_due(conn: Connection, event_ids: Sequence[UUID], *, now: datetime) -> list[PendingEvent]:
    """Take deliveries for this transaction, without those that somebody else has or that are not due."""
    cursor = await conn.execute(
        SQL.list_due_locked, {"event_ids": list(event_ids), "now": now, "limit": len(event_ids)}
    )
    return [PendingEvent._make(row) for row in await cursor.fetchall()]


async def finish(conn: Connection, outcomes: Mapping[UUID, Outcome], *, now: datetime) -> None:
    """Write down what became of deliveries."""
    told = outcomes.values()
    await conn.execute(
        SQL.finish_events,
        {
            "event_ids": list(outcomes),
            "states": [each.state.value for each in told],
            "last_errors": [each.last_error for each in told],
            "event_types": [each.event_type for each in told],
            "effects": [None if each.effect is None else each.effect.value for each in told],
            "details": [each.detail for each in told],
            "tenant_ids": [each.tenant_id for each in told],
            "tx_ids": [each.tx_id for each in told],
            "now": now,
        },
    )


async def find_attempts(conn: Connection, event_id: UUID) -> int | None:
    """How often a pending delivery was tried; None when it is not pending."""
    row = await (await conn.execute(SQL.find_attempts, {"event_id": event_id})).fetchone()
    return None if row is None else int(row[0])


async def postpone(
    conn: Connection, event_id: UUID, *, attempts: int, next_attempt_at: datetime | None, last_error: str
) -> EventState | None:
    """Count a failure; without a further time the delivery is dead. Its state; None when it is not pending."""
    cursor = await conn.execute(
        SQL.postpone_event,
        {
            "event_id": event_id,
            "attempts": attempts,
            "next_attempt_at": next_attempt_at,
            "last_error": last_error,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else EventState(row[0])


async def lease_hint(conn: Connection, event_id: UUID, *, until: datetime) -> None:
    """Keep a hint to oneself until then, without holding its row."""
    await conn.execute(SQL.lease_hint, {"event_id": event_id, "until": until})


async def lock_one(conn: Connection, tenant_id: UUID | None, *, event_id: UUID) -> PspEventRow | None:
    """A delivery of a tenant, or of any when it is None, its row kept for this transaction."""
    row = await (await conn.execute(SQL.lock_event, {"tenant_id": tenant_id, "event_id": event_id})).fetchone()
    return None if row is None else PspEventRow._make(row)


async def reopen(conn: Connection, event_id: UUID, *, now: datetime) -> None:
    """Make a delivery due again, as if it had just come in."""
    await conn.execute(SQL.reopen_event, {"event_id": event_id, "now": now})


async def list_page(
    conn: Connection, tenant_id: UUID | None, *, asked: PspEventFilter, before_id: UUID | None, limit: int, offset: int
) -> tuple[list[PspEventRow], int]:
    """A page of deliveries of a tenant, or of all when it is None, newest first; and how many match in all."""
    filters = {
        "tenant_id": tenant_id,
        "provider": asked.provider,
        "state": asked.state,
        "signature_status": asked.signature_status,
    }
    # Planned anew each time (prepare=False): which filters are given decides which index serves.
    page = {**filters, "before_id": before_id, "limit": limit, "offset": offset}
    rows = await (await conn.execute(SQL.list_events, page, prepare=False)).fetchall()
    total = await (await conn.execute(SQL.count_events, filters, prepare=False)).fetchone()
    assert total is not None, "a count returns a row"
    return [PspEventRow._make(row) for row in rows], int(total[0])


async def find_backlog(conn: Connection, *, now: datetime) -> Backlog:
    """What waits in the inbox."""
    row = await (await conn.execute(SQL.find_backlog, {"now": now})).fetchone()
    assert row is not None, "an aggregate returns a row"
    return Backlog._make(row)


async def prune_unverified(conn: Connection, *, before: datetime, limit: int) -> int:
    """Remove old deliveries that nobody vouched for, at most so many; how many were removed."""
    row = await (await conn.execute(SQL.prune_unverified, {"before": before, "limit": limit})).fetchone()
    assert row is not None, "a function returns a row"
    return int(row[0])


async def find_withdrawal_tenant(conn: Connection, *, withdrawal_id: UUID) -> UUID | None:
    """Whose withdrawal it is."""
    row = await (await conn.execute(SQL.find_withdrawal_tenant, {"withdrawal_id": withdrawal_id})).fetchone()
    return None if row is None else UUID(str(row[0]))
