"""What a deed changed, in words: names and codes by the catalogue, amounts as money, times as they are read."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from backend.app.console import figures, told
from backend.app.console.text import Language, code, has, text
from backend.app.domain.audit import State
from backend.app.domain.desk.audit_desk import SeenDeed, changes_of
from backend.app.domain.money import CURRENCY_EXPONENTS

# The words of a code, by the name that it is kept under; where two kinds of objects share a name, each has its own.
FAMILIES: Final[Mapping[str, str]] = {
    "action": "event.deed",
    "arbiter": "arbiter",
    "automatic": "rollout_action",
    "effect": "effect",
    "finding_type": "finding",
    "kyc_status": "kyc",
    "resolution_code": "resolution",
    "role": "role",
    "scope": "flag_source",
    "sort": "sort",
    "trigger": "trigger",
    "verdict": "verdict",
    "waived_gates": "gate",
}
FAMILIES_OF_OBJECTS: Final[Mapping[tuple[str, str], str]] = {
    ("adjustment", "status"): "adjustment",
    ("backfill", "kind"): "backfill.kind",
    ("finding", "status"): "finding_status",
    ("psp_event", "state"): "webhook",
    ("rollout_hold", "kind"): "hold",
    ("withdrawal", "state"): "state",
    ("withdrawals", "state"): "state",
}
TIMES: Final = frozenset({"date_from", "date_to", "ends_at", "expires_at", "since"})
# What services wrote for people.
SENTENCES: Final = frozenset({"detail", "last_error"})
# Kept as codes joined by commas.
_LISTS: Final = frozenset({"automatic", "waived_gates"})
_OF_CURRENCY: Final = re.compile(r"(\w+)_([A-Z]{3})")


class Shown(NamedTuple):
    """One value before and after, for people. is_named: the catalogue has a word for the name; None: there was none."""

    name: str
    is_named: bool
    before: str | None
    after: str | None


def shown(deed: SeenDeed, *, language: Language) -> Sequence[Shown]:
    """What a deed changed, in the order in which it is kept."""
    before, after = deed.state_before or {}, deed.state_after or {}
    return [
        _shown(change.name, before.get(change.name), after.get(change.name), deed, language=language)
        for change in changes_of(before, after)
    ]


def _shown(kept_as: str, before: Any, after: Any, deed: SeenDeed, *, language: Language) -> Shown:
    # A sum of one currency among several has the currency in its name.
    of_currency = _OF_CURRENCY.fullmatch(kept_as)
    name, currency = (
        of_currency.groups() if of_currency else (kept_as, _currency_of(deed.state_after, deed.state_before))
    )
    key = f"value.{name}"
    is_named = has(language, key)
    word = text(language, key) if is_named else kept_as
    told_before, told_after = (
        _value(each, name, currency, object_kind=deed.object_kind, language=language) for each in (before, after)
    )
    return Shown(f"{word}, {currency}" if is_named and of_currency else word, is_named, told_before, told_after)


def _currency_of(*states: State | None) -> str | None:
    return next((str(state["currency"]) for state in states if state and state.get("currency")), None)


def _value(value: Any, name: str, currency: str | None, *, object_kind: str, language: Language) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        yes, no = ("flag.on", "flag.off") if name == "value" else ("audit.yes", "audit.no")
        return text(language, yes if value else no)
    if isinstance(value, int):
        if not name.endswith("_minor"):
            return figures.integer(value, language=language)
        if currency in CURRENCY_EXPONENTS:
            return f"{figures.amount(value, currency=currency, language=language)} {currency}"
        return text(language, "audit.minor_units", count=figures.integer(value, language=language))
    if name in TIMES:
        return _time(str(value), language=language)
    if name in SENTENCES:
        return "; ".join(said.words for said in told.told(str(value), language=language))
    family = FAMILIES_OF_OBJECTS.get((object_kind, name)) or FAMILIES.get(name)
    codes = re.split(r", ?", str(value)) if name in _LISTS else [str(value)]
    return ", ".join(codes if family is None else [code(language, family, each) for each in codes])


def _time(kept: str, *, language: Language) -> str:
    try:
        moment = datetime.fromisoformat(kept)
    except ValueError:
        return kept
    return f"{figures.minute(moment, language=language)} UTC"
