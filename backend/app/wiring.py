"""Wires one process: repositories, services, providers and jobs. What serves requests is put on top in main.py."""

import asyncio
import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from litestar.types import ASGIApp

from backend.app import mockpsp_mount
from backend.app.domain.job import PeriodicJob
from backend.app.mockpsp_mount import MockPspMount
from backend.app.psp.adapter import PspAdapter
from backend.app.repositories.database import Database
from backend.app.repositories.engine import Engine
from backend.app.repositories.faults import EnvironmentFault
from backend.app.repositories.presence import Presence
from backend.app.services.admins import Admins
from backend.app.services.census import Census
from backend.app.services.demo_traffic import EVERY_SECONDS as DEMO_EVERY_SECONDS
from backend.app.services.demo_traffic import DemoTraffic
from backend.app.services.deposits import Deposits
from backend.app.services.finance import Finance
from backend.app.services.jobs import Jobs
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.passwords import Passwords
from backend.app.services.payouts import Payouts
from backend.app.services.players import Players
from backend.app.services.psp_inbox import PspInbox
from backend.app.services.sign_in import SignIn
from backend.app.services.tenants import Tenants
from backend.app.services.wallets import Wallets
from backend.app.services.withdrawals import Withdrawals
from backend.config import Settings

log = structlog.get_logger()

VERSION: Final = importlib.metadata.version("hakem")
DRAIN_SECONDS: Final = 10.0
EMBEDDED_WATCH_SECONDS: Final = 1.0
# So many in one run of a job: the deadline holds also when each of them takes a provider's whole timeout.
INBOX_BATCH: Final = 500
PULL_BATCH: Final = 100
FLAGS: Final = (
    "ledger_shadow_write",
    "ledger_enforce_balance",
    "ledger_balance_mismatch_log",
    "webhook_signature_enforced",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What every process has, whether it serves requests or only works on jobs."""

    engine: Engine
    database: Database
    presence: Presence
    mockpsp: MockPspMount
    mismatches: MismatchRecorder
    passwords: Passwords
    sign_in: SignIn
    wallets: Wallets
    withdrawals: Withdrawals
    deposits: Deposits
    payouts: Payouts
    inbox: PspInbox
    jobs: Jobs


def wire(
    settings: Settings,
    engine: Engine,
    *,
    is_worker: bool,
    ourselves: ASGIApp | None = None,
    adapters: Mapping[str, PspAdapter] | None = None,
) -> Core:
    """Build the core on an engine. This is where a service's work becomes a job.

    `ourselves` is the application that MockPSP's webhooks go to when it runs inside this process; None: they wait for a
    process that has one. `adapters` are payout providers by name, in the place of those that the settings name.
    """
    is_dev = settings.env == "dev"
    database = Database(engine, settings)
    mockpsp = mockpsp_mount.connect(settings, engine, ourselves=ourselves)
    mismatches = MismatchRecorder(database, is_enabled=settings.ledger_balance_mismatch_log)
    passwords = Passwords()
    sign_in = SignIn(database, passwords)
    wallets = Wallets(database)
    deposits = Deposits(
        database,
        mockpsp.adapter,
        wallets,
        mismatches,
        is_dev=is_dev,
        unverified_daily_cap=settings.kyc_unverified_daily_deposit_cap,
    )
    if adapters is None:
        adapters = {} if mockpsp.adapter is None else {mockpsp.adapter.provider: mockpsp.adapter}
    payouts = Payouts(database, adapters, mismatches)
    inbox = PspInbox(database, deposits=deposits, payouts=payouts)
    withdrawals = Withdrawals(database, mismatches, is_dev=is_dev)
    demo_jobs = []
    if settings.demo_traffic:
        traffic = DemoTraffic(
            tenants=Tenants(database),
            admins=Admins(database, passwords),
            players=Players(database, passwords),
            deposits=deposits,
            withdrawals=withdrawals,
            finance=Finance(database, payouts, mismatches, four_eyes_threshold=settings.four_eyes_threshold),
        )
        demo_jobs = [
            PeriodicJob(name="demo.traffic", run=traffic.step, every_seconds=DEMO_EVERY_SECONDS, deadline_seconds=30)
        ]
    census = Census(database)
    jobs = Jobs(
        engine,
        database,
        periodic=[
            # What was not applied right after its answer: the process died, or the database was away.
            PeriodicJob(
                name="psp_inbox.apply_due",
                run=lambda _: inbox.apply_due(limit=INBOX_BATCH),
                every_seconds=2,
                deadline_seconds=60,
            ),
            PeriodicJob(name="psp_inbox.prune", run=lambda _: inbox.prune(), every_seconds=60, deadline_seconds=60),
            PeriodicJob(
                name="payouts.resolve_due",
                run=lambda now: payouts.resolve_due(now=now, limit=PULL_BATCH),
                every_seconds=5,
                deadline_seconds=300,
            ),
            PeriodicJob(
                name="deposits.resolve_due",
                run=lambda now: deposits.resolve_due(now=now, limit=PULL_BATCH),
                every_seconds=5,
                deadline_seconds=300,
            ),
            PeriodicJob(name="census.run_due", run=census.run_due, every_seconds=60, deadline_seconds=300),
            PeriodicJob(name="sign_in.sweep_failures", run=sign_in.sweep, every_seconds=300, deadline_seconds=120),
            *demo_jobs,
        ],
        is_worker=is_worker,
    )
    return Core(
        engine=engine,
        database=database,
        presence=Presence(engine, app_version=VERSION, environment_flags=environment_flags(settings)),
        mockpsp=mockpsp,
        mismatches=mismatches,
        passwords=passwords,
        sign_in=sign_in,
        wallets=wallets,
        withdrawals=withdrawals,
        deposits=deposits,
        payouts=payouts,
        inbox=inbox,
        jobs=jobs,
    )


@asynccontextmanager
async def running(core: Core, *, on_stop: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """The core at work for the length of the block; its engine is closed at the end.

    on_stop: called first of all when the block ends.
    """
    await core.database.open()
    await core.presence.start()
    watcher = asyncio.create_task(_keep_embedded_running(core.engine), name="embedded-postgres")
    try:
        async with core.mockpsp.running():
            core.inbox.start()
            await core.jobs.start()
            try:
                yield
            finally:
                on_stop()
                # Before the drains: jobs and the inbox use the services.
                await core.jobs.stop()
                await core.inbox.stop()
                for service in (core.withdrawals, core.deposits, core.mismatches):
                    with contextlib.suppress(TimeoutError):
                        await service.drain(deadline_seconds=DRAIN_SECONDS)
    finally:
        watcher.cancel()
        await core.presence.stop()
        await core.database.close()
        await asyncio.to_thread(core.engine.close)


def environment_flags(settings: Settings) -> dict[str, bool]:
    """The flags that this process's environment states; what is left to its default states nothing."""
    return {flag: getattr(settings, flag) for flag in FLAGS if settings.is_explicit(flag)}


async def _keep_embedded_running(engine: Engine) -> None:
    """Start the embedded PostgreSQL again when somebody killed it; connections then come back by themselves."""
    if engine.embedded is None:
        return
    while True:
        await asyncio.sleep(EMBEDDED_WATCH_SECONDS)
        try:
            if await asyncio.to_thread(engine.embedded.ensure_running):
                log.warning("embedded_postgres.restarted")
        except EnvironmentFault as error:
            log.error("embedded_postgres.cannot_restart", error=str(error))
