"""The monitor proves itself: faults are planted in the sandbox, and the verdicts must come.

  sandbox, enforced  ─ nothing planted ─▶ evaluate                 → no verdict may stand
  legacy column written from outside, withdrawals through the service, forged deliveries naming open deposits
                     ─ flush ─▶ evaluate                           → T1, T2, T3 must be high, the tenant rolled back
  all of it undone

The withdrawals go the way of every withdrawal: service, door, comparison, evidence. What is left out is Prometheus, so
that no figure of anybody moves. An alarm that has never fired is not an alarm.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from backend.app.domain.deposit import OpenDeposit
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.ledger import Arbiter, InsufficientFunds, PostResult
from backend.app.domain.mismatch import Mismatch
from backend.app.domain.money import Money
from backend.app.domain.monitor.assessment import Verdict
from backend.app.domain.monitor.bucket import MINUTE, Trigger
from backend.app.domain.monitor.evidence import Claim
from backend.app.domain.monitor.thresholds import Thresholds
from backend.app.domain.payments.deposit_observation import DepositObservation
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.psp.mockpsp_events import MockPspWebhooks
from backend.app.psp.webhook import Secret
from backend.app.repositories import deposit_repo, ledger_repo
from backend.app.repositories.database import Database
from backend.app.repositories.monitor import monitor_repo, sandbox_repo, verdict_repo
from backend.app.repositories.monitor.sandbox_repo import Sandbox
from backend.app.services.evidence import Evidence
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.monitor.monitor import Evaluation, Monitor
from backend.app.services.monitor.monitor_inputs import SANDBOX_PROVIDER
from backend.app.services.payments.deposit_observations import observe_many
from backend.app.services.withdrawals import Withdrawals

log = structlog.get_logger()

PLAYERS: Final = 12
# What is planted counts as if it had come in so many minutes one after the other, from other players in each: what
# happens within a minute is a blip to the detector, and a self-test does not take minutes.
SPREAD_MINUTES: Final = 6
PLANTED_MINOR: Final = 100_00
ASKED_MINOR: Final = 50_00
CURRENCY: Final = "USD"


class SelftestBusy(TemporarilyUnavailable):
    """503: another self-test is under way."""

    error_code = "SELFTEST_BUSY"
    title = "Another self-test is under way"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestReport:
    """How it went. outcome: passed, failed, or skipped where nothing can be enforced. findings: by expectation."""

    outcome: str
    findings: Mapping[str, Any]


class _SpreadEvidence(Evidence):
    """Counts decisions as if they had been made some minutes earlier."""

    minutes_back = 0

    def count_decision(self, result: PostResult, *, tenant_id: UUID, player_id: UUID, money: Money) -> None:
        super().count_decision(self._earlier(result), tenant_id=tenant_id, player_id=player_id, money=money)

    def count_comparison(self, result: PostResult, mismatch: Mismatch | None, *, tenant_id: UUID) -> None:
        super().count_comparison(self._earlier(result), mismatch, tenant_id=tenant_id)

    def _earlier(self, result: PostResult) -> PostResult:
        return result._replace(recorded_at=result.recorded_at - self.minutes_back * MINUTE)


class Selftest:
    """Runs self-tests. Built once per process."""

    def __init__(self, database: Database, monitor: Monitor, *, app_version: str) -> None:
        self._database = database
        self._monitor = monitor
        self._app_version = app_version

    async def run_due(self, _now: datetime) -> int:
        """The daily job."""
        try:
            await self.run(started_by="schedule")
        except TemporarilyUnavailable as error:
            log.warning("selftest.not_run", error=type(error).__name__)
            return 0
        return 1

    async def run(self, *, started_by: str) -> SelftestReport:
        """One self-test, its result kept. Raises SelftestBusy, MonitorBusy, DatabaseAway."""
        started_at = datetime.now(UTC)
        async with self._database.connection() as conn:
            if not await sandbox_repo.try_lock(conn):
                raise SelftestBusy
            try:
                report = await self._run()
                await monitor_repo.insert_selftest(
                    conn,
                    started_at=started_at,
                    outcome=report.outcome,
                    started_by=started_by,
                    findings=report.findings,
                )
            finally:
                if not conn.closed:
                    await sandbox_repo.unlock(conn)
        (log.error if report.outcome == "failed" else log.info)(
            "selftest.ended", outcome=report.outcome, findings=report.findings
        )
        return report

    async def _run(self) -> SelftestReport:
        async with self._database.connection() as conn:
            sandbox = await sandbox_repo.ensure(conn, players=PLAYERS)
        await self._clean(sandbox)
        async with self._database.connection() as conn:
            mode = await sandbox_repo.enforce(conn, is_enforced=True)
        deposit_ids: list[UUID] = []
        try:
            if mode.arbiter is not Arbiter.LEDGER or not mode.shadow_write:
                return SelftestReport(
                    outcome="skipped",
                    findings={"why": "enforcing is switched off for everybody, or only one side is written"},
                )
            evidence = _SpreadEvidence(self._database, app_version=self._app_version, is_metered=False)
            control = await self._evaluate(sandbox, at=datetime.now(UTC))
            deposit_ids = await self._open_deposits(sandbox)
            refused = await self._ask_for_planted_money(sandbox, evidence)
            forged = self._forge_deliveries(evidence, deposit_ids)
            await evidence.flush()
            evaluation = await self._evaluate(sandbox, at=datetime.now(UTC))
            arbiter = await self._arbiter(sandbox)
        finally:
            await self._clean(sandbox, deposit_ids=deposit_ids)
        findings = _findings(control, evaluation, refused=refused, forged=forged, arbiter=arbiter)
        is_passed = all(finding["is_as_expected"] for finding in findings.values())
        return SelftestReport(outcome="passed" if is_passed else "failed", findings=findings)

    async def _clean(self, sandbox: Sandbox, *, deposit_ids: Sequence[UUID] = ()) -> None:
        """Leave nothing of a self-test behind, this one or one that was cut off."""
        async with self._database.transaction() as conn:
            await sandbox_repo.plant(conn, sandbox.player_ids, available=0)
            await verdict_repo.forget(conn, [str(sandbox.tenant_id), SANDBOX_PROVIDER])
            await sandbox_repo.forget_deliveries(conn, SANDBOX_PROVIDER)
            await observe_many(
                conn,
                [
                    DepositObservation(deposit_id=deposit_id, status_class=StatusClass.FAILED, failure_code="selftest")
                    for deposit_id in deposit_ids
                ],
            )
        if await self._arbiter(sandbox) is Arbiter.LEDGER:
            async with self._database.connection() as conn:
                await sandbox_repo.enforce(conn, is_enforced=False)

    async def _arbiter(self, sandbox: Sandbox) -> Arbiter:
        async with self._database.connection() as conn:
            (tenant,) = await monitor_repo.list_tenants(conn, sandbox.tenant_id)
        return tenant.arbiter

    async def _open_deposits(self, sandbox: Sandbox) -> list[UUID]:
        """A deposit of each player's at a provider that nobody asks."""
        commands = [
            OpenDeposit(
                deposit_id=uuid4(),
                tenant_id=sandbox.tenant_id,
                player_id=player_id,
                money=Money(amount_minor=ASKED_MINOR, currency=CURRENCY),
                method="selftest",
                provider=SANDBOX_PROVIDER,
                idempotency_key=f"selftest-{uuid4().hex}",
                unverified_cap_minor=0,
            )
            for player_id in sandbox.player_ids
        ]
        async with self._database.connection() as conn:
            return [opened.deposit_id for opened in await deposit_repo.open_many(conn, commands)]

    async def _ask_for_planted_money(self, sandbox: Sandbox, evidence: _SpreadEvidence) -> int:
        """Each player asks for money that only the legacy column knows of; how many were refused."""
        async with self._database.connection() as conn:
            async with conn.transaction():
                await ledger_repo.open_wallets(conn, sandbox.tenant_id, player_ids=sandbox.player_ids)
            await sandbox_repo.plant(conn, sandbox.player_ids, available=PLANTED_MINOR)
        mismatches = MismatchRecorder(self._database, is_enabled=True, evidence=evidence, is_metered=False)
        withdrawals = Withdrawals(self._database, mismatches, evidence, is_dev=False)
        refused = 0
        for place, player_id in enumerate(sandbox.player_ids):
            evidence.minutes_back = place % SPREAD_MINUTES
            try:
                await withdrawals.request(
                    RequestWithdrawal(
                        withdrawal_id=uuid4(),
                        tenant_id=sandbox.tenant_id,
                        player_id=player_id,
                        money=Money(amount_minor=ASKED_MINOR, currency=CURRENCY),
                        method="selftest",
                        address="selftest",
                        idempotency_key=f"selftest-{uuid4().hex}",
                    )
                )
            except InsufficientFunds:
                refused += 1
        return refused

    def _forge_deliveries(self, evidence: Evidence, deposit_ids: Sequence[UUID]) -> int:
        """Deliveries that name open deposits and are signed by nobody; how many were seen through."""
        scheme, now = MockPspWebhooks(), datetime.now(UTC)
        seen_through = 0
        for place, deposit_id in enumerate(deposit_ids):
            body = json.dumps(
                {
                    "type": "deposit.captured",
                    "data": {
                        "reference": str(deposit_id),
                        "payment_id": f"selftest-{deposit_id}",
                        "amount_minor": ASKED_MINOR,
                        "currency": CURRENCY,
                    },
                }
            ).encode()
            headers = {
                "webhook-id": f"selftest-{deposit_id}",
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": "v1,c2lnbmVkIGJ5IG5vYm9keQ==",
            }
            secrets = [Secret(value=f"known to nobody {uuid4().hex}")]
            verdict = scheme.verify_webhook(body, headers=headers, secrets=secrets, now=now)
            (event,) = scheme.parse_event(body, delivery_id=headers["webhook-id"])
            seen_through += not verdict.is_valid
            evidence.count_delivery(
                SANDBOX_PROVIDER,
                result=verdict.status.value,
                is_credible=verdict.is_valid,
                claim=Claim(reference=event.reference, provider_ref=None),
                received_at=now - place % SPREAD_MINUTES * MINUTE,
            )
        return seen_through

    async def _evaluate(self, sandbox: Sandbox, *, at: datetime) -> Evaluation:
        """As it will be when the minute of `at` is closed: of the sandbox alone, so that nobody's time is ahead."""
        closed = at + MINUTE + timedelta(seconds=Thresholds().grace_seconds) + MINUTE
        return await self._monitor.evaluate(now=closed, tenant_id=sandbox.tenant_id, providers=[SANDBOX_PROVIDER])


def _findings(
    control: Evaluation, evaluation: Evaluation, *, refused: int, forged: int, arbiter: Arbiter
) -> dict[str, dict[str, Any]]:
    findings: dict[str, dict[str, Any]] = {
        "nothing_planted": _finding("no verdict", sorted({str(each.decided.verdict) for each in control.subjects}))
        | {"is_as_expected": all(each.decided.verdict.severity == 0 for each in control.subjects)},
        "withdrawals": _finding(f"{PLAYERS} refused", f"{refused} refused") | {"is_as_expected": refused == PLAYERS},
        "deliveries": _finding(f"{PLAYERS} seen through", f"{forged} seen through")
        | {"is_as_expected": forged == PLAYERS},
        "rollback": _finding("legacy", arbiter.value) | {"is_as_expected": arbiter is Arbiter.LEGACY},
    }
    verdicts = {each.subject.trigger: each.decided.verdict for each in evaluation.subjects}
    for trigger in Trigger:
        verdict = verdicts.get(trigger, Verdict.NO_DATA)
        findings[trigger.value] = _finding("high", verdict.value) | {
            "is_as_expected": verdict.severity >= Verdict.HIGH.severity
        }
    return findings


def _finding(expected: str, found: object) -> dict[str, Any]:
    return {"expected": expected, "found": found}
