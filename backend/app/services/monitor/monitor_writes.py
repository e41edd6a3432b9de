"""Writing down what the monitor decided: decision, verdict, holds, jobs and audit in one transaction, while the lease
lasts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.audit import Actor, ActorKind, AuditEntry
from backend.app.domain.monitor.assessment import Assessment, Verdict
from backend.app.domain.monitor.monitor import Decided, KeptVerdict, Situation, Subject, evidence_document
from backend.app.domain.rollout.rollout_state import HoldKind
from backend.app.repositories import audit_repo, job_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.monitor import monitor_repo, verdict_repo
from backend.app.repositories.monitor.monitor_repo import Lease, NewDecision
from backend.app.services.monitor.monitor_inputs import SANDBOX_PROVIDER, Looked
from backend.app.services.rollout import rollout_holds

log = structlog.get_logger()

LOOK_JOB: Final = "monitor.look"
SYSTEM: Final = Actor(kind=ActorKind.SYSTEM, actor_id=None, label="monitor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A subject with its assessments; its inputs too, unless all is quiet and nothing can follow."""

    looked: Looked
    assessments: tuple[Assessment, ...]
    before: KeptVerdict | None

    @property
    def verdict_before(self) -> Verdict:
        """The verdict that stood until now."""
        return Verdict.NO_DATA if self.before is None else self.before.verdict

    @property
    def evaluated_before(self) -> datetime | None:
        """When it was looked at last."""
        return None if self.before is None else self.before.evaluated_at


class AcknowledgedMeanwhile(Exception):
    """A person has taken note of the verdict between reading and writing it."""


async def write(
    database: Database, lease: Lease, judged: Judged, situation: Situation, decided: Decided, *, now: datetime
) -> UUID | None:
    """Write down what was decided and how the verdict stands; the decision's id, if one was due.

    Raises LeaseLost, AcknowledgedMeanwhile, and UniqueViolation when the same rollback was decided by another.
    """
    subject, inputs = judged.looked.subject, judged.looked.inputs
    decision_id = None
    async with database.transaction() as conn:
        await monitor_repo.hold_lease(conn, lease)
        if decided.is_due:
            assert inputs, "a verdict that may change keeps its inputs"
            decision_id = await monitor_repo.insert_decision(
                conn,
                subject.tenant_id,
                NewDecision(
                    subject=subject,
                    verdict_before=judged.verdict_before.value,
                    decided=decided,
                    epoch=situation.epoch,
                    evidence=evidence_document(subject, inputs, situation, decided),
                    thresholds=inputs[0].thresholds.to_json(),
                    decided_at=now,
                ),
                lease=lease,
            )
            await _place_holds(conn, subject, decided, decision_id=decision_id)
            await _defer_looks(conn, subject, decided, decision_id=decision_id)
            await _audit(conn, subject, judged.verdict_before, decided, decision_id=decision_id)
        if not await verdict_repo.keep(conn, subject, decided, decision_id=decision_id, before=judged.before, now=now):
            raise AcknowledgedMeanwhile
    if decision_id is not None:
        _tell(subject, judged.verdict_before, decided, decision_id=decision_id, is_sandbox=situation.is_sandbox)
    return decision_id


async def _place_holds(conn: Connection, subject: Subject, decided: Decided, *, decision_id: UUID) -> None:
    for plan in decided.holds:
        await rollout_holds.place(
            conn,
            HoldKind(plan.kind),
            None if plan.is_of_fleet else subject.tenant_id,
            reason=plan.reason,
            # From now on, whatever moment was looked at.
            until=None if plan.lasts is None else datetime.now(UTC) + plan.lasts,
            actor=SYSTEM,
            decision_id=decision_id,
        )


async def _defer_looks(conn: Connection, subject: Subject, decided: Decided, *, decision_id: UUID) -> None:
    if subject.tenant_id is None:
        return
    for action in decided.looks:
        await job_repo.defer(
            conn,
            LOOK_JOB,
            {
                "decision_id": str(decision_id),
                "tenant_id": str(subject.tenant_id),
                "action": action.value,
            },
            lock=f"{LOOK_JOB} {subject.tenant_id}",
        )


async def _audit(conn: Connection, subject: Subject, before: Verdict, decided: Decided, *, decision_id: UUID) -> None:
    await audit_repo.insert(
        conn,
        subject.tenant_id,
        AuditEntry(
            actor=SYSTEM,
            action="monitor.decided",
            object_kind="monitor_decision",
            object_id=str(decision_id),
            reason=decided.sentences["en"],
            before={"trigger": subject.trigger.value, "verdict": before.value},
            after={
                "trigger": subject.trigger.value,
                "verdict": decided.verdict.value,
                "automatic": ", ".join(step.action.value for step in decided.automatic) or None,
            },
        ),
    )


def _tell(subject: Subject, before: Verdict, decided: Decided, *, decision_id: UUID, is_sandbox: bool) -> None:
    worst = decided.worst
    facts = {
        "subject_kind": subject.kind.value,
        "subject": subject.key,
        "trigger": subject.trigger.value,
        "stream": worst.stream.value,
        "verdict_before": before.value,
        "verdict": decided.verdict.value,
        "decision_id": str(decision_id),
        "automatic": [step.action.value for step in decided.automatic],
        "recommended": [step.action.value for step in decided.recommended],
        "x_60": worst.x_60,
        "n_60": worst.n_60,
        "distinct_players_60": worst.distinct_players_60,
        "sentence": decided.sentences["en"],
    }
    # Error level means that somebody must act, and nobody must because of a fault that we planted.
    is_planted = is_sandbox or subject.key == SANDBOX_PROVIDER
    level = log.info if is_planted else log.error if decided.verdict.severity > 1 else log.warning
    level("monitor.decided", **facts)
