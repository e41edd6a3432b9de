"""What waits, and for whom: nothing may hang without somebody being able to see why."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class WaitingItem(NamedTuple):
    """A payout, a deposit or a provider event that is not finished. Times are UTC.

    `subject` names it, `checks` is how often it was tried or asked about, `next_at` when that happens again by itself;
    None: only when a person does something.
    """

    tenant_id: UUID | None
    kind: str
    subject: str
    state: str
    since: datetime
    next_at: datetime | None
    checks: int
    reason: str


class WaitingQueue(NamedTuple):
    """Withdrawals of a tenant that wait for a person, in one state and currency. `amount` is in minor units."""

    tenant_id: UUID
    state: str
    currency: str
    withdrawals: int
    amount: int
    oldest_at: datetime
