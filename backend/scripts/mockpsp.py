"""hakem mockpsp serve: MockPSP as a process of its own, for a service that is told so by MOCKPSP_URL."""

from typing import Annotated, Final

import httpx
import typer
import uvicorn

from backend.app.mockpsp_mount import config_of
from backend.app.repositories import home
from backend.app.repositories.engine import resolve
from backend.app.repositories.faults import EnvironmentFault
from backend.app.services import logs
from backend.config import Settings, SettingsRefused
from backend.mockpsp import app as mockpsp
from backend.mockpsp.deliveries import TIMEOUT_SECONDS, Target
from backend.scripts.connection import ensure_schema
from backend.scripts.serve import AnnouncingServer, listen, url_of, uvicorn_options

app = typer.Typer(help="MockPSP, the payment provider of development and tests.", no_args_is_help=True)

# Its slow answers are slow on purpose; nobody is served by waiting for them.
GRACEFUL_STOP_SECONDS: Final = 2


@app.callback()
def _group() -> None:
    """Keeps `serve` a subcommand."""


@app.command()
def serve(
    webhook_url: Annotated[str, typer.Option(help="Where webhooks go, up to the account.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8002,
    webhook_timeout_seconds: Annotated[
        float, typer.Option(min=0.1, max=60, help="How long a receiver may take to answer.")
    ] = TIMEOUT_SECONDS,
) -> None:
    """Serve MockPSP; prints one line when it accepts requests."""
    logs.configure()
    settings = home.with_dev_secrets(Settings.load())
    _ensure_startable(settings, webhook_url=webhook_url)
    with resolve(settings) as engine:
        ensure_schema(engine, is_dev=settings.env == "dev")
        listening = listen(host, port)
        target = Target(url=webhook_url, timeout_seconds=webhook_timeout_seconds)
        options = uvicorn_options() | {"timeout_graceful_shutdown": GRACEFUL_STOP_SECONDS}
        config = uvicorn.Config(mockpsp.build(config_of(settings, engine, target=target)), **options)
        server = AnnouncingServer(config, url=url_of(listening, host), name="mockpsp")
        server.run(sockets=[listening])
        if not server.started:
            raise EnvironmentFault("MockPSP did not start; the reason stands above")


def _ensure_startable(settings: Settings, *, webhook_url: str) -> None:
    """Raise what forbids a start: money of a MockPSP in production, secrets that the other side cannot know."""
    if settings.env == "prod":
        raise SettingsRefused("MockPSP moves no real money: it does not start with ENV=prod")
    if httpx.URL(webhook_url).scheme not in ("http", "https"):
        raise typer.BadParameter("not an http address", param_hint="--webhook-url")
    if settings.mockpsp_api_key is None or settings.webhook_secret_mockpsp is None:
        raise SettingsRefused("MOCKPSP_API_KEY and WEBHOOK_SECRET_MOCKPSP must be set outside dev")
