"""Adjustments: proposed by one, approved by another, and only then money moves, through the door."""

from typing import Final
from uuid import UUID

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.finding import FindingNotFound, FindingStatus, ResolutionCode, StoredFinding
from backend.app.domain.identity import Forbidden
from backend.app.domain.ledger import PlayerNotFound
from backend.app.domain.payments.withdrawal_lifecycle import FourEyesRequired
from backend.app.domain.reconciliation.adjustment import (
    Adjustment,
    AdjustmentDecided,
    AdjustmentNotFound,
    AdjustmentRefused,
    AdjustmentStatus,
    PaymentNotOpen,
    ProposeAdjustment,
    plan_closing,
)
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.reconciliation import adjustment_repo, finding_repo, reconciliation_repo

OBJECT_KIND: Final = "adjustment"


class Adjustments:
    """The adjustments' service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def propose(
        self, scope_tenant_id: UUID | None, *, command: ProposeAdjustment, tenant_id: UUID, actor: Actor
    ) -> Adjustment:
        """Write a proposal. Raises PlayerNotFound, FindingNotFound, PaymentNotOpen or Forbidden."""
        assert scope_tenant_id in (None, tenant_id), "the scope was checked"
        assert actor.actor_id is not None, "people propose"
        async with self._database.transaction() as conn:
            code, adjustment_id = await adjustment_repo.propose(conn, tenant_id, command, admin_id=actor.actor_id)
            _ensure_proposed(code)
            assert adjustment_id is not None, "a proposal has an id"
            return await _audited(
                conn, tenant_id, adjustment_id, action="adjustment.proposed", reason=command.reason, actor=actor
            )

    async def currency_of(self, tenant_id: UUID, *, player_id: UUID) -> str:
        """What amounts of a player are in. Raises PlayerNotFound."""
        async with self._database.connection() as conn:
            currency = await adjustment_repo.find_currency(conn, tenant_id, player_id=player_id)
        if currency is None:
            raise PlayerNotFound
        return currency

    async def plan_for(
        self, scope_tenant_id: UUID | None, *, finding_id: UUID, reason: str
    ) -> tuple[ProposeAdjustment, UUID]:
        """The adjustment that closes the payment of a finding at what really moved; and its tenant.

        Raises FindingNotFound or PaymentNotOpen.
        """
        async with self._database.connection() as conn:
            finding = await finding_repo.find(conn, scope_tenant_id, finding_id=finding_id)
            if finding is None:
                raise FindingNotFound
            if finding.tx_id is None:
                raise PaymentNotOpen("the finding names no payment of ours")
            payment = await reconciliation_repo.find_payment(conn, finding.tenant_id, tx_id=finding.tx_id)
        if payment is None or not payment.is_open:
            raise PaymentNotOpen
        theirs_minor = _theirs_minor(finding, currency=payment.currency)
        player_amount, clearing_amount = plan_closing(
            payment.kind, ours_minor=payment.amount, theirs_minor=theirs_minor
        )
        is_payout = payment.kind == "payout"
        return (
            ProposeAdjustment(
                player_id=payment.player_id,
                player_amount=player_amount,
                clearing_amount=clearing_amount,
                reason=reason,
                provider=finding.provider,
                finding_id=finding_id,
                closes_kind=payment.kind,
                closes_id=finding.tx_id,
                closes_attempt=payment.attempt if is_payout else None,
            ),
            finding.tenant_id,
        )

    async def decide(
        self,
        scope_tenant_id: UUID | None,
        *,
        adjustment_id: UUID,
        is_approved: bool,
        note: str | None,
        actor: Actor,
    ) -> Adjustment:
        """Approve and carry out, or reject. Its finding is resolved with it.

        Raises AdjustmentNotFound, AdjustmentDecided, FourEyesRequired, Forbidden, or AdjustmentRefused, after which it
        still is a proposal.
        """
        assert actor.actor_id is not None, "people decide"
        async with self._database.transaction() as conn:
            before = await adjustment_repo.find(conn, scope_tenant_id, adjustment_id=adjustment_id)
            if before is None:
                raise AdjustmentNotFound
            code, detail = await adjustment_repo.decide(
                conn,
                before.tenant_id,
                adjustment_id=adjustment_id,
                admin_id=actor.actor_id,
                is_approved=is_approved,
                note=note,
            )
            _ensure_decided(code, detail)
            # From here on it is decided.
            action = f"adjustment.{code}"
            adjustment = await _audited(
                conn, before.tenant_id, adjustment_id, action=action, reason=note, actor=actor, before=before
            )
            if is_approved and before.finding_id is not None:
                await _resolve_finding(conn, adjustment, actor=actor)
        return adjustment

    async def list_page(
        self,
        scope_tenant_id: UUID | None,
        *,
        status: AdjustmentStatus | None,
        finding_id: UUID | None,
        before_id: UUID | None,
        limit: int,
        offset: int,
    ) -> tuple[list[Adjustment], int]:
        """A page of adjustments of a tenant, or of all when it is None, newest first; and how many match."""
        async with self._database.connection() as conn:
            return await adjustment_repo.list_page(
                conn,
                scope_tenant_id,
                status=status,
                finding_id=finding_id,
                before_id=before_id,
                limit=limit,
                offset=offset,
            )


def _theirs_minor(finding: StoredFinding, *, currency: str) -> int | None:
    """What the provider moved, in minor units; None in another currency. Raises PaymentNotOpen where nobody knows."""
    amount, theirs = finding.evidence.get("theirs_amount_minor"), finding.evidence.get("theirs_currency")
    if not isinstance(amount, int) or not isinstance(theirs, str):
        raise PaymentNotOpen("the finding does not say what the provider moved")
    return amount if theirs == currency else None


def _ensure_proposed(code: str) -> None:
    match code:
        case "proposed":
            return
        case "unknown_admin":
            raise Forbidden("this admin may not propose adjustments in this tenant")
        case "unknown_player":
            raise PlayerNotFound
        case "unknown_finding":
            raise FindingNotFound
        case "payment_not_open":
            raise PaymentNotOpen
        case "already_proposed":
            raise PaymentNotOpen("somebody has proposed to close it before")
        case _:
            raise AssertionError(f"not a code of adjustment_propose_v1: {code}")


def _ensure_decided(code: str, detail: str | None) -> None:
    match code:
        case "applied" | "rejected":
            return
        case "unknown_adjustment":
            raise AdjustmentNotFound
        case "already_decided":
            raise AdjustmentDecided(f"it is {detail}")
        case "four_eyes_required":
            raise FourEyesRequired("who proposes an adjustment does not approve it")
        case "unknown_admin":
            raise Forbidden("this admin may not decide adjustments in this tenant")
        case "refused":
            raise AdjustmentRefused(f"the ledger or the payment refused: {detail}", reason=detail)
        case _:
            raise AssertionError(f"not a code of adjustment_decide_v1: {code}")


async def _resolve_finding(conn: Connection, adjustment: Adjustment, *, actor: Actor) -> None:
    assert adjustment.finding_id is not None, "only an adjustment of a finding resolves one"
    finding = await finding_repo.lock(conn, adjustment.tenant_id, finding_id=adjustment.finding_id)
    if finding is None or finding.status == FindingStatus.RESOLVED:
        return
    note = f"adjustment {adjustment.id}"
    await finding_repo.resolve(
        conn,
        adjustment.tenant_id,
        finding_id=finding.id,
        code=ResolutionCode.FIXED_ADJUSTMENT,
        note=note,
        admin_id=actor.actor_id,
    )
    after = await finding_repo.find(conn, adjustment.tenant_id, finding_id=finding.id)
    assert after is not None, "its row is ours"
    await audit_repo.insert(
        conn,
        adjustment.tenant_id,
        AuditEntry(
            actor=actor,
            action="finding.resolved",
            object_kind="finding",
            object_id=str(finding.id),
            reason=note,
            before=finding.audit_state,
            after=after.audit_state,
        ),
    )


async def _audited(
    conn: Connection,
    tenant_id: UUID,
    adjustment_id: UUID,
    *,
    action: str,
    reason: str | None,
    actor: Actor,
    before: Adjustment | None = None,
) -> Adjustment:
    adjustment = await adjustment_repo.find(conn, tenant_id, adjustment_id=adjustment_id)
    assert adjustment is not None, "its row is ours"
    await audit_repo.insert(
        conn,
        tenant_id,
        AuditEntry(
            actor=actor,
            action=action,
            object_kind=OBJECT_KIND,
            object_id=str(adjustment_id),
            reason=reason,
            before=None if before is None else before.audit_state,
            after=adjustment.audit_state,
        ),
    )
    return adjustment
