"""Taking note of a verdict, and lifting a hold. Each has a page of its own, since the pages that lead to it refresh
themselves and would take away what is being typed.
"""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.visit import Form, action, page
from backend.app.domain.errors import AppError
from backend.app.domain.ids import path_uuid
from backend.app.domain.monitor.bucket import Trigger
from backend.app.domain.monitor.monitor import SubjectKind, VerdictNotFound
from backend.app.domain.rollout.flags import parse_reason
from backend.app.domain.rollout.rollout_state import HoldNotFound
from backend.app.services.desk.rollout_desk import RolloutDesk
from backend.app.services.monitor.monitor import Monitor
from backend.app.services.people.console_sessions import ConsoleSessions

AnyRequest = Request[Any, Any, Any]
VERDICT_PATH: Final = "/rollout/verdicts/{subject_kind:str}/{subject:str}/{trigger:str}"


@page(VERDICT_PATH, of=Page.ROLLOUT_DEEDS)
async def get_verdict(
    request: AnyRequest,
    subject_kind: FromPath[str],
    subject: FromPath[str],
    trigger: FromPath[str],
    rollout_desk: NamedDependency[RolloutDesk],
) -> Response[Any]:
    """A verdict as it stands, and who took note of it. Raises VerdictNotFound."""
    return await _show_verdict(request, rollout_desk, _named(subject_kind, subject, trigger))


@action(VERDICT_PATH + "/acknowledge", of=Page.ROLLOUT_DEEDS)
async def post_acknowledge(
    request: AnyRequest,
    subject_kind: FromPath[str],
    subject: FromPath[str],
    trigger: FromPath[str],
    rollout_desk: NamedDependency[RolloutDesk],
    monitor: NamedDependency[Monitor],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Takes note of it; when it is another verdict by now, that one is shown. Raises VerdictNotFound."""
    named = _named(subject_kind, subject, trigger)
    kind, key, known = named
    form = await visit.form_of(request)
    # Who looks at one tenant finds that tenant's verdicts alone.
    await rollout_desk.verdict(visit.admin_of(request).scope_tenant_id, kind=kind, subject=key, trigger=known)
    try:
        note = parse_reason(form.get("reason", ""))
        await monitor.acknowledge(
            kind=kind,
            key=key,
            trigger=known,
            note=note,
            actor=visit.actor_of(request),
            seen=form.get("seen", ""),
        )
    except AppError as refusal:
        return await _show_verdict(request, rollout_desk, named, refusal=refusal, form=form)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": "rollout.acknowledged"})
    return render.redirect(request, f"/console/rollout/verdicts/{kind}/{key}/{known}")


@page("/rollout/holds/{hold_id:str}", of=Page.ROLLOUT_DEEDS)
async def get_hold(
    request: AnyRequest, hold_id: FromPath[str], rollout_desk: NamedDependency[RolloutDesk]
) -> Response[Any]:
    """A hold, also one that is over. Raises HoldNotFound."""
    return await _show_hold(request, rollout_desk, _hold_id(hold_id))


@action("/rollout/holds/{hold_id:str}/lift", of=Page.ROLLOUT_DEEDS)
async def post_lift(
    request: AnyRequest,
    hold_id: FromPath[str],
    rollout_desk: NamedDependency[RolloutDesk],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Lifts it; when somebody did before, the page says who and why. Raises HoldNotFound for one that never was."""
    id_ = _hold_id(hold_id)
    form = await visit.form_of(request)
    hold = (await rollout_desk.find_hold(visit.admin_of(request).scope_tenant_id, hold_id=id_)).hold
    try:
        reason = parse_reason(form.get("reason", ""))
        await rollout_desk.lift(hold.tenant_id, hold_id=id_, reason=reason, actor=visit.actor_of(request))
    except AppError as refusal:
        return await _show_hold(request, rollout_desk, id_, refusal=refusal, form=form)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": "rollout.lifted"})
    return render.redirect(
        request, "/console/rollout" if hold.tenant_id is None else f"/console/rollout/{hold.tenant_id}"
    )


async def _show_verdict(
    request: AnyRequest,
    desk: RolloutDesk,
    named: tuple[SubjectKind, str, Trigger],
    *,
    refusal: AppError | None = None,
    form: Form | None = None,
) -> Response[Any]:
    kind, subject, trigger = named
    detail = await desk.verdict(visit.admin_of(request).scope_tenant_id, kind=kind, subject=subject, trigger=trigger)
    return await render.show(
        request,
        "rollout/verdict.html",
        status=200 if refusal is None else refusal.status,
        detail=detail,
        each=detail.standing,
        refusal=refusal,
        typed="" if form is None else form.get("reason", ""),
    )


async def _show_hold(
    request: AnyRequest,
    desk: RolloutDesk,
    hold_id: UUID,
    *,
    refusal: AppError | None = None,
    form: Form | None = None,
) -> Response[Any]:
    detail = await desk.find_hold(visit.admin_of(request).scope_tenant_id, hold_id=hold_id)
    return await render.show(
        request,
        "rollout/hold.html",
        status=200 if refusal is None else refusal.status,
        detail=detail,
        hold=detail.hold,
        stands=detail.stands(now=datetime.now(UTC)),
        refusal=refusal,
        typed="" if form is None else form.get("reason", ""),
    )


def _named(subject_kind: str, subject: str, trigger: str) -> tuple[SubjectKind, str, Trigger]:
    """Which verdict an address names. Raises VerdictNotFound."""
    try:
        kind, known = SubjectKind(subject_kind), Trigger(trigger)
    except ValueError:
        raise VerdictNotFound from None
    if not subject.isprintable():
        raise VerdictNotFound
    return kind, subject, known


def _hold_id(text: str) -> UUID:
    return path_uuid(text, missing=HoldNotFound())


HANDLERS: Final = (get_verdict, post_acknowledge, get_hold, post_lift)
