"""One PostgreSQL for a test run, one database for each worker, cloned from a migrated template.

The process that starts the run (xdist's controller, or the only process) owns the server and stops it;
workers get its URL. It starts when the first test asks for it.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql

from backend.app.repositories import schema
from backend.app.repositories.database import Database as Pools
from backend.app.repositories.embedded import postgres as embedded_postgres
from backend.app.repositories.embedded.cluster import SUPERUSER
from backend.app.repositories.embedded.postgres import OWNER_ROLE, SERVICE_ROLE, EmbeddedPostgres
from backend.app.repositories.faults import EmbeddedPostgresError
from backend.tests import api_client, factories
from backend.tests.factories import Owner
from backend.tests.finance_desk import desk, desk_app  # noqa: F401 - fixtures
from backend.tests.fixtures import people  # noqa: F401 - a fixture
from backend.tests.reconciliation_world import psp, world  # noqa: F401 - fixtures

# The embedded server's first database, migrated once; nobody connects to it afterwards.
TEMPLATE = embedded_postgres.DATABASE
HOME_PREFIX = "hakem-tests-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database of the run's server, by the three roles that may connect to it."""

    name: str
    owner_url: str
    service_url: str
    superuser_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The run's server as a worker knows it: URLs with a gap where the database's name goes."""

    owner_url: str
    service_url: str
    superuser_url: str

    def create(self, *, migrated: bool = True) -> Database:
        """A database of its own: a clone of the template, or empty."""
        name = f"test_{uuid4().hex[:12]}"
        self._execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name),
                sql.Identifier(OWNER_ROLE),
                sql.Identifier(TEMPLATE if migrated else "template0"),
            )
        )
        return Database(
            name=name,
            owner_url=self.owner_url.format(name),
            service_url=self.service_url.format(name),
            superuser_url=self.superuser_url.format(name),
        )

    def drop(self, database: Database) -> None:
        """Drop it, whoever is still connected."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.superuser_url.format("postgres"), autocommit=True) as conn:
            conn.execute(statement)


class ServerOwner:
    """The server in the process that owns it; started on demand, stopped by its own handle."""

    def __init__(self) -> None:
        self._postgres: EmbeddedPostgres | None = None
        self._home: Path | None = None

    def server(self) -> Server:
        """The server with its migrated template."""
        if self._postgres is None:
            _sweep_homes_of_killed_runs()
            self._home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
            self._postgres = embedded_postgres.start(self._home, durable=False)
            schema.migrate(self._postgres.owner_url)
        urls = {
            role: self._postgres.url_of(role, database="{}").replace("%7B%7D", "{}")
            for role in (OWNER_ROLE, SERVICE_ROLE, SUPERUSER)
        }
        return Server(owner_url=urls[OWNER_ROLE], service_url=urls[SERVICE_ROLE], superuser_url=urls[SUPERUSER])

    def stop(self) -> None:
        """Stop the server if it was started and remove what it kept."""
        if self._postgres is not None:
            self._postgres.stop()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)


OWNER = pytest.StashKey[ServerOwner]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[OWNER] = ServerOwner()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """xdist, in the controller: what a worker is told when it starts."""
    server = node.config.stash[OWNER].server()  # type: ignore[attr-defined]  # xdist has no types
    node.workerinput["hakem_server"] = (  # type: ignore[attr-defined]  # likewise
        server.owner_url,
        server.service_url,
        server.superuser_url,
    )


# What takes a worker longest, first: whole modules go to one worker, and the last to begin must not be a long one.
LONG_MODULES: Final = (
    "test_console_pages",
    "test_ops_backfill_wallet_balances",
    "test_jobs",
    "test_rollout_processes",
    "test_crash_recovery",
    "test_api_schema",
    "test_payouts_end_to_end",
    "test_player_import",
    "test_settlement_commands",
    "test_ops_verify_live",
    "test_docs",
    "test_cli_people",
    "test_runbook",
    "test_operations_guide",
    "test_wallet_client",
    "test_withdrawal_races",
    "test_psp_mock_adapter",
    "test_psp_webhook_route",
    "test_demo",
    "test_monitor",
    "test_evidence",
    "test_rollout_flip",
    "test_reconciliation_runs",
    "test_ledger_lone_and_batch",
)
LENGTHS: Final = {name: number for number, name in enumerate(LONG_MODULES)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LENGTHS.get(item.path.stem, len(LENGTHS)))


def pytest_unconfigure(config: pytest.Config) -> None:
    if OWNER in config.stash:
        config.stash[OWNER].stop()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """The run's PostgreSQL."""
    if OWNER in request.config.stash:
        return request.config.stash[OWNER].server()
    owner_url, service_url, superuser_url = request.config.workerinput["hakem_server"]  # type: ignore[attr-defined]  # set by xdist
    return Server(owner_url=owner_url, service_url=service_url, superuser_url=superuser_url)


@pytest.fixture(scope="session")
def database(server: Server) -> Database:
    """This worker's migrated database; it goes with the server."""
    return server.create()


@pytest.fixture(scope="session")
def owner_url(database: Database) -> str:
    """URL of the role that owns the schema."""
    return database.owner_url


@pytest.fixture(scope="session")
def service_url(database: Database) -> str:
    """URL of the role the service logs in as."""
    return database.service_url


@pytest.fixture(scope="session")
async def pools(database: Database) -> AsyncIterator[Pools]:
    """The service's connection pools on this worker's database."""
    async with factories.open_pools(database) as opened:
        yield opened


@pytest.fixture(scope="session")
async def owner(database: Database) -> AsyncIterator[Owner]:
    """The owner's connection to this worker's database, in autocommit."""
    async with factories.connect_owner(database) as conn:
        yield conn


@pytest.fixture(scope="module")
def own_database(server: Server) -> Iterator[Database]:
    """A module's own database: what other tests' providers, workers and monitors do cannot reach it."""
    database = server.create()
    yield database
    server.drop(database)


@pytest.fixture(scope="module")
async def own_pools(own_database: Database) -> AsyncIterator[Pools]:
    """The service's connection pools on the module's own database."""
    async with factories.open_pools(own_database) as opened:
        yield opened


@pytest.fixture(scope="module")
async def own_owner(own_database: Database) -> AsyncIterator[Owner]:
    """The owner's connection to the module's own database, in autocommit."""
    async with factories.connect_owner(own_database) as conn:
        yield conn


@pytest.fixture(scope="session")
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on this worker's database."""
    async with api_client.serving(database) as client:
        yield client


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that does not exist yet, for a service of a test's own.

    Not tmp_path: another run of pytest closes its parent folder to the account that the embedded server runs as.
    """
    with tempfile.TemporaryDirectory(prefix=f"{HOME_PREFIX}service-") as folder:
        yield Path(folder) / "home"


@pytest.fixture
def new_database(server: Server) -> Iterator[Callable[..., Database]]:
    """Makes databases for one test (`migrated=False`: empty ones) and drops them after it."""
    made: list[Database] = []

    def create(*, migrated: bool = True) -> Database:
        made.append(server.create(migrated=migrated))
        return made[-1]

    yield create
    for database in made:
        server.drop(database)


def _sweep_homes_of_killed_runs() -> None:
    an_hour_ago = time.time() - 3600
    for home in Path(tempfile.gettempdir()).glob(f"{HOME_PREFIX}*"):
        # A fresh home may belong to a run that is just starting; an old one in use refuses to stop.
        with contextlib.suppress(EmbeddedPostgresError, OSError):
            status = home.stat()
            if status.st_uid == os.getuid() and status.st_mtime < an_hour_ago:
                embedded_postgres.stop_unused(home)
                shutil.rmtree(home)
