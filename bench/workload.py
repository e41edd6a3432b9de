"""Who asks for what: players drawn uniformly, by Zipf's law or always the same one; a fifth of the keys sent twice."""

import bisect
import itertools
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

TENANT: Final = UUID("01900000-0000-7000-8000-ffffffffffff")
PLAYERS: Final = 20_000
CURRENCY: Final = "EUR"
AMOUNT_MAX: Final = 100
DUPLICATES: Final = 0.20
# Every so manieth player has nothing, so that refusals are part of every load.
EMPTY_EVERY: Final = 50


class Spread(StrEnum):
    """How requests fall on players."""

    UNIFORM = "uniform"
    ZIPF = "Zipf 1.0"
    HOT = "one hot player"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to withdraw; sent twice, it is the same request."""

    player_number: int
    amount_minor: int
    key: str

    @property
    def player_id(self) -> UUID:
        """The player of that number."""
        return player_id(self.player_number)


def player_id(number: int) -> UUID:
    """The id of a player of the benchmark; the loader makes the same ones in SQL."""
    return UUID(f"01900000-0000-7000-8000-{number:012x}")


class Workload:
    """An endless stream of requests, reproducible by its seed."""

    def __init__(self, spread: Spread, *, seed: int, run: str, duplicates: float = DUPLICATES) -> None:
        self._random = random.Random(seed)
        self._run = run
        self._duplicates = duplicates
        self._spread = spread
        self._sent = 0
        self._recent: list[Ask] = []
        # P(player k) falls with 1/k; the sums are searched for a random point.
        self._sums = list(itertools.accumulate(1 / rank for rank in range(1, PLAYERS + 1)))

    def next(self) -> Ask:
        """The next request: usually new, sometimes one of the last hundred again."""
        if self._recent and self._random.random() < self._duplicates:
            return self._random.choice(self._recent)
        self._sent += 1
        ask = Ask(
            player_number=self._player_number(),
            amount_minor=self._random.randint(1, AMOUNT_MAX),
            key=f"{self._run}-{self._sent}",
        )
        if len(self._recent) < 100:
            self._recent.append(ask)
        else:
            self._recent[self._sent % 100] = ask
        return ask

    def _player_number(self) -> int:
        match self._spread:
            case Spread.UNIFORM:
                return self._random.randint(1, PLAYERS)
            case Spread.ZIPF:
                return bisect.bisect_left(self._sums, self._random.random() * self._sums[-1]) + 1
            case Spread.HOT:
                return 1
