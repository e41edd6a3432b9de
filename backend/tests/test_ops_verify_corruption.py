"""One wrong cell anywhere: the census finds it, or it is listed here with the reason why nothing could."""

import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from backend.app.domain.ledger import Arbiter
from backend.app.repositories.database import Database as Pools
from backend.app.services.backfill.census import Census
from backend.tests import ledger_history
from backend.tests.conftest import Database
from backend.tests.factories import Owner
from backend.tests.ledger_history import World, forge

SEEDS: Final = range(8)
CELLS_PER_SEED: Final = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column whose every change is found, or only in the rows that `where` names; `values` are what it is changed to.

    Without values a number is moved, an id replaced, a time removed and a text made longer.
    """

    table: str
    name: str
    where: str = "TRUE"
    values: tuple[Any, ...] = ()


LEDGER: Final = "ledger_transactions"
IS_LAST: Final = (
    "wallet_version = (SELECT max(m.wallet_version) FROM ledger_transactions m WHERE m.player_id = t.player_id)"
)
HAS_STORY: Final = "type IN ('deposit_captured', 'withdraw_requested')"
HAS_CLEARING: Final = "type = 'deposit_captured'"
TYPES: Final = (
    "opening_balance",
    "deposit_captured",
    "withdraw_requested",
    "withdraw_rejected",
    "withdraw_cancelled",
    "withdraw_dispatched",
    "manual_adjustment",
    "a_new_type",
)
ACCOUNTS: Final = ("player:held", "player:in_transit", "house:fees", "house:opening", "psp:other:clearing", "nowhere")
CURRENCIES: Final = ("EUR", "JPY", "KWD")

COVERED: Final = (
    *(Column(table=LEDGER, name=name) for name in ("tenant_id", "player_id", "wallet_version", "amount")),
    *(Column(table=LEDGER, name=name) for name in ("available_after", "pending_after")),
    # Elsewhere another system may have written the column between two deeds, which is what a migration looks like.
    *(
        Column(table=LEDGER, name=name, where=f"({IS_LAST} AND arbiter = 'legacy') OR arbiter = 'ledger'")
        for name in ("legacy_available_after", "legacy_held_after")
    ),
    Column(table=LEDGER, name="legacy_available_after", where="type = 'opening_balance'"),
    Column(table=LEDGER, name="reference", where=HAS_STORY),
    Column(table=LEDGER, name="epoch", values=(77,)),
    Column(table=LEDGER, name="currency", values=CURRENCIES),
    Column(table=LEDGER, name="type", values=TYPES),
    Column(table=LEDGER, name="debit_account", values=ACCOUNTS),
    Column(table=LEDGER, name="credit_account", values=ACCOUNTS),
    Column(table=LEDGER, name="idempotency_key", where=f"{HAS_STORY} OR type = 'opening_balance'"),
    Column(table=LEDGER, name="provider", where=HAS_CLEARING),
    *(
        Column(table="wallet_balances", name=name)
        for name in ("tenant_id", "player_id", "balance_real_available", "balance_real_pending", "version", "opened_at")
    ),
    Column(table="wallet_balances", name="currency", values=CURRENCIES),
    *(
        Column(table="players", name=name)
        for name in ("id", "tenant_id", "balance_real_available", "balance_real_held")
    ),
    Column(table="players", name="currency", values=CURRENCIES),
    *(Column(table="withdrawals", name=name) for name in ("tenant_id", "player_id", "amount")),
    Column(table="withdrawals", name="id", where="method <> 'legacy_hold'"),
    Column(table="withdrawals", name="idempotency_key", where="method <> 'legacy_hold'"),
    Column(table="withdrawals", name="currency", values=CURRENCIES),
    Column(table="withdrawals", name="state", where="state = 'requested'", values=("paid", "rejected", "cancelled")),
    Column(table="withdrawals", name="state", where="state = 'rejected'", values=("paid", "requested", "returned")),
    *(Column(table="deposits", name=name) for name in ("id", "tenant_id", "player_id", "amount", "idempotency_key")),
    Column(table="deposits", name="currency", values=CURRENCIES),
    Column(table="deposits", name="state", values=("pending_provider", "failed")),
)

_EVIDENCE: Final = "says who or when, and no balance follows from it"
_DECISION: Final = "a decision of a person: the row's checks forbid what nobody may do, the audit says who did"
_PROVIDERS: Final = "belongs to the provider's books: reconciliation compares it"
_PERSON: Final = "is about the person and not about money"
NOT_COVERED: Final = {
    LEDGER: {
        "id": "nothing of ours refers to it, and no key forbids another one",
        "journal_id": "how many transactions a journal had is not stored",
        "occurred_at": _EVIDENCE,
        "recorded_at": "clocks may step back, so order by time proves nothing",
        "arbiter": "where both sides are equal, so are its two readings",
        "request_hash": "what was hashed is not stored",
        "provider_ref": "belongs to the provider's books: reconciliation compares it",
        "provider_event_id": "belongs to the provider's books; the unique key keeps it from counting twice",
        "metadata": "free text of the caller",
    },
    "wallet_balances": {"updated_at": _EVIDENCE},
    "players": dict.fromkeys(
        (
            "external_id",
            "email",
            "username",
            "password_hash",
            "kyc_status",
            "is_active",
            "created_at",
            "updated_at",
        ),
        _PERSON,
    ),
    "withdrawals": {
        "method": "decides nothing once the money is held",
        "address": "where it goes is between the player and the provider",
        "request_hash": "what was hashed is not stored",
        "created_at": _EVIDENCE,
        "updated_at": _EVIDENCE,
        # Who decided what, and which try it was paid by: the row's own checks and the audit speak of the first, the
        # attempts and reconciliation of the second.
        "version": _DECISION,
        "approvals_needed": _DECISION,
        "first_approved_by": _DECISION,
        "first_approved_at": _DECISION,
        "second_approved_by": _DECISION,
        "second_approved_at": _DECISION,
        "reviewed_by": _DECISION,
        "reviewed_at": _DECISION,
        "review_reason": _DECISION,
        "provider": _PROVIDERS,
        "provider_ref": _PROVIDERS,
        "provider_event_id": _PROVIDERS,
        "failure_code": "words of the provider",
    },
    "deposits": {
        "method": "decides nothing once the money is there",
        "provider": _PROVIDERS,
        "provider_ref": _PROVIDERS,
        "provider_event_id": _PROVIDERS,
        "status_class": _PROVIDERS,
        "provider_sequence": _PROVIDERS,
        "next_check_at": "when it is asked about again",
        "checks": "how often it was asked about",
        "failure_code": "words of the provider",
        "request_hash": "what was hashed is not stored",
        "created_at": _EVIDENCE,
        "updated_at": _EVIDENCE,
    },
}


@pytest.mark.parametrize("table", sorted(NOT_COVERED))
async def test_every_column_is_covered_or_has_its_reason(owner: Owner, table: str) -> None:
    cursor = await owner.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s", (table,)
    )
    columns = {row[0] for row in await cursor.fetchall()}
    covered = {column.name for column in COVERED if column.table == table}
    assert not covered & NOT_COVERED[table].keys()
    assert columns == covered | NOT_COVERED[table].keys(), "a new column: is it money, and does the census look at it?"


@pytest.mark.parametrize("seed", SEEDS)
async def test_one_wrong_cell_is_found(
    database: Database, owner: Owner, pools: Pools, http: httpx.AsyncClient, seed: int
) -> None:
    world = World(database=database, owner=owner, pools=pools, http=http)
    chance = random.Random(seed)
    arbiter = chance.choice(list(Arbiter))
    tenant_id, players = await ledger_history.make_tenant(world, arbiter=arbiter, players=2)
    await ledger_history.move_at_random(world, players, seed=seed, moves=25)
    census = Census(pools)
    assert (await census.run(tenant_id, started_by="a test", is_fresh=True)).is_clean
    changed: list[str] = []
    for _ in range(CELLS_PER_SEED):
        column = chance.choice(COVERED)
        cell = _corrupt(database, column, tenant_id, chance)
        if cell is None:
            continue
        report = await census.run(tenant_id, started_by="a test", is_fresh=True)
        assert not report.is_clean, f"{column.table}.{column.name}: {cell} was not found"
        _restore(database, column, cell)
        changed.append(column.name)
    assert len(changed) > CELLS_PER_SEED // 2
    assert (await census.run(tenant_id, started_by="a test", is_fresh=True)).is_clean


@dataclass(frozen=True, slots=True)
class Cell:
    """What was changed: where the row is now, what stood there, what stands there."""

    ctid: str
    before: Any
    after: Any


def _corrupt(database: Database, column: Column, tenant_id: UUID, chance: random.Random) -> Cell | None:
    """Change one cell of the tenant; None when it has none that could be."""
    rows = forge(
        database,
        f"SELECT t.ctid::TEXT, t.{column.name} FROM {column.table} AS t WHERE t.tenant_id = %(tenant_id)s "
        f"AND ({column.where}) ORDER BY t.ctid",
        tenant_id=tenant_id,
    )
    if not rows:
        return None
    ctid, before = chance.choice(rows)
    options = [value for value in column.values if value != before]
    after = chance.choice(options) if options else _other(before, chance)
    try:
        return Cell(_write(database, column, ctid, after), before, after)
    except psycopg.IntegrityError:
        # A constraint of the table is in the way: not even a superuser writes this.
        return None


def _other(value: Any, chance: random.Random) -> Any:
    match value:
        case int():
            return value + chance.choice((1, 100, 2**40))
        case UUID():
            return uuid4()
        case datetime():
            return None
        case str():
            return f"{value}x"
    raise AssertionError(f"nothing to make of {value!r}")


def _write(database: Database, column: Column, ctid: str, value: Any) -> str:
    query = f"UPDATE {column.table} SET {column.name} = %(value)s WHERE ctid = %(ctid)s::TID RETURNING ctid::TEXT"
    return str(forge(database, query, value=value, ctid=ctid)[0][0])


def _restore(database: Database, column: Column, cell: Cell) -> None:
    _write(database, column, cell.ctid, cell.before)
