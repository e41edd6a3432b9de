"""Attempts to pay a withdrawal: their names, their states."""

import re
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

_REFERENCE: Final = re.compile(
    r"wd_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})_([1-9][0-9]{0,4})", re.ASCII
)


class AttemptState(StrEnum):
    """Where an attempt stands. The first three are open; a withdrawal has at most one open attempt."""

    # Committed, and perhaps sent: a process that dies before it records the answer leaves it so.
    CREATED = "created"
    PENDING = "pending"
    # Sent without an answer that says what happened. No timer turns it into failed.
    UNKNOWN = "unknown"
    PAID = "paid"
    FAILED = "failed"
    RETURNED = "returned"


OPEN_STATES: Final = frozenset({AttemptState.CREATED, AttemptState.PENDING, AttemptState.UNKNOWN})


class AttemptName(NamedTuple):
    """Which attempt at which withdrawal."""

    withdrawal_id: UUID
    number: int

    @property
    def reference(self) -> str:
        """Its name at the provider, and its idempotency key there. At most 64 characters, no colon: Adyen's limits."""
        return f"wd_{self.withdrawal_id}_{self.number}"


def find_attempt_name(reference: str | None) -> AttemptName | None:
    """The attempt that a reference names; None when it is not the name of any."""
    match = None if reference is None else _REFERENCE.fullmatch(reference)
    return None if match is None else AttemptName(withdrawal_id=UUID(match[1]), number=int(match[2]))
