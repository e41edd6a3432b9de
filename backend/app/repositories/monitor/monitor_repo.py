"""The monitor in PostgreSQL: who evaluates, what was decided and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.monitor import FREEZE_WITHIN, Decided, Subject, WatchedTenant
from backend.app.repositories.database import Connection

SQL = sql.load("monitor")

TENANTS_PER_PAGE: Final = 200
RESULTS_MAX: Final = 1_000
# Without a word from it for so long, the process that evaluates is taken for dead.
LEASE_LASTS: Final = timedelta(seconds=120)


class LeaseLost(Exception):
    """Another process evaluates by now: this one's word counts no more, and nothing of this transaction happened."""


class Lease(NamedTuple):
    """The right to evaluate, and the database's clock when it was had."""

    token: int
    now: datetime


class Rollbacks(NamedTuple):
    """of_tenant: how often a tenant was rolled back by itself; is_decided: in this epoch; others: tenants lately."""

    of_tenant: int
    is_decided: bool
    others: int


class LastEvaluation(NamedTuple):
    """When all was evaluated last, None for never, by the database's clock; and what that clock says now."""

    evaluated_at: datetime | None
    evaluated_in_ms: int | None
    age_seconds: float | None
    now: datetime


class LastSelftest(NamedTuple):
    """How the last self-test ended."""

    outcome: str
    finished_at: datetime
    age_seconds: float
    findings: Mapping[str, Any]


class DecisionRow(NamedTuple):
    """A decision as people see it, in the order of the query's columns."""

    id: UUID
    subject_kind: str
    subject: str
    tenant_id: UUID | None
    trigger: str
    verdict_before: str
    verdict: str
    actions: Mapping[str, Any]
    is_automatic: bool
    is_rollback: bool
    epoch: int | None
    sentences: Mapping[str, str]
    detector_version: str
    decided_at: datetime


class ResultRow(NamedTuple):
    """What became of an action of a decision."""

    decision_id: UUID
    action: str
    is_done: bool
    result: Mapping[str, Any]
    recorded_at: datetime


class KeptDecision(NamedTuple):
    """What a decision was made from, and what was decided."""

    evidence: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    verdict: str
    actions: Mapping[str, Any]
    is_rollback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDecision:
    """A decision to write down. evidence: as of domain.monitor.evidence_document."""

    subject: Subject
    verdict_before: str
    decided: Decided
    epoch: int | None
    evidence: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    decided_at: datetime


async def take_lease(conn: Connection, *, holder: str) -> Lease | None:
    """Become the one that evaluates; None while another one is at it."""
    row = await (await conn.execute(SQL.take_lease, {"holder": holder, "lasts": LEASE_LASTS})).fetchone()
    return None if row is None else Lease._make(row)


async def hold_lease(conn: Connection, lease: Lease) -> None:
    """Make sure of the lease, until the end of the caller's transaction and for LEASE_LASTS more. Raises LeaseLost."""
    row = await (await conn.execute(SQL.hold_lease, {"token": lease.token, "lasts": LEASE_LASTS})).fetchone()
    if row is None:
        raise LeaseLost


async def release_lease(conn: Connection, lease: Lease, *, is_complete: bool, evaluated_in_ms: int) -> None:
    """End the evaluation; is_complete: every subject was looked at."""
    await conn.execute(
        SQL.release_lease, {"token": lease.token, "is_complete": is_complete, "evaluated_in_ms": evaluated_in_ms}
    )


async def find_last_evaluation(conn: Connection) -> LastEvaluation:
    """When all was evaluated last."""
    row = await (await conn.execute(SQL.find_last_evaluation)).fetchone()
    assert row is not None, "the lease's row is made with the table"
    return LastEvaluation._make(row)


async def list_tenants(conn: Connection, tenant_id: UUID | None) -> list[WatchedTenant]:
    """One tenant to watch, or all of them but the sandbox."""
    tenants: list[WatchedTenant] = []
    while True:
        cursor = await conn.execute(
            SQL.list_tenants,
            {
                "tenant_id": tenant_id,
                "after_id": tenants[-1].id if tenants else None,
                "limit": TENANTS_PER_PAGE,
            },
        )
        page = [
            WatchedTenant._make(row)._replace(arbiter=Arbiter(row[3]), broken=tuple(row[7]))
            for row in await cursor.fetchall()
        ]
        tenants += page
        if len(page) < TENANTS_PER_PAGE:
            return tenants


async def find_mode_then(conn: Connection, tenant_id: UUID, *, at: datetime) -> tuple[int, Arbiter] | None:
    """(epoch, arbiter) of a tenant at a time, as its evidence tells; None without any."""
    row = await (await conn.execute(SQL.find_mode_then, {"tenant_id": tenant_id, "at": at})).fetchone()
    return None if row is None else (int(row[0]), Arbiter(row[1]))


async def count_rollbacks(conn: Connection, tenant_id: UUID, *, epoch: int, now: datetime) -> Rollbacks:
    """Automatic rollbacks: of the tenant since ever and in this epoch, and of others lately."""
    row = await (
        await conn.execute(SQL.count_rollbacks, {"tenant_id": tenant_id, "epoch": epoch, "since": now - FREEZE_WITHIN})
    ).fetchone()
    assert row is not None, "an aggregate returns a row"
    return Rollbacks._make(row)


async def find_rollback(conn: Connection, tenant_id: UUID, *, epoch: int) -> UUID | None:
    """The decision to roll the tenant back in this epoch."""
    row = await (await conn.execute(SQL.find_rollback, {"tenant_id": tenant_id, "epoch": epoch})).fetchone()
    return None if row is None else row[0]


async def insert_decision(conn: Connection, tenant_id: UUID | None, new: NewDecision, *, lease: Lease) -> UUID:
    """Write a decision down; its id. The lease is held by the caller's transaction."""
    decided = new.decided
    cursor = await conn.execute(
        SQL.insert_decision,
        {
            "subject_kind": new.subject.kind.value,
            "subject": new.subject.key,
            "tenant_id": tenant_id,
            "trigger": new.subject.trigger.value,
            "verdict_before": new.verdict_before,
            "verdict": decided.verdict.value,
            "actions": Jsonb(decided.actions_document),
            "is_automatic": bool(decided.automatic),
            "is_rollback": decided.is_rollback,
            "epoch": new.epoch,
            "evidence": Jsonb(new.evidence),
            "thresholds": Jsonb(new.thresholds),
            "detector_version": decided.worst.version,
            "lease_token": lease.token,
            "decided_at": new.decided_at,
        },
    )
    row = await cursor.fetchone()
    assert row is not None, "an insert returns its row"
    decision_id: UUID = row[0]
    return decision_id


async def list_decisions(
    conn: Connection, tenant_id: UUID | None, *, before_id: UUID | None, limit: int, offset: int
) -> tuple[list[DecisionRow], int]:
    """A page of decisions about a tenant, or about everybody but the sandbox, newest first; and how many there are."""
    page = {"tenant_id": tenant_id, "before_id": before_id, "limit": limit, "offset": offset}
    rows = await (await conn.execute(SQL.list_decisions, page)).fetchall()
    total = await (await conn.execute(SQL.count_decisions, {"tenant_id": tenant_id})).fetchone()
    assert total is not None, "a count returns a row"
    return [DecisionRow._make(row) for row in rows], int(total[0])


async def find_evidence(conn: Connection, tenant_id: UUID | None, *, decision_id: UUID) -> KeptDecision | None:
    """What a decision was made from; with a tenant_id, only of that tenant's."""
    row = await (await conn.execute(SQL.find_evidence, {"tenant_id": tenant_id, "decision_id": decision_id})).fetchone()
    return None if row is None else KeptDecision._make(row)


async def record_result(
    conn: Connection, decision_id: UUID, action: str, *, is_done: bool, result: Mapping[str, Any]
) -> None:
    """Write down what became of an action."""
    await conn.execute(
        SQL.record_result,
        {"decision_id": decision_id, "action": action, "is_done": is_done, "result": Jsonb(result)},
    )


async def list_results(conn: Connection, decision_ids: Sequence[UUID]) -> list[ResultRow]:
    """What became of decisions, as far as it is known."""
    cursor = await conn.execute(SQL.list_results, {"decision_ids": list(decision_ids), "limit": RESULTS_MAX})
    return [ResultRow._make(row) for row in await cursor.fetchall()]


async def lock_auto_rollback(conn: Connection, tenant_id: UUID) -> bool | None:
    """Whether the tenant may be rolled back without asking anybody; None without such a tenant."""
    row = await (await conn.execute(SQL.lock_auto_rollback, {"tenant_id": tenant_id})).fetchone()
    return None if row is None else bool(row[0])


async def set_auto_rollback(conn: Connection, tenant_id: UUID, *, auto_rollback: bool, set_by: str) -> None:
    """Say whether it may; the tenant is locked."""
    await conn.execute(
        SQL.set_auto_rollback, {"tenant_id": tenant_id, "auto_rollback": auto_rollback, "set_by": set_by}
    )


async def insert_selftest(
    conn: Connection, *, started_at: datetime, outcome: str, started_by: str, findings: Mapping[str, Any]
) -> None:
    """Keep the result of a self-test."""
    await conn.execute(
        SQL.insert_selftest,
        {"started_at": started_at, "outcome": outcome, "started_by": started_by, "findings": Jsonb(findings)},
    )


async def find_last_selftest(conn: Connection) -> LastSelftest | None:
    """How the last self-test ended; None before the first."""
    row = await (await conn.execute(SQL.find_last_selftest)).fetchone()
    return None if row is None else LastSelftest._make(row)
