"""What the gates ask the monitor: the evidence since a time, and the worst verdict since one."""

from datetime import datetime
from typing import Final
from uuid import UUID

from backend.app.domain.rollout.gates import EvidenceSummary
from backend.app.repositories.database import Connection
from backend.app.repositories.monitor import evidence_repo, verdict_repo
from backend.app.services.rollout.rollout_gates import EvidenceReaders


async def summarise(conn: Connection, tenant_id: UUID, since: datetime) -> EvidenceSummary:
    """What was counted of a tenant's decisions."""
    return await evidence_repo.summarize(conn, tenant_id, since=since)


async def find_worst_verdict(conn: Connection, tenant_id: UUID, since: datetime) -> str | None:
    """The most serious verdict that a tenant had; None when it was never judged."""
    worst = await verdict_repo.find_worst(conn, tenant_id, since=since)
    return None if worst is None else worst.value


MONITORED_EVIDENCE: Final = EvidenceReaders(summarise=summarise, find_worst_verdict=find_worst_verdict)
