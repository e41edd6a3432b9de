"""Verdicts latch: how one that was reached is left again. Pure.

LIGHT ends after a quarter of an hour with traffic and low scores. HIGH and worse end only when a person has taken note
and the evidence has been OK for an hour; silence is not OK, and being blind is not either.
"""

from datetime import datetime
from typing import Final

from backend.app.domain.monitor.assessment import Latched, Verdict
from backend.app.domain.monitor.evidence_scan import Checkpoint
from backend.app.domain.monitor.thresholds import Thresholds

# A pause between two assessments counts as OK for no longer than this: nobody looked in the meantime.
OK_SECONDS_PER_STEP_MAX: Final = 300.0


def latch(
    previous: Latched | None,
    observed: Verdict,
    *,
    calm_minutes: int,
    is_blind: bool,
    checkpoint: Checkpoint | None,
    thresholds: Thresholds,
    now: datetime,
    judged_until: datetime,
) -> Latched:
    """What holds after `observed`, in the light of what held before.

    calm_minutes: minutes with traffic in a row with all scores low. judged_until: the last closed minute.
    """
    verdict, since, ok_seconds = observed, now, 0.0
    if previous is not None:
        ok_seconds = _ok_seconds(previous, observed, is_blind=is_blind, now=now)
        verdict = _verdict(previous, observed, calm_minutes=calm_minutes, ok_seconds=ok_seconds, thresholds=thresholds)
        # The same verdict goes on, unless somebody took note of it, it was over for a while, and it is back.
        is_back = observed.severity >= Verdict.HIGH.severity and previous.ok_seconds > 0 and previous.is_acknowledged
        if verdict is previous.verdict and not is_back:
            since = previous.since
    return Latched(
        verdict=verdict,
        since=since,
        assessed_at=now,
        judged_until=judged_until,
        version=thresholds.version,
        acknowledged_at=None if previous is None else previous.acknowledged_at,
        acknowledged_until=None if previous is None else previous.acknowledged_until,
        ok_seconds=ok_seconds if verdict.severity >= Verdict.HIGH.severity else 0.0,
        checkpoint=checkpoint,
    )


def _verdict(
    previous: Latched, observed: Verdict, *, calm_minutes: int, ok_seconds: float, thresholds: Thresholds
) -> Verdict:
    if observed.rank >= previous.verdict.rank:
        return observed
    if previous.verdict is Verdict.LIGHT:
        return observed if calm_minutes >= thresholds.calm_minutes else Verdict.LIGHT
    is_over = previous.is_acknowledged and ok_seconds >= thresholds.ok_minutes * 60
    return observed if is_over else previous.verdict


def _ok_seconds(previous: Latched, observed: Verdict, *, is_blind: bool, now: datetime) -> float:
    """For how long it has been OK: no data and blindness stop the clock, anything worse sets it back."""
    if observed.severity:
        return 0.0
    if observed is Verdict.NO_DATA or is_blind:
        return previous.ok_seconds
    step = (now - previous.assessed_at).total_seconds()
    return previous.ok_seconds + min(max(step, 0.0), OK_SECONDS_PER_STEP_MAX)
