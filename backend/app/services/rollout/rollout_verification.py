"""Is every wallet opened, and do the sides agree: asked of a whole tenant before a flip, and again inside its fence.

A small tenant is simply counted again inside the fence. A large one is counted before, in a snapshot that stays open;
inside the fence only the wallets are looked at that were written since, once as they were in the snapshot and once as
they are now. The whole is then what it was, less the former, plus the latter: exact, and as dear as what changed, not
as what there is.

What another system writes into the legacy column between the count and the fence is not seen by this. No lock of ours
keeps it from doing the same a moment after the flip, so the census and the monitor look for that, at all times.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from backend.app.domain.rollout.rollout_state import Sides, add_sides
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.rollout import rollout_repo
from backend.app.repositories.rollout.rollout_repo import TouchFloors

INSIDE_PLAYERS_MAX: Final = 2_000
# Rows written since the count; with more the count is taken anew.
TOUCHED_ROWS_MAX: Final = 50_000
# How long the snapshot may stay open: the count, and the waits for the fence after it.
SNAPSHOT_TIMEOUT_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A count, and what brings it up to date. before and floors are None where everything is counted again."""

    tenant_id: UUID
    sides: Sides
    before: Connection | None = None
    floors: TouchFloors | None = None

    async def refresh(self, conn: Connection) -> Sides | None:
        """The sides as they are now, in the transaction that holds the fence; None when too much was written since."""
        if self.before is None or self.floors is None:
            return await rollout_repo.attest_whole(conn, self.tenant_id, players_max=2 * INSIDE_PLAYERS_MAX)
        touched = await rollout_repo.find_touched(conn, self.tenant_id, floors=self.floors, limit=TOUCHED_ROWS_MAX)
        if touched.is_cut:
            return None
        were = await rollout_repo.attest(self.before, self.tenant_id, player_ids=touched.player_ids)
        are = await rollout_repo.attest(conn, self.tenant_id, player_ids=touched.player_ids)
        return add_sides(add_sides(self.sides, were, sign=-1), are)


@asynccontextmanager
async def verify(
    database: Database, tenant_id: UUID, *, inside_players_max: int = INSIDE_PLAYERS_MAX
) -> AsyncIterator[Verification]:
    """Count the tenant; what was counted can be refreshed as long as the block lasts."""
    async with database.connection() as conn:
        sides = await rollout_repo.attest_whole(conn, tenant_id, players_max=inside_players_max)
        # Before the snapshot is taken.
        floors = await rollout_repo.find_touch_floors(conn, tenant_id) if sides is None else None
    if sides is not None:
        yield Verification(tenant_id=tenant_id, sides=sides)
        return
    async with database.snapshot() as before:
        await rollout_repo.keep_short(before, timeout_ms=SNAPSHOT_TIMEOUT_MS)
        whole = await rollout_repo.attest_whole(before, tenant_id)
        assert whole is not None, "there is no limit"
        yield Verification(tenant_id=tenant_id, sides=whole, before=before, floors=floors)
