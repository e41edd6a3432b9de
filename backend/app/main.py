"""Wires one process: repositories, services and jobs, and for a server the ASGI application on top."""

import asyncio
import contextlib
import gc
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from backend.app.api import admins as admins_api
from backend.app.api import audit as audit_api
from backend.app.api import auth, middleware, ops, problems, wallet
from backend.app.api import players as players_api
from backend.app.api import tenants as tenants_api
from backend.app.api.body import JsonBody
from backend.app.api.schemas import AmountSchema
from backend.app.api.tokens import Tokens
from backend.app.console import api_docs
from backend.app.domain.email import parse_email
from backend.app.domain.job import PeriodicJob
from backend.app.domain.password import parse_password
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories import home
from backend.app.repositories.database import Database
from backend.app.repositories.engine import Engine, resolve
from backend.app.repositories.faults import EnvironmentFault
from backend.app.repositories.presence import Presence
from backend.app.services import logs
from backend.app.services.admins import Admins, system_actor
from backend.app.services.audit import Audit
from backend.app.services.deposits import Deposits
from backend.app.services.jobs import Jobs
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.passwords import Passwords
from backend.app.services.players import Players
from backend.app.services.readiness import Readiness
from backend.app.services.sign_in import SignIn
from backend.app.services.tenants import Tenants
from backend.app.services.wallets import Wallets
from backend.app.services.withdrawals import Withdrawals
from backend.config import Settings

log = structlog.get_logger()

VERSION: Final = importlib.metadata.version("hakem")
# The largest body any route takes; a withdrawal is some hundred bytes.
BODY_BYTES_MAX: Final = 64 * 1024
DRAIN_SECONDS: Final = 10.0
EMBEDDED_WATCH_SECONDS: Final = 1.0
# A request makes some hundred objects and few cycles; Python's own 700 would collect several times in each batch.
GC_THRESHOLD: Final = 50_000
FLAGS: Final = (
    "ledger_shadow_write",
    "ledger_enforce_balance",
    "ledger_balance_mismatch_log",
    "webhook_signature_enforced",
)


def create_app() -> Litestar:
    """The application of one server process, from its environment. Called by uvicorn in each process."""
    return _create(is_worker=True)


def create_app_without_worker() -> Litestar:
    """The same for `--no-worker`."""
    return _create(is_worker=False)


def _create(*, is_worker: bool) -> Litestar:
    logs.configure()
    settings = home.with_dev_secrets(Settings.load())
    settings.ensure_startable()
    return build(settings, resolve(settings), is_worker=is_worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What every process has, whether it serves requests or only works on jobs."""

    engine: Engine
    database: Database
    presence: Presence
    mismatches: MismatchRecorder
    passwords: Passwords
    sign_in: SignIn
    wallets: Wallets
    withdrawals: Withdrawals
    deposits: Deposits
    jobs: Jobs


def wire(settings: Settings, engine: Engine, *, is_worker: bool) -> Core:
    """Build the core on an engine. This is where a service's work becomes a job."""
    is_dev = settings.env == "dev"
    database = Database(engine, settings)
    mismatches = MismatchRecorder(database, is_enabled=settings.ledger_balance_mismatch_log)
    passwords = Passwords()
    sign_in = SignIn(database, passwords)
    wallets = Wallets(database)
    return Core(
        engine=engine,
        database=database,
        presence=Presence(engine, app_version=VERSION, environment_flags=environment_flags(settings)),
        mismatches=mismatches,
        passwords=passwords,
        sign_in=sign_in,
        wallets=wallets,
        withdrawals=Withdrawals(database, mismatches, is_dev=is_dev),
        deposits=Deposits(
            database,
            MockPsp(database),
            wallets,
            mismatches,
            is_dev=is_dev,
            unverified_daily_cap=settings.kyc_unverified_daily_deposit_cap,
        ),
        jobs=Jobs(
            engine,
            database,
            periodic=[
                PeriodicJob(name="sign_in.sweep_failures", run=sign_in.sweep, every_seconds=300, deadline_seconds=120),
            ],
            is_worker=is_worker,
        ),
    )


@asynccontextmanager
async def running(core: Core, *, on_stop: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
    """The core at work for the length of the block; its engine is closed at the end.

    on_stop: called first of all when the block ends.
    """
    await core.database.open()
    await core.presence.start()
    watcher = asyncio.create_task(_keep_embedded_running(core.engine), name="embedded-postgres")
    await core.jobs.start()
    try:
        yield
    finally:
        on_stop()
        # Before the drains: jobs use the services.
        await core.jobs.stop()
        for service in (core.withdrawals, core.deposits, core.mismatches):
            with contextlib.suppress(TimeoutError):
                await service.drain(deadline_seconds=DRAIN_SECONDS)
        watcher.cancel()
        await core.presence.stop()
        await core.database.close()
        await asyncio.to_thread(core.engine.close)


def build(settings: Settings, engine: Engine, *, is_worker: bool = True) -> Litestar:
    """Wire everything. The engine is the application's from now on: it is closed when the application stops."""
    assert settings.jwt_secret is not None, "ensure_startable or with_dev_secrets has seen to it"
    core = wire(settings, engine, is_worker=is_worker)
    database = core.database
    admins = Admins(database, core.passwords)
    readiness = Readiness(database, core.jobs, expected_revision=engine.status().head)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with running(core, on_stop=readiness.note_stop):
            await _ensure_bootstrap_owner(admins, settings)
            # What start-up made lives as long as the process: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD, 20, 50)
            yield

    services = {
        "sign_in": core.sign_in,
        "tenants": Tenants(database),
        "admins": admins,
        "players": Players(database, core.passwords),
        "audit": Audit(database),
        "wallets": core.wallets,
        "withdrawals": core.withdrawals,
        "deposits": core.deposits,
        "readiness": readiness,
    }
    app = Litestar(
        route_handlers=[
            Router(
                "/api/v1",
                route_handlers=[
                    auth.router,
                    tenants_api.router,
                    admins_api.router,
                    players_api.router,
                    audit_api.router,
                    wallet.router,
                ],
            ),
            ops.get_health,
            ops.get_ready,
            ops.get_metrics,
            api_docs.router,
        ],
        dependencies={name: _provide(service) for name, service in services.items()},
        dto=JsonBody,
        return_dto=None,
        exception_handlers=problems.EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=_openapi(),
        plugins=[AmountSchema()],
        logging_config=None,
    )
    app.asgi_handler = middleware.observe_requests(app.asgi_handler)
    app.state.admins = admins
    app.state.tokens = Tokens(settings.jwt_secret.get_secret_value())
    return app


def environment_flags(settings: Settings) -> dict[str, bool]:
    """The flags that this process's environment states; what is left to its default states nothing."""
    return {flag: getattr(settings, flag) for flag in FLAGS if settings.is_explicit(flag)}


def _provide(service: object) -> Provide:
    return Provide(lambda: service, sync_to_thread=False, use_cache=True)


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Hakem",
        version=VERSION,
        description="Player wallets on an append-only ledger.",
        path="/schema",
        use_handler_docstrings=True,
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
        render_plugins=[JsonRenderPlugin()],
    )


async def _ensure_bootstrap_owner(admins: Admins, settings: Settings) -> None:
    if settings.bootstrap_owner_email is None or settings.bootstrap_owner_password is None:
        return
    await admins.ensure_owner(
        email=parse_email(settings.bootstrap_owner_email),
        password=parse_password(settings.bootstrap_owner_password.get_secret_value()),
        actor=system_actor("bootstrap"),
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
