"""Findings, adjustments and what surrounds them, for looking at: sql/reconciliation_desk.sql. Nothing is written."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from backend.app import sql
from backend.app.domain.desk.reconciliation_desk import (
    ASSIGNABLE_ROLES,
    COUNTED_MAX,
    LOOKED_AT_MAX,
    Colleague,
    FindingContext,
    OpenKind,
    SeenAdjustment,
)
from backend.app.domain.desk.withdrawal_desk import WebhookSeen
from backend.app.domain.finding import FindingFilter, StoredFinding
from backend.app.domain.reconciliation.adjustment import Adjustment
from backend.app.repositories.database import Connection
from backend.app.repositories.reconciliation.finding_repo import filter_parameters

SQL = sql.load("reconciliation_desk")
# Where a finding says which deliveries it is about.
_EVENT_NAMES: Final = ("event", "event_id")


async def list_open_kinds(conn: Connection, tenant_id: UUID | None) -> list[OpenKind]:
    """What is open by type and severity, of a tenant or of all when it is None."""
    # Planned anew each time, as every query here whose tenant may be left open.
    cursor = await conn.execute(
        SQL.list_open_kinds, {"tenant_id": tenant_id, "counted_max": COUNTED_MAX}, prepare=False
    )
    return [OpenKind._make(row) for row in await cursor.fetchall()]


async def list_findings(
    conn: Connection, tenant_id: UUID | None, *, asked: FindingFilter, before_id: UUID | None, limit: int
) -> list[StoredFinding]:
    """What matches among the newest LOOKED_AT_MAX findings of a tenant, or of all when it is None."""
    parameters = {**_looked_through(tenant_id, asked, before_id), "limit": limit}
    cursor = await conn.execute(SQL.list_findings, parameters, prepare=False)
    return [StoredFinding._make(row) for row in await cursor.fetchall()]


async def count_findings(
    conn: Connection, tenant_id: UUID | None, *, asked: FindingFilter, before_id: UUID | None
) -> tuple[int, UUID | None]:
    """How many of those match, and where the looking ended; None when there is nothing behind."""
    parameters = _looked_through(tenant_id, asked, before_id)
    row = await (await conn.execute(SQL.count_findings, parameters, prepare=False)).fetchone()
    assert row is not None, "a count returns a row"
    return int(row[0]), row[1]


async def list_names(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """What tenants and admins are called, of those whose ids were found in rows that may be seen."""
    cursor = await conn.execute(SQL.list_names, {"ids": list(ids), "limit": len(ids)})
    return {row[0]: str(row[1]) for row in await cursor.fetchall()}


async def find_context(conn: Connection, tenant_id: UUID, *, finding_id: UUID) -> FindingContext | None:
    """What surrounds a finding."""
    cursor = await conn.execute(SQL.find_context, {"tenant_id": tenant_id, "finding_id": finding_id})
    row = await cursor.fetchone()
    return None if row is None else FindingContext._make(row)


async def list_events(conn: Connection, tenant_id: UUID, *, finding: StoredFinding, limit: int) -> list[WebhookSeen]:
    """What the provider told that a finding is about, the latest first."""
    cursor = await conn.execute(
        SQL.list_events,
        {
            "tenant_id": tenant_id,
            "event_ids": [id_ for name in _EVENT_NAMES if (id_ := _uuid(finding.evidence.get(name))) is not None],
            "tx_id": finding.tx_id,
            "provider": finding.provider,
            "account_id": finding.account_id or "",
            "provider_event_id": finding.provider_event_id,
            "limit": limit,
        },
    )
    return [WebhookSeen._make(row) for row in await cursor.fetchall()]


async def list_assignable(conn: Connection, tenant_id: UUID, *, limit: int) -> list[Colleague]:
    """Who in a tenant may look after findings."""
    cursor = await conn.execute(
        SQL.list_assignable,
        {"tenant_id": tenant_id, "roles": [role.value for role in ASSIGNABLE_ROLES], "limit": limit},
    )
    return [Colleague._make(row) for row in await cursor.fetchall()]


async def list_adjustments(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    adjustment_id: UUID | None = None,
    finding_id: UUID | None = None,
    status: str | None = None,
    before_id: UUID | None = None,
    limit: int,
) -> list[SeenAdjustment]:
    """Adjustments of a tenant, or of all when it is None, the newest first."""
    cursor = await conn.execute(
        SQL.list_adjustments,
        {
            "tenant_id": tenant_id,
            "adjustment_id": adjustment_id,
            "finding_id": finding_id,
            "status": status,
            "before_id": before_id,
            "limit": limit,
        },
        prepare=False,
    )
    columns = len(Adjustment._fields)
    return [
        SeenAdjustment(
            adjustment=Adjustment._make(row[:columns]),
            tenant_name=row[columns],
            username=row[columns + 1],
            proposer=row[columns + 2],
            decider=row[columns + 3],
        )
        for row in await cursor.fetchall()
    ]


def _looked_through(tenant_id: UUID | None, asked: FindingFilter, before_id: UUID | None) -> dict[str, Any]:
    parameters = filter_parameters(tenant_id, asked)
    return {**parameters, "before_id": before_id, "looked_at_max": LOOKED_AT_MAX}


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
