"""Statements: a provider's account of what really moved, from its interface or from a settlement file. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from backend.app.domain.money import Money
from backend.app.domain.payments.psp_event import StatusClass


class StatementKind(StrEnum):
    """Which way a line of a statement moved money at the provider."""

    DEPOSIT = "deposit"
    REFUND = "refund"
    PAYOUT = "payout"
    RETURN = "return"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One movement at the provider. `reference` is ours as we gave it; `occurred_at` is when it became what it is.

    `provider_event_id` is the line's own name within its account. `status` is the provider's word, `status_class` what
    it means; what is not known to mean anything is pending.
    """

    provider_event_id: str
    provider_ref: str
    reference: str | None
    kind: StatementKind
    status: str
    status_class: StatusClass
    money: Money
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementPage:
    """One page of a statement. The control totals speak of the whole window, not of the page.

    `control_sums` is the sum of amounts in minor units by currency, all kinds counted positively. `is_complete`: the
    provider says that no line can come to the window any more.
    """

    lines: Sequence[StatementLine]
    next_cursor: str | None
    control_count: int
    control_sums: Mapping[str, int]
    is_complete: bool


@dataclass(slots=True)
class ControlTotals:
    """What arrived of a statement, to be held against what it claims. Sums are minor units by currency."""

    count: int = 0
    sums: Counter[str] = field(default_factory=Counter)

    def add(self, lines: Sequence[StatementLine]) -> None:
        """Count lines in."""
        self.count += len(lines)
        for line in lines:
            self.sums[line.money.currency] += line.money.amount_minor

    def difference(self, *, count: int, sums: Mapping[str, int]) -> str | None:
        """What does not fit the claim, as a sentence; None when everything does."""
        wrong = []
        if count != self.count:
            wrong.append(f"{self.count} lines arrived of {count}")
        wrong += [
            f"{currency} adds up to {self.sums[currency]} instead of {sums.get(currency, 0)}"
            for currency in sorted({*self.sums, *sums})
            if self.sums[currency] != sums.get(currency, 0)
        ]
        return "; ".join(wrong) or None
