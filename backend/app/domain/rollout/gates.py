"""The gates: what must hold before the ledger may decide for a tenant, each with numbers and a verdict. Pure.

Facts are read elsewhere (services/rollout/rollout_gates.py), outside the fence and again inside it; what a result means
in words, and what to do about it, is in gate_texts.py.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.beta import upper_bound
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.rollout_state import HoldKind, RolloutHold

# A census says something about a tenant for a day; the continuous one comes more often (CYCLE in census.py).
CENSUS_AGE_MAX: Final = timedelta(hours=24)
# The largest share of decisions that the ledger may turn out to refuse where the legacy column paid.
DISPUTED_RATE_MAX: Final = 0.01
EVIDENCE_WINDOW: Final = timedelta(days=14)
# So few players will not make enough decisions in a lifetime; every wallet of theirs is looked at instead.
TINY_PLAYERS_MAX: Final = 100
QUIET_FOR: Final = timedelta(hours=6)
REHEARSED_WITHIN: Final = timedelta(days=30)
# From the mildest verdict that speaks against a tenant (domain/monitor/detection.py).
LOUD_VERDICTS: Final = frozenset({"light", "high", "sustained", "critical"})


class Gate(StrEnum):
    """The gates, in the order in which they are judged and shown."""

    SCHEMA = "schema"
    WRITERS = "writers"
    COVERAGE = "coverage"
    CENSUS = "census"
    FINDINGS = "findings"
    HOLDS = "holds"
    EVIDENCE = "evidence"
    QUIET = "quiet"
    REHEARSAL = "rehearsal"

    @property
    def is_hard(self) -> bool:
        """Whether nobody may override it. A hold is lifted, not overridden."""
        return self not in SOFT_GATES


SOFT_GATES: Final = frozenset({Gate.EVIDENCE, Gate.QUIET, Gate.REHEARSAL})


class Language(StrEnum):
    """The languages that people are spoken to in."""

    TURKISH = "tr"
    ENGLISH = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSummary:
    """Paired decisions of a tenant in a window: both sides were asked, and one decided.

    disputed: refused by one side and covered by the other, to the player's cost if the ledger decides; overpaid: the
    arbiter paid what the other side would have refused.
    """

    decisions: int = 0
    disputed: int = 0
    disputed_players: int = 0
    overpaid: int = 0
    comparisons: int = 0
    mismatches: int = 0
    traffic_minutes: int = 0
    first_minute: datetime | None = None
    last_minute: datetime | None = None


class PlatformFacts(NamedTuple):
    """What is the same for every tenant. old_writers: running processes of another release, named."""

    revision: str | None
    expected_revision: str
    missing_keys: tuple[str, ...]
    writers: int
    old_writers: tuple[str, ...]


class CensusFacts(NamedTuple):
    """A tenant's last finished census; found is the number of differences."""

    run_id: UUID
    is_clean: bool
    started_at: datetime
    finished_at: datetime
    players: int
    opened: int
    found: int
    first_class: str | None
    first_player_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFacts:
    """What is known of one tenant.

    players and unopened: None where counting was too much and no census has counted. counted_at: when they were true.
    differing: opened wallets whose sides differ, among those looked at.
    """

    tenant_id: UUID
    slug: str
    name: str
    number: int
    arbiter: Arbiter
    epoch: int
    is_shadow_on: bool
    enforce_source: str
    players: int | None
    unopened: int | None
    unopened_ids: Sequence[UUID]
    differing: int
    differing_ids: Sequence[UUID]
    counted_at: datetime | None
    census: CensusFacts | None
    is_backfill_running: bool
    critical_findings: int
    first_finding: str | None
    changed_at: datetime | None
    rehearsed_at: datetime | None
    mismatches: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """Everything that the gates are judged by. worst_verdict None: nobody has looked."""

    platform: PlatformFacts
    tenant: TenantFacts
    holds: Sequence[RolloutHold] = ()
    evidence: EvidenceSummary = EvidenceSummary()
    worst_verdict: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate, judged. `case` names what was found (gate_texts.py has the words), `numbers` what it was judged by."""

    gate: Gate
    is_met: bool
    case: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    is_waived: bool = False

    @property
    def stands_against(self) -> bool:
        """Whether it forbids to enforce."""
        return not self.is_met and not self.is_waived


class GatesNotMet(AppError):
    """409: the tenant may not be enforced yet; the problem names each gate that stands against it. Exit code 5."""

    error_code = "GATES_NOT_MET"
    status = 409
    title = "Not every gate is met"


def parse_waived(names: Iterable[str], *, field: str = "override_gates") -> frozenset[Gate]:
    """The soft gates of these names. Raises FieldError for a hard gate, or none."""
    waived = set()
    for name in names:
        try:
            gate = Gate(name.strip())
        except ValueError:
            raise FieldError(field, f"there is no gate {name[:40]}; there are {', '.join(Gate)}") from None
        if gate.is_hard:
            soft = ", ".join(sorted(SOFT_GATES))
            raise FieldError(field, f"{gate} is a hard gate and is never overridden; {soft} can be")
        waived.add(gate)
    return frozenset(waived)


def evidence_since(facts: TenantFacts, *, now: datetime) -> datetime:
    """From when on evidence counts: what was decided under another arbiter, or long ago, says nothing of now."""
    earliest = now - EVIDENCE_WINDOW
    return earliest if facts.changed_at is None else max(earliest, facts.changed_at)


def judge_gates(facts: GateFacts, *, now: datetime, waived: Collection[Gate] = ()) -> tuple[GateResult, ...]:
    """Every gate, in order. A gate that is met needs no waiver and is not marked as waived."""
    judges = {
        Gate.SCHEMA: _judge_schema,
        Gate.WRITERS: _judge_writers,
        Gate.COVERAGE: _judge_coverage,
        Gate.CENSUS: _judge_census,
        Gate.FINDINGS: _judge_findings,
        Gate.HOLDS: _judge_holds,
        Gate.EVIDENCE: _judge_evidence,
        Gate.QUIET: _judge_quiet,
        Gate.REHEARSAL: _judge_rehearsal,
    }
    results = []
    for gate in Gate:
        is_met, case, numbers = judges[gate](facts, now)
        is_waived = not is_met and not gate.is_hard and gate in waived
        results.append(GateResult(gate=gate, is_met=is_met, case=case, numbers=numbers, is_waived=is_waived))
    return tuple(results)


_Judged = tuple[bool, str, dict[str, Any]]


def _judge_schema(facts: GateFacts, _: datetime) -> _Judged:
    platform = facts.platform
    numbers = {"revision": platform.revision or "0", "expected_revision": platform.expected_revision}
    if platform.revision != platform.expected_revision:
        return False, "behind", numbers
    if platform.missing_keys:
        return False, "keys_missing", {**numbers, "keys": ", ".join(platform.missing_keys)}
    return True, "met", numbers


def _judge_writers(facts: GateFacts, _: datetime) -> _Judged:
    numbers = {"writers": facts.platform.writers, "old_writers": len(facts.platform.old_writers)}
    if not facts.tenant.is_shadow_on:
        return False, "shadow_off", numbers
    if facts.platform.old_writers:
        return False, "old", {**numbers, "first": facts.platform.old_writers[0]}
    return True, "met", numbers


def _judge_coverage(facts: GateFacts, _: datetime) -> _Judged:
    tenant = facts.tenant
    if tenant.players is None or tenant.unopened is None:
        return False, "unknown", {}
    numbers: dict[str, Any] = {"players": tenant.players, "unopened": tenant.unopened}
    if tenant.is_backfill_running:
        return False, "backfilling", numbers
    if tenant.unopened:
        return False, "unopened", {**numbers, "player_ids": [str(id_) for id_ in tenant.unopened_ids]}
    return True, "met", numbers


def _judge_census(facts: GateFacts, now: datetime) -> _Judged:
    tenant, census = facts.tenant, facts.tenant.census
    if tenant.differing:
        return (
            False,
            "differing",
            {
                "differing": tenant.differing,
                "player_ids": [str(id_) for id_ in tenant.differing_ids],
            },
        )
    if census is None:
        return False, "never", {}
    numbers: dict[str, Any] = {
        "run_id": str(census.run_id),
        "differences": census.found,
        "players": census.players,
        "age_hours": round((now - census.started_at).total_seconds() / 3600, 1),
    }
    if not census.is_clean:
        return (
            False,
            "differences",
            {
                **numbers,
                "class": census.first_class,
                "player_ids": [] if census.first_player_id is None else [str(census.first_player_id)],
            },
        )
    if now - census.started_at > CENSUS_AGE_MAX:
        return False, "old", {**numbers, "age_hours_max": CENSUS_AGE_MAX.total_seconds() / 3600}
    return True, "met", numbers


def _judge_findings(facts: GateFacts, _: datetime) -> _Judged:
    tenant = facts.tenant
    if tenant.critical_findings:
        return False, "open", {"findings": tenant.critical_findings, "first": tenant.first_finding}
    return True, "met", {"findings": 0}


def _judge_holds(facts: GateFacts, _: datetime) -> _Judged:
    if facts.tenant.enforce_source == "environment_false":
        return False, "killed", {"holds": len(facts.holds)}
    if facts.holds:
        # What binds longest is told: what no clock ends.
        first = max(facts.holds, key=lambda hold: (hold.ends_at is None, hold.ends_at or hold.placed_at))
        return (
            False,
            "until" if first.ends_at else "held",
            {
                "holds": len(facts.holds),
                "kind": first.kind.value,
                "reason": first.reason,
                "ends_at": None if first.ends_at is None else first.ends_at.isoformat(timespec="seconds"),
                "whole_fleet": first.tenant_id is None,
                # The monitor's own words, which are known in each language; a person's are told as they were written.
                **({} if first.reasons is None else {"reasons": dict(first.reasons)}),
            },
        )
    return True, "met", {"holds": 0}


def _judge_evidence(facts: GateFacts, _: datetime) -> _Judged:
    evidence = facts.evidence
    bound = upper_bound(evidence.disputed, n=evidence.decisions)
    numbers = {
        "decisions": evidence.decisions,
        "disputed": evidence.disputed,
        "disputed_players": evidence.disputed_players,
        "overpaid": evidence.overpaid,
        "bound_percent": round(bound * 100, 3),
        "bound_percent_max": DISPUTED_RATE_MAX * 100,
    }
    if evidence.overpaid:
        return False, "overpaid", numbers
    players = facts.tenant.players
    if players is not None and players <= TINY_PLAYERS_MAX and not evidence.disputed:
        return True, "tiny", {**numbers, "players": players}
    if bound <= DISPUTED_RATE_MAX:
        return True, "met", numbers
    return False, "disputed" if evidence.disputed else "too_few", numbers


def _judge_quiet(facts: GateFacts, _: datetime) -> _Judged:
    numbers = {"verdict": facts.worst_verdict, "hours": QUIET_FOR.total_seconds() / 3600}
    if facts.worst_verdict is None:
        return False, "unseen", numbers
    return (
        facts.worst_verdict not in LOUD_VERDICTS,
        "met" if facts.worst_verdict not in LOUD_VERDICTS else "loud",
        numbers,
    )


def _judge_rehearsal(facts: GateFacts, now: datetime) -> _Judged:
    rehearsed_at = facts.tenant.rehearsed_at
    numbers = {
        "rehearsed_at": None if rehearsed_at is None else rehearsed_at.isoformat(timespec="seconds"),
        "days_max": REHEARSED_WITHIN.days,
    }
    if rehearsed_at is None:
        return False, "never", numbers
    return (True, "met", numbers) if now - rehearsed_at <= REHEARSED_WITHIN else (False, "old", numbers)


def active_kinds(holds: Iterable[RolloutHold]) -> frozenset[HoldKind]:
    """The kinds of hold that stand."""
    return frozenset(hold.kind for hold in holds)


def evidence_document(evidence: EvidenceSummary) -> dict[str, Any]:
    """As it is shown."""
    return {
        "decisions": evidence.decisions,
        "disputed": evidence.disputed,
        "disputed_players": evidence.disputed_players,
        "overpaid": evidence.overpaid,
        "comparisons": evidence.comparisons,
        "mismatches": evidence.mismatches,
        "traffic_minutes": evidence.traffic_minutes,
        "first_minute": None if evidence.first_minute is None else evidence.first_minute.isoformat(),
        "last_minute": None if evidence.last_minute is None else evidence.last_minute.isoformat(),
    }
