"""One finding: both sides beside each other, what happened to it, and what can be done about it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.live import live_of
from backend.app.console.visit import Form, action, page
from backend.app.domain.desk.reconciliation_desk import FindingDetail, is_open, sides_of
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.finding import (
    NOTE_LENGTH_MAX,
    RESOLUTIONS_BY_PEOPLE,
    FindingNotFound,
    FindingType,
    ResolutionCode,
    parse_resolution,
)
from backend.app.domain.ids import path_uuid
from backend.app.domain.reconciliation import adjustment, finding_catalogue
from backend.app.domain.reconciliation.adjustment import ProposeAdjustment, parse_signed
from backend.app.services.desk.reconciliation_desk import ReconciliationDesk
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.reconciliation.adjustments import Adjustments
from backend.app.services.reconciliation.findings import Findings

AnyRequest = Request[Any, Any, Any]
# What people say most often comes first, what says nothing last.
CODES: Final = tuple(code for code in ResolutionCode if code in RESOLUTIONS_BY_PEOPLE)
# Which deed the sentence about a type speaks of.
_SUGGESTED: Final[Mapping[str, str]] = {
    finding_catalogue.REPLAY: "replay",
    finding_catalogue.ADJUST: "close",
    finding_catalogue.RESOLVE: "resolve",
}


@page("/reconciliation/findings/{finding_id:str}", of=Page.RECONCILIATION)
async def get_finding(
    request: AnyRequest, finding_id: FromPath[str], reconciliation_desk: NamedDependency[ReconciliationDesk]
) -> Response[Any]:
    """The finding with its history and everything that it is about. Raises FindingNotFound."""
    return await _show(request, reconciliation_desk, finding_id=finding_id_of(finding_id))


@page("/reconciliation/findings/{finding_id:str}/live", of=Page.RECONCILIATION, is_live=True)
async def get_live(
    request: AnyRequest, finding_id: FromPath[str], reconciliation_desk: NamedDependency[ReconciliationDesk]
) -> Response[Any]:
    """Its history alone, and a word when it is not as the page has it any more."""
    detail = await reconciliation_desk.get(
        visit.admin_of(request).scope_tenant_id, finding_id=finding_id_of(finding_id)
    )
    seen = request.query_params.get("seen", "")
    return render.part(request, "reconciliation/history.html", **_history(request, detail, seen_version=seen))


@action("/reconciliation/findings/{finding_id:str}/deed", of=Page.RECONCILIATION_DEEDS)
async def post_deed(
    request: AnyRequest,
    finding_id: FromPath[str],
    reconciliation_desk: NamedDependency[ReconciliationDesk],
    findings: NamedDependency[Findings],
    adjustments: NamedDependency[Adjustments],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Does it to what was looked at; a refusal shows the finding as it is now."""
    found_id = finding_id_of(finding_id)
    form = await visit.form_of(request)
    deeds: Mapping[str, Callable[[], Awaitable[str]]] = {
        "assign": lambda: _assign(request, findings, found_id, form),
        "note": lambda: _note(request, findings, found_id, form),
        "resolve": lambda: _resolve(request, findings, found_id, form),
        "reopen": lambda: _reopen(request, findings, found_id, form),
        "replay": lambda: _replay(request, findings, found_id),
        "close": lambda: _propose(request, findings, adjustments, found_id, form, is_closing=True),
        "adjust": lambda: _propose(request, findings, adjustments, found_id, form, is_closing=False),
    }
    try:
        deed = deeds.get(form.get("action", ""))
        if deed is None:
            raise FieldError("action", "is none that can be done here")
        said = await deed()
    except FindingNotFound:
        raise
    except AppError as refusal:
        return await _show(request, reconciliation_desk, finding_id=found_id, refusal=refusal, typed=form)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": said})
    return render.redirect(request, f"/console/reconciliation/findings/{found_id}")


def parse_note(text: str, *, field: str = "note", length_max: int = NOTE_LENGTH_MAX) -> str:
    """A note as it is kept: one line, or empty. Raises FieldError."""
    note = " ".join(text.split())
    if len(note) > length_max or not note.isprintable():
        raise FieldError(field, f"has at most {length_max} characters")
    return note


async def _assign(request: AnyRequest, findings: Findings, finding_id: UUID, form: Form) -> str:
    admin = visit.admin_of(request)
    text = form.get("assigned_to", "")
    try:
        assigned_to = None if not text else admin.admin_id if text == "me" else UUID(text)
    except ValueError:
        raise FieldError("assigned_to", "is nobody") from None
    await findings.assign(
        admin.scope_tenant_id,
        finding_id=finding_id,
        assigned_to=assigned_to,
        note=parse_note(form.get("note", "")) or None,
        actor=visit.actor_of(request),
        seen_version=form.get("version", ""),
    )
    return "finding.assigned" if assigned_to is not None else "finding.unassigned"


async def _note(request: AnyRequest, findings: Findings, finding_id: UUID, form: Form) -> str:
    await findings.note(
        visit.admin_of(request).scope_tenant_id,
        finding_id=finding_id,
        note=parse_note(form.get("note", "")),
        actor=visit.actor_of(request),
    )
    return "finding.noted"


async def _resolve(request: AnyRequest, findings: Findings, finding_id: UUID, form: Form) -> str:
    note = parse_note(form.get("note", ""))
    if not note:
        raise FieldError("note", "is required")
    await findings.resolve(
        visit.admin_of(request).scope_tenant_id,
        finding_id=finding_id,
        code=parse_resolution(form.get("code", "")),
        note=note,
        actor=visit.actor_of(request),
        seen_version=form.get("version", ""),
    )
    return "finding.resolved"


async def _reopen(request: AnyRequest, findings: Findings, finding_id: UUID, form: Form) -> str:
    await findings.reopen(
        visit.admin_of(request).scope_tenant_id,
        finding_id=finding_id,
        note=parse_note(form.get("note", "")),
        actor=visit.actor_of(request),
        seen_version=form.get("version", ""),
    )
    return "finding.reopened"


async def _replay(request: AnyRequest, findings: Findings, finding_id: UUID) -> str:
    applied = await findings.replay(
        visit.admin_of(request).scope_tenant_id, finding_id=finding_id, actor=visit.actor_of(request)
    )
    return f"replay.{applied.effect.value}"


async def _propose(
    request: AnyRequest, findings: Findings, adjustments: Adjustments, finding_id: UUID, form: Form, *, is_closing: bool
) -> str:
    scope = visit.admin_of(request).scope_tenant_id
    reason = parse_note(form.get("note", ""), field="reason", length_max=adjustment.REASON_LENGTH_MAX)
    if is_closing:
        command, tenant_id = await adjustments.plan_for(scope, finding_id=finding_id, reason=reason)
    else:
        finding = await findings.get(scope, finding_id=finding_id)
        tenant_id = finding.tenant_id
        if finding.player_id is None:
            raise FieldError("player_amount", "the finding is about no player")
        currency = await adjustments.currency_of(tenant_id, player_id=finding.player_id)
        player_amount, clearing_amount = (
            parse_signed(_decimal(form.get(field, "")), currency=currency, field=field)
            for field in ("player_amount", "clearing_amount")
        )
        command = ProposeAdjustment(
            player_id=finding.player_id,
            player_amount=player_amount,
            clearing_amount=clearing_amount,
            reason=reason,
            provider=finding.provider,
            finding_id=finding_id,
        )
    await adjustments.propose(scope, command=command, tenant_id=tenant_id, actor=visit.actor_of(request))
    return "adjustment.proposed"


def _decimal(text: str) -> str:
    """An amount as a person types it: either decimal sign, either minus sign."""
    return text.strip().replace("−", "-").replace(",", ".")


async def _show(
    request: AnyRequest,
    desk: ReconciliationDesk,
    *,
    finding_id: UUID,
    refusal: AppError | None = None,
    typed: Form | None = None,
) -> Response[Any]:
    admin = visit.admin_of(request)
    detail = await desk.get(admin.scope_tenant_id, finding_id=finding_id)
    entry = finding_catalogue.CATALOGUE[FindingType(detail.finding.finding_type)]
    suggested = _SUGGESTED.get(entry.command)
    return await render.show(
        request,
        "reconciliation/finding.html",
        status=200 if refusal is None else refusal.status,
        **_history(request, detail, seen_version=detail.finding.version),
        context=detail.context,
        lines=sides_of(detail.finding, detail.context),
        entry=entry,
        suggested=suggested,
        command=None if suggested is not None else _command(detail, entry),
        deeds=_deeds(detail, suggested=suggested),
        codes=CODES,
        refusal=refusal,
        typed=typed or {},
        me=admin.admin_id,
        is_everywhere=admin.scope_tenant_id is None,
    )


def _command(detail: FindingDetail, entry: finding_catalogue.Entry) -> str:
    finding = detail.finding
    return entry.command.format(id=finding.id, provider=finding.provider, tenant_id=finding.tenant_id)


def _deeds(detail: FindingDetail, *, suggested: str | None) -> list[str]:
    """What is offered, the suggested first."""
    if not is_open(detail.finding):
        return ["reopen", "note"]
    possible = {
        "replay": detail.can_replay,
        "close": detail.can_close,
        "resolve": True,
        "assign": True,
        "note": True,
        "adjust": detail.can_adjust,
    }
    return sorted((name for name, is_possible in possible.items() if is_possible), key=lambda name: name != suggested)


def _history(request: AnyRequest, detail: FindingDetail, *, seen_version: str) -> dict[str, Any]:
    return {
        "detail": detail,
        "finding": detail.finding,
        "is_open": is_open(detail.finding),
        "is_stale": seen_version != detail.finding.version,
        "seen_version": seen_version if seen_version.isalnum() else "0",
        "live": live_of(request),
    }


def finding_id_of(text: str) -> UUID:
    """An id from an address. Raises FindingNotFound."""
    return path_uuid(text, missing=FindingNotFound())


HANDLERS: Final = (get_finding, get_live, post_deed)
