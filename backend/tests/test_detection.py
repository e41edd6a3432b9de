"""The detector's rules, one by one: what makes a verdict, what does not, and how it is left again."""

import json
from datetime import timedelta

import pytest

from backend.app.domain.backfill.census import DifferenceClass
from backend.app.domain.monitor.detection import (
    PAIRED_BASELINE,
    Assessment,
    AssessmentInput,
    Baseline,
    Bucket,
    Flag,
    Latched,
    Stream,
    Surroundings,
    Thresholds,
    Verdict,
    find_global_cause,
    find_worst,
)
from backend.tests.detection_traffic import DAY, HOUR, THRESHOLDS, bucket, look, minute, watch

RATE = Baseline(p0=0.0617)


def quiet(*, first: int, minutes: int, n: int = 5) -> list[Bucket]:
    """Traffic without anything wrong."""
    return [bucket(number, n=n) for number in range(first, first + minutes)]


def wrong_refusals(*, first: int = 0, minutes: int = 10, n: int = 5) -> list[Bucket]:
    """One other player wrongly refused in each minute."""
    return [bucket(number, n=n, x=1) for number in range(first, first + minutes)]


@pytest.mark.parametrize(
    ("players", "verdict"),
    [
        (1, Verdict.OK),
        # Two different players in a day are worth a look.
        (2, Verdict.LIGHT),
        (4, Verdict.LIGHT),
        # Five within an hour, in three minutes or more, are proof.
        (5, Verdict.HIGH),
    ],
)
def test_distinct_players_of_a_paired_stream(players: int, verdict: Verdict) -> None:
    assert look(Stream.T1_DISPUTED, wrong_refusals(minutes=players)).verdict is verdict


def test_more_players_are_needed_where_chance_alone_brings_many() -> None:
    busy = quiet(first=-50, minutes=50, n=100)
    assert look(Stream.T1_DISPUTED, [*busy, *wrong_refusals(minutes=5, n=100)]).verdict is Verdict.LIGHT
    assert look(Stream.T1_DISPUTED, [*busy, *wrong_refusals(minutes=10, n=100)]).verdict is Verdict.HIGH


def test_players_within_two_minutes_are_a_blip() -> None:
    burst = [bucket(0, n=50, x=20), bucket(1, n=50, x=20)]
    assert look(Stream.T1_DISPUTED, burst).verdict is Verdict.LIGHT
    assert look(Stream.T1_DISPUTED, [*burst, bucket(2, n=50, x=1)]).verdict is Verdict.HIGH


@pytest.mark.parametrize("stream", [Stream.T1_DISPUTED, Stream.T1_REFUSED, Stream.T2_REJECTED, Stream.T3_MISMATCH])
def test_one_subject_again_and_again_is_nobody_else(stream: Stream) -> None:
    looping = [bucket(number, n=40, x=35, players=["whale"]) for number in range(DAY)]
    assessments = watch(stream, looping, every=20)
    assert {each.verdict for each in assessments} == {Verdict.OK}
    assert assessments[-1].x_60_raw == 60 * 35
    assert assessments[-1].x_60 == 6, "once in ten minutes"


def test_deliveries_that_name_no_payment_count_once_a_minute() -> None:
    nameless = [bucket(number, n=6, x=5, players=[]) for number in range(60)]
    assert look(Stream.T2_REJECTED, nameless).verdict.severity == 2
    # Where players are known to the caller, an x without one proves nothing about how many they are.
    assert look(Stream.T1_DISPUTED, nameless).verdict is Verdict.OK


def test_noise_from_the_internet_is_never_anything() -> None:
    noise = [bucket(number, n=1000, x=1000) for number in range(3 * HOUR)]
    assessments = watch(Stream.T2_NOISE, noise, every=15)
    assert {each.verdict for each in assessments} == {Verdict.OK}


@pytest.mark.parametrize(("is_enforced", "verdict"), [(True, Verdict.CRITICAL), (False, Verdict.LIGHT)])
def test_paying_what_the_other_side_refuses(is_enforced: bool, verdict: Verdict) -> None:
    buckets = [*quiet(first=0, minutes=5), bucket(5, n=5, x=1), *quiet(first=6, minutes=5)]
    assert look(Stream.T1_OVERPAID, buckets, is_enforced=is_enforced).verdict is verdict
    assert look(Stream.T1_OVERPAID, quiet(first=0, minutes=5), is_enforced=is_enforced).verdict is Verdict.OK


def test_overpaid_stays_critical_until_somebody_has_taken_note() -> None:
    buckets = [bucket(0, n=5, x=1), *quiet(first=1, minutes=10 * HOUR)]
    assessments = watch(Stream.T1_OVERPAID, buckets, every=5)
    assert assessments[-1].observed is Verdict.CRITICAL
    noted = assessments[-1].latched.acknowledge(now=assessments[-1].assessed_at)
    later = watch(Stream.T1_OVERPAID, quiet(first=10 * HOUR, minutes=2 * HOUR), every=5, previous=noted)
    assert [each.verdict for each in later[:12]] == [Verdict.CRITICAL] * 12
    assert later[-1].verdict is Verdict.OK


def test_overpaid_again_after_the_note_is_critical_again() -> None:
    first = look(Stream.T1_OVERPAID, [bucket(0, n=5, x=1)])
    noted = first.latched.acknowledge(now=first.assessed_at)
    buckets = [bucket(0, n=5, x=1), *quiet(first=1, minutes=30)]
    assert look(Stream.T1_OVERPAID, buckets, previous=noted).observed is Verdict.OK
    assert look(Stream.T1_OVERPAID, [*buckets, bucket(31, n=5, x=1)], previous=noted).observed is Verdict.CRITICAL


@pytest.mark.parametrize(
    ("broken", "is_enforced", "verdict"),
    [
        (DifferenceClass.FOLD_DIFF, True, Verdict.CRITICAL),
        (DifferenceClass.ZERO_SUM, True, Verdict.CRITICAL),
        (DifferenceClass.FOLD_DIFF, False, Verdict.HIGH),
        # Two sides that differ are what T3 counts, and no proof that the ledger is wrong in itself.
        (DifferenceClass.AVAILABLE_DIFF, True, Verdict.OK),
    ],
)
def test_what_a_census_found_broken(broken: DifferenceClass, is_enforced: bool, verdict: Verdict) -> None:
    surroundings = Surroundings(broken=frozenset({broken}))
    buckets = quiet(first=0, minutes=5)
    found = look(Stream.T3_MISMATCH, buckets, surroundings=surroundings, is_enforced=is_enforced)
    assert found.verdict is verdict
    assert look(Stream.T1_DISPUTED, buckets, surroundings=surroundings).verdict is Verdict.OK


def test_no_traffic_is_neither_good_nor_bad() -> None:
    assert look(Stream.T1_DISPUTED, []).verdict is Verdict.NO_DATA
    assert look(Stream.T1_DISPUTED, quiet(first=0, minutes=10, n=0)).verdict is Verdict.NO_DATA


def test_light_ends_after_a_quarter_of_an_hour_of_calm_traffic() -> None:
    # Enough for LIGHT and no more.
    rise = [bucket(number, n=10, x=4) for number in range(4)]
    calm = [bucket(number, n=25) for number in range(4, 2 * HOUR)]
    assessments = watch(Stream.T1_REFUSED, [*rise, *calm], baseline=RATE)
    verdicts = [each.verdict for each in assessments]
    assert Verdict.LIGHT in verdicts
    assert verdicts[-1] is Verdict.OK
    assert Verdict.HIGH not in verdicts
    ends = verdicts.index(Verdict.OK, verdicts.index(Verdict.LIGHT))
    scores = [each.score for each in assessments]
    assert all(score < 4.5 for score in scores[ends - 14 : ends + 1])
    # The scores were low for the whole quarter of an hour before, and no longer than that.
    assert scores[ends - 15] >= 4.5


def test_light_does_not_end_while_there_is_no_traffic() -> None:
    first = look(Stream.T1_DISPUTED, wrong_refusals(minutes=2))
    silence = look(Stream.T1_DISPUTED, quiet(first=2 * DAY, minutes=60, n=0), previous=first.latched)
    assert (silence.observed, silence.verdict) == (Verdict.NO_DATA, Verdict.LIGHT)


def high() -> Assessment:
    """A tenant that is HIGH, ten minutes after the start."""
    found = look(Stream.T1_DISPUTED, wrong_refusals(minutes=10))
    assert found.verdict is Verdict.HIGH
    return found


def after_a_day(previous: Latched, *, n: int, is_blind: bool = False, minutes: int = 2 * HOUR) -> list[Assessment]:
    """What becomes of a verdict long after the last event."""
    surroundings = Surroundings(is_blind=is_blind)
    return watch(
        Stream.T1_DISPUTED,
        quiet(first=3 * DAY, minutes=minutes, n=n),
        previous=previous,
        every=5,
        surroundings=surroundings,
    )


def test_high_stays_without_acknowledgement() -> None:
    later = after_a_day(high().latched, n=5)
    assert {each.observed for each in later} == {Verdict.OK}
    assert {each.verdict for each in later} == {Verdict.HIGH}
    assert {each.since for each in later} == {high().since}


def test_high_ends_by_acknowledgement_and_an_hour_of_ok() -> None:
    noted = high().latched.acknowledge(now=minute(HOUR))
    later = after_a_day(noted, n=5)
    ends = next(each.assessed_at for each in later if each.verdict is Verdict.OK)
    assert ends - later[0].assessed_at == timedelta(minutes=55), "the first look counts five minutes, and no more"
    assert later[-1].verdict is Verdict.OK


@pytest.mark.parametrize(("n", "is_blind"), [(0, False), (5, True)])
def test_silence_and_blindness_are_not_ok(n: int, is_blind: bool) -> None:
    noted = high().latched.acknowledge(now=minute(HOUR))
    later = after_a_day(noted, n=n, is_blind=is_blind, minutes=4 * HOUR)
    assert {each.verdict for each in later} == {Verdict.HIGH}


def test_high_that_comes_back_after_the_note_begins_anew() -> None:
    noted = high().latched.acknowledge(now=minute(HOUR))
    calm = after_a_day(noted, n=5, minutes=30)[-1]
    again = look(Stream.T1_DISPUTED, wrong_refusals(first=3 * DAY + 40), previous=calm.latched)
    assert again.verdict is Verdict.HIGH
    assert again.since == again.assessed_at
    assert again.acknowledged_at is None


def test_what_lasts_is_sustained() -> None:
    lasting = wrong_refusals(minutes=3 * HOUR)
    verdicts = [each.verdict for each in watch(Stream.T1_DISPUTED, lasting, every=5)]
    assert verdicts[-1] is Verdict.SUSTAINED
    assert verdicts.index(Verdict.HIGH) < verdicts.index(Verdict.SUSTAINED)
    # A rate that is up by half of its odds again is never HIGH by the sharper alternatives.
    slow = [bucket(number, n=20, x=2) for number in range(12 * HOUR)]
    found = watch(Stream.T1_REFUSED, slow, baseline=RATE, every=10)
    assert found[-1].verdict is Verdict.SUSTAINED


def test_a_rate_within_its_padding_is_nothing() -> None:
    usual = [bucket(number, n=16, x=1) for number in range(2 * DAY)]
    assert {each.verdict for each in watch(Stream.T1_REFUSED, usual, baseline=RATE, every=30)} == {Verdict.OK}


def test_a_score_is_nothing_while_the_hour_has_no_event() -> None:
    buckets = [*wrong_refusals(minutes=10), *quiet(first=10, minutes=90, n=1)]
    found = look(Stream.T1_DISPUTED, buckets)
    assert found.score > THRESHOLDS.h_high
    # Ten players in a day remain a reason to look.
    assert found.observed is Verdict.LIGHT


def test_what_is_late_never_acts_alone() -> None:
    late = [bucket(number, n=5, x=1, is_revised=True) for number in range(20)]
    found = look(Stream.T1_DISPUTED, [*late, *quiet(first=20, minutes=20)])
    assert found.verdict is Verdict.HIGH
    assert Flag.REVISED in found.flags
    assert found.latched.checkpoint is not None
    assert max(found.latched.checkpoint.scores.values()) == 0.0, "it is not remembered as if it had come in time"


def test_what_came_in_time_needs_nothing_late() -> None:
    buckets = [bucket(0, n=5, x=1, is_revised=True), *wrong_refusals(first=1, minutes=10)]
    found = look(Stream.T1_DISPUTED, buckets)
    assert found.verdict is Verdict.HIGH
    assert Flag.REVISED not in found.flags


def test_minutes_that_are_open_or_ahead_are_passed_over() -> None:
    now = minute(10) + timedelta(seconds=29)
    closed = wrong_refusals(minutes=8)
    ahead = wrong_refusals(first=8, minutes=300)
    with_them = look(Stream.T1_DISPUTED, [*closed, *ahead], now=now)
    assert with_them == look(Stream.T1_DISPUTED, closed, now=now)
    assert with_them.x_60 == 8, "90 seconds after its end a minute is closed"


def test_another_arbiter_begins_with_nothing() -> None:
    before = watch(Stream.T1_DISPUTED, wrong_refusals(minutes=30))[-1]
    assert before.observed is Verdict.HIGH
    flipped = Surroundings(counted_from=minute(30))
    after = look(
        Stream.T1_DISPUTED,
        [*wrong_refusals(minutes=30), *quiet(first=30, minutes=5)],
        previous=before.latched,
        surroundings=flipped,
    )
    assert after.observed is Verdict.OK
    assert after.score == 0.0
    assert after.verdict is Verdict.HIGH, "what somebody has to take note of stays until somebody does"


def test_other_thresholds_begin_with_scores_of_zero() -> None:
    rare = [bucket(number, n=5, x=1 if number % 100 == 0 else 0) for number in range(DAY)]
    before = watch(Stream.T1_DISPUTED, rare, every=30)[-1]
    assert before.score > 9
    others = Thresholds.for_fleet(600)
    after = look(Stream.T1_DISPUTED, quiet(first=2 * DAY, minutes=30), previous=before.latched, thresholds=others)
    assert after.score == 0.0
    same = look(Stream.T1_DISPUTED, quiet(first=2 * DAY, minutes=30), previous=before.latched)
    assert same.score > 0.0


@pytest.mark.parametrize(("streams", "h_high"), [(30, 17.7), (150, 19.3), (600, 20.7), (1, 15.0)])
def test_threshold_grows_with_the_fleet(streams: int, h_high: float) -> None:
    assert Thresholds.for_fleet(streams).h_high == pytest.approx(h_high, abs=0.05)
    assert Thresholds().h_high == Thresholds.for_fleet(150).h_high


@pytest.mark.parametrize(
    ("expected", "silent", "is_dropped"),
    [(2.0, 3, False), (2.0, 10, True), (0.2, 10, False), (0.2, 40, True), (None, 300, False), (0.0, 300, False)],
)
def test_silence_where_traffic_is_expected(expected: float | None, silent: int, is_dropped: bool) -> None:
    buckets = [*quiet(first=0, minutes=10), *quiet(first=10, minutes=silent, n=0)]
    found = look(Stream.T1_DISPUTED, buckets, baseline=Baseline(expected_per_minute=expected))
    assert (Flag.TRAFFIC_DROP in found.flags) is is_dropped


def test_flags_of_the_surroundings() -> None:
    found = look(
        Stream.T1_DISPUTED,
        quiet(first=0, minutes=5),
        surroundings=Surroundings(is_blind=True, clock_skew_seconds=-3.0),
    )
    assert found.flags == {Flag.BLIND, Flag.CLOCK_SKEW}
    assert found.verdict is Verdict.OK


def test_proof_speaks_before_a_rate() -> None:
    rate = look(Stream.T1_REFUSED, wrong_refusals(minutes=HOUR), baseline=RATE)
    paired = high()
    assert rate.verdict.severity == paired.verdict.severity == 2
    assert find_worst([rate, paired]) is paired
    overpaid = look(Stream.T1_OVERPAID, wrong_refusals(minutes=1))
    assert find_worst([rate, overpaid, paired]) is overpaid


@pytest.mark.parametrize(
    ("enforced_light", "others_light", "others", "is_global"),
    [
        (1, 0, 4, False),
        # All that are enforced, and nobody else: enforcing it is.
        (3, 0, 1, False),
        (1, 2, 2, True),
        (1, 1, 3, False),
        # Two tenants are no fleet.
        (1, 1, 1, False),
    ],
)
def test_a_cause_that_tenants_share(enforced_light: int, others_light: int, others: int, is_global: bool) -> None:
    light = look(Stream.T1_DISPUTED, wrong_refusals(minutes=2))
    light_unenforced = look(Stream.T1_DISPUTED, wrong_refusals(minutes=2), is_enforced=False)
    calm = look(Stream.T1_DISPUTED, quiet(first=0, minutes=2), is_enforced=False)
    fleet = [light] * enforced_light + [light_unenforced] * others_light + [calm] * (others - others_light)
    by_tenant = {f"tenant-{number}": each for number, each in enumerate(fleet)}
    assert find_global_cause(by_tenant, thresholds=THRESHOLDS) is is_global


def test_an_assessment_is_derived_again_from_what_is_stored() -> None:
    buckets = [bucket(number, n=5, x=int(number % 7 == 0), is_revised=number == 21) for number in range(3 * HOUR)]
    before = look(Stream.T1_DISPUTED, buckets[:100], surroundings=Surroundings(clock_skew_seconds=9.0))
    given = AssessmentInput(
        stream=Stream.T1_DISPUTED,
        buckets=tuple(buckets),
        baseline=Baseline(p0=2e-4, ratio=1.1, expected_per_minute=5.0),
        thresholds=Thresholds.for_fleet(30),
        now=minute(3 * HOUR) + timedelta(seconds=91),
        previous=before.latched.acknowledge(now=minute(101)),
        is_enforced=True,
        surroundings=Surroundings(counted_from=minute(10), broken=frozenset({DifferenceClass.FOLD_DIFF})),
    )
    stored = json.dumps(given.to_json())
    assert AssessmentInput.from_json(json.loads(stored)) == given
    assessed = given.assess()
    assert AssessmentInput.from_json(json.loads(stored)).assess() == assessed
    assert Assessment.from_json(json.loads(json.dumps(assessed.to_json()))) == assessed


def test_assumed_rate_of_paired_streams() -> None:
    assert PAIRED_BASELINE.rate == 1e-4
