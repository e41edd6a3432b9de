"""What a provider says about a payout, applied: one way for webhooks, answers, polls and replays.

Everything here runs in the caller's transaction, under the withdrawal's row lock, and is to be committed whatever the
effect is: a finding and the door's refusal are evidence.
"""

from collections.abc import Mapping
from typing import Final

import structlog

from backend.app.domain.audit import AuditEntry
from backend.app.domain.payments.payout import (
    OPEN_STATES,
    Attempt,
    AttemptState,
    PayoutJudgement,
    PayoutReport,
    is_stale,
    judge_report,
    wait_before_check,
)
from backend.app.domain.payments.payout_findings import finding_of_refusal, finding_of_report, finding_of_stale
from backend.app.domain.payments.psp_event import Applied, Effect, StatusClass
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection
from backend.app.repositories.payments import finance_repo, payout_repo
from backend.app.repositories.payments.payout_repo import AttemptKey, Step
from backend.app.repositories.reconciliation import finding_repo
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.people.admins import system_actor

log = structlog.get_logger()

ACTOR: Final = system_actor("payouts")
_ACTIONS: Final[Mapping[StatusClass, Action]] = {
    StatusClass.SUCCESS: Action.PAYOUT_PAID,
    StatusClass.FAILED: Action.PAYOUT_FAILED,
    StatusClass.REVERSED: Action.PAYOUT_RETURNED,
}
_KEEPS_PENDING: Final = frozenset(
    {PayoutJudgement.KEEP_PENDING, PayoutJudgement.OTHER_AMOUNT, PayoutJudgement.OTHER_CURRENCY}
)
_NOT_OURS: Final = frozenset({PayoutJudgement.OTHER_ACCOUNT, PayoutJudgement.OTHER_PROVIDER})


class PayoutReports:
    """Applies reports. Built once per process."""

    def __init__(self, mismatches: MismatchRecorder) -> None:
        self._mismatches = mismatches

    async def apply(
        self, conn: Connection, key: AttemptKey, report: PayoutReport, *, account_id: str | None
    ) -> Applied:
        """State and ledger follow the report, or a finding says why not.

        account_id: the account that a delivery was verified for; None when we asked ourselves.
        """
        await payout_repo.lock(conn, key.tenant_id, withdrawal_id=key.withdrawal_id)
        attempt = await payout_repo.find_attempt(
            conn, key.tenant_id, withdrawal_id=key.withdrawal_id, number=key.number
        )
        assert attempt is not None, "the attempt was found before, and attempts are not deleted"
        judgement = judge_report(report, attempt=attempt, account_id=account_id)
        if judgement is PayoutJudgement.SETTLE:
            return await self._settle(conn, attempt, report)
        if judgement in _KEEPS_PENDING:
            await schedule(conn, key, AttemptState.PENDING, report=report)
        elif judgement not in _NOT_OURS:
            await schedule(conn, key, AttemptState.UNKNOWN)
        if judgement is PayoutJudgement.KEEP_PENDING:
            return applied_to(attempt, Effect.APPLIED, "pending at the provider")
        if judgement is PayoutJudgement.NOTHING_NEW:
            return applied_to(attempt, Effect.NOTHING_NEW, "known already")
        finding = finding_of_report(judgement, attempt=attempt, report=report, account_id=account_id)
        await finding_repo.open_finding(conn, attempt.tenant_id, finding)
        log.warning("payout.finding", attempt=attempt.reference, finding_type=finding.finding_type.value)
        effect = Effect.ORPHAN if judgement in _NOT_OURS else Effect.FINDING
        return applied_to(attempt, effect, finding.finding_type.value)

    async def _settle(self, conn: Connection, attempt: Attempt, report: PayoutReport) -> Applied:
        """State and ledger follow the report, or there is a finding and it is tried again at the next check."""
        before = await finance_repo.find(conn, attempt.tenant_id, withdrawal_id=attempt.withdrawal_id)
        assert before is not None, "an attempt has its withdrawal"
        action = _ACTIONS[report.status_class]
        moved = await payout_repo.move(
            conn,
            attempt.tenant_id,
            Step(
                player_id=attempt.player_id,
                withdrawal_id=attempt.withdrawal_id,
                action=action,
                attempt_number=attempt.number,
                provider_ref=report.provider_ref,
                provider_event_id=report.provider_event_id,
                provider_sequence=report.sequence,
                failure_code=report.failure_code,
                occurred_at=report.occurred_at,
            ),
        )
        if moved.posted is not None:
            await self._mismatches.note(
                moved.posted, tenant_id=attempt.tenant_id, player_id=attempt.player_id, currency=attempt.currency
            )
        if not moved.is_moved:
            ledger_code = moved.code if moved.posted is None else str(moved.posted.code)
            await finding_repo.open_finding(
                conn, attempt.tenant_id, finding_of_refusal(attempt, report=report, ledger_code=ledger_code)
            )
            await schedule(conn, key_of(attempt), AttemptState.UNKNOWN)
            log.error("payout.ledger_refused", attempt=attempt.reference, ledger_code=ledger_code)
            return applied_to(attempt, Effect.FINDING, f"ledger refused: {ledger_code}")
        after = await finance_repo.find(conn, attempt.tenant_id, withdrawal_id=attempt.withdrawal_id)
        assert after is not None, "it was just moved"
        await audit_repo.insert(
            conn,
            attempt.tenant_id,
            AuditEntry(
                actor=ACTOR,
                action=f"withdrawal.{after.state}",
                object_kind="withdrawal",
                object_id=str(after.id),
                reason=report.failure_code,
                before=before.audit_state,
                after={**after.audit_state, "attempt": attempt.number},
            ),
        )
        log.info(f"withdrawal.{after.state}", withdrawal_id=str(after.id), attempt=attempt.number)
        return applied_to(attempt, Effect.APPLIED, str(after.state))


async def schedule(
    conn: Connection, key: AttemptKey, state: AttemptState, *, report: PayoutReport | None = None
) -> None:
    """Keep an open attempt pending or unknown and plan the next question; a finding when it has been open too long."""
    attempt = await payout_repo.find_attempt(conn, key.tenant_id, withdrawal_id=key.withdrawal_id, number=key.number)
    assert attempt is not None, "attempts are not deleted"
    if attempt.state not in OPEN_STATES:
        return
    next_state = AttemptState.PENDING if attempt.state == AttemptState.PENDING else state
    checks = attempt.checks if attempt.state == next_state else 0
    await payout_repo.note(
        conn,
        key.tenant_id,
        attempt=attempt,
        state=next_state,
        check_after=wait_before_check(next_state, checks=checks),
        provider_ref=None if report is None else report.provider_ref,
        provider_sequence=None if report is None else report.sequence,
    )
    if is_stale(next_state, checks=checks):
        await finding_repo.open_finding(conn, key.tenant_id, finding_of_stale(attempt))


def key_of(attempt: Attempt) -> AttemptKey:
    """Which attempt it is."""
    return AttemptKey(attempt.tenant_id, attempt.withdrawal_id, attempt.number)


def applied_to(attempt: Attempt, effect: Effect, detail: str) -> Applied:
    """The effect on an attempt's withdrawal."""
    return Applied(effect=effect, tenant_id=attempt.tenant_id, tx_id=attempt.withdrawal_id, detail=detail)
