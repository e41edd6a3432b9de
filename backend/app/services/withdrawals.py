"""A player asks for money: the hold, the row and the answer.

POST body ─ api ─▶ RequestWithdrawal
  [write]  hold + row, in one statement shared with everybody who is asking   → PostResult, committed
  [effect] what both sides said is counted, compared and, where they differ, recorded
  [pure]   settle_request(command, result)                                     → WithdrawalAnswer or a refusal
"""

from backend.app.domain import withdrawal
from backend.app.domain.ledger import PostResult, TransactionType
from backend.app.domain.payments import payment_method
from backend.app.domain.withdrawal import RequestWithdrawal, WithdrawalAnswer
from backend.app.repositories import ledger_repo, withdrawal_repo
from backend.app.repositories.database import Database
from backend.app.repositories.group_commit import GroupCommit
from backend.app.services.evidence import Evidence
from backend.app.services.ledger_telemetry import MismatchRecorder


class Withdrawals:
    """The withdrawal service. Built once per process."""

    def __init__(self, database: Database, mismatches: MismatchRecorder, evidence: Evidence, *, is_dev: bool) -> None:
        self._database = database
        self._mismatches = mismatches
        self._evidence = evidence
        self._is_dev = is_dev
        self._writer: GroupCommit[RequestWithdrawal, PostResult] = GroupCommit(
            "withdrawal_request", database, withdrawal_repo.request
        )

    async def request(self, command: RequestWithdrawal) -> WithdrawalAnswer:
        """Place the hold. Raises the refusal that the door or the rules gave; a stored refusal replays as itself."""
        if not payment_method.is_allowed(command.method, is_dev=self._is_dev) and not await self._is_answered(command):
            raise payment_method.PaymentMethodNotAllowed(payment_method.reason_against(command.method))
        result = await self._writer.submit(command)
        # From here on the outcome is committed, a refusal included.
        self._evidence.count_decision(
            result, tenant_id=command.tenant_id, player_id=command.player_id, money=command.money
        )
        await self._mismatches.note(
            result,
            tenant_id=command.tenant_id,
            player_id=command.player_id,
            currency=command.money.currency,
        )
        return withdrawal.settle_request(command, result)

    async def _is_answered(self, command: RequestWithdrawal) -> bool:
        # A replay comes before the method's gate: a key that was answered is answered again, or told that it was used.
        async with self._database.connection() as conn:
            return await ledger_repo.is_answered(
                conn,
                command.tenant_id,
                player_id=command.player_id,
                transaction_type=TransactionType.WITHDRAW_REQUESTED,
                idempotency_key=command.idempotency_key,
            )

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for requests under way."""
        await self._writer.drain(deadline_seconds=deadline_seconds)
