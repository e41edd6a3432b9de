"""What needs somebody's attention: counts of what is open, by kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.desk.withdrawal_desk import Queue

# So many of a kind are counted in a tenant; beyond it is "more than".
ATTENTION_MAX: Final = 1_000


class OpenCount(NamedTuple):
    """How many are open of one kind, in the order of the query's columns. oldest_at None: none is."""

    kind: str
    open_count: int
    oldest_at: datetime | None


class LastCensus(NamedTuple):
    """The newest finished census of a tenant, in the order of the query's columns. finished_at None: none yet."""

    tenant_id: UUID
    tenant_name: str
    state: str | None
    finished_at: datetime | None
    differences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Everything that the first page tells. queues is empty for who may not see withdrawals."""

    queues: Sequence[Queue]
    counts: Sequence[OpenCount]
    censuses: Sequence[LastCensus]
