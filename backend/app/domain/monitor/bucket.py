"""Minute buckets: what was counted, in database time, and the unit in which the detector counts it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

MINUTE: Final = timedelta(minutes=1)


class Trigger(StrEnum):
    """The three alarms of the runbook: refusals, webhook signatures, mismatches."""

    T1 = "T1"
    T2 = "T2"
    T3 = "T3"


class Stream(StrEnum):
    """What is counted per minute of database time. n is what could have gone wrong, x what did."""

    # n: decisions on funds, replays left out; x: the ledger refuses (or would, while the legacy column decides) what
    # the legacy column allows. Both sides judged the same request, so that each x is a proof, not a rate.
    T1_DISPUTED = "t1_disputed"
    # n: the same decisions; x: the ledger allows what the legacy column refuses: the direction in which money is lost.
    T1_OVERPAID = "t1_overpaid"
    # n: the same decisions; x: refused for funds by the arbiter. A rate, to be compared with what is usual.
    T1_REFUSED = "t1_refused"
    # Per provider. n: deliveries from credible sources; x: of these not verified. Subjects: the payments they name.
    T2_REJECTED = "t2_rejected"
    # Deliveries that anybody on the internet may have sent: shown, never judged.
    T2_NOISE = "t2_noise"
    # n: comparisons of both sides; x: confirmed mismatches. Subjects: wallets.
    T3_MISMATCH = "t3_mismatch"

    @property
    def trigger(self) -> Trigger:
        """The alarm that the stream belongs to."""
        return Trigger(self.value[:2].upper())

    @property
    def is_paired(self) -> bool:
        """Whether an x compares both sides of one wallet, so that hardly any is expected and a few prove a fault."""
        return self in {Stream.T1_DISPUTED, Stream.T1_OVERPAID, Stream.T3_MISMATCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One minute of one stream.

    minute: its beginning, UTC, by the database's clock. players: the distinct subjects of x (players, wallets,
    payments) as opaque text; the caller bounds how many. is_revised: it changed after it had been judged, because an
    instance flushed late.
    """

    minute: datetime
    n: int
    x: int
    players: frozenset[str] = frozenset()
    is_revised: bool = False

    def __post_init__(self) -> None:
        assert self.minute.tzinfo is not None, "a minute without a time zone"
        assert 0 <= self.x <= self.n, f"x={self.x} of n={self.n}"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        document: dict[str, Any] = {"minute": self.minute.isoformat(), "n": self.n, "x": self.x}
        if self.players:
            document["players"] = sorted(self.players)
        if self.is_revised:
            document["is_revised"] = True
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Bucket":
        """From what to_json made."""
        return cls(
            minute=datetime.fromisoformat(document["minute"]),
            n=document["n"],
            x=document["x"],
            players=frozenset(document.get("players", ())),
            is_revised=document.get("is_revised", False),
        )


class UnitBucket(NamedTuple):
    """A bucket in the detector's unit: a subject counts once in a cell, however often it tries again."""

    minute: datetime
    n: int
    x: int
    players: frozenset[str]
    is_revised: bool


def cell_of(minute: datetime, *, cell_minutes: int) -> datetime:
    """The beginning of the cell that a minute falls into; cells are counted from midnight, UTC."""
    at = minute.astimezone(UTC)
    of_the_day = at.hour * 60 + at.minute
    return at.replace(second=0, microsecond=0) - timedelta(minutes=of_the_day % cell_minutes)


def count_units(buckets: Iterable[Bucket], *, cell_minutes: int, count_nameless: bool) -> Iterator[UnitBucket]:
    """Buckets in order of their minutes, in units.

    A subject that was seen in the cell before adds neither to x nor to n: one player's retries would otherwise be the
    spike (the study measured 184 false alarms a stream-week against none). Of an x without any subject nobody can tell
    whether there was more than one: with count_nameless a minute counts one and a cell is one subject, else it is left
    out of x.
    """
    cell: datetime | None = None
    seen: set[str] = set()
    for bucket in buckets:
        if not bucket.x:
            yield UnitBucket(bucket.minute, bucket.n, 0, frozenset(), bucket.is_revised)
            continue
        bucket_cell = cell_of(bucket.minute, cell_minutes=cell_minutes)
        if bucket_cell != cell:
            cell, seen = bucket_cell, set()
        if bucket.players:
            x = min(len(bucket.players - seen), bucket.x)
            seen |= bucket.players
            yield UnitBucket(bucket.minute, bucket.n - bucket.x + x, x, bucket.players, bucket.is_revised)
        else:
            x = int(count_nameless)
            nameless = frozenset({f"? {cell:%H:%M}"}) if count_nameless else frozenset[str]()
            yield UnitBucket(bucket.minute, bucket.n - bucket.x + x, x, nameless, bucket.is_revised)


def in_order(buckets: Sequence[Bucket]) -> bool:
    """Whether minutes only go up, each named once."""
    return all(earlier.minute < later.minute for earlier, later in pairwise(buckets))
