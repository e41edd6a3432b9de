"""Findings in PostgreSQL."""

import hashlib
import json
from uuid import UUID

from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from backend.app import sql
from backend.app.domain.finding import Finding
from backend.app.repositories.database import Connection

SQL = sql.load("finding")


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
            "evidence_hash": hashlib.sha256(json.dumps(finding.evidence, sort_keys=True).encode()).digest(),
            "fingerprint": finding.fingerprint,
        },
    )
    row = await cursor.fetchone()
    assert row is not None, "an upsert returns its row"
    finding_id: UUID = row[0]
    return finding_id
