"""Waves: which tenants are enforced next, by how many and by how much of everybody's money. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final
from uuid import UUID

from backend.app.domain.errors import FieldError

SHARE_WHOLE: Final = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A tenant of the fleet. balances: minor units by currency, as its last census counted; None: nobody has."""

    tenant_id: UUID
    slug: str
    number: int
    is_enforced: bool
    balances: Mapping[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Whom a wave takes, least money first, and why the others are left for later. share: the largest of any
    currency.
    """

    taken: tuple[Candidate, ...]
    share: Decimal
    left: tuple[tuple[Candidate, str], ...]


def parse_share(text: str) -> Decimal:
    """A share such as 5% or 0.05, as a number from 0 to 1. Raises FieldError."""
    number = text.strip()
    try:
        share = Decimal(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except InvalidOperation:
        raise FieldError("share", "is a share such as 5% or 0.05") from None
    if not share.is_finite() or not 0 < share <= SHARE_WHOLE:
        raise FieldError("share", "is more than nothing and at most 100%")
    return share


def plan_wave(fleet: Sequence[Candidate], *, count_max: int | None, share_max: Decimal | None) -> Wave:
    """The next tenants: those with the least money first, since what goes wrong goes wrong for them.

    A share is that of all balances of one currency in the fleet; the wave's share is its largest.
    """
    totals: dict[str, int] = {}
    for tenant in fleet:
        for currency, amount in (tenant.balances or {}).items():
            totals[currency] = totals.get(currency, 0) + max(amount, 0)
    waiting = sorted(
        (tenant for tenant in fleet if not tenant.is_enforced and tenant.balances is not None),
        key=lambda tenant: (_share([tenant], totals), tenant.number),
    )
    taken: list[Candidate] = []
    left = [
        (tenant, "no census has counted it yet")
        for tenant in fleet
        if not tenant.is_enforced and tenant.balances is None
    ]
    for tenant in waiting:
        if count_max is not None and len(taken) >= count_max:
            left.append((tenant, f"the wave takes {count_max}"))
        elif share_max is not None and _share([*taken, tenant], totals) > share_max:
            left.append(
                (tenant, f"with it the wave would move more than {share_max:.1%} of the balances of a currency")
            )
        else:
            taken.append(tenant)
    return Wave(taken=tuple(taken), share=_share(taken, totals), left=tuple(left))


def _share(tenants: Iterable[Candidate], totals: Mapping[str, int]) -> Decimal:
    sums: dict[str, int] = {}
    for tenant in tenants:
        for currency, amount in (tenant.balances or {}).items():
            sums[currency] = sums.get(currency, 0) + max(amount, 0)
    return max(
        (Decimal(amount) / totals[currency] for currency, amount in sums.items() if totals[currency]),
        default=Decimal(0),
    )
