"""A player pays in: the row first, then the provider, then the ledger.

    POST body ─ api ─▶ OpenDeposit
      [write]  the row, so that the provider's answer can never be homeless        → OpenedDeposit, committed
      [effect] capture at the provider, outside any transaction, with our own key  → Done | Refused | Pending | Unknown
      [write]  what the provider said: ledger and row together                     → Observed, committed
      [pure]   the answer

A request that died half-way is taken up where it stopped when its key is repeated: every step is idempotent. What the
answer did not say a webhook says later, or a poll; all three end in `observe_many`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.deposit import (
    Deposit,
    DepositAnswer,
    DepositState,
    OpenCode,
    OpenDeposit,
    OpenedDeposit,
    deposit_from,
    ensure_opened,
)
from backend.app.domain.ledger import balance_after, ensure_posted
from backend.app.domain.money import minor_from_major
from backend.app.domain.payments import payment_method
from backend.app.domain.payments.deposit_observation import (
    CHECKS_BEFORE_LOST,
    LOST_CODE,
    DepositObservation,
    next_check_after,
    observation_from,
)
from backend.app.domain.payments.psp_event import Applied, Effect, PspEvent, StatusClass
from backend.app.domain.tenant import account_id_of
from backend.app.psp.adapter import CaptureRequest, Done, NotFound, Outcome, Pending, PspAdapter, Refused, Unknown
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.deposit_repo import DueDeposit, PaymentName
from backend.app.repositories.group_commit import GroupCommit
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.deposit_observations import NotBooked, Observed, observe_many, report_orphan
from backend.app.services.wallets import Wallets

log = structlog.get_logger()

# Providers asked at the same time by one run of the poll.
ASKED_AT_ONCE_MAX: Final = 8


class Deposits:
    """The deposit service. Built once per process."""

    def __init__(
        self,
        database: Database,
        psp: PspAdapter | None,
        wallets: Wallets,
        mismatches: MismatchRecorder,
        *,
        is_dev: bool,
        unverified_daily_cap: Decimal,
    ) -> None:
        self._database = database
        self._psp = psp
        self._wallets = wallets
        self._mismatches = mismatches
        self._is_dev = is_dev
        self._unverified_daily_cap = unverified_daily_cap
        self._opener: GroupCommit[OpenDeposit, OpenedDeposit] = GroupCommit(
            "deposit_open", database, deposit_repo.open_many
        )
        self._settler: GroupCommit[DepositObservation, Observed | None] = GroupCommit(
            "deposit_settle", database, _settle_many
        )

    def unverified_cap_minor(self, currency: str) -> int:
        """The most an unverified player may deposit in a UTC day, in minor units of the currency."""
        return minor_from_major(self._unverified_daily_cap, currency=currency)

    async def deposit(self, command: OpenDeposit) -> DepositAnswer:
        """Take the deposit as far as the provider lets it go now. Raises the refusal of a rule."""
        reason = self._reason_against(command.method)
        if reason is not None and not await self._is_opened(command):
            raise payment_method.PaymentMethodNotAllowed(reason)
        opened = await self._opener.submit(command)
        ensure_opened(command, opened)
        is_replay = opened.code == OpenCode.EXISTS
        deposit = deposit_from(command, opened)
        if deposit.state in (DepositState.FAILED, DepositState.REFUNDED):
            return await self._answer_unmoved(command, deposit, is_replay=is_replay)
        if deposit.state is DepositState.COMPLETED:
            # Nobody need be asked: the door answers again as it did then.
            return await self._settle(command, deposit, _as_known(deposit), is_replay=is_replay)
        if self._psp is None:
            return await self._answer_unmoved(command, deposit, is_replay=is_replay)

        outcome = await self._psp.capture_deposit(
            CaptureRequest(
                account_id=account_id_of(command.tenant_id),
                reference=deposit.id,
                money=command.money,
                method=command.method,
                idempotency_key=f"dep_{deposit.id}",
            )
        )
        if isinstance(outcome, Unknown):
            log.warning("deposit.outcome_unknown", deposit_id=str(deposit.id), reason=outcome.reason)
            return await self._answer_unmoved(command, deposit, is_replay=is_replay)
        return await self._settle(command, deposit, _told_by(outcome, deposit_id=deposit.id), is_replay=is_replay)

    def _reason_against(self, method: str) -> str | None:
        """Why a new deposit by the method cannot be taken; None when it can."""
        if not payment_method.is_allowed(method, is_dev=self._is_dev):
            return payment_method.reason_against(method)
        return "no provider takes this method here" if self._psp is None else None

    async def observe(self, conn: Connection, event: PspEvent, *, account_id: str | None) -> Applied:
        """Apply what a provider event says about a deposit, inside the caller's transaction.

        `account_id` is the account that the delivery was verified for; None when we asked ourselves, or it names none.
        Raises NotBooked when the door did not take it, for a reason that may pass.
        """
        (applied,) = await self.observe_all(conn, [(event, account_id)])
        if isinstance(applied, NotBooked):
            raise applied
        return applied

    async def observe_all(
        self, conn: Connection, tellings: Sequence[tuple[PspEvent, str | None]]
    ) -> list[Applied | NotBooked]:
        """The same for many events, each with its account; one result for each, in order.

        What the door did not take is a value here: it has changed nothing, and harms none of the others.
        """
        names = [PaymentName(event.provider, event.reference, event.provider_ref) for event, _ in tellings]
        keys = await deposit_repo.find_payments(conn, names)
        observed = iter(
            await observe_many(
                conn,
                [
                    observation_from(event, deposit_id=key.deposit_id, account_id=account_id)
                    for (event, account_id), key in zip(tellings, keys, strict=True)
                    if key is not None
                ],
            )
        )
        return [
            await report_orphan(conn, event, account_id=account_id) if key is None else self._outcome_of(next(observed))
            for (event, account_id), key in zip(tellings, keys, strict=True)
        ]

    async def pull(self, tenant_id: UUID, deposit_id: UUID) -> Applied | None:
        """Ask the provider about a deposit and apply the answer; None when there is none, or nobody to ask.

        Raises NotBooked.
        """
        async with self._database.connection() as conn:
            found = await deposit_repo.find_one(conn, tenant_id, deposit_id=deposit_id)
        return None if found is None else await self._ask(found)

    async def resolve_due(self, *, now: datetime, limit: int) -> int:
        """Ask about the open deposits that are due, the longest due first; how many were asked about.

        30 s after a deposit was opened, then less and less often, and daily for as long as it is open.
        """
        async with self._database.connection() as conn:
            due = await deposit_repo.list_due(conn, now=now, limit=limit)
        asked = 0
        for start in range(0, len(due), ASKED_AT_ONCE_MAX):
            group = due[start : start + ASKED_AT_ONCE_MAX]
            asked += sum(await asyncio.gather(*(self._check(each, now=now) for each in group)))
        return asked

    async def _check(self, due: DueDeposit, *, now: datetime) -> bool:
        async with self._database.connection() as conn:
            is_taken = await deposit_repo.take_check(
                conn, due.deposit_id, checks=due.checks, next_check_at=now + next_check_after(due.checks)
            )
        if not is_taken:
            return False
        try:
            await self._ask(due, is_lost_if_unknown=due.checks >= CHECKS_BEFORE_LOST)
        except NotBooked as error:
            log.error("deposit.not_booked", deposit_id=str(due.deposit_id), reason=str(error))
        return True

    async def _ask(self, due: DueDeposit, *, is_lost_if_unknown: bool = False) -> Applied | None:
        if self._psp is None or due.provider != self._psp.provider:
            return None
        account_id, reference = account_id_of(due.tenant_id), str(due.deposit_id)
        if due.provider_ref is not None:
            found = await self._psp.get_payment(due.provider_ref, account_id=account_id)
        else:
            found = await self._psp.find_payment_by_reference(reference, account_id=account_id)
        if isinstance(found, Unknown):
            log.warning("deposit.pull_unanswered", deposit_id=reference, reason=found.reason)
            return None
        if isinstance(found, NotFound):
            if not is_lost_if_unknown:
                return Applied(
                    effect=Effect.NOTHING_NEW,
                    tenant_id=due.tenant_id,
                    tx_id=due.deposit_id,
                    detail="the provider knows of no such payment",
                )
            arrived = DepositObservation(
                deposit_id=due.deposit_id, status_class=StatusClass.FAILED, failure_code=LOST_CODE
            )
        elif found.reference not in (None, reference):
            log.error("deposit.pull_of_another", deposit_id=reference, reference=found.reference)
            return None
        else:
            arrived = observation_from(found, deposit_id=due.deposit_id, account_id=None)
        async with self._database.transaction() as conn:
            return await self._apply(conn, arrived)

    async def _apply(self, conn: Connection, arrived: DepositObservation) -> Applied:
        (observed,) = await observe_many(conn, [arrived])
        applied = self._outcome_of(observed)
        if isinstance(applied, NotBooked):
            raise applied
        return applied

    def _outcome_of(self, observed: Observed | None) -> Applied | NotBooked:
        assert observed is not None, "deposits are never removed"
        deposit = observed.deposit
        if observed.refusal is not None:
            return NotBooked(f"{observed.refusal.code} for deposit {deposit.id}")
        for result in observed.posted:
            self._mismatches.note_soon(
                result, tenant_id=deposit.tenant_id, player_id=deposit.player_id, currency=deposit.money.currency
            )
        return Applied(
            effect=observed.plan.effect, tenant_id=deposit.tenant_id, tx_id=deposit.id, detail=observed.plan.detail
        )

    async def _settle(
        self, command: OpenDeposit, deposit: Deposit, arrived: DepositObservation, *, is_replay: bool
    ) -> DepositAnswer:
        observed = await self._settler.submit(arrived)
        # From here on the outcome is committed.
        assert observed is not None, "its row was written a moment ago"
        now_known = replace(
            deposit,
            state=observed.deposit.state,
            provider_ref=observed.deposit.provider_ref,
            provider_event_id=observed.deposit.provider_event_id,
            failure_code=observed.deposit.failure_code,
            updated_at=observed.deposit.updated_at,
        )
        if not observed.posted:
            return await self._answer_unmoved(command, now_known, is_replay=is_replay)
        (result,) = observed.posted
        currency = command.money.currency
        await self._mismatches.note(result, tenant_id=command.tenant_id, player_id=command.player_id, currency=currency)
        ensure_posted(result, money=command.money)
        return DepositAnswer(
            deposit=replace(now_known, updated_at=result.recorded_at),
            balance=balance_after(result, currency=currency),
            is_replay=is_replay,
        )

    async def _answer_unmoved(self, command: OpenDeposit, deposit: Deposit, *, is_replay: bool) -> DepositAnswer:
        balance = await self._wallets.balance(command.tenant_id, player_id=command.player_id)
        return DepositAnswer(deposit=deposit, balance=balance, is_replay=is_replay)

    async def _is_opened(self, command: OpenDeposit) -> bool:
        # A replay comes before the method's gate, as in withdrawals.
        async with self._database.connection() as conn:
            return await deposit_repo.is_opened(
                conn, command.tenant_id, player_id=command.player_id, idempotency_key=command.idempotency_key
            )

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for deposits under way."""
        await self._opener.drain(deadline_seconds=deadline_seconds)
        await self._settler.drain(deadline_seconds=deadline_seconds)


async def _settle_many(conn: Connection, observations: Sequence[DepositObservation]) -> list[Observed | None]:
    async with conn.transaction():
        return await observe_many(conn, observations, is_answer=True)


def _told_by(outcome: Outcome, *, deposit_id: UUID) -> DepositObservation:
    """What an answer of the provider tells, as a webhook would."""
    match outcome:
        case Done():
            return DepositObservation(
                deposit_id=deposit_id,
                status_class=StatusClass.SUCCESS,
                sequence=outcome.sequence,
                money=outcome.money,
                provider_ref=outcome.provider_ref,
                provider_event_id=outcome.provider_event_id,
                occurred_at=outcome.occurred_at,
            )
        case Refused():
            return DepositObservation(
                deposit_id=deposit_id,
                status_class=StatusClass.FAILED,
                provider_ref=outcome.provider_ref,
                failure_code=outcome.failure_code,
            )
        case Pending():
            return DepositObservation(
                deposit_id=deposit_id, status_class=StatusClass.PENDING, provider_ref=outcome.provider_ref
            )
        case Unknown():
            raise AssertionError("nothing was told")


def _as_known(deposit: Deposit) -> DepositObservation:
    return DepositObservation(
        deposit_id=deposit.id,
        status_class=StatusClass.SUCCESS,
        money=deposit.money,
        provider_ref=deposit.provider_ref,
        provider_event_id=deposit.provider_event_id,
    )
