"""A process that carries out a run and is killed in the middle of the statement: `… SERVICE_URL RUN_ID PAGES`."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

from backend.app.domain.reconciliation.statement import StatementPage
from backend.app.repositories.database import Database
from backend.app.repositories.engine import Engine
from backend.app.services.reconciliation.reconciliation import Reconciliation
from backend.app.services.reconciliation.reconciliation_feed import Source, StatementFeed
from backend.config import Settings
from backend.tests import mockpsp_peer
from backend.tests.reconciliation_world import GRACE, LATER, PROVIDER, SmallPages

PAGE_LINES: Final = 10


class Killed:
    """A feed that nobody gets past so many pages of."""

    def __init__(self, feed: StatementFeed, *, pages: int) -> None:
        self._feed = feed
        self._left = pages

    async def list_transactions(
        self, *, account_id: str, from_at: datetime, to_at: datetime, cursor: str | None
    ) -> StatementPage:
        """A page, or the end of this process."""
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1
        return await self._feed.list_transactions(account_id=account_id, from_at=from_at, to_at=to_at, cursor=cursor)


async def main(service_url: str, run_id: UUID, pages: int) -> None:
    """Never returns."""
    database: Any = SimpleNamespace(service_url=service_url)
    engine = Engine(
        service_url=service_url, owner_url=service_url, set_role=None, service_login="hakem_service", embedded=None
    )
    pools = Database(engine, Settings.model_construct())
    async with mockpsp_peer.running(mockpsp_peer.config(database, is_sending=False)) as app:
        feed = Killed(SmallPages(mockpsp_peer.adapter_to(app), size=PAGE_LINES), pages=pages)
        await pools.open()
        service = Reconciliation(
            pools, {PROVIDER: Source(feed=feed, grace=GRACE)}, clock=lambda: datetime.now(UTC) + LATER
        )
        await service.execute(run_id)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3])))
