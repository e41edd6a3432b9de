"""What is usual: the rate that a stream is compared with. Pure.

A baseline is frozen when a tenant enters a stage: a spike must not teach what is usual. An uncertain baseline is set
high, so that it costs power and never false alarms.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from backend.app.domain import beta

# Hardly any is expected where both sides of one wallet are compared; also the least rate that is ever assumed.
RATE_MIN: Final = 1e-4
RATE_MAX: Final = 0.5
# A tenant without history counts as so many attempts of the pool: all tenants at that hour of the week.
POOL_ATTEMPTS: Final = 200
# How sure one is that the true rate is not above the baseline, and by how much its odds are padded beyond that.
QUANTILE: Final = 0.90
PAD: Final = 1.25
# The control cohort: when it is believed, and how far it may move a baseline.
CONTROL_TENANTS_MIN: Final = 3
CONTROL_EXPECTED_MIN: Final = 20.0
CONTROL_SMOOTHING: Final = 5.0
RATIO_MIN: Final = 0.8
RATIO_MAX: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The rate p0 of x in n that is usual, padded, and the traffic that is expected.

    ratio: by how much the odds of tenants that are not enforced are up just now; 1 without such a cohort.
    expected_per_minute: traffic that is usual at this hour, None when nobody knows.
    """

    p0: float = RATE_MIN
    ratio: float = 1.0
    expected_per_minute: float | None = None

    @property
    def rate(self) -> float:
        """What is usual just now: p0 with its odds moved by the control cohort's ratio."""
        return scale_odds(self.p0, self.ratio)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Baseline":
        """From what to_json made."""
        return cls(**document)


# Of streams that compare both sides of one wallet.
PAIRED_BASELINE: Final = Baseline()


def scale_odds(rate: float, factor: float) -> float:
    """The rate whose odds are so many times those of the given one."""
    odds = factor * rate / (1 - rate)
    return odds / (1 + odds)


def learn_rate(*, x: int, n: int, pool: float) -> float:
    """The padded rate p0 after x in n at this hour of the week, in a fleet where the pool's rate is usual.

    Beta posterior with the pool as POOL_ATTEMPTS attempts, its 90 % quantile, odds padded by a quarter, clipped:
    500 of 10,000 give 0.065, nothing at all in a pool of 5 % gives 0.087.
    """
    assert 0 <= x <= n, f"x={x} of n={n}"
    share = min(max(pool, RATE_MIN), RATE_MAX)
    likely = beta.quantile(QUANTILE, a=x + POOL_ATTEMPTS * share, b=n - x + POOL_ATTEMPTS * (1 - share))
    return min(max(scale_odds(min(likely, RATE_MAX), PAD), RATE_MIN), RATE_MAX)


def control_ratio(*, x: int, expected: float, tenants: int) -> float:
    """How the last hour of tenants that are not enforced compares with what was expected of them.

    x: their refusals, expected: by their own baselines. 1 where there are too few of either to say.
    """
    if tenants < CONTROL_TENANTS_MIN or expected < CONTROL_EXPECTED_MIN:
        return 1.0
    ratio = (x + CONTROL_SMOOTHING) / (expected + CONTROL_SMOOTHING)
    return min(max(ratio, RATIO_MIN), RATIO_MAX)
