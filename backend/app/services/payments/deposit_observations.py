"""Writes down what a provider says about deposits: rows locked, each judged, then ledger, rows and findings together.

rows under their locks ─▶ plan_observation, one by one ─▶ captures in one call ─▶ refunds, notes, findings
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from backend.app.domain.deposit import DepositState
from backend.app.domain.finding import Finding, FindingType, Severity
from backend.app.domain.ledger import PostCode, PostResult, available_taken
from backend.app.domain.payments.deposit_observation import (
    DepositObservation,
    Plan,
    Step,
    StoredDeposit,
    after,
    finding_of,
    plan_observation,
    shortfall_of,
)
from backend.app.domain.payments.psp_account import AccountKey
from backend.app.domain.payments.psp_event import Applied, Effect, PspEvent, StatusClass
from backend.app.domain.tenant import account_id_of
from backend.app.repositories import deposit_repo
from backend.app.repositories.database import Connection
from backend.app.repositories.deposit_repo import CaptureDeposit
from backend.app.repositories.payments import psp_account_repo
from backend.app.repositories.reconciliation import finding_repo


class NotBooked(Exception):
    """The door did not book what a provider says happened, for a reason that may pass; the message is for a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What became of one observation: the plan that was carried out, and the deposit as it then is.

    `posted` is what the door said, the refusals included; empty where no money was asked to move.
    """

    plan: Plan
    deposit: StoredDeposit
    posted: tuple[PostResult, ...] = ()

    @property
    def refusal(self) -> PostResult | None:
        """What the door refused, if it did."""
        return next((each for each in self.posted if each.code not in (PostCode.APPLIED, PostCode.EXISTS)), None)


async def observe_many(
    conn: Connection, observations: Sequence[DepositObservation], *, is_answer: bool = False
) -> list[Observed | None]:
    """Apply observations inside the caller's transaction; one result for each, in order; None: no such deposit.

    `is_answer`: a request waits for the balance, so that a capture that is known already is asked for again, which the
    door answers as it did the first time.
    """
    stored = await deposit_repo.lock_many(conn, deposit_ids=sorted({each.deposit_id for each in observations}))
    found = await _find_account_tenants(conn, stored, observations)
    planned: list[tuple[StoredDeposit, Plan] | None] = []
    captures: dict[int, CaptureDeposit] = {}
    for number, arrived in enumerate(observations):
        deposit = stored.get(arrived.deposit_id)
        if deposit is None:
            planned.append(None)
            continue
        plan = plan_observation(deposit, arrived, account_tenant_id=found.get((deposit.id, arrived.account_id)))
        if plan.step is Step.CAPTURE or (plan.step is Step.REFUND and deposit.state is DepositState.PENDING_PROVIDER):
            captures[number] = _capture_of(deposit, arrived, is_event_of_capture=plan.step is Step.CAPTURE)
        elif is_answer and plan.effect is Effect.NOTHING_NEW and _is_captured(deposit, arrived):
            captures[number] = _capture_of(deposit, arrived, is_event_of_capture=True)
        planned.append((deposit, plan))
        changes: dict[str, Any] = after(deposit, arrived, step=plan.step)
        stored[deposit.id] = replace(deposit, **changes)
    results = await deposit_repo.capture_many(conn, list(captures.values())) if captures else []
    posted = dict(zip(captures, results, strict=True))
    return [
        None if each is None else await _carry_out(conn, arrived, *each, captured=posted.get(number))
        for number, (arrived, each) in enumerate(zip(observations, planned, strict=True))
    ]


async def report_orphan(conn: Connection, event: PspEvent, *, account_id: str | None) -> Applied:
    """A payment that is not ours: a finding of the account's tenant, where the account is known."""
    tenant_id = None
    if account_id is not None:
        tenant_id = await psp_account_repo.find_tenant(conn, provider=event.provider, account_id=account_id)
    if tenant_id is not None:
        is_money = event.status_class in (StatusClass.SUCCESS, StatusClass.REVERSED)
        await finding_repo.open_finding(
            conn,
            tenant_id,
            Finding(
                provider=event.provider,
                tenant_id=tenant_id,
                finding_type=FindingType.ORPHAN_WEBHOOK,
                severity=Severity.HIGH if is_money else Severity.MEDIUM,
                subject=f"payment:{event.provider_ref}",
                message=f"{event.type} for a payment that we do not know",
                evidence={
                    "type": event.type.value,
                    "reference": event.reference,
                    "theirs_amount": None if event.money is None else str(event.money),
                    "account_id": account_id,
                },
                provider_event_id=event.provider_event_id,
                provider_ref=event.provider_ref,
            ),
        )
    return Applied(effect=Effect.ORPHAN, tenant_id=tenant_id, tx_id=None, detail="no such payment of ours")


async def _carry_out(
    conn: Connection, arrived: DepositObservation, deposit: StoredDeposit, plan: Plan, *, captured: PostResult | None
) -> Observed:
    if captured is not None and captured.code == PostCode.EXISTS_DIFFERENT:
        # The provider event has moved other money before: somebody has to find out whose it is.
        plan = Plan(
            step=Step.FIND,
            effect=Effect.FINDING,
            finding_type=FindingType.DUPLICATE_IN_LEDGER,
            severity=Severity.CRITICAL,
            detail="the provider event is in the ledger for something else",
        )
        captured = None
    posted = () if captured is None else (captured,)
    done = Observed(plan=plan, deposit=deposit, posted=posted)
    if done.refusal is not None:
        return done
    if plan.step is Step.FIND:
        await finding_repo.open_finding(conn, deposit.tenant_id, finding_of(deposit, arrived, plan))
    elif plan.step in (Step.NOTE, Step.FAIL):
        await deposit_repo.record(conn, deposit.id, observation=arrived, is_failed=plan.step is Step.FAIL)
    elif plan.step is Step.REFUND:
        refunds = await deposit_repo.refund(conn, deposit.id, observation=arrived)
        assert refunds, f"a refund is planned of a captured deposit only: {deposit.id}"
        done = replace(done, posted=(*posted, *refunds))
        if done.refusal is not None:
            return done
        missing_minor = deposit.money.amount_minor - available_taken(refunds[-1])
        if missing_minor:
            await finding_repo.open_finding(
                conn, deposit.tenant_id, shortfall_of(deposit, arrived, missing_minor=missing_minor)
            )
    changes: dict[str, Any] = after(deposit, arrived, step=plan.step)
    return replace(done, deposit=replace(deposit, **changes))


async def _find_account_tenants(
    conn: Connection, stored: dict[UUID, StoredDeposit], observations: Sequence[DepositObservation]
) -> dict[tuple[UUID, str | None], UUID]:
    """The tenant of each observation's account, by deposit and account; without those that nobody has.

    An account that is nowhere written down is the deposit's tenant's when it is the one that we use for it.
    """
    wanted = {
        (deposit, AccountKey(deposit.provider, arrived.account_id))
        for arrived in observations
        if arrived.account_id is not None and (deposit := stored.get(arrived.deposit_id)) is not None
    }
    accounts = await psp_account_repo.list_signed(conn, {key for _, key in wanted}) if wanted else {}
    found: dict[tuple[UUID, str | None], UUID] = {}
    for deposit, key in wanted:
        if key in accounts:
            found[deposit.id, key.account_id] = accounts[key].tenant_id
        elif key.account_id == account_id_of(deposit.tenant_id):
            found[deposit.id, key.account_id] = deposit.tenant_id
    return found


def _is_captured(deposit: StoredDeposit, arrived: DepositObservation) -> bool:
    return deposit.state is DepositState.COMPLETED and arrived.status_class is StatusClass.SUCCESS


def _capture_of(deposit: StoredDeposit, arrived: DepositObservation, *, is_event_of_capture: bool) -> CaptureDeposit:
    return CaptureDeposit(
        deposit_id=deposit.id,
        tenant_id=deposit.tenant_id,
        player_id=deposit.player_id,
        money=deposit.money,
        idempotency_key=deposit.idempotency_key,
        request_hash=deposit.request_hash,
        provider=deposit.provider,
        provider_ref=arrived.provider_ref,
        # The event of a refund is the refund's in the ledger.
        provider_event_id=arrived.provider_event_id if is_event_of_capture else None,
        provider_sequence=arrived.sequence,
        occurred_at=arrived.occurred_at,
    )
