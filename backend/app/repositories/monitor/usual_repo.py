"""What is usual, in PostgreSQL: counted from the minutes of the fortnight before, and kept where it must not move."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.bucket import Stream
from backend.app.domain.monitor.usual import HISTORY, HourCount, Usual
from backend.app.repositories.database import Connection

SQL = sql.load("usual")

CONTROL_TENANTS_MAX: Final = 10_000


class KeptUsual(NamedTuple):
    """What was found to be usual, and when."""

    usual: Usual
    found_at: datetime


class ControlTenant(NamedTuple):
    """The last hour of a tenant whose legacy column decides, and what is usual for it."""

    n: int
    x: int
    usual_n: int
    usual_x: int


async def find(conn: Connection, tenant_id: UUID, *, epoch: int, arbiter: Arbiter) -> KeptUsual | None:
    """What is kept as usual for a tenant under this arbiter."""
    cursor = await conn.execute(
        SQL.find_usual,
        {"tenant_id": tenant_id, "stream": Stream.T1_REFUSED.value, "epoch": epoch, "arbiter": arbiter.value},
    )
    row = await cursor.fetchone()
    return None if row is None else KeptUsual(usual=Usual.from_json(row[0]), found_at=row[1])


async def keep(conn: Connection, tenant_id: UUID, usual: Usual, *, epoch: int, arbiter: Arbiter, now: datetime) -> None:
    """Keep it."""
    total = usual.total
    await conn.execute(
        SQL.keep_usual,
        {
            "tenant_id": tenant_id,
            "stream": Stream.T1_REFUSED.value,
            "epoch": epoch,
            "arbiter": arbiter.value,
            "found_at": now,
            "n": total.n,
            "x": total.x,
            "baseline": Jsonb(usual.to_json()),
        },
    )


async def count_refusals(conn: Connection, tenant_id: UUID, *, until: datetime) -> Usual:
    """A tenant's decisions and refusals in the fortnight before."""
    cursor = await conn.execute(SQL.count_refusals, {"tenant_id": tenant_id, "since": until - HISTORY, "until": until})
    return Usual(hours={row[0]: HourCount(*row[1:]) for row in await cursor.fetchall()})


async def count_rejections(conn: Connection, provider: str, *, until: datetime) -> Usual:
    """A provider's deliveries, and of these not verified, in the fortnight before."""
    cursor = await conn.execute(SQL.count_rejections, {"provider": provider, "since": until - HISTORY, "until": until})
    return Usual(hours={row[0]: HourCount(*row[1:]) for row in await cursor.fetchall()})


async def find_pool(conn: Connection, *, now: datetime) -> float | None:
    """The rate of refusals that is usual in the fleet; None when nothing was decided."""
    row = await (await conn.execute(SQL.find_pool, {"since": now - HISTORY})).fetchone()
    assert row is not None, "an aggregate returns a row"
    n, x = row
    return x / n if n else None


async def list_control(conn: Connection, *, since: datetime, until: datetime) -> list[ControlTenant]:
    """Tenants whose legacy column decides, with what happened to them in a time."""
    cursor = await conn.execute(SQL.list_control, {"since": since, "until": until, "limit": CONTROL_TENANTS_MAX})
    return [ControlTenant._make(row) for row in await cursor.fetchall()]
