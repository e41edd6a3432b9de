"""Adjustments in PostgreSQL: written by functions only."""

from uuid import UUID

from backend.app import sql
from backend.app.domain.reconciliation.adjustment import Adjustment, ProposeAdjustment
from backend.app.repositories.database import Connection

SQL = sql.load("adjustment")


async def propose(
    conn: Connection, tenant_id: UUID, command: ProposeAdjustment, *, admin_id: UUID
) -> tuple[str, UUID | None]:
    """(code, id) of functions/ledger_adjustment_v1.sql."""
    row = await (
        await conn.execute(
            SQL.propose_adjustment,
            {
                "tenant_id": tenant_id,
                "player_id": command.player_id,
                "finding_id": command.finding_id,
                "player_amount": command.player_amount,
                "clearing_amount": command.clearing_amount,
                "provider": command.provider,
                "closes_kind": command.closes_kind,
                "closes_id": command.closes_id,
                "closes_attempt": command.closes_attempt,
                "reason": command.reason,
                "admin_id": admin_id,
            },
        )
    ).fetchone()
    assert row is not None, "the function returns a row"
    return str(row[0]), row[1]


async def decide(
    conn: Connection,
    tenant_id: UUID,
    *,
    adjustment_id: UUID,
    admin_id: UUID,
    is_approved: bool,
    note: str | None,
) -> tuple[str, str | None]:
    """(code, detail) of functions/ledger_adjustment_v1.sql."""
    row = await (
        await conn.execute(
            SQL.decide_adjustment,
            {
                "tenant_id": tenant_id,
                "adjustment_id": adjustment_id,
                "admin_id": admin_id,
                "is_approved": is_approved,
                "note": note,
            },
        )
    ).fetchone()
    assert row is not None, "the function returns a row"
    return str(row[0]), row[1]


async def find(conn: Connection, tenant_id: UUID | None, *, adjustment_id: UUID) -> Adjustment | None:
    """An adjustment of a tenant, or of any when it is None."""
    row = await (
        await conn.execute(SQL.find_adjustment, {"tenant_id": tenant_id, "adjustment_id": adjustment_id})
    ).fetchone()
    return None if row is None else Adjustment._make(row)


async def list_page(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    status: str | None,
    finding_id: UUID | None,
    before_id: UUID | None,
    limit: int,
    offset: int,
) -> tuple[list[Adjustment], int]:
    """A page of a tenant's adjustments, or of all when it is None, newest first; and how many match."""
    filters = {"tenant_id": tenant_id, "status": status, "finding_id": finding_id}
    cursor = await conn.execute(
        SQL.list_adjustments, {**filters, "before_id": before_id, "limit": limit, "offset": offset}
    )
    page = [Adjustment._make(row) for row in await cursor.fetchall()]
    total = await (await conn.execute(SQL.count_adjustments, filters)).fetchone()
    assert total is not None, "a count is a row"
    return page, int(total[0])


async def find_currency(conn: Connection, tenant_id: UUID, *, player_id: UUID) -> str | None:
    """The currency of a player of the tenant; None: there is no such player."""
    row = await (await conn.execute(SQL.find_currency, {"tenant_id": tenant_id, "player_id": player_id})).fetchone()
    return None if row is None else str(row[0])
