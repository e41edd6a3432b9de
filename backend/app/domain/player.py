"""Players: customers of a tenant, with one wallet each and, during the migration, two balances side by side."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import State
from backend.app.domain.errors import AppError
from backend.app.domain.ledger import Arbiter

USERNAME_LENGTH_MAX: Final = 64


class KycStatus(StrEnum):
    """What is known about a player's identity; money leaves only to a verified one."""

    PENDING = "pending"
    VERIFIED = "verified"
    REJECTED = "rejected"


class PlayerExists(AppError):
    """409: the address is taken in this tenant."""

    error_code = "PLAYER_EXISTS"
    status = 409
    title = "A player with this e-mail address exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyBalances:
    """What an operator's other system says a player has, in minor units."""

    available_minor: int
    held_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePlayer:
    """The wish for a new player; the address and the password are checked already.

    password: None means that the player cannot sign in. legacy_balances: None opens the wallet at zero; given, even as
    zero, they leave it to be opened from them, by the first touch or the backfill.
    """

    tenant_id: UUID
    email: str
    username: str
    password: str | None
    currency: str
    kyc_status: KycStatus = KycStatus.PENDING
    legacy_balances: LegacyBalances | None = None


class Player(NamedTuple):
    """One player with both sides in minor units, in the order of the query's columns. ledger_* None: no wallet row."""

    id: UUID
    tenant_id: UUID
    email: str
    username: str
    currency: str
    kyc_status: KycStatus
    is_active: bool
    legacy_available: int
    legacy_held: int
    ledger_available: int | None
    ledger_pending: int | None
    wallet_version: int | None
    wallet_opened_at: datetime | None
    arbiter: Arbiter
    created_at: datetime

    @property
    def audit_state(self) -> State:
        """What the audit keeps of a new one."""
        return {
            "email": self.email,
            "username": self.username,
            "currency": self.currency,
            "kyc_status": str(self.kyc_status),
            "legacy_available_minor": self.legacy_available,
            "legacy_held_minor": self.legacy_held,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerFilter:
    """Which players to list; None leaves a field open."""

    tenant_id: UUID | None = None
    email: str | None = None
    kyc_status: KycStatus | None = None
