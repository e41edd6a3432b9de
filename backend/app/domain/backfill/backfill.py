"""Backfill: opening the wallets of existing players. What is asked for, what came of it, and how fast it may go."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import Actor
from backend.app.domain.errors import AppError
from backend.app.domain.ledger import Arbiter

BATCH_SIZE_DEFAULT: Final = 1_000
# The limit of backfill_chunk_v1.
BATCH_SIZE_MAX: Final = 50_000
# More wallets than this are not forced by somebody who has not said so.
FORCED_MAX_DEFAULT: Final = 10_000
# How many players a report names, of the errors and of the differences.
NAMED_MAX: Final = 20


class BackfillRefused(AppError):
    """409: a gate or a limit stands against the run; what was committed before stays. Exit code 5."""

    error_code = "BACKFILL_REFUSED"
    status = 409
    title = "The backfill was refused"


class RunMode(StrEnum):
    """Whether opened wallets that differ are left alone."""

    OPEN = "open"
    FORCE = "force"


class RunState(StrEnum):
    """How a run stands. Stopped, failed and (when its process is gone) running ones can be resumed."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    REFUSED = "refused"
    FAILED = "failed"
    ABANDONED = "abandoned"


RESUMABLE: Final = frozenset({RunState.RUNNING, RunState.STOPPED, RunState.FAILED})


class Outcome(StrEnum):
    """What the backfill makes of one player; see functions/backfill_judge_v1.sql for how each is found."""

    CREATED = "created"
    SKIPPED_EXISTS = "skipped_exists"
    DIFFERS = "differs"
    UPDATED_FORCED = "updated_forced"
    UNKNOWN_CURRENCY = "unknown_currency"
    NEGATIVE_BALANCE = "negative_balance"
    BALANCE_TOO_LARGE = "balance_too_large"
    OTHER_CURRENCY = "other_currency"
    SNAPSHOT_NOT_FOLD = "snapshot_not_fold"
    # These two are found by trying.
    LOCKED = "locked"
    DATABASE_ERROR = "database_error"


ERRORS: Final = frozenset(Outcome) - {
    Outcome.CREATED,
    Outcome.SKIPPED_EXISTS,
    Outcome.DIFFERS,
    Outcome.UPDATED_FORCED,
}

# Why somebody is named in a report; the last one is noted beside a success.
REASONS: Final[dict[str, str]] = {
    Outcome.DIFFERS: "legacy column and snapshot differ; --force moves the side that does not decide",
    Outcome.UPDATED_FORCED: "differs, and would be forced",
    Outcome.UNKNOWN_CURRENCY: "the currency is not a known one",
    Outcome.NEGATIVE_BALANCE: "the legacy balance is below zero",
    Outcome.BALANCE_TOO_LARGE: "the legacy balance is larger than any that could have been imported",
    Outcome.OTHER_CURRENCY: "has money in a wallet of another currency; was the player's currency changed?",
    Outcome.SNAPSHOT_NOT_FOLD: "the snapshot is not what the transactions add up to; see `hakem verify`",
    Outcome.LOCKED: "somebody held the player's row through the whole run",
    Outcome.DATABASE_ERROR: "the database refused the wallet",
    "held_below_withdrawals": "was forced, and now holds less than the open withdrawals ask for",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillWallets:
    """The wish for a backfill. `tenant_id` None is every tenant; `forced_max` limits the whole call."""

    tenant_id: UUID | None
    actor: Actor
    batch_size: int = BATCH_SIZE_DEFAULT
    is_forced: bool = False
    is_dry_run: bool = False
    is_resumed: bool = False
    forced_max: int = FORCED_MAX_DEFAULT
    reason: str | None = None

    @property
    def mode(self) -> RunMode:
        """What runs of this wish do."""
        return RunMode.FORCE if self.is_forced else RunMode.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillCounts:
    """Players by outcome: scanned is the sum of the next four. `differing` is part of skipped_exists,
    `unexplained_holds` of updated_forced.
    """

    scanned: int = 0
    created: int = 0
    skipped_exists: int = 0
    updated_forced: int = 0
    errors: int = 0
    differing: int = 0
    unexplained_holds: int = 0

    def __add__(self, other: "BackfillCounts") -> "BackfillCounts":
        return BackfillCounts(
            scanned=self.scanned + other.scanned,
            created=self.created + other.created,
            skipped_exists=self.skipped_exists + other.skipped_exists,
            updated_forced=self.updated_forced + other.updated_forced,
            errors=self.errors + other.errors,
            differing=self.differing + other.differing,
            unexplained_holds=self.unexplained_holds + other.unexplained_holds,
        )

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self.summary.items())

    @property
    def summary(self) -> dict[str, int]:
        """The five counters of the contract, in its order."""
        return {
            "scanned": self.scanned,
            "created": self.created,
            "skipped_exists": self.skipped_exists,
            "updated_forced": self.updated_forced,
            "errors": self.errors,
        }

    @property
    def has_differences(self) -> bool:
        """Whether somebody has to look: exit code 1."""
        return bool(self.errors or self.differing or self.unexplained_holds)


class OutcomeTotal(NamedTuple):
    """Players of one outcome in one currency, with their legacy money in minor units."""

    outcome: Outcome
    currency: str
    players: int
    available_minor: int
    held_minor: int


class NotedPlayer(NamedTuple):
    """A player that a report names, with both sides in minor units; ledger_* None: no opened wallet."""

    player_id: UUID
    code: str
    currency: str
    legacy_available: int
    legacy_held: int
    ledger_available: int | None
    ledger_pending: int | None
    detail: str | None

    @property
    def distance(self) -> int:
        """How far the two sides are apart, in minor units."""
        return abs(self.legacy_available - (self.ledger_available or 0)) + abs(
            self.legacy_held - (self.ledger_pending or 0)
        )


def count_outcomes(totals: Iterable[OutcomeTotal]) -> BackfillCounts:
    """The counters that these outcomes come to."""
    by_outcome: dict[Outcome, int] = {}
    for total in totals:
        by_outcome[total.outcome] = by_outcome.get(total.outcome, 0) + total.players
    differing = by_outcome.get(Outcome.DIFFERS, 0)
    return BackfillCounts(
        scanned=sum(by_outcome.values()),
        created=by_outcome.get(Outcome.CREATED, 0),
        skipped_exists=by_outcome.get(Outcome.SKIPPED_EXISTS, 0) + differing,
        updated_forced=by_outcome.get(Outcome.UPDATED_FORCED, 0),
        errors=sum(by_outcome.get(outcome, 0) for outcome in ERRORS),
        differing=differing,
    )


def add_outcomes(one: Iterable[OutcomeTotal], other: Iterable[OutcomeTotal]) -> tuple[OutcomeTotal, ...]:
    """Both together, one total for each outcome and currency, in their order."""
    sums: dict[tuple[Outcome, str], OutcomeTotal] = {}
    for total in (*one, *other):
        key = (total.outcome, total.currency)
        so_far = sums.get(key, OutcomeTotal(total.outcome, total.currency, 0, 0, 0))
        sums[key] = OutcomeTotal(
            total.outcome,
            total.currency,
            so_far.players + total.players,
            so_far.available_minor + total.available_minor,
            so_far.held_minor + total.held_minor,
        )
    return tuple(sums[key] for key in sorted(sums))


def largest(players: Iterable[NotedPlayer], *, limit: int = NAMED_MAX) -> tuple[NotedPlayer, ...]:
    """Those whose sides are furthest apart."""
    return tuple(sorted(players, key=lambda player: (-player.distance, player.player_id))[:limit])


class TenantToFill(NamedTuple):
    """A tenant as the backfill meets it. `is_writable`: the ledger is written for it."""

    id: UUID
    slug: str
    number: int
    arbiter: Arbiter
    epoch: int
    is_writable: bool
