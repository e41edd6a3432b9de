"""What is open, and since when silence means agreement, as metrics."""

from datetime import datetime
from typing import Final

from prometheus_client import Gauge

from backend.app.domain.reconciliation.finding_catalogue import CATALOGUE
from backend.app.repositories.database import Database
from backend.app.repositories.reconciliation import finding_repo, reconciliation_repo

AGES: Final = ("1d", "3d", "7d", "older")

findings_open: Final = Gauge(
    "hakem_reconciliation_findings_open",
    "Findings that nobody has resolved, by type, severity and age (of at most 1, 3, 7 days, or older)",
    ("finding_type", "severity", "age"),
    multiprocess_mode="mostrecent",
)
# A moment, not an age: an age would stand still together with the process that ought to update it.
last_success_timestamp_seconds: Final = Gauge(
    "hakem_reconciliation_success_timestamp_seconds",
    "When a tenant and provider were last compared completely, in Unix time; 0: never. Its age is time() minus this",
    ("tenant", "provider"),
    multiprocess_mode="mostrecent",
)


# Every series exists from the start: an alert on one that is not there would never ring. What was ever set is set back
# to zero when it is gone; series cannot be removed where several processes share them.
_known = {(each.value, entry.severity.value, age) for each, entry in CATALOGUE.items() for age in AGES}
for _labels in _known:
    findings_open.labels(*_labels).set(0)


async def measure(database: Database, *, now: datetime) -> None:
    """Set the gauges from the database."""
    async with database.connection() as conn:
        counts = {(each[0], each[1], each[2]): each.findings for each in await finding_repo.count_open(conn, now=now)}
        successes = await reconciliation_repo.list_last_successes(conn)
    _known.update(counts)
    for labels in _known:
        findings_open.labels(*labels).set(counts.get(labels, 0))
    for success in successes:
        last_success_timestamp_seconds.labels(str(success.tenant_id), success.provider).set(
            0 if success.finished_at is None else success.finished_at.timestamp()
        )
