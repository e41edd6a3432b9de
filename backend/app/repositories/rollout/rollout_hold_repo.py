"""What stands against enforcing, in PostgreSQL."""

from datetime import datetime
from typing import Final
from uuid import UUID

from backend.app import sql
from backend.app.domain.rollout.rollout_state import HoldKind, RolloutHold
from backend.app.repositories.database import Connection

SQL = sql.load("rollout_hold")

ACTIVE_MAX: Final = 1_000


async def insert(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    kind: HoldKind,
    reason: str,
    placed_by: str,
    ends_at: datetime | None,
    decision_id: UUID | None,
) -> RolloutHold:
    """Place a hold on a tenant, or on the fleet."""
    cursor = await conn.execute(
        SQL.insert_hold,
        {
            "kind": kind.value,
            "tenant_id": tenant_id,
            "reason": reason,
            "placed_by": placed_by,
            "ends_at": ends_at,
            "decision_id": decision_id,
        },
    )
    row = await cursor.fetchone()
    assert row is not None, "an insert returns its row"
    return RolloutHold(row[0], HoldKind(row[1]), *row[2:])


async def lift(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    kind: HoldKind | None,
    hold_id: UUID | None,
    reason: str,
    lifted_by: str,
) -> list[RolloutHold]:
    """End the holds of the tenant, or of the fleet, that stand: all, one, or those of a kind; which they were."""
    cursor = await conn.execute(
        SQL.lift_holds,
        {"tenant_id": tenant_id, "kind": kind, "hold_id": hold_id, "reason": reason, "lifted_by": lifted_by},
    )
    return [RolloutHold(row[0], HoldKind(row[1]), *row[2:]) for row in await cursor.fetchall()]


async def list_active(conn: Connection, tenant_id: UUID | None, *, limit: int = ACTIVE_MAX) -> list[RolloutHold]:
    """What stands against enforcing a tenant, the fleet's holds included; all there are when it is None."""
    cursor = await conn.execute(SQL.list_active_holds, {"tenant_id": tenant_id, "limit": limit}, prepare=False)
    return [RolloutHold(row[0], HoldKind(row[1]), *row[2:]) for row in await cursor.fetchall()]
