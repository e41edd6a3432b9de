"""A tenant with a past, made through the application; and a hand that forges rows behind everybody's back."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import httpx
import psycopg

from backend.app.domain.ledger import Arbiter
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import ledger_repo, withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.tests import factories
from backend.tests.api_client import WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import Owner, Player

# What `add_history` leaves in a player's wallet.
VERSION_DEPOSIT: Final = 3
VERSION_OPEN_WITHDRAWAL: Final = 4
VERSION_REJECTED_WITHDRAWAL: Final = 5
VERSION_LAST: Final = 6
AVAILABLE: Final = 10_000 + 5_000 - 1_000
PENDING: Final = 2_000 + 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What tests of the census work with."""

    database: Database
    owner: Owner
    pools: Pools
    http: httpx.AsyncClient


async def add_history(world: World, tenant_id: UUID, *, currency: str = "USD") -> Player:
    """A player who was opened at 100.00 and 20.00 held, then paid in 50.00, asked for 10.00, and for 5.00 in vain.

    Also a refusal. Six transactions, versions as named above.
    """
    player = await factories.make_player(world.owner, tenant_id, available=10_000, held=2_000, currency=currency)
    client = WalletClient(http=world.http, player=player)
    assert (await client.deposit("50.00")).status_code == httpx.codes.CREATED
    assert (await client.withdraw("10.00")).status_code == httpx.codes.CREATED
    assert (await client.withdraw("9000.00")).status_code == httpx.codes.BAD_REQUEST
    await reject(world.owner, await request(world.pools, player, 500))
    assert await factories.sides(world.owner, player) == factories.both(AVAILABLE, PENDING)
    return player


async def make_tenant(
    world: World, *, arbiter: Arbiter = Arbiter.LEGACY, players: int = 3
) -> tuple[UUID, list[Player]]:
    """A tenant of such players under an arbiter; in an enforced one they were opened before it was."""
    tenant_id = await factories.make_tenant(world.owner)
    made = [await add_history(world, tenant_id) for _ in range(players)]
    if arbiter == Arbiter.LEDGER:
        await factories.set_enforce(world.owner, tenant_id, True)
        for player in made:
            client = WalletClient(http=world.http, player=player)
            assert (await client.withdraw("1.00")).status_code == httpx.codes.CREATED
    return tenant_id, made


async def request(pools: Pools, player: Player, amount: int) -> RequestWithdrawal:
    """A withdrawal that the player asked for and may have got."""
    command = factories.withdrawal(player, amount)
    async with pools.connection() as conn:
        await withdrawal_repo.request(conn, [command])
    return command


async def reject(owner: Owner, command: RequestWithdrawal) -> None:
    """Reject a withdrawal that is open, hold and row in one transaction as the product does it."""
    player = Player(tenant_id=command.tenant_id, id=command.player_id, currency=command.money.currency)
    async with owner.transaction():
        cursor = await owner.execute(
            "UPDATE withdrawals SET state = 'rejected' WHERE id = %s AND state = 'requested' RETURNING id",
            (command.withdrawal_id,),
        )
        if await cursor.fetchone() is not None:
            await ledger_repo.append_event(
                owner,
                factories.release(
                    player,
                    command.money.amount_minor,
                    key=f"reject-{command.withdrawal_id}",
                    reference=command.withdrawal_id,
                ),
            )


async def move_at_random(
    world: World, players: Sequence[Player], *, seed: int, moves: int, by_http: bool = True
) -> None:
    """So many deposits, withdrawals (some of them in vain) and rejections, over HTTP or straight through the door."""
    chance = random.Random(seed)
    asked: list[RequestWithdrawal] = []
    async with factories.connect_owner(world.database) as owner:
        for _ in range(moves):
            player = chance.choice(players)
            client = WalletClient(http=world.http, player=player)
            match chance.choice(("deposit", "withdraw", "request", "reject")):
                case "deposit" if by_http:
                    await client.deposit(f"{chance.randrange(1, 9_000) / 100:.2f}")
                case "deposit":
                    await factories.post_one(world.pools, factories.deposit(player, chance.randrange(1, 9_000)))
                case "withdraw" if by_http:
                    await client.withdraw(f"{chance.randrange(1, 20_000) / 100:.2f}")
                case "withdraw" | "request":
                    asked.append(await request(world.pools, player, chance.randrange(1, 20_000)))
                case _ if asked:
                    await reject(owner, asked.pop(chance.randrange(len(asked))))


def forge(database: Database, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """Write what nobody may write: as the database's superuser, with all triggers and foreign keys asleep."""
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        cursor = conn.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


async def forge_in_thread(database: Database, query: str, **values: Any) -> list[tuple[Any, ...]]:
    """The same, for tests that must not stop the loop."""
    return await asyncio.to_thread(forge, database, query, **values)
