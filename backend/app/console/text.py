"""The console's texts: one catalogue per language, `i18n/<language>.json`, with the same keys in alphabetical order.

A text may have named gaps, `{player}`; what fills them is escaped when the page is made, like everything else.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

FOLDER: Final = Path(__file__).parent / "i18n"
Language = Literal["en", "tr"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "tr")


@cache
def catalogue(language: Language) -> Mapping[str, str]:
    """Every text of a language by its key."""
    texts: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text("utf-8"))
    return texts


def text(language: Language, key: str, **gaps: object) -> str:
    """One text. Raises KeyError for a key that is not in the catalogue: a test looks for those."""
    found = catalogue(language)[key]
    return found.format(**gaps) if gaps else found


def has(language: Language, key: str) -> bool:
    """Whether the catalogue has a text of this key, where keys are made of codes that may be new."""
    return key in catalogue(language)


def code(language: Language, family: str, code_: object) -> str:
    """The text of a code, `<family>.<code>`; the code itself when it has none, as with a provider's own."""
    key = f"{family}.{code_}"
    return text(language, key) if has(language, key) else str(code_)
