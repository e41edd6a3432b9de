"""Runs of reconciliation, how far they have come, and the lines they read: sql/reconciliation.sql."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.reconciliation.reconciliation import Reach, Run, RunStatus, StartRun
from backend.app.domain.reconciliation.statement import StatementLine
from backend.app.repositories.database import Connection

SQL = sql.load("reconciliation")

# Beside the ledger's (functions/ledger_post_v1.sql) and those of the other repositories.
LOCK_NAMESPACE: Final = 4711009
PAGE: Final = 500
FIRST_ID: Final = UUID(int=0)


class Part(NamedTuple):
    """One run of an order to run all tenants."""

    id: UUID
    tenant_id: UUID
    status: RunStatus
    counts: dict[str, Any]


class DueTenant(NamedTuple):
    """A tenant that has not been compared for too long; and whether from the beginning."""

    tenant_id: UUID
    is_full_due: bool


class LastSuccess(NamedTuple):
    """When a tenant and provider were last compared completely."""

    tenant_id: UUID
    provider: str
    finished_at: datetime | None


class Balance(NamedTuple):
    """What both sides moved on a day, net, in minor units."""

    account_id: str
    currency: str
    day: date
    psp_items: int
    psp_net: Decimal
    ledger_transactions: int
    ledger_net: Decimal
    explained_net: Decimal


class Payment(NamedTuple):
    """The deposit, or the newest attempt at a payout, that a finding is about. Minor units."""

    kind: str
    player_id: UUID
    attempt: int
    amount: int
    currency: str
    is_open: bool


async def insert_run(conn: Connection, tenant_id: UUID | None, command: StartRun, *, now: datetime) -> UUID | None:
    """Ask for a run; its id, or None when one of the tenant and provider is not finished."""
    cursor = await conn.execute(
        SQL.insert_run,
        {
            "parent_id": command.parent_id,
            "tenant_id": tenant_id,
            "provider": command.provider,
            "is_window_asked": command.window_start is not None or command.window_end is not None,
            "is_full": command.is_full,
            "is_dry_run": command.is_dry_run,
            "is_scheduled": command.is_scheduled,
            "file": None if command.file is None else Jsonb(dict(command.file)),
            "started_by": command.started_by,
            "started_by_id": command.started_by_id,
            "window_start": command.window_start,
            "window_end": command.window_end,
            "now": now,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))


async def find_open_run(conn: Connection, tenant_id: UUID | None, *, provider: str) -> UUID | None:
    """The run of a tenant (None: of all) and provider that is not finished."""
    cursor = await conn.execute(SQL.find_open_run, {"tenant_id": tenant_id, "provider": provider})
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))


async def find_run(conn: Connection, tenant_id: UUID | None, *, run_id: UUID) -> Run | None:
    """A run of a tenant, or of any when it is None."""
    cursor = await conn.execute(SQL.find_run, {"tenant_id": tenant_id, "run_id": run_id})
    row = await cursor.fetchone()
    return None if row is None else Run._make(row)


async def list_page(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    asked_tenant_id: UUID | None,
    provider: str | None,
    status: str | None,
    before_id: UUID | None,
    limit: int,
    offset: int,
) -> tuple[list[Run], int]:
    """A page of a tenant's runs, or of all when it is None, newest first; and how many match."""
    filters = {"tenant_id": tenant_id, "asked_tenant_id": asked_tenant_id, "provider": provider, "status": status}
    cursor = await conn.execute(SQL.list_runs, {**filters, "before_id": before_id, "limit": limit, "offset": offset})
    runs = [Run._make(row) for row in await cursor.fetchall()]
    total = await (await conn.execute(SQL.count_runs, filters)).fetchone()
    assert total is not None, "a count is a row"
    return runs, int(total[0])


async def list_newest(conn: Connection, tenant_id: UUID | None, *, before_id: UUID | None, limit: int) -> list[Run]:
    """The newest runs of a tenant, or of all when it is None, from before one."""
    anything = {"asked_tenant_id": None, "provider": None, "status": None, "offset": 0}
    # Planned anew (prepare=False): with a tenant and without one are two different questions.
    cursor = await conn.execute(
        SQL.list_runs, {**anything, "tenant_id": tenant_id, "before_id": before_id, "limit": limit}, prepare=False
    )
    return [Run._make(row) for row in await cursor.fetchall()]


async def list_parts(conn: Connection, run_id: UUID) -> list[Part]:
    """The runs of an order to run all tenants."""
    parts: list[Part] = []
    while True:
        after_id = parts[-1].tenant_id if parts else FIRST_ID
        cursor = await conn.execute(SQL.list_parts, {"run_id": run_id, "after_id": after_id, "limit": PAGE})
        page = [Part._make(row) for row in await cursor.fetchall()]
        parts += page
        if len(page) < PAGE:
            return parts


async def try_lock(conn: Connection, run: Run) -> bool:
    """Make the run this connection's until `unlock` or its end; False when another one works on it."""
    cursor = await conn.execute(SQL.try_lock_run, {"namespace": LOCK_NAMESPACE, "number": run.number})
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def unlock(conn: Connection, run: Run) -> None:
    """Give the run back."""
    await conn.execute(SQL.unlock_run, {"namespace": LOCK_NAMESPACE, "number": run.number})


async def begin_run(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    run_id: UUID,
    window_start: datetime | None,
    window_end: datetime | None,
    now: datetime,
) -> None:
    """Say that this process works on the run, on this window."""
    await conn.execute(
        SQL.begin_run,
        {
            "tenant_id": tenant_id,
            "run_id": run_id,
            "window_start": window_start,
            "window_end": window_end,
            "now": now,
        },
    )


async def save_feed(conn: Connection, tenant_id: UUID, *, run_id: UUID, feed: dict[str, Any]) -> None:
    """Keep how far the feed was read; in the transaction of its lines."""
    await conn.execute(SQL.save_feed, {"tenant_id": tenant_id, "run_id": run_id, "feed": Jsonb(feed)})


async def finish_run(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    run_id: UUID,
    status: RunStatus,
    cutoff: datetime | None = None,
    is_feed_complete: bool | None = None,
    counts: dict[str, Any] | None = None,
    control_totals: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Write the outcome; what was staged for the run is gone with it."""
    await conn.execute(
        SQL.finish_run,
        {
            "tenant_id": tenant_id,
            "run_id": run_id,
            "status": status.value,
            "cutoff": cutoff,
            "is_feed_complete": is_feed_complete,
            "counts": Jsonb(counts or {}),
            "control_totals": Jsonb(control_totals or {}),
            "error": error,
        },
    )
    await conn.execute(SQL.delete_lines, {"run_id": run_id})


async def delete_lines(conn: Connection, run_id: UUID) -> None:
    """Forget what was staged for a run."""
    await conn.execute(SQL.delete_lines, {"run_id": run_id})


async def copy_lines(conn: Connection, run_id: UUID, *, account_id: str, lines: Sequence[StatementLine]) -> None:
    """Stage lines of an account's statement, in the caller's transaction."""
    async with conn.cursor() as cursor, cursor.copy(SQL.copy_lines) as copy:
        for line in lines:
            await copy.write_row(
                (
                    run_id,
                    account_id,
                    line.provider_event_id,
                    line.provider_ref,
                    line.reference,
                    line.kind.value,
                    line.status,
                    line.status_class.value,
                    line.money.amount_minor,
                    line.money.currency,
                    line.occurred_at,
                )
            )


async def find_reach(conn: Connection, tenant_id: UUID, *, provider: str, missing_since: datetime) -> Reach | None:
    """How far the tenant and provider were compared; and since when, at most, something of ours is missing there."""
    cursor = await conn.execute(
        SQL.find_reach, {"tenant_id": tenant_id, "provider": provider, "missing_since": missing_since}
    )
    row = await cursor.fetchone()
    return None if row is None else Reach._make(row)


async def save_reach(conn: Connection, tenant_id: UUID, *, provider: str, reach: Reach) -> None:
    """Keep how far they were compared."""
    await conn.execute(
        SQL.save_reach,
        {
            "tenant_id": tenant_id,
            "provider": provider,
            "covered_from": reach.covered_from,
            "covered_until": reach.covered_until,
            "ledger_until": reach.ledger_until,
            "balanced_until": reach.balanced_until,
        },
    )


async def list_accounts(conn: Connection, tenant_id: UUID, *, provider: str) -> list[str]:
    """A tenant's accounts at a provider."""
    accounts: list[str] = []
    while True:
        cursor = await conn.execute(
            SQL.list_accounts,
            {
                "tenant_id": tenant_id,
                "provider": provider,
                "after_id": accounts[-1] if accounts else "",
                "limit": PAGE,
            },
        )
        page = [str(row[0]) for row in await cursor.fetchall()]
        accounts += page
        if len(page) < PAGE:
            return accounts


async def tenant_exists(conn: Connection, tenant_id: UUID) -> bool:
    """Whether there is such a tenant."""
    return await (await conn.execute(SQL.tenant_exists, {"tenant_id": tenant_id})).fetchone() is not None


async def list_tenants(conn: Connection, provider: str) -> list[UUID]:
    """Tenants with an account at the provider."""
    tenants: list[UUID] = []
    while True:
        after_id = tenants[-1] if tenants else FIRST_ID
        cursor = await conn.execute(SQL.list_tenants, {"provider": provider, "after_id": after_id, "limit": PAGE})
        page = [row[0] for row in await cursor.fetchall()]
        tenants += page
        if len(page) < PAGE:
            return tenants


async def list_due(
    conn: Connection, provider: str, *, due_before: datetime, full_before: datetime, limit: int
) -> list[DueTenant]:
    """Tenants whose last run of the provider began too long ago, the longest waiting first."""
    cursor = await conn.execute(
        SQL.list_due,
        {"provider": provider, "due_before": due_before, "full_before": full_before, "limit": limit},
    )
    return [DueTenant._make(row) for row in await cursor.fetchall()]


async def list_idle(conn: Connection, *, before: datetime, limit: int) -> list[UUID]:
    """Runs that are not finished and on which nobody has written since."""
    cursor = await conn.execute(SQL.list_idle, {"before": before, "limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def list_last_successes(conn: Connection) -> list[LastSuccess]:
    """When each tenant and provider were last compared completely."""
    found: list[LastSuccess] = []
    while True:
        after = found[-1] if found else LastSuccess(FIRST_ID, "", None)
        cursor = await conn.execute(
            SQL.list_last_successes,
            {"after_id": after.tenant_id, "after_provider": after.provider, "limit": PAGE},
        )
        page = [LastSuccess._make(row) for row in await cursor.fetchall()]
        found += page
        if len(page) < PAGE:
            return found


async def list_balances(conn: Connection, tenant_id: UUID, *, provider: str, limit: int, offset: int) -> list[Balance]:
    """What both sides moved day by day, the newest first."""
    cursor = await conn.execute(
        SQL.list_balances, {"tenant_id": tenant_id, "provider": provider, "limit": limit, "offset": offset}
    )
    return [Balance._make(row) for row in await cursor.fetchall()]


async def find_payment(conn: Connection, tenant_id: UUID, *, tx_id: UUID) -> Payment | None:
    """The deposit or the newest attempt that is behind a finding."""
    row = await (await conn.execute(SQL.find_payment, {"tenant_id": tenant_id, "tx_id": tx_id})).fetchone()
    return None if row is None else Payment._make(row)
