"""Builds the ASGI application: wires repositories, services and routes, once per process."""

import asyncio
import contextlib
import gc
import importlib.metadata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from backend.app.api import admins as admins_api
from backend.app.api import audit as audit_api
from backend.app.api import auth, finance, middleware, ops, problems, wallet
from backend.app.api import players as players_api
from backend.app.api import tenants as tenants_api
from backend.app.api.body import JsonBody
from backend.app.api.schemas import AmountSchema
from backend.app.api.tokens import Tokens
from backend.app.console import api_docs
from backend.app.domain.email import parse_email
from backend.app.domain.password import parse_password
from backend.app.psp import mockpsp
from backend.app.psp.adapter import PspAdapter
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
from backend.app.services.finance import Finance
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.passwords import Passwords
from backend.app.services.payouts import Payouts
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
    """The application of one server process, from its environment. Called by uvicorn in each worker."""
    logs.configure()
    settings = home.with_dev_secrets(Settings.load())
    settings.ensure_startable()
    return build(settings, resolve(settings))


def build(settings: Settings, engine: Engine, *, adapters: Mapping[str, PspAdapter] | None = None) -> Litestar:
    """Wire everything. The engine is the application's from now on: it is closed when the application stops.

    adapters: by provider, in the place of those that the settings name.
    """
    assert settings.jwt_secret is not None, "ensure_startable or with_dev_secrets has seen to it"
    is_dev = settings.env == "dev"
    database = Database(engine, settings)
    presence = Presence(
        engine,
        app_version=VERSION,
        environment_flags=environment_flags(settings),
    )
    mismatches = MismatchRecorder(database, is_enabled=settings.ledger_balance_mismatch_log)
    wallets = Wallets(database)
    withdrawals = Withdrawals(database, mismatches, is_dev=is_dev)
    mock_psp = MockPsp(database)
    payouts = Payouts(database, adapters or {mockpsp.PROVIDER: mock_psp}, mismatches)
    deposits = Deposits(
        database,
        mock_psp,
        wallets,
        mismatches,
        is_dev=is_dev,
        unverified_daily_cap=settings.kyc_unverified_daily_deposit_cap,
    )
    passwords = Passwords()
    admins = Admins(database, passwords)
    readiness = Readiness(database, expected_revision=engine.status().head)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await database.open()
        await presence.start()
        await _ensure_bootstrap_owner(admins, settings)
        watcher = asyncio.create_task(_keep_embedded_running(engine), name="embedded-postgres")
        # What start-up made lives as long as the process: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 50)
        try:
            yield
        finally:
            readiness.is_stopping = True
            for service in (withdrawals, deposits, mismatches):
                with contextlib.suppress(TimeoutError):
                    await service.drain(deadline_seconds=DRAIN_SECONDS)
            watcher.cancel()
            await presence.stop()
            await database.close()
            await asyncio.to_thread(engine.close)

    services = {
        "sign_in": SignIn(database, passwords),
        "tenants": Tenants(database),
        "admins": admins,
        "players": Players(database, passwords),
        "audit": Audit(database),
        "wallets": wallets,
        "withdrawals": withdrawals,
        "deposits": deposits,
        "finance": Finance(database, payouts, mismatches, four_eyes_threshold=settings.four_eyes_threshold),
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
                    finance.router,
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
