"""The rollout as people look at it: sql/rollout_desk.sql. Nothing is written here."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from psycopg.rows import TupleRow

from backend.app import sql
from backend.app.domain.desk.rollout_desk import (
    SPARK_HOURS,
    DeliveryStep,
    HoldDetail,
    MonitorSeen,
    RolloutEvent,
    SeenEvidence,
    SideSums,
    Standing,
    Step,
    TenantNamed,
)
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.assessment import Verdict
from backend.app.domain.monitor.bucket import Stream, Trigger
from backend.app.domain.monitor.monitor import SubjectKind
from backend.app.domain.rollout.gates import EvidenceSummary
from backend.app.domain.rollout.rollout_state import HoldKind, RolloutHold
from backend.app.repositories.database import Connection

SQL = sql.load("rollout_desk")

# More verdicts, steps, sums than any page has room for.
STANDINGS_MAX: Final = 2_000
STEPS_MAX: Final = 2_000
SUMS_MAX: Final = 200


async def list_fleet(
    conn: Connection, tenant_id: UUID | None, *, after_number: int, limit: int
) -> list[tuple[UUID, int]]:
    """(id, number) of tenants by number: of one, or of all but the sandbox when it is None."""
    cursor = await conn.execute(
        SQL.list_fleet, {"tenant_id": tenant_id, "after_number": after_number, "limit": limit}, prepare=False
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def find_tenant(conn: Connection, tenant_id: UUID) -> TenantNamed | None:
    """What the tenant is called and who decides there; None for no tenant."""
    row = await (await conn.execute(SQL.find_tenant, {"tenant_id": tenant_id})).fetchone()
    return None if row is None else TenantNamed(row[0], Arbiter(row[1]), row[2])


async def find_monitor(conn: Connection) -> MonitorSeen:
    """When the monitor looked last."""
    row = await (await conn.execute(SQL.find_monitor)).fetchone()
    return MonitorSeen(None, None, None, None) if row is None else MonitorSeen._make(row)


async def list_evidence(
    conn: Connection,
    tenant_ids: Sequence[UUID],
    *,
    since: Mapping[UUID, datetime | None],
    verdicts_since: datetime,
    now: datetime,
) -> dict[UUID, SeenEvidence]:
    """What was counted about tenants. since: from when their decisions count; None: they are not asked for."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    cursor = await conn.execute(
        SQL.list_evidence,
        {
            "tenant_ids": list(tenant_ids),
            "since": [since[tenant_id] for tenant_id in tenant_ids],
            "verdicts_since": verdicts_since,
            "first_hour": hour - timedelta(hours=SPARK_HOURS - 1),
            "last_hour": hour,
            "limit": len(tenant_ids),
        },
        prepare=False,
    )
    found = {}
    for tenant_id, row in zip(tenant_ids, await cursor.fetchall(), strict=True):
        decisions, disputed, disputed_players, overpaid, comparisons, mismatches, verdicts, by_hour = row
        found[tenant_id] = SeenEvidence(
            summary=EvidenceSummary(
                decisions=decisions,
                disputed=disputed,
                disputed_players=disputed_players,
                overpaid=overpaid,
                comparisons=comparisons,
                mismatches=mismatches,
            ),
            worst=max((Verdict(each) for each in verdicts), key=lambda each: each.rank, default=None),
            mismatches_by_hour=tuple(by_hour),
        )
    return found


async def list_standing(conn: Connection, tenant_ids: Sequence[UUID]) -> dict[UUID, list[Standing]]:
    """What stands for tenants and for the providers that they have accounts at."""
    found: dict[UUID, list[Standing]] = {tenant_id: [] for tenant_id in tenant_ids}
    cursor = await conn.execute(
        SQL.list_standing, {"tenant_ids": list(tenant_ids), "limit": STANDINGS_MAX}, prepare=False
    )
    for row in await cursor.fetchall():
        found[row[0]].append(_standing(row))
    return found


async def find_standing(
    conn: Connection, tenant_id: UUID | None, *, kind: SubjectKind, subject: str, trigger: Trigger
) -> tuple[Standing, UUID | None, str] | None:
    """A verdict of a tenant, or any when it is None; whose it is, and what its subject is called."""
    cursor = await conn.execute(
        SQL.find_standing,
        {"tenant_id": tenant_id, "subject_kind": kind.value, "subject": subject, "trigger": trigger.value},
    )
    row = await cursor.fetchone()
    return None if row is None else (_standing(row[:-1]), row[0], row[-1])


async def find_hold(conn: Connection, tenant_id: UUID | None, *, hold_id: UUID) -> HoldDetail | None:
    """A hold of a tenant, or any when it is None; also one that is over."""
    row = await (await conn.execute(SQL.find_hold, {"tenant_id": tenant_id, "hold_id": hold_id})).fetchone()
    if row is None:
        return None
    *columns, tenant_name, lifted_at, lifted_by, lift_reason = row
    return HoldDetail(
        hold=RolloutHold(columns[0], HoldKind(columns[1]), *columns[2:]),
        tenant_name=tenant_name,
        lifted_at=lifted_at,
        lifted_by=lifted_by,
        lift_reason=lift_reason,
    )


async def list_steps(conn: Connection, tenant_id: UUID, *, since: datetime, step: timedelta) -> list[Step]:
    """A tenant's decisions and comparisons in steps of time; steps in which there were none are left out."""
    cursor = await conn.execute(
        SQL.list_steps, {"tenant_id": tenant_id, "since": since, "step": step, "limit": STEPS_MAX}
    )
    return [Step._make(row) for row in await cursor.fetchall()]


async def list_delivery_steps(
    conn: Connection, tenant_id: UUID, *, since: datetime, step: timedelta
) -> list[DeliveryStep]:
    """Deliveries of the tenant's providers in steps of time."""
    cursor = await conn.execute(
        SQL.list_delivery_steps, {"tenant_id": tenant_id, "since": since, "step": step, "limit": STEPS_MAX}
    )
    return [DeliveryStep._make(row) for row in await cursor.fetchall()]


async def list_sums(conn: Connection, tenant_id: UUID, *, runs: int) -> list[SideSums]:
    """What the tenant's last censuses summed up, the newest first."""
    cursor = await conn.execute(SQL.list_sums, {"tenant_id": tenant_id, "runs": runs, "limit": SUMS_MAX})
    return [SideSums._make(row) for row in await cursor.fetchall()]


async def list_events(conn: Connection, tenant_id: UUID, *, limit: int) -> list[RolloutEvent]:
    """What happened to the tenant on its way, the latest first."""
    cursor = await conn.execute(SQL.list_events, {"tenant_id": tenant_id, "limit": limit})
    return [RolloutEvent._make(row) for row in await cursor.fetchall()]


def _standing(row: TupleRow) -> Standing:
    _, kind, subject, trigger, verdict, since, evaluated_at, *rest = row
    acknowledged_at, acknowledged_by, sentences, actions, streams = rest
    return Standing(
        subject_kind=kind,
        subject=subject,
        trigger=Trigger(trigger),
        verdict=Verdict(verdict),
        since=since,
        evaluated_at=evaluated_at,
        acknowledged_at=acknowledged_at,
        acknowledged_by=acknowledged_by,
        sentences=sentences,
        actions=actions,
        streams=tuple((Stream(stream), Verdict(each)) for stream, each in streams),
    )
