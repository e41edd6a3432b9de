"""The monitor: what stands, why, what was decided; and telling it that somebody has taken note."""

from typing import Annotated, Any, Final

from litestar import Request, Router, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from backend.app.api.guards import TENANT_PARAMETERS, actor_of, require_admin
from backend.app.api.lists import Cursor, CursorMeta, CursorPage, Limit, Offset, next_cursor
from backend.app.api.responses import problems
from backend.app.api.rollout_monitor_schemas import (
    AcknowledgeIn,
    AutoRollbackIn,
    AutoRollbackOut,
    DecisionOut,
    DeliveriesOut,
    DerivedOut,
    EvaluationOut,
    LastSelftestOut,
    MonitorOut,
    SelftestOut,
    TenantEvidenceOut,
    TopTenantOut,
    decision_out,
    evaluated_out,
    tenant_evidence_out,
    verdict_out,
)
from backend.app.api.schemas import LIMIT_DEFAULT
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.ids import path_uuid
from backend.app.domain.monitor.bucket import Trigger
from backend.app.domain.monitor.monitor import DecisionNotFound, SubjectKind, VerdictNotFound
from backend.app.domain.tenant import TenantNotFound
from backend.app.services.monitor.monitor import Monitor
from backend.app.services.monitor.monitor_reader import MonitorReader
from backend.app.services.monitor.selftest import Selftest

AnyRequest = Request[Any, Any, Any]

TenantId = Annotated[str, PathParameter(description="The tenant", schema_extra={"format": "uuid"})]
DecisionId = Annotated[str, PathParameter(description="The decision", schema_extra={"format": "uuid"})]
ANYBODY: Final = (Role.TENANT_ADMIN, Role.FINANCE, Role.APPROVER, Role.RECON, Role.VIEWER)


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
        verdicts=[verdict_out(each) for each in fleet.verdicts],
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
        subjects=[evaluated_out(each) for each in evaluation.subjects],
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
        items=[decision_out(each) for each in page],
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
