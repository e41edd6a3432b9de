"""The numbers that the detector judges by, with a name for each set of them. Pure."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final

# Counts up when the same numbers would be judged differently; scores made by another detector are not gone on with.
DETECTOR_VERSION: Final = "1"
MINUTES_PER_YEAR: Final = 525_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When evidence becomes a verdict. What each does, and where it comes from: docs/detection.md."""

    # CUSUM: h_high comes from the fleet's size (for_fleet); the default is that of 150 streams.
    h_light: float = 9.0
    h_high: float = 19.282
    score_max_factor: float = 1.5
    step_max: float = 5.0
    odds_gross: tuple[float, ...] = (2.0, 5.0, 20.0)
    odds_paired: tuple[float, ...] = (50.0,)
    # A subject counts once in a cell.
    cell_minutes: int = 10
    window_minutes: int = 60
    short_window_minutes: int = 5
    # LIGHT
    light_events: int = 3
    light_players: int = 2
    # HIGH
    high_events: int = 5
    high_players: int = 3
    high_minutes: int = 3
    confidence: float = 0.95
    # So many distinct players within an hour prove a fault without any score, more where chance alone brings many.
    fast_players: int = 5
    fast_tail: float = 1e-9
    # SUSTAINED
    sustained_minutes: int = 60
    sustained_within_minutes: int = 180
    # How verdicts are left.
    calm_factor: float = 0.5
    calm_minutes: int = 15
    ok_minutes: int = 60
    # When a bucket is closed, and when a change of it is late.
    grace_seconds: int = 90
    late_minutes: int = 10
    # Silence where traffic is expected.
    silence_probability: float = 0.001
    silence_minutes: int = 5
    # An instance's clock that is further off than this is told about; nothing is judged by it.
    clock_skew_seconds: float = 2.0
    # More than this share of the tenants at once is a cause that they share.
    global_share: float = 0.5
    global_tenants: int = 3

    @classmethod
    def for_fleet(cls, streams: int) -> "Thresholds":
        """The thresholds for so many streams: at most one false HIGH by score a year in all of them together.

        The mean time to a false alarm of a likelihood-ratio CUSUM is at least e^h updates (Lorden 1971); three
        statistics to a stream, an update a minute.
        """
        assert streams >= 1, "a fleet has a stream"
        return replace(cls(), h_high=max(15.0, round(math.log(MINUTES_PER_YEAR * streams * 3), 3)))

    @property
    def version(self) -> str:
        """Names detector and numbers: two assessments with one version are comparable."""
        return _version_of(self)

    @property
    def history_minutes(self) -> int:
        """How far back assess wants buckets: a day."""
        return 24 * 60

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        document = asdict(self)
        document["odds_gross"], document["odds_paired"] = list(self.odds_gross), list(self.odds_paired)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Thresholds":
        """From what to_json made; what is left out has its default, and an unknown name is a TypeError."""
        fields = dict(document)
        for name in ("odds_gross", "odds_paired"):
            if name in fields:
                fields[name] = tuple(fields[name])
        return cls(**fields)


@lru_cache(maxsize=64)
def _version_of(thresholds: Thresholds) -> str:
    digest = hashlib.sha256(json.dumps(asdict(thresholds), sort_keys=True).encode()).hexdigest()
    return f"{DETECTOR_VERSION}-{digest[:8]}"
