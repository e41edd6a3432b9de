"""Where a tenant stands on its way to the ledger, and what was done about it. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError, FieldError, NotFound, TemporarilyUnavailable
from backend.app.domain.ledger import Arbiter


class Stage(StrEnum):
    """Derived from what is so, never stored."""

    # Only the legacy column is written.
    OFF = "off"
    # Both sides are written, and some wallets are not opened yet.
    SHADOW = "shadow"
    # Every wallet is opened, and no census has found everything right since.
    BACKFILLED = "backfilled"
    # The census is clean; evidence is being gathered.
    OBSERVING = "observing"
    # Every gate is met.
    READY = "ready"
    # The ledger decides.
    ENFORCED = "enforced"
    # Somebody or something stands against enforcing, for as long as it says.
    HELD = "held"
    COOLDOWN = "cooldown"


class HoldKind(StrEnum):
    """What stands against enforcing. None of them stands against a rollback."""

    # A person's word.
    HOLD = "hold"
    # After an automatic rollback, for a time.
    COOLDOWN = "cooldown"
    # The whole fleet.
    FREEZE = "freeze"
    # A tenant that was rolled back again and again: until a person lifts it.
    PIN = "pin"


class HoldNotFound(NotFound):
    """404: no such hold, or it is over."""

    error_code = "HOLD_NOT_FOUND"
    title = "No such hold stands"


class FenceBusy(TemporarilyUnavailable):
    """503: somebody keeps a money transaction of the tenant open, so that nobody can be sure who is judged by whom."""

    error_code = "FENCE_BUSY"
    title = "A money transaction of the tenant stays open; the flip was not made"


class AlreadyEnforced(AppError):
    """409: the ledger decides for the tenant already, so there is nothing to rehearse; a rollback is no rehearsal."""

    error_code = "ALREADY_ENFORCED"
    status = 409
    title = "The ledger decides for this tenant already"


class TooManyTenants(AppError):
    """409: a global value would make the ledger decide for too many tenants at once; enforce them in waves."""

    error_code = "TOO_MANY_TENANTS"
    status = 409
    title = "Too many tenants would be enforced at once: enforce them in waves"


class RolloutHold(NamedTuple):
    """One hold, in the order of the query's columns. tenant_id None: the whole fleet.

    reasons: the whole reason in each language, where the monitor placed it; None of a person's and of one just written.
    """

    id: UUID
    kind: HoldKind
    tenant_id: UUID | None
    reason: str
    placed_by: str
    placed_at: datetime
    ends_at: datetime | None
    decision_id: UUID | None
    reasons: Mapping[str, str] | None = None

    def reason_in(self, language: str) -> str:
        """Why, in a language where it is known in that, else as it was written."""
        return (self.reasons or {}).get(language, self.reason)


class AttestedCurrency(NamedTuple):
    """Count and sums of the sides of one currency, in minor units; in the order of the function's columns."""

    currency: str
    players: int
    unopened: int
    differing: int
    legacy_available: int
    legacy_held: int
    snapshot_available: int
    snapshot_pending: int
    ledger_available: int
    ledger_pending: int

    @property
    def document(self) -> dict[str, str | int]:
        """As it is stored and shown."""
        return self._asdict()


SUMS: Final = AttestedCurrency._fields[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What all wallets of a tenant, or some of them, say on each side; and the first that do not fit."""

    currencies: tuple[AttestedCurrency, ...]
    unopened_ids: tuple[UUID, ...] = ()
    differing_ids: tuple[UUID, ...] = ()

    @property
    def players(self) -> int:
        """How many players."""
        return sum(each.players for each in self.currencies)

    @property
    def unopened(self) -> int:
        """How many of them have no opened wallet."""
        return sum(each.unopened for each in self.currencies)

    @property
    def differing(self) -> int:
        """How many opened wallets differ between legacy column, snapshot and ledger."""
        return sum(each.differing for each in self.currencies)

    @property
    def document(self) -> list[dict[str, str | int]]:
        """The attestation as it is stored and shown."""
        return [each.document for each in self.currencies]


def add_sides(one: Sides, other: Sides, *, sign: int = 1, named_max: int = 5) -> Sides:
    """Both together, or with sign -1 the first without the second; a currency that comes to nothing is left out."""
    sums: dict[str, list[int]] = {}
    for factor, sides in ((1, one), (sign, other)):
        for each in sides.currencies:
            so_far = sums.setdefault(each.currency, [0] * len(SUMS))
            sums[each.currency] = [a + factor * b for a, b in zip(so_far, each[1:], strict=True)]

    def named(ours: Sequence[UUID], theirs: Sequence[UUID]) -> tuple[UUID, ...]:
        kept = [id_ for id_ in ours if id_ not in theirs] if sign < 0 else [*ours, *theirs]
        return tuple(dict.fromkeys(kept))[:named_max]

    return Sides(
        currencies=tuple(
            AttestedCurrency(currency, *values) for currency, values in sorted(sums.items()) if any(values)
        ),
        unopened_ids=named(one.unopened_ids, other.unopened_ids),
        differing_ids=named(one.differing_ids, other.differing_ids),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArbiterChange:
    """A flip as it was made, or what stands when nothing was to be changed (is_changed false).

    attestation: a list of AttestedCurrency documents; None where no sums were taken. is_fenced: no call was under way.
    """

    tenant_id: UUID
    arbiter: Arbiter
    epoch: int
    is_changed: bool
    id: UUID | None = None
    arbiter_before: Arbiter | None = None
    reason: str = ""
    attestation: Sequence[Mapping[str, Any]] | None = None
    is_fenced: bool = False
    fence_waited_ms: int = 0
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A flip and its rollback in one transaction, measured; milliseconds inside the fence."""

    tenant_id: UUID
    enforce_ms: float
    rollback_ms: float
    fence_waited_ms: int
    epoch: int


def derive_stage(
    *,
    arbiter: Arbiter,
    is_shadow_on: bool,
    unopened: int | None,
    is_census_clean: bool,
    failing: int,
    holds: Collection[HoldKind],
) -> Stage:
    """The stage. unopened None: nobody has counted. failing: how many gates, holds left aside, are not met."""
    if arbiter is Arbiter.LEDGER:
        return Stage.ENFORCED
    if holds:
        return Stage.COOLDOWN if set(holds) == {HoldKind.COOLDOWN} else Stage.HELD
    if not is_shadow_on:
        return Stage.OFF
    if unopened != 0:
        return Stage.SHADOW
    if not is_census_clean:
        return Stage.BACKFILLED
    return Stage.OBSERVING if failing else Stage.READY


def ensure_hold_fits(kind: HoldKind, tenant_id: UUID | None, *, ends_at: datetime | None, now: datetime) -> None:
    """Raise FieldError for a hold that cannot be."""
    if kind is HoldKind.FREEZE and tenant_id is not None:
        raise FieldError("kind", "a freeze is of the whole fleet; hold the tenant instead")
    if ends_at is not None and ends_at <= now:
        raise FieldError("ends_at", "lies in the past")
