"""Verdicts in PostgreSQL: as they stand, and what the detector remembers of each stream."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.monitor.assessment import Latched, Verdict
from backend.app.domain.monitor.bucket import Stream, Trigger
from backend.app.domain.monitor.monitor import Decided, KeptVerdict, Subject, SubjectKind
from backend.app.repositories.database import Connection

SQL = sql.load("verdict")

VERDICTS_MAX: Final = 20_000


class ShownVerdict(NamedTuple):
    """A verdict as people see it, in the order of the query's columns."""

    subject_kind: str
    subject: str
    name: str
    trigger: str
    tenant_id: UUID | None
    verdict: str
    since: datetime
    evaluated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    decision_id: UUID | None
    assessments: Sequence[Mapping[str, Any]]
    sentences: Mapping[str, str]
    actions: Mapping[str, Any]
    score: float


async def list_verdicts(conn: Connection, *, subject: str | None = None) -> list[KeptVerdict]:
    """All verdicts as they stand, or those of one subject."""
    cursor = await conn.execute(SQL.list_verdicts, {"subject": subject, "limit": VERDICTS_MAX})
    return [_verdict_from(row) for row in await cursor.fetchall()]


async def list_shown(conn: Connection, tenant_id: UUID | None, *, limit: int) -> list[ShownVerdict]:
    """Verdicts for people: of a tenant, or of everybody but the sandbox; the most serious first."""
    cursor = await conn.execute(SQL.list_shown, {"tenant_id": tenant_id, "limit": limit})
    return [ShownVerdict._make(row) for row in await cursor.fetchall()]


async def list_triggers(conn: Connection, tenant_ids: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    """What stands for tenants, by tenant, as documents: their own verdicts, and those of their providers."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SQL.list_triggers, {"tenant_ids": list(tenant_ids), "limit": VERDICTS_MAX})
        found: dict[UUID, list[dict[str, Any]]] = {tenant_id: [] for tenant_id in tenant_ids}
        for row in await cursor.fetchall():
            found[row.pop("tenant_id")].append(row)
    return found


async def keep(
    conn: Connection,
    subject: Subject,
    decided: Decided,
    *,
    decision_id: UUID | None,
    before: KeptVerdict | None,
    now: datetime,
) -> bool:
    """Keep a verdict; False when a person has taken note of the former one meanwhile: the next evaluation will."""
    cursor = await conn.execute(
        SQL.keep_verdict,
        {
            "subject_kind": subject.kind.value,
            "subject": subject.key,
            "trigger": subject.trigger.value,
            "tenant_id": subject.tenant_id,
            "verdict": decided.verdict.value,
            "since": decided.worst.since,
            "evaluated_at": now,
            "decision_id": decision_id,
            "latches": Jsonb({each.stream.value: each.latched.to_json() for each in decided.assessments}),
            "assessments": Jsonb([each.to_json() for each in decided.assessments]),
            "sentences": Jsonb(dict(decided.sentences)),
            "actions": Jsonb(decided.actions_document),
            "score": decided.worst.score,
            "acknowledged_at_seen": None if before is None else before.acknowledged_at,
        },
    )
    return await cursor.fetchone() is not None


async def lock(conn: Connection, *, kind: SubjectKind, key: str, trigger: Trigger) -> KeptVerdict | None:
    """One verdict, kept for the caller's transaction."""
    cursor = await conn.execute(
        SQL.lock_verdict, {"subject_kind": kind.value, "subject": key, "trigger": trigger.value}
    )
    row = await cursor.fetchone()
    return None if row is None else _verdict_from(row)


async def acknowledge(conn: Connection, kept: KeptVerdict, *, by: str, now: datetime) -> None:
    """A person has taken note of the verdict; it is locked."""
    latches = {stream.value: latch.acknowledge(now=now).to_json() for stream, latch in kept.latches.items()}
    await conn.execute(
        SQL.acknowledge,
        {
            "subject_kind": kept.subject.kind.value,
            "subject": kept.subject.key,
            "trigger": kept.subject.trigger.value,
            "acknowledged_at": now,
            "acknowledged_by": by,
            "latches": Jsonb(latches),
        },
    )


async def forget(conn: Connection, subjects: Sequence[str]) -> None:
    """Remove the verdicts of subjects, with all that is remembered of them."""
    await conn.execute(SQL.forget, {"subjects": list(subjects)})


async def find_worst(conn: Connection, tenant_id: UUID, *, since: datetime) -> Verdict | None:
    """The most serious verdict that a tenant had since a time; None when it was never judged."""
    cursor = await conn.execute(SQL.list_since, {"tenant_id": tenant_id, "since": since})
    return max((Verdict(row[0]) for row in await cursor.fetchall()), key=lambda each: each.rank, default=None)


def _verdict_from(row: TupleRow) -> KeptVerdict:
    kind, key, name, trigger, tenant_id, verdict, since, evaluated_at, latches, *rest = row
    acknowledged_at, acknowledged_by, decision_id = rest
    return KeptVerdict(
        subject=Subject(kind=SubjectKind(kind), key=key, name=name, trigger=Trigger(trigger), tenant_id=tenant_id),
        verdict=Verdict(verdict),
        since=since,
        evaluated_at=evaluated_at,
        latches={Stream(stream): Latched.from_json(latch) for stream, latch in latches.items()},
        acknowledged_at=acknowledged_at,
        acknowledged_by=acknowledged_by,
        decision_id=decision_id,
    )
