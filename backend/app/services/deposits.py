"""A player pays in: the row first, then the provider, then the ledger.

    POST body ─ api ─▶ OpenDeposit
      [write]  the row, so that the provider's answer can never be homeless        → OpenedDeposit, committed
      [effect] capture at the provider, outside any transaction, with our own key  → Outcome
      [write]  ledger and row together                                             → PostResult, committed
      [pure]   the answer

A request that died half-way is taken up where it stopped when its key is repeated: every step is idempotent.
"""

from dataclasses import replace
from decimal import Decimal

import structlog

from backend.app.domain import payment_method
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
from backend.app.domain.ledger import PostResult, balance_after, ensure_posted
from backend.app.domain.money import minor_from_major
from backend.app.domain.tenant import account_id_of
from backend.app.psp.adapter import CaptureRequest, Done, Pending, PspAdapter, Refused, Unknown
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Database
from backend.app.repositories.deposit_repo import CaptureDeposit
from backend.app.repositories.group_commit import GroupCommit
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.wallets import Wallets

log = structlog.get_logger()


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
        self._capturer: GroupCommit[CaptureDeposit, PostResult] = GroupCommit(
            "deposit_capture", database, deposit_repo.capture_many
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
        if deposit.state is DepositState.FAILED or self._psp is None:
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
        match outcome:
            case Done() if outcome.money == command.money:
                return await self._settle(command, deposit, outcome, is_replay=is_replay)
            case Done():
                # Another amount than was asked for is never credited on our own judgement: the deposit stays open, and
                # what really moved comes back as an observation (webhook, pull) to be judged there.
                log.error(
                    "deposit.moved_otherwise",
                    deposit_id=str(deposit.id),
                    provider_ref=outcome.provider_ref,
                    provider_event_id=outcome.provider_event_id,
                )
                return await self._answer_unmoved(command, deposit, is_replay=is_replay)
            case Refused():
                await self._fail(command, deposit, outcome)
                failed = replace(
                    deposit,
                    state=DepositState.FAILED,
                    provider_ref=outcome.provider_ref,
                    failure_code=outcome.failure_code,
                )
                return await self._answer_unmoved(command, failed, is_replay=is_replay)
            case Unknown():
                # The provider may have the money: the deposit stays open until somebody finds out.
                log.warning("deposit.outcome_unknown", deposit_id=str(deposit.id), reason=outcome.reason)
                return await self._answer_unmoved(command, deposit, is_replay=is_replay)
            case Pending():
                return await self._answer_unmoved(command, deposit, is_replay=is_replay)

    def _reason_against(self, method: str) -> str | None:
        """Why a new deposit by the method cannot be taken; None when it can."""
        if not payment_method.is_allowed(method, is_dev=self._is_dev):
            return payment_method.reason_against(method)
        return "no provider takes this method here" if self._psp is None else None

    async def _settle(self, command: OpenDeposit, deposit: Deposit, done: Done, *, is_replay: bool) -> DepositAnswer:
        assert self._psp is not None, "somebody has confirmed it"
        result = await self._capturer.submit(
            CaptureDeposit(
                deposit_id=deposit.id,
                tenant_id=command.tenant_id,
                player_id=command.player_id,
                money=command.money,
                idempotency_key=command.idempotency_key,
                request_hash=command.request_hash,
                provider=self._psp.provider,
                provider_ref=done.provider_ref,
                provider_event_id=done.provider_event_id,
                occurred_at=done.occurred_at,
            )
        )
        # From here on the outcome is committed.
        await self._mismatches.note(
            result, tenant_id=command.tenant_id, player_id=command.player_id, currency=command.money.currency
        )
        ensure_posted(result, money=command.money)
        completed = replace(
            deposit,
            state=DepositState.COMPLETED,
            provider_ref=done.provider_ref,
            provider_event_id=done.provider_event_id,
            updated_at=result.recorded_at,
        )
        return DepositAnswer(
            deposit=completed,
            balance=balance_after(result, currency=command.money.currency),
            is_replay=is_replay,
        )

    async def _fail(self, command: OpenDeposit, deposit: Deposit, refused: Refused) -> None:
        async with self._database.connection() as conn:
            await deposit_repo.fail(
                conn,
                command.tenant_id,
                player_id=command.player_id,
                deposit_id=deposit.id,
                provider_ref=refused.provider_ref,
                failure_code=refused.failure_code,
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
        await self._capturer.drain(deadline_seconds=deadline_seconds)
