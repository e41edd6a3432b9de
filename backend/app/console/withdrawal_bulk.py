"""The same for many withdrawals: first what it would mean, then each on its own, and what became of each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from litestar import Request, Response
from litestar.di import NamedDependency

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.visit import action
from backend.app.console.withdrawal_page import (
    REASON_NEEDED,
    parse_action,
    parse_reason,
    parse_version,
    withdrawal_id_of,
)
from backend.app.console.withdrawals import BULK_ACTIONS
from backend.app.domain import idempotency
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.payments.finance import BULK_MAX, Deed, FinanceWithdrawal
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.services.desk.withdrawal_desk import WithdrawalDesk
from backend.app.services.payments.finance import Finance

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a form wants done: to which withdrawals, each as it was seen."""

    action: Action
    reason: str | None
    versions: dict[UUID, int]
    key: str
    back: str


@action("/withdrawals/bulk", of=Page.WITHDRAWAL_DEEDS)
async def post_bulk(
    request: AnyRequest,
    finance: NamedDependency[Finance],
    withdrawal_desk: NamedDependency[WithdrawalDesk],
) -> Response[Any]:
    """Asks to confirm, with the sums of what can be done; confirmed, does each on its own and shows every result."""
    chosen = await _read(request)
    admin = visit.admin_of(request)
    found = await withdrawal_desk.list_by_id(admin.scope_tenant_id, withdrawal_ids=list(chosen.versions))
    values: dict[str, Any] = {
        "chosen": chosen,
        "withdrawals": found.withdrawals,
        "people": found.people,
        "needs_reason": chosen.action in REASON_NEEDED,
    }
    if (await request.form()).get("step") != "confirmed" or (chosen.action in REASON_NEEDED and not chosen.reason):
        against = {
            withdrawal.id: speaks_against(withdrawal, chosen, finance=finance, admin_id=admin.admin_id)
            for withdrawal in found.withdrawals
        }
        possible = [withdrawal for withdrawal in found.withdrawals if against[withdrawal.id] is None]
        return await render.show(
            request,
            "withdrawals/bulk_confirm.html",
            **values,
            against=against,
            possible=possible,
            sums=sums_of(possible),
            left_out=Counter(key for key in against.values() if key is not None),
        )
    deeds = [
        Deed(
            withdrawal_id=withdrawal.id,
            action=chosen.action,
            reason=chosen.reason,
            seen_version=chosen.versions[withdrawal.id],
            # A key names one deed, and a player may have several withdrawals here.
            idempotency_key=f"{chosen.key} {withdrawal.id}",
        )
        for withdrawal in found.withdrawals
    ]
    outcomes = await finance.perform_many(deeds, admin=admin, actor=visit.actor_of(request))
    results = [
        (withdrawal, outcome if isinstance(outcome, AppError) else None)
        for withdrawal, outcome in zip(found.withdrawals, outcomes, strict=True)
    ]
    now = await withdrawal_desk.list_by_id(admin.scope_tenant_id, withdrawal_ids=list(chosen.versions))
    current = {withdrawal.id: withdrawal for withdrawal in now.withdrawals}
    done = sum(refusal is None for _, refusal in results)
    return await render.show(
        request, "withdrawals/bulk_results.html", **values, results=results, current=current, done=done
    )


def speaks_against(withdrawal: FinanceWithdrawal, chosen: Chosen, *, finance: Finance, admin_id: UUID) -> str | None:
    """Why it would be refused as things stand, by the key of its text; None when it can be done."""
    if withdrawal.version != chosen.versions[withdrawal.id]:
        return "bulk.changed"
    if chosen.action in finance.allowed_actions(withdrawal, admin_id=admin_id):
        return None
    refused = dict(finance.refused_actions(withdrawal, admin_id=admin_id))
    refusal = refused.get(chosen.action)
    return "bulk.state" if refusal is None else f"refusal.{refusal.error_code}"


def sums_of(withdrawals: Sequence[FinanceWithdrawal]) -> dict[str, int]:
    """What they add up to, by currency, in minor units."""
    sums: dict[str, int] = {}
    for withdrawal in withdrawals:
        sums[withdrawal.currency] = sums.get(withdrawal.currency, 0) + withdrawal.amount
    return dict(sorted(sums.items()))


async def _read(request: AnyRequest) -> Chosen:
    form = await request.form()
    versions: dict[UUID, int] = {}
    for text in form.getall("tx", []):
        tx_id, _, version = str(text).partition(":")
        versions[withdrawal_id_of(tx_id)] = parse_version(version)
    if not 0 < len(versions) <= BULK_MAX:
        raise FieldError("tx", f"choose between 1 and {BULK_MAX}")
    key = idempotency.parse_key(str(form.get("key") or f"console-{uuid4()}"))
    return Chosen(
        action=parse_action(str(form.get("action", "")), among=BULK_ACTIONS),
        reason=parse_reason(str(form.get("reason", ""))),
        versions=versions,
        key=key,
        back=visit.local_path(str(form.get("back", ""))) or "/console/withdrawals",
    )


HANDLERS: Final = (post_bulk,)
