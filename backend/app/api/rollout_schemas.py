"""What the rollout's routes take in and give out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from backend.app.domain.money import CURRENCY_EXPONENTS, format_amount
from backend.app.domain.rollout.flags import EffectiveFlag, FlagScope
from backend.app.domain.rollout.gate_texts import gate_document
from backend.app.domain.rollout.gates import GateResult, evidence_document
from backend.app.domain.rollout.rollout_state import ArbiterChange, AttestedCurrency, RolloutHold
from backend.app.repositories.rollout.rollout_repo import MismatchedWallet
from backend.app.services.rollout.rollout_status import TenantDetail, TenantStatus

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, examples=["gates met, ticket 4711"])]
_MONEY = frozenset(AttestedCurrency._fields[4:])


class FlagIn(msgspec.Struct, kw_only=True):
    """A value to set. null leaves the flag to the levels below. A provider goes with the scope global."""

    value: bool | None
    scope: FlagScope
    reason: Reason
    tenant_id: UUID | None = None
    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    expires_at: datetime | None = None


class EnforceIn(msgspec.Struct, kw_only=True):
    """true: the ledger shall decide; false: the way back. Soft gates may be overridden by name."""

    enabled: bool
    reason: Reason
    override_gates: Annotated[list[str], msgspec.Meta(max_length=20, examples=[["quiet"]])] = []


class FlagOut(msgspec.Struct, kw_only=True):
    """What a flag comes to. source, strongest first: environment_false, tenant, provider, global, environment, default.

    own_value: the tenant's or the provider's own, whether or not it decides. The rest says who set what decides.
    """

    flag: str
    value: bool
    source: str
    own_value: bool | None
    reason: str | None
    set_by: str | None
    set_at: datetime | None
    expires_at: datetime | None


class FlagsOut(msgspec.Struct, kw_only=True):
    """The effective flags of a tenant, of a provider, or of who has nothing of its own."""

    tenant_id: UUID | None
    provider: str | None
    flags: list[FlagOut]


class GateOut(msgspec.Struct, kw_only=True):
    """One gate: its verdict, the numbers it was judged by, and what to do, in Turkish (tr) and English (en)."""

    gate: str
    is_hard: bool
    is_met: bool
    is_waived: bool
    case: str
    numbers: dict[str, Any]
    text: dict[str, str]
    remedy: dict[str, str]
    command: str


class HoldOut(msgspec.Struct, kw_only=True):
    """What stands against enforcing. tenant_id null: the whole fleet. ends_at null: until somebody lifts it."""

    id: UUID
    kind: str
    tenant_id: UUID | None
    reason: str
    placed_by: str
    placed_at: datetime
    ends_at: datetime | None
    decision_id: UUID | None


class CoverageOut(msgspec.Struct, kw_only=True):
    """How many wallets are opened, as of counted_at; nulls where nobody has counted."""

    players: int | None
    unopened: int | None
    share: float | None
    counted_at: datetime | None


class AttestedOut(msgspec.Struct, kw_only=True):
    """Count and sums of the sides in one currency, as decimal strings in major units."""

    currency: str
    players: int
    unopened: int
    differing: int
    legacy_available: str
    legacy_held: str
    snapshot_available: str
    snapshot_pending: str
    ledger_available: str
    ledger_pending: str


class ArbiterOut(msgspec.Struct, kw_only=True):
    """Who decides now. is_changed false: it was so before. attestation null: no sums were taken.

    is_fenced: no call was under way at the moment of the flip. A rollback does not wait for that.
    """

    tenant_id: UUID
    arbiter: str
    epoch: int
    is_changed: bool
    is_fenced: bool
    fence_waited_ms: int
    changed_at: datetime | None
    attestation: list[AttestedOut] | None


class TenantRolloutOut(msgspec.Struct, kw_only=True):
    """Where a tenant stands. mismatches: wallets seen to differ in the last day, by class."""

    tenant_id: UUID
    slug: str
    name: str
    stage: str
    arbiter: str
    epoch: int
    flags: list[FlagOut]
    coverage: CoverageOut
    mismatches: dict[str, int]
    evidence: dict[str, Any]
    gates: list[GateOut]
    holds: list[HoldOut]
    triggers: list[dict[str, Any]]


class MismatchedWalletOut(msgspec.Struct, kw_only=True):
    """A wallet that was seen to differ, as both sides were then; decimal strings in major units."""

    player_id: UUID
    currency: str
    mismatch_class: str
    legacy_available: str
    legacy_held: str
    ledger_available: str
    ledger_pending: str
    occurrences: int
    last_seen_at: datetime


class FlipOut(msgspec.Struct, kw_only=True):
    """One flip of the past."""

    epoch: int
    arbiter: str
    reason: str
    is_fenced: bool
    changed_at: datetime | None
    attestation: list[AttestedOut] | None


class TenantRolloutDetailOut(TenantRolloutOut, kw_only=True):
    """The same with its last flips, and the wallets that were seen to differ in the last day."""

    changes: list[FlipOut]
    mismatched_wallets: list[MismatchedWalletOut]


def flag_out(flag: EffectiveFlag) -> FlagOut:
    """A flag."""
    return FlagOut(
        flag=flag.flag.value,
        value=flag.value,
        source=flag.source.value,
        own_value=flag.own_value,
        reason=flag.reason,
        set_by=flag.set_by,
        set_at=flag.set_at,
        expires_at=flag.expires_at,
    )


def arbiter_out(change: ArbiterChange) -> ArbiterOut:
    """A flip as it was made."""
    return ArbiterOut(
        tenant_id=change.tenant_id,
        arbiter=change.arbiter.value,
        epoch=change.epoch,
        is_changed=change.is_changed,
        is_fenced=change.is_fenced,
        fence_waited_ms=change.fence_waited_ms,
        changed_at=change.changed_at,
        attestation=_attested(change.attestation),
    )


def status_out(status: TenantStatus) -> TenantRolloutOut:
    """A tenant as it stands."""
    return TenantRolloutOut(**_fields(status))


def detail_out(detail: TenantDetail) -> TenantRolloutDetailOut:
    """A tenant with what happened lately."""
    return TenantRolloutDetailOut(
        **_fields(detail.status),
        changes=[
            FlipOut(
                epoch=change.epoch,
                arbiter=change.arbiter.value,
                reason=change.reason,
                is_fenced=change.is_fenced,
                changed_at=change.changed_at,
                attestation=_attested(change.attestation),
            )
            for change in detail.changes
        ],
        mismatched_wallets=[_wallet_out(each) for each in detail.mismatched],
    )


def _fields(status: TenantStatus) -> dict[str, Any]:
    tenant = status.facts.tenant
    share = None
    if tenant.players is not None and tenant.unopened is not None:
        share = 1.0 if tenant.players == 0 else round(1 - tenant.unopened / tenant.players, 6)
    return {
        "tenant_id": tenant.tenant_id,
        "slug": tenant.slug,
        "name": tenant.name,
        "stage": status.stage.value,
        "arbiter": tenant.arbiter.value,
        "epoch": tenant.epoch,
        "flags": [flag_out(flag) for flag in status.flags],
        "coverage": CoverageOut(
            players=tenant.players, unopened=tenant.unopened, share=share, counted_at=tenant.counted_at
        ),
        "mismatches": dict(tenant.mismatches),
        "evidence": evidence_document(status.facts.evidence),
        "gates": [_gate_out(gate, tenant_id=tenant.tenant_id) for gate in status.gates],
        "holds": [_hold_out(hold) for hold in status.holds],
        "triggers": [dict(trigger) for trigger in status.triggers],
    }


def _gate_out(gate: GateResult, *, tenant_id: UUID) -> GateOut:
    return GateOut(**gate_document(gate, tenant_id=tenant_id))


def _hold_out(hold: RolloutHold) -> HoldOut:
    return HoldOut(
        id=hold.id,
        kind=hold.kind.value,
        tenant_id=hold.tenant_id,
        reason=hold.reason,
        placed_by=hold.placed_by,
        placed_at=hold.placed_at,
        ends_at=hold.ends_at,
        decision_id=hold.decision_id,
    )


def _wallet_out(wallet: MismatchedWallet) -> MismatchedWalletOut:
    return MismatchedWalletOut(
        player_id=wallet.player_id,
        currency=wallet.currency,
        mismatch_class=wallet.mismatch_class,
        legacy_available=_amount(wallet.legacy_available, wallet.currency),
        legacy_held=_amount(wallet.legacy_held, wallet.currency),
        ledger_available=_amount(wallet.ledger_available, wallet.currency),
        ledger_pending=_amount(wallet.ledger_pending, wallet.currency),
        occurrences=wallet.occurrences,
        last_seen_at=wallet.last_seen_at,
    )


def _attested(attestation: Sequence[Mapping[str, Any]] | None) -> list[AttestedOut] | None:
    if attestation is None:
        return None
    return [
        msgspec.convert(
            {name: _amount(int(value), each["currency"]) if name in _MONEY else value for name, value in each.items()},
            AttestedOut,
        )
        for each in attestation
    ]


def _amount(amount_minor: int, currency: str) -> str:
    # A currency that a bad row made up has no exponent and is shown as it stands.
    return format_amount(amount_minor, currency=currency) if currency in CURRENCY_EXPONENTS else str(amount_minor)
