"""Reads a declaration that a person wrote, strictly, and keeps every fault instead of stopping at the first."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from backend.app.domain.money import CURRENCY_EXPONENTS

TEXT_LENGTH_MAX: Final = 200


class Fault(NamedTuple):
    """What is wrong with a value, by its dotted name."""

    name: str
    message: str


class Fields:
    """One table of a declaration. What was not asked for by the end is unknown, and a fault too."""

    def __init__(self, document: object, *, prefix: str = "", faults: list[Fault] | None = None) -> None:
        self._prefix = prefix
        self._faults: list[Fault] = [] if faults is None else faults
        self._tables: list[Fields] = []
        self._asked: set[str] = set()
        self._values: Mapping[str, Any] = {}
        if isinstance(document, Mapping):
            self._values = document
        else:
            self._faults.append(Fault(prefix.rstrip(".") or "mapping", "has to be a table of names and values"))

    def has(self, name: str) -> bool:
        """Whether the table says anything about it."""
        self._asked.add(name)
        return self._values.get(name) is not None

    def fault(self, name: str, message: str) -> None:
        """Note what is wrong."""
        self._faults.append(Fault(f"{self._prefix}{name}", message))

    def faults(self) -> list[Fault]:
        """All there are, in this table and below, what is unknown included; each once."""
        self._look_for_unknown()
        return list(dict.fromkeys(self._faults))

    def table(self, name: str) -> "Fields":
        """A table within; one that is not there is empty."""
        inner = Fields(
            self._values[name] if self.has(name) else {}, prefix=f"{self._prefix}{name}.", faults=self._faults
        )
        self._tables.append(inner)
        return inner

    def text(self, name: str) -> str:
        """A printable text that is not empty."""
        if not self.has(name):
            self.fault(name, "is missing")
            return ""
        value = self._values[name]
        if not isinstance(value, str) or not value.strip() or len(value) > TEXT_LENGTH_MAX or not value.isprintable():
            self.fault(name, f"has to be a text of 1 to {TEXT_LENGTH_MAX} printable characters")
            return ""
        return value

    def texts(self, name: str, *, count_max: int) -> tuple[str, ...]:
        """A list of different printable texts; none when it is not there."""
        value = self._values[name] if self.has(name) else []
        are_texts = isinstance(value, list) and all(
            isinstance(each, str) and each.strip(" ") and each.isprintable() and len(each) <= TEXT_LENGTH_MAX
            for each in value
        )
        if not are_texts or len(value) > count_max or len(set(value)) != len(value):
            self.fault(name, f"has to be a list of at most {count_max} different texts")
            return ()
        return tuple(value)

    def choice(self, name: str, choices: Sequence[str], *, default: str | None = None) -> str:
        """One of some words. With a fault it is the first of them, so that the rest can be looked at."""
        if not self.has(name):
            if default is None:
                self.fault(name, f"is missing; it is one of {_listed(choices)}")
            return str(choices[0] if default is None else default)
        value = self._values[name]
        if not isinstance(value, str) or value not in choices:
            self.fault(name, f"is none of {_listed(choices)}")
            return str(choices[0])
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self._values[name] if self.has(name) else default
        if not isinstance(value, bool):
            self.fault(name, "has to be true or false")
            return default
        return value

    def integer(self, name: str, lowest: int, highest: int, *, default: int | None = None) -> int:
        """A whole number within bounds, both included."""
        if not self.has(name) and default is None:
            self.fault(name, "is missing")
            return lowest
        value = self._values[name] if self.has(name) else default
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            self.fault(name, f"has to be a whole number from {lowest} to {highest}")
            return lowest
        return value

    def column(self, name: str, *, has_header: bool, number_max: int) -> str | int:
        """A column by its name in the header or by its number, the first being 1."""
        value = self._values.get(name)
        if isinstance(value, int):
            return self.integer(name, 1, number_max)
        column = self.text(name)
        if column and not has_header:
            self.fault(name, "has to be a number, the first column being 1: the file has no header")
        return column

    def currency(self, name: str) -> str:
        """A currency of ISO 4217."""
        value = self.text(name)
        if value and value not in CURRENCY_EXPONENTS:
            self.fault(name, "is not a known ISO 4217 currency")
        return value

    def values(self, name: str, meanings: Sequence[str], *, count_max: int) -> dict[str, str]:
        """A table of a file's words and what each means."""
        words = self._words(name, count_max=count_max)
        inner = self.table(name)
        return {word: inner.choice(word, meanings) for word in words}

    def currencies(self, name: str, *, count_max: int) -> dict[str, str]:
        """A table of a file's words for currencies."""
        words = self._words(name, count_max=count_max)
        inner = self.table(name)
        return {word: inner.currency(word) for word in words}

    def _words(self, name: str, *, count_max: int) -> list[str]:
        value = self._values.get(name)
        words = [str(word) for word in value] if isinstance(value, Mapping) else []
        if len(words) > count_max:
            self.fault(name, f"has more than {count_max} words")
        for word in words:
            if word != word.strip(" ") or len(word) > TEXT_LENGTH_MAX or not word.isprintable():
                self.fault(
                    f"{name}.{word[:TEXT_LENGTH_MAX]!r}", "has spaces around it, or is not printable or too long"
                )
        return words[:count_max]

    def _look_for_unknown(self) -> None:
        for name in self._values:
            if name not in self._asked:
                self.fault(str(name)[:TEXT_LENGTH_MAX], f"is not known; known are {', '.join(sorted(self._asked))}")
        for table in self._tables:
            table._look_for_unknown()


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(repr(str(choice)) for choice in choices)
