"""What holds of the detector whatever the traffic: found by Hypothesis, not by examples."""

import json
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.app.domain.monitor.bucket import count_units
from backend.app.domain.monitor.cusum import Cusum
from backend.app.domain.monitor.detection import (
    Assessment,
    AssessmentInput,
    Baseline,
    Bucket,
    Stream,
    Surroundings,
    Verdict,
    find_global_cause,
    find_worst,
)
from backend.tests.detection_traffic import CLOSED_AFTER, START, THRESHOLDS, bucket, look, minute, watch

JUDGED = [Stream.T1_DISPUTED, Stream.T1_REFUSED, Stream.T2_REJECTED, Stream.T3_MISMATCH]
streams = st.sampled_from(list(Stream))
judged = st.sampled_from(JUDGED)
rates = st.sampled_from([1e-4, 1e-3, 0.02, 0.0617, 0.3])


@st.composite
def traffic(draw: st.DrawFn, *, players: int = 40, minutes_max: int = 100) -> list[Bucket]:
    """Minutes with gaps between them; each x is one of some players."""
    made = []
    number = 0
    for gap, good, bad in draw(
        st.lists(
            st.tuples(st.integers(1, 12), st.integers(0, 30), st.lists(st.integers(1, players), max_size=6)),
            max_size=minutes_max,
        )
    ):
        number += gap
        made.append(bucket(number, n=good + len(bad), x=len(bad), players={f"p{each}" for each in bad}))
    return made


def watched(stream: Stream, buckets: list[Bucket], *, rate: float, every: int) -> Assessment:
    """The last word of a monitor that looked in between."""
    return watch(stream, buckets, baseline=Baseline(p0=rate), every=every)[-1]


@given(stream=judged, buckets=traffic(), rate=rates, every=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_looking_in_between_changes_no_score(stream: Stream, buckets: list[Bucket], rate: float, every: int) -> None:
    buckets = [*buckets, bucket(1400, n=1)]
    once = look(stream, buckets, baseline=Baseline(p0=rate))
    seen = watched(stream, buckets, rate=rate, every=every)
    between = look(stream, buckets, baseline=Baseline(p0=rate), previous=seen.latched)
    assert between.scores == once.scores
    assert (between.observed, between.n_60, between.x_60) == (once.observed, once.n_60, once.x_60)
    assert between.latched.checkpoint == once.latched.checkpoint


@given(stream=streams, buckets=traffic(), rate=rates, silent=st.lists(st.integers(0, 600), max_size=20))
@settings(max_examples=60, deadline=None)
def test_minutes_without_traffic_change_nothing(
    stream: Stream, buckets: list[Bucket], rate: float, silent: list[int]
) -> None:
    taken = {each.minute for each in buckets}
    empty = [bucket(number, n=0) for number in set(silent) if minute(number) not in taken]
    now = minute(700) + CLOSED_AFTER
    with_them = sorted([*buckets, *empty], key=lambda each: each.minute)
    baseline = Baseline(p0=rate)
    assert look(stream, with_them, baseline=baseline, now=now) == look(stream, buckets, baseline=baseline, now=now)


@given(stream=judged, buckets=traffic(), rate=rates)
@settings(max_examples=60, deadline=None)
def test_one_subject_is_never_more_than_ok(stream: Stream, buckets: list[Bucket], rate: float) -> None:
    alone = [replace(each, players=frozenset({"whale"}) if each.x else frozenset()) for each in buckets]
    found = watch(stream, alone, baseline=Baseline(p0=rate), every=7) if alone else []
    assert all(each.verdict.severity == 0 for each in found)


@given(stream=judged, buckets=traffic(players=1000), rate=rates, is_enforced=st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_but_an_overpaid_decision_is_critical(
    stream: Stream, buckets: list[Bucket], rate: float, is_enforced: bool
) -> None:
    found = look(stream, buckets, baseline=Baseline(p0=rate), is_enforced=is_enforced)
    assert found.verdict is not Verdict.CRITICAL
    noise = look(Stream.T2_NOISE, buckets, baseline=Baseline(p0=rate), is_enforced=is_enforced)
    assert noise.verdict.severity == 0


@given(
    minutes=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60),
    rate=rates,
    at=st.integers(0, 59),
)
def test_scores_grow_with_x(minutes: list[tuple[int, int]], rate: float, at: int) -> None:
    def score(counts: list[tuple[int, int]]) -> dict[str, float]:
        cusum = Cusum((2.0, 5.0, 20.0, 50.0), rate=rate, thresholds=THRESHOLDS)
        for n, x in counts:
            cusum.add(n=n, x=x)
        return cusum.scores

    counts = [(n + x, x) for n, x in minutes]
    # One more of what was counted anyway went wrong.
    worse = [(n, x + 1) if place == at and x < n else (n, x) for place, (n, x) in enumerate(counts)]
    before, after = score(counts), score(worse)
    assert all(after[name] >= before[name] - 1e-9 for name in before)
    limit = THRESHOLDS.h_high * THRESHOLDS.score_max_factor
    assert all(0.0 <= each <= limit for each in after.values())


@given(buckets=traffic(), rate=rates, at=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_player_more_never_makes_a_paired_verdict_milder(buckets: list[Bucket], rate: float, at: int) -> None:
    worse = [
        replace(each, x=each.x + 1, players=each.players | {"new"}) if place == at and each.x < each.n else each
        for place, each in enumerate(buckets)
    ]
    now = minute(1300)
    baseline = Baseline(p0=rate)
    before = look(Stream.T1_DISPUTED, buckets, baseline=baseline, now=now)
    after = look(Stream.T1_DISPUTED, worse, baseline=baseline, now=now)
    assert after.observed.rank >= before.observed.rank


@given(buckets=traffic())
def test_units_are_never_more_than_what_was_counted(buckets: list[Bucket]) -> None:
    units = list(count_units(buckets, cell_minutes=THRESHOLDS.cell_minutes, count_nameless=True))
    assert [unit.minute for unit in units] == [each.minute for each in buckets]
    for unit, counted in zip(units, buckets, strict=True):
        assert 0 <= unit.x <= counted.x
        assert unit.n - unit.x == counted.n - counted.x, "what went well counts in full"
        assert 0 <= unit.x <= unit.n


@given(
    rows=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.booleans()), max_size=12),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_the_order_of_tenants_means_nothing(rows: list[tuple[int, bool]], order: object) -> None:
    by_players = {
        (players, is_enforced): look(
            Stream.T1_DISPUTED,
            [bucket(number, n=5, x=int(number < players)) for number in range(5)],
            is_enforced=is_enforced,
        )
        for players in (0, 1, 2)
        for is_enforced in (False, True)
    }
    fleet = [(f"tenant-{number}", by_players[row]) for number, row in enumerate(rows)]
    shuffled = list(fleet)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # st.randoms gives a random.Random
    expected = find_global_cause(dict(fleet), thresholds=THRESHOLDS)
    assert find_global_cause(dict(shuffled), thresholds=THRESHOLDS) is expected
    if fleet:
        worst = find_worst(each for _, each in shuffled)
        assert worst.verdict is find_worst(each for _, each in fleet).verdict


@given(
    stream=streams,
    buckets=traffic(),
    rate=rates,
    is_enforced=st.booleans(),
    is_blind=st.booleans(),
    skew=st.floats(-10, 10),
    seconds=st.integers(0, 90_000),
)
@settings(max_examples=60, deadline=None)
def test_whatever_was_assessed_can_be_derived_again(
    stream: Stream,
    buckets: list[Bucket],
    rate: float,
    is_enforced: bool,
    is_blind: bool,
    skew: float,
    seconds: int,
) -> None:
    half = len(buckets) // 2
    previous = look(stream, buckets[:half], baseline=Baseline(p0=rate)).latched if half else None
    given_input = AssessmentInput(
        stream=stream,
        buckets=tuple(buckets),
        baseline=Baseline(p0=rate),
        thresholds=THRESHOLDS,
        now=START + CLOSED_AFTER + timedelta(seconds=seconds),
        previous=previous,
        is_enforced=is_enforced,
        surroundings=Surroundings(is_blind=is_blind, clock_skew_seconds=skew),
    )
    again = AssessmentInput.from_json(json.loads(json.dumps(given_input.to_json())))
    assert again.assess() == given_input.assess()
