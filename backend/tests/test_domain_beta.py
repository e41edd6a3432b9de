"""Exact bounds of rare rates, against sums of exact fractions."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.domain import beta
from backend.app.domain.monitor.baseline import (
    RATE_MAX,
    RATE_MIN,
    Baseline,
    control_ratio,
    learn_rate,
    scale_odds,
)


def exact_tail(x: int, *, n: int, p: Fraction) -> Fraction:
    """P(X >= x), term by term."""
    return sum((math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(x, n + 1)), Fraction(0))


@given(n=st.integers(1, 60), x=st.integers(0, 60), thousandths=st.integers(1, 999))
def test_tail_is_the_sum_of_its_terms(n: int, x: int, thousandths: int) -> None:
    x = min(x, n)
    expected = float(exact_tail(x, n=n, p=Fraction(thousandths, 1000)))
    assert beta.tail(x, n=n, p=thousandths / 1000) == pytest.approx(expected, rel=1e-8)


def test_tail_is_exact_where_it_is_tiny() -> None:
    expected = float(exact_tail(5, n=300, p=Fraction(1, 10_000)))
    assert beta.tail(5, n=300, p=1e-4) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(1.9e-10, rel=0.01)


@pytest.mark.parametrize(("x", "n", "p", "expected"), [(0, 5, 0.1, 1.0), (6, 5, 0.1, 0.0), (1, 1, 0.25, 0.25)])
def test_tail_at_its_ends(x: int, n: int, p: float, expected: float) -> None:
    assert beta.tail(x, n=n, p=p) == expected


@pytest.mark.parametrize(
    ("x", "n", "expected"),
    [
        # The rule of three, exactly: so many without one to be sure of so little.
        (0, 299, 0.00997),
        (0, 2995, 0.0009998),
        (0, 0, 1.0),
        (3, 3, 1.0),
        (1, 20, 0.2161),
    ],
)
def test_upper_bound(x: int, n: int, expected: float) -> None:
    assert beta.upper_bound(x, n=n) == pytest.approx(expected, rel=1e-3)


@given(share=st.floats(0.01, 0.99), a=st.floats(0.5, 500), b=st.floats(0.5, 500))
def test_quantile_undoes_share_below(share: float, a: float, b: float) -> None:
    assert beta.share_below(beta.quantile(share, a=a, b=b), a=a, b=b) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "n", "pool", "expected"),
    [
        (500, 10_000, 0.05, 0.065),
        # No history, hence the pool with little certainty; then a little history.
        (0, 0, 0.05, 0.087),
        (3, 20, 0.05, 0.098),
        (0, 1_000_000, 0.0, RATE_MIN),
        (1000, 1000, 0.9, RATE_MAX),
    ],
)
def test_baseline_is_padded_by_what_is_not_known(x: int, n: int, pool: float, expected: float) -> None:
    assert learn_rate(x=x, n=n, pool=pool) == pytest.approx(expected, abs=0.0006)


@pytest.mark.parametrize(
    ("x", "expected", "tenants", "ratio"),
    [
        # Too few tenants, or too little expected of them, say nothing.
        (400, 100.0, 2, 1.0),
        (400, 19.0, 10, 1.0),
        (100, 100.0, 3, 1.0),
        (145, 95.0, 3, 1.5),
        # However much the others are up or down, a baseline moves only so far.
        (1000, 100.0, 5, 2.0),
        (0, 100.0, 5, 0.8),
    ],
)
def test_control_cohort(x: int, expected: float, tenants: int, ratio: float) -> None:
    assert control_ratio(x=x, expected=expected, tenants=tenants) == pytest.approx(ratio)


def test_ratio_moves_the_odds_of_the_baseline() -> None:
    assert Baseline(p0=0.2, ratio=2.0).rate == pytest.approx(1 / 3)
    assert scale_odds(0.5, 3.0) == pytest.approx(0.75)
