"""Comparing the two sides that a decision saw. Pure: evidence is recorded elsewhere."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from backend.app.domain.ledger import Arbiter, PostResult


class MismatchClass(StrEnum):
    """How the two sides differ."""

    MISSING_WALLET = "missing_wallet"
    AVAILABLE_DIFF = "available_diff"
    PENDING_DIFF = "pending_diff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Both sides of one wallet, read under one lock, that should agree and do not. Minor units."""

    tenant_id: UUID
    player_id: UUID
    currency: str
    mismatch_class: MismatchClass
    arbiter: Arbiter
    legacy_available: int
    legacy_held: int
    ledger_available: int
    ledger_pending: int


def compare(result: PostResult, *, tenant_id: UUID, player_id: UUID, currency: str) -> Mismatch | None:
    """The difference between both sides before the event, or None. A replay saw nothing new, so it compares nothing."""
    if result.is_replay or result.arbiter is None or result.legacy_ok is None or result.ledger_ok is None:
        return None
    sides = (
        result.legacy_available_before,
        result.legacy_held_before,
        result.ledger_available_before,
        result.ledger_pending_before,
    )
    legacy_available, legacy_held, ledger_available, ledger_pending = (side or 0 for side in sides)
    if not result.wallet_opened:
        mismatch_class = MismatchClass.MISSING_WALLET
    elif legacy_available != ledger_available:
        mismatch_class = MismatchClass.AVAILABLE_DIFF
    elif legacy_held != ledger_pending:
        mismatch_class = MismatchClass.PENDING_DIFF
    else:
        return None
    return Mismatch(
        tenant_id=tenant_id,
        player_id=player_id,
        currency=currency,
        mismatch_class=mismatch_class,
        arbiter=Arbiter(result.arbiter),
        legacy_available=legacy_available,
        legacy_held=legacy_held,
        ledger_available=ledger_available,
        ledger_pending=ledger_pending,
    )
