"""What is usual: the rate that a stream is compared with. Pure.

A baseline is frozen when a tenant enters a stage: a spike must not teach what is usual.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

# Hardly any is expected where both sides of one wallet are compared.
PAIRED_RATE: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The rate p0 of x in n that is usual, padded, and the traffic that is expected.

    ratio: by how much the odds of tenants that are not enforced are up just now; 1 without such a cohort.
    expected_per_minute: traffic that is usual at this hour, None when nobody knows.
    """

    p0: float = PAIRED_RATE
    ratio: float = 1.0
    expected_per_minute: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Baseline":
        """From what to_json made."""
        return cls(**document)


# Of streams that compare both sides of one wallet.
PAIRED_BASELINE: Final = Baseline()
