"""Drill-down for people: what stands, since when, who is behind it, and what was decided. Player ids, nothing else of
them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from backend.app.domain.monitor.bucket import Stream
from backend.app.domain.monitor.monitor import Decided, DecisionNotFound, derive_again
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.monitor import evidence_repo, monitor_repo, verdict_repo
from backend.app.repositories.monitor.evidence_repo import (
    TOP_MAX,
    ClassTotal,
    InstanceTotal,
    ResultTotal,
    TopPlayer,
    TopTenant,
)
from backend.app.repositories.monitor.monitor_repo import DecisionRow, LastEvaluation, LastSelftest, ResultRow
from backend.app.repositories.monitor.verdict_repo import ShownVerdict

SERIES_BACK: Final = timedelta(hours=24)
DECISIONS_SHOWN: Final = 20
VERDICTS_SHOWN: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of a series: n of which x."""

    at: datetime
    n: int
    x: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantEvidence:
    """All that there is about one tenant. series: by stream, of the last SERIES_BACK, whoever was the arbiter."""

    tenant_id: UUID
    auto_rollback: bool
    verdicts: Sequence[ShownVerdict]
    series: Mapping[Stream, Sequence[Point]]
    step_seconds: int
    top_players: Sequence[TopPlayer]
    classes: Sequence[ClassTotal]
    instances: Sequence[InstanceTotal]
    decisions: Sequence[DecisionRow]
    results: Sequence[ResultRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What stands for everybody. deliveries: by provider."""

    verdicts: Sequence[ShownVerdict]
    last_evaluation: LastEvaluation
    last_selftest: LastSelftest | None
    top_tenants: Mapping[Stream, Sequence[TopTenant]]
    deliveries: Mapping[str, Sequence[ResultTotal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A decision as it was kept, and as it comes out when it is made again from its evidence."""

    kept_verdict: str
    kept_actions: Mapping[str, Any]
    evidence: Mapping[str, Any]
    again: Decided

    @property
    def is_same(self) -> bool:
        """Whether both agree."""
        return self.again.verdict.value == self.kept_verdict and self.again.actions_document == self.kept_actions


async def read_triggers(conn: Connection, tenant_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Mapping[str, Any]]]:
    """What stands for tenants, for the overview of the rollout: one document for each trigger and provider."""
    return await verdict_repo.list_triggers(conn, tenant_ids)


class MonitorReader:
    """Reads what the monitor knows. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_fleet(self, scope_tenant_id: UUID | None = None) -> Fleet:
        """What stands, of one tenant or for everybody, the most serious first."""
        since = datetime.now(UTC) - timedelta(hours=1)
        top_tenants: dict[Stream, Sequence[TopTenant]] = {}
        deliveries: dict[str, Sequence[ResultTotal]] = {}
        async with self._database.connection() as conn:
            verdicts = await verdict_repo.list_shown(conn, scope_tenant_id, limit=VERDICTS_SHOWN)
            last_evaluation = await monitor_repo.find_last_evaluation(conn)
            last_selftest = await monitor_repo.find_last_selftest(conn)
            if scope_tenant_id is None:
                for stream in (Stream.T1_DISPUTED, Stream.T1_OVERPAID, Stream.T1_REFUSED, Stream.T3_MISMATCH):
                    top_tenants[stream] = await evidence_repo.list_top_tenants(conn, stream, since=since, limit=TOP_MAX)
                for provider in await evidence_repo.list_providers(conn, since=since, until=datetime.now(UTC)):
                    deliveries[provider] = await evidence_repo.list_delivery_results(conn, provider, since=since)
        return Fleet(
            verdicts=verdicts,
            last_evaluation=last_evaluation,
            last_selftest=last_selftest,
            top_tenants=top_tenants,
            deliveries=deliveries,
        )

    async def read_tenant(
        self, tenant_id: UUID, *, back: timedelta = SERIES_BACK, step_seconds: int = 300
    ) -> TenantEvidence | None:
        """All about one tenant; None when there is no such tenant. step_seconds: of the series."""
        since = datetime.now(UTC) - back
        async with self._database.connection() as conn:
            watched = await monitor_repo.list_tenants(conn, tenant_id)
            if not watched:
                return None
            decisions, _ = await monitor_repo.list_decisions(
                conn, tenant_id, before_id=None, limit=DECISIONS_SHOWN, offset=0
            )
            points: dict[Stream, list[Point]] = {}
            for stream, at, n, x in await evidence_repo.list_series(
                conn, tenant_id, since=since, step_seconds=step_seconds
            ):
                points.setdefault(Stream(stream), []).append(Point(at=at, n=n, x=x))
            return TenantEvidence(
                tenant_id=tenant_id,
                auto_rollback=watched[0].auto_rollback,
                verdicts=await verdict_repo.list_shown(conn, tenant_id, limit=TOP_MAX),
                series=points,
                step_seconds=step_seconds,
                top_players=await evidence_repo.list_top_players(conn, tenant_id, since=since, limit=TOP_MAX),
                classes=await evidence_repo.list_classes(conn, tenant_id, since=since),
                instances=await evidence_repo.list_instances(conn, tenant_id, since=since),
                decisions=decisions,
                results=await monitor_repo.list_results(conn, [each.id for each in decisions]),
            )

    async def list_decisions(
        self, scope_tenant_id: UUID | None, *, before_id: UUID | None, limit: int, offset: int
    ) -> tuple[list[DecisionRow], int]:
        """A page of decisions, newest first, and how many there are."""
        async with self._database.connection() as conn:
            return await monitor_repo.list_decisions(
                conn, scope_tenant_id, before_id=before_id, limit=limit, offset=offset
            )

    async def derive_again(self, scope_tenant_id: UUID | None, *, decision_id: UUID) -> Derived:
        """Make a decision again from its stored evidence. Raises DecisionNotFound."""
        async with self._database.connection() as conn:
            kept = await monitor_repo.find_evidence(conn, scope_tenant_id, decision_id=decision_id)
        if kept is None:
            raise DecisionNotFound
        return Derived(
            kept_verdict=kept.verdict,
            kept_actions=kept.actions,
            evidence=kept.evidence,
            again=derive_again(kept.evidence),
        )
