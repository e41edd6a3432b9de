"""Builds the ASGI application of one server process, on top of what wiring.py makes for every process."""

import contextlib
import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from litestar import Litestar, Router, asgi
from litestar.di import Provide
from litestar.handlers import ASGIRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Receive, Scope, Send

from backend.app import mockpsp_mount
from backend.app.api import (
    adjustments,
    auth,
    finance,
    findings,
    flags,
    middleware,
    ops,
    problems,
    psp_events,
    reconciliation,
    rollout,
    rollout_monitor,
    wallet,
    webhooks,
)
from backend.app.api import admins as admins_api
from backend.app.api import audit as audit_api
from backend.app.api import players as players_api
from backend.app.api import tenants as tenants_api
from backend.app.api.body import JsonBody
from backend.app.api.schemas import AmountSchema
from backend.app.api.tokens import Tokens
from backend.app.console import api_docs, failures
from backend.app.console import routes as console
from backend.app.domain.people.email import parse_email
from backend.app.domain.people.password import parse_password
from backend.app.psp.adapter import PspAdapter
from backend.app.repositories import home
from backend.app.repositories.engine import Engine, resolve
from backend.app.services import logs
from backend.app.services.audit import Audit
from backend.app.services.desk.admin_desk import AdminDesk
from backend.app.services.desk.attention import AttentionDesk
from backend.app.services.desk.flag_desk import FlagDesk
from backend.app.services.desk.player_desk import PlayerDesk
from backend.app.services.desk.reconciliation_desk import ReconciliationDesk
from backend.app.services.desk.search_desk import SearchDesk
from backend.app.services.desk.tenant_desk import TenantDesk
from backend.app.services.desk.webhook_desk import WebhookDesk
from backend.app.services.desk.withdrawal_desk import WithdrawalDesk
from backend.app.services.payments.finance import Finance
from backend.app.services.payments.webhook_secrets import WebhookSecrets
from backend.app.services.payments.webhooks import Webhooks
from backend.app.services.people.admins import Admins, system_actor
from backend.app.services.players import Players
from backend.app.services.readiness import Readiness
from backend.app.services.reconciliation.adjustments import Adjustments
from backend.app.services.reconciliation.findings import Findings
from backend.app.services.tenants import Tenants
from backend.app.wiring import DRAIN_SECONDS, VERSION, running, wire
from backend.config import Settings

# The largest body any route takes; a withdrawal is some hundred bytes.
BODY_BYTES_MAX: Final = 64 * 1024
# A request makes some hundred objects and few cycles; Python's own 700 would collect several times in each batch. Every
# request waits while garbage is looked for, some milliseconds in so many objects.
GC_THRESHOLDS: Final = (10_000, 10, 50)


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


def build(
    settings: Settings,
    engine: Engine,
    *,
    is_worker: bool = True,
    adapters: Mapping[str, PspAdapter] | None = None,
) -> Litestar:
    """Wire everything. The engine is the application's from now on: it is closed when the application stops.

    adapters: payout providers by name, in the place of those that the settings name.
    """
    assert settings.jwt_secret is not None, "ensure_startable or with_dev_secrets has seen to it"

    async def ourselves(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    core = wire(settings, engine, is_worker=is_worker, ourselves=ourselves, adapters=adapters)
    database = core.database
    admins = Admins(database, core.passwords)
    secrets = WebhookSecrets(settings)
    webhook_intake = Webhooks(database, secrets, evidence=core.evidence, sources=settings.webhook_source_ranges)
    readiness = Readiness(
        database,
        jobs=core.jobs,
        monitor=core.monitor_watch,
        secrets=secrets,
        flag_cache=core.flag_cache,
        expected_revision=engine.status().head,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with running(core, on_stop=readiness.note_stop):
            await _ensure_bootstrap_owner(admins, settings)
            collect_garbage_rarely()
            yield
            with contextlib.suppress(TimeoutError):
                await webhook_intake.drain(deadline_seconds=DRAIN_SECONDS)

    services = {
        "sign_in": core.sign_in,
        "console_sessions": core.console_sessions,
        "tenants": Tenants(database),
        "admins": admins,
        "players": Players(database, core.passwords),
        "audit": Audit(database),
        "wallets": core.wallets,
        "withdrawals": core.withdrawals,
        "deposits": core.deposits,
        "finance": Finance(database, core.payouts, core.mismatches, four_eyes_threshold=settings.four_eyes_threshold),
        "withdrawal_desk": WithdrawalDesk(database, core.payouts),
        "player_desk": PlayerDesk(database),
        "admin_desk": AdminDesk(database),
        "tenant_desk": TenantDesk(database),
        "flag_desk": FlagDesk(database),
        "search_desk": SearchDesk(database),
        "attention_desk": AttentionDesk(database),
        "reconciliation_desk": ReconciliationDesk(database),
        "webhook_desk": WebhookDesk(database),
        "webhook_intake": webhook_intake,
        "inbox": core.inbox,
        "reconciliation": core.reconciliation,
        "findings": Findings(database, core.adapters, deposits=core.deposits, payouts=core.payouts),
        "adjustments": Adjustments(database),
        "readiness": readiness,
        "monitor": core.monitor,
        "monitor_reader": core.monitor_reader,
        "selftest": core.selftest,
        "flags": core.flags,
        "rollout": core.rollout,
        "rollout_status": core.rollout_status,
        "rollout_desk": core.rollout_desk,
        "backfill_desk": core.backfill_desk,
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
                    webhooks.router,
                    psp_events.router,
                    finance.router,
                    rollout_monitor.router,
                    flags.router,
                    rollout.router,
                    reconciliation.router,
                    findings.router,
                    adjustments.router,
                    adjustments.decisions_router,
                ],
            ),
            *([] if core.mockpsp.peer is None else [_mounted(core.mockpsp.peer)]),
            ops.get_health,
            ops.get_ready,
            ops.get_metrics,
            api_docs.router,
            console.router,
        ],
        dependencies={name: _provide(service) for name, service in services.items()},
        dto=JsonBody,
        return_dto=None,
        exception_handlers={
            kind: failures.under_console(handler) for kind, handler in problems.EXCEPTION_HANDLERS.items()
        },
        lifespan=[lifespan],
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=_openapi(),
        plugins=[AmountSchema()],
        logging_config=None,
    )
    app.asgi_handler = middleware.observe_requests(app.asgi_handler)
    app.state.admins = admins
    app.state.console_sessions = core.console_sessions
    app.state.tokens = Tokens(settings.jwt_secret.get_secret_value())
    return app


def _mounted(peer: ASGIApp) -> ASGIRouteHandler:
    # A copy of the scope: a mounted application rewrites its path.
    return asgi(mockpsp_mount.MOUNT_PATH, is_mount=True, copy_scope=True)(peer)


def collect_garbage_rarely() -> None:
    """Fit Python's collector to a process that answers requests; call it when everything is wired."""
    # What start-up made lives as long as the process: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


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
