"""Gentle life in the demo while it is served: players pay in and ask for money, staff work on the queues.

One small thing at a tick, through the services that everybody uses. What comes in and what is worked off follows the
length of the queues, so that they stay at a size a person would believe; after so many things it is over, so that a
demo that somebody forgot does not fill a disk.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.demo.demo_story import DEPOSITS_MAJOR, METHODS, REJECTED_BECAUSE
from backend.app.domain.deposit import OpenDeposit
from backend.app.domain.errors import AppError
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.money import Money
from backend.app.domain.payments.finance import Deed, FinanceWithdrawal, Sort, WithdrawalFilter
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.domain.player import KycStatus, Player, PlayerFilter
from backend.app.domain.withdrawal import RequestWithdrawal, WithdrawalState
from backend.app.psp import mockpsp
from backend.app.services.demo.demo import CASTS, PLAYERS, Cast
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.finance import Finance
from backend.app.services.people.admins import Admins
from backend.app.services.players import Players
from backend.app.services.tenants import Tenants
from backend.app.services.withdrawals import Withdrawals

log = structlog.get_logger()

EVERY_SECONDS: Final = 4.0
# Some six hours of it.
ACTS_MAX: Final = 5_000
PLAYERS_MAX: Final = 200
LISTED_MAX: Final = 50
# With so many requests waiting nobody asks any more; staff leave so many of each state for people to look at.
REQUESTED_MAX: Final = 18
LEFT: Final = {
    WithdrawalState.REQUESTED: 8,
    WithdrawalState.AWAITING_SECOND_APPROVAL: 2,
    WithdrawalState.APPROVED: 3,
}
# Out of ten things that happen, players do so many.
SHARE_OF_PLAYERS: Final = 0.65
SHARE_OF_DEPOSITS: Final = 0.6
SHARE_OF_REJECTIONS: Final = 0.1
# What they ask for, in minor units, if they have it.
ASKED_LEAST, ASKED_MOST, ASKED_STEP = 20_00, 250_00, 5_00
# The people of the README's tour: what they do is theirs, and their withdrawals are for who takes the tour.
LEFT_ALONE: Final = frozenset(email for _, email in PLAYERS)


@dataclass(slots=True, kw_only=True)
class _House:
    """A tenant of the demo, found once. players: those who may pay in and ask, by id."""

    tenant_id: UUID
    players: dict[UUID, Player]
    staff: dict[Role, AdminIdentity] = field(default_factory=dict)


class DemoTraffic:
    """What happens by itself in the demo. Built once per process; one process at a time lets things happen."""

    def __init__(
        self,
        *,
        tenants: Tenants,
        admins: Admins,
        players: Players,
        deposits: Deposits,
        withdrawals: Withdrawals,
        finance: Finance,
    ) -> None:
        self._tenants = tenants
        self._admins = admins
        self._players = players
        self._deposits = deposits
        self._withdrawals = withdrawals
        self._finance = finance
        self._random = random.Random()
        self._houses: list[_House] = []
        self._acts = 0

    async def step(self, _: datetime) -> int:
        """Let one thing happen in one of the tenants; how many did: none when there is no demo, or it had its share."""
        if self._acts >= ACTS_MAX:
            return 0
        if not self._houses:
            self._houses = [house for cast in CASTS if (house := await self._find(cast)) is not None]
            if not self._houses:
                return 0
        self._acts += 1
        house = self._random.choice(self._houses)
        try:
            if self._random.random() < SHARE_OF_PLAYERS:
                return await self._let_play(house)
            return await self._let_staff_work(house)
        except AppError as refusal:
            # Somebody at the console was faster, or a player has spent the money: that is how it is in life.
            log.debug("demo.act_refused", error_code=refusal.error_code)
            return 0

    async def _find(self, cast: Cast) -> _House | None:
        tenant_id = await self._tenants.find_id(slug=cast.plot.slug)
        if tenant_id is None:
            return None
        page, _ = await self._players.list_page(
            tenant_id, asked=PlayerFilter(kyc_status=KycStatus.VERIFIED), before_id=None, limit=PLAYERS_MAX, offset=0
        )
        # Who has no opened wallet is to stay so: those are for the backfill. Whose sides differ was planted, too: each
        # decision on them would be evidence, and within minutes the monitor would rightly freeze the whole demo.
        players = {
            each.id: each
            for each in page
            if (each.legacy_available, each.legacy_held) == (each.ledger_available, each.ledger_pending)
            and each.is_active
            and each.email not in LEFT_ALONE
        }
        house = _House(tenant_id=tenant_id, players=players)
        for role, name in ((Role.FINANCE, "finance"), (Role.APPROVER, "approver")):
            admin_id = await self._admins.find_active_id(email=f"{name}@{cast.domain}")
            if admin_id is None:
                return None
            house.staff[role] = await self._admins.identify(admin_id, tenant_header=None)
        return house if players else None

    async def _let_play(self, house: _House) -> int:
        player = self._random.choice(list(house.players.values()))
        available_minor = (await self._players.get(house.tenant_id, player_id=player.id)).legacy_available
        # Nobody asks for what they do not have: refusals that pile up are what the monitor looks for.
        if available_minor < ASKED_LEAST or self._random.random() < SHARE_OF_DEPOSITS:
            await self._deposits.deposit(
                OpenDeposit(
                    deposit_id=uuid7(),
                    tenant_id=house.tenant_id,
                    player_id=player.id,
                    money=Money(amount_minor=self._random.choice(DEPOSITS_MAJOR[:8]) * 100, currency=player.currency),
                    method=self._random.choice(METHODS),
                    provider=mockpsp.PROVIDER,
                    idempotency_key=f"live-{uuid7()}",
                    unverified_cap_minor=0,
                )
            )
            return 1
        _, waiting = await self._list(house, WithdrawalState.REQUESTED)
        if waiting >= REQUESTED_MAX:
            return 0
        await self._withdrawals.request(
            RequestWithdrawal(
                withdrawal_id=uuid7(),
                tenant_id=house.tenant_id,
                player_id=player.id,
                money=Money(
                    amount_minor=self._random.randrange(ASKED_LEAST, min(available_minor, ASKED_MOST) + 1, ASKED_STEP),
                    currency=player.currency,
                ),
                method=self._random.choice(METHODS),
                address=f"DE89 3704 0044 {self._random.randrange(10**9):010d}",
                idempotency_key=f"live-{uuid7()}",
            )
        )
        return 1

    async def _let_staff_work(self, house: _House) -> int:
        """One deed on the longest waiting withdrawal of a queue that has more than is to be left in it."""
        for state, left in LEFT.items():
            found, waiting = await self._list(house, state)
            theirs = [each for each in found if each.player_id in house.players and each.method in METHODS]
            if waiting > left and theirs:
                await self._work_on(house, theirs[0])
                return 1
        return 0

    async def _work_on(self, house: _House, withdrawal: FinanceWithdrawal) -> None:
        action, by, reason = Action.APPROVE, house.staff[Role.FINANCE], None
        match withdrawal.state:
            case WithdrawalState.REQUESTED if self._random.random() < SHARE_OF_REJECTIONS:
                action, reason = Action.REJECT, self._random.choice(REJECTED_BECAUSE)
            case WithdrawalState.AWAITING_SECOND_APPROVAL:
                by = house.staff[Role.APPROVER]
            case WithdrawalState.APPROVED:
                action = Action.DISPATCH
        await self._finance.perform(
            Deed(withdrawal_id=withdrawal.id, action=action, reason=reason, seen_version=withdrawal.version),
            admin=by,
            actor=Actor(kind=ActorKind.ADMIN, actor_id=by.admin_id, label=by.email),
        )

    async def _list(self, house: _House, state: WithdrawalState) -> tuple[Sequence[FinanceWithdrawal], int]:
        """The longest waiting withdrawals in a state, and how many there are."""
        return await self._finance.list_page(
            house.tenant_id,
            asked=WithdrawalFilter(state=state),
            sort=Sort.OLDEST,
            after=None,
            limit=LISTED_MAX,
            offset=0,
        )
