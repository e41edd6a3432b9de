"""One withdrawal: everything that is known of it, and what can be done about it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, timeline, visit
from backend.app.console.access import Page, may
from backend.app.console.live import live_of
from backend.app.console.visit import action, page
from backend.app.domain import idempotency
from backend.app.domain.desk.withdrawal_desk import DeskDetail
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.ids import path_uuid
from backend.app.domain.payments.finance import Deed
from backend.app.domain.payments.withdrawal_lifecycle import ADMIN_ACTIONS, Action, WithdrawalNotFound
from backend.app.domain.withdrawal import WithdrawalState
from backend.app.services.desk.withdrawal_desk import WithdrawalDesk
from backend.app.services.payments.finance import Finance
from backend.app.services.people.console_sessions import ConsoleSessions

AnyRequest = Request[Any, Any, Any]
REASON_LENGTH_MAX: Final = 1000
EVIDENCE_LENGTH_MAX: Final = 200
REASON_NEEDED: Final = (Action.REJECT, Action.CANCEL)
# From here on nothing happens by itself that a person would wait for.
SETTLED: Final = frozenset(
    {WithdrawalState.PAID, WithdrawalState.REJECTED, WithdrawalState.CANCELLED, WithdrawalState.RETURNED}
)


@page("/withdrawals/{tx_id:str}", of=Page.WITHDRAWALS)
async def get_withdrawal(
    request: AnyRequest,
    tx_id: FromPath[str],
    withdrawal_desk: NamedDependency[WithdrawalDesk],
    finance: NamedDependency[Finance],
) -> Response[Any]:
    """The withdrawal with its history and both balances of its player. Raises WithdrawalNotFound."""
    return await _show(request, withdrawal_desk, finance, withdrawal_id=withdrawal_id_of(tx_id))


@page("/withdrawals/{tx_id:str}/live", of=Page.WITHDRAWALS, is_live=True)
async def get_live(
    request: AnyRequest, tx_id: FromPath[str], withdrawal_desk: NamedDependency[WithdrawalDesk]
) -> Response[Any]:
    """Its history alone, after a look at its provider; and a word when it is not as the page has it any more."""
    scope, withdrawal_id = visit.admin_of(request).scope_tenant_id, withdrawal_id_of(tx_id)
    detail = await withdrawal_desk.get(scope, withdrawal_id=withdrawal_id)
    if detail.history.withdrawal.state is WithdrawalState.PROCESSING:
        # Only here: a page does not wait for a provider.
        await withdrawal_desk.glance(detail.history.withdrawal, now=datetime.now(UTC))
        detail = await withdrawal_desk.get(scope, withdrawal_id=withdrawal_id)
    seen = request.query_params.get("seen", "")
    return render.part(request, "withdrawals/history.html", **_history(request, detail, seen_version=seen))


@action("/withdrawals/{tx_id:str}/deed", of=Page.WITHDRAWAL_DEEDS)
async def post_deed(
    request: AnyRequest,
    tx_id: FromPath[str],
    withdrawal_desk: NamedDependency[WithdrawalDesk],
    finance: NamedDependency[Finance],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Does it to the version that was looked at, once for each form; a refusal shows the withdrawal as it is now."""
    withdrawal_id = withdrawal_id_of(tx_id)
    form = await visit.form_of(request)
    try:
        deed = _read_deed(form, withdrawal_id=withdrawal_id)
        answer = await finance.perform(deed, admin=visit.admin_of(request), actor=visit.actor_of(request))
    except WithdrawalNotFound:
        raise
    except AppError as refusal:
        return await _show(request, withdrawal_desk, finance, withdrawal_id=withdrawal_id, refusal=refusal, typed=form)
    flash = {"kind": "success", "code": f"withdrawal.{answer.withdrawal.state}"}
    await console_sessions.say(visit.own_session(request), flash)
    return render.redirect(request, f"/console/withdrawals/{withdrawal_id}")


def withdrawal_id_of(text: str) -> UUID:
    """An id from an address. What is no UUID names nothing. Raises WithdrawalNotFound."""
    return path_uuid(text, missing=WithdrawalNotFound())


def parse_reason(text: str) -> str | None:
    """A reason as it is kept: one line, or None. Raises FieldError."""
    reason = " ".join(text.split())
    if len(reason) > REASON_LENGTH_MAX or not reason.isprintable():
        raise FieldError("reason", f"has at most {REASON_LENGTH_MAX} characters")
    return reason or None


def parse_version(text: str) -> int:
    """The version that a form was made for. Raises FieldError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise FieldError("version", "must be the version that was seen")
    return int(text)


def parse_action(text: str, *, among: tuple[Action, ...]) -> Action:
    """What a form wants done. Raises FieldError."""
    for each in among:
        if text == each.value:
            return each
    raise FieldError("action", "is none that can be done here")


def _read_deed(form: Mapping[str, str], *, withdrawal_id: UUID) -> Deed:
    wanted = parse_action(form.get("action", ""), among=ADMIN_ACTIONS)
    evidence_ref = " ".join(form.get("evidence_ref", "").split()) or None
    if wanted is Action.PAY_MANUALLY:
        if evidence_ref is None or len(evidence_ref) > EVIDENCE_LENGTH_MAX or not evidence_ref.isprintable():
            raise FieldError("evidence_ref", "is required on the manual rail")
    elif evidence_ref is not None:
        raise FieldError("evidence_ref", "belongs to the manual rail")
    return Deed(
        withdrawal_id=withdrawal_id,
        action=wanted,
        reason=parse_reason(form.get("reason", "")),
        evidence_ref=evidence_ref,
        seen_version=parse_version(form.get("version", "")),
        idempotency_key=idempotency.parse_key(form.get("key") or None),
    )


async def _show(
    request: AnyRequest,
    desk: WithdrawalDesk,
    finance: Finance,
    *,
    withdrawal_id: UUID,
    refusal: AppError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response[Any]:
    admin = visit.admin_of(request)
    detail = await desk.get(admin.scope_tenant_id, withdrawal_id=withdrawal_id)
    withdrawal = detail.history.withdrawal
    can_act = may(admin.role, Page.WITHDRAWAL_DEEDS)
    return await render.show(
        request,
        "withdrawals/page.html",
        status=200 if refusal is None else refusal.status,
        **_history(request, detail, seen_version=str(withdrawal.version)),
        allowed=finance.allowed_actions(withdrawal, admin_id=admin.admin_id) if can_act else (),
        refused=finance.refused_actions(withdrawal, admin_id=admin.admin_id) if can_act else (),
        refusal=refusal,
        typed=typed or {},
        reason_needed=REASON_NEEDED,
        # One key for each form that is shown: sent twice, it is one deed.
        new_key=lambda: f"console-{uuid4()}",
        is_everywhere=admin.scope_tenant_id is None,
    )


def _history(request: AnyRequest, detail: DeskDetail, *, seen_version: str) -> dict[str, Any]:
    withdrawal = detail.history.withdrawal
    return {
        "detail": detail,
        "withdrawal": withdrawal,
        "timeline": timeline.events_of(detail),
        "is_stale": seen_version != str(withdrawal.version),
        "seen_version": seen_version if seen_version.isdecimal() else "0",
        "is_settled": withdrawal.state in SETTLED,
        "live": live_of(request),
    }


HANDLERS: Final = (get_withdrawal, get_live, post_deed)
