"""What the gates are judged by, in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app import sql
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.gates import CensusFacts, EvidenceSummary, TenantFacts
from backend.app.repositories import presence
from backend.app.repositories.backfill import backfill_repo
from backend.app.repositories.database import Connection

SQL = sql.load("gate")

# Without these one key or one provider event could move money twice.
KEYS: Final = (
    "ledger_refusals_pkey",
    "ledger_transactions_idempotency_key",
    "ledger_transactions_pkey",
    "ledger_transactions_provider_event_key",
    "wallet_balances_pkey",
    "withdrawals_idempotency_key",
)
INSTANCES_MAX: Final = 1_000


class Platform(NamedTuple):
    """The schema's revision, the unique keys that are missing or not valid, and (number, release) of who runs now."""

    revision: str | None
    missing_keys: tuple[str, ...]
    instances: tuple[tuple[int, str], ...]


async def find_platform(conn: Connection) -> Platform:
    """What is the same for every tenant."""
    cursor = await conn.execute(
        SQL.find_platform_facts,
        {"keys": list(KEYS), "lock_namespace": presence.LOCK_NAMESPACE, "limit": INSTANCES_MAX},
    )
    row = await cursor.fetchone()
    assert row is not None, "one row without a table"
    return Platform(row[0], tuple(row[1]), tuple((number, version) for number, version in row[2]))


async def list_tenant_facts(
    conn: Connection, tenant_ids: Sequence[UUID], *, mismatches_since: datetime
) -> list[TenantFacts]:
    """What is known of these tenants without counting wallets: coverage is as their last censuses counted it."""
    cursor = await conn.execute(
        SQL.list_tenant_facts,
        {
            "tenant_ids": list(tenant_ids),
            "backfill_namespace": backfill_repo.LOCK_NAMESPACE,
            "mismatches_since": mismatches_since,
            "limit": len(tenant_ids),
        },
    )
    facts = []
    for row in await cursor.fetchall():
        tenant_id, slug, name, number, arbiter, epoch, is_shadow_on, enforce_source = row[:8]
        run_id, is_clean, started_at, finished_at, players, opened, found, first_class, first_player_id = row[8:17]
        is_backfill_running, findings, first_finding, changed_at, rehearsed_at, mismatches = row[17:]
        census = None
        if run_id is not None:
            census = CensusFacts(
                run_id=run_id,
                is_clean=is_clean,
                started_at=started_at,
                finished_at=finished_at,
                players=players,
                opened=opened,
                found=found,
                first_class=first_class,
                first_player_id=first_player_id,
            )
        facts.append(
            TenantFacts(
                tenant_id=tenant_id,
                slug=slug,
                name=name,
                number=number,
                arbiter=Arbiter(arbiter),
                epoch=epoch,
                is_shadow_on=is_shadow_on,
                enforce_source=enforce_source,
                players=None if census is None else census.players,
                unopened=None if census is None else max(census.players - census.opened, 0),
                unopened_ids=(),
                differing=0,
                differing_ids=(),
                counted_at=None if census is None else census.started_at,
                census=census,
                is_backfill_running=is_backfill_running,
                critical_findings=findings,
                first_finding=first_finding,
                changed_at=changed_at,
                rehearsed_at=rehearsed_at,
                mismatches=mismatches,
            )
        )
    return facts


async def summarise_decisions(conn: Connection, tenant_id: UUID, *, since: datetime) -> EvidenceSummary:
    """Decisions on funds since a time, counted from what the door stored."""
    row = await (await conn.execute(SQL.summarise_decisions, {"tenant_id": tenant_id, "since": since})).fetchone()
    assert row is not None, "one row without a table"
    decisions, disputed, disputed_players, mismatches = row
    return EvidenceSummary(
        decisions=decisions,
        disputed=disputed,
        disputed_players=disputed_players,
        comparisons=decisions,
        mismatches=mismatches,
    )
