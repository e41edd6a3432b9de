"""The rollout as people look at it: a fleet by rows, one tenant with all that speaks for and against it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import AuditEvent
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.assessment import Verdict
from backend.app.domain.monitor.bucket import Stream, Trigger
from backend.app.domain.monitor.monitor import mark_of
from backend.app.domain.rollout.flags import EffectiveFlag
from backend.app.domain.rollout.gates import EvidenceSummary, GateFacts, GateResult
from backend.app.domain.rollout.rollout_state import RolloutHold, Stage

# A monitor that has not looked for so long is taken for dead, here as in readiness.
MONITOR_SECONDS_MAX: Final = 180.0
SPARK_HOURS: Final = 24


class MonitorSeen(NamedTuple):
    """When the monitor looked last, in the order of the query's columns. None: never, and so for its self-test."""

    evaluated_at: datetime | None
    age_seconds: float | None
    selftest_outcome: str | None
    selftest_at: datetime | None

    @property
    def is_alive(self) -> bool:
        """Whether it looks often enough to be believed."""
        return self.age_seconds is not None and self.age_seconds <= MONITOR_SECONDS_MAX


class TenantNamed(NamedTuple):
    """What a tenant is called and who decides there, in the order of the query's columns."""

    name: str
    arbiter: Arbiter
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvidence:
    """What was counted about one tenant. worst: of the verdicts that stand or began lately, None without any;
    mismatches_by_hour: of the last SPARK_HOURS hours, the present one last.
    """

    summary: EvidenceSummary
    worst: Verdict | None
    mismatches_by_hour: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A verdict as it stands. subject: the tenant's id, or a provider's name. streams: with the verdict of each."""

    subject_kind: str
    subject: str
    trigger: Trigger
    verdict: Verdict
    since: datetime
    evaluated_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    sentences: Mapping[str, str]
    actions: Mapping[str, Any]
    streams: tuple[tuple[Stream, Verdict], ...]

    @property
    def is_paired(self) -> bool:
        """Whether it is proven: a stream that compares both sides is as serious as the verdict is."""
        return any(stream.is_paired and each.severity == self.verdict.severity for stream, each in self.streams)

    @property
    def mark(self) -> str:
        """What whoever takes note of it has seen."""
        return mark_of(self.verdict, since=self.since, acknowledged_at=self.acknowledged_at)

    @property
    def cell(self) -> tuple[Trigger, bool, int]:
        """Where it stands in the decision matrix."""
        return (self.trigger, self.is_paired, self.verdict.severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictDetail:
    """One verdict, and who took note of it and of those before it. name: the tenant's, or the provider's."""

    standing: Standing
    name: str
    tenant_id: UUID | None
    history: Sequence[AuditEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldDetail:
    """A hold, also one that is over. tenant_name None: of the whole fleet."""

    hold: RolloutHold
    tenant_name: str | None
    lifted_at: datetime | None
    lifted_by: str | None
    lift_reason: str | None

    def stands(self, *, now: datetime) -> bool:
        """Whether it still stands against enforcing."""
        return self.lifted_at is None and (self.hold.ends_at is None or self.hold.ends_at > now)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRow:
    """One tenant of the fleet."""

    facts: GateFacts
    stage: Stage
    gates: tuple[GateResult, ...]
    standings: Sequence[Standing]
    mismatches_by_hour: tuple[int, ...]

    @property
    def unmet(self) -> int:
        """How many gates stand against it."""
        return sum(gate.stands_against for gate in self.gates)

    @property
    def holds(self) -> Sequence[RolloutHold]:
        """What stands against enforcing it, the fleet's holds included."""
        return self.facts.holds

    def worst(self, trigger: Trigger) -> Standing | None:
        """The most serious verdict of a trigger."""
        of_trigger = [each for each in self.standings if each.trigger is trigger]
        return max(of_trigger, key=lambda each: each.verdict.rank, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A page of the fleet. next_number: from after which tenant to go on, None at the end."""

    rows: Sequence[FleetRow]
    next_number: int | None
    monitor: MonitorSeen
    fleet_holds: Sequence[RolloutHold]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStanding:
    """One tenant as it stands now."""

    row: FleetRow
    flags: Sequence[EffectiveFlag]


class Step(NamedTuple):
    """Some minutes of a tenant, in the order of the query's columns; see sql/rollout_desk.sql, list_steps."""

    at: datetime
    decisions: int
    both_refused: int
    disputed: int
    comparisons: int
    mismatches: int


class DeliveryStep(NamedTuple):
    """Some minutes of webhooks, in the order of the query's columns."""

    at: datetime
    deliveries: int
    rejected: int


class SideSums(NamedTuple):
    """What a census summed up in one currency, minor units, in the order of the query's columns."""

    finished_at: datetime
    currency: str
    players: int
    opened_wallets: int
    legacy: int
    snapshot: int
    folded: int


class RolloutEvent(NamedTuple):
    """Something that happened to a tenant on its way, in the order of the query's columns."""

    at: datetime
    kind: str
    name: str
    actor: str
    reason: str
    detail: Mapping[str, Any]


class MismatchSeen(NamedTuple):
    """A wallet that was seen to differ; minor units."""

    player_id: UUID
    currency: str
    mismatch_class: str
    legacy_available: int
    legacy_held: int
    ledger_available: int
    ledger_pending: int
    occurrences: int
    last_seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPast:
    """What led to it: series, sums, events and wallets. deliveries None: not for this reader."""

    tenant: TenantNamed
    since: datetime
    until: datetime
    steps: Sequence[Step]
    deliveries: Sequence[DeliveryStep] | None
    sums: Sequence[SideSums]
    events: Sequence[RolloutEvent]
    mismatched: Sequence[MismatchSeen]
