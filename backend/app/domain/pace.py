"""How fast a long job may go beside live traffic: its chunk's size, and when it has to wait. Pure."""

from typing import Final, NamedTuple

# A chunk holds the locks of its players: nobody shall wait longer than this for one of them.
CHUNK_SECONDS_TARGET: Final = 0.1
# While the job is slowed down somebody else wants the machine: short chunks, because what a chunk commits at once is
# what everybody's commit waits for.
CHUNK_SECONDS_SLOWED: Final = 0.015
SIZE_MIN: Final = 50
# How long a wait is before the load is looked at again.
STOP_SECONDS: Final = 1.0


class Load(NamedTuple):
    """How busy the database is with others, in the order of the query's columns."""

    active: int
    live: int
    lock_waits: int
    oldest_seconds: float
    replicas: int
    unseen_replicas: int
    replica_lag_seconds: float


class Signal(NamedTuple):
    """One thing that is watched. A soft one slows the job down and never stops it."""

    name: str
    value: float
    limit: float
    unit: str = ""
    is_soft: bool = False

    @property
    def share(self) -> float:
        """How much of the limit is used up."""
        return self.value / self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.value:g}{self.unit} of {self.limit:g}{self.unit}"


class Throttle(NamedTuple):
    """What the signals ask for: seconds to wait for each second of work, or to stop until they are better; and why."""

    rest_share: float
    is_stop: bool
    reason: str | None

    @property
    def chunk_seconds(self) -> float:
        """How long a chunk may take."""
        return CHUNK_SECONDS_SLOWED if self.rest_share else CHUNK_SECONDS_TARGET


NO_THROTTLE: Final = Throttle(0.0, False, None)
# From this share of a limit on the job slows down.
NICE_FROM: Final = 0.7


def signals_of(load: Load, *, cores: int, door_seconds: float, door_seconds_idle: float) -> tuple[Signal, ...]:
    """What is watched. `door_seconds` is how long the money path took to answer just now, and when the job began."""
    return (
        Signal("lock waits", load.lock_waits, 2),
        Signal("busy sessions", load.active, max(8, 8 * cores)),
        Signal("money path", round(door_seconds * 1000, 1), max(50.0, round(door_seconds_idle * 10_000, 1)), " ms"),
        Signal("replica lag", round(load.replica_lag_seconds, 1), 1.5, " s"),
        Signal("oldest transaction", round(load.oldest_seconds), 1800, " s", is_soft=True),
        # Somebody is playing: half of the time is theirs.
        Signal("live sessions", load.live, 1, is_soft=True),
    )


def judge(signals: tuple[Signal, ...]) -> Throttle:
    """The most demanding signal decides; all that slow the job down are named."""
    slowing = [signal for signal in signals if signal.share >= NICE_FROM]
    if not slowing:
        return NO_THROTTLE
    reason = ", ".join(str(signal) for signal in sorted(slowing, key=lambda signal: -signal.share))
    is_stop = any(signal.share >= 1 and not signal.is_soft for signal in slowing)
    rest_share = max(min(signal.share, 1.0) for signal in slowing)
    return Throttle(rest_share, is_stop, reason)


def next_size(size: int, *, seconds: float, size_max: int, seconds_target: float = CHUNK_SECONDS_TARGET) -> int:
    """The next chunk's size after one of `size` took so long: towards the target, by half or a fifth more at once."""
    factor = min(1.2, max(0.5, seconds_target / max(seconds, 0.001)))
    return min(size_max, max(min(SIZE_MIN, size_max), int(size * factor)))
