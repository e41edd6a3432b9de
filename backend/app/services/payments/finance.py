"""What people do about withdrawals: look, decide, pay, give up.

    POST body ─ api ─▶ Deed
      [write]  lock · replay? · allowed? · step with row, attempt and ledger · key · audit    → committed
      [effect] only to pay through a provider: the attempt is sent, outside any transaction → payouts.py
      [pure]   the answer, kept under its key

Every deed is judged on the locked row, so of several at once one wins and the others are told what became of it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.errors import AppError
from backend.app.domain.idempotency import IdempotencyKeyReused
from backend.app.domain.identity import AdminIdentity, Forbidden
from backend.app.domain.ledger import LedgerModeRefused, PostCode
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.domain.payments.finance import (
    Deed,
    DeedAnswer,
    FinanceWithdrawal,
    LedgerRefused,
    Position,
    Sort,
    WithdrawalDetail,
    WithdrawalFilter,
    position_of,
)
from backend.app.domain.payments.payout import CREATED_GRACE
from backend.app.domain.payments.withdrawal_lifecycle import (
    Action,
    WithdrawalNotFound,
    allowed_actions,
    approvals_needed,
    plan_action,
    refused_actions,
    require_reason,
)
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.payments import finance_repo, payout_repo
from backend.app.repositories.payments.payout_repo import Moved, Step
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.payouts import Payouts

log = structlog.get_logger()

# More attempts, deeds or transactions of one withdrawal than anybody reads.
DETAIL_ROWS_MAX: Final = 200
BULK_AT_ONCE: Final = 4
EXPORT_PAGE: Final = 500
EXPORTS_AT_ONCE: Final = 2

_AUDIT_ACTIONS: Final = {
    Action.APPROVE_FIRST: "withdrawal.first_approved",
    Action.APPROVE: "withdrawal.approved",
    Action.REJECT: "withdrawal.rejected",
    Action.CANCEL: "withdrawal.cancelled",
    Action.DISPATCH: "withdrawal.dispatched",
    Action.PAY_MANUALLY: "withdrawal.paid_manually",
    Action.RETRY: "withdrawal.retried",
}
_NEEDS_REASON: Final = frozenset({Action.REJECT, Action.CANCEL})


class Finance:
    """The finance service. Built once per process. four_eyes_threshold: in major units; None asks for one approval."""

    def __init__(
        self,
        database: Database,
        payouts: Payouts,
        mismatches: MismatchRecorder,
        *,
        four_eyes_threshold: Decimal | None,
    ) -> None:
        self._database = database
        self._payouts = payouts
        self._mismatches = mismatches
        self._threshold = four_eyes_threshold
        self._export_slots = asyncio.Semaphore(EXPORTS_AT_ONCE)

    def four_eyes_minor(self, currency: str) -> int | None:
        """From this amount on, in minor units of the currency, two people have to approve; None: always one."""
        if self._threshold is None:
            return None
        return int(self._threshold.scaleb(CURRENCY_EXPONENTS[currency]).to_integral_value(rounding=ROUND_CEILING))

    def allowed_actions(self, withdrawal: FinanceWithdrawal, *, admin_id: UUID) -> tuple[Action, ...]:
        """What the admin could do to the withdrawal now."""
        return allowed_actions(withdrawal.standing, admin_id=admin_id, threshold=self._threshold)

    def refused_actions(self, withdrawal: FinanceWithdrawal, *, admin_id: UUID) -> tuple[tuple[Action, AppError], ...]:
        """What the admin could not do to it though its state allows it, and why."""
        return refused_actions(withdrawal.standing, admin_id=admin_id, threshold=self._threshold)

    async def perform(self, deed: Deed, *, admin: AdminIdentity, actor: Actor) -> DeedAnswer:
        """Do it, or answer again what was answered to its key.

        Raises ReasonRequired, WithdrawalNotFound, IdempotencyKeyReused, InvalidStateTransition, FourEyesRequired,
        NoPayoutProvider, EvidenceUsed or LedgerRefused; then nothing was done.
        """
        if deed.action in _NEEDS_REASON:
            deed = replace(deed, reason=require_reason(deed.reason))
        async with self._database.transaction() as conn:
            withdrawal = await self._lock(conn, deed, admin=admin)
            known = await finance_repo.find_deed_key(
                conn, withdrawal.tenant_id, player_id=withdrawal.player_id, deed=deed
            )
            if known is not None:
                if known.request_hash != deed.request_hash:
                    raise IdempotencyKeyReused
                if known.answered is not None:
                    return DeedAnswer(withdrawal=known.answered, is_replay=True)
                moved = None
            else:
                moved = await self._move(conn, deed, withdrawal, admin=admin, actor=actor)
        # From here on the step, or the door's refusal of it, is committed.
        if moved is not None:
            await self._note(moved, withdrawal)
            _ensure_moved(moved)
            if deed.action is Action.DISPATCH:
                assert moved.attempt_number is not None, "a dispatch makes an attempt"
                await self._payouts.submit(
                    withdrawal.tenant_id, withdrawal_id=withdrawal.id, number=moved.attempt_number
                )
        elif deed.action is Action.DISPATCH:
            # The process that dispatched it died before it answered.
            await self._payouts.pull(withdrawal.tenant_id, withdrawal.id)
        return await self._answer(deed, withdrawal, is_replay=known is not None)

    async def perform_many(
        self, deeds: Sequence[Deed], *, admin: AdminIdentity, actor: Actor
    ) -> list[DeedAnswer | AppError]:
        """Each on its own, in a transaction of its own, a few at once; what became of each, in order."""
        slots = asyncio.Semaphore(BULK_AT_ONCE)

        async def perform(deed: Deed) -> DeedAnswer | AppError:
            async with slots:
                try:
                    return await self.perform(deed, admin=admin, actor=actor)
                except AppError as refusal:
                    return refusal

        return await asyncio.gather(*(perform(deed) for deed in deeds))

    async def list_page(
        self,
        scope_tenant_id: UUID | None,
        *,
        asked: WithdrawalFilter,
        sort: Sort,
        after: Position | None,
        limit: int,
        offset: int,
    ) -> tuple[list[FinanceWithdrawal], int]:
        """A page of the withdrawals of a tenant, or of everywhere when it is None; and how many match in all."""
        async with self._database.connection() as conn:
            page = await finance_repo.list_page(
                conn, scope_tenant_id, asked=asked, sort=sort, after=after, limit=limit, offset=offset
            )
            return page, await finance_repo.count(conn, scope_tenant_id, asked=asked)

    async def get(self, scope_tenant_id: UUID | None, *, withdrawal_id: UUID, now: datetime) -> WithdrawalDetail:
        """Everything about a withdrawal, after a look at its provider. Raises WithdrawalNotFound."""
        async with self._database.connection() as conn:
            withdrawal = await _get(conn, scope_tenant_id, withdrawal_id=withdrawal_id)
        await self._payouts.glance(withdrawal, now=now)
        tenant_id = withdrawal.tenant_id
        async with self._database.connection() as conn:
            return WithdrawalDetail(
                withdrawal=await _get(conn, tenant_id, withdrawal_id=withdrawal_id),
                attempts=await payout_repo.list_attempts(
                    conn, tenant_id, withdrawal_id=withdrawal_id, limit=DETAIL_ROWS_MAX
                ),
                deeds=await audit_repo.list_of_object(
                    conn, tenant_id, object_kind="withdrawal", object_id=withdrawal_id, limit=DETAIL_ROWS_MAX
                ),
                transactions=await finance_repo.list_ledger(
                    conn, tenant_id, withdrawal_id=withdrawal_id, limit=DETAIL_ROWS_MAX
                ),
            )

    async def export(
        self, scope_tenant_id: UUID | None, *, asked: WithdrawalFilter, sort: Sort, actor: Actor
    ) -> AsyncIterator[list[FinanceWithdrawal]]:
        """All withdrawals that match, in pages, as they are at one moment. That it was asked for is audited first.

        The first page is read before this returns, so that what cannot be exported is a refusal and not half a file.
        """
        async with self._database.transaction() as conn:
            await audit_repo.insert(
                conn,
                scope_tenant_id,
                AuditEntry(
                    actor=actor,
                    action="withdrawals.exported",
                    object_kind="withdrawals",
                    object_id=str(scope_tenant_id or "all"),
                    after=_filter_state(asked, sort),
                ),
            )
        pages = self._pages(scope_tenant_id, asked=asked, sort=sort)
        first = await anext(pages)

        async def chain() -> AsyncIterator[list[FinanceWithdrawal]]:
            yield first
            async for page in pages:
                yield page

        return chain()

    async def _pages(
        self, scope_tenant_id: UUID | None, *, asked: WithdrawalFilter, sort: Sort
    ) -> AsyncIterator[list[FinanceWithdrawal]]:
        """Pages by position, in one snapshot. Who stops reading loses the connection after its idle timeout."""
        async with self._export_slots, self._database.snapshot() as conn:
            after: Position | None = None
            while True:
                page = await finance_repo.list_page(
                    conn, scope_tenant_id, asked=asked, sort=sort, after=after, limit=EXPORT_PAGE, offset=0
                )
                yield page
                if len(page) < EXPORT_PAGE:
                    return
                after = position_of(page[-1], sort=sort)

    async def _lock(self, conn: Connection, deed: Deed, *, admin: AdminIdentity) -> FinanceWithdrawal:
        if not await payout_repo.lock(conn, admin.scope_tenant_id, withdrawal_id=deed.withdrawal_id):
            raise WithdrawalNotFound
        return await _get(conn, admin.scope_tenant_id, withdrawal_id=deed.withdrawal_id)

    async def _move(
        self, conn: Connection, deed: Deed, withdrawal: FinanceWithdrawal, *, admin: AdminIdentity, actor: Actor
    ) -> Moved:
        """The step with all that belongs to it. A refusal of the door is returned: it is evidence to be committed."""
        action = plan_action(
            withdrawal.standing,
            deed.action,
            admin_id=admin.admin_id,
            threshold=self._threshold,
            seen_version=deed.seen_version,
        )
        provider, account_id = None, None
        if action is Action.DISPATCH:
            provider, account_id = await self._payouts.route(conn, withdrawal)
        moved = await payout_repo.move(
            conn,
            withdrawal.tenant_id,
            Step(
                player_id=withdrawal.player_id,
                withdrawal_id=withdrawal.id,
                action=action,
                expected_version=withdrawal.version,
                admin_id=admin.admin_id,
                reason=deed.reason,
                approvals_needed=approvals_needed(withdrawal.money, threshold=self._threshold),
                provider=provider,
                account_id=account_id,
                evidence_ref=deed.evidence_ref,
                check_after=CREATED_GRACE,
            ),
        )
        if not moved.is_moved:
            return moved
        if not await finance_repo.insert_deed_key(
            conn, withdrawal.tenant_id, player_id=withdrawal.player_id, deed=deed
        ):
            raise IdempotencyKeyReused
        after = await _get(conn, withdrawal.tenant_id, withdrawal_id=withdrawal.id)
        await audit_repo.insert(
            conn,
            withdrawal.tenant_id,
            AuditEntry(
                actor=actor,
                action=_AUDIT_ACTIONS[action],
                object_kind="withdrawal",
                object_id=str(withdrawal.id),
                reason=deed.reason,
                before=withdrawal.audit_state,
                after={**after.audit_state, "attempt": moved.attempt_number, "evidence_ref": deed.evidence_ref},
            ),
        )
        if deed.action is not Action.DISPATCH:
            await finance_repo.keep_answer(conn, withdrawal.tenant_id, player_id=withdrawal.player_id, deed=deed)
        return moved

    async def _note(self, moved: Moved, withdrawal: FinanceWithdrawal) -> None:
        if moved.posted is not None:
            await self._mismatches.note(
                moved.posted,
                tenant_id=withdrawal.tenant_id,
                player_id=withdrawal.player_id,
                currency=withdrawal.currency,
            )

    async def _answer(self, deed: Deed, withdrawal: FinanceWithdrawal, *, is_replay: bool) -> DeedAnswer:
        """The withdrawal as it is now, kept as the answer to the deed's key; or the answer that is kept already."""
        tenant_id, player_id = withdrawal.tenant_id, withdrawal.player_id
        async with self._database.transaction() as conn:
            await finance_repo.keep_answer(conn, tenant_id, player_id=player_id, deed=deed)
            kept = await finance_repo.find_deed_key(conn, tenant_id, player_id=player_id, deed=deed)
            if kept is not None and kept.answered is not None:
                return DeedAnswer(withdrawal=kept.answered, is_replay=is_replay)
            current = await _get(conn, tenant_id, withdrawal_id=withdrawal.id)
            return DeedAnswer(withdrawal=current, is_replay=is_replay)


def _ensure_moved(moved: Moved) -> None:
    """Raise the refusal that the code stands for. What the row's state forbids was judged before, under its lock."""
    if moved.is_moved:
        return
    if moved.code == "unknown_admin":
        raise Forbidden("the account was disabled or changed its role")
    if moved.code == "not_held":
        raise LedgerRefused("the player's held balance does not cover the withdrawal", ledger_code="insufficient_held")
    assert moved.posted is not None, f"a step that was allowed was not taken: {moved.code}"
    if moved.posted.code == PostCode.MODE_REFUSED:
        raise LedgerModeRefused
    raise LedgerRefused(f"the ledger refused: {moved.posted.code}", ledger_code=str(moved.posted.code))


async def _get(conn: Connection, tenant_id: UUID | None, *, withdrawal_id: UUID) -> FinanceWithdrawal:
    withdrawal = await finance_repo.find(conn, tenant_id, withdrawal_id=withdrawal_id)
    if withdrawal is None:
        raise WithdrawalNotFound
    return withdrawal


def _filter_state(asked: WithdrawalFilter, sort: Sort) -> dict[str, str | int | bool | None]:
    """The filter as the audit keeps it: what was given."""
    given = {
        "tenant_id": asked.tenant_id,
        "state": asked.state,
        "player_id": asked.player_id,
        "method": asked.method,
        "currency": asked.currency,
        "min_amount": asked.min_amount,
        "max_amount": asked.max_amount,
        "date_from": asked.date_from,
        "date_to": asked.date_to,
        "sort": sort.value,
    }
    return {name: str(value) for name, value in given.items() if value is not None}
