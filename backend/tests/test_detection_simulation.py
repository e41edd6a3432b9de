"""Simulated weeks and incidents, by seed: what must not lead to any action, and how soon the others are seen.

The delays are the study's, measured there at a threshold of 15, which ours exceeds; docs/detection.md has our own table
from longer runs of the same traffic.
"""

import math
import random
import statistics
from collections.abc import Sequence
from datetime import timedelta

import pytest

from backend.app.domain.monitor.baseline import PAIRED_BASELINE, Baseline, control_ratio, learn_rate, scale_odds
from backend.app.domain.monitor.bucket import MINUTE, UnitBucket
from backend.app.domain.monitor.detection import (
    Assessment,
    Bucket,
    Flag,
    Stream,
    Surroundings,
    Verdict,
    find_global_cause,
)
from backend.app.domain.monitor.evidence_scan import Scan
from backend.app.domain.monitor.rollout_actions import Action, Recommendation, recommend
from backend.app.domain.monitor.thresholds import MINUTES_PER_YEAR
from backend.tests.detection_traffic import (
    DAY,
    HOUR,
    START,
    THRESHOLDS,
    bucket,
    look,
    minute,
    minutes_until_high,
    traffic,
    watch,
)

USUAL = 0.05
# Learned from ten thousand decisions, as a tenant with history has it.
LEARNED = Baseline(p0=learn_rate(x=500, n=10_000, pool=USUAL))
# By how much our threshold, for 150 streams, is above the one of the study's tables.
HIGHER = THRESHOLDS.h_high / 15
TENANT = "0190aaaa-0000-7000-8000-000000000001"


def advice(assessment: Assessment, *, is_enforced: bool = True) -> Recommendation:
    """What a monitor that may roll back would do."""
    return recommend(assessment.trigger, assessment, subject=TENANT, is_enforced=is_enforced, auto_rollback=True)


def automatic(assessments: Sequence[Assessment]) -> set[Action]:
    """All that was done without asking anybody."""
    return {step.action for each in assessments for step in advice(each).automatic}


def by_day(number: int) -> float:
    """Busy in the evening, hardly anybody before dawn, none at all for three hours."""
    hour = number // HOUR % 24
    return 0.0 if 3 <= hour < 6 else 3.0 + 3.0 * math.sin((hour - 12) / 24 * 2 * math.pi)


@pytest.mark.parametrize("seed", [1, 2])
def test_quiet_week_leads_to_nothing(seed: int) -> None:
    rng = random.Random(seed)
    refused = traffic(rng, minutes=7 * DAY, per_minute=by_day, rate=USUAL)
    paired = [bucket(number, n=each.n) for number, each in enumerate(refused)]
    gross = watch(Stream.T1_REFUSED, refused, baseline=LEARNED, every=7)
    assert automatic(gross) == set()
    disputed = watch(Stream.T1_DISPUTED, paired, every=17)
    assert automatic(disputed) == set()
    # The night is longer than an hour, and silence is not OK.
    assert {each.verdict for each in gross} == {each.verdict for each in disputed} == {Verdict.OK, Verdict.NO_DATA}
    assert all(not each.flags for each in [*gross, *disputed])


def test_retry_storm_of_one_player_leads_to_nothing() -> None:
    rng = random.Random(3)
    usual = traffic(rng, minutes=8 * HOUR, per_minute=5.0, rate=USUAL)
    storm = [
        bucket(number, n=each.n + 200, x=each.x + 200, players=each.players | {"whale"})
        if 120 <= number < 240
        else each
        for number, each in enumerate(usual)
    ]
    gross = watch(Stream.T1_REFUSED, storm, baseline=LEARNED)
    assert automatic(gross) == set()
    assert max(each.verdict.rank for each in gross) == 0
    assert max(each.x_60_raw for each in gross) > 10_000
    # The same player, wrongly refused each time.
    paired = [bucket(n, n=205, x=200, players=["whale"]) if 120 <= n < 240 else bucket(n, n=5) for n in range(8 * HOUR)]
    assert {each.verdict for each in watch(Stream.T1_DISPUTED, paired, every=3)} == {Verdict.OK}


@pytest.mark.parametrize("stream", [Stream.T1_REFUSED, Stream.T1_DISPUTED, Stream.T3_MISMATCH])
@pytest.mark.parametrize("seed", range(3))
def test_blip_of_two_minutes_leads_to_nothing(stream: Stream, seed: int) -> None:
    rng = random.Random(seed)
    usual = 0.0 if stream.is_paired else USUAL
    blip = scale_odds(USUAL, 20)
    buckets = traffic(
        rng, minutes=5 * HOUR, per_minute=25.0, rate=lambda number: blip if 120 <= number < 122 else usual
    )
    assert sum(each.x for each in buckets[120:122]) > 15
    assessments = watch(stream, buckets, baseline=PAIRED_BASELINE if stream.is_paired else LEARNED)
    assert automatic(assessments) == set()
    assert max(each.verdict.rank for each in assessments) <= Verdict.LIGHT.rank
    assert not any(step.action is Action.ROLLBACK for each in assessments for step in advice(each).recommended)


@pytest.mark.parametrize("seed", [5, 6])
def test_new_tenant_is_compared_with_the_pool(seed: int) -> None:
    unknown = Baseline(p0=learn_rate(x=0, n=0, pool=USUAL))
    buckets = traffic(random.Random(seed), minutes=3 * DAY, per_minute=0.5, rate=USUAL * 1.2)
    assessments = watch(Stream.T1_REFUSED, buckets, baseline=unknown, every=5)
    assert automatic(assessments) == set()
    assert max(each.verdict.rank for each in assessments) <= Verdict.LIGHT.rank


def test_restart_with_a_backlog_leads_to_nothing() -> None:
    """Half an hour without a flush; then what was counted in it arrives at once, wrong refusals among it."""
    before = [bucket(number, n=5) for number in range(60)]
    after = [bucket(number, n=5) for number in range(90, 150)]
    backlog = [bucket(number, n=5, x=1, is_revised=True) for number in range(60, 90)]
    blind = look(Stream.T1_DISPUTED, before, now=minute(88), surroundings=Surroundings(is_blind=True))
    assert advice(blind).stops_promotion
    assert advice(blind).automatic == ()
    found = watch(Stream.T1_DISPUTED, [*before, *backlog, *after], every=3)[31:]
    assert automatic(found) == set()
    # People see it all the same, and may roll back.
    assert found[0].verdict is Verdict.HIGH
    assert Flag.REVISED in found[0].flags
    assert Action.ROLLBACK in {step.action for step in advice(found[0]).recommended}


def test_clock_of_an_instance_means_nothing() -> None:
    """Only the database's minutes count; what lies ahead of its clock is not closed yet."""
    buckets = [bucket(number, n=5) for number in range(HOUR)]
    ahead = [bucket(number, n=5, x=1) for number in range(HOUR, HOUR + 30)]
    found = look(
        Stream.T1_DISPUTED, [*buckets, *ahead], now=minute(HOUR), surroundings=Surroundings(clock_skew_seconds=1800.0)
    )
    assert found.verdict is Verdict.OK
    assert found.flags == {Flag.CLOCK_SKEW}
    assert not advice(found).stops_promotion


def test_promotion_that_empties_every_wallet_rolls_nobody_back() -> None:
    """All tenants refuse three times as often for an evening: none is enforced by mistake."""
    fleet: dict[str, Assessment] = {}
    promoted = scale_odds(USUAL, 3)
    made = {
        number: traffic(random.Random(number), minutes=3 * HOUR, per_minute=5.0, rate=promoted) for number in range(6)
    }
    control = [each for number in (2, 3, 4, 5) for each in made[number][-HOUR:]]
    expected = sum(each.n for each in control) * USUAL
    ratio = control_ratio(x=sum(each.x for each in control), expected=expected, tenants=4)
    assert ratio == 2.0
    for number, buckets in made.items():
        is_enforced = number < 2
        baseline = Baseline(p0=LEARNED.p0, ratio=ratio if is_enforced else 1.0)
        fleet[str(number)] = watch(Stream.T1_REFUSED, buckets, baseline=baseline, is_enforced=is_enforced, every=5)[-1]
    assert find_global_cause(fleet, thresholds=THRESHOLDS)
    for assessment in fleet.values():
        found = advice(assessment.with_flags(Flag.GLOBAL_CAUSE), is_enforced=assessment.is_enforced)
        assert found.stops_promotion
        assert not found.is_rollback


# Wrong refusals

# decisions a minute, share refused wrongly, the study's mean minutes
INCIDENTS = [(5.0, 0.01, 94), (25.0, 0.01, 20), (1.0, 0.05, 79), (5.0, 0.05, 16)]


@pytest.mark.parametrize(("per_minute", "wrong", "study"), INCIDENTS)
def test_wrong_refusals_roll_the_tenant_back(per_minute: float, wrong: float, study: float) -> None:
    delays = []
    for seed in range(20):
        buckets = traffic(random.Random(seed), minutes=DAY, per_minute=per_minute, rate=wrong)
        found = watch(Stream.T1_DISPUTED, buckets, until=lambda each: each.verdict.severity >= 2)
        assert found[-1].verdict is Verdict.HIGH
        assert advice(found[-1]).is_rollback
        assert automatic(found[:-1]) == set(), "nothing before it is proven"
        delays.append(minutes_until_high(found))
    # The mean of twenty is off by a fifth at most times; the product's own figure is in docs/detection.md.
    assert statistics.fmean(delays) <= study * HIGHER * 1.25


def test_wrong_refusals_of_a_tiny_tenant_are_seen_in_the_end() -> None:
    buckets = traffic(random.Random(11), minutes=4 * DAY, per_minute=0.05, rate=0.2)
    found = watch(Stream.T1_DISPUTED, buckets, every=10, until=lambda each: each.verdict.severity >= 2)
    assert minutes_until_high(found) <= 2 * 380 * HIGHER
    assert advice(found[-1]).is_rollback


def test_slow_leak_is_seen_over_days() -> None:
    """Too few in any hour to be noticed there: the score remembers them across checkpoints."""
    buckets = traffic(random.Random(12), minutes=4 * DAY, per_minute=1.0, rate=0.01)
    found = watch(Stream.T1_DISPUTED, buckets, every=10, until=lambda each: each.verdict.severity >= 2)
    assert found[-1].verdict is Verdict.HIGH
    assert found[-1].x_60 < 5


@pytest.mark.parametrize(("odds", "study"), [(3.0, 78), (5.0, 23)])
def test_rise_of_a_rate_is_recommended_about_and_never_acted_on(odds: float, study: float) -> None:
    delays = []
    for seed in range(15):
        buckets = traffic(random.Random(seed), minutes=DAY, per_minute=5.0, rate=scale_odds(USUAL, odds))
        found = watch(
            Stream.T1_REFUSED, buckets, baseline=LEARNED, every=2, until=lambda each: each.verdict.severity >= 2
        )
        delays.append(minutes_until_high(found))
        last = advice(found[-1])
        assert {step.action for step in last.automatic} == {Action.HOLD}
        assert Action.ROLLBACK in {step.action for step in last.recommended}
    assert statistics.median(delays) <= study * HIGHER * 1.35


# Mismatches


def test_mismatch_spike_freezes_the_fleet_and_rolls_nobody_back() -> None:
    buckets = traffic(
        random.Random(7), minutes=4 * HOUR, per_minute=10.0, rate=lambda number: 0.05 if number >= 120 else 0.0
    )
    found = watch(Stream.T3_MISMATCH, buckets)
    first = next(place for place, each in enumerate(found) if each.verdict.severity >= 2)
    assert 120 <= first <= 120 + 16 * HIGHER
    assert automatic(found[:first]) == set()
    assert automatic(found[first:]) == {Action.FREEZE_FLEET}
    assert [step.action for step in advice(found[first]).recommended][:3] == [
        Action.CENSUS,
        Action.FORCED_BACKFILL_DRY_RUN,
        Action.FORCED_BACKFILL,
    ]


# Webhooks


def test_bad_webhook_secret_is_seen_and_never_acted_on() -> None:
    """From one minute on nothing that the provider signs is good any more."""
    buckets = traffic(
        random.Random(8), minutes=4 * HOUR, per_minute=2.0, rate=lambda number: 1.0 if number >= 120 else 0.0
    )
    found = watch(Stream.T2_REJECTED, buckets)
    first = next(place for place, each in enumerate(found) if each.verdict.severity >= 2)
    assert 120 <= first <= 130
    assert automatic(found) == set()
    recommended = recommend(found[first].trigger, found[first], subject="stripe", is_enforced=True, auto_rollback=True)
    assert Action.RELAX_SIGNATURES in {step.action for step in recommended.recommended}


def test_provider_that_resends_one_bad_delivery_is_nothing() -> None:
    buckets = [bucket(n, n=3, x=int(n % 5 == 0), players=["payment-1"] if n % 5 == 0 else []) for n in range(DAY)]
    assert {each.verdict for each in watch(Stream.T2_REJECTED, buckets, every=10)} == {Verdict.OK}


def test_forged_webhooks_cause_nothing() -> None:
    flood = [bucket(number, n=120, x=120) for number in range(3 * HOUR)]
    found = watch(Stream.T2_NOISE, flood, every=5)
    assert {each.verdict for each in found} == {Verdict.OK}
    assert all(advice(each) == Recommendation() for each in found)


# Chance


def test_chance_alone_acts_at_most_once_in_a_fleet_year() -> None:
    """Ten fleet-years of fifty tenants where one decision in ten thousand disagrees for no reason.

    Through the scan that assess() uses, event by event: what was quiet between two events only lowers the score, by
    the same in one piece as in many. It is cut where the hour before the event begins, which the rules ask about.
    """
    years = 10
    high = 0
    for per_minute, tenants in ((0.05, 20), (1.0, 15), (5.0, 10), (25.0, 5)):
        high += _false_highs(
            random.Random(f"{per_minute}"), per_minute=per_minute, minutes=tenants * years * MINUTES_PER_YEAR
        )
    assert high <= years
    # By far: none was found in forty fleet-years of python -m bench.detection.
    assert high <= 1


def _false_highs(rng: random.Random, *, per_minute: float, minutes: int) -> int:
    scan = Scan(
        Stream.T1_DISPUTED,
        (),
        baseline=PAIRED_BASELINE,
        thresholds=THRESHOLDS,
        checkpoint=None,
        last_minute=START - MINUTE,
    )
    high, was_high, last, player = 0, False, -1, 0
    at = rng.expovariate(per_minute * PAIRED_BASELINE.rate)
    while at < minutes:
        number = max(int(at), last + 1)
        for until, minutes_quiet in ((number - 61, number - 61 - last), (number - 1, min(number - 1 - last, 60))):
            quiet = int(per_minute * max(minutes_quiet, 0) + rng.random())
            if quiet and until > last:
                scan.add(UnitBucket(START + timedelta(minutes=until), quiet, 0, frozenset(), False))
        scan.add(UnitBucket(START + timedelta(minutes=number), 1, 1, frozenset({f"p{player}"}), False))
        is_high = scan.is_high or scan.is_fast
        high += is_high and not was_high
        was_high, last, player = is_high, number, player + 1
        at += rng.expovariate(per_minute * PAIRED_BASELINE.rate)
    return high


def test_the_short_cut_of_the_fleet_years_finds_what_there_is() -> None:
    """Planted in the same traffic, a fault is HIGH: the simulation above could fail."""
    buckets: list[Bucket] = traffic(random.Random(9), minutes=DAY, per_minute=5.0, rate=0.01)
    scan = Scan(
        Stream.T1_DISPUTED,
        (),
        baseline=PAIRED_BASELINE,
        thresholds=THRESHOLDS,
        checkpoint=None,
        last_minute=START - MINUTE,
    )
    verdicts = []
    for each in buckets:
        scan.add(UnitBucket(each.minute, each.n, len(each.players), each.players, False))
        verdicts.append(scan.is_high or scan.is_fast)
    first = verdicts.index(True)
    assessed = look(Stream.T1_DISPUTED, buckets[: first + 1])
    assert assessed.verdict is Verdict.HIGH
    assert look(Stream.T1_DISPUTED, buckets[:first]).verdict.severity < 2
