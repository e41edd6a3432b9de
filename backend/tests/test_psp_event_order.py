"""Which of two observations of one payment counts, and that the order in which they arrive never matters."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.domain.payments.psp_event import (
    STATUS_CLASSES,
    Judgement,
    Observation,
    PspEvent,
    PspEventType,
    StatusClass,
    judge_observation,
)

PENDING, SUCCESS, FAILED, REVERSED = StatusClass
SUPERSEDES, ADDS_NOTHING, CONFLICTS = Judgement


def observe(status_class: StatusClass, sequence: int | None = None) -> Observation:
    return Observation(status_class=status_class, sequence=sequence)


@pytest.mark.parametrize(
    ("known", "arrived", "judgement"),
    [
        (PENDING, PENDING, ADDS_NOTHING),
        (PENDING, SUCCESS, SUPERSEDES),
        (PENDING, FAILED, SUPERSEDES),
        (PENDING, REVERSED, SUPERSEDES),
        (SUCCESS, PENDING, ADDS_NOTHING),
        (SUCCESS, SUCCESS, ADDS_NOTHING),
        (SUCCESS, FAILED, CONFLICTS),
        (SUCCESS, REVERSED, SUPERSEDES),
        (FAILED, PENDING, ADDS_NOTHING),
        (FAILED, SUCCESS, CONFLICTS),
        (FAILED, FAILED, ADDS_NOTHING),
        (FAILED, REVERSED, CONFLICTS),
        (REVERSED, PENDING, ADDS_NOTHING),
        (REVERSED, SUCCESS, ADDS_NOTHING),
        (REVERSED, FAILED, CONFLICTS),
        (REVERSED, REVERSED, ADDS_NOTHING),
    ],
)
def test_every_pair_of_classes_is_judged(known: StatusClass, arrived: StatusClass, judgement: Judgement) -> None:
    assert judge_observation(observe(arrived), known=observe(known)) is judgement
    # Between classes the sequence decides nothing: a late delivery of an early state may carry any number.
    if known is not arrived:
        assert judge_observation(observe(arrived, 1), known=observe(known, 9)) is judgement
        assert judge_observation(observe(arrived, 9), known=observe(known, 1)) is judgement


@pytest.mark.parametrize("status_class", StatusClass)
@pytest.mark.parametrize(
    ("known", "arrived", "judgement"),
    [
        (1, 2, SUPERSEDES),
        (2, 2, ADDS_NOTHING),
        (2, 1, ADDS_NOTHING),
        (None, 0, SUPERSEDES),
        (0, None, ADDS_NOTHING),
        (None, None, ADDS_NOTHING),
    ],
)
def test_within_a_class_the_higher_sequence_counts(
    status_class: StatusClass, known: int | None, arrived: int | None, judgement: Judgement
) -> None:
    assert judge_observation(observe(status_class, arrived), known=observe(status_class, known)) is judgement


@pytest.mark.parametrize("status_class", StatusClass)
def test_the_first_observation_counts(status_class: StatusClass) -> None:
    assert judge_observation(observe(status_class), known=None) is SUPERSEDES


def settle(observations: Iterable[Observation]) -> Observation | Judgement:
    """What a writer ends with that keeps what it knows unless it is superseded, or the conflict it met."""
    known: Observation | None = None
    has_conflict = False
    for arrived in observations:
        judgement = judge_observation(arrived, known=known)
        has_conflict = has_conflict or judgement is CONFLICTS
        known = arrived if judgement is SUPERSEDES else known
    assert known is not None
    return CONFLICTS if has_conflict else known


observations = st.builds(observe, st.sampled_from(StatusClass), st.none() | st.integers(0, 4))
some_observations = st.lists(observations, min_size=1, max_size=8)


@given(told=some_observations, data=st.data())
def test_any_order_and_repetition_ends_the_same(told: list[Observation], data: st.DataObject) -> None:
    repeated = told + data.draw(st.lists(st.sampled_from(told), max_size=8))
    assert settle(data.draw(st.permutations(repeated))) == settle(told)


@given(some_observations)
def test_the_end_is_what_a_reading_of_all_at_once_says(told: list[Observation]) -> None:
    classes = {observation.status_class for observation in told}
    if FAILED in classes and classes & {SUCCESS, REVERSED}:
        assert settle(told) is CONFLICTS
        return
    last_class = max(classes, key=[PENDING, SUCCESS, FAILED, REVERSED].index)
    sequences = [observation.sequence for observation in told if observation.status_class is last_class]
    numbered = [sequence for sequence in sequences if sequence is not None]
    assert settle(told) == observe(last_class, max(numbered) if numbered else None)


def test_a_returned_payout_does_not_become_paid_again() -> None:
    paid, returned = observe(SUCCESS, 3), observe(REVERSED, 4)
    assert settle([paid, returned, paid]) == settle([returned, paid]) == returned


def test_every_type_has_a_class_and_the_unknown_settles_nothing() -> None:
    assert set(STATUS_CLASSES) == set(PspEventType)
    assert STATUS_CLASSES[PspEventType.UNKNOWN] is PENDING


def test_a_settled_event_without_an_amount_is_a_bug() -> None:
    with pytest.raises(AssertionError, match=r"payout\.paid without an amount"):
        PspEvent(
            provider="mockpsp",
            account_hint=None,
            provider_event_id="evt_1",
            type=PspEventType.PAYOUT_PAID,
            provider_ref="mpo_1",
            reference="wd_1_1",
            sequence=1,
            money=None,
            occurred_at=None,
            failure_code=None,
        )
