"""Waves: several tenants, one transaction each, and an end at the first that is refused."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from backend.app.domain.audit import Actor
from backend.app.domain.errors import AppError
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.gates import Gate, GateResult
from backend.app.domain.rollout.rollout_state import ArbiterChange
from backend.app.domain.rollout.waves import Candidate, Wave, plan_wave
from backend.app.repositories.database import Database
from backend.app.repositories.rollout import rollout_repo
from backend.app.services.rollout.rollout import Rollout

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveReport:
    """What a wave did. refused: the tenant at which it ended, and why."""

    wave: Wave
    changes: tuple[ArbiterChange, ...] = ()
    refused: tuple[Candidate, AppError] | None = None


class RolloutWaves:
    """Runs waves. Built by who needs one."""

    def __init__(self, database: Database, rollout: Rollout) -> None:
        self._database = database
        self._rollout = rollout

    async def plan(self, *, count_max: int | None, share_max: Decimal | None) -> Wave:
        """Whom the next wave would take."""
        fleet: dict[int, Candidate] = {}
        after_number = 0
        async with self._database.connection() as conn:
            while True:
                page = await rollout_repo.list_balances(conn, after_number=after_number, limit=PAGE)
                for row in page:
                    known = fleet.get(row.number)
                    balances = dict(known.balances or {}) if known else {}
                    if row.currency is not None and row.balance is not None:
                        balances[row.currency] = row.balance
                    fleet[row.number] = Candidate(
                        tenant_id=row.tenant_id,
                        slug=row.slug,
                        number=row.number,
                        is_enforced=row.arbiter is Arbiter.LEDGER,
                        balances=balances or None,
                    )
                if len(page) < PAGE:
                    break
                # A tenant with several currencies may be cut by the page: it is read again, whole.
                after_number = page[-1].number - 1 if page[-1].number - 1 > after_number else page[-1].number
        return plan_wave(list(fleet.values()), count_max=count_max, share_max=share_max)

    async def check(
        self, wave: Wave, *, waived_gates: Collection[Gate]
    ) -> list[tuple[Candidate, tuple[GateResult, ...]]]:
        """The gates of everybody in the wave as they stand now; nothing is changed."""
        return [
            (tenant, await self._rollout.check(tenant.tenant_id, waived_gates=waived_gates)) for tenant in wave.taken
        ]

    async def run(
        self,
        wave: Wave,
        *,
        reason: str,
        actor: Actor,
        waived_gates: Collection[Gate],
        on_change: Callable[[Candidate, ArbiterChange], None] = lambda _tenant, _change: None,
    ) -> WaveReport:
        """Enforce one after the other, and stop at the first refusal; what was flipped until then stays."""
        changes: list[ArbiterChange] = []
        for tenant in wave.taken:
            try:
                change = await self._rollout.enforce(
                    tenant.tenant_id, reason=reason, actor=actor, waived_gates=waived_gates
                )
            except AppError as refusal:
                return WaveReport(wave=wave, changes=tuple(changes), refused=(tenant, refusal))
            changes.append(change)
            on_change(tenant, change)
        return WaveReport(wave=wave, changes=tuple(changes))
