"""Tenants, players and events for tests, and the judge of what a ledger must look like.

Everything works as the owner and with SQL of its own: nothing here is shared with the code that writes, so that a
mistake of the writer cannot hide in the judge. Amounts are minor units.
"""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from backend.app.domain.deposit import OpenDeposit
from backend.app.domain.ledger import LedgerEvent, PostResult, TransactionType
from backend.app.domain.money import Money
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import ledger_repo
from backend.app.repositories.database import Database as Pools
from backend.app.repositories.embedded.postgres import SERVICE_ROLE
from backend.app.repositories.engine import Engine
from backend.config import Settings

if TYPE_CHECKING:  # conftest.py makes its fixtures with this module
    from backend.tests.conftest import Database

Owner = AsyncConnection[TupleRow]

PROVIDER: Final = "mockpsp"
DEADLINE_SECONDS: Final = 20.0
# The door's own number for the fence of a tenant (functions/ledger_post_v1.sql).
FENCE_NAMESPACE: Final = 4711001

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """A player of a test; the key of its wallet."""

    tenant_id: UUID
    id: UUID
    currency: str = "USD"


class Sides(NamedTuple):
    """Both sides of one wallet. available and pending are None when there is no wallet row."""

    legacy_available: int
    legacy_held: int
    available: int | None
    pending: int | None


def both(available: int, held: int = 0) -> Sides:
    """Both sides saying the same."""
    return Sides(available, held, available, held)


def unopened(available: int, held: int = 0) -> Sides:
    """A legacy balance without a wallet."""
    return Sides(available, held, None, None)


# ---------------------------------------------------------------------------------------------------------------------
# The product's own parts on a database of the run
# ---------------------------------------------------------------------------------------------------------------------


def settings_of(database: "Database", **values: Any) -> Settings:
    """Settings with these values and the defaults; nothing of the environment of the test run."""
    return Settings.model_construct(
        database_url=SecretStr(database.service_url), database_owner_url=SecretStr(database.owner_url), **values
    )


def engine_of(database: "Database") -> Engine:
    """The engine that `resolve` makes of both URLs."""
    return Engine(
        owner_url=database.owner_url,
        service_url=database.service_url,
        set_role=None,
        service_login=SERVICE_ROLE,
        embedded=None,
    )


@asynccontextmanager
async def open_pools(database: "Database", **values: Any) -> AsyncIterator[Pools]:
    """The service's connection pools on a database."""
    pools = Pools(engine_of(database), settings_of(database, **values))
    await pools.open()
    try:
        yield pools
    finally:
        await pools.close()


@asynccontextmanager
async def connect_owner(database: "Database") -> AsyncIterator[Owner]:
    """A connection of the owner in autocommit: set-up, outside SQL and judgement."""
    async with await AsyncConnection.connect(database.owner_url, autocommit=True) as conn:
        yield conn


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


async def make_tenant(owner: Owner, *, enforce_override: bool | None = None) -> UUID:
    """A tenant of its own for one test."""
    # As the product makes them, in the order of time: a list of the newest must not lose it in a full database.
    tenant_id = uuid7()
    await owner.execute(
        "INSERT INTO tenants (id, slug, name, base_currency, flags) VALUES (%s, %s, %s, 'USD', %s)",
        (tenant_id, f"t-{tenant_id.hex}", "A tenant", Jsonb({"ledger_enforce_override": enforce_override})),
    )
    return tenant_id


async def make_player(
    owner: Owner,
    tenant_id: UUID,
    *,
    available: int = 0,
    held: int = 0,
    currency: str = "USD",
    kyc_status: str = "verified",
    is_active: bool = True,
) -> Player:
    """A player with these legacy balances and no wallet yet."""
    player = Player(tenant_id=tenant_id, id=uuid4(), currency=currency)
    await owner.execute(
        "INSERT INTO players (id, tenant_id, email, username, currency, kyc_status, is_active, "
        "balance_real_available, balance_real_held) VALUES (%s, %s, %s, 'someone', %s, %s, %s, %s, %s)",
        (player.id, tenant_id, f"{player.id.hex}@example.com", currency, kyc_status, is_active, available, held),
    )
    return player


async def make_players(owner: Owner, tenant_id: UUID, count: int, *, available: int = 0) -> list[Player]:
    """Several players with the same legacy balance."""
    return [await make_player(owner, tenant_id, available=available) for _ in range(count)]


async def set_enforce(owner: Owner, tenant_id: UUID, value: bool | None) -> None:
    """Flip the tenant's arbiter as the contract of the fence asks: alone, with a new epoch."""
    async with owner.transaction():
        await owner.execute(
            "SELECT pg_advisory_xact_lock(%s, number) FROM tenants WHERE id = %s", (FENCE_NAMESPACE, tenant_id)
        )
        await owner.execute(
            "UPDATE tenants SET flags = flags || %s, epoch = epoch + 1 WHERE id = %s",
            (Jsonb({"ledger_enforce_override": value}), tenant_id),
        )


async def set_global(owner: Owner, flag: str, value: bool | None) -> None:
    """Set a flag for every tenant of the database; None removes the setting. Only in a database of the test's own."""
    await owner.execute("DELETE FROM flag_settings WHERE flag = %s AND scope = 'global'", (flag,))
    if value is not None:
        await owner.execute(
            "INSERT INTO flag_settings (flag, scope, value, set_by) VALUES (%s, 'global', %s, 'a test')", (flag, value)
        )


async def set_legacy(owner: Owner, player: Player, *, available: int, held: int | None = None) -> None:
    """What another system does: write the legacy columns behind the ledger's back."""
    await owner.execute(
        "UPDATE players SET balance_real_available = %s, balance_real_held = coalesce(%s, balance_real_held) "
        "WHERE id = %s",
        (available, held, player.id),
    )


async def sides(owner: Owner, player: Player) -> Sides:
    """Both sides as they stand."""
    cursor = await owner.execute(
        "SELECT p.balance_real_available, p.balance_real_held, w.balance_real_available, w.balance_real_pending "
        "FROM players p LEFT JOIN wallet_balances w ON w.player_id = p.id AND w.tenant_id = p.tenant_id "
        "WHERE p.id = %s AND p.tenant_id = %s",
        (player.id, player.tenant_id),
    )
    row = await cursor.fetchone()
    assert row is not None, f"no such player: {player}"
    return Sides(*row)


async def ledger_types(owner: Owner, player: Player) -> list[str]:
    """The types of the player's ledger transactions, in order."""
    cursor = await owner.execute(
        "SELECT type FROM ledger_transactions WHERE player_id = %s ORDER BY wallet_version", (player.id,)
    )
    return [str(row[0]) for row in await cursor.fetchall()]


async def count(owner: Owner, table: str, player: Player) -> int:
    """How many rows of a table are the player's."""
    row = await (await owner.execute(f"SELECT count(*) FROM {table} WHERE player_id = %s", (player.id,))).fetchone()
    assert row is not None
    return int(row[0])


# ---------------------------------------------------------------------------------------------------------------------
# Events and commands
# ---------------------------------------------------------------------------------------------------------------------


def new_key() -> str:
    """A key that no other test uses."""
    return f"key-{next(_numbers)}-{uuid4().hex[:8]}"


def event(player: Player, type_: TransactionType, amount: int, *, key: str | None = None, **fields: Any) -> LedgerEvent:
    """An event whose request is told apart by type, amount and currency."""
    currency = fields.pop("currency", player.currency)
    return LedgerEvent(
        tenant_id=player.tenant_id,
        player_id=player.id,
        type=type_,
        money=Money(amount_minor=amount, currency=currency),
        idempotency_key=key or new_key(),
        request_hash=hashlib.sha256(f"{type_} {amount} {currency}".encode()).digest(),
        **fields,
    )


def deposit(player: Player, amount: int, *, key: str | None = None, **fields: Any) -> LedgerEvent:
    """A deposit that MockPSP confirmed."""
    fields.setdefault("provider", PROVIDER)
    return event(player, TransactionType.DEPOSIT_CAPTURED, amount, key=key, **fields)


def hold(player: Player, amount: int, *, key: str | None = None, **fields: Any) -> LedgerEvent:
    """The hold of a withdrawal, without the withdrawal's row."""
    return event(player, TransactionType.WITHDRAW_REQUESTED, amount, key=key, **fields)


def release(player: Player, amount: int, *, key: str | None = None, **fields: Any) -> LedgerEvent:
    """The release of a hold."""
    return event(player, TransactionType.WITHDRAW_REJECTED, amount, key=key, **fields)


def withdrawal(player: Player, amount: int, *, key: str | None = None) -> RequestWithdrawal:
    """A player's request: hold and row."""
    return RequestWithdrawal(
        withdrawal_id=uuid4(),
        tenant_id=player.tenant_id,
        player_id=player.id,
        money=Money(amount_minor=amount, currency=player.currency),
        method="test_bank",
        address="TR00 0000",
        idempotency_key=key or new_key(),
    )


def deposit_command(player: Player, amount: int, *, key: str | None = None) -> OpenDeposit:
    """A verified player's deposit, as the route makes it."""
    return OpenDeposit(
        deposit_id=uuid4(),
        tenant_id=player.tenant_id,
        player_id=player.id,
        money=Money(amount_minor=amount, currency=player.currency),
        method="test",
        provider=PROVIDER,
        idempotency_key=key or new_key(),
        unverified_cap_minor=0,
    )


async def post(pools: Pools, *events: LedgerEvent) -> list[PostResult]:
    """Post events in one call on a connection of the service's."""
    async with pools.connection() as conn:
        return await ledger_repo.post(conn, events)


async def reject(owner: Owner, pools: Pools, command: RequestWithdrawal) -> PostResult:
    """Reject a requested withdrawal: the hold is released and the row is moved."""
    player = Player(tenant_id=command.tenant_id, id=command.player_id, currency=command.money.currency)
    result = await post_one(
        pools,
        release(
            player, command.money.amount_minor, key=f"reject-{command.withdrawal_id}", reference=command.withdrawal_id
        ),
    )
    await owner.execute("UPDATE withdrawals SET state = 'rejected' WHERE id = %s", (command.withdrawal_id,))
    return result


async def post_one(pools: Pools, one: LedgerEvent) -> PostResult:
    """Post one event on a connection of the service's."""
    async with pools.connection() as conn:
        return await ledger_repo.append_event(conn, one)


# ---------------------------------------------------------------------------------------------------------------------
# Waiting
# ---------------------------------------------------------------------------------------------------------------------


async def eventually(condition: Callable[[], Awaitable[bool]], *, what: str) -> None:
    """Return when the condition holds; fail when it does not before the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await condition():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what}") from None


async def until_blocked(owner: Owner, conn: AsyncConnection[Any]) -> None:
    """Return when the connection waits for a lock that somebody else holds."""
    backend_pid = conn.info.backend_pid

    async def is_blocked() -> bool:
        row = await (await owner.execute("SELECT pg_blocking_pids(%s) <> '{}'", (backend_pid,))).fetchone()
        return row is not None and bool(row[0])

    await eventually(is_blocked, what=f"backend {backend_pid} waits for a lock")


async def until_somebody_waits_for(owner: Owner, holder: AsyncConnection[Any]) -> None:
    """Return when any session waits for a lock that `holder` has."""
    backend_pid = holder.info.backend_pid

    async def is_waited_for() -> bool:
        cursor = await owner.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid)))", (backend_pid,)
        )
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    await eventually(is_waited_for, what=f"somebody waits for backend {backend_pid}")


@asynccontextmanager
async def row_held(database: "Database", player: Player) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
    """Another session holds the player's row lock for the length of the block; what it did is then committed."""
    async with await AsyncConnection.connect(database.owner_url) as holder:
        await holder.execute("SELECT 1 FROM players WHERE id = %s FOR UPDATE", (player.id,))
        yield holder
