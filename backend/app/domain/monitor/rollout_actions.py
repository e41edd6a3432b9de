"""The decision matrix of the rollout as code: what is done by itself, what is recommended, with ready commands. Pure.

                     LIGHT                            HIGH, SUSTAINED                       CRITICAL
T1 with proof        promotion stops; who, dry run    roll back (automatic where allowed)   roll back, freeze the fleet
T1 without proof     likewise                         hold; rolling back is recommended     –
T2                   look at the secret               signatures off for a while, rotate    –
T3                   dry run, census, the wallets     freeze the fleet; forced backfill     roll back, freeze the fleet

Proof is a stream that compares both sides of one wallet. Nothing of T2 is ever automatic: anybody can send bad
signatures. A rollback acts on what is observed now, never on a verdict that is only remembered.
"""

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from backend.app.domain.monitor.assessment import Assessment, Flag, Verdict
from backend.app.domain.monitor.bucket import Stream, Trigger

# For how long signatures may be off before the flag expires by itself.
RELAXED_HOURS: Final = 1
BATCH_SIZE: Final = 1000


class Action(StrEnum):
    """What can be done about a verdict."""

    # By the monitor, where the matrix says so.
    HOLD = "hold"
    FREEZE_FLEET = "freeze_fleet"
    ROLLBACK = "rollback"
    # By people.
    SHOW = "show"
    BACKFILL_DRY_RUN = "backfill_dry_run"
    CENSUS = "census"
    LIST_WALLETS = "list_wallets"
    FORCED_BACKFILL_DRY_RUN = "forced_backfill_dry_run"
    FORCED_BACKFILL = "forced_backfill"
    REVIEW_RULES = "review_rules"
    CHECK_SECRET = "check_secret"
    RELAX_SIGNATURES = "relax_signatures"
    ROTATE_SECRET = "rotate_secret"
    OPEN_INCIDENT = "open_incident"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action. command: to be copied into a shell, None where there is none; undo: likewise, what takes it back."""

    action: Action
    command: str | None = None
    undo: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What a verdict leads to.

    automatic: for the monitor to do now. recommended: for people, in the order in which to do them.
    stops_promotion: whether the tenant may not be enforced for as long as this stands.
    """

    automatic: tuple[Step, ...] = ()
    recommended: tuple[Step, ...] = ()
    stops_promotion: bool = False

    @property
    def is_rollback(self) -> bool:
        """Whether the tenant is to be rolled back without asking anybody."""
        return any(step.action is Action.ROLLBACK for step in self.automatic)


# By trigger and severity: first what is automatic, then what is recommended. ROLLBACK stands where it may be automatic
# and moves to the recommended ones where it is not allowed, or away where the legacy column decides anyway.
_PROVEN: Final = {
    (Trigger.T1, 1): ((), (Action.SHOW, Action.BACKFILL_DRY_RUN)),
    (Trigger.T1, 2): (
        (Action.ROLLBACK, Action.HOLD),
        (Action.SHOW, Action.BACKFILL_DRY_RUN, Action.CENSUS, Action.REVIEW_RULES),
    ),
    (Trigger.T1, 3): (
        (Action.ROLLBACK, Action.FREEZE_FLEET),
        (Action.SHOW, Action.CENSUS, Action.OPEN_INCIDENT),
    ),
    (Trigger.T3, 1): ((), (Action.BACKFILL_DRY_RUN, Action.CENSUS, Action.LIST_WALLETS)),
    (Trigger.T3, 2): (
        (Action.FREEZE_FLEET,),
        (
            Action.CENSUS,
            Action.FORCED_BACKFILL_DRY_RUN,
            Action.FORCED_BACKFILL,
            Action.OPEN_INCIDENT,
        ),
    ),
    (Trigger.T3, 3): (
        (Action.ROLLBACK, Action.FREEZE_FLEET),
        (Action.CENSUS, Action.LIST_WALLETS, Action.OPEN_INCIDENT),
    ),
}
_UNPROVEN: Final = {
    (Trigger.T1, 1): ((), (Action.SHOW, Action.BACKFILL_DRY_RUN)),
    (Trigger.T1, 2): (
        (Action.HOLD,),
        (Action.SHOW, Action.ROLLBACK, Action.BACKFILL_DRY_RUN, Action.REVIEW_RULES),
    ),
    (Trigger.T2, 1): ((), (Action.CHECK_SECRET,)),
    (Trigger.T2, 2): ((), (Action.CHECK_SECRET, Action.RELAX_SIGNATURES, Action.ROTATE_SECRET)),
}


class MatrixRow(NamedTuple):
    """One row of the matrix. is_paired: of streams that compare both sides. cells: what is done by itself and what is
    recommended, for light, for high and sustained, and for critical; None where there is no such verdict.
    """

    trigger: Trigger
    is_paired: bool
    cells: tuple[tuple[tuple[Action, ...], tuple[Action, ...]] | None, ...]


SEVERITIES: Final = (1, 2, 3)


def matrix() -> tuple[MatrixRow, ...]:
    """The matrix as it stands above, for showing it: for a tenant that is enforced and may be rolled back by itself."""
    return tuple(
        MatrixRow(trigger, is_paired, tuple(table.get((trigger, severity)) for severity in SEVERITIES))
        for trigger in Trigger
        for is_paired, table in ((True, _PROVEN), (False, _UNPROVEN))
        if (trigger, SEVERITIES[0]) in table
    )


_STOPPING: Final = frozenset({Flag.TRAFFIC_DROP, Flag.BLIND, Flag.REVISED, Flag.GLOBAL_CAUSE})


def recommend(
    trigger: Trigger,
    assessment: Assessment,
    *,
    subject: str,
    is_enforced: bool,
    auto_rollback: bool,
    account_id: str | None = None,
) -> Recommendation:
    """What follows from an assessment.

    subject: the tenant's id, or for T2 the provider. auto_rollback: whether the tenant may be rolled back without
    asking. account_id: of T2, the account whose secret to look at.
    """
    assert assessment.trigger is trigger, f"{assessment.stream} is not of {trigger}"
    stops = assessment.verdict.severity > 0 or not _STOPPING.isdisjoint(assessment.flags)
    if assessment.stream is Stream.T2_NOISE:
        # Made by anybody on the internet: never anything.
        return Recommendation()
    if assessment.verdict.severity == 0:
        return Recommendation(stops_promotion=stops)
    table = _PROVEN if assessment.stream.is_paired else _UNPROVEN
    automatic, recommended = table[trigger, assessment.verdict.severity]
    if not is_enforced:
        automatic = _without(automatic, Action.ROLLBACK)
        recommended = _without(recommended, Action.ROLLBACK)
    elif Action.ROLLBACK in automatic and not (auto_rollback and _may_roll_back(assessment)):
        automatic = _without(automatic, Action.ROLLBACK)
        recommended = (Action.ROLLBACK, *recommended)
    if Flag.REVISED in assessment.flags or assessment.observed.severity < assessment.verdict.severity:
        # What came late, or is only remembered, does nothing by itself.
        automatic, recommended = (), (*automatic, *recommended)
    commands = _Commands(assessment, subject=subject, account_id=account_id)
    return Recommendation(
        automatic=tuple(commands.step(action) for action in automatic),
        recommended=tuple(commands.step(action) for action in recommended),
        stops_promotion=stops,
    )


def _may_roll_back(assessment: Assessment) -> bool:
    """Whether the evidence allows a rollback that nobody asked for.

    A cause that most tenants share is not healed by it; but money that was paid wrongly waits for nobody.
    """
    is_shared = Flag.GLOBAL_CAUSE in assessment.flags and assessment.observed is not Verdict.CRITICAL
    return (
        assessment.stream.is_paired
        and assessment.observed.severity >= Verdict.HIGH.severity
        and Flag.REVISED not in assessment.flags
        and not is_shared
    )


def _without(actions: tuple[Action, ...], action: Action) -> tuple[Action, ...]:
    return tuple(each for each in actions if each is not action)


class _Commands:
    """The command for each action, for one subject; texts are quoted for a shell."""

    def __init__(self, assessment: Assessment, *, subject: str, account_id: str | None) -> None:
        self._subject = shlex.quote(subject)
        self._account_id = shlex.quote(account_id) if account_id else "ACCOUNT_ID"
        self._reason = shlex.quote(
            f"{assessment.trigger} {assessment.verdict}: {assessment.x_60} of {assessment.n_60} in the last hour"
        )

    def step(self, action: Action) -> Step:
        """The action with its command and what takes it back."""
        subject, reason = self._subject, self._reason
        flag = "hakem flags set webhook_signature_enforced"
        commands: dict[Action, str] = {
            Action.HOLD: f"hakem rollout hold {subject} --reason {reason}",
            Action.FREEZE_FLEET: f"hakem rollout hold --fleet --reason {reason}",
            Action.ROLLBACK: f"hakem rollout rollback {subject} --reason {reason}",
            Action.SHOW: f"hakem rollout status {subject}",
            Action.BACKFILL_DRY_RUN: f"hakem backfill --tenant-id {subject} --batch-size {BATCH_SIZE} --dry-run",
            Action.CENSUS: f"hakem verify --tenant-id {subject}",
            Action.LIST_WALLETS: f"hakem verify --tenant-id {subject} --json",
            Action.FORCED_BACKFILL_DRY_RUN: f"hakem backfill --tenant-id {subject} --force --dry-run",
            Action.FORCED_BACKFILL: f"hakem backfill --tenant-id {subject} --force --reason {reason}",
            Action.CHECK_SECRET: "hakem psp accounts list",
            Action.RELAX_SIGNATURES: f"{flag} false --provider {subject} --hours {RELAXED_HOURS} --reason {reason}",
            Action.ROTATE_SECRET: f"hakem psp accounts set-secret {subject} {self._account_id} --secret-name NEW_NAME",
        }
        undo: dict[Action, str] = {
            Action.HOLD: f"hakem rollout lift {subject} --reason 'cause found: …'",
            Action.FREEZE_FLEET: "hakem rollout lift --fleet --reason 'cause found: …'",
            Action.ROLLBACK: f"hakem rollout enforce {subject} --reason 'cause found: …'",
            Action.RELAX_SIGNATURES: f"{flag} true --provider {subject} --reason 'secret rotated: …'",
        }
        return Step(action=action, command=commands.get(action), undo=undo.get(action))
