"""The audit as people read it: a deed with what it changed, and the audit as lines of a file."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import ActorKind, State
from backend.app.domain.csv_cells import text_cell

# An id and its row's time are taken from one clock, but not at one instant.
ID_SLACK_MILLISECONDS: Final = 60_000
ID_MIN: Final = UUID(int=0)
ID_MAX: Final = UUID(int=2**128 - 1)
_MILLISECONDS_MAX: Final = 2**48 - 1

CSV_HEADER: Final = (
    "id", "recorded_at", "tenant_id", "tenant", "actor_kind", "actor_id", "actor", "client_address", "action",
    "object_kind", "object_id", "reason", "before", "after", "request_id",
)  # fmt: skip


class SeenDeed(NamedTuple):
    """One row of the audit with the name of its tenant, in the order of the query's columns."""

    id: UUID
    tenant_id: UUID | None
    actor_kind: ActorKind
    actor_id: UUID | None
    actor_label: str
    action: str
    object_kind: str
    object_id: str
    reason: str | None
    state_before: State | None
    state_after: State | None
    request_id: str | None
    client_address: str | None
    recorded_at: datetime
    tenant_name: str | None


class Change(NamedTuple):
    """One value before and after, as text; None where there was none."""

    name: str
    before: str | None
    after: str | None


def changes_of(before: State | None, after: State | None) -> Sequence[Change]:
    """What a deed changed, in the order in which it is kept; what stayed as it was is left out."""
    former, latter = before or {}, after or {}
    names = [*former, *(name for name in latter if name not in former)]
    pairs = (Change(name, _text(former.get(name)), _text(latter.get(name))) for name in names)
    return [change for change in pairs if change.before != change.after]


def first_id_at(moment: datetime | None) -> UUID:
    """No row of this time or later has a smaller id: ids begin with the milliseconds they were made in (uuid_v7)."""
    return ID_MIN if moment is None else _id_at(moment, -ID_SLACK_MILLISECONDS)


def last_id_before(moment: datetime | None) -> UUID:
    """Every row from before this time has a smaller id."""
    return ID_MAX if moment is None else _id_at(moment, ID_SLACK_MILLISECONDS)


def csv_row(deed: SeenDeed) -> list[object]:
    """A deed as a line of an export."""
    return [
        deed.id,
        deed.recorded_at.isoformat(),
        deed.tenant_id,
        text_cell(deed.tenant_name),
        deed.actor_kind,
        deed.actor_id,
        text_cell(deed.actor_label),
        text_cell(deed.client_address),
        text_cell(deed.action),
        text_cell(deed.object_kind),
        text_cell(deed.object_id),
        text_cell(deed.reason),
        _document(deed.state_before),
        _document(deed.state_after),
        text_cell(deed.request_id),
    ]


def _id_at(moment: datetime, slack: int) -> UUID:
    milliseconds = int(moment.timestamp() * 1000) + slack
    return UUID(int=min(max(milliseconds, 0), _MILLISECONDS_MAX) << 80)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _document(state: State | None) -> str | None:
    return None if state is None else json.dumps(state, ensure_ascii=False)
