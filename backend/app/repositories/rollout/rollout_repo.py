"""Flips of the arbiter in PostgreSQL: fences, sums, changes (sql/rollout.sql, functions/rollout_*_v1.sql)."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.audit import Actor
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.rollout_state import ArbiterChange, AttestedCurrency, Sides, add_sides
from backend.app.repositories.database import Connection
from backend.app.repositories.rollout.rollout_documents import actor_document

SQL = sql.load("rollout")

# One wait for a fence, as rollout_fence_v1 makes it, and not another one.
ONE_WAIT_MS: Final = 1
PAGE: Final = 5_000
# No transaction of the service is open for longer: the server ends those that say nothing (repositories/database.py).
TOUCH_MARGIN: Final = timedelta(seconds=20)


class TenantMode(NamedTuple):
    """Who decides for a tenant, in the order of the query's columns. override: the tenant's own value."""

    slug: str
    arbiter: Arbiter
    epoch: int
    is_shadow_on: bool
    enforce_source: str
    override: bool | None


class TouchFloors(NamedTuple):
    """The smallest ids that count as new, in the order of the query's columns."""

    entry_floor: UUID
    player_floor: UUID


class Touched(NamedTuple):
    """Players whose wallets were written since a moment; is_cut: not all of them."""

    is_cut: bool
    player_ids: list[UUID]


class TenantBalance(NamedTuple):
    """What a tenant's players have in one currency, in minor units; currency None where no census has counted."""

    tenant_id: UUID
    slug: str
    number: int
    currency: str | None
    players: int | None
    balance: int | None
    arbiter: Arbiter


class MismatchedWallet(NamedTuple):
    """A wallet that was seen to differ, in the order of the query's columns; minor units."""

    player_id: UUID
    currency: str
    mismatch_class: str
    legacy_available: int
    legacy_held: int
    ledger_available: int
    ledger_pending: int
    occurrences: int
    last_seen_at: datetime


async def find_tenant_id(conn: Connection, *, name: str) -> UUID | None:
    """The tenant of an id or a slug."""
    row = await (await conn.execute(SQL.find_tenant_id, {"name": name})).fetchone()
    return None if row is None else UUID(str(row[0]))


async def find_mode(conn: Connection, tenant_id: UUID) -> TenantMode | None:
    """Who decides for a tenant now; None for an unknown one."""
    row = await (await conn.execute(SQL.find_mode, {"tenant_id": tenant_id})).fetchone()
    return None if row is None else TenantMode(row[0], Arbiter(row[1]), *row[2:])


async def is_enforced_by_default(conn: Connection) -> bool:
    """Whether a tenant with nothing of its own would be enforced."""
    row = await (await conn.execute(SQL.find_default_arbiter)).fetchone()
    return row is not None and bool(row[0])


async def keep_short(conn: Connection, *, timeout_ms: int) -> None:
    """Let no statement and no silence of this transaction last longer."""
    await conn.execute(SQL.keep_short, {"timeout_ms": timeout_ms})


async def lock_control(conn: Connection, *, is_alone: bool) -> None:
    """Take the control lock for this transaction: shared to change one tenant, alone to change many."""
    await conn.execute(SQL.lock_control, {"is_alone": is_alone})


async def enter_fence(conn: Connection, tenant_id: UUID, *, timeout_ms: int) -> bool:
    """Take the control lock, shared, and wait once for the tenant's fence; whether it came. From here on no statement
    and no silence of this transaction lasts longer than the timeout. Raises psycopg.errors.LockNotAvailable without the
    control lock.
    """
    row = await (
        await conn.execute(
            SQL.enter_fence, {"tenant_id": tenant_id, "timeout_ms": timeout_ms, "budget_ms": ONE_WAIT_MS}
        )
    ).fetchone()
    assert row is not None, "one row without a table"
    return bool(row[-1])


async def take_fences(conn: Connection, tenant_ids: Collection[UUID], *, budget_ms: int = ONE_WAIT_MS) -> set[UUID]:
    """Take fences for this transaction, in the order of the tenants' numbers; those that came within the budget."""
    row = await (
        await conn.execute(SQL.take_fences, {"tenant_ids": list(tenant_ids), "budget_ms": budget_ms})
    ).fetchone()
    assert row is not None, "a function returns its row"
    return set(row[0])


async def list_enforced_ids(conn: Connection) -> list[UUID]:
    """Whose arbiter is the ledger, as this transaction sees it."""
    row = await (await conn.execute(SQL.find_enforced)).fetchone()
    assert row is not None, "a function returns its row"
    return list(row[0])


async def list_fence_holders(conn: Connection, tenant_id: UUID) -> list[str]:
    """Sessions that keep the tenant's fence, in words, the oldest first."""
    cursor = await conn.execute(SQL.list_fence_holders, {"tenant_id": tenant_id})
    return [
        f"{pid}" + (f" ({name})" if name else "") + (f" since {since:%H:%M:%S}Z" if since else "")
        for pid, name, since in await cursor.fetchall()
    ]


async def attest(conn: Connection, tenant_id: UUID, *, player_ids: Sequence[UUID]) -> Sides:
    """Count and sums of the sides of these players, as of one moment, and the first that do not fit."""
    cursor = await conn.execute(SQL.attest_players, {"tenant_id": tenant_id, "player_ids": list(player_ids)})
    return _sides(await cursor.fetchall())


async def attest_whole(conn: Connection, tenant_id: UUID, *, players_max: int | None = None) -> Sides | None:
    """The same for every player; None for more than players_max. As of one moment inside a snapshot."""
    sides = Sides(currencies=())
    after_id: UUID | None = None
    while True:
        limit = PAGE if players_max is None else min(PAGE, players_max - sides.players + 1)
        cursor = await conn.execute(SQL.attest_tenant, {"tenant_id": tenant_id, "after_id": after_id, "limit": limit})
        rows = await cursor.fetchall()
        page = _sides(rows)
        sides = add_sides(sides, page)
        if players_max is not None and sides.players > players_max:
            return None
        if page.players < limit:
            return sides
        after_id = rows[0][12]


async def find_touch_floors(conn: Connection, tenant_id: UUID) -> TouchFloors:
    """The smallest ids of rows that a snapshot taken from now on may not see."""
    row = await (await conn.execute(SQL.find_touch_floors, {"tenant_id": tenant_id, "margin": TOUCH_MARGIN})).fetchone()
    assert row is not None, "an aggregate returns its row"
    return TouchFloors._make(row)


async def find_touched(conn: Connection, tenant_id: UUID, *, floors: TouchFloors, limit: int) -> Touched:
    """Players whose wallets were written since the floors."""
    row = await (
        await conn.execute(SQL.find_touched, {"tenant_id": tenant_id, **floors._asdict(), "limit": limit})
    ).fetchone()
    assert row is not None, "one row without a table"
    return Touched._make(row)


async def enforce(
    conn: Connection,
    tenant_id: UUID,
    *,
    kind: str,
    override: bool | None,
    expires_at: datetime | None,
    reason: str,
    actor: Actor,
    facts: Jsonb,
    attestation: Sequence[dict[str, Any]],
) -> ArbiterChange | None:
    """Make the ledger the arbiter, under the fence that this transaction holds; None when it was before.

    Raises psycopg.errors.ObjectNotInPrerequisiteState when that cannot be.
    """
    cursor = await conn.execute(
        SQL.enforce,
        {
            "tenant_id": tenant_id,
            "kind": kind,
            "override": override,
            "expires_at": expires_at,
            "reason": reason,
            "actor": actor_document(actor),
            "facts": facts,
            "attestation": Jsonb(list(attestation)),
        },
    )
    row = await cursor.fetchone()
    return None if row is None else _change(row)


async def roll_back(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    kind: str = "flip",
    override: bool | None = False,
    reason: str,
    actor: Actor,
    facts: Jsonb,
) -> list[ArbiterChange]:
    """Make the legacy column the arbiter, of one tenant or of all; those whose arbiter it was not before."""
    cursor = await conn.execute(
        SQL.roll_back,
        {
            "tenant_id": tenant_id,
            "kind": kind,
            "override": override,
            "reason": reason,
            "actor": actor_document(actor),
            "facts": facts,
        },
    )
    return [_change(row) for row in await cursor.fetchall()]


async def settle(
    conn: Connection, before: Sequence[UUID], *, reason: str, actor: Actor, facts: Jsonb, budget_ms: int
) -> list[ArbiterChange]:
    """Note every tenant whose arbiter is another one than when `before` was asked, in this transaction."""
    cursor = await conn.execute(
        SQL.settle,
        {
            "before": list(before),
            "reason": reason,
            "actor": actor_document(actor),
            "facts": facts,
            "budget_ms": budget_ms,
        },
    )
    return [_change(row) for row in await cursor.fetchall()]


async def list_changes(conn: Connection, tenant_id: UUID, *, limit: int) -> list[ArbiterChange]:
    """The flips of a tenant, newest first, rehearsals left out."""
    cursor = await conn.execute(SQL.list_changes, {"tenant_id": tenant_id, "limit": limit})
    return [_change(row) for row in await cursor.fetchall()]


async def list_mismatch_players(
    conn: Connection, tenant_id: UUID, *, since: datetime, limit: int
) -> list[MismatchedWallet]:
    """Wallets that were seen to differ since a time, the latest first."""
    cursor = await conn.execute(SQL.list_mismatch_players, {"tenant_id": tenant_id, "since": since, "limit": limit})
    return [MismatchedWallet._make(row) for row in await cursor.fetchall()]


async def list_tenant_ids(
    conn: Connection, tenant_id: UUID | None, *, after_number: int = 0, limit: int, offset: int = 0
) -> list[tuple[UUID, int]]:
    """Ids and numbers of tenants, by number."""
    cursor = await conn.execute(
        SQL.list_tenant_ids,
        {"tenant_id": tenant_id, "after_number": after_number, "limit": limit, "offset": offset},
        prepare=False,
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def count_tenants(conn: Connection, tenant_id: UUID | None) -> int:
    """How many tenants list_tenant_ids could show."""
    row = await (await conn.execute(SQL.count_tenants, {"tenant_id": tenant_id}, prepare=False)).fetchone()
    assert row is not None, "a count returns a row"
    return int(row[0])


async def list_enforced_by(conn: Connection, *, source: str, limit: int) -> list[UUID]:
    """Tenants that a level enforces."""
    cursor = await conn.execute(SQL.list_enforced_by, {"source": source, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def list_balances(conn: Connection, *, after_number: int, limit: int) -> list[TenantBalance]:
    """What tenants' players have by currency, as the last censuses counted, by the tenants' numbers."""
    cursor = await conn.execute(SQL.list_balances, {"after_number": after_number, "limit": limit})
    return [
        TenantBalance(
            tenant_id, slug, number, currency, players, None if balance is None else int(balance), Arbiter(arbiter)
        )
        for tenant_id, slug, number, currency, players, balance, arbiter in await cursor.fetchall()
    ]


def _sides(rows: Sequence[Sequence[Any]]) -> Sides:
    return Sides(
        currencies=tuple(AttestedCurrency(row[0], *map(int, row[1:10])) for row in rows),
        unopened_ids=tuple(id_ for row in rows for id_ in row[10]),
        differing_ids=tuple(id_ for row in rows for id_ in row[11]),
    )


def _change(row: Sequence[Any]) -> ArbiterChange:
    id_, tenant_id, arbiter_before, arbiter, epoch, reason, attestation, is_fenced, fence_waited_ms, changed_at = row
    return ArbiterChange(
        tenant_id=tenant_id,
        arbiter=Arbiter(arbiter),
        epoch=epoch,
        is_changed=True,
        id=id_,
        arbiter_before=Arbiter(arbiter_before),
        reason=reason,
        attestation=attestation,
        is_fenced=is_fenced,
        fence_waited_ms=fence_waited_ms,
        changed_at=changed_at,
    )
