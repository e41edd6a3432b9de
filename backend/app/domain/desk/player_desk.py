"""What is looked at of a player: who matches a search, the ledger as a statement, and how a balance came to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.ledger import Arbiter
from backend.app.domain.player import Player

# A balance is explained from its last so many transactions; what was before them is the opening of the sum.
EXPLAINED_MAX: Final = 10_000


class FoundPlayer(NamedTuple):
    """A player as a search shows one, in the order of the query's columns."""

    player: Player
    tenant_name: str


class StatementLine(NamedTuple):
    """One transaction of a statement, in the order of the query's columns; amounts in minor units.

    available_change and pending_change are what it did to the two; *_after is the running balance.
    """

    id: UUID
    wallet_version: int
    type: str
    debit_account: str
    credit_account: str
    amount: int
    available_change: int
    pending_change: int
    available_after: int
    pending_after: int
    arbiter: Arbiter
    reference: UUID | None
    provider: str | None
    provider_ref: str | None
    occurred_at: datetime
    recorded_at: datetime


class TypeSum(NamedTuple):
    """What the transactions of one type add up to, in the order of the query's columns."""

    type: str
    transactions: int
    available: int
    pending: int


class MismatchSeen(NamedTuple):
    """A difference of the two sides that was seen while something was posted, in the order of the query's columns."""

    mismatch_class: str
    occurrences: int
    first_seen_at: datetime
    last_seen_at: datetime


class MoneyMovement(NamedTuple):
    """A deposit or a withdrawal of a player, in the order of the query's columns."""

    id: UUID
    type: str
    amount: int
    currency: str
    state: str
    method: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """opening + sums = the snapshot, if the ledger is whole. from_version 0: from the very beginning."""

    from_version: int
    opening_available: int
    opening_pending: int
    sums: Sequence[TypeSum]
    snapshot_available: int
    snapshot_pending: int

    @property
    def available(self) -> int:
        """What the sum of both comes to."""
        return self.opening_available + sum(each.available for each in self.sums)

    @property
    def pending(self) -> int:
        """What the sum of both comes to."""
        return self.opening_pending + sum(each.pending for each in self.sums)

    @property
    def is_whole(self) -> bool:
        """Whether it comes to the snapshot."""
        return (self.available, self.pending) == (self.snapshot_available, self.snapshot_pending)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayerDetail:
    """A player with both sides, a page of the statement, and the latest movements of money."""

    player: Player
    tenant_name: str
    lines: Sequence[StatementLine]
    has_more_lines: bool
    movements: Sequence[MoneyMovement]
    has_more_movements: bool
    mismatches: Sequence[MismatchSeen]
