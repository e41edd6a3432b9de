"""The rollout for tests: tenants that are ready to be enforced, and what every flip left behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.rollout.gates import SOFT_GATES
from backend.app.domain.rollout.rollout_state import ArbiterChange
from backend.app.repositories import ledger_repo
from backend.app.repositories.database import Database as Pools
from backend.app.services.rollout.flags import Flags
from backend.app.services.rollout.rollout import Rollout
from backend.app.services.rollout.rollout_gates import STORED_EVIDENCE, GateReader
from backend.app.services.rollout.rollout_status import RolloutStatus
from backend.tests.conftest import Database
from backend.tests.factories import FENCE_NAMESPACE, Owner, Player, make_player, make_tenant

VERSION: Final = "1.2.0"
ACTOR: Final = Actor(kind=ActorKind.OPERATOR, actor_id=None, label="a tester", request_id="request-of-a-test")
WHY: Final = "a test of the flip"


class Flip(NamedTuple):
    """A row of arbiter_changes."""

    kind: str
    arbiter: str
    epoch: int
    reason: str
    is_fenced: bool
    waived_gates: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutDesk:
    """Services of one process on a database, and the owner's eyes on it."""

    database: Database
    pools: Pools
    owner: Owner
    rollout: Rollout
    flags: Flags
    status: RolloutStatus

    async def ready_tenant(self, *, players: int = 3, available: int = 100_00) -> tuple[UUID, list[Player]]:
        """A tenant whose wallets are all opened and whose way back was rehearsed."""
        tenant_id, made = await self.opened_tenant(players=players, available=available)
        await self.rollout.rehearse(tenant_id, reason=WHY, actor=ACTOR)
        return tenant_id, made

    async def opened_tenant(self, *, players: int = 3, available: int = 100_00) -> tuple[UUID, list[Player]]:
        """A tenant whose wallets are all opened."""
        tenant_id = await make_tenant(self.owner)
        made = [await make_player(self.owner, tenant_id, available=available) for _ in range(players)]
        await self.open_wallets(*made)
        return tenant_id, made

    async def open_wallets(self, *players: Player) -> None:
        """Open wallets by the door's rule."""
        async with self.pools.transaction() as conn:
            await ledger_repo.open_wallets(conn, players[0].tenant_id, player_ids=[player.id for player in players])

    async def enforced_tenant(self, *, players: int = 3, available: int = 100_00) -> tuple[UUID, list[Player]]:
        """A tenant about whose money the ledger decides."""
        tenant_id, made = await self.ready_tenant(players=players, available=available)
        await self.enforce(tenant_id)
        return tenant_id, made

    async def enforce(self, tenant_id: UUID, **fields: Any) -> ArbiterChange:
        """Enforce, with every soft gate waived unless the test says otherwise."""
        fields.setdefault("waived_gates", SOFT_GATES)
        return await self.rollout.enforce(tenant_id, reason=WHY, actor=ACTOR, **fields)

    async def roll_back(self, tenant_id: UUID, **fields: Any) -> ArbiterChange:
        """Roll back."""
        return await self.rollout.rollback(tenant_id, reason=WHY, actor=ACTOR, **fields)

    async def mode(self, tenant_id: UUID) -> tuple[str, int]:
        """(arbiter, epoch) as the door reads them."""
        cursor = await self.owner.execute("SELECT arbiter, epoch FROM tenant_modes WHERE tenant_id = %s", (tenant_id,))
        row = await cursor.fetchone()
        assert row is not None
        return row[0], row[1]

    async def flips(self, tenant_id: UUID) -> list[Flip]:
        """What is stored of the tenant's flips, in their order."""
        cursor = await self.owner.execute(
            "SELECT kind, arbiter, epoch, reason, is_fenced, waived_gates FROM arbiter_changes "
            "WHERE tenant_id = %s ORDER BY epoch",
            (tenant_id,),
        )
        return [Flip._make(row) for row in await cursor.fetchall()]

    async def actions(self, tenant_id: UUID | None) -> list[str]:
        """What the audit says was done in the tenant, in its order."""
        cursor = await self.owner.execute(
            "SELECT action FROM audit_events WHERE tenant_id IS NOT DISTINCT FROM %s ORDER BY id", (tenant_id,)
        )
        return [row[0] for row in await cursor.fetchall()]

    async def execute(self, statement: str, *values: object) -> None:
        """What somebody does with SQL of his own."""
        await self.owner.execute(statement.encode(), values)

    @asynccontextmanager
    async def open_money_transaction(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """A transaction that has the tenant's fence as every call of the door has it, and does not end."""
        async with await AsyncConnection.connect(self.database.owner_url) as conn:
            await conn.execute(
                "SELECT pg_advisory_xact_lock_shared(%s, number) FROM tenants WHERE id = %s",
                (FENCE_NAMESPACE, tenant_id),
            )
            yield conn
            await conn.rollback()


def desk_on(database: Database, pools: Pools, owner: Owner, *, inside_players_max: int | None = None) -> RolloutDesk:
    """A desk on a database."""
    gates = GateReader(app_version=VERSION, readers=STORED_EVIDENCE)
    rollout = (
        Rollout(pools, gates)
        if inside_players_max is None
        else Rollout(pools, gates, inside_players_max=inside_players_max)
    )
    return RolloutDesk(
        database=database,
        pools=pools,
        owner=owner,
        rollout=rollout,
        flags=Flags(pools, rollout),
        status=RolloutStatus(pools, gates),
    )
