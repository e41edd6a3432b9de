"""The beta distribution, for exact bounds of rates that are rare: its share below a point, and its quantile. Pure."""

import math
from typing import Final

_TINY: Final = 1e-300
_PRECISION: Final = 1e-14
# The continued fraction needs a number of terms of the order of the square root of the larger parameter.
_TERMS_MAX: Final = 20_000


def share_below(point: float, *, a: float, b: float) -> float:
    """The regularized incomplete beta function I_point(a, b), within about ten digits.

    Continued fraction by Lentz's method (Numerical Recipes, 6.4). a and b are positive.
    """
    assert min(a, b) > 0, f"Beta({a}, {b})"
    if point <= 0:
        return 0.0
    if point >= 1:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(point) + b * math.log1p(-point)
    # The fraction converges quickly on this side of the mean; the other side is its mirror image.
    if point < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _fraction(point, a, b) / a
    return 1.0 - math.exp(log_front) * _fraction(1 - point, b, a) / b


def _fraction(point: float, a: float, b: float) -> float:
    c = 1.0
    d = _inverse(1 - (a + b) * point / (a + 1))
    value = d
    for m in range(1, _TERMS_MAX):
        even = m * (b - m) * point / ((a + 2 * m - 1) * (a + 2 * m))
        d = _inverse(1 + even * d)
        c = _away_from_zero(1 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * point / ((a + 2 * m) * (a + 2 * m + 1))
        d = _inverse(1 + odd * d)
        c = _away_from_zero(1 + odd / c)
        factor = d * c
        value *= factor
        if abs(factor - 1) < _PRECISION:
            return value
    raise AssertionError(f"I_{point}({a}, {b}) did not converge")


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _inverse(value: float) -> float:
    return 1 / _away_from_zero(value)


def quantile(share: float, *, a: float, b: float) -> float:
    """The point that so much of Beta(a, b) is below, by bisection."""
    assert 0 < share < 1, f"a share is between nothing and all: {share}"
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if share_below(middle, a=a, b=b) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def tail(x: int, *, n: int, p: float) -> float:
    """P(X >= x) for X binomial(n, p)."""
    if x <= 0:
        return 1.0
    if x > n:
        return 0.0
    return share_below(p, a=x, b=n - x + 1)


def upper_bound(x: int, *, n: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a rate after x in n (Clopper and Pearson); 1 when nothing was seen."""
    return quantile(confidence, a=x + 1, b=n - x) if n > x else 1.0
