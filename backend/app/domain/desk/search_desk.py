"""What the search of every page can find by an id or a reference, and what it found."""

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class FoundKind(StrEnum):
    """What there is to be found; of several with one id the first of these comes first."""

    WITHDRAWAL = "withdrawal"
    PLAYER = "player"
    DEPOSIT = "deposit"
    TRANSACTION = "transaction"
    FINDING = "finding"
    ADJUSTMENT = "adjustment"
    EVENT = "event"
    RUN = "run"
    BACKFILL = "backfill"
    ATTEMPT = "attempt"


class Found(NamedTuple):
    """One thing, in the order of the query's columns. id: of an attempt its withdrawal, whose `number`-th it is.

    tenant_id None: it is of no tenant, such as a run of all of them.
    """

    kind: FoundKind
    id: UUID
    player_id: UUID | None
    number: int | None
    tenant_id: UUID | None
    provider: str | None
