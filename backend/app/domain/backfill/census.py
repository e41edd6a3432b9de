"""The census: what can be wrong with a tenant's ledger, and how fast one may look. Pure.

What each class means, exactly, is the statement `read_chunk` in sql/census.sql.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

FIRST_PLAYER_ID: Final = UUID(int=0)
LAST_PLAYER_ID: Final = UUID(int=2**128 - 1)

# How many differences of a class a run names; the others are counted.
PLACES_PER_CLASS: Final = 100
# How many of a class one chunk brings to be named.
SAMPLES_PER_CHUNK: Final = 20

CHUNK_PLAYERS_FIRST: Final = 500
CHUNK_PLAYERS_MAX: Final = 10_000
# Long enough that the fixed cost of a chunk vanishes; short enough to stop soon, and to hold back no vacuum.
CHUNK_SECONDS: Final = 0.4

# Somebody who waits this long for a lock, or so many sessions at work, and the census steps back.
BLOCKED_SESSIONS_MAX: Final = 0
ACTIVE_SESSIONS_MAX: Final = 16

# A run that was cut off is taken up again so long after its last chunk; what was read earlier says too little of now.
RESUME_WITHIN: Final = timedelta(hours=1)
# Every tenant's wallets are all looked at once a day: a scheduled run is due with some hours to spare.
CYCLE: Final = timedelta(hours=20)
KEEP_RUNS: Final = timedelta(days=90)


class DifferenceClass(StrEnum):
    """What does not fit, in the order in which people should look at it."""

    # A player without an opened wallet while shadow writing is on.
    MISSING_WALLET = "missing_wallet"
    # The two sides of an opened wallet.
    AVAILABLE_DIFF = "available_diff"
    PENDING_DIFF = "pending_diff"
    # The snapshot is not what the wallet's transactions add up to, or does not know of all of them.
    FOLD_DIFF = "fold_diff"
    VERSION_GAP = "version_gap"
    # A transaction that does not follow from those before it, or that no rule allows.
    INJECTED_ROW = "injected_row"
    # A transaction, or a wallet, of somebody who is no player of the tenant, or in another currency than the player's.
    STRAY_ROW = "stray_row"
    STRAY_WALLET = "stray_wallet"
    # The legacy column is not as the last deed left it.
    LEGACY_DRIFT = "legacy_drift"
    # Pending is not what open withdrawals ask for.
    OPEN_WITHDRAWALS = "open_withdrawals"
    # Who decides is below zero, or let money be taken that was not there.
    NEGATIVE_ARBITER = "negative_arbiter"
    # A deposit or a withdrawal whose state and amount the ledger does not bear out.
    DEPOSIT_DIFF = "deposit_diff"
    WITHDRAWAL_DIFF = "withdrawal_diff"
    # One key or provider event with two effects.
    DUPLICATE_EFFECT = "duplicate_effect"
    # Players' snapshots and house accounts of a currency do not add up to nothing.
    ZERO_SUM = "zero_sum"


class RunState(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    CLEAN = "clean"
    DIFFERENCES = "differences"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is wrong. `amount_minor` is its size; player_id is None where a whole currency is meant.

    wallet_version: the first row that does not fit, where a row is meant. reference: the deposit or withdrawal.
    """

    difference_class: DifferenceClass
    player_id: UUID | None
    currency: str
    wallet_version: int | None
    reference: UUID | None
    amount_minor: int
    evidence: Mapping[str, Any]
    place: int = 0

    @property
    def subject(self) -> tuple[DifferenceClass, UUID | None, str, UUID | None]:
        """What it is about, whatever its size is by now."""
        return self.difference_class, self.player_id, self.currency, self.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """How many differences of a class, and their sizes added up."""

    difference_class: DifferenceClass
    differences: int
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one statement said about a range of players. totals and accounts are records as the database made them."""

    sides_compared: bool
    totals: Sequence[Mapping[str, Any]]
    accounts: Sequence[Mapping[str, Any]]
    counts: Sequence[ClassCount]
    samples: Sequence[Difference]

    @property
    def players(self) -> int:
        """How many players it covered."""
        return sum(int(total["players"]) for total in self.totals)

    @property
    def transactions(self) -> int:
        """How many transactions it covered."""
        return sum(int(total["transactions"]) for total in self.totals)


class CensusRun(NamedTuple):
    """One run of one tenant, in the order of the query's columns."""

    id: UUID
    tenant_id: UUID
    state: RunState
    started_by: str
    started_at: datetime
    finished_at: datetime | None
    next_player_id: UUID
    chunks: int
    resumes: int
    sides_compared: bool | None
    unconfirmed: int
    paused_ms: int


class CensusTotal(NamedTuple):
    """The sums of one currency in minor units, in the order of the query's columns."""

    currency: str
    players: int
    opened_wallets: int
    transactions: int
    legacy_available: int
    legacy_held: int
    snapshot_available: int
    snapshot_pending: int
    folded_available: int
    folded_pending: int
    open_withdrawals: int


class HouseAccount(NamedTuple):
    """What a house account stands at, in minor units, in the order of the query's columns."""

    currency: str
    account: str
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CensusReport:
    """What a run found. Not finished when its time was up; the next one goes on from there."""

    run: CensusRun
    totals: Sequence[CensusTotal]
    accounts: Sequence[HouseAccount]
    counts: Sequence[ClassCount]
    # The first of each class, then further ones, at most PLACES_PER_CLASS each.
    differences: Sequence[Difference]

    @property
    def is_clean(self) -> bool:
        """Whether everything was looked at and nothing was wrong."""
        return self.run.state == RunState.CLEAN

    @property
    def players(self) -> int:
        """How many players were looked at."""
        return sum(total.players for total in self.totals)

    @property
    def transactions(self) -> int:
        """How many transactions were looked at."""
        return sum(total.transactions for total in self.totals)

    @property
    def found(self) -> int:
        """How many differences there are, named or only counted."""
        return sum(count.differences for count in self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is, after each chunk and each pause; counted since this process took it up."""

    tenant_id: UUID
    players: int
    transactions: int
    differences: int
    chunk_players: int
    # Why it waits; empty when it does not.
    paused_because: str = ""


class Load(NamedTuple):
    """What else goes on in the database, in the order of the query's columns."""

    active: int
    blocked: int


def chunk_players_next(players: int, *, seconds: float) -> int:
    """How many players to read next, after so many took so long: towards CHUNK_SECONDS, in moderate steps."""
    factor = min(max(CHUNK_SECONDS / max(seconds, 0.001), 0.5), 2.0)
    return min(max(int(players * factor), 1), CHUNK_PLAYERS_MAX)


def reason_to_pause(load: Load) -> str:
    """Why the census should step back now; empty when it need not."""
    reasons = []
    if load.blocked > BLOCKED_SESSIONS_MAX:
        reasons.append(f"{load.blocked} sessions wait for locks")
    if load.active > ACTIVE_SESSIONS_MAX:
        reasons.append(f"{load.active} sessions at work, more than {ACTIVE_SESSIONS_MAX}")
    return ", ".join(reasons)
