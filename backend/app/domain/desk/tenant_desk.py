"""What an owner sees of tenants: a list with who decides, and one with its flags and accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.ledger import Arbiter
from backend.app.domain.payments.psp_account import SignedAccount
from backend.app.domain.rollout.flags import EffectiveFlag, FlagSource

# Players of a tenant are counted so far: beyond it is "more than".
COUNTED_MAX: Final = 10_000


class TenantSeen(NamedTuple):
    """A tenant as it stands, in the order of the query's columns.

    The overrides are its own values, None where a level below decides. players, admins: at most COUNTED_MAX + 1, which
    means more than COUNTED_MAX; admins are those that are active.
    """

    id: UUID
    slug: str
    name: str
    base_currency: str
    created_at: datetime
    arbiter: Arbiter
    enforce_source: FlagSource
    shadow_write: bool
    epoch: int
    enforce_override: bool | None
    shadow_override: bool | None
    players: int
    admins: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDetail:
    """One tenant: what each flag comes to and why, and its accounts at providers."""

    tenant: TenantSeen
    flags: Sequence[EffectiveFlag]
    accounts: Sequence[SignedAccount]
