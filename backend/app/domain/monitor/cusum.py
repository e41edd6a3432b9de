"""The bounded log-likelihood CUSUM: a score for each alternative, which evidence raises and usual traffic lowers. Pure.

Page's CUSUM on likelihood ratios (Page 1954, Lorden 1971): score = max(0, score + log of how much better the
alternative explains a minute than the baseline does). What one minute can add is capped, so that no minute decides
alone; the score is capped, so that it comes down again within bounded time.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from backend.app.domain.monitor.baseline import scale_odds
from backend.app.domain.monitor.thresholds import Thresholds


class Alternative(NamedTuple):
    """What is suspected: odds that are `odds` times the usual ones; gain for each x, loss for each n without x."""

    name: str
    odds: float
    gain: float
    loss: float


def alternatives(odds: Sequence[float], *, rate: float) -> tuple[Alternative, ...]:
    """The alternatives to a usual rate."""
    return tuple(_alternative(each, rate=rate) for each in odds)


def _alternative(odds: float, *, rate: float) -> Alternative:
    suspected = scale_odds(rate, odds)
    # log1p, because rates of one in ten thousand leave few digits in 1 - p.
    return Alternative(
        name=f"rho_{odds:g}",
        odds=odds,
        gain=math.log(suspected / rate),
        loss=math.log1p(-suspected) - math.log1p(-rate),
    )


class Cusum:
    """The scores of one stream while buckets are folded into them."""

    def __init__(self, odds: Sequence[float], *, rate: float, thresholds: Thresholds) -> None:
        self._alternatives = alternatives(odds, rate=rate)
        self._step_max = thresholds.step_max
        self._score_max = thresholds.score_max_factor * thresholds.h_high
        self._scores = [0.0 for _ in self._alternatives]

    def restore(self, scores: Mapping[str, float]) -> None:
        """Go on from scores by name."""
        self._scores = [scores.get(each.name, 0.0) for each in self._alternatives]

    def add(self, *, n: int, x: int) -> None:
        """Fold one minute; n = 0 changes nothing."""
        if not n:
            return
        for place, each in enumerate(self._alternatives):
            step = min(x * each.gain + (n - x) * each.loss, self._step_max)
            self._scores[place] = min(max(0.0, self._scores[place] + step), self._score_max)

    @property
    def scores(self) -> dict[str, float]:
        """The scores by the names of their alternatives."""
        return {each.name: score for each, score in zip(self._alternatives, self._scores, strict=True)}

    @property
    def highest(self) -> float:
        """The highest of the scores."""
        return max(self._scores)

    def highest_from(self, odds: float) -> float:
        """The highest of the scores whose alternative has at least these odds; 0 without one."""
        return max(
            (s for each, s in zip(self._alternatives, self._scores, strict=True) if each.odds >= odds), default=0.0
        )

    @property
    def lowest_alternative(self) -> float:
        """The score of the mildest alternative, the one that slow changes raise."""
        return self._scores[0]
