"""Where tenants stand, for people: stage, flags and where they come from, coverage, mismatches, gates, holds."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from prometheus_client import Gauge

from backend.app.domain.rollout.flags import EffectiveFlag, Flag
from backend.app.domain.rollout.gates import Gate, GateFacts, GateResult, active_kinds, judge_gates
from backend.app.domain.rollout.rollout_state import ArbiterChange, RolloutHold, Stage, derive_stage
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.rollout import flag_repo, rollout_repo
from backend.app.repositories.rollout.rollout_repo import MismatchedWallet
from backend.app.services.rollout.rollout_gates import MISMATCHES_SHOWN_FOR, GateReader

CHANGES_SHOWN: Final = 20
PLAYERS_SHOWN: Final = 20
# Of one tenant that somebody asks for, more players are counted anew than of each in a list.
COUNTED_PLAYERS_MAX_OF_ONE: Final = 5_000
TENANTS_PER_PAGE: Final = 100
# In a list no one's wallets are counted for the metrics: their censuses are.
UNCOUNTED: Final = 0

# What is known of a tenant's triggers, by tenant; filled by whoever watches them.
TriggerReader = Callable[[Connection, Sequence[UUID]], Awaitable[Mapping[UUID, Sequence[Mapping[str, Any]]]]]

stage_gauge: Final = Gauge(
    "ledger_rollout_stage", "1 for the stage that a tenant is in", ("tenant", "stage"), multiprocess_mode="mostrecent"
)
epoch_gauge: Final = Gauge(
    "ledger_rollout_epoch", "How many flips a tenant has had", ("tenant",), multiprocess_mode="mostrecent"
)
hold_gauge: Final = Gauge(
    "ledger_rollout_hold",
    "How many holds stand against enforcing a tenant",
    ("tenant",),
    multiprocess_mode="mostrecent",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStatus:
    """One tenant as it stands. triggers: as their reader gave them, empty without one."""

    facts: GateFacts
    stage: Stage
    gates: tuple[GateResult, ...]
    flags: Sequence[EffectiveFlag]
    triggers: Sequence[Mapping[str, Any]] = ()

    @property
    def holds(self) -> Sequence[RolloutHold]:
        """What stands against enforcing it."""
        return self.facts.holds


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDetail:
    """One tenant, with its flips and the wallets that were seen to differ lately."""

    status: TenantStatus
    changes: Sequence[ArbiterChange]
    mismatched: Sequence[MismatchedWallet]


async def no_triggers(_conn: Connection, _tenant_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[Mapping[str, Any]]]:
    """The reader where nobody watches."""
    return {}


class RolloutStatus:
    """Reads status. Built once per process.

    read_triggers: what is known of T1, T2 and T3 of some tenants.
    """

    def __init__(self, database: Database, gates: GateReader, *, read_triggers: TriggerReader = no_triggers) -> None:
        self._database = database
        self._gates = gates
        self._read_triggers = read_triggers

    async def list_page(
        self, scope_tenant_id: UUID | None, *, limit: int, offset: int
    ) -> tuple[list[TenantStatus], int]:
        """A page of tenants by their numbers, or the one that the request is about; and how many there are."""
        async with self._database.connection() as conn:
            listed = await rollout_repo.list_tenant_ids(conn, scope_tenant_id, limit=limit, offset=offset)
            total = await rollout_repo.count_tenants(conn, scope_tenant_id)
            facts = await self._gates.read_many(conn, [id_ for id_, _ in listed], now=datetime.now(UTC))
            return await self._complete(conn, facts), total

    async def get(self, scope_tenant_id: UUID | None, *, tenant_id: UUID) -> TenantDetail:
        """One tenant. Raises TenantNotFound, also for another one than the request is about."""
        if scope_tenant_id not in (None, tenant_id):
            raise TenantNotFound
        now = datetime.now(UTC)
        async with self._database.connection() as conn:
            facts = await self._gates.read_many(
                conn, [tenant_id], now=now, counted_players_max=COUNTED_PLAYERS_MAX_OF_ONE
            )
            if not facts:
                raise TenantNotFound
            statuses = await self._complete(conn, facts)
            return TenantDetail(
                status=statuses[0],
                changes=await rollout_repo.list_changes(conn, tenant_id, limit=CHANGES_SHOWN),
                mismatched=await rollout_repo.list_mismatch_players(
                    conn, tenant_id, since=now - MISMATCHES_SHOWN_FOR, limit=PLAYERS_SHOWN
                ),
            )

    async def list_unmet(self, *, source: str, limit: int) -> list[TenantStatus]:
        """Tenants that a level of flags enforces although gates are not met; the first of them."""
        async with self._database.connection() as conn:
            tenant_ids = await rollout_repo.list_enforced_by(conn, source=source, limit=limit)
            facts = await self._gates.read_many(conn, tenant_ids, now=datetime.now(UTC))
            statuses = await self._complete(conn, facts)
        return [each for each in statuses if any(gate.stands_against for gate in each.gates)]

    async def refresh_metrics(self, now: datetime) -> int:
        """Set the gauges of every tenant; how many there are. A job."""
        after_number, done = 0, 0
        while True:
            async with self._database.connection() as conn:
                page = await rollout_repo.list_tenant_ids(conn, None, after_number=after_number, limit=TENANTS_PER_PAGE)
                facts = await self._gates.read_many(
                    conn, [id_ for id_, _ in page], now=now, counted_players_max=UNCOUNTED
                )
            for each in facts:
                _show(each, judge_gates(each, now=now))
            done += len(page)
            if len(page) < TENANTS_PER_PAGE:
                return done
            after_number = page[-1][1]

    async def _complete(self, conn: Connection, facts: Sequence[GateFacts]) -> list[TenantStatus]:
        now = datetime.now(UTC)
        triggers = await self._read_triggers(conn, [each.tenant.tenant_id for each in facts])
        statuses = []
        for each in facts:
            gates = judge_gates(each, now=now)
            statuses.append(
                TenantStatus(
                    facts=each,
                    stage=stage_of(each, gates),
                    gates=gates,
                    flags=[
                        flag
                        for flag in await flag_repo.list_effective(conn, each.tenant.tenant_id)
                        if flag.flag is not Flag.WEBHOOK_SIGNATURE_ENFORCED
                    ],
                    triggers=triggers.get(each.tenant.tenant_id, ()),
                )
            )
        return statuses


def stage_of(facts: GateFacts, gates: Sequence[GateResult]) -> Stage:
    """The stage that these facts come to."""
    census = next(each for each in gates if each.gate is Gate.CENSUS)
    return derive_stage(
        arbiter=facts.tenant.arbiter,
        is_shadow_on=facts.tenant.is_shadow_on,
        unopened=facts.tenant.unopened,
        is_census_clean=census.is_met,
        failing=sum(each.stands_against for each in gates if each.gate is not Gate.HOLDS),
        holds=active_kinds(facts.holds),
    )


def _show(facts: GateFacts, gates: Sequence[GateResult]) -> None:
    tenant, stage = str(facts.tenant.tenant_id), stage_of(facts, gates)
    for each in Stage:
        stage_gauge.labels(tenant, each.value).set(each is stage)
    epoch_gauge.labels(tenant).set(facts.tenant.epoch)
    hold_gauge.labels(tenant).set(len(facts.holds))
