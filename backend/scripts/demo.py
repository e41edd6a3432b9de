"""What `hakem serve --demo` adds: seeded tenants with a history, and lines to paste."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec
import psycopg
from litestar import Litestar, Router
from litestar.di import Provide

from backend.app import mockpsp_mount
from backend.app.api import problems, webhooks
from backend.app.domain.demo.demo_story import FOUR_EYES_MAJOR
from backend.app.domain.people.sign_in import Realm
from backend.app.mockpsp_mount import MockPspMount
from backend.app.repositories import home
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.engine import Engine
from backend.app.services.demo.demo import ACTOR, METHOD, Demo, DemoSignIn, DemoTenant
from backend.app.services.demo.demo_acts import Desk, Services, Stage, Tempo
from backend.app.services.demo.demo_history import live_through
from backend.app.services.evidence import Evidence
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.finance import Finance
from backend.app.services.payments.payouts import Payouts
from backend.app.services.payments.psp_inbox import PspInbox
from backend.app.services.payments.webhook_secrets import WebhookSecrets
from backend.app.services.payments.webhooks import Webhooks
from backend.app.services.people.admins import Admins
from backend.app.services.people.passwords import Passwords
from backend.app.services.people.sign_in import SignIn
from backend.app.services.players import Players
from backend.app.services.rollout.rollout import Rollout
from backend.app.services.tenants import Tenants
from backend.app.services.wallets import Wallets
from backend.app.services.withdrawals import Withdrawals
from backend.app.wiring import build_gates
from backend.config import Settings
from backend.scripts.connection import open_pools

DRAIN_SECONDS: Final = 10.0
# 96 bits; short enough to type.
PASSWORD_BYTES: Final = 12
# What MockPSP's schedules are multiplied by while history is made: at once, or a working day.
AT_ONCE_FACTOR: Final = 0.0001
SLOW_FACTOR: Final = 9_600.0


async def seed(engine: Engine, settings: Settings) -> tuple[DemoTenant, ...]:
    """Seed the demo on a migrated database; its passwords are made once and kept in the home."""
    folder = home.open_home(settings.hakem_home)

    def password_of(email: str) -> str:
        name, _, domain = email.partition("@")
        suffix = "" if domain == "demo.example" else f"_{domain.partition('.')[0]}"
        return home.read_or_create_secret(
            folder, f"demo_password_{name}{suffix}", make=lambda: secrets.token_urlsafe(PASSWORD_BYTES)
        )

    # Who serves afterwards sends the webhooks.
    mockpsp = mockpsp_mount.connect(settings, engine, ourselves=None)
    async with (
        await psycopg.AsyncConnection.connect(engine.owner_url, autocommit=True) as owner,
        open_pools(engine, settings) as database,
        mockpsp.running(),
    ):
        passwords = Passwords()
        mismatches = MismatchRecorder(database, is_enabled=settings.ledger_balance_mismatch_log)
        deposits = _deposits(database, mockpsp, mismatches, settings=settings)

        async def write_history(stages: Sequence[Stage], began_at: datetime, now: datetime) -> None:
            services = _history_services(engine, settings, database=database, owner=owner, mismatches=mismatches)
            await live_through(services, stages, began_at=began_at, now=now)
            rollout = Rollout(database, build_gates())
            # The first tenant's is the story of everything that goes well: its way back was tried, too.
            await rollout.rehearse(stages[0].tenant_id, reason="before the first time", actor=ACTOR)

        demo = Demo(
            owner=owner,
            sign_in=SignIn(database, passwords),
            tenants=Tenants(database),
            admins=Admins(database, passwords),
            players=Players(database, passwords),
            deposits=deposits,
            write_history=write_history,
            password_of=password_of,
        )
        try:
            return await demo.seed(now=datetime.now(UTC))
        finally:
            await deposits.drain(deadline_seconds=DRAIN_SECONDS)
            await mismatches.drain(deadline_seconds=DRAIN_SECONDS)


def _history_services(
    engine: Engine, settings: Settings, *, database: Database, owner: Connection, mismatches: MismatchRecorder
) -> Services:
    """The services of a process that serves, but with MockPSP at the tempos of a story."""
    webhook_intake = Webhooks(database, WebhookSecrets(settings))
    at_once = settings.model_copy(update={"mockpsp_clock_factor": AT_ONCE_FACTOR})
    quiet = mockpsp_mount.connect(at_once, engine, ourselves=None)
    inbox = PspInbox(
        database,
        deposits=_deposits(database, quiet, mismatches, settings=settings),
        payouts=_payouts(database, quiet, mismatches),
    )
    ourselves = Litestar(
        route_handlers=[Router("/api/v1", route_handlers=[webhooks.router])],
        dependencies={
            "webhook_intake": Provide(lambda: webhook_intake, sync_to_thread=False, use_cache=True),
            "inbox": Provide(lambda: inbox, sync_to_thread=False, use_cache=True),
        },
        exception_handlers=problems.EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    hours_later = settings.model_copy(update={"mockpsp_clock_factor": SLOW_FACTOR})
    mounts = {
        Tempo.QUIET: quiet,
        Tempo.TELLING: mockpsp_mount.connect(at_once, engine, ourselves=ourselves),
        Tempo.SLOW: mockpsp_mount.connect(hours_later, engine, ourselves=None),
    }
    assert settings.webhook_secret_mockpsp is not None, "with_dev_secrets has seen to it"
    return Services(
        owner=owner,
        database=database,
        players=Players(database, Passwords()),
        # What happened months ago is no evidence about these minutes: it is counted and never flushed.
        withdrawals=Withdrawals(
            database, mismatches, Evidence(database, app_version="demo", is_metered=False), is_dev=True
        ),
        webhooks=webhook_intake,
        inbox=inbox,
        desks={
            tempo: Desk(
                deposits=_deposits(database, mount, mismatches, settings=settings),
                finance=Finance(
                    database,
                    _payouts(database, mount, mismatches),
                    mismatches,
                    four_eyes_threshold=Decimal(FOUR_EYES_MAJOR),
                ),
                running=mount.running,
            )
            for tempo, mount in mounts.items()
        },
        webhook_secret=settings.webhook_secret_mockpsp.get_secret_value(),
        rejects_folder=settings.hakem_home / "rejects",
    )


def _deposits(
    database: Database, mockpsp: MockPspMount, mismatches: MismatchRecorder, *, settings: Settings
) -> Deposits:
    return Deposits(
        database,
        mockpsp.adapter,
        Wallets(database),
        mismatches,
        is_dev=True,
        unverified_daily_cap=settings.kyc_unverified_daily_deposit_cap,
    )


def _payouts(database: Database, mockpsp: MockPspMount, mismatches: MismatchRecorder) -> Payouts:
    adapters = {} if mockpsp.adapter is None else {mockpsp.adapter.provider: mockpsp.adapter}
    return Payouts(database, adapters, mismatches)


def lines(tenants: Sequence[DemoTenant], *, url: str) -> str:
    """Who can sign in, tenant by tenant, and three commands that sign in, pay in and ask for money."""
    everybody = [each for tenant in tenants for each in tenant.sign_ins]
    width_title = max(len(each.title) for each in everybody)
    width_email = max(len(each.email) for each in everybody)
    told = []
    for tenant in tenants:
        told += ["", f"{tenant.slug} tenant {tenant.tenant_id}"]
        told += [
            f"  {each.title:<{width_title}}  {each.email:<{width_email}}  {each.password or '(changed)'}"
            for each in tenant.sign_ins
        ]
        if not tenant.is_history_whole:
            told.append("  its history was not written to the end: for a whole one, start with another HAKEM_HOME")
    first = tenants[0]
    player = next(each for each in first.sign_ins if each.realm is Realm.PLAYER)
    return "\n".join((*told, "", *_commands(player, demo=first, url=f"{url}/api/v1"), ""))


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
