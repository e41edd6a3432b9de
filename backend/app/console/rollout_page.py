"""One tenant on its way to the ledger: where it stands, what led there, and the flip with the way back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.datastructures import FormMultiDict
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import figures, render, rollout_charts, text, visit
from backend.app.console.access import Page, may
from backend.app.console.cookies import language_of
from backend.app.console.live import live_of
from backend.app.console.text import Language
from backend.app.console.visit import action, page
from backend.app.domain.desk.rollout_desk import FleetRow, TenantNamed
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.ids import find_uuid, path_uuid
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.rollout_actions import matrix
from backend.app.domain.rollout.flags import parse_reason
from backend.app.domain.rollout.gate_texts import gate_document
from backend.app.domain.rollout.gates import Gate, GateResult, GatesNotMet, parse_waived
from backend.app.domain.rollout.rollout_state import HoldNotFound
from backend.app.domain.tenant import TenantNotFound
from backend.app.services.desk.rollout_desk import STEP, RolloutDesk
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.rollout.rollout import Rollout

AnyRequest = Request[Any, Any, Any]
NAME_LENGTH_MAX: Final = 200
# For how long a tenant can be held; the empty one is until somebody lifts it.
HOLD_HOURS: Final = ("", "1", "6", "24", "168")
DEEDS: Final = ("enforce", "rollback", "rehearse", "hold", "lift")


class NotConfirmed(AppError):
    """422: the name that was typed is not the tenant's."""

    error_code = "NAME_NOT_CONFIRMED"
    status = 422
    title = "The name that was typed is not the tenant's"


@page("/rollout/{tenant_id:str}", of=Page.ROLLOUT)
async def get_tenant(
    request: AnyRequest, tenant_id: FromPath[str], rollout_desk: NamedDependency[RolloutDesk]
) -> Response[Any]:
    """The tenant as it stands, with what can be done; what led there is loaded after it. Raises TenantNotFound."""
    return await _show(request, rollout_desk, tenant_id=tenant_id_of(tenant_id))


@page("/rollout/{tenant_id:str}/standing", of=Page.ROLLOUT, is_live=True)
async def get_standing(
    request: AnyRequest, tenant_id: FromPath[str], rollout_desk: NamedDependency[RolloutDesk]
) -> Response[Any]:
    """Where it stands alone, for the page that refreshes it; and a word when somebody flipped it meanwhile."""
    values = await _standing(request, rollout_desk, tenant_id=tenant_id_of(tenant_id))
    return render.part(request, "rollout/standing.html", **values)


@page("/rollout/{tenant_id:str}/past", of=Page.ROLLOUT, is_live=True)
async def get_past(
    request: AnyRequest, tenant_id: FromPath[str], rollout_desk: NamedDependency[RolloutDesk]
) -> Response[Any]:
    """Charts, sums, events and wallets. Raises TenantNotFound."""
    admin, language = visit.admin_of(request), language_of(request)
    id_ = tenant_id_of(tenant_id)
    past = await rollout_desk.past(
        admin.scope_tenant_id, tenant_id=id_, with_deliveries=may(admin.role, Page.ROLLOUT_DELIVERIES)
    )
    return render.part(
        request,
        "rollout/past.html",
        tenant_id=id_,
        past=past,
        charts=[
            (name, chart)
            for name, chart in (
                ("mismatches", rollout_charts.mismatch_chart(past, step=STEP, language=language)),
                ("refusals", rollout_charts.refusal_chart(past, step=STEP, language=language)),
                ("webhooks", rollout_charts.delivery_chart(past, step=STEP, language=language)),
                ("sums", rollout_charts.sums_chart(past.sums, language=language)),
            )
            if chart is not None
        ],
        figures={
            "decisions": sum(step.decisions for step in past.steps),
            "disputed": sum(step.disputed for step in past.steps),
            "comparisons": sum(step.comparisons for step in past.steps),
            "mismatches": sum(step.mismatches for step in past.steps),
        },
        last_sums=[each for each in past.sums if each.finished_at == past.sums[0].finished_at],
        live=live_of(request),
    )


@action("/rollout/{tenant_id:str}/deed", of=Page.ROLLOUT_DEEDS)
async def post_deed(
    request: AnyRequest,
    tenant_id: FromPath[str],
    rollout_desk: NamedDependency[RolloutDesk],
    rollout: NamedDependency[Rollout],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Does it; a refusal shows the tenant as it is now, with what was typed."""
    id_ = tenant_id_of(tenant_id)
    form = await request.form()
    tenant = await rollout_desk.find(visit.admin_of(request).scope_tenant_id, tenant_id=id_)
    try:
        done = await _perform(request, form, id_, tenant, rollout_desk=rollout_desk, rollout=rollout)
    except AppError as refusal:
        return await _show(request, rollout_desk, tenant_id=id_, refusal=refusal, form=form)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": f"rollout.{done}"})
    return render.redirect(request, f"/console/rollout/{id_}")


async def _perform(
    request: AnyRequest,
    form: FormMultiDict,
    tenant_id: UUID,
    tenant: TenantNamed,
    *,
    rollout_desk: RolloutDesk,
    rollout: Rollout,
) -> str:
    """What was done, by the name of its text. Raises FieldError, NotConfirmed, and what the services raise."""
    actor = visit.actor_of(request)
    deed = str(form.get("deed", ""))
    if deed not in DEEDS:
        raise FieldError("deed", "is none that can be done here")
    if deed in ("enforce", "rollback"):
        ensure_confirmed(str(form.get("name", "")), name=tenant.name)
    reason = parse_reason(str(form.get("reason", "")))
    if deed == "enforce":
        waived = parse_waived(str(name) for name in form.getall("waive", []))
        change = await rollout.enforce(tenant_id, reason=reason, actor=actor, waived_gates=waived)
        return "enforced" if change.is_changed else "unchanged"
    if deed == "rollback":
        change = await rollout.rollback(tenant_id, reason=reason, actor=actor)
        return "rolled_back" if change.is_changed else "unchanged"
    if deed == "rehearse":
        await rollout.rehearse(tenant_id, reason=reason, actor=actor)
        return "rehearsed"
    if deed == "hold":
        until = _hold_until(str(form.get("hours", "")), now=datetime.now(UTC))
        await rollout_desk.hold(tenant_id, reason=reason, until=until, actor=actor)
        return "held"
    hold_id = find_uuid(str(form.get("hold_id", "")))
    if hold_id is None:
        raise HoldNotFound
    await rollout_desk.lift(tenant_id, hold_id=hold_id, reason=reason, actor=actor)
    return "lifted"


async def _show(
    request: AnyRequest,
    desk: RolloutDesk,
    *,
    tenant_id: UUID,
    refusal: AppError | None = None,
    form: FormMultiDict | None = None,
) -> Response[Any]:
    values = await _standing(request, desk, tenant_id=tenant_id)
    row: FleetRow = values["row"]
    typed: Mapping[str, str] = {} if form is None else {name: str(value) for name, value in form.items()}
    return await render.show(
        request,
        "rollout/page.html",
        status=200 if refusal is None else refusal.status,
        **values,
        refusal=refusal,
        refused_gates=refusal.extras.get("gates", []) if isinstance(refusal, GatesNotMet) else [],
        typed=typed,
        waived=[] if form is None else [str(name) for name in form.getall("waive", [])],
        hard_gates=[gate for gate in row.gates if gate.gate.is_hard and not gate.is_met and not _is_taken_anew(gate)],
        soft_gates=[gate for gate in row.gates if not gate.gate.is_hard and not gate.is_met],
        own_holds=[hold for hold in row.holds if hold.tenant_id is not None],
        hold_hours=HOLD_HOURS,
        is_enforced=row.facts.tenant.arbiter is Arbiter.LEDGER,
    )


async def _standing(request: AnyRequest, desk: RolloutDesk, *, tenant_id: UUID) -> dict[str, Any]:
    standing = await desk.get(visit.admin_of(request).scope_tenant_id, tenant_id=tenant_id)
    row = standing.row
    epoch = str(row.facts.tenant.epoch)
    seen = request.query_params.get("seen", epoch)
    return {
        "tenant": row.facts.tenant,
        "row": row,
        "flags": standing.flags,
        "gates": gates_shown(row.gates, tenant_id=tenant_id, language=language_of(request)),
        "matrix": matrix(),
        "lit": {each.cell for each in row.standings if each.verdict.severity},
        "is_stale": seen != epoch,
        "seen_epoch": seen if seen.isdecimal() else epoch,
        "live": live_of(request),
    }


def gates_shown(gates: Sequence[GateResult], *, tenant_id: UUID, language: Language) -> list[dict[str, Any]]:
    """Gates as the page tells them: name, whether met, one sentence each on what was found and what to do.

    is_told_below: the reason is long and stands with the hold on the same page, so that it is not in the sentence.
    """
    shown = []
    for gate in gates:
        document = gate_document(gate, tenant_id=tenant_id)
        is_told_below = gate.gate is Gate.HOLDS and "reason" in gate.numbers
        found = _held(gate, language=language) if is_told_below else document["text"][language]
        remedy = document["remedy"][language]
        shown.append({**document, "text": found, "remedy": remedy, "is_told_below": is_told_below})
    return shown


def _held(gate: GateResult, *, language: Language) -> str:
    kind = text.text(language, f"hold.{gate.numbers['kind']}")
    if gate.numbers["ends_at"] is None:
        return text.text(language, "rollout.gate.held", kind=kind)
    ends_at = figures.minute(datetime.fromisoformat(gate.numbers["ends_at"]), language=language)
    return text.text(language, "rollout.gate.held_until", kind=kind, ends_at=ends_at)


def _is_taken_anew(gate: GateResult) -> bool:
    """Whether the flip itself may still meet it: of a tenant that is not large it takes a census on its way."""
    return gate.gate is Gate.CENSUS and gate.case in ("never", "old", "differences")


def tenant_id_of(text: str) -> UUID:
    """An id from an address. What is no UUID names nothing. Raises TenantNotFound."""
    return path_uuid(text, missing=TenantNotFound())


def ensure_confirmed(typed: str, *, name: str) -> None:
    """Raise NotConfirmed unless the tenant's name was typed; spaces are as people make them."""
    if " ".join(typed[:NAME_LENGTH_MAX].split()) != " ".join(name[:NAME_LENGTH_MAX].split()):
        raise NotConfirmed


def _hold_until(hours: str, *, now: datetime) -> datetime | None:
    if hours not in HOLD_HOURS:
        raise FieldError("hours", "is none of the choices")
    return now + timedelta(hours=int(hours)) if hours else None


HANDLERS: Final = (get_tenant, get_standing, get_past, post_deed)
