"""The monitor: what stands, why, what was decided; and telling it that somebody has taken note."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from backend.app.api.guards import TENANT_PARAMETERS, actor_of, path_uuid, require_admin
from backend.app.api.lists import Cursor, CursorMeta, CursorPage, Limit, Offset, next_cursor
from backend.app.api.responses import problems
from backend.app.api.schemas import LIMIT_DEFAULT, PRINTABLE
from backend.app.domain.bucket import Trigger
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.monitor import DecisionNotFound, SubjectKind, VerdictNotFound
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.monitor_repo import DecisionRow, ResultRow
from backend.app.repositories.verdict_repo import ShownVerdict
from backend.app.services.monitor import Evaluated, Monitor
from backend.app.services.monitor_reader import MonitorReader, TenantEvidence
from backend.app.services.selftest import Selftest

AnyRequest = Request[Any, Any, Any]

TenantId = Annotated[str, PathParameter(description="The tenant", schema_extra={"format": "uuid"})]
DecisionId = Annotated[str, PathParameter(description="The decision", schema_extra={"format": "uuid"})]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=PRINTABLE)]
ANYBODY: Final = (Role.TENANT_ADMIN, Role.FINANCE, Role.APPROVER, Role.RECON, Role.VIEWER)


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


@get("/monitor", guards=[require_admin(*ANYBODY)], responses=problems(400, 401, 403), summary="What the monitor says")
async def get_monitor(request: AnyRequest, monitor_reader: NamedDependency[MonitorReader]) -> MonitorOut:
    """Verdicts of one's tenant; for an owner without X-Tenant-ID, of all tenants and providers."""
    admin: AdminIdentity = request.user
    fleet = await monitor_reader.read_fleet(admin.scope_tenant_id)
    test = fleet.last_selftest
    return MonitorOut(
        evaluated_at=fleet.last_evaluation.evaluated_at,
        age_seconds=fleet.last_evaluation.age_seconds,
        selftest=None
        if test is None
        else LastSelftestOut(outcome=test.outcome, findings=dict(test.findings), finished_at=test.finished_at),
        verdicts=[_verdict_out(each) for each in fleet.verdicts],
        top_tenants={
            stream.value: [TopTenantOut(**tenant._asdict()) for tenant in tenants]
            for stream, tenants in fleet.top_tenants.items()
        },
        deliveries={
            provider: [DeliveriesOut(**total._asdict()) for total in totals]
            for provider, totals in fleet.deliveries.items()
        },
    )


@get(
    "/tenants/{tenant_id:str}/evidence",
    guards=[require_admin(*ANYBODY)],
    responses=problems(400, 401, 403, 404),
    summary="Who and what is behind a tenant's verdicts",
)
async def get_tenant_evidence(
    request: AnyRequest, tenant_id: TenantId, monitor_reader: NamedDependency[MonitorReader]
) -> TenantEvidenceOut:
    """Series, players, classes, processes and decisions of one tenant."""
    admin: AdminIdentity = request.user
    asked = path_uuid(tenant_id, missing=TenantNotFound())
    if admin.scope_tenant_id not in (None, asked):
        raise TenantNotFound
    found = await monitor_reader.read_tenant(asked)
    if found is None:
        raise TenantNotFound
    return tenant_evidence_out(found)


@post(
    "/evaluate",
    guards=[require_admin()],
    status_code=200,
    responses=problems(400, 401, 403),
    summary="Run the monitor once, now",
)
async def post_evaluate(request: AnyRequest, monitor: NamedDependency[Monitor]) -> EvaluationOut:
    """Look at everything, or with X-Tenant-ID at one tenant, and act on it as the monitor does by itself."""
    admin: AdminIdentity = request.user
    evaluation = await monitor.evaluate(tenant_id=admin.scope_tenant_id)
    return EvaluationOut(
        now=evaluation.now,
        thresholds=evaluation.thresholds.to_json(),
        subjects=[_evaluated_out(each) for each in evaluation.subjects],
    )


@post(
    "/verdicts/{subject_kind:str}/{subject:str}/{trigger:str}/acknowledge",
    guards=[require_admin()],
    status_code=200,
    responses=problems(400, 401, 403, 404, 422),
    summary="Take note of a verdict",
)
async def post_acknowledge(
    request: AnyRequest,
    subject_kind: Annotated[str, PathParameter(description="tenant or provider")],
    subject: Annotated[str, PathParameter(description="The tenant's id, or the provider's name")],
    trigger: Annotated[str, PathParameter(description="T1, T2 or T3")],
    data: JSONBody[AcknowledgeIn],
    monitor: NamedDependency[Monitor],
) -> dict[str, Any]:
    """A verdict that is high or worse ends only after somebody has taken note of it and the evidence is well again."""
    admin: AdminIdentity = request.user
    try:
        kind, known_trigger = SubjectKind(subject_kind), Trigger(trigger)
    except ValueError:
        raise VerdictNotFound from None
    if admin.scope_tenant_id is not None and subject != str(admin.scope_tenant_id):
        raise VerdictNotFound
    kept = await monitor.acknowledge(
        kind=kind, key=subject, trigger=known_trigger, note=data.note, actor=actor_of(request)
    )
    return {
        "subject_kind": kind.value,
        "subject": subject,
        "trigger": known_trigger.value,
        "verdict": kept.verdict.value,
        "since": kept.since,
        "acknowledged_at": kept.acknowledged_at,
        "acknowledged_by": kept.acknowledged_by,
    }


@put(
    "/tenants/{tenant_id:str}/auto-rollback",
    guards=[require_admin()],
    responses=problems(400, 401, 403, 404, 422),
    summary="Let the monitor roll a tenant back, or not",
)
async def put_auto_rollback(
    request: AnyRequest,
    tenant_id: TenantId,
    data: JSONBody[AutoRollbackIn],
    monitor: NamedDependency[Monitor],
) -> AutoRollbackOut:
    """With it a tenant goes back to the legacy balance as soon as the evidence proves wrong refusals, at any hour."""
    admin: AdminIdentity = request.user
    asked = path_uuid(tenant_id, missing=TenantNotFound())
    if admin.scope_tenant_id not in (None, asked):
        raise TenantNotFound
    await monitor.set_auto_rollback(asked, is_on=data.enabled, reason=data.reason, actor=actor_of(request))
    return AutoRollbackOut(tenant_id=asked, auto_rollback=data.enabled)


@get(
    "/decisions",
    guards=[require_admin(*ANYBODY)],
    responses=problems(400, 401, 403, 422),
    summary="What the monitor decided, newest first",
)
async def list_decisions(
    request: AnyRequest,
    monitor_reader: NamedDependency[MonitorReader],
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
    offset: Offset = 0,
) -> CursorPage[DecisionOut]:
    """Decisions about one's tenant; for an owner without X-Tenant-ID all."""
    admin: AdminIdentity = request.user
    page, total = await monitor_reader.list_decisions(
        admin.scope_tenant_id, before_id=cursor, limit=limit, offset=offset
    )
    last_id = page[-1].id if page else None
    return CursorPage(
        items=[_decision_out(each) for each in page],
        meta=CursorMeta(
            total=total, limit=limit, offset=offset, next_cursor=next_cursor(last_id, size=len(page), limit=limit)
        ),
    )


@get(
    "/decisions/{decision_id:str}",
    guards=[require_admin(*ANYBODY)],
    responses=problems(400, 401, 403, 404),
    summary="A decision, with all it was made from",
)
async def get_decision(
    request: AnyRequest, decision_id: DecisionId, monitor_reader: NamedDependency[MonitorReader]
) -> DerivedOut:
    """The evidence of a decision, and the decision made once more from it."""
    admin: AdminIdentity = request.user
    derived = await monitor_reader.derive_again(
        admin.scope_tenant_id, decision_id=path_uuid(decision_id, missing=DecisionNotFound())
    )
    return DerivedOut(
        is_same=derived.is_same,
        kept_verdict=derived.kept_verdict,
        verdict=derived.again.verdict.value,
        kept_actions=dict(derived.kept_actions),
        actions=derived.again.actions_document,
        evidence=dict(derived.evidence),
    )


@post(
    "/selftest",
    guards=[require_admin()],
    status_code=200,
    responses=problems(400, 401, 403),
    summary="Let the monitor prove itself",
)
async def post_selftest(request: AnyRequest, selftest: NamedDependency[Selftest]) -> SelftestOut:
    """Plant faults in the sandbox and see whether the verdicts come; nobody else is touched."""
    report = await selftest.run(started_by=actor_of(request).label)
    return SelftestOut(outcome=report.outcome, findings=dict(report.findings))


def tenant_evidence_out(found: TenantEvidence) -> TenantEvidenceOut:
    """The evidence of a tenant as it is shown."""
    return TenantEvidenceOut(
        tenant_id=found.tenant_id,
        auto_rollback=found.auto_rollback,
        verdicts=[_verdict_out(each) for each in found.verdicts],
        series={
            stream.value: [PointOut(at=point.at, n=point.n, x=point.x) for point in points]
            for stream, points in found.series.items()
        },
        step_seconds=found.step_seconds,
        top_players=[TopPlayerOut(**each._asdict()) for each in found.top_players],
        classes=[ClassOut(**each._asdict()) for each in found.classes],
        instances=[InstanceOut(**each._asdict()) for each in found.instances],
        decisions=[_decision_out(each) for each in found.decisions],
        results=[_result_out(each) for each in found.results],
    )


def _verdict_out(shown: ShownVerdict) -> VerdictOut:
    return VerdictOut(**_plain(shown._asdict()))


def _decision_out(row: DecisionRow) -> DecisionOut:
    return DecisionOut(**_plain(row._asdict()))


def _result_out(row: ResultRow) -> ResultOut:
    return ResultOut(**_plain(row._asdict()))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return dict(fields)


def _evaluated_out(each: Evaluated) -> EvaluatedOut:
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


router: Final = Router(
    "/ops/rollout",
    parameters=TENANT_PARAMETERS,
    route_handlers=[
        get_monitor,
        get_tenant_evidence,
        post_evaluate,
        post_acknowledge,
        put_auto_rollback,
        list_decisions,
        get_decision,
        post_selftest,
    ],
    tags=["rollout monitor"],
    security=[{"bearer": []}],
)
