"""A tenant under watch for tests: decisions made through the service, evidence flushed, time passed in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from backend.app.domain.ledger import InsufficientFunds, PostResult
from backend.app.domain.mismatch import Mismatch
from backend.app.domain.money import Money
from backend.app.domain.monitor.bucket import Trigger
from backend.app.domain.monitor.evidence import Claim
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Database as Pools
from backend.app.services.evidence import Evidence
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.monitor.monitor import Evaluated, Evaluation, Monitor
from backend.app.services.withdrawals import Withdrawals
from backend.app.wiring import build_monitor
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    connect_owner,
    deposit,
    deposit_command,
    make_players,
    make_tenant,
    open_pools,
    post,
    set_legacy,
    withdrawal,
)

# The evidence of a minute is judged when the minute is over and everybody has had time to flush.
CLOSED_AFTER = timedelta(minutes=1, seconds=90)
PROVIDER = "mockpsp"


class SpreadEvidence(Evidence):
    """Counts decisions as if they had been made some minutes earlier, so that no test waits for minutes."""

    minutes_back = 0

    def count_decision(self, result: PostResult, *, tenant_id: UUID, player_id: UUID, money: Money) -> None:
        """The same, earlier."""
        super().count_decision(self._earlier(result), tenant_id=tenant_id, player_id=player_id, money=money)

    def count_comparison(self, result: PostResult, mismatch: Mismatch | None, *, tenant_id: UUID) -> None:
        """The same, earlier."""
        super().count_comparison(self._earlier(result), mismatch, tenant_id=tenant_id)

    def _earlier(self, result: PostResult) -> PostResult:
        return result._replace(recorded_at=result.recorded_at - timedelta(minutes=self.minutes_back))


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorDesk:
    """Everything that a test of the monitor needs."""

    database: Database
    owner: Owner
    pools: Pools
    evidence: SpreadEvidence
    withdrawals: Withdrawals
    monitor: Monitor

    async def tenant(self, *, enforced: bool = True, auto_rollback: bool = False) -> UUID:
        """A tenant, and whether the monitor may roll it back."""
        tenant_id = await make_tenant(self.owner, enforce_override=enforced or None)
        if auto_rollback:
            await self.owner.execute(
                "INSERT INTO monitor_settings (tenant_id, auto_rollback, set_by) VALUES (%s, TRUE, 'a test')",
                (tenant_id,),
            )
        return tenant_id

    async def players(self, tenant_id: UUID, count: int) -> list[Player]:
        """Players with 100.00 in an opened wallet."""
        players = await make_players(self.owner, tenant_id, count)
        await post(self.pools, *(deposit(player, 100_00) for player in players))
        return players

    async def refuse_wrongly(self, players: Sequence[Player], *, minutes: int = 4) -> None:
        """Another system gives them money that the ledger does not know of, and they ask for it."""
        for player in players:
            await set_legacy(self.owner, player, available=1_000_00)
        for place, player in enumerate(players):
            self.evidence.minutes_back = place % minutes
            await self.ask(player, 500_00)
        self.evidence.minutes_back = 0
        await self.evidence.flush()

    async def ask(self, player: Player, amount: int) -> bool:
        """Whether it was granted."""
        try:
            await self.withdrawals.request(withdrawal(player, amount))
        except InsufficientFunds:
            return False
        return True

    async def open_deposits(self, players: Sequence[Player], *, provider: str = PROVIDER) -> list[UUID]:
        """Deposits that the provider has yet to confirm."""
        commands = [replace(deposit_command(player, 10_00), provider=provider) for player in players]
        async with self.pools.connection() as conn:
            return [opened.deposit_id for opened in await deposit_repo.open_many(conn, commands)]

    def deliver(self, reference: object, *, at: datetime, result: str = "mismatch", provider: str = PROVIDER) -> None:
        """A delivery came in that names a payment and is not signed."""
        self.evidence.count_delivery(
            provider,
            result=result,
            is_credible=False,
            claim=Claim(reference=str(reference), provider_ref=None),
            received_at=at,
        )

    async def evaluate(self, *, now: datetime | None = None, **options: Any) -> Evaluation:
        """As soon as what was flushed until now is closed."""
        return await self.monitor.evaluate(now=now or soon(), **options)

    async def arbiter(self, tenant_id: UUID) -> str:
        """Who decides."""
        return str(await self.one("SELECT arbiter FROM tenant_modes WHERE tenant_id = %s", tenant_id))

    async def holds(self, tenant_id: UUID | None) -> list[str]:
        """What stands against enforcing a tenant, or the fleet, by kind."""
        cursor = await self.owner.execute(
            "SELECT kind FROM rollout_holds WHERE tenant_id IS NOT DISTINCT FROM %s AND lifted_at IS NULL "
            "ORDER BY kind",
            (tenant_id,),
        )
        return [kind for (kind,) in await cursor.fetchall()]

    async def decisions(self, tenant_id: UUID | None) -> list[dict[str, Any]]:
        """What was decided about a tenant, or about providers, oldest first."""
        cursor = await self.owner.execute(
            "SELECT row_to_json(d) FROM monitor_decisions d WHERE tenant_id IS NOT DISTINCT FROM %s ORDER BY id",
            (tenant_id,),
        )
        return [document for (document,) in await cursor.fetchall()]

    async def one(self, query: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        row = await (await self.owner.execute(query, parameters)).fetchone()
        return None if row is None else row[0]


def soon() -> datetime:
    """When the present minute is closed."""
    return datetime.now(UTC) + CLOSED_AFTER + timedelta(minutes=1)


def verdicts(evaluation: Evaluation, key: object) -> dict[str, str]:
    """Verdicts of a subject by trigger."""
    return {
        each.subject.trigger.value: each.decided.verdict.value
        for each in evaluation.subjects
        if each.subject.key == str(key)
    }


def of_trigger(evaluation: Evaluation, key: object, trigger: Trigger) -> Evaluated:
    """What an evaluation came to for one subject and trigger."""
    return next(
        each for each in evaluation.subjects if each.subject.key == str(key) and each.subject.trigger is trigger
    )


def automatic(decision: dict[str, Any]) -> list[str]:
    """What a decision did by itself."""
    return [step["action"] for step in decision["actions"]["automatic"]]


@asynccontextmanager
async def monitor_desk(database: Database) -> AsyncIterator[MonitorDesk]:
    """A desk on a database of the test's own: what tenants of other tests do would freeze this one's fleet."""
    async with open_pools(database) as pools, connect_owner(database) as owner:
        evidence = SpreadEvidence(pools, app_version="a test", is_metered=False)
        mismatches = MismatchRecorder(pools, is_enabled=True, evidence=evidence)
        yield MonitorDesk(
            database=database,
            owner=owner,
            pools=pools,
            evidence=evidence,
            withdrawals=Withdrawals(pools, mismatches, evidence, is_dev=True),
            monitor=build_monitor(pools),
        )
        await evidence.stop(deadline_seconds=10)
        await mismatches.drain(deadline_seconds=10)
