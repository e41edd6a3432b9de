"""What every process tells about the monitor: metrics, and readiness when nobody evaluates. Read from the database, so
that it is the same wherever the monitor runs."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import prometheus_client
import psycopg
import structlog

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.monitor.assessment import Verdict
from backend.app.domain.monitor.bucket import Trigger
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.monitor import monitor_repo, verdict_repo
from backend.app.repositories.monitor.monitor_repo import LastSelftest
from backend.app.services import evidence

log = structlog.get_logger()

WATCH_SECONDS: Final = 15.0
# The design's dead-man: a monitor that has not evaluated for so long is taken for dead.
DEAD_SECONDS: Final = 180.0
SELFTEST_SECONDS_MAX: Final = 3 * 86_400.0

last_evaluation: Final = prometheus_client.Gauge(
    "ledger_rollout_last_evaluation_timestamp_seconds",
    "When the monitor looked at everything last, in Unix time; 0 for never",
    multiprocess_mode="mostrecent",
)
verdict_gauge: Final = prometheus_client.Gauge(
    "ledger_rollout_verdict",
    "1 for the verdict that stands for a tenant's trigger, 0 for the others; of T2 the tenant is provider:<name>",
    ("tenant", "trigger", "verdict"),
    multiprocess_mode="mostrecent",
)
score_gauge: Final = prometheus_client.Gauge(
    "ledger_rollout_score",
    "The highest score of a trigger's streams",
    ("tenant", "trigger"),
    multiprocess_mode="mostrecent",
)
selftest_passed: Final = prometheus_client.Gauge(
    "ledger_rollout_selftest_passed",
    "1 when the last self-test of the monitor passed, 0 when it failed; 1 before the first",
    multiprocess_mode="mostrecent",
)
selftest_timestamp: Final = prometheus_client.Gauge(
    "ledger_rollout_selftest_timestamp_seconds",
    "When the monitor's last self-test ended, in Unix time; 0 for never",
    multiprocess_mode="mostrecent",
)


class MonitorWatch:
    """Watches the monitor from this process. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop: asyncio.Task[None] | None = None
        self._is_known = False
        self._age_seconds: float | None = None
        self._watched_since = 0.0
        self._selftest: LastSelftest | None = None

    def start(self) -> None:
        """Look every WATCH_SECONDS from now on."""
        self._watched_since = asyncio.get_running_loop().time()
        self._loop = asyncio.create_task(self._keep_watching(), name="monitor-watch")

    async def stop(self) -> None:
        """End."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop

    def warnings(self) -> Sequence[str]:
        """Sentences for readiness: nothing that keeps requests from being answered."""
        sentences = []
        if self._is_known and (age := self._unevaluated_seconds()) > DEAD_SECONDS:
            sentences.append(
                f"the monitor has not evaluated for {age / 60:.0f} minutes: nobody would be rolled back by itself; "
                "run hakem worker"
            )
        test = self._selftest
        if test is not None and test.outcome == "failed":
            sentences.append("the monitor's last self-test failed: hakem rollout selftest")
        elif test is not None and test.age_seconds > SELFTEST_SECONDS_MAX:
            sentences.append(f"the monitor's last self-test was {test.age_seconds / 86_400:.0f} days ago")
        return tuple(sentences)

    async def refresh(self) -> None:
        """Look once. Raises DatabaseAway or psycopg.Error."""
        async with self._database.connection() as conn:
            last = await monitor_repo.find_last_evaluation(conn)
            self._selftest = await monitor_repo.find_last_selftest(conn)
            tenant_ids = [tenant.id for tenant in await monitor_repo.list_tenants(conn, None)]
            await _show_verdicts(conn, tenant_ids)
        evidence.initialise_metrics(tenant_ids)
        self._is_known, self._age_seconds = True, last.age_seconds
        last_evaluation.set(0 if last.evaluated_at is None else last.evaluated_at.timestamp())
        test = self._selftest
        selftest_passed.set(0 if test is not None and test.outcome == "failed" else 1)
        selftest_timestamp.set(0 if test is None else test.finished_at.timestamp())

    def _unevaluated_seconds(self) -> float:
        # A new installation has never evaluated; it has as long as everybody to begin.
        watched = asyncio.get_running_loop().time() - self._watched_since
        return watched if self._age_seconds is None else self._age_seconds

    async def _keep_watching(self) -> None:
        while True:
            try:
                await self.refresh()
            except (TemporarilyUnavailable, psycopg.Error) as error:
                log.warning("monitor.not_watched", error=type(error).__name__)
            await asyncio.sleep(WATCH_SECONDS)


async def _show_verdicts(conn: Connection, tenant_ids: Sequence[UUID]) -> None:
    standing = {
        (str(tenant_id), trigger.value): (Verdict.NO_DATA, 0.0)
        for tenant_id in tenant_ids
        for trigger in (Trigger.T1, Trigger.T3)
    }
    for shown in await verdict_repo.list_shown(conn, None, limit=verdict_repo.VERDICTS_MAX):
        label = f"provider:{shown.subject}" if shown.tenant_id is None else str(shown.tenant_id)
        standing[(label, shown.trigger)] = (Verdict(shown.verdict), shown.score)
    for (label, trigger), (verdict, score) in standing.items():
        score_gauge.labels(label, trigger).set(score)
        for each in Verdict:
            verdict_gauge.labels(label, trigger, each.value).set(each is verdict)
