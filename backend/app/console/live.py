"""Parts of pages that refresh themselves: how often, and when they stop."""

from dataclasses import dataclass
from typing import Any, Final

from litestar import Request

SECONDS: Final = 15
# An hour; whoever is still looking then says so with a click. Long before, an idle session is over.
BEATS_MAX: Final = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """How a part goes on. beat: how often it refreshed itself since the page was loaded."""

    beat: int
    seconds: int = SECONDS

    @property
    def is_going_on(self) -> bool:
        """Whether it refreshes itself once more."""
        return self.beat < BEATS_MAX

    @property
    def next_beat(self) -> int:
        """The number to ask for the next time."""
        return self.beat + 1


def live_of(request: Request[Any, Any, Any]) -> Live:
    """Where a part stands, by the number that it asks with; an odd one ends it."""
    text = request.query_params.get("beat", "0")
    return Live(beat=int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else BEATS_MAX)
