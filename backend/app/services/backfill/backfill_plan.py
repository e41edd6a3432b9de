"""What a backfill would do, found out without doing it: one moment of the database, no locks, nothing written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from backend.app.domain.backfill.backfill import (
    ERRORS,
    NAMED_MAX,
    BackfillCounts,
    NotedPlayer,
    Outcome,
    OutcomeTotal,
    TenantToFill,
    add_outcomes,
    count_outcomes,
    largest,
)
from backend.app.repositories.backfill import backfill_repo
from backend.app.repositories.database import Connection

# Players a statement: a fraction of a second, far from any timeout, and a progress line now and then.
PAGE_ROWS: Final = 20_000
_DIFFERENT: Final = (Outcome.DIFFERS, Outcome.UPDATED_FORCED, Outcome.SNAPSHOT_NOT_FOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPlan:
    """What would become of the players, with their money, and by name those who need a look."""

    totals: tuple[OutcomeTotal, ...] = ()
    differences: tuple[NotedPlayer, ...] = ()
    rejected: tuple[NotedPlayer, ...] = ()

    @property
    def counts(self) -> BackfillCounts:
        """The counters that the run would end with."""
        return count_outcomes(self.totals)


async def plan_backfill(
    conn: Connection,
    tenants: Sequence[TenantToFill],
    *,
    is_forced: bool,
    on_progress: Callable[[TenantToFill, BackfillPlan], None],
) -> BackfillPlan:
    """The plan for these tenants, all at one moment. `on_progress` is called after each page with the plan so far."""
    plan = BackfillPlan()
    async with backfill_repo.one_moment(conn):
        for tenant in tenants:
            after_id: UUID | None = None
            while (
                page := await backfill_repo.plan_page(
                    conn,
                    tenant.id,
                    after_id=after_id,
                    rows=PAGE_ROWS,
                    arbiter=tenant.arbiter,
                    is_forced=is_forced,
                )
            ) is not None:
                plan = await _add_page(conn, tenant, plan, page=page, after_id=after_id, is_forced=is_forced)
                after_id = page.last_id
                on_progress(tenant, plan)
    return plan


async def _add_page(
    conn: Connection,
    tenant: TenantToFill,
    plan: BackfillPlan,
    *,
    page: backfill_repo.PlanPage,
    after_id: UUID | None,
    is_forced: bool,
) -> BackfillPlan:
    outcomes = {total.outcome for total in page.totals}

    async def named(wanted: Sequence[Outcome]) -> list[NotedPlayer]:
        if not outcomes.intersection(wanted):
            return []
        return await backfill_repo.list_largest(
            conn,
            tenant.id,
            after_id=after_id,
            rows=PAGE_ROWS,
            arbiter=tenant.arbiter,
            is_forced=is_forced,
            outcomes=wanted,
            limit=NAMED_MAX,
        )

    return BackfillPlan(
        totals=add_outcomes(plan.totals, page.totals),
        differences=largest((*plan.differences, *await named(_DIFFERENT))),
        rejected=largest((*plan.rejected, *await named(sorted(ERRORS)))),
    )
