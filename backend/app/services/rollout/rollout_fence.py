"""The fence of a tenant, taken alone: for a moment in which no call of the tenant is under way, and none begins."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

import psycopg

from backend.app.domain.rollout.flags import FlagsContradict
from backend.app.domain.rollout.rollout_state import FenceBusy
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.rollout import rollout_repo

# For all attempts together; then somebody is told who keeps the fence.
FENCE_SECONDS_MAX: Final = 10.0
PAUSE_SECONDS_FIRST: Final = 0.1
PAUSE_SECONDS_MAX: Final = 1.0
FENCED_MS_MAX: Final = 2_000
FLAGS_BUSY: Final = "somebody else is changing flags; try again"

Made = TypeVar("Made")


async def fenced(database: Database, tenant_id: UUID, work: Callable[[Connection, int], Awaitable[Made]]) -> Made:
    """Do the work in one transaction that holds the tenant's fence; milliseconds waited for it are passed on.

    Raises FenceBusy when the fence does not come within FENCE_SECONDS_MAX.
    """
    started, pause = time.monotonic(), PAUSE_SECONDS_FIRST
    while True:
        async with database.transaction() as conn:
            if await _enter_fence(conn, tenant_id):
                # From here on no call of the tenant is under way, and none begins.
                return await work(conn, round((time.monotonic() - started) * 1000))
        if time.monotonic() - started >= FENCE_SECONDS_MAX:
            async with database.connection() as conn:
                holders = await rollout_repo.list_fence_holders(conn, tenant_id)
            raise FenceBusy(f"the fence is kept by the sessions {', '.join(holders) or 'of many short calls'}")
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_SECONDS_MAX)


async def _enter_fence(conn: Connection, tenant_id: UUID) -> bool:
    try:
        return await rollout_repo.enter_fence(conn, tenant_id, timeout_ms=FENCED_MS_MAX)
    except psycopg.errors.LockNotAvailable as error:
        raise FenceBusy(FLAGS_BUSY) from error


async def lock_control(conn: Connection, *, is_alone: bool) -> None:
    """Take the control lock. Raises FenceBusy when somebody else is changing flags."""
    try:
        await rollout_repo.lock_control(conn, is_alone=is_alone)
    except psycopg.errors.LockNotAvailable as error:
        raise FenceBusy(FLAGS_BUSY) from error


async def guarded(made: Awaitable[Made]) -> Made:
    """What the functions refuse because of the flags, as a refusal of ours. Call inside the transaction."""
    try:
        return await made
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise FlagsContradict(error.diag.message_primary or "") from error
