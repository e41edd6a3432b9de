"""TEMPORARY until branch flip is merged."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.monitor import HoldPlan
from backend.app.repositories.database import Connection, Database


class Rollout:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def rollback(self, tenant_id: UUID, **_: Any) -> object:
        raise TemporarilyUnavailable


async def place_hold(conn: Connection, tenant_id: UUID | None, plan: HoldPlan, **_: Any) -> None:
    assert datetime.now(UTC)
