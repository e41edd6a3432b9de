"""Looking at reconciliation as those do who work on it. Deeds are services/reconciliation/findings.py."""

from typing import Final
from uuid import UUID

from backend.app.domain.desk.reconciliation_desk import Board, FindingDetail, FindingsPage, SeenAdjustment
from backend.app.domain.finding import FindingFilter, FindingNotFound
from backend.app.domain.reconciliation.adjustment import AdjustmentNotFound, AdjustmentStatus
from backend.app.domain.reconciliation.reconciliation import Run, RunNotFound
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.desk import reconciliation_desk_repo
from backend.app.repositories.reconciliation import finding_repo, reconciliation_repo

# More deeds, deliveries, adjustments or colleagues than anybody reads.
DETAIL_ROWS_MAX: Final = 100


class ReconciliationDesk:
    """The desk's reading service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def board(self, scope_tenant_id: UUID | None) -> Board:
        """What is open in a tenant, or everywhere when it is None."""
        async with self._database.connection() as conn:
            return await _board(conn, scope_tenant_id)

    async def page(
        self, scope_tenant_id: UUID | None, *, asked: FindingFilter, before_id: UUID | None, limit: int
    ) -> FindingsPage:
        """A page of the findings of a tenant, or of everywhere when it is None, with what is open above it."""
        async with self._database.connection() as conn:
            found = await reconciliation_desk_repo.list_findings(
                conn, scope_tenant_id, asked=asked, before_id=before_id, limit=limit + 1
            )
            counted, oldest_id = await reconciliation_desk_repo.count_findings(
                conn, scope_tenant_id, asked=asked, before_id=before_id
            )
            page = found[:limit]
            ids = {finding.tenant_id for finding in page} | {
                finding.assigned_to for finding in page if finding.assigned_to is not None
            }
            return FindingsPage(
                findings=page,
                goes_on_before=page[-1].id if len(found) > limit else oldest_id,
                is_cut=oldest_id is not None,
                counted=counted,
                names=await reconciliation_desk_repo.list_names(conn, sorted(ids)),
                board=await _board(conn, scope_tenant_id),
            )

    async def get(self, scope_tenant_id: UUID | None, *, finding_id: UUID) -> FindingDetail:
        """Everything about a finding. Raises FindingNotFound."""
        async with self._database.snapshot() as conn:
            finding = await finding_repo.find(conn, scope_tenant_id, finding_id=finding_id)
            if finding is None:
                raise FindingNotFound
            tenant_id, rows = finding.tenant_id, DETAIL_ROWS_MAX
            context = await reconciliation_desk_repo.find_context(conn, tenant_id, finding_id=finding_id)
            assert context is not None, "the finding is there"
            return FindingDetail(
                finding=finding,
                context=context,
                history=await audit_repo.list_of_object(
                    conn, tenant_id, object_kind="finding", object_id=finding_id, limit=rows
                ),
                events=await reconciliation_desk_repo.list_events(conn, tenant_id, finding=finding, limit=rows),
                adjustments=await reconciliation_desk_repo.list_adjustments(
                    conn, tenant_id, finding_id=finding_id, limit=rows
                ),
                colleagues=await reconciliation_desk_repo.list_assignable(conn, tenant_id, limit=rows),
            )

    async def runs(
        self, scope_tenant_id: UUID | None, *, before_id: UUID | None, limit: int
    ) -> tuple[list[Run], bool, dict[UUID, str]]:
        """The newest runs, whether there are more, and what their tenants are called."""
        async with self._database.connection() as conn:
            found = await reconciliation_repo.list_newest(conn, scope_tenant_id, before_id=before_id, limit=limit + 1)
            tenant_ids = {run.tenant_id for run in found if run.tenant_id is not None}
            names = await reconciliation_desk_repo.list_names(conn, sorted(tenant_ids))
        return found[:limit], len(found) > limit, names

    async def run(self, scope_tenant_id: UUID | None, *, run_id: UUID) -> tuple[Run, str | None]:
        """A run, and what its tenant is called; None for all of them. Raises RunNotFound."""
        async with self._database.connection() as conn:
            run = await reconciliation_repo.find_run(conn, scope_tenant_id, run_id=run_id)
            if run is None:
                raise RunNotFound
            names = await reconciliation_desk_repo.list_names(conn, [] if run.tenant_id is None else [run.tenant_id])
        return run, None if run.tenant_id is None else names.get(run.tenant_id)

    async def adjustments(
        self, scope_tenant_id: UUID | None, *, status: AdjustmentStatus | None, before_id: UUID | None, limit: int
    ) -> tuple[list[SeenAdjustment], bool]:
        """The newest adjustments, and whether there are more."""
        async with self._database.connection() as conn:
            found = await reconciliation_desk_repo.list_adjustments(
                conn, scope_tenant_id, status=status, before_id=before_id, limit=limit + 1
            )
        return found[:limit], len(found) > limit

    async def adjustment(self, scope_tenant_id: UUID | None, *, adjustment_id: UUID) -> SeenAdjustment:
        """One adjustment. Raises AdjustmentNotFound."""
        async with self._database.connection() as conn:
            found = await reconciliation_desk_repo.list_adjustments(
                conn, scope_tenant_id, adjustment_id=adjustment_id, limit=1
            )
        if not found:
            raise AdjustmentNotFound
        return found[0]


async def _board(conn: Connection, scope_tenant_id: UUID | None) -> Board:
    kinds = await reconciliation_desk_repo.list_open_kinds(conn, scope_tenant_id)
    runs = await reconciliation_repo.list_newest(conn, scope_tenant_id, before_id=None, limit=1)
    return Board(kinds=kinds, last_run=runs[0] if runs else None)
