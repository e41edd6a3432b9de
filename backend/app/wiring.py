"""Wires one process: repositories, services, providers and jobs. What serves requests is put on top in main.py."""

import asyncio
import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from litestar.types import ASGIApp

from backend.app import mockpsp_mount
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.job import DeferredJob, PeriodicJob
from backend.app.domain.reconciliation.reconciliation import Grace
from backend.app.domain.rollout.flags import Flag
from backend.app.mockpsp_mount import MockPspMount
from backend.app.psp import mockpsp as mockpsp_adapter
from backend.app.psp.adapter import PspAdapter
from backend.app.repositories.database import Database
from backend.app.repositories.engine import Engine
from backend.app.repositories.faults import EnvironmentFault
from backend.app.repositories.presence import Presence
from backend.app.services.backfill.census import Census
from backend.app.services.demo.demo_traffic import EVERY_SECONDS as DEMO_EVERY_SECONDS
from backend.app.services.demo.demo_traffic import DemoTraffic
from backend.app.services.desk.backfill_desk import BackfillDesk
from backend.app.services.desk.rollout_desk import RolloutDesk
from backend.app.services.evidence import Evidence
from backend.app.services.jobs import Jobs
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.monitor.monitor import EVALUATE_SECONDS, Monitor
from backend.app.services.monitor.monitor_evidence import MONITORED_EVIDENCE
from backend.app.services.monitor.monitor_looks import Looks
from backend.app.services.monitor.monitor_reader import MonitorReader, read_triggers
from backend.app.services.monitor.monitor_watch import MonitorWatch
from backend.app.services.monitor.selftest import Selftest
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.finance import Finance
from backend.app.services.payments.payouts import Payouts
from backend.app.services.payments.psp_inbox import PspInbox
from backend.app.services.people.admins import Admins
from backend.app.services.people.console_sessions import ConsoleSessions
from backend.app.services.people.passwords import Passwords
from backend.app.services.people.sign_in import SignIn
from backend.app.services.players import Players
from backend.app.services.reconciliation.reconciliation import JOB as RECONCILIATION_JOB
from backend.app.services.reconciliation.reconciliation import Reconciliation
from backend.app.services.reconciliation.reconciliation_feed import Source
from backend.app.services.rollout.flag_cache import FlagCache
from backend.app.services.rollout.flags import Flags
from backend.app.services.rollout.rollout import Rollout
from backend.app.services.rollout.rollout_gates import GateReader
from backend.app.services.rollout.rollout_status import RolloutStatus
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
UNMET_NAMED_MAX: Final = 20
# The first run of a large tenant reads years.
RECONCILIATION_SECONDS: Final = 7_200.0
# MockPSP answers at once, tells its statement's truth at once, and is final after twenty seconds.
MOCKPSP_GRACE: Final = Grace(missing_in_ledger=timedelta(seconds=10), missing_in_psp=timedelta(seconds=30))


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What every process has, whether it serves requests or only works on jobs."""

    engine: Engine
    database: Database
    presence: Presence
    mockpsp: MockPspMount
    evidence: Evidence
    flag_cache: FlagCache
    flags: Flags
    rollout: Rollout
    rollout_status: RolloutStatus
    rollout_desk: RolloutDesk
    backfill_desk: BackfillDesk
    mismatches: MismatchRecorder
    passwords: Passwords
    sign_in: SignIn
    console_sessions: ConsoleSessions
    wallets: Wallets
    withdrawals: Withdrawals
    deposits: Deposits
    payouts: Payouts
    inbox: PspInbox
    monitor: Monitor
    monitor_reader: MonitorReader
    monitor_watch: MonitorWatch
    selftest: Selftest
    reconciliation: Reconciliation
    adapters: Mapping[str, PspAdapter]
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
    presence = Presence(engine, app_version=VERSION, environment_flags=environment_flags(settings))
    evidence = Evidence(database, app_version=VERSION, number=lambda: presence.number)
    flag_cache = FlagCache(engine, defaults={flag: getattr(settings, flag) for flag in Flag})
    gates = build_gates()
    rollout = Rollout(database, gates)
    rollout_status = RolloutStatus(database, gates, read_triggers=read_triggers)
    mismatches = MismatchRecorder(
        database,
        is_enabled=settings.ledger_balance_mismatch_log,
        is_enabled_for=flag_cache.is_mismatch_logged,
        evidence=evidence,
    )
    passwords = Passwords()
    sign_in = SignIn(database, passwords)
    console_sessions = ConsoleSessions(database, sign_in)
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
    withdrawals = Withdrawals(database, mismatches, evidence, is_dev=is_dev)
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
    backfill_desk = BackfillDesk(database)
    census = Census(database)
    monitor = build_monitor(database)
    selftest = Selftest(database, monitor, app_version=VERSION)
    reconciliation = Reconciliation(database, sources_of(mockpsp.adapter))
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
            PeriodicJob(
                name="monitor.evaluate", run=monitor.run_due, every_seconds=EVALUATE_SECONDS, deadline_seconds=110
            ),
            PeriodicJob(name="monitor.selftest", run=selftest.run_due, cron="40 3 * * *", deadline_seconds=120),
            PeriodicJob(name="evidence.prune", run=evidence.prune, every_seconds=300, deadline_seconds=120),
            PeriodicJob(name="rollout.expire_due", run=rollout.expire_due, every_seconds=1, deadline_seconds=60),
            PeriodicJob(
                name="rollout.refresh_metrics",
                run=rollout_status.refresh_metrics,
                every_seconds=60,
                deadline_seconds=60,
            ),
            PeriodicJob(name="census.run_due", run=census.run_due, every_seconds=60, deadline_seconds=300),
            PeriodicJob(
                name="reconciliation.run_due", run=reconciliation.run_due, every_seconds=300, deadline_seconds=240
            ),
            PeriodicJob(name="sign_in.sweep_failures", run=sign_in.sweep, every_seconds=300, deadline_seconds=120),
            PeriodicJob(
                name="console_sessions.sweep", run=console_sessions.sweep, every_seconds=300, deadline_seconds=120
            ),
            *demo_jobs,
        ],
        deferred=[
            Looks(database, census).job(),
            backfill_desk.job(),
            DeferredJob(name=RECONCILIATION_JOB, run=reconciliation.perform, deadline_seconds=RECONCILIATION_SECONDS),
        ],
        is_worker=is_worker,
    )
    return Core(
        engine=engine,
        database=database,
        presence=presence,
        mockpsp=mockpsp,
        evidence=evidence,
        flag_cache=flag_cache,
        flags=Flags(database, rollout),
        rollout=rollout,
        rollout_status=rollout_status,
        rollout_desk=RolloutDesk(database, gates),
        backfill_desk=backfill_desk,
        mismatches=mismatches,
        passwords=passwords,
        sign_in=sign_in,
        console_sessions=console_sessions,
        wallets=wallets,
        withdrawals=withdrawals,
        deposits=deposits,
        payouts=payouts,
        inbox=inbox,
        monitor=monitor,
        monitor_reader=MonitorReader(database),
        monitor_watch=MonitorWatch(database),
        selftest=selftest,
        reconciliation=reconciliation,
        adapters=adapters,
        jobs=jobs,
    )


@asynccontextmanager
async def running(core: Core, *, on_stop: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """The core at work for the length of the block; its engine is closed at the end.

    on_stop: called first of all when the block ends.
    """
    await core.database.open()
    await core.presence.start()
    await core.flag_cache.start()
    unmet = asyncio.create_task(_name_unmet(core), name="rollout-unmet")
    watcher = asyncio.create_task(_keep_embedded_running(core.engine), name="embedded-postgres")
    try:
        async with core.mockpsp.running():
            core.inbox.start()
            core.evidence.start()
            core.monitor_watch.start()
            await core.jobs.start()
            try:
                yield
            finally:
                on_stop()
                await core.monitor_watch.stop()
                # Before the drains: jobs and the inbox use the services.
                await core.jobs.stop()
                await core.inbox.stop()
                for service in (core.withdrawals, core.deposits, core.mismatches):
                    with contextlib.suppress(TimeoutError):
                        await service.drain(deadline_seconds=DRAIN_SECONDS)
                # Last of all: what the drains decided is counted too.
                await core.evidence.stop(deadline_seconds=DRAIN_SECONDS)
    finally:
        watcher.cancel()
        unmet.cancel()
        await core.flag_cache.stop()
        await core.presence.stop()
        await core.database.close()
        await asyncio.to_thread(core.engine.close)


def build_monitor(database: Database) -> Monitor:
    """The monitor with what it acts through."""
    return Monitor(database, rollout=Rollout(database, build_gates()))


def build_gates() -> GateReader:
    """The gates as this release judges them, by what the monitor has counted and found."""
    return GateReader(app_version=VERSION, readers=MONITORED_EVIDENCE)


def sources_of(mockpsp: PspAdapter | None) -> dict[str, Source]:
    """The providers whose statements can be had, with how soon they are believed."""
    if mockpsp is None:
        return {}
    return {mockpsp_adapter.PROVIDER: Source(feed=mockpsp, grace=MOCKPSP_GRACE)}


def environment_flags(settings: Settings) -> dict[str, bool]:
    """The flags that this process's environment states; what is left to its default states nothing."""
    return {flag.value: getattr(settings, flag) for flag in Flag if settings.is_explicit(flag)}


async def _name_unmet(core: Core) -> None:
    """Say which tenants the environment enforces with gates unmet; that is not refused, and not silent."""
    with contextlib.suppress(TemporarilyUnavailable):
        unmet = await core.rollout_status.list_unmet(source="environment", limit=UNMET_NAMED_MAX)
        if unmet:
            log.warning(
                "rollout.enforced_with_gates_unmet",
                tenants={
                    each.facts.tenant.slug: [gate.gate.value for gate in each.gates if gate.stands_against]
                    for each in unmet
                },
            )


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
