"""What the monitor's routes take in and give out."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from backend.app.api.schemas import PRINTABLE
from backend.app.repositories.monitor.monitor_repo import DecisionRow, ResultRow
from backend.app.repositories.monitor.verdict_repo import ShownVerdict
from backend.app.services.monitor.monitor import Evaluated
from backend.app.services.monitor.monitor_reader import TenantEvidence

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=PRINTABLE)]


class VerdictOut(msgspec.Struct, kw_only=True):
    """A verdict as it stands. subject: a tenant's id or a provider's name. sentences: by language."""

    subject_kind: str
    subject: str
    name: str
    trigger: str
    tenant_id: UUID | None
    verdict: str
    since: datetime
    evaluated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    decision_id: UUID | None
    assessments: list[dict[str, Any]]
    sentences: dict[str, str]
    actions: dict[str, Any]
    score: float


class SelftestOut(msgspec.Struct, kw_only=True):
    """How a self-test of the monitor ended: passed, failed or skipped; by what was expected."""

    outcome: str
    findings: dict[str, Any]


class LastSelftestOut(SelftestOut, kw_only=True):
    """The last one."""

    finished_at: datetime


class TopTenantOut(msgspec.Struct, kw_only=True):
    """A tenant behind a stream's x in the last hour."""

    tenant_id: UUID
    slug: str
    x: int


class DeliveriesOut(msgspec.Struct, kw_only=True):
    """A provider's deliveries of the last hour by what their signature is; credible: of a sender to believe."""

    result: str
    is_credible: bool
    n: int


class MonitorOut(msgspec.Struct, kw_only=True):
    """What stands, the most serious first."""

    evaluated_at: datetime | None
    age_seconds: float | None
    selftest: LastSelftestOut | None
    verdicts: list[VerdictOut]
    top_tenants: dict[str, list[TopTenantOut]]
    deliveries: dict[str, list[DeliveriesOut]]


class PointOut(msgspec.Struct, kw_only=True):
    """One step of a series: n of which x."""

    at: datetime
    n: int
    x: int


class TopPlayerOut(msgspec.Struct, kw_only=True):
    """A player behind x. amount_minor: what was at stake in all, in minor units of the currency."""

    player_id: str
    stream: str
    currency: str
    events: int
    minutes: int
    amount_minor: int
    first_minute: datetime
    last_minute: datetime


class ClassOut(msgspec.Struct, kw_only=True):
    """Mismatches of one class."""

    mismatch_class: str
    wallets: int
    occurrences: int
    amount_minor: int


class InstanceOut(msgspec.Struct, kw_only=True):
    """What one process counted of a stream."""

    instance: int
    app_version: str
    stream: str
    n: int
    x: int


class DecisionOut(msgspec.Struct, kw_only=True):
    """A decision of the monitor."""

    id: UUID
    subject_kind: str
    subject: str
    tenant_id: UUID | None
    trigger: str
    verdict_before: str
    verdict: str
    actions: dict[str, Any]
    is_automatic: bool
    is_rollback: bool
    epoch: int | None
    sentences: dict[str, str]
    detector_version: str
    decided_at: datetime


class ResultOut(msgspec.Struct, kw_only=True):
    """What became of an action of a decision."""

    decision_id: UUID
    action: str
    is_done: bool
    result: dict[str, Any]
    recorded_at: datetime


class TenantEvidenceOut(msgspec.Struct, kw_only=True):
    """All that the monitor knows of one tenant; series by stream, of the last day."""

    tenant_id: UUID
    auto_rollback: bool
    verdicts: list[VerdictOut]
    series: dict[str, list[PointOut]]
    step_seconds: int
    top_players: list[TopPlayerOut]
    classes: list[ClassOut]
    instances: list[InstanceOut]
    decisions: list[DecisionOut]
    results: list[ResultOut]


class EvaluatedOut(msgspec.Struct, kw_only=True):
    """What an evaluation came to for one subject. decision_id null: nothing was decided."""

    subject_kind: str
    subject: str
    name: str
    trigger: str
    verdict_before: str
    verdict: str
    sentences: dict[str, str]
    actions: dict[str, Any]
    decision_id: UUID | None
    is_rolled_back: bool


class EvaluationOut(msgspec.Struct, kw_only=True):
    """One look at everything, acted upon."""

    now: datetime
    thresholds: dict[str, Any]
    subjects: list[EvaluatedOut]


class DerivedOut(msgspec.Struct, kw_only=True):
    """A decision with all it was made from, and how it comes out when it is made again from that."""

    is_same: bool
    kept_verdict: str
    verdict: str
    kept_actions: dict[str, Any]
    actions: dict[str, Any]
    evidence: dict[str, Any]


class AcknowledgeIn(msgspec.Struct, kw_only=True):
    """What the person who takes note has to say."""

    note: Reason


class AutoRollbackIn(msgspec.Struct, kw_only=True):
    """Whether the tenant may be rolled back without asking anybody."""

    enabled: bool
    reason: Reason


class AutoRollbackOut(msgspec.Struct, kw_only=True):
    """How it stands."""

    tenant_id: UUID
    auto_rollback: bool


def tenant_evidence_out(found: TenantEvidence) -> TenantEvidenceOut:
    """The evidence of a tenant as it is shown."""
    return TenantEvidenceOut(
        tenant_id=found.tenant_id,
        auto_rollback=found.auto_rollback,
        verdicts=[verdict_out(each) for each in found.verdicts],
        series={
            stream.value: [PointOut(at=point.at, n=point.n, x=point.x) for point in points]
            for stream, points in found.series.items()
        },
        step_seconds=found.step_seconds,
        top_players=[TopPlayerOut(**each._asdict()) for each in found.top_players],
        classes=[ClassOut(**each._asdict()) for each in found.classes],
        instances=[InstanceOut(**each._asdict()) for each in found.instances],
        decisions=[decision_out(each) for each in found.decisions],
        results=[_result_out(each) for each in found.results],
    )


def verdict_out(shown: ShownVerdict) -> VerdictOut:
    """A verdict as it is shown."""
    return VerdictOut(**shown._asdict())


def decision_out(row: DecisionRow) -> DecisionOut:
    """A decision as it is shown."""
    return DecisionOut(**row._asdict())


def _result_out(row: ResultRow) -> ResultOut:
    return ResultOut(**row._asdict())


def evaluated_out(each: Evaluated) -> EvaluatedOut:
    """What an evaluation came to, as it is shown."""
    return EvaluatedOut(
        subject_kind=each.subject.kind.value,
        subject=each.subject.key,
        name=each.subject.name,
        trigger=each.subject.trigger.value,
        verdict_before=each.verdict_before.value,
        verdict=each.decided.verdict.value,
        sentences=dict(each.decided.sentences),
        actions=each.decided.actions_document,
        decision_id=each.decision_id,
        is_rolled_back=each.is_rolled_back,
    )
