"""Payouts: what was handed to a provider, and what became of it.

    attempt `created`, committed with the dispatch (services/payments/finance.py)
      [effect] the provider is called outside any transaction, under the attempt's name → Outcome
      [write]  what it said, by the same way as a webhook or a poll                     → Applied, committed

Everybody who learns something ends in `PayoutReports.apply`, under the withdrawal's row lock. A process that dies in
between leaves an attempt that counts as unknown after a minute; the resolver then asks, and sends the same request
under the same key only when the provider has never heard of it. Two processes that do so at once do no harm: a provider
makes one payout of one key, however often it is sent, and what it answers is judged by what is known already.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import prometheus_client
import structlog

from backend.app.domain.finding import Finding
from backend.app.domain.payments.finance import FinanceWithdrawal
from backend.app.domain.payments.payout import (
    CREATED_GRACE,
    OPEN_STATES,
    RESUBMIT_AGE_MAX,
    VIEW_PULL_INTERVAL,
    Attempt,
    AttemptState,
    PayoutReport,
    find_attempt_name,
    report_of,
)
from backend.app.domain.payments.payout_findings import (
    finding_of_key_conflict,
    finding_of_missing,
    finding_of_orphan,
    finding_of_stale,
)
from backend.app.domain.payments.psp_event import Applied, Effect, PspEvent, PspEventType, StatusClass
from backend.app.domain.payments.withdrawal_lifecycle import NoPayoutProvider
from backend.app.domain.tenant import account_id_of
from backend.app.psp import mockpsp
from backend.app.psp.adapter import (
    Done,
    Lookup,
    NotFound,
    Outcome,
    PayoutRequest,
    Pending,
    PspAdapter,
    PspKeyConflict,
    Refused,
    Unknown,
)
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.payments import finance_repo, payout_repo
from backend.app.repositories.payments.payout_repo import AttemptKey
from backend.app.repositories.reconciliation import finding_repo
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.payout_reports import PayoutReports, applied_to, key_of, schedule

log = structlog.get_logger()

# How long a claimed attempt is left to the one who claimed it; longer than any call of a provider takes.
LEASE: Final = timedelta(seconds=60)
PULLS_AT_ONCE: Final = 8
# Who looks at a withdrawal waits this long for its provider at most, and is then shown what is known.
GLANCE_SECONDS: Final = 3.0

payouts_unknown: Final = prometheus_client.Gauge(
    "hakem_payouts_unknown", "Payouts sent of which nobody knows how they ended", multiprocess_mode="mostrecent"
)
payouts_unknown_oldest_seconds: Final = prometheus_client.Gauge(
    "hakem_payouts_unknown_oldest_seconds", "How long ago the oldest of them was made", multiprocess_mode="mostrecent"
)


class Payouts:
    """The payout service. Built once per process. adapters: by provider."""

    def __init__(
        self,
        database: Database,
        adapters: Mapping[str, PspAdapter],
        mismatches: MismatchRecorder,
        *,
        default_provider: str = mockpsp.PROVIDER,
    ) -> None:
        self._database = database
        self._adapters = adapters
        self._reports = PayoutReports(mismatches)
        self._default_provider = default_provider

    async def route(self, conn: Connection, withdrawal: FinanceWithdrawal) -> tuple[str, str]:
        """(provider, account) that pays a withdrawal. Raises NoPayoutProvider."""
        provider = self._default_provider
        account_id = await payout_repo.find_account(conn, withdrawal.tenant_id, provider=provider)
        if account_id is None and provider == mockpsp.PROVIDER:
            # Made with the tenant under this name; a tenant from before that has it too.
            account_id = account_id_of(withdrawal.tenant_id)
        if account_id is None or provider not in self._adapters:
            raise NoPayoutProvider(f"{provider} is not set up for this tenant")
        return provider, account_id

    async def submit(self, tenant_id: UUID, *, withdrawal_id: UUID, number: int) -> Applied:
        """Send a committed attempt to its provider and record what it says. Repeating it is harmless: same key."""
        async with self._database.connection() as conn:
            attempt = await payout_repo.find_attempt(conn, tenant_id, withdrawal_id=withdrawal_id, number=number)
            withdrawal = await finance_repo.find(conn, tenant_id, withdrawal_id=withdrawal_id)
        assert attempt is not None, "the attempt was committed before"
        assert withdrawal is not None, "an attempt has its withdrawal"
        assert attempt.account_id is not None, "the manual rail has nobody to send to"
        adapter = self._adapters.get(attempt.provider)
        if adapter is None:
            return await self._record(attempt, Unknown(reason="no_adapter"))
        request = PayoutRequest(
            account_id=attempt.account_id,
            reference=attempt.reference,
            money=attempt.money,
            method=withdrawal.method,
            address=withdrawal.address,
        )
        try:
            outcome = await adapter.payout_withdrawal(request)
        except PspKeyConflict as error:
            log.error("payout.key_conflict", attempt=attempt.reference, error=str(error))
            return await self._record(attempt, Unknown(reason="key_conflict"), finding=finding_of_key_conflict(attempt))
        return await self._record(attempt, outcome)

    async def observe(self, conn: Connection, event: PspEvent, *, account_id: str | None) -> Applied:
        """Apply what a provider says about a payout, in the caller's transaction; commit it whatever the effect is.

        account_id: the account that the delivery was verified for; None when the event is from our own question.
        """
        key = await _find_key(conn, event)
        if key is None:
            return await _orphan(conn, event, account_id=account_id)
        if event.type == PspEventType.UNKNOWN:
            return Applied(
                effect=Effect.NOTHING_NEW,
                tenant_id=key.tenant_id,
                tx_id=key.withdrawal_id,
                detail="an event that means nothing to us",
            )
        return await self._reports.apply(conn, key, report_of(event), account_id=account_id)

    async def pull(self, tenant_id: UUID, withdrawal_id: UUID, *, now: datetime | None = None) -> Applied | None:
        """Ask the provider about the open attempt and apply the answer; None when there is nothing to ask about.

        An attempt that was created a moment ago is left to the process that is sending it.
        """
        now = now or datetime.now(UTC)
        async with self._database.connection() as conn:
            attempts = await payout_repo.list_attempts(conn, tenant_id, withdrawal_id=withdrawal_id, limit=1)
        if not attempts or attempts[0].state not in OPEN_STATES:
            return None
        attempt = attempts[0]
        if attempt.state == AttemptState.CREATED and now - attempt.created_at < CREATED_GRACE:
            return None
        lookup = await self._ask(attempt)
        match lookup:
            case NotFound():
                return await self._handle_not_found(attempt, now=now)
            case Unknown():
                return await self._record(attempt, lookup)
            case PspEvent():
                async with self._database.transaction() as conn:
                    return await self._reports.apply(conn, key_of(attempt), report_of(lookup), account_id=None)

    async def glance(self, withdrawal: FinanceWithdrawal, *, now: datetime) -> None:
        """Ask about a withdrawal that somebody is looking at, unless somebody did within the last minute."""
        async with self._database.connection() as conn:
            is_claimed = await payout_repo.claim(
                conn,
                withdrawal.tenant_id,
                player_id=withdrawal.player_id,
                withdrawal_id=withdrawal.id,
                now=now,
                interval=VIEW_PULL_INTERVAL,
            )
        if not is_claimed:
            return
        try:
            async with asyncio.timeout(GLANCE_SECONDS):
                await self.pull(withdrawal.tenant_id, withdrawal.id, now=now)
        except TimeoutError:
            log.info("payout.glance_timed_out", withdrawal_id=str(withdrawal.id))

    async def resolve_due(self, *, now: datetime, limit: int) -> int:
        """Ask about the attempts that are due, some at once; how many there were. Called by a job."""
        async with self._database.connection() as conn:
            unknown, oldest_at = await payout_repo.find_unknown(conn)
            due = await payout_repo.claim_due(conn, now=now, lease=LEASE, limit=limit)
        payouts_unknown.set(unknown)
        payouts_unknown_oldest_seconds.set(0.0 if oldest_at is None else max((now - oldest_at).total_seconds(), 0.0))
        slots = asyncio.Semaphore(PULLS_AT_ONCE)

        async def pull(tenant_id: UUID, withdrawal_id: UUID) -> None:
            async with slots:
                await self.pull(tenant_id, withdrawal_id, now=now)

        results = await asyncio.gather(*(pull(*each) for each in due), return_exceptions=True)
        for (_, withdrawal_id), result in zip(due, results, strict=True):
            # One attempt that cannot be asked about keeps no other waiting; its lease ends and it is due again.
            if isinstance(result, BaseException):
                log.error("payout.pull_failed", withdrawal_id=str(withdrawal_id), exc_info=result)
        return len(due)

    async def _ask(self, attempt: Attempt) -> Lookup:
        adapter = self._adapters.get(attempt.provider)
        if adapter is None or attempt.account_id is None:
            return Unknown(reason="no_adapter")
        if attempt.provider_ref is not None:
            return await adapter.get_payout(attempt.provider_ref, account_id=attempt.account_id)
        return await adapter.find_payout_by_reference(attempt.reference, account_id=attempt.account_id)

    async def _handle_not_found(self, attempt: Attempt, *, now: datetime) -> Applied:
        if attempt.provider_ref is not None:
            return await self._record(attempt, Unknown(reason="not_found"), finding=finding_of_missing(attempt))
        if now - attempt.created_at >= RESUBMIT_AGE_MAX:
            # The provider may have forgotten the key: sent again, it could be paid twice.
            return await self._record(attempt, Unknown(reason="not_found"), finding=finding_of_stale(attempt))
        return await self.submit(attempt.tenant_id, withdrawal_id=attempt.withdrawal_id, number=attempt.number)

    async def _record(self, attempt: Attempt, outcome: Outcome, *, finding: Finding | None = None) -> Applied:
        """What a provider answered to us, in a transaction of its own."""
        async with self._database.transaction() as conn:
            if isinstance(outcome, Unknown):
                await payout_repo.lock(conn, attempt.tenant_id, withdrawal_id=attempt.withdrawal_id)
                if finding is not None:
                    await finding_repo.open_finding(conn, attempt.tenant_id, finding)
                await schedule(conn, key_of(attempt), AttemptState.UNKNOWN)
                effect = Effect.NOTHING_NEW if finding is None else Effect.FINDING
                return applied_to(attempt, effect, f"unknown: {outcome.reason}")
            return await self._reports.apply(
                conn, key_of(attempt), _report_of_outcome(attempt, outcome), account_id=None
            )


async def _find_key(conn: Connection, event: PspEvent) -> AttemptKey | None:
    """Whose payout an event is about: by our name of it, or the provider's when it gives none of ours."""
    name = find_attempt_name(event.reference)
    if name is not None:
        return await payout_repo.find_key_by_name(conn, name)
    if event.reference is None and event.provider_ref is not None:
        return await payout_repo.find_key_by_provider_ref(
            conn, provider=event.provider, provider_ref=event.provider_ref
        )
    return None


async def _orphan(conn: Connection, event: PspEvent, *, account_id: str | None) -> Applied:
    tenant_id = None
    if account_id is not None:
        tenant_id = await payout_repo.find_tenant_of_account(conn, provider=event.provider, account_id=account_id)
        if tenant_id is not None:
            finding = finding_of_orphan(event, tenant_id=tenant_id, account_id=account_id)
            await finding_repo.open_finding(conn, tenant_id, finding)
    return Applied(effect=Effect.ORPHAN, tenant_id=tenant_id, tx_id=None, detail="no such payout")


def _report_of_outcome(attempt: Attempt, outcome: Done | Refused | Pending) -> PayoutReport:
    report = PayoutReport(
        provider=attempt.provider,
        status_class=StatusClass.PENDING,
        sequence=None,
        provider_ref=outcome.provider_ref,
        provider_event_id=None,
        money=None,
        occurred_at=None,
        failure_code=None,
    )
    match outcome:
        case Done():
            return replace(
                report,
                status_class=StatusClass.SUCCESS,
                sequence=outcome.sequence,
                provider_event_id=outcome.provider_event_id,
                money=outcome.money,
                occurred_at=outcome.occurred_at,
            )
        case Refused():
            return replace(report, status_class=StatusClass.FAILED, failure_code=outcome.failure_code)
        case Pending():
            return report
