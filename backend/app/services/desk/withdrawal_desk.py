"""Looking at withdrawals as a finance desk does. What is done about them is services/payments/finance.py."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from backend.app.domain.desk.withdrawal_desk import DeskDetail, DeskPage, DeskSelection, Queue, gather_queues
from backend.app.domain.payments.finance import FinanceWithdrawal, Position, Sort, WithdrawalDetail, WithdrawalFilter
from backend.app.domain.payments.withdrawal_lifecycle import WithdrawalNotFound
from backend.app.repositories import audit_repo, player_repo
from backend.app.repositories.database import Database
from backend.app.repositories.desk import withdrawal_desk_repo
from backend.app.repositories.payments import finance_repo, payout_repo
from backend.app.services.payments.payouts import Payouts

# More attempts, deeds, webhooks or transactions of one withdrawal than anybody reads.
DETAIL_ROWS_MAX: Final = 100


class WithdrawalDesk:
    """The desk's reading service. Built once per process."""

    def __init__(self, database: Database, payouts: Payouts) -> None:
        self._database = database
        self._payouts = payouts

    async def queues(self, scope_tenant_id: UUID | None) -> tuple[Queue, ...]:
        """What waits, by state."""
        async with self._database.connection() as conn:
            return gather_queues(await withdrawal_desk_repo.list_queues(conn, scope_tenant_id))

    async def page(
        self,
        scope_tenant_id: UUID | None,
        *,
        asked: WithdrawalFilter,
        sort: Sort,
        after: Position | None,
        limit: int,
    ) -> DeskPage:
        """A page of the withdrawals of a tenant, or of everywhere when it is None, with the queues above it."""
        async with self._database.connection() as conn:
            found = await finance_repo.list_page(
                conn, scope_tenant_id, asked=asked, sort=sort, after=after, limit=limit + 1, offset=0
            )
            page = found[:limit]
            people = await withdrawal_desk_repo.list_people(
                conn, scope_tenant_id, player_ids=sorted({withdrawal.player_id for withdrawal in page})
            )
            return DeskPage(
                withdrawals=page,
                has_more=len(found) > limit,
                counted=await withdrawal_desk_repo.count_matching(conn, scope_tenant_id, asked=asked),
                people={person.id: person for person in people},
                queues=gather_queues(await withdrawal_desk_repo.list_queues(conn, scope_tenant_id)),
            )

    async def list_by_id(self, scope_tenant_id: UUID | None, *, withdrawal_ids: Sequence[UUID]) -> DeskSelection:
        """The withdrawals with these ids, as far as they are in view, in the order of the ids."""
        async with self._database.connection() as conn:
            withdrawals = await finance_repo.list_by_id(conn, scope_tenant_id, withdrawal_ids=withdrawal_ids)
            people = await withdrawal_desk_repo.list_people(
                conn, scope_tenant_id, player_ids=sorted({withdrawal.player_id for withdrawal in withdrawals})
            )
        return DeskSelection(withdrawals=withdrawals, people={person.id: person for person in people})

    async def get(self, scope_tenant_id: UUID | None, *, withdrawal_id: UUID) -> DeskDetail:
        """Everything about a withdrawal, as it is stored. Raises WithdrawalNotFound."""
        async with self._database.snapshot() as conn:
            withdrawal = await finance_repo.find(conn, scope_tenant_id, withdrawal_id=withdrawal_id)
            if withdrawal is None:
                raise WithdrawalNotFound
            tenant_id, rows = withdrawal.tenant_id, DETAIL_ROWS_MAX
            player = await player_repo.find(conn, tenant_id, player_id=withdrawal.player_id)
            assert player is not None, "a withdrawal is of a player"
            (person,) = await withdrawal_desk_repo.list_people(conn, tenant_id, player_ids=[player.id])
            return DeskDetail(
                history=WithdrawalDetail(
                    withdrawal=withdrawal,
                    attempts=await payout_repo.list_attempts(conn, tenant_id, withdrawal_id=withdrawal_id, limit=rows),
                    deeds=await audit_repo.list_of_object(
                        conn, tenant_id, object_kind="withdrawal", object_id=withdrawal_id, limit=rows
                    ),
                    transactions=await finance_repo.list_ledger(
                        conn, tenant_id, withdrawal_id=withdrawal_id, limit=rows
                    ),
                ),
                webhooks=await withdrawal_desk_repo.list_webhooks(conn, tenant_id, tx_id=withdrawal_id, limit=rows),
                player=player,
                tenant_name=person.tenant_name,
            )

    async def glance(self, withdrawal: FinanceWithdrawal, *, now: datetime) -> None:
        """Ask the provider what became of a withdrawal, unless somebody did within the last minute."""
        await self._payouts.glance(withdrawal, now=now)
