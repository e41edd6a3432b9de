"""Whether this service can do its work."""

import asyncio
from collections.abc import Sequence

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.repositories import presence
from backend.app.repositories.database import Database
from backend.app.services.jobs import Jobs
from backend.app.services.monitor.monitor_watch import MonitorWatch
from backend.app.services.payments.webhook_secrets import WebhookSecrets
from backend.app.services.rollout.flag_cache import FlagCache


class Readiness:
    """Asks the database; a stopping service is not ready either, so that a balancer looks elsewhere.

    expected_revision: the schema this release was written for.
    """

    def __init__(
        self,
        database: Database,
        *,
        jobs: Jobs,
        monitor: MonitorWatch,
        secrets: WebhookSecrets,
        flag_cache: FlagCache,
        expected_revision: str,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._monitor = monitor
        self._secrets = secrets
        self._flag_cache = flag_cache
        self._expected_revision = expected_revision
        self._is_stopping = False

    def note_stop(self) -> None:
        """From now on the service is stopping."""
        self._is_stopping = True

    async def problems(self) -> Sequence[str]:
        """One sentence for each thing in the way; empty when ready."""
        if self._is_stopping:
            return ("the service is stopping",)
        try:
            async with asyncio.timeout(2), self._database.connection() as conn:
                revision = await presence.find_revision(conn)
                if revision != self._expected_revision:
                    needed = self._expected_revision
                    return (f"the schema is at {revision}, this release needs {needed}: hakem db migrate",)
                return await self._secrets.problems(conn)
        except (TemporarilyUnavailable, TimeoutError):
            return ("the database does not answer",)

    def warnings(self) -> Sequence[str]:
        """Sentences about what an operator should look at, though requests can be answered."""
        return (*self._jobs.warnings(), *self._monitor.warnings(), *self._flag_cache.warnings())
