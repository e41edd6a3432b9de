"""The monitor's decisions: from what was assessed of one subject to what is done about it. Pure.

decide() depends on its arguments only, and both are stored with the decision: it can be made again at any time, and
comes out the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError, NotFound, TemporarilyUnavailable
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.assessment import Assessment, Flag, Latched, Verdict
from backend.app.domain.monitor.bucket import Stream, Trigger
from backend.app.domain.monitor.detection import AssessmentInput, find_worst
from backend.app.domain.monitor.rollout_actions import Action, Recommendation, Step, recommend
from backend.app.domain.monitor.rollout_sentences import Language, explain
from backend.app.domain.rollout.flags import cut_reason

# After the first automatic rollback; doubled by each further one.
COOLDOWN_FIRST: Final = timedelta(hours=24)
COOLDOWN_MAX: Final = timedelta(days=7)
# A tenant that was rolled back so often stays where it is until a person says otherwise.
PIN_FROM: Final = 2
# More than this many tenants rolled back within a day is no longer about one tenant.
FREEZE_FROM: Final = 2
FREEZE_WITHIN: Final = timedelta(days=1)
# A tenant that is held for a light verdict is free again when it would count as quiet.
LIGHT_HOLD: Final = timedelta(hours=6)

STREAMS: Final[Mapping[Trigger, tuple[Stream, ...]]] = {
    Trigger.T1: (Stream.T1_DISPUTED, Stream.T1_OVERPAID, Stream.T1_REFUSED),
    Trigger.T2: (Stream.T2_REJECTED,),
    Trigger.T3: (Stream.T3_MISMATCH,),
}
# What writes nothing is begun without waiting for anybody.
_LOOKS: Final = (Action.BACKFILL_DRY_RUN, Action.FORCED_BACKFILL_DRY_RUN, Action.CENSUS)
LANGUAGES: Final[tuple[Language, ...]] = ("tr", "en")
_PINNED: Final[Mapping[str, str]] = {
    "tr": "{rollbacks} kez kendiliğinden geri dönüldü: {reason}",
    "en": "rolled back by itself {rollbacks} times: {reason}",
}


class MonitorBusy(TemporarilyUnavailable):
    """503: another process evaluates at this moment; its verdicts are there in seconds."""

    error_code = "MONITOR_BUSY"
    title = "Another process is evaluating just now"


class VerdictChanged(AppError):
    """409: the verdict is another one than was looked at, or somebody else has taken note of it."""

    error_code = "VERDICT_CHANGED"
    status = 409
    title = "The verdict is not any more what it was when it was looked at"


class VerdictNotFound(NotFound):
    """404: there is no such verdict, or nothing in it to take note of."""

    error_code = "VERDICT_NOT_FOUND"
    title = "No such verdict stands"


class DecisionNotFound(NotFound):
    """404: no such decision, or not of this tenant."""

    error_code = "DECISION_NOT_FOUND"
    title = "No such decision"


class SubjectKind(StrEnum):
    """What a verdict is about."""

    TENANT = "tenant"
    PROVIDER = "provider"


class WatchedTenant(NamedTuple):
    """A tenant as the monitor finds it, in the order of the query's columns.

    counted_from: when its present arbiter began to decide, as far as that is known. broken: classes of differences that
    its last finished census found.
    """

    id: UUID
    slug: str
    epoch: int
    arbiter: Arbiter
    auto_rollback: bool
    is_sandbox: bool
    counted_from: datetime | None
    broken: tuple[str, ...]

    @property
    def is_enforced(self) -> bool:
        """Whether the ledger decides."""
        return self.arbiter == Arbiter.LEDGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A tenant or a provider under one trigger. key: the tenant's id or the provider's name; name: for people."""

    kind: SubjectKind
    key: str
    name: str
    trigger: Trigger
    tenant_id: UUID | None = None


def mark_of(verdict: Verdict, *, since: datetime, acknowledged_at: datetime | None) -> str:
    """What is another text when a verdict is another one, or somebody has taken note of it."""
    return "|".join((verdict, since.isoformat(), "" if acknowledged_at is None else acknowledged_at.isoformat()))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVerdict:
    """A verdict as it stands. acknowledged_at: when a person took note of it last."""

    subject: Subject
    verdict: Verdict
    since: datetime
    evaluated_at: datetime
    latches: Mapping[Stream, Latched]
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    decision_id: UUID | None = None

    @property
    def mark(self) -> str:
        """What is another text when the verdict is another one, or somebody has taken note of it."""
        return mark_of(self.verdict, since=self.since, acknowledged_at=self.acknowledged_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a decision depends on besides the evidence.

    evaluated_before: when the subject was looked at last. epoch: of the tenant. is_global_cause: most tenants show the
    trigger at once. is_rollback_decided: this epoch's rollback was decided before. rollbacks_before: automatic ones of
    this tenant so far. others_rolled_back: other tenants within FREEZE_WITHIN. is_broken: a census found what no
    traffic explains. A sandbox is rolled back, and nothing else is done to it.
    """

    verdict_before: Verdict
    evaluated_before: datetime | None = None
    is_enforced: bool = False
    auto_rollback: bool = False
    epoch: int | None = None
    is_sandbox: bool = False
    is_global_cause: bool = False
    is_rollback_decided: bool = False
    rollbacks_before: int = 0
    others_rolled_back: int = 0
    is_broken: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "verdict_before": self.verdict_before.value,
            "evaluated_before": None if self.evaluated_before is None else self.evaluated_before.isoformat(),
            "is_enforced": self.is_enforced,
            "auto_rollback": self.auto_rollback,
            "epoch": self.epoch,
            "is_sandbox": self.is_sandbox,
            "is_global_cause": self.is_global_cause,
            "is_rollback_decided": self.is_rollback_decided,
            "rollbacks_before": self.rollbacks_before,
            "others_rolled_back": self.others_rolled_back,
            "is_broken": self.is_broken,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Situation":
        """From what to_json made."""
        before = document["evaluated_before"]
        return cls(
            **{
                **document,
                "verdict_before": Verdict(document["verdict_before"]),
                "evaluated_before": None if before is None else datetime.fromisoformat(before),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPlan:
    """What will forbid to enforce.

    kind: hold, cooldown, pin or freeze, the last of the whole fleet. reasons: the whole of it in each language. lasts
    None: until a person lifts it.
    """

    kind: str
    reasons: Mapping[str, str]
    lasts: timedelta | None = None

    @property
    def reason(self) -> str:
        """The reason as it is kept with the hold; its readers are told it in their language."""
        return cut_reason(self.reasons["en"])

    @property
    def is_of_fleet(self) -> bool:
        """Whether every tenant is meant."""
        return self.kind == "freeze"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "reason": self.reason,
            "reasons": dict(self.reasons),
            "lasts_seconds": None if self.lasts is None else self.lasts.total_seconds(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What follows. is_due: whether it is to be written down and done; otherwise only the verdict is kept.

    automatic: done by the monitor, the rollback first. looks: begun by it, since they write nothing. recommended: for
    people. holds: what is placed with the decision. wants_rollback: whether the evidence calls for a rollback that
    nobody need be asked for, decided now or before.
    """

    verdict: Verdict
    worst: Assessment
    assessments: tuple[Assessment, ...]
    is_due: bool
    wants_rollback: bool
    automatic: tuple[Step, ...] = ()
    looks: tuple[Action, ...] = ()
    recommended: tuple[Step, ...] = ()
    holds: tuple[HoldPlan, ...] = ()
    stops_promotion: bool = False
    sentences: Mapping[str, str]

    @property
    def is_rollback(self) -> bool:
        """Whether the tenant is rolled back without asking anybody."""
        return any(step.action is Action.ROLLBACK for step in self.automatic)

    @property
    def actions_document(self) -> dict[str, Any]:
        """What is done and recommended, as it is stored with the decision."""
        return {
            "automatic": [_step_document(step) for step in self.automatic],
            "looks": [action.value for action in self.looks],
            "recommended": [_step_document(step) for step in self.recommended],
            "holds": [hold.to_json() for hold in self.holds],
            "stops_promotion": self.stops_promotion,
        }


def decide(subject: Subject, assessments: Sequence[Assessment], situation: Situation) -> Decided:
    """What is to be done about a subject, given the streams of its trigger.

    A verdict that goes on leads to nothing anew, with one exception: while the evidence calls for a rollback and the
    tenant is still enforced, the rollback is due, whatever else holds, waits or was decided.
    """
    assessments = [_flagged(each, situation) for each in assessments]
    worst = find_worst(assessments)
    each_leads_to = [
        recommend(
            subject.trigger,
            each,
            subject=subject.key,
            is_enforced=situation.is_enforced,
            auto_rollback=situation.auto_rollback,
        )
        for each in sorted(assessments, key=lambda each: each is not worst)
    ]
    # The same verdict may have been over, and be back: then it began after it was looked at last.
    is_back = situation.evaluated_before is not None and worst.since > situation.evaluated_before
    is_changed = worst.verdict.rank != situation.verdict_before.rank or (worst.verdict.severity > 0 and is_back)
    is_rollback = any(one.is_rollback for one in each_leads_to)
    is_due = is_changed or (is_rollback and not situation.is_rollback_decided)
    combined = _combined(each_leads_to, is_rollback=is_rollback and not situation.is_rollback_decided)
    if situation.is_sandbox:
        only = tuple(step for step in combined.automatic if step.action is Action.ROLLBACK)
        combined = replace(combined, automatic=only)
    sentences: dict[str, str] = {
        language: explain(worst, language, subject=subject.name, recommendation=combined, is_broken=situation.is_broken)
        for language in LANGUAGES
    }
    return Decided(
        verdict=worst.verdict,
        worst=worst,
        assessments=tuple(assessments),
        is_due=is_due,
        wants_rollback=is_rollback,
        automatic=combined.automatic if is_due else (),
        looks=_looks(combined) if is_due and worst.verdict.severity and not situation.is_sandbox else (),
        recommended=combined.recommended,
        holds=_plan_holds(combined, worst, situation, reasons=sentences) if is_due else (),
        stops_promotion=combined.stops_promotion,
        sentences=sentences,
    )


def cooldown_after(rollbacks: int) -> timedelta:
    """How long a tenant is left alone after so many automatic rollbacks, this one included."""
    assert rollbacks > 0, "nothing was rolled back"
    lasts: timedelta = COOLDOWN_FIRST * (1 << min(rollbacks - 1, 10))
    return min(lasts, COOLDOWN_MAX)


def _flagged(assessment: Assessment, situation: Situation) -> Assessment:
    return assessment.with_flags(Flag.GLOBAL_CAUSE) if situation.is_global_cause else assessment


def _combined(each_leads_to: Sequence[Recommendation], *, is_rollback: bool) -> Recommendation:
    """What all streams of a trigger lead to together; the first is the worst one's, and its advice counts.

    A stream that is only remembered as critical must not hide the proof that another one has now.
    """
    automatic = {step.action: step for one in reversed(each_leads_to) for step in one.automatic}
    rollback = automatic.pop(Action.ROLLBACK, None)
    first = each_leads_to[0]
    return Recommendation(
        automatic=(*([rollback] if is_rollback and rollback is not None else []), *automatic.values()),
        recommended=tuple(step for step in first.recommended if step.action not in automatic),
        stops_promotion=any(one.stops_promotion for one in each_leads_to),
    )


def _looks(combined: Recommendation) -> tuple[Action, ...]:
    recommended = {step.action for step in combined.recommended}
    return tuple(action for action in _LOOKS if action in recommended)


def _plan_holds(
    combined: Recommendation, worst: Assessment, situation: Situation, *, reasons: Mapping[str, str]
) -> tuple[HoldPlan, ...]:
    if situation.is_sandbox or worst.trigger is Trigger.T2:
        return ()
    actions = {step.action for step in combined.automatic}
    holds: list[HoldPlan] = []
    if Action.ROLLBACK in actions:
        rollbacks = situation.rollbacks_before + 1
        holds.append(HoldPlan(kind="cooldown", reasons=reasons, lasts=cooldown_after(rollbacks)))
        if rollbacks >= PIN_FROM:
            again = {
                language: _PINNED[language].format(rollbacks=rollbacks, reason=reason)
                for language, reason in reasons.items()
            }
            holds.append(HoldPlan(kind="pin", reasons=again))
    elif Action.HOLD in actions:
        holds.append(HoldPlan(kind="hold", reasons=reasons))
    elif worst.observed is Verdict.LIGHT:
        holds.append(HoldPlan(kind="hold", reasons=reasons, lasts=LIGHT_HOLD))
    is_epidemic = Action.ROLLBACK in actions and situation.others_rolled_back + 1 >= FREEZE_FROM
    if is_epidemic or Action.FREEZE_FLEET in actions:
        holds.append(HoldPlan(kind="freeze", reasons=reasons))
    return tuple(holds)


def _step_document(step: Step) -> dict[str, str | None]:
    return {"action": step.action.value, "command": step.command, "undo": step.undo}


def evidence_document(
    subject: Subject, inputs: Sequence[AssessmentInput], situation: Situation, decided: Decided
) -> dict[str, Any]:
    """All that a decision was made from, and what was made of it on the way, for people."""
    return {
        "subject": {
            "kind": subject.kind.value,
            "key": subject.key,
            "name": subject.name,
            "trigger": subject.trigger.value,
            "tenant_id": None if subject.tenant_id is None else str(subject.tenant_id),
        },
        "situation": situation.to_json(),
        "inputs": [each.to_json() for each in inputs],
        "assessments": [each.to_json() for each in decided.assessments],
        "sentences": dict(decided.sentences),
    }


def derive_again(evidence: Mapping[str, Any]) -> Decided:
    """The decision once more, from what was stored with it and nothing else."""
    kept = evidence["subject"]
    subject = Subject(
        kind=SubjectKind(kept["kind"]),
        key=kept["key"],
        name=kept["name"],
        trigger=Trigger(kept["trigger"]),
        tenant_id=None if kept["tenant_id"] is None else UUID(kept["tenant_id"]),
    )
    inputs = [AssessmentInput.from_json(each) for each in evidence["inputs"]]
    return decide(subject, [each.assess() for each in inputs], Situation.from_json(evidence["situation"]))
