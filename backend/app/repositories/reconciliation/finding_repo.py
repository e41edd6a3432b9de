"""Findings in PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from backend.app import sql
from backend.app.domain.finding import Finding, FindingFilter, ResolutionCode, StoredFinding
from backend.app.repositories.database import Connection

SQL = sql.load("finding")

EXPORT_PAGE: Final = 1_000
# Types times severities times ages.
COUNTS_MAX: Final = 1_000


class OpenCount(NamedTuple):
    """How many findings of a type and severity are open, by age: 1d, 3d, 7d or older."""

    finding_type: str
    severity: str
    age: str
    findings: int


async def open_finding(conn: Connection, tenant_id: UUID, finding: Finding) -> UUID:
    """Write the finding, or bring the known one with its fingerprint up to date; its id.

    Call inside the transaction that found it. The tenant is the finding's own.
    """
    assert finding.tenant_id == tenant_id, "a finding is written for its own tenant"
    cursor = await conn.execute(
        SQL.open_finding,
        {
            "finding_id": uuid7(),
            "provider": finding.provider,
            "tenant_id": tenant_id,
            "player_id": finding.player_id,
            "tx_id": finding.tx_id,
            "provider_event_id": finding.provider_event_id,
            "provider_ref": finding.provider_ref,
            "finding_type": finding.finding_type.value,
            "severity": finding.severity.value,
            "message": finding.message,
            "evidence": Jsonb(finding.evidence),
            "evidence_hash": finding.evidence_hash,
            "fingerprint": finding.fingerprint,
        },
    )
    row = await cursor.fetchone()
    assert row is not None, "an upsert returns its row"
    finding_id: UUID = row[0]
    return finding_id


async def list_page(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    asked: FindingFilter,
    before_id: UUID | None,
    limit: int,
    offset: int,
) -> tuple[list[StoredFinding], int]:
    """A page of a tenant's findings, or of all when it is None, newest first; and how many match in all."""
    page = await list_rows(conn, tenant_id, asked=asked, before_id=before_id, limit=limit, offset=offset)
    cursor = await conn.execute(SQL.count_findings, filter_parameters(tenant_id, asked), prepare=False)
    total = await cursor.fetchone()
    assert total is not None, "a count is a row"
    return page, int(total[0])


async def list_rows(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    asked: FindingFilter,
    before_id: UUID | None,
    limit: int,
    offset: int = 0,
) -> list[StoredFinding]:
    """The page alone."""
    # Planned anew each time (prepare=False): which filters are given decides which index serves.
    cursor = await conn.execute(
        SQL.list_findings,
        {**filter_parameters(tenant_id, asked), "before_id": before_id, "limit": limit, "offset": offset},
        prepare=False,
    )
    return [StoredFinding._make(row) for row in await cursor.fetchall()]


async def export(
    conn: Connection, tenant_id: UUID | None, *, asked: FindingFilter
) -> AsyncIterator[list[StoredFinding]]:
    """All findings that match, newest first, some at a time."""
    before_id = None
    while True:
        page = await list_rows(conn, tenant_id, asked=asked, before_id=before_id, limit=EXPORT_PAGE)
        if page:
            yield page
        if len(page) < EXPORT_PAGE:
            return
        before_id = page[-1].id


async def find(conn: Connection, tenant_id: UUID | None, *, finding_id: UUID) -> StoredFinding | None:
    """A finding of a tenant, or of any when it is None."""
    row = await (await conn.execute(SQL.find_finding, {"tenant_id": tenant_id, "finding_id": finding_id})).fetchone()
    return None if row is None else StoredFinding._make(row)


async def lock(conn: Connection, tenant_id: UUID | None, *, finding_id: UUID) -> StoredFinding | None:
    """The same, its row kept for this transaction."""
    row = await (await conn.execute(SQL.lock_finding, {"tenant_id": tenant_id, "finding_id": finding_id})).fetchone()
    return None if row is None else StoredFinding._make(row)


async def resolve(
    conn: Connection,
    tenant_id: UUID,
    *,
    finding_id: UUID,
    code: ResolutionCode,
    note: str | None,
    admin_id: UUID | None,
) -> None:
    """Write that somebody is done with a finding that is locked."""
    await conn.execute(
        SQL.resolve_finding,
        {
            "tenant_id": tenant_id,
            "finding_id": finding_id,
            "resolution_code": code.value,
            "note": note,
            "admin_id": admin_id,
        },
    )


async def reopen(conn: Connection, tenant_id: UUID, *, finding_id: UUID) -> None:
    """Open a finding again that is locked."""
    await conn.execute(SQL.reopen_finding, {"tenant_id": tenant_id, "finding_id": finding_id})


async def assign(conn: Connection, tenant_id: UUID, *, finding_id: UUID, assigned_to: UUID | None) -> bool:
    """Give a finding that is locked to an admin of its tenant, or to nobody; whether there is such an admin."""
    cursor = await conn.execute(
        SQL.assign_finding, {"tenant_id": tenant_id, "finding_id": finding_id, "assigned_to": assigned_to}
    )
    return await cursor.fetchone() is not None


async def count_open(conn: Connection, *, now: datetime) -> list[OpenCount]:
    """What is open on the whole platform."""
    cursor = await conn.execute(SQL.list_open_counts, {"now": now, "limit": COUNTS_MAX})
    return [OpenCount._make(row) for row in await cursor.fetchall()]


def filter_parameters(tenant_id: UUID | None, asked: FindingFilter) -> dict[str, Any]:
    """The parameters of a query that takes a filter."""
    return {
        "tenant_id": tenant_id,
        "asked_tenant_id": asked.tenant_id,
        "provider": asked.provider,
        "status": asked.status,
        "finding_type": asked.finding_type,
        "severity": asked.severity,
        "player_id": asked.player_id,
        "tx_id": asked.tx_id,
        "provider_event_id": asked.provider_event_id,
        "run_id": asked.run_id,
        "assigned_to": asked.assigned_to,
        "is_unassigned": asked.is_unassigned,
        "created_before": asked.created_before,
    }
