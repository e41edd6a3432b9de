"""The text of queries, functions and migrations."""

import re
from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
# One query: "-- name: find_player", a sentence that says what it answers, the text up to the next name.
_NAMED: Final = re.compile(
    rb"^-- name: (?P<name>[a-z][a-z0-9_]*)\n(?P<text>.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL
)


class Queries:
    """The named queries of one noun, as attributes: `SQL.find_player`.

    Values are bytes because psycopg takes query text only as a literal or as bytes: Python never assembles it.
    """

    def __init__(self, noun: str, *, folder: Path = FOLDER) -> None:
        text = (folder / f"{noun}.sql").read_bytes()
        self._noun = noun
        self._texts = {match["name"].decode(): match["text"].strip() for match in _NAMED.finditer(text)}

    def __getattr__(self, name: str) -> bytes:
        try:
            return self._texts[name]
        except KeyError:
            raise AttributeError(f"no query named {name} in {self._noun}.sql") from None

    def names(self) -> tuple[str, ...]:
        """All names, in the order of the file."""
        return tuple(self._texts)


@cache
def load(noun: str) -> Queries:
    """The queries in `<noun>.sql`."""
    return Queries(noun)
