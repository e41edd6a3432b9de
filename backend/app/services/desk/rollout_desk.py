"""Looking at the rollout, and deeds that have no service of their own; the flip is services/rollout/rollout.py."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from backend.app.domain.audit import Actor
from backend.app.domain.desk.rollout_desk import (
    Fleet,
    FleetRow,
    HoldDetail,
    MismatchSeen,
    SeenEvidence,
    Standing,
    TenantNamed,
    TenantPast,
    TenantStanding,
    VerdictDetail,
)
from backend.app.domain.monitor.bucket import Trigger
from backend.app.domain.monitor.monitor import SubjectKind, VerdictNotFound
from backend.app.domain.rollout.flags import Flag
from backend.app.domain.rollout.gates import QUIET_FOR, Gate, GateFacts, TenantFacts, evidence_since, judge_gates
from backend.app.domain.rollout.rollout_state import HoldKind, HoldNotFound, RolloutHold
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.desk import rollout_desk_repo
from backend.app.repositories.rollout import flag_repo, gate_repo, rollout_hold_repo, rollout_repo
from backend.app.services.rollout import rollout_holds
from backend.app.services.rollout.rollout_gates import COUNTED_PLAYERS_MAX, MISMATCHES_SHOWN_FOR, GateReader, with_sides
from backend.app.services.rollout.rollout_status import stage_of

SERIES_BACK: Final = timedelta(hours=24)
STEP: Final = timedelta(minutes=15)
EVENTS: Final = 25
CENSUSES: Final = 30
WALLETS: Final = 10
# What takes the longest to read is read only of tenants that nothing else stands against.
_DEAR: Final = frozenset({Gate.EVIDENCE, Gate.QUIET, Gate.REHEARSAL, Gate.HOLDS})


class RolloutDesk:
    """The desk's service. Built once per process."""

    def __init__(self, database: Database, gates: GateReader) -> None:
        self._database = database
        self._gates = gates

    async def fleet(self, scope_tenant_id: UUID | None, *, after_number: int, limit: int) -> Fleet:
        """A page of the fleet, or the one tenant of the request. Coverage is as the last census of each counted it."""
        now = datetime.now(UTC)
        async with self._database.connection() as conn:
            listed = await rollout_desk_repo.list_fleet(
                conn, scope_tenant_id, after_number=after_number, limit=limit + 1
            )
            page = listed[:limit]
            holds = await rollout_hold_repo.list_active(conn, scope_tenant_id)
            rows = await self._rows(conn, [tenant_id for tenant_id, _ in page], holds=holds, now=now)
            return Fleet(
                rows=rows,
                next_number=page[-1][1] if len(listed) > limit else None,
                monitor=await rollout_desk_repo.find_monitor(conn),
                fleet_holds=[hold for hold in holds if hold.tenant_id is None],
            )

    async def get(self, scope_tenant_id: UUID | None, *, tenant_id: UUID) -> TenantStanding:
        """One tenant as it stands, a small one's wallets counted anew. Raises TenantNotFound."""
        _ensure_in_scope(scope_tenant_id, tenant_id)
        now = datetime.now(UTC)
        async with self._database.connection() as conn:
            holds = await rollout_hold_repo.list_active(conn, tenant_id)
            rows = await self._rows(conn, [tenant_id], holds=holds, now=now, is_counted=True)
            if not rows:
                raise TenantNotFound
            return TenantStanding(
                row=rows[0],
                flags=[
                    flag
                    for flag in await flag_repo.list_effective(conn, tenant_id)
                    if flag.flag is not Flag.WEBHOOK_SIGNATURE_ENFORCED
                ],
            )

    async def past(self, scope_tenant_id: UUID | None, *, tenant_id: UUID, with_deliveries: bool) -> TenantPast:
        """What led a tenant to where it stands. Raises TenantNotFound."""
        until = datetime.now(UTC)
        since = until - SERIES_BACK
        async with self._database.connection() as conn:
            tenant = await self._find(conn, scope_tenant_id, tenant_id=tenant_id)
            wallets = await rollout_repo.list_mismatch_players(
                conn, tenant_id, since=until - MISMATCHES_SHOWN_FOR, limit=WALLETS
            )
            return TenantPast(
                tenant=tenant,
                since=since,
                until=until,
                steps=await rollout_desk_repo.list_steps(conn, tenant_id, since=since, step=STEP),
                deliveries=await rollout_desk_repo.list_delivery_steps(conn, tenant_id, since=since, step=STEP)
                if with_deliveries
                else None,
                sums=await rollout_desk_repo.list_sums(conn, tenant_id, runs=CENSUSES),
                events=await rollout_desk_repo.list_events(conn, tenant_id, limit=EVENTS),
                mismatched=[MismatchSeen._make(wallet) for wallet in wallets],
            )

    async def find(self, scope_tenant_id: UUID | None, *, tenant_id: UUID) -> TenantNamed:
        """What a tenant is called, and who decides there. Raises TenantNotFound."""
        async with self._database.connection() as conn:
            return await self._find(conn, scope_tenant_id, tenant_id=tenant_id)

    async def hold(self, tenant_id: UUID, *, reason: str, until: datetime | None, actor: Actor) -> RolloutHold:
        """Hold a tenant, until a time or until somebody lifts it. Raises FieldError."""
        async with self._database.transaction() as conn:
            return await rollout_holds.place(conn, HoldKind.HOLD, tenant_id, reason=reason, until=until, actor=actor)

    async def find_hold(self, scope_tenant_id: UUID | None, *, hold_id: UUID) -> HoldDetail:
        """A hold, also one that is over. Raises HoldNotFound; the fleet's are nobody's who looks at one tenant."""
        async with self._database.connection() as conn:
            hold = await rollout_desk_repo.find_hold(conn, scope_tenant_id, hold_id=hold_id)
        if hold is None:
            raise HoldNotFound
        return hold

    async def verdict(
        self, scope_tenant_id: UUID | None, *, kind: SubjectKind, subject: str, trigger: Trigger
    ) -> VerdictDetail:
        """A verdict, and who took note when. Raises VerdictNotFound; a provider's is nobody's who looks at a tenant."""
        async with self._database.connection() as conn:
            found = await rollout_desk_repo.find_standing(
                conn, scope_tenant_id, kind=kind, subject=subject, trigger=trigger
            )
            if found is None:
                raise VerdictNotFound
            standing, tenant_id, name = found
            return VerdictDetail(
                standing=standing,
                name=name,
                tenant_id=tenant_id,
                history=await audit_repo.list_of_object(
                    conn, tenant_id, object_kind="verdict", object_id=f"{kind}:{subject}:{trigger}", limit=EVENTS
                ),
            )

    async def lift(self, tenant_id: UUID | None, *, hold_id: UUID, reason: str, actor: Actor) -> None:
        """Lift one of a tenant's own holds, or with None one of the fleet's. Raises HoldNotFound."""
        async with self._database.transaction() as conn:
            await rollout_holds.lift(conn, tenant_id, hold_id=hold_id, reason=reason, actor=actor)

    async def _find(self, conn: Connection, scope_tenant_id: UUID | None, *, tenant_id: UUID) -> TenantNamed:
        _ensure_in_scope(scope_tenant_id, tenant_id)
        tenant = await rollout_desk_repo.find_tenant(conn, tenant_id)
        if tenant is None:
            raise TenantNotFound
        return tenant

    async def _rows(
        self,
        conn: Connection,
        tenant_ids: Sequence[UUID],
        *,
        holds: Sequence[RolloutHold],
        now: datetime,
        is_counted: bool = False,
    ) -> list[FleetRow]:
        """Tenants by number, in as many queries for one as for many. is_counted: wallets of a small one are counted."""
        tenants = await gate_repo.list_tenant_facts(conn, tenant_ids, mismatches_since=now - MISMATCHES_SHOWN_FOR)
        if not tenants:
            return []
        if is_counted:
            sides = await rollout_repo.attest_whole(conn, tenant_ids[0], players_max=COUNTED_PLAYERS_MAX)
            tenants = tenants if sides is None else [with_sides(tenants[0], sides, now=now)]
        platform = await self._gates.read_platform(conn)
        known = {
            tenant.tenant_id: GateFacts(
                platform=platform,
                tenant=tenant,
                holds=[hold for hold in holds if hold.tenant_id in (None, tenant.tenant_id)],
            )
            for tenant in tenants
        }
        seen = await rollout_desk_repo.list_evidence(
            conn,
            list(known),
            since={each.tenant.tenant_id: _asked_since(each, now=now, is_always=is_counted) for each in known.values()},
            verdicts_since=now - QUIET_FOR,
            now=now,
        )
        standings = await rollout_desk_repo.list_standing(conn, list(known))
        return [_row(facts, seen=seen, standings=standings, now=now) for facts in known.values()]


def _asked_since(facts: GateFacts, *, now: datetime, is_always: bool) -> datetime | None:
    """From when a tenant's decisions are asked for; None where a dearer gate changes nothing about its stage."""
    tenant: TenantFacts = facts.tenant
    is_decided = any(gate.stands_against for gate in judge_gates(facts, now=now) if gate.gate not in _DEAR)
    return None if is_decided and not is_always else evidence_since(tenant, now=now)


def _row(
    facts: GateFacts,
    *,
    seen: Mapping[UUID, SeenEvidence],
    standings: Mapping[UUID, Sequence[Standing]],
    now: datetime,
) -> FleetRow:
    tenant_id = facts.tenant.tenant_id
    evidence = seen[tenant_id]
    whole = replace(
        facts,
        evidence=evidence.summary,
        worst_verdict=None if evidence.worst is None else evidence.worst.value,
    )
    gates = judge_gates(whole, now=now)
    return FleetRow(
        facts=whole,
        stage=stage_of(whole, gates),
        gates=gates,
        standings=standings[tenant_id],
        mismatches_by_hour=evidence.mismatches_by_hour,
    )


def _ensure_in_scope(scope_tenant_id: UUID | None, tenant_id: UUID) -> None:
    if scope_tenant_id not in (None, tenant_id):
        raise TenantNotFound
