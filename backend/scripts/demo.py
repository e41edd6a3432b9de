"""What `hakem serve --demo` adds: a seeded tenant, and lines to paste."""

import secrets
from datetime import UTC, datetime
from typing import Final

import msgspec

from backend.app import mockpsp_mount
from backend.app.domain.sign_in import Realm
from backend.app.repositories import home
from backend.app.repositories.engine import Engine
from backend.app.services.admins import Admins
from backend.app.services.demo import METHOD, Demo, DemoSignIn, DemoTenant
from backend.app.services.deposits import Deposits
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.passwords import Passwords
from backend.app.services.players import Players
from backend.app.services.sign_in import SignIn
from backend.app.services.tenants import Tenants
from backend.app.services.wallets import Wallets
from backend.config import Settings
from backend.scripts.connection import open_pools

DRAIN_SECONDS: Final = 10.0
# 96 bits; short enough to type.
PASSWORD_BYTES: Final = 12


async def seed(engine: Engine, settings: Settings) -> DemoTenant:
    """Seed the demo on a migrated database; its passwords are made once and kept in the home."""
    folder = home.open_home(settings.hakem_home)

    def password_of(email: str) -> str:
        name = f"demo_password_{email.partition('@')[0]}"
        return home.read_or_create_secret(folder, name, make=lambda: secrets.token_urlsafe(PASSWORD_BYTES))

    # Who serves afterwards sends the webhooks.
    mockpsp = mockpsp_mount.connect(settings, engine, ourselves=None)
    async with open_pools(engine, settings) as database, mockpsp.running():
        passwords = Passwords()
        mismatches = MismatchRecorder(database, is_enabled=settings.ledger_balance_mismatch_log)
        deposits = Deposits(
            database,
            mockpsp.adapter,
            Wallets(database),
            mismatches,
            is_dev=settings.env == "dev",
            unverified_daily_cap=settings.kyc_unverified_daily_deposit_cap,
        )
        demo = Demo(
            sign_in=SignIn(database, passwords),
            tenants=Tenants(database),
            admins=Admins(database, passwords),
            players=Players(database, passwords),
            deposits=deposits,
            password_of=password_of,
        )
        try:
            return await demo.seed(now=datetime.now(UTC))
        finally:
            await deposits.drain(deadline_seconds=DRAIN_SECONDS)
            await mismatches.drain(deadline_seconds=DRAIN_SECONDS)


def lines(demo: DemoTenant, *, url: str) -> str:
    """The sign-ins, and three commands that sign in, pay in and ask for money."""
    width_title = max(len(each.title) for each in demo.sign_ins)
    width_email = max(len(each.email) for each in demo.sign_ins)
    people = [
        f"  {each.title:<{width_title}}  {each.email:<{width_email}}  {each.password or '(changed)'}"
        for each in demo.sign_ins
    ]
    player = next(each for each in demo.sign_ins if each.realm is Realm.PLAYER)
    return "\n".join(
        ("", f"demo tenant {demo.tenant_id}", *people, "", *_commands(player, demo=demo, url=f"{url}/api/v1"), "")
    )


def _commands(player: DemoSignIn, *, demo: DemoTenant, url: str) -> tuple[str, ...]:
    sign_in = _json(
        {"tenant_id": str(demo.tenant_id), "email": player.email, "password": player.password or "(changed)"}
    )
    deposit = _json({"amount": "25.00", "method": METHOD})
    withdraw = _json({"amount": "10.00", "method": METHOD, "address": "DE02 1203 0000 0000 2020 51"})
    body = "-H 'Content-Type: application/json' -d"
    headers = '-H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: try-$(date +%s)"'
    token = """| sed -E 's/.*"access_token":"([^"]+)".*/\\1/'"""
    return (
        "to try it as the verified player:",
        f"  TOKEN=$(curl -s {url}/auth/player/login {body} '{sign_in}' {token})",
        f"  curl -sw '\\n' {url}/player/wallet/deposit  {headers} {body} '{deposit}'",
        f"  curl -sw '\\n' {url}/player/wallet/withdraw {headers} {body} '{withdraw}'",
    )


def _json(document: dict[str, str]) -> str:
    return msgspec.json.encode(document).decode()
