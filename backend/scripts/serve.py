"""hakem serve: migrate where that is ours to do, then serve until told to stop."""

import asyncio
import contextlib
import os
import socket
import tempfile
import threading
import time
from decimal import Decimal
from typing import Annotated, Any, Final

import httpx
import structlog
import typer
import uvicorn
import uvloop
from uvicorn.supervisors import Multiprocess

from backend.app.api.http_protocol import WholeAnswers
from backend.app.domain.demo.demo_story import FOUR_EYES_MAJOR
from backend.app.main import build, create_app, create_app_without_worker
from backend.app.repositories import home, presence
from backend.app.repositories.engine import Engine, resolve
from backend.app.repositories.faults import EnvironmentFault
from backend.app.services import logs
from backend.app.wiring import VERSION, environment_flags
from backend.config import Settings
from backend.scripts import demo as demo_script
from backend.scripts.connection import ensure_schema

log = structlog.get_logger()

GRACEFUL_STOP_SECONDS: Final = 15
START_SECONDS_MAX: Final = 60
WORKERS_MAX: Final = 64


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8001,
    workers: Annotated[int, typer.Option(min=1, max=WORKERS_MAX, help="Server processes.")] = 1,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Leave background jobs to `hakem worker`.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Seed two demo tenants and print their sign-ins.")] = False,
    demo_quiet: Annotated[bool, typer.Option("--demo-quiet", help="With --demo: nobody acts by themselves.")] = False,
) -> None:
    """Serve the API; prints one line when it accepts requests."""
    logs.configure()
    settings = home.with_dev_secrets(Settings.load())
    settings.ensure_startable()
    if demo and settings.env != "dev":
        raise typer.BadParameter(f"the demo is for ENV=dev, and this is {settings.env}", param_hint="--demo")
    if demo:
        settings = _as_demo(settings, is_quiet=demo_quiet)
    engine = resolve(settings)
    try:
        ensure_schema(engine, is_dev=settings.env == "dev")
        asyncio.run(
            presence.ensure_flags_agree(engine, app_version=VERSION, environment_flags=environment_flags(settings))
        )
        listening = listen(host, port)
        url = url_of(listening, host)
        guidance = _seed(engine, settings, url=url) if demo else ""
        if workers > 1:
            factory = create_app_without_worker if no_worker else create_app
            _serve_many(listening, factory.__name__, url=url, guidance=guidance, workers=workers)
            return
        config = uvicorn.Config(build(settings, engine, is_worker=not no_worker), **uvicorn_options())
        server = AnnouncingServer(config, url=url, guidance=guidance)
        server.run(sockets=[listening])
        if not server.started:
            raise EnvironmentFault("the service did not start; the reason stands above")
    finally:
        engine.close()


def _as_demo(settings: Settings, *, is_quiet: bool) -> Settings:
    """The settings of a demo where the environment leaves them open: two approvals for much money, and life in it."""
    demo: dict[str, object] = {} if is_quiet else {"demo_traffic": True}
    if not settings.is_explicit("four_eyes_threshold"):
        demo["four_eyes_threshold"] = Decimal(FOUR_EYES_MAJOR)
    # The processes of --workers read the environment anew.
    os.environ.update({name.upper(): str(value) for name, value in demo.items()})
    return settings.model_copy(update=demo)


def _seed(engine: Engine, settings: Settings, *, url: str) -> str:
    """Seed the demo; what to print of it. Of months in a few seconds the log would bury what is printed."""
    log.info("demo.seeding")
    with logs.hushed(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return demo_script.lines(runner.run(demo_script.seed(engine, settings)), url=url)


class AnnouncingServer(uvicorn.Server):
    """uvicorn, saying on standard output when it accepts requests."""

    def __init__(self, config: uvicorn.Config, *, url: str, guidance: str = "", name: str = "hakem") -> None:
        super().__init__(config)
        self._url = url
        self._guidance = guidance
        self._name = name

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            announce(self._url, guidance=self._guidance, name=self._name)


def announce(url: str, *, guidance: str, name: str = "hakem") -> None:
    """The one line that scripts wait for, and after it what a person may want to know."""
    print(f"{name}: ready on {url}", flush=True)
    if guidance:
        print(guidance, flush=True)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything else starts, so that a port in use is one clear line."""
    try:
        listening = socket.create_server((host, port), backlog=2048, reuse_port=False)
    except (OSError, OverflowError) as error:
        raise EnvironmentFault(f"cannot listen on {host}:{port}: {error}") from error
    listening.set_inheritable(True)
    return listening


def url_of(listening: socket.socket, host: str) -> str:
    """What a client calls the socket."""
    port = listening.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def uvicorn_options() -> dict[str, Any]:
    """How we serve, whatever the application is."""
    return {
        "loop": "uvloop",
        "http": WholeAnswers,
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "date_header": True,
        "timeout_graceful_shutdown": GRACEFUL_STOP_SECONDS,
        "timeout_keep_alive": 75,
        "h11_max_incomplete_event_size": 64 * 1024,
    }


def _serve_many(listening: socket.socket, factory: str, *, url: str, guidance: str, workers: int) -> None:
    """Several server processes on one socket; each wires itself from the environment."""
    with tempfile.TemporaryDirectory(prefix="hakem-metrics-") as folder:
        # Read by prometheus_client when a worker imports it; the folder starts empty and goes with this process.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = uvicorn.Config(f"backend.app.main:{factory}", factory=True, workers=workers, **uvicorn_options())
        announcer = threading.Thread(target=_announce_when_ready, args=(url, guidance), daemon=True)
        announcer.start()
        Multiprocess(config, sockets=[listening]).run()


def _announce_when_ready(url: str, guidance: str) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2.0).status_code == httpx.codes.OK:
                announce(url, guidance=guidance)
                return
        time.sleep(0.05)
