"""hakem worker: background jobs and nothing else, until told to stop."""

import asyncio
import contextlib
import signal
from typing import Annotated

import prometheus_client
import typer
import uvloop

from backend.app.repositories import home
from backend.app.repositories.engine import resolve
from backend.app.repositories.faults import EnvironmentFault
from backend.app.services import logs
from backend.app.wiring import Core, running, wire
from backend.config import Settings
from backend.scripts.connection import ensure_schema


def worker(
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics on 127.0.0.1 at this port.")
    ] = None,
) -> None:
    """Work on background jobs; prints one line when it does. Several may run, beside `hakem serve` or without it."""
    logs.configure()
    settings = home.with_dev_secrets(Settings.load())
    settings.ensure_startable()
    engine = resolve(settings)
    try:
        ensure_schema(engine, is_dev=settings.env == "dev")
        if metrics_port is not None:
            _serve_metrics(metrics_port)
        run(wire(settings, engine, is_worker=True))
    finally:
        engine.close()


def run(core: Core) -> None:
    """Work until SIGTERM or SIGINT; running jobs are then finished or given back."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(core))


async def _work(core: Core) -> None:
    is_over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, is_over.set)
    async with running(core):
        announcer = asyncio.create_task(_announce(core))
        await is_over.wait()
        announcer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await announcer


async def _announce(core: Core) -> None:
    await core.jobs.ready()
    print("hakem: worker ready", flush=True)


def _serve_metrics(port: int) -> None:
    try:
        prometheus_client.start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise EnvironmentFault(f"cannot listen on 127.0.0.1:{port}: {error}") from error
