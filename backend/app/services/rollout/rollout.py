"""The flip and the way back.

enforce   count ─▶ gates ─▶ [control, fence] ─▶ count what changed ─▶ gates ─▶ flag, epoch, audit, sums
rollback  [fence if it comes within a second] ─▶ flag, epoch, audit, sums
          (functions/rollout_kill_v1.sql, which psql can call when nothing else runs)

When enforce has returned, nobody is judged by the legacy column any more; why, says functions/rollout_note_v1.sql. What
stands inside the fence holds up the tenant's money, so it is bounded: some small statements, and a limit of
FENCED_MS_MAX for each of them and for a silence of ours between two, after which the server ends the transaction.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.audit import Actor
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.flags import Flag
from backend.app.domain.rollout.gate_texts import explain, gate_document
from backend.app.domain.rollout.gates import (
    CENSUS_AGE_MAX,
    Gate,
    GateFacts,
    GateResult,
    GatesNotMet,
    Language,
    judge_gates,
)
from backend.app.domain.rollout.rollout_state import AlreadyEnforced, ArbiterChange, FenceBusy, Rehearsal, Sides
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.rollout import flag_repo, rollout_repo
from backend.app.repositories.rollout.rollout_documents import facts_document
from backend.app.repositories.rollout.rollout_repo import TenantMode
from backend.app.services.backfill.census import Census
from backend.app.services.people.admins import system_actor
from backend.app.services.rollout.rollout_fence import fenced, guarded
from backend.app.services.rollout.rollout_gates import GateReader
from backend.app.services.rollout.rollout_verification import INSIDE_PLAYERS_MAX, Verification, verify

log = structlog.get_logger()

ROLLBACK_MS_MAX: Final = 5_000
# Of a tenant that keeps writing more than can be looked at inside the fence, so often the count is taken anew.
ROUNDS_MAX: Final = 3
# A tenant without a census of today gets one on the way, if it does not take long.
CENSUS_BUDGET_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A tenant whose gates were met outside the fence, with what it takes to judge them again inside it."""

    verification: Verification
    facts: GateFacts


class Rollout:
    """Flips arbiters. Built once per process; needs the service's rights only.

    inside_players_max: up to so many players are counted inside the fence; of more, what was written since a count.
    """

    def __init__(self, database: Database, gates: GateReader, *, inside_players_max: int = INSIDE_PLAYERS_MAX) -> None:
        self._database = database
        self._gates = gates
        self._census = Census(database)
        self._inside_players_max = inside_players_max

    async def enforce(
        self,
        tenant_id: UUID,
        *,
        reason: str,
        actor: Actor,
        waived_gates: Collection[Gate] = (),
        override: bool | None = True,
        expires_at: datetime | None = None,
    ) -> ArbiterChange:
        """Make the ledger the arbiter; when this returns it is, for every request anywhere. Repeating changes nothing.

        override None: by removing the tenant's own value, where a level below enforces. Raises TenantNotFound;
        GatesNotMet, naming each gate that stands against it; FenceBusy; FlagsContradict when a flag was changed
        meanwhile.
        """
        mode = await self._mode(tenant_id)
        if mode.arbiter is Arbiter.LEDGER:
            return _standing(tenant_id, mode)

        async def flip(conn: Connection, prepared: Prepared, waited_ms: int) -> ArbiterChange | None:
            judged = await self.judge_inside(conn, prepared, waived=waived_gates)
            if judged is None:
                return None
            sides, results = judged
            change = await guarded(
                rollout_repo.enforce(
                    conn,
                    tenant_id,
                    kind="flip",
                    override=override,
                    expires_at=expires_at,
                    reason=reason,
                    actor=actor,
                    facts=facts_document(
                        waived=[each.gate for each in results if each.is_waived],
                        gates=[gate_document(each, tenant_id=tenant_id) for each in results],
                        fence_waited_ms=waited_ms,
                    ),
                    attestation=sides.document,
                )
            )
            return change or _standing(tenant_id, await _mode_of(conn, tenant_id))

        change = await self._prepared_flip(tenant_id, flip, waived=waived_gates, actor=actor)
        _tell(change, actor=actor, waived=waived_gates)
        return change

    async def rollback(
        self,
        tenant_id: UUID,
        *,
        reason: str,
        actor: Actor,
        decision_id: UUID | None = None,
        is_automatic: bool = False,
        override: bool | None = False,
    ) -> ArbiterChange:
        """Make the legacy column the arbiter, whatever state the tenant is in. Repeating it changes nothing.

        override None: by removing the tenant's own value; the levels below then decide. Raises TenantNotFound, and
        DatabaseAway when the database cannot be reached or somebody keeps the tenant's own row.
        """
        changes = await self._roll_back(
            tenant_id, reason=reason, actor=actor, decision_id=decision_id, is_automatic=is_automatic, override=override
        )
        return changes[0] if changes else _standing(tenant_id, await self._mode(tenant_id))

    async def rollback_all(
        self, *, reason: str, actor: Actor, decision_id: UUID | None = None, is_automatic: bool = False
    ) -> Sequence[ArbiterChange]:
        """Make the legacy column the arbiter of everybody, and see to it that no global value enforces anybody."""
        return await self._roll_back(
            None, reason=reason, actor=actor, decision_id=decision_id, is_automatic=is_automatic, override=False
        )

    async def rehearse(self, tenant_id: UUID, *, reason: str, actor: Actor) -> Rehearsal:
        """Flip and flip back inside one fenced transaction, by the functions that do it in earnest, and measure both.

        Nobody is ever judged by it. Raises TenantNotFound, AlreadyEnforced, FenceBusy, or FlagsContradict when the
        ledger could not decide at all: a kill switch is on, or shadow writing is off.
        """
        mode = await self._mode(tenant_id)
        if mode.arbiter is Arbiter.LEDGER:
            raise AlreadyEnforced
        facts = facts_document()

        async def there_and_back(conn: Connection, waited_ms: int) -> Rehearsal:
            sides = await rollout_repo.attest_whole(conn, tenant_id, players_max=self._inside_players_max)
            started = time.perf_counter()
            await guarded(
                rollout_repo.enforce(
                    conn,
                    tenant_id,
                    kind="rehearsal",
                    override=True,
                    expires_at=None,
                    reason=reason,
                    actor=actor,
                    facts=facts,
                    attestation=[] if sides is None else sides.document,
                )
            )
            flipped = time.perf_counter()
            changes = await rollout_repo.roll_back(
                conn, tenant_id, kind="rehearsal", override=mode.override, reason=reason, actor=actor, facts=facts
            )
            assert changes, "the ledger decided within this transaction, and does not any more"
            return Rehearsal(
                tenant_id=tenant_id,
                enforce_ms=(flipped - started) * 1000,
                rollback_ms=(time.perf_counter() - flipped) * 1000,
                fence_waited_ms=waited_ms,
                epoch=changes[0].epoch,
            )

        return await fenced(self._database, tenant_id, there_and_back)

    async def check(self, tenant_id: UUID, *, waived_gates: Collection[Gate] = ()) -> tuple[GateResult, ...]:
        """The gates as they stand now, wallets counted; nothing is changed. Raises TenantNotFound."""
        async with verify(self._database, tenant_id, inside_players_max=self._inside_players_max) as verification:
            facts = await self._read(verification)
        return judge_gates(facts, now=datetime.now(UTC), waived=waived_gates)

    @asynccontextmanager
    async def prepared(
        self, tenant_id: UUID, *, actor: Actor, waived: Collection[Gate] = ()
    ) -> AsyncIterator[Prepared]:
        """A count of the tenant by which its gates were met, for as long as the block lasts. A small tenant gets a
        census on the way when it has none of today. Raises GatesNotMet or TenantNotFound.
        """
        async with verify(self._database, tenant_id, inside_players_max=self._inside_players_max) as verification:
            facts = await self._read(verification)
            if verification.before is None and _is_census_due(facts):
                await self._take_census(tenant_id, actor=actor)
                facts = await self._read(verification)
            # Outside the fence first: what is not ready shall not hold up anybody's money.
            ensure_met(facts, waived=waived)
            yield Prepared(verification=verification, facts=facts)

    async def judge_inside(
        self, conn: Connection, prepared: Prepared, *, waived: Collection[Gate] = ()
    ) -> tuple[Sides, tuple[GateResult, ...]] | None:
        """The sides and the gates once more, in the transaction that holds the fence; None when too much was written
        since the count. Raises GatesNotMet.
        """
        sides = await prepared.verification.refresh(conn)
        if sides is None:
            return None
        tenant_id = prepared.verification.tenant_id
        facts = await self._gates.read_one(conn, tenant_id, sides=sides, now=datetime.now(UTC), before=prepared.facts)
        assert facts is not None, "tenants are never removed"
        return sides, ensure_met(facts, waived=waived)

    async def expire_due(self, _now: datetime) -> int:
        """End what was set for tenants until a time that has come; how many. A job, in one process at a time."""
        async with self._database.connection() as conn:
            expired = await flag_repo.list_expired(conn)
        for flag, tenant_id, expires_at in expired:
            reason = f"it was set until {expires_at:%Y-%m-%d %H:%M:%S}Z"
            actor = system_actor("expiry")
            if flag is Flag.LEDGER_ENFORCE_BALANCE:
                await self.rollback(tenant_id, reason=reason, actor=actor, is_automatic=True, override=None)
            else:
                async with self._database.transaction() as conn:
                    await guarded(
                        flag_repo.write_tenant_shadow(
                            conn, tenant_id, value=None, expires_at=None, reason=reason, actor=actor
                        )
                    )
        return len(expired)

    async def _roll_back(
        self,
        tenant_id: UUID | None,
        *,
        reason: str,
        actor: Actor,
        decision_id: UUID | None,
        is_automatic: bool,
        override: bool | None,
    ) -> list[ArbiterChange]:
        facts = facts_document(is_automatic=is_automatic, decision_id=decision_id)
        async with self._database.urgent_transaction() as conn:
            await rollout_repo.keep_short(conn, timeout_ms=ROLLBACK_MS_MAX)
            changes = await rollout_repo.roll_back(
                conn, tenant_id, override=override, reason=reason, actor=actor, facts=facts
            )
        for change in changes:
            _tell(change, actor=actor)
        return changes

    async def _prepared_flip(
        self,
        tenant_id: UUID,
        flip: Callable[[Connection, Prepared, int], Awaitable[ArbiterChange | None]],
        *,
        waived: Collection[Gate],
        actor: Actor,
    ) -> ArbiterChange:
        for _ in range(ROUNDS_MAX):
            async with self.prepared(tenant_id, actor=actor, waived=waived) as prepared:

                async def inside(conn: Connection, waited_ms: int, seen: Prepared = prepared) -> ArbiterChange | None:
                    return await flip(conn, seen, waited_ms)

                change = await fenced(self._database, tenant_id, inside)
            if change is not None:
                return change
        raise FenceBusy(
            "more wallets are being written than can be looked at inside the fence: try again when it is calmer"
        )

    async def _read(self, verification: Verification) -> GateFacts:
        async with self._database.connection() as conn:
            facts = await self._gates.read_one(
                conn, verification.tenant_id, sides=verification.sides, now=datetime.now(UTC)
            )
        if facts is None:
            raise TenantNotFound(f"there is no tenant {verification.tenant_id}")
        return facts

    async def _take_census(self, tenant_id: UUID, *, actor: Actor) -> None:
        try:
            await self._census.run(
                tenant_id, started_by=actor.label, budget_seconds=CENSUS_BUDGET_SECONDS, is_fresh=True
            )
        except TemporarilyUnavailable as error:
            # Somebody else is at it; the gate then says what the last one found.
            log.info("rollout.census_not_taken", tenant_id=str(tenant_id), error=type(error).__name__)

    async def _mode(self, tenant_id: UUID) -> TenantMode:
        async with self._database.connection() as conn:
            return await _mode_of(conn, tenant_id)


def _is_census_due(facts: GateFacts) -> bool:
    census = facts.tenant.census
    return census is None or not census.is_clean or datetime.now(UTC) - census.started_at > CENSUS_AGE_MAX


def ensure_met(facts: GateFacts, *, waived: Collection[Gate]) -> tuple[GateResult, ...]:
    """The judged gates, when none stands against enforcing. Raises GatesNotMet."""
    results = judge_gates(facts, now=datetime.now(UTC), waived=waived)
    failing = [each for each in results if each.stands_against]
    if failing:
        tenant_id = facts.tenant.tenant_id
        raise GatesNotMet(
            f"tenant {facts.tenant.slug}: "
            + " ".join(f"{each.gate}: {explain(each, language=Language.ENGLISH)}" for each in failing),
            tenant_id=str(tenant_id),
            gates=[gate_document(each, tenant_id=tenant_id) for each in failing],
        )
    return results


async def _mode_of(conn: Connection, tenant_id: UUID) -> TenantMode:
    mode = await rollout_repo.find_mode(conn, tenant_id)
    if mode is None:
        raise TenantNotFound(f"there is no tenant {tenant_id}")
    return mode


def _standing(tenant_id: UUID, mode: TenantMode) -> ArbiterChange:
    return ArbiterChange(tenant_id=tenant_id, arbiter=mode.arbiter, epoch=mode.epoch, is_changed=False)


def _tell(change: ArbiterChange, *, actor: Actor, waived: Collection[Gate] = ()) -> None:
    if change.is_changed:
        log.warning(
            "rollout.arbiter_changed",
            tenant_id=str(change.tenant_id),
            arbiter=change.arbiter.value,
            epoch=change.epoch,
            actor=actor.label,
            is_fenced=change.is_fenced,
            fence_waited_ms=change.fence_waited_ms,
            waived=sorted(waived),
        )
