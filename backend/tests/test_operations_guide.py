"""The operations guide is typed from top to bottom, on a PostgreSQL of its own: roles, units, two restores, upgrade."""

import asyncio
import re
import shlex
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import UUID

import httpx
import psycopg
import pytest

from backend.app.repositories.embedded.account import Account, binaries, server_account
from backend.app.repositories.embedded.cluster import PORT, SUPERUSER, Cluster
from backend.app.repositories.embedded.postgres import OWNER_ROLE, SERVICE_ROLE
from backend.config import CHECKOUT
from backend.tests import factories, typed_pages
from backend.tests.conftest import Database
from backend.tests.processes import ServeProcess, WorkerProcess
from backend.tests.test_deploy_units import SYSTEMD, directives

GUIDE: Final = CHECKOUT / "docs" / "operations.md"
GUIDE_TR: Final = CHECKOUT / "docs" / "operations.tr.md"
SQL_DATABASE: Final = "hakem"
# With what a URL, a shell and a file of passwords all take as it stands.
PASSWORDS: Final = {
    SUPERUSER: "the-superuser-of-one-test",
    OWNER_ROLE: "the-owner-of-one-test",
    SERVICE_ROLE: "the-service-of-one-test",
}
SERVER_URL: Final = re.compile(r"postgresql://(\w+)(:[^@\"\s]*)?@db\.internal(?::(\d+))?/(\w+)")
FOLDERS: Final = ("/etc/hakem", "/etc/systemd/system", "/var/backups/hakem")


@dataclass(slots=True)
class Site:
    """A host as the guide means it, below one folder: a database server, /etc, /var/backups."""

    folder: Path
    cluster: Cluster
    account: Account
    socket_folder: Path
    service_url: str = "http://127.0.0.1:8001"

    def url(self, role: str, database: str, *, password: str = "", port: int = PORT) -> str:
        """A libpq URL at this host's server."""
        return f"postgresql://{role}{password}@/{database}?host={quote(str(self.socket_folder), safe='')}&port={port}"

    @property
    def database(self) -> Database:
        """The database that the guide makes."""
        urls = {role: self.url(role, SQL_DATABASE, password=f":{password}") for role, password in PASSWORDS.items()}
        return Database(
            name=SQL_DATABASE,
            owner_url=urls[OWNER_ROLE],
            service_url=urls[SERVICE_ROLE],
            superuser_url=urls[SUPERUSER],
        )

    def adapt(self, text: str) -> str:
        """The guide's text with this host's addresses and folders."""
        text = SERVER_URL.sub(
            lambda match: self.url(match[1], match[4], password=match[2] or "", port=int(match[3] or PORT)), text
        )
        for folder in FOLDERS:
            text = text.replace(folder, str(self.folder) + folder)
        return text.replace("http://127.0.0.1:8001", self.service_url)

    def environment(self) -> dict[str, str]:
        """What an operator has in the shell."""
        return {
            "PGPASSFILE": str(self.folder / "passwords"),
            "PGCONNECT_TIMEOUT": "10",
            "HAKEM_OWNER_PASSWORD": PASSWORDS[OWNER_ROLE],
            "HAKEM_SERVICE_PASSWORD": PASSWORDS[SERVICE_ROLE],
            "HAKEM_PASSWORD": "the-platform-owner-of-one-test",
            "HAKEM_HOME": str(self.folder / "home"),
            "BACKUPS": str(self.folder / "dumps"),
        }

    def unit_environment(self, *files: str) -> dict[str, str]:
        """What systemd reads out of the files that the guide made; of a name that comes twice the last counts."""
        lines = [line for file in files for line in (self.folder / "etc/hakem" / file).read_text("utf-8").splitlines()]
        said = dict(line.partition("=")[::2] for line in lines if line and not line.startswith("#"))
        return {**said, "HAKEM_HOME": str(self.folder / "home")}


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    """The host before anything was done: a server with a superuser, and empty folders."""
    home.mkdir()
    cluster = Cluster(home)
    cluster.initialise(superuser_password=PASSWORDS[SUPERUSER], durable=True)
    postmaster = cluster.start(durable=True)
    try:
        account = server_account(cluster.data)
        for folder in FOLDERS:
            (home / folder.removeprefix("/")).mkdir(parents=True)
        account.own(home / "var/backups/hakem")
        account.reach(home / "var/backups/hakem/wal")
        (home / "tools").mkdir()
        made = Site(folder=home, cluster=cluster, account=account, socket_folder=postmaster.socket_folder)
        _write_passwords(made)
        _write_systemctl(made)
        yield made
    finally:
        cluster.stop()


def _write_passwords(site: Site) -> None:
    lines = "".join(f"*:*:*:{role}:{password}\n" for role, password in PASSWORDS.items())
    for name in ("passwords", "passwords-of-postgres"):
        path = site.folder / name
        path.write_text(lines)
        path.chmod(0o600)
    site.account.own(site.folder / "passwords-of-postgres")


def _write_systemctl(site: Site) -> None:
    """A systemctl that keeps a record, and really restarts PostgreSQL."""
    restart = (binaries() / "pg_ctl", "restart", "--silent", "--wait", "-D", site.cluster.data, "-l", site.cluster.log)
    words = " ".join(shlex.quote(str(word)) for word in (*as_account(site), *restart))
    typed_pages.write_program(
        site.folder / "tools" / "systemctl",
        f'echo "$*" >> "{site.folder}/systemctl.log"\nif [ "$*" = "restart postgresql" ]; then cd /; {words}; fi\n',
    )


def as_account(site: Site) -> tuple[str, ...]:
    """Words before a command that make it run as the account of the server."""
    if not site.account.is_other:
        return ("env",)
    drop = (
        "import os, sys; os.setgroups([]); "
        f"os.setgid({site.account.gid}); os.setuid({site.account.uid}); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return (sys.executable, "-c", drop)


@asynccontextmanager
async def units_running(site: Site) -> AsyncIterator[ServeProcess]:
    """What `systemctl enable --now` starts, by the words of the units and the environment of the guide's file."""
    environment = site.unit_environment("hakem.env")
    (command,) = directives(SYSTEMD / "hakem.service")["ExecStart"]
    words = shlex.split(command)
    at = words.index("--port")
    service = ServeProcess(
        site.folder, environment=environment, arguments=(*words[2:at], *words[at + 2 :])
    )  # ServeProcess takes a free port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics_port = taken.getsockname()[1]
    (command,) = directives(SYSTEMD / "hakem-worker.service")["ExecStart"]
    assert shlex.split(command)[1:3] == ["worker", "--metrics-port"]
    worker = WorkerProcess(site.folder, environment=environment, arguments=("--metrics-port", str(metrics_port)))
    try:
        await asyncio.gather(service.start(), worker.start())
        async with httpx.AsyncClient() as client:
            shown = await client.get(f"http://127.0.0.1:{metrics_port}/metrics")
        assert "hakem_job_runs" in shown.text
        yield service
        assert (service.stop(), worker.stop()) == (0, 0)
    finally:
        service.stop()
        worker.stop()


async def post_deposits(site: Site, tenant_id: UUID | None = None) -> UUID:
    """Three players of a tenant pay in."""
    async with factories.connect_owner(site.database) as owner, factories.open_pools(site.database) as pools:
        tenant_id = tenant_id or await factories.make_tenant(owner)
        players = await factories.make_players(owner, tenant_id, 3, available=100_00)
        for player in players:
            await factories.post(pools, factories.deposit(player, 5_00))
    return tenant_id


def transactions(site: Site) -> int:
    """How many transactions the live ledger has."""
    with psycopg.connect(site.database.owner_url) as conn:
        row = conn.execute("SELECT count(*) FROM ledger_transactions").fetchone()
    assert row is not None
    return int(row[0])


async def test_guide_can_be_typed_from_top_to_bottom(site: Site) -> None:
    blocks = typed_pages.shell_blocks(GUIDE)
    environment = site.environment()
    # psql of the other account reads a file of its own; nothing else differs.
    as_postgres = (*as_account(site), "env", f"PGPASSFILE={site.folder}/passwords-of-postgres")
    typed: list[typed_pages.Block] = []

    with typed_pages.Shell(
        site.folder,
        environment=environment,
        programs=(binaries(),),
        adapt=site.adapt,
        as_postgres=as_postgres,
        working_folder=CHECKOUT,
    ) as shell:

        async def type_section(heading: str, *, first: int = 0, last: int | None = None) -> str:
            under = [block for block in blocks if block.heading == heading][first:last]
            assert under, heading
            typed.extend(under)
            return "".join([await asyncio.to_thread(shell.type, block.text) for block in under])

        printed = await type_section("Roles on your PostgreSQL")
        assert "schema is at" in printed
        assert "created owner owner@example.com" in printed

        await type_section("Deploy with systemd", last=1)
        async with units_running(site) as service:
            site.service_url = service.url
            assert '"status":"ready"' in await type_section("Deploy with systemd", first=1)
            tenant_id = await post_deposits(site)
            before = transactions(site)
            assert before >= 3

            printed = await type_section("Back up, and prove it")
            assert "pending=0" in printed
            assert f"clean: tenants=1 players=3 transactions={before} differences=0" in printed

            await type_section("Back to a moment", last=2)
            await until_ready(service)
            await type_section("Back to a moment", first=2, last=3)
            # What happened after the moment is not there when the server has gone back to it.
            await post_deposits(site, tenant_id)
            assert transactions(site) > before
            printed = await type_section("Back to a moment", first=3)
            assert f"clean: tenants=1 players=3 transactions={before} differences=0" in printed

            assert '"status":"ready"' in await type_section("Upgrade")

    assert typed == blocks
    ordered = (site.folder / "systemctl.log").read_text().split()
    units = {word for word in ordered if word not in {"daemon-reload", "start", "restart", "enable", "--now"}}
    assert units == {*(unit.stem for unit in SYSTEMD.glob("*.service")), "postgresql"}


async def until_ready(service: ServeProcess) -> None:
    """The service found its database again by itself."""
    async with httpx.AsyncClient() as client:

        async def is_ready() -> bool:
            return (await client.get(f"{service.url}/readyz")).status_code == httpx.codes.OK

        await factories.eventually(is_ready, what="the service is ready again")


def test_server_in_front_is_told_addresses_that_exist() -> None:
    for guide in (GUIDE, GUIDE_TR):
        config = re.search(r"^```nginx\n(.*?)^```$", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        assert config is not None
        assert set(re.findall(r"location (\S+)", config[1])) == {"/metrics", "/"}
        assert "proxy_set_header X-Forwarded-For $remote_addr;" in config[1]


@pytest.mark.parametrize("guide", [GUIDE, GUIDE_TR], ids=lambda path: path.name)
def test_keys_that_stand_in_the_way_of_distribution_are_listed(guide: Path, owner_url: str) -> None:
    table = re.search(
        r"<!-- keys without player_id.*?-->\n(.*?)<!-- end of keys -->", guide.read_text("utf-8"), re.DOTALL
    )
    assert table is not None
    listed = {
        row[0]: sorted(re.findall(r"`(\w+)`", row[1]))
        for row in re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", table[1], re.MULTILINE)
    }
    with psycopg.connect(owner_url) as conn:
        rows = conn.execute(
            """
            SELECT class.relname, array_remove(array_agg(
                CASE WHEN index.indisunique AND NOT players.attnum = ANY(index.indkey) THEN key.relname END
                ORDER BY key.relname
            ), NULL)
            FROM pg_class AS class
            INNER JOIN pg_attribute AS players ON players.attrelid = class.oid
                AND players.attname = CASE class.relname WHEN 'players' THEN 'id' ELSE 'player_id' END
            LEFT JOIN pg_index AS index ON index.indrelid = class.oid
            LEFT JOIN pg_class AS key ON key.oid = index.indexrelid
            WHERE class.relkind IN ('r', 'p') AND class.relnamespace = 'public'::REGNAMESPACE
            GROUP BY class.relname
            """
        ).fetchall()
    assert listed == {table_name: sorted(keys) for table_name, keys in rows}, (
        f"bring the table in {guide.name} up to date"
    )
