"""The monitor: looks at the evidence twice a minute, keeps verdicts, decides, and does what may be done unasked.

lease ─▶ inputs of every subject ─ assess ─▶ assessments
  [pure]   decide(subject, assessments, situation)            → Decided
  [write]  decision, verdict, holds, jobs: one transaction, and only while the lease is ours
  [effect] the rollback, by the decision's id; done again until the tenant is no longer enforced

One process evaluates at a time. One that was thought dead and wakes up finds its token used up, and writes nothing.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID, uuid4

import psycopg
import structlog

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.monitor.assessment import Assessment, Verdict
from backend.app.domain.monitor.bucket import Trigger
from backend.app.domain.monitor.detection import BROKEN_INVARIANTS, AssessmentInput, find_global_cause, find_worst
from backend.app.domain.monitor.monitor import (
    Decided,
    KeptVerdict,
    MonitorBusy,
    Situation,
    Subject,
    SubjectKind,
    VerdictChanged,
    VerdictNotFound,
    WatchedTenant,
    decide,
)
from backend.app.domain.monitor.thresholds import Thresholds
from backend.app.domain.rollout.flags import cut_reason
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database
from backend.app.repositories.monitor import monitor_repo, verdict_repo
from backend.app.repositories.monitor.monitor_repo import Lease, LeaseLost
from backend.app.services.monitor.monitor_inputs import Inputs
from backend.app.services.monitor.monitor_writes import SYSTEM, AcknowledgedMeanwhile, Judged, write

log = structlog.get_logger()

EVALUATE_SECONDS: Final = 30.0
BUSY_SECONDS_MAX: Final = 5.0
# A verdict that says nothing new is written down so often; what it remembers can be found again from the buckets.
KEEP_EVERY: Final = timedelta(minutes=5)


class Rollbacks(Protocol):
    """Who makes the legacy column the arbiter again. Idempotent, never refused."""

    async def rollback(
        self,
        tenant_id: UUID,
        *,
        reason: str,
        actor: Actor,
        decision_id: UUID | None = None,
        is_automatic: bool = False,
    ) -> object:
        """Roll a tenant back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What an evaluation came to for one subject. decision_id None: nothing was decided."""

    subject: Subject
    decided: Decided
    verdict_before: Verdict
    decision_id: UUID | None = None
    is_rolled_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One look at all subjects, or at some. is_acted: whether verdicts were kept and decisions carried out."""

    now: datetime
    subjects: Sequence[Evaluated]
    thresholds: Thresholds
    is_acted: bool

    @property
    def decisions(self) -> int:
        """How many were taken."""
        return sum(each.decision_id is not None for each in self.subjects)


class Monitor:
    """The monitor. Built once per process; the processes take turns."""

    def __init__(self, database: Database, *, rollout: Rollbacks) -> None:
        self._database = database
        self._rollout = rollout
        self._inputs = Inputs(database)

    async def run_due(self, _now: datetime) -> int:
        """One tick: look at everything by the database's clock; how many decisions were taken. While another process
        is at it, none."""
        try:
            return (await self.evaluate()).decisions
        except (MonitorBusy, LeaseLost) as error:
            log.info("monitor.left_to_another", why=type(error).__name__)
            return 0

    async def evaluate(
        self,
        *,
        now: datetime | None = None,
        tenant_id: UUID | None = None,
        providers: Sequence[str] | None = None,
        thresholds: Thresholds | None = None,
    ) -> Evaluation:
        """Look at everything, or at one tenant and these providers, and act on it.

        now: the database's clock unless given. Raises MonitorBusy, TenantNotFound, or LeaseLost when another process
        took over meanwhile: what was written until then stands.
        """
        lease = await self._take_lease()
        started = time.monotonic()
        is_complete = False
        try:
            now = now or lease.now
            judged = await self._judge(
                now=now, tenant_id=tenant_id, providers=providers, thresholds=thresholds, lease=lease
            )
            evaluated = [await self._settle(lease, each, situation, now=now) for each, situation in judged]
            is_complete = tenant_id is None
        finally:
            await self._release(lease, is_complete=is_complete, started=started)
        return Evaluation(now=now, subjects=evaluated, thresholds=_thresholds_of(judged, thresholds), is_acted=True)

    async def preview(
        self,
        *,
        at: datetime | None = None,
        tenant_id: UUID | None = None,
        thresholds: Thresholds | None = None,
    ) -> Evaluation:
        """What the monitor would say, without keeping or doing anything: now, or at any time of which minutes are kept.

        Of the past nothing is remembered: the verdict is what the day before `at` says by itself.
        Raises TenantNotFound.
        """
        now = at
        if now is None:
            async with self._database.connection() as conn:
                now = (await monitor_repo.find_last_evaluation(conn)).now
        judged = await self._judge(
            now=now, tenant_id=tenant_id, providers=None, thresholds=thresholds, is_past=at is not None
        )
        return Evaluation(
            now=now,
            subjects=[
                Evaluated(
                    subject=each.looked.subject,
                    decided=decide(each.looked.subject, each.assessments, situation),
                    verdict_before=each.verdict_before,
                )
                for each, situation in judged
            ],
            thresholds=_thresholds_of(judged, thresholds),
            is_acted=False,
        )

    async def acknowledge(
        self, *, kind: SubjectKind, key: str, trigger: Trigger, note: str, actor: Actor, seen: str | None = None
    ) -> KeptVerdict:
        """A person has taken note: the verdict may end when the evidence allows it.

        seen: the mark of the verdict as that person looked at it. Raises VerdictNotFound, VerdictChanged.
        """
        async with self._database.transaction() as conn:
            kept = await verdict_repo.lock(conn, kind=kind, key=key, trigger=trigger)
            if kept is None or kept.verdict.severity == 0:
                raise VerdictNotFound
            if seen not in (None, kept.mark):
                raise VerdictChanged
            # Of the last evaluation, or now if that is later: a verdict is older than the note that is taken of it.
            now = max(kept.evaluated_at, datetime.now(UTC))
            await verdict_repo.acknowledge(conn, kept, by=actor.label, now=now)
            await audit_repo.insert(
                conn,
                kept.subject.tenant_id,
                AuditEntry(
                    actor=actor,
                    action="verdict.acknowledged",
                    object_kind="verdict",
                    object_id=f"{kind.value}:{key}:{trigger.value}",
                    reason=note,
                    after={"verdict": kept.verdict.value, "since": kept.since.isoformat()},
                ),
            )
        return replace(kept, acknowledged_at=now, acknowledged_by=actor.label)

    async def set_auto_rollback(self, tenant_id: UUID, *, is_on: bool, reason: str, actor: Actor) -> None:
        """Say whether a tenant may be rolled back without asking anybody. Raises TenantNotFound."""
        async with self._database.transaction() as conn:
            before = await monitor_repo.lock_auto_rollback(conn, tenant_id)
            if before is None:
                raise TenantNotFound
            await monitor_repo.set_auto_rollback(conn, tenant_id, auto_rollback=is_on, set_by=actor.label)
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="auto_rollback.changed",
                    object_kind="tenant",
                    object_id=str(tenant_id),
                    reason=reason,
                    before={"auto_rollback": before},
                    after={"auto_rollback": is_on},
                ),
            )

    async def _take_lease(self) -> Lease:
        holder = uuid4().hex
        deadline = time.monotonic() + BUSY_SECONDS_MAX
        while True:
            async with self._database.connection() as conn:
                lease = await monitor_repo.take_lease(conn, holder=holder)
            if lease is not None:
                return lease
            if time.monotonic() >= deadline:
                raise MonitorBusy
            await asyncio.sleep(0.1)

    async def _release(self, lease: Lease, *, is_complete: bool, started: float) -> None:
        try:
            async with self._database.connection() as conn:
                await monitor_repo.release_lease(
                    conn,
                    lease,
                    is_complete=is_complete,
                    evaluated_in_ms=round((time.monotonic() - started) * 1000),
                )
        except TemporarilyUnavailable:
            # It runs out by itself.
            log.warning("monitor.lease_not_released")

    async def _judge(
        self,
        *,
        now: datetime,
        tenant_id: UUID | None,
        providers: Sequence[str] | None,
        thresholds: Thresholds | None,
        lease: Lease | None = None,
        is_past: bool = False,
    ) -> list[tuple[Judged, Situation]]:
        """Every subject with its assessments and its situation; those whose ledger decides first."""
        async with self._database.connection() as conn:
            verdicts = [] if is_past else await verdict_repo.list_verdicts(conn)
        kept = {(each.subject.key, each.subject.trigger): each for each in verdicts}
        judged: list[Judged] = []
        async for looked in self._inputs.gather(
            now=now,
            kept=kept,
            tenant_id=tenant_id,
            providers=providers,
            thresholds=thresholds,
            is_past=is_past,
        ):
            # Not in the loop that answers requests: a day of a busy tenant is some milliseconds of computing.
            assessments = await asyncio.to_thread(_assess, looked.inputs)
            before = kept.get((looked.subject.key, looked.subject.trigger))
            each = Judged(looked=looked, assessments=assessments, before=before)
            judged.append(each if _may_matter(each) else replace(each, looked=replace(looked, inputs=())))
            if lease is not None and len(judged) % 100 == 0:
                async with self._database.connection() as conn:
                    await monitor_repo.hold_lease(conn, lease)
        if tenant_id is not None and not judged:
            raise TenantNotFound
        causes = _global_causes(judged)
        return [(each, await self._situation(each, causes, now=now)) for each in judged]

    async def _situation(self, judged: Judged, causes: Mapping[Trigger, bool], *, now: datetime) -> Situation:
        tenant = judged.looked.tenant
        if tenant is None or not judged.looked.inputs:
            return Situation(
                verdict_before=judged.verdict_before,
                evaluated_before=judged.evaluated_before,
                epoch=None if tenant is None else tenant.epoch,
            )
        async with self._database.connection() as conn:
            rollbacks = await monitor_repo.count_rollbacks(conn, tenant.id, epoch=tenant.epoch, now=now)
        return Situation(
            verdict_before=judged.verdict_before,
            evaluated_before=judged.evaluated_before,
            is_enforced=tenant.is_enforced,
            auto_rollback=tenant.auto_rollback,
            epoch=tenant.epoch,
            is_sandbox=tenant.is_sandbox,
            is_global_cause=causes.get(judged.looked.subject.trigger, False) and not tenant.is_sandbox,
            is_rollback_decided=rollbacks.is_decided,
            rollbacks_before=rollbacks.of_tenant,
            others_rolled_back=rollbacks.others,
            is_broken=not BROKEN_INVARIANTS.isdisjoint(judged.looked.inputs[0].surroundings.broken),
        )

    async def _settle(self, lease: Lease, judged: Judged, situation: Situation, *, now: datetime) -> Evaluated:
        """Write down and do what follows for one subject."""
        subject = judged.looked.subject
        decided = decide(subject, judged.assessments, situation)
        evaluated = Evaluated(subject=subject, decided=decided, verdict_before=judged.verdict_before)
        decision_id = None
        if decided.is_due or _is_to_be_kept(judged.before, decided, now=now):
            try:
                decision_id = await write(self._database, lease, judged, situation, decided, now=now)
            except (AcknowledgedMeanwhile, psycopg.errors.UniqueViolation) as error:
                # Somebody was quicker; what is due stays due.
                log.info("monitor.left_to_next", subject=subject.key, why=type(error).__name__)
                return evaluated
        # From here on the decision is committed.
        tenant = judged.looked.tenant
        is_rolled_back = False
        if tenant is not None and decided.wants_rollback and situation.is_enforced:
            is_rolled_back = await self._roll_back(lease, tenant, decided, decision_id=decision_id)
        return replace(evaluated, decision_id=decision_id, is_rolled_back=is_rolled_back)

    async def _roll_back(
        self, lease: Lease, tenant: WatchedTenant, decided: Decided, *, decision_id: UUID | None
    ) -> bool:
        """Carry a rollback out, also one that was decided by a process that died before it could."""
        async with self._database.transaction() as conn:
            await monitor_repo.hold_lease(conn, lease)
            if decision_id is None or not decided.is_rollback:
                decision_id = await monitor_repo.find_rollback(conn, tenant.id, epoch=tenant.epoch)
        if decision_id is None:
            return False
        try:
            change = await self._rollout.rollback(
                tenant.id,
                reason=cut_reason(decided.sentences["en"]),
                actor=SYSTEM,
                decision_id=decision_id,
                is_automatic=True,
            )
        except (TemporarilyUnavailable, psycopg.Error) as error:
            # The tenant is still enforced, so the next evaluation finds the rollback due and does it.
            log.error("monitor.rollback_failed", tenant_id=str(tenant.id), error=repr(error))
            return False
        (log.info if tenant.is_sandbox else log.error)(
            "monitor.rolled_back", tenant_id=str(tenant.id), decision_id=str(decision_id)
        )
        async with self._database.connection() as conn:
            await monitor_repo.record_result(
                conn, decision_id, "rollback", is_done=True, result={"change": str(change)}
            )
        return True


def _assess(inputs: Sequence[AssessmentInput]) -> tuple[Assessment, ...]:
    return tuple(each.assess() for each in inputs)


def _may_matter(judged: Judged) -> bool:
    return judged.verdict_before.severity > 0 or any(
        each.verdict.severity > 0 or each.observed.severity > 0 for each in judged.assessments
    )


def _global_causes(judged: Sequence[Judged]) -> dict[Trigger, bool]:
    by_trigger: dict[Trigger, dict[str, Assessment]] = {}
    for each in judged:
        if each.looked.tenant is not None and not each.looked.tenant.is_sandbox:
            trigger = each.looked.subject.trigger
            by_trigger.setdefault(trigger, {})[each.looked.subject.key] = find_worst(each.assessments)
    thresholds = _thresholds_of([(each, None) for each in judged], None)
    return {trigger: find_global_cause(those, thresholds=thresholds) for trigger, those in by_trigger.items()}


def _thresholds_of(judged: Sequence[tuple[Judged, Situation | None]], thresholds: Thresholds | None) -> Thresholds:
    """Those that were judged by; they are the same for all."""
    found = (each.looked.inputs[0].thresholds for each, _ in judged if each.looked.inputs)
    return thresholds or next(found, Thresholds())


def _is_to_be_kept(before: KeptVerdict | None, decided: Decided, *, now: datetime) -> bool:
    return (
        before is None
        or decided.verdict is not before.verdict
        or decided.verdict.severity > 0
        or now - before.evaluated_at >= KEEP_EVERY
    )
