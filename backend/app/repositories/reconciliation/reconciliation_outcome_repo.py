"""From what a run found to findings: sql/reconciliation_outcome.sql."""

from collections.abc import Collection
from datetime import date
from typing import NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.finding import FindingType
from backend.app.domain.reconciliation.finding_catalogue import CATALOGUE
from backend.app.repositories.database import Connection
from backend.app.repositories.reconciliation.reconciliation_match_repo import Scope

SQL = sql.load("reconciliation_outcome")


class Change(NamedTuple):
    """Of one type: how many findings are new, how many open again, and how many there are."""

    finding_type: str
    opened: int
    reopened: int
    findings: int


async def count_found(conn: Connection, tenant_id: UUID) -> dict[FindingType, int]:  # noqa: ARG001 - the run's tables
    """How many differences of each type were found."""
    rows = await (await conn.execute(SQL.count_found, prepare=False)).fetchall()
    return {FindingType(finding_type): int(count) for finding_type, count in rows}


async def add_feed_anomaly(
    conn: Connection,
    tenant_id: UUID,  # noqa: ARG001 - the run's tables
    *,
    subject: str,
    fact: str,
    evidence: dict[str, str],
) -> None:
    """Add that the feed itself is not as it should be."""
    await conn.execute(
        SQL.add_found,
        {
            "finding_type": FindingType.FEED_ANOMALY.value,
            "subject": subject,
            "facts": fact,
            "evidence": Jsonb(evidence),
        },
        prepare=False,
    )


async def fold_floods(
    conn: Connection,
    tenant_id: UUID,  # noqa: ARG001 - the run's tables
    *,
    flooded: Collection[FindingType],
    sample_size: int,
) -> None:
    """Make one finding of each type that there are too many of."""
    await conn.execute(SQL.fold_floods, {"flooded": list(flooded), "sample_size": sample_size}, prepare=False)


async def open_findings(conn: Connection, tenant_id: UUID, *, scope: Scope) -> list[Change]:
    """Write what was found; what changed, by type."""
    parameters = {
        **scope.parameters,
        "types": [each.value for each in CATALOGUE],
        "severities": [entry.severity.value for entry in CATALOGUE.values()],
        "messages": [entry.message_en for entry in CATALOGUE.values()],
    }
    assert tenant_id == scope.tenant_id, "a run compares one tenant"
    rows = await (await conn.execute(SQL.count_changes, parameters, prepare=False)).fetchall()
    await conn.execute(SQL.audit_reopened, parameters, prepare=False)
    await conn.execute(SQL.open_findings, parameters, prepare=False)
    return [Change._make(row) for row in rows]


async def clear_findings(
    conn: Connection,
    tenant_id: UUID,
    *,
    scope: Scope,
    flooded: Collection[FindingType],
    from_day: date,
    until_day: date,
    is_window_asked: bool,
) -> dict[str, int]:
    """Resolve what the run looked at and did not find any more; how many of each type. Only after a complete feed."""
    assert tenant_id == scope.tenant_id, "a run compares one tenant"
    parameters = {
        **scope.parameters,
        "flooded": list(flooded),
        "from_day": from_day,
        "until_day": until_day,
        "is_window_asked": is_window_asked,
    }
    rows = await (await conn.execute(SQL.clear_findings, parameters, prepare=False)).fetchall()
    return {finding_type: int(count) for finding_type, count in rows}
