"""Tenants to try things on: people with passwords, a history, and money that came in through the front door.

Two of them: `demo` is as a tenant should be that is to be enforced next; in `demo-drift` another program writes the
legacy column, and some wallets were never opened. Seeding again changes nothing: what exists is left as it is, a
history is written once, and the deposit repeats its key.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from backend.app.domain.demo import demo_story
from backend.app.domain.demo.demo_story import Plot
from backend.app.domain.deposit import OpenDeposit
from backend.app.domain.errors import AppError
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.money import Money
from backend.app.domain.people.admin import AdminExists, CreateAdmin
from backend.app.domain.people.sign_in import InvalidCredentials, RateLimited, Realm, SignInCommand
from backend.app.domain.player import CreatePlayer, KycStatus, PlayerExists
from backend.app.domain.tenant import BASE_CURRENCY_DEFAULT, CreateTenant, TenantExists
from backend.app.psp import mockpsp
from backend.app.repositories import demo_repo
from backend.app.repositories.database import Connection
from backend.app.services.demo.demo_acts import Stage
from backend.app.services.payments.deposits import Deposits
from backend.app.services.people.admins import Admins, system_actor
from backend.app.services.people.sign_in import SignIn
from backend.app.services.players import Players
from backend.app.services.tenants import Tenants

log = structlog.get_logger()

SLUG: Final = "demo"
DRIFT_SLUG: Final = "demo-drift"
# Domains that can never be anybody's (RFC 2606 §2).
OWNER_EMAIL: Final = "owner@demo.example"
STAFF: Final = (
    (Role.TENANT_ADMIN, "admin"),
    (Role.FINANCE, "finance"),
    (Role.APPROVER, "approver"),
    (Role.RECON, "recon"),
    (Role.VIEWER, "viewer"),
)
PLAYERS: Final = ((KycStatus.VERIFIED, "verified@demo.example"), (KycStatus.PENDING, "unverified@demo.example"))
METHOD: Final = "test_bank"
DEPOSIT_MINOR: Final = 250_00
DEPOSIT_KEY: Final = "demo-first-deposit"
ACTOR: Final = system_actor(SLUG)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSignIn:
    """Who can sign in, and as what. password None: it was changed, so it is not known here."""

    title: str
    realm: Realm
    email: str
    password: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTenant:
    """What was seeded. is_history_whole False: whoever wrote its history did not come to the end."""

    tenant_id: UUID
    slug: str
    sign_ins: tuple[DemoSignIn, ...]
    is_history_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """A tenant of the demo: what it is called, what happens in it, and where its people have their addresses."""

    name: str
    currency: str
    plot: Plot
    domain: str
    owner_email: str | None = None


CASTS: Final = (
    Cast(
        name="Demo",
        currency=BASE_CURRENCY_DEFAULT,
        # Few enough that a clean census is all the evidence that the gates ask for: it is ready to be enforced.
        plot=Plot(slug=SLUG, seed=20240229, imported=64, joining=30),
        domain="demo.example",
        owner_email=OWNER_EMAIL,
    ),
    Cast(
        name="Demo with drift",
        currency="EUR",
        plot=Plot(
            slug=DRIFT_SLUG,
            seed=19990101,
            imported=90,
            joining=30,
            visits=250,
            late_imports=23,
            drifts_minor=(150_00, 75_50, 20_00, 12_34, 300_00),
            odd_deposits=(*demo_story.ODD_DEPOSITS, ("short_by_one", 47.0), ("other_currency", 49.0)),
        ),
        domain="drift.example",
    ),
)

# Writes the histories of tenants that were about to be made at the time.
WriteHistory = Callable[[Sequence[Stage], datetime, datetime], Awaitable[None]]


class Demo:
    """Seeds the demo. `password_of` gives the password kept for an address, the same each time; `owner` is a connection
    of the database's owner, in autocommit.
    """

    def __init__(
        self,
        *,
        owner: Connection,
        sign_in: SignIn,
        tenants: Tenants,
        admins: Admins,
        players: Players,
        deposits: Deposits,
        write_history: WriteHistory,
        password_of: Callable[[str], str],
    ) -> None:
        self._owner = owner
        self._sign_in = sign_in
        self._tenants = tenants
        self._admins = admins
        self._players = players
        self._deposits = deposits
        self._write_history = write_history
        self._password_of = password_of

    async def seed(self, *, now: datetime) -> tuple[DemoTenant, ...]:
        """Make what is missing; who can sign in. Waits for another process that is seeding."""
        await demo_repo.lock_seeding(self._owner)
        began_at = datetime.now(UTC)
        tenant_ids = [await self._ensure_tenant(cast) for cast in CASTS]
        # Hashing takes most of the time: as many at once as there are cores.
        sign_ins = await asyncio.gather(
            *(
                self._ensure_staff(cast, tenant_id=tenant_id, now=now)
                for cast, tenant_id in zip(CASTS, tenant_ids, strict=True)
            )
        )
        await self._ensure_histories(tenant_ids, began_at=began_at, now=now)
        players = []
        for kyc_status, email in PLAYERS:
            players.append(await self._ensure_player(email, kyc_status=kyc_status, tenant_id=tenant_ids[0], now=now))
            if kyc_status is KycStatus.VERIFIED:
                await self._ensure_deposit(email, tenant_id=tenant_ids[0])
        return tuple(
            [
                DemoTenant(
                    tenant_id=tenant_id,
                    slug=cast.plot.slug,
                    sign_ins=(*staff, *(players if tenant_id == tenant_ids[0] else ())),
                    is_history_whole=(await demo_repo.find_history(self._owner, tenant_id)).is_written,
                )
                for cast, tenant_id, staff in zip(CASTS, tenant_ids, sign_ins, strict=True)
            ]
        )

    async def _ensure_histories(self, tenant_ids: Sequence[UUID], *, began_at: datetime, now: datetime) -> None:
        """Write the histories unless somebody did, or began to: half of one is not told to its end a second time."""
        states = [await demo_repo.find_history(self._owner, tenant_id) for tenant_id in tenant_ids]
        if any(state.is_written or state.is_begun for state in states):
            return
        stages = []
        for cast, tenant_id in zip(CASTS, tenant_ids, strict=True):
            staff = await self._staff_of(cast)
            if staff is None:
                log.warning("demo.history_left_out", tenant=cast.plot.slug, reason="somebody of its staff is disabled")
                return
            stages.append(
                Stage(
                    tenant_id=tenant_id,
                    currency=cast.currency,
                    staff=staff,
                    scenes=demo_story.tell(cast.plot, now=now),
                )
            )
        await self._write_history(stages, began_at, now)

    async def _staff_of(self, cast: Cast) -> dict[Role, AdminIdentity] | None:
        staff = {}
        for role, name in STAFF:
            admin_id = await self._admins.find_active_id(email=f"{name}@{cast.domain}")
            if admin_id is None:
                return None
            staff[role] = await self._admins.identify(admin_id, tenant_header=None)
        return staff

    async def _ensure_tenant(self, cast: Cast) -> UUID:
        slug = cast.plot.slug
        tenant_id = await self._tenants.find_id(slug=slug)
        if tenant_id is not None:
            return tenant_id
        command = CreateTenant(name=cast.name, slug=slug, base_currency=cast.currency)
        try:
            return (await self._tenants.create(command, actor=ACTOR)).id
        except TenantExists:
            tenant_id = await self._tenants.find_id(slug=slug)
            assert tenant_id is not None, "tenants are never removed"
            return tenant_id

    async def _ensure_staff(self, cast: Cast, *, tenant_id: UUID, now: datetime) -> list[DemoSignIn]:
        owners = [] if cast.owner_email is None else [(Role.OWNER, cast.owner_email, None)]
        staff = [(role, f"{name}@{cast.domain}", tenant_id) for role, name in STAFF]
        return await asyncio.gather(
            *(self._ensure_admin(email, role=role, tenant_id=of, now=now) for role, email, of in (*owners, *staff))
        )

    async def _ensure_admin(self, email: str, *, role: Role, tenant_id: UUID | None, now: datetime) -> DemoSignIn:
        password, title = self._password_of(email), role.value.replace("_", " ")
        # Asked first, since making somebody costs a hash even when they turn out to exist.
        if await self._admins.find_active_id(email=email) is None:
            command = CreateAdmin(tenant_id=tenant_id, email=email, password=password, role=role)
            with contextlib.suppress(AdminExists):
                await self._admins.create(command, actor=ACTOR)
                # The password was set a moment ago: trying it would cost as much again.
                return DemoSignIn(title=title, realm=Realm.ADMIN, email=email, password=password)
        return await self._proven(
            SignInCommand(
                realm=Realm.ADMIN, tenant_id=None, email=email, password=password, client_address=None, now=now
            ),
            title=title,
        )

    async def _ensure_player(self, email: str, *, kyc_status: KycStatus, tenant_id: UUID, now: datetime) -> DemoSignIn:
        password = self._password_of(email)
        if await self._players.find_active_id(tenant_id, email=email) is None:
            command = CreatePlayer(
                tenant_id=tenant_id,
                email=email,
                username=email.partition("@")[0],
                password=password,
                currency=BASE_CURRENCY_DEFAULT,
                kyc_status=kyc_status,
            )
            with contextlib.suppress(PlayerExists):
                await self._players.create(command, actor=ACTOR)
        return await self._proven(
            SignInCommand(
                realm=Realm.PLAYER,
                tenant_id=tenant_id,
                email=email,
                password=password,
                client_address=None,
                now=now,
            ),
            title=f"player, {'verified' if kyc_status is KycStatus.VERIFIED else 'not verified'}",
        )

    async def _proven(self, command: SignInCommand, *, title: str) -> DemoSignIn:
        """The sign-in, tried: a password that somebody has changed since is not shown as if it were good."""
        password: str | None = command.password
        try:
            await self._sign_in.sign_in(command)
        except (InvalidCredentials, RateLimited):
            password = None
        return DemoSignIn(title=title, realm=command.realm, email=command.email, password=password)

    async def _ensure_deposit(self, email: str, *, tenant_id: UUID) -> None:
        player_id = await self._players.find_active_id(tenant_id, email=email)
        if player_id is None:
            return
        command = OpenDeposit(
            deposit_id=uuid7(),
            tenant_id=tenant_id,
            player_id=player_id,
            money=Money(amount_minor=DEPOSIT_MINOR, currency=BASE_CURRENCY_DEFAULT),
            method=METHOD,
            provider=mockpsp.PROVIDER,
            idempotency_key=DEPOSIT_KEY,
            # Nobody but the verified player gets here; should that have changed since, the deposit is there already.
            unverified_cap_minor=0,
        )
        try:
            await self._deposits.deposit(command)
        except AppError as error:
            log.warning("demo.deposit_refused", error_code=error.error_code, detail=error.detail)
