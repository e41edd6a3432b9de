"""A tenant to try things on: people with passwords, and money that came in through the front door.

Seeding again changes nothing: what exists is left as it is, and the deposit repeats its key.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from backend.app.domain.admin import AdminExists, CreateAdmin
from backend.app.domain.deposit import OpenDeposit
from backend.app.domain.errors import AppError
from backend.app.domain.identity import Role
from backend.app.domain.money import Money
from backend.app.domain.player import CreatePlayer, KycStatus, PlayerExists
from backend.app.domain.sign_in import InvalidCredentials, RateLimited, Realm, SignInCommand
from backend.app.domain.tenant import BASE_CURRENCY_DEFAULT, CreateTenant, TenantExists
from backend.app.psp import mockpsp
from backend.app.services.admins import Admins, system_actor
from backend.app.services.deposits import Deposits
from backend.app.services.players import Players
from backend.app.services.sign_in import SignIn
from backend.app.services.tenants import Tenants

log = structlog.get_logger()

SLUG: Final = "demo"
# A domain that can never be anybody's (RFC 2606 §2).
OWNER_EMAIL: Final = "owner@demo.example"
ADMINS: Final = ((Role.TENANT_ADMIN, "admin@demo.example"), (Role.FINANCE, "finance@demo.example"))
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
    """What was seeded."""

    tenant_id: UUID
    sign_ins: tuple[DemoSignIn, ...]


class Demo:
    """Seeds the demo. `password_of` gives the password kept for an address, the same each time."""

    def __init__(
        self,
        *,
        sign_in: SignIn,
        tenants: Tenants,
        admins: Admins,
        players: Players,
        deposits: Deposits,
        password_of: Callable[[str], str],
    ) -> None:
        self._sign_in = sign_in
        self._tenants = tenants
        self._admins = admins
        self._players = players
        self._deposits = deposits
        self._password_of = password_of

    async def seed(self, *, now: datetime) -> DemoTenant:
        """Make what is missing; who can sign in."""
        tenant_id = await self._ensure_tenant()
        sign_ins = [await self._ensure_admin(OWNER_EMAIL, role=Role.OWNER, tenant_id=None, now=now)]
        sign_ins += [await self._ensure_admin(email, role=role, tenant_id=tenant_id, now=now) for role, email in ADMINS]
        for kyc_status, email in PLAYERS:
            sign_ins.append(await self._ensure_player(email, kyc_status=kyc_status, tenant_id=tenant_id, now=now))
            if kyc_status is KycStatus.VERIFIED:
                await self._ensure_deposit(email, tenant_id=tenant_id)
        return DemoTenant(tenant_id=tenant_id, sign_ins=tuple(sign_ins))

    async def _ensure_tenant(self) -> UUID:
        tenant_id = await self._tenants.find_id(slug=SLUG)
        if tenant_id is not None:
            return tenant_id
        command = CreateTenant(name="Demo", slug=SLUG, base_currency=BASE_CURRENCY_DEFAULT)
        try:
            return (await self._tenants.create(command, actor=ACTOR)).id
        except TenantExists:
            tenant_id = await self._tenants.find_id(slug=SLUG)
            assert tenant_id is not None, "tenants are never removed"
            return tenant_id

    async def _ensure_admin(self, email: str, *, role: Role, tenant_id: UUID | None, now: datetime) -> DemoSignIn:
        password = self._password_of(email)
        # Asked first, since making somebody costs a hash even when they turn out to exist.
        if await self._admins.find_active_id(email=email) is None:
            command = CreateAdmin(tenant_id=tenant_id, email=email, password=password, role=role)
            with contextlib.suppress(AdminExists):
                await self._admins.create(command, actor=ACTOR)
        return await self._proven(
            SignInCommand(
                realm=Realm.ADMIN, tenant_id=None, email=email, password=password, client_address=None, now=now
            ),
            title=role.value.replace("_", " "),
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
