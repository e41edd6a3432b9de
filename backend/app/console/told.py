"""What services wrote about an event in English, told in the reader's language where the catalogue has words for it."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from backend.app.console.text import Language, has, text
from backend.app.domain.finding import FindingType

# Between what was written of each event of one delivery (domain/payments/psp_delivery.py, outcome_of).
SEPARATOR: Final = "; "
_AFTER: Final = re.compile(r"([a-z]+) after ([a-z]+)")
_WITH_CODE: Final = re.compile(r"(unknown|ledger refused): (\w+)")


class Said(NamedTuple):
    """One thing that is said. is_quoted: in the words it was written in, which are English."""

    words: str
    is_quoted: bool


def told(detail: str, *, language: Language) -> Sequence[Said]:
    """The parts of a stored detail, each in the reader's language or else as a quotation."""
    parts = [_part(part, language) for part in detail.split(SEPARATOR)]
    # A sentence may have semicolons of its own: what is not known in any part is one quotation.
    return [Said(detail, is_quoted=True)] if all(part.is_quoted for part in parts) else parts


def key_of(part: str) -> str:
    """The key of a part that is written in fixed words."""
    return "detail." + re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_")


def _part(part: str, language: Language) -> Said:
    fixed = _known(part, language)
    if fixed is not None:
        return Said(fixed, is_quoted=False)
    pair = _AFTER.fullmatch(part)
    if pair is not None:
        later, earlier = (_known(each, language) for each in pair.groups())
        if later is not None and earlier is not None:
            return Said(text(language, "detail.after", later=later, earlier=earlier), is_quoted=False)
    coded = _WITH_CODE.fullmatch(part)
    if coded is not None:
        kind, code = coded.groups()
        return Said(f"{text(language, key_of(kind))}: {_code(code, language)}", is_quoted=False)
    return Said(part, is_quoted=language != "en")


def _known(part: str, language: Language) -> str | None:
    keys = [key_of(part), f"state.{part}"]
    if part in set(FindingType):
        keys.append(f"finding.{part}")
    return next((text(language, key) for key in keys if has(language, key)), None)


def _code(code: str, language: Language) -> str:
    key = f"refusal.{code}"
    return text(language, key).rstrip(".") if has(language, key) else code
