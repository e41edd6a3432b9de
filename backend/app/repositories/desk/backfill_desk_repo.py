"""Backfills as people look at them and ask for them: sql/backfill_desk.sql."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.backfill.backfill import BackfillCounts
from backend.app.domain.desk.backfill_desk import AskedBackfill, BackfillKind, RunSeen
from backend.app.repositories.database import Connection

SQL = sql.load("backfill_desk")


async def list_runs(conn: Connection, tenant_id: UUID | None, *, before_id: UUID | None, limit: int) -> list[RunSeen]:
    """Runs and dry runs of a tenant, or of all when it is None, the newest first."""
    cursor = await conn.execute(
        SQL.list_runs, {"tenant_id": tenant_id, "before_id": before_id, "limit": limit}, prepare=False
    )
    return [RunSeen._make(row) for row in await cursor.fetchall()]


async def give_up(conn: Connection, tenant_id: UUID, *, silence: timedelta) -> None:
    """End what nobody has worked on for so long."""
    await conn.execute(SQL.give_up, {"tenant_id": tenant_id, "silence": silence})


async def insert_request(
    conn: Connection, tenant_id: UUID, *, kind: BackfillKind, reason: str | None, actor: Actor
) -> UUID | None:
    """Ask for a backfill; None when one is under way."""
    cursor = await conn.execute(
        SQL.insert_request,
        {
            "tenant_id": tenant_id,
            "is_dry_run": kind.is_dry_run,
            "is_forced": kind.is_forced,
            "reason": reason,
            "actor_kind": actor.kind.value,
            "actor_id": actor.actor_id,
            "actor_label": actor.label,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def begin_request(conn: Connection, request_id: UUID) -> AskedBackfill | None:
    """Begin to work on a request, or go on with it; None when it is done."""
    row = await (await conn.execute(SQL.begin_request, {"request_id": request_id})).fetchone()
    if row is None:
        return None
    tenant_id, is_dry_run, is_forced, reason, actor_kind, actor_id, actor_label, is_begun = row
    actor = Actor(kind=ActorKind(actor_kind), actor_id=actor_id, label=actor_label, request_id=None)
    return AskedBackfill(tenant_id, is_dry_run, is_forced, reason, actor, is_begun)


async def note_progress(
    conn: Connection,
    tenant_id: UUID,
    *,
    request_id: UUID,
    counts: BackfillCounts,
    players_total: int | None,
    rows_per_second: int | None,
    throttled_by: str | None,
) -> None:
    """How far a request is. players_total None: as it was."""
    await conn.execute(
        SQL.note_progress,
        {
            "request_id": request_id,
            "tenant_id": tenant_id,
            **counts.summary,
            "differing": counts.differing,
            "players_total": players_total,
            "rows_per_second": rows_per_second,
            "throttled_by": throttled_by,
        },
    )


async def end_request(
    conn: Connection, tenant_id: UUID, *, request_id: UUID, state: str, result: Mapping[str, Any], error: str | None
) -> None:
    """How a request ended."""
    await conn.execute(
        SQL.end_request,
        {
            "request_id": request_id,
            "tenant_id": tenant_id,
            "state": state,
            "result": Jsonb(dict(result)),
            "error": error,
        },
    )
