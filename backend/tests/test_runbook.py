"""The runbook is typed from top to bottom, on a tenant that has everything in it that the runbook is about."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import psycopg
import pytest

from backend.app.repositories.embedded.account import binaries
from backend.config import CHECKOUT
from backend.tests import factories, typed_pages
from backend.tests.conftest import HOME_PREFIX, Database, Server
from backend.tests.factories import Player
from backend.tests.fixtures import NO_PASSWORD
from backend.tests.processes import ServeProcess, WorkerProcess, running_service

RUNBOOK: Final = CHECKOUT / "docs" / "runbook.md"
RUNBOOK_TR: Final = CHECKOUT / "docs" / "runbook.tr.md"
OWNER_EMAIL: Final = "owner@example.com"

# Words of blocks that cannot be typed yet, and what has to be there first. A test fails as soon as it is there: then
# the line goes, and the block is typed like every other. For yarn that means: the program below sees what it is asked
# for.
WAITING: Final = {
    "hakem reconcile": "backend/scripts/reconcile.py",
    "payments/reconciliation/": "backend/app/api/reconciliation.py",
    "hakem rollout evaluate": "backend/scripts/rollout_monitor.py",
    "yarn test:e2e": "e2e/package.json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running service, and a tenant with players whose wallets nobody has opened."""

    service: ServeProcess
    database: Database
    home: Path
    tenant_id: UUID
    players: list[Player]


@pytest.fixture(scope="module")
async def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    database = server.create()
    home = tmp_path_factory.mktemp(HOME_PREFIX) / "home"
    environment = {"DATABASE_URL": database.service_url, "DATABASE_OWNER_URL": database.owner_url}
    try:
        async with factories.connect_owner(database) as owner:
            await owner.execute(
                "INSERT INTO admins (id, email, password_hash, role) VALUES (%s, %s, %s, 'owner')",
                (uuid4(), OWNER_EMAIL, NO_PASSWORD),
            )
            tenant_id = await factories.make_tenant(owner)
            players = [await factories.make_player(owner, tenant_id, available=50_00, held=5_00) for _ in range(3)]
        async with running_service(home, environment=environment) as service:
            yield Site(service=service, database=database, home=home, tenant_id=tenant_id, players=players)
    finally:
        server.drop(database)


def another_system_writes_a_balance(site: Site) -> None:
    """What the comparison of both sides is for."""
    with psycopg.connect(site.database.owner_url) as conn:
        conn.execute(
            "UPDATE players SET balance_real_available = balance_real_available + 700 WHERE id = %s",
            (site.players[0].id,),
        )


async def test_runbook_can_be_typed_from_top_to_bottom(site: Site) -> None:
    blocks = typed_pages.shell_blocks(RUNBOOK)
    tools = site.home / "tools"
    tools.mkdir()
    typed_pages.write_program(tools / "systemctl", f'echo "$*" >> "{site.home}/systemctl.log"\n')
    typed_pages.write_program(
        tools / "yarn",
        '[ "$1 $2" = "test:e2e --" ]\ngrep -q \'"test:e2e"\' package.json\ntest -f "$3"\n',
    )
    (site.home / "hakem.env").touch()

    def adapt(text: str) -> str:
        text = text.replace("TENANT=00000000-0000-0000-0000-000000000000", f"TENANT={site.tenant_id}")
        text = text.replace("API=http://127.0.0.1:8001", f"API={site.service.url}")
        return text.replace("/etc/hakem/hakem.env", str(site.home / "hakem.env"))

    printed: dict[str, str] = {}
    left_out = []
    with typed_pages.Shell(
        site.home,
        environment=site.service.environment,
        programs=(binaries(),),
        adapt=adapt,
        working_folder=CHECKOUT,
    ) as shell:
        for block in blocks:
            if any(words in block.text for words in WAITING):
                left_out.append(block)
                continue
            if block.heading == "When both sides differ":
                another_system_writes_a_balance(site)
            if "systemctl restart" in block.text:
                said = await asyncio.to_thread(shell.type, block.text)
                killing = await start_with(site, (site.home / "hakem.env").read_text())
            else:
                said = await asyncio.to_thread(shell.type, block.text)
            printed[block.heading] = printed.get(block.heading, "") + said
    killing.stop()

    assert all(any(words in block.text for words in WAITING) for block in left_out)
    assert len(left_out) + sum(1 for block in blocks if block not in left_out) == len(blocks)
    assert "scanned=3 created=3" in printed["3. Backfill"]
    assert "scanned=3 created=0 skipped_exists=3" in printed["3. Backfill"]
    assert "updated_forced=1" in printed["When both sides differ"]
    assert "clean: tenants=1 players=3" in printed["When both sides differ"]
    assert "arbiter=ledger" in printed["4. Enforce"]
    assert "stage=enforced" in printed["5. Checklist"]
    assert "rolled_back=" in printed["6. Rollback"]
    assert "legacy|environment_false" in printed["6. Rollback"]
    assert (site.home / "systemctl.log").read_text() == "restart hakem hakem-worker\n"


async def start_with(site: Site, environment_file: str) -> WorkerProcess:
    """A process that is started with what the runbook has written into its environment."""
    said = dict(line.partition("=")[::2] for line in environment_file.splitlines())
    assert said == {"LEDGER_ENFORCE_BALANCE": "False"}
    worker = WorkerProcess(site.home, environment={**site.service.environment, **said})
    await worker.start()
    return worker


@pytest.mark.parametrize(("words", "path"), WAITING.items())
def test_block_is_left_out_only_while_its_subject_is_missing(words: str, path: str) -> None:
    blocks = [block for block in typed_pages.shell_blocks(RUNBOOK) if words in block.text]
    assert blocks, f"{words} stands in no block: take it out of WAITING"
    assert not (CHECKOUT / path).exists(), f"{path} is there: take {words!r} out of WAITING"


def test_both_languages_say_the_same_commands() -> None:
    assert typed_pages.commands(RUNBOOK_TR) == typed_pages.commands(RUNBOOK)


def test_map_names_every_page() -> None:
    pages = {path.name for path in (CHECKOUT / "docs").glob("*.md")} - {"README.md"}
    text = (CHECKOUT / "docs" / "README.md").read_text("utf-8")
    assert [name for name in sorted(pages) if f"]({name})" not in text] == []


def test_forked_command_ends_like_the_command_itself(site: Site) -> None:
    """The tool that makes these tests quick must not change what they see."""
    environment = {**site.service.environment, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    alone = subprocess.run(
        [sys.executable, "-m", "backend.scripts", "db", "status"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 3
    folder = site.home / "forked"
    folder.mkdir()
    with typed_pages.Shell(folder, environment=environment) as shell:
        shell.type("hakem db status 2> said    # exit 3: nobody is there\n")
        shell.type("hakem nonsense 2> usage    # exit 2: usage\n")
    assert (folder / "said").read_text() == alone.stderr
    assert json.dumps((folder / "usage").read_text())
