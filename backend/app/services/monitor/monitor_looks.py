"""What the monitor has looked at when it decides: dry runs and censuses, as jobs, with their results kept.

They write nothing that money depends on, so nobody is asked before.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import structlog

from backend.app.domain.backfill.backfill import BackfillWallets
from backend.app.domain.job import Arguments, DeferredJob
from backend.app.domain.monitor.rollout_actions import Action
from backend.app.repositories.database import Database
from backend.app.repositories.monitor import monitor_repo
from backend.app.services.backfill.backfill import WalletBackfill
from backend.app.services.backfill.census import Census
from backend.app.services.monitor.monitor_writes import LOOK_JOB, SYSTEM

log = structlog.get_logger()

# How many players or differences a result names.
NAMED: Final = 20
DEADLINE_SECONDS: Final = 1800.0


class Looks:
    """Runs what a decision asked to be looked at. Built once per process."""

    def __init__(self, database: Database, census: Census) -> None:
        self._database = database
        self._census = census

    def job(self) -> DeferredJob:
        """The kind of job that the monitor defers."""
        return DeferredJob(name=LOOK_JOB, run=self.run, deadline_seconds=DEADLINE_SECONDS, attempts_max=3)

    async def run(self, arguments: Arguments) -> None:
        """Look, and write down what was seen. Raises what the backfill or the census raises."""
        action, tenant_id = Action(str(arguments["action"])), UUID(str(arguments["tenant_id"]))
        if action is Action.CENSUS:
            result = await self._run_census(tenant_id)
        else:
            result = await self._run_dry(tenant_id, is_forced=action is Action.FORCED_BACKFILL_DRY_RUN)
        async with self._database.connection() as conn:
            await monitor_repo.record_result(
                conn, UUID(str(arguments["decision_id"])), action.value, is_done=True, result=result
            )
        log.info("monitor.looked", action=action.value, tenant_id=str(tenant_id))

    async def _run_dry(self, tenant_id: UUID, *, is_forced: bool) -> Mapping[str, Any]:
        command = BackfillWallets(tenant_id=tenant_id, actor=SYSTEM, is_dry_run=True, is_forced=is_forced)
        report = await WalletBackfill(self._database, command).run()
        return {
            **report.counts.summary,
            "differing": report.counts.differing,
            "named": [
                {
                    "player_id": str(player.player_id),
                    "code": str(player.code),
                    "currency": player.currency,
                    "distance_minor": player.distance,
                }
                for player in report.noted[:NAMED]
            ],
        }

    async def _run_census(self, tenant_id: UUID) -> Mapping[str, Any]:
        report = await self._census.run(tenant_id, started_by="monitor", is_fresh=True)
        return {
            "run_id": str(report.run.id),
            "is_clean": report.is_clean,
            "players": report.players,
            "differences": {count.difference_class.value: count.differences for count in report.counts},
        }
