"""`hakem db`, typed as an operator types it: output and exit codes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from backend.tests import commands
from backend.tests.conftest import Database

MakeDatabase = Callable[..., Database]


def hakem(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*commands.words(), *arguments],
        env=commands.surroundings() | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_embedded_database_is_migrated_shown_and_stopped(home: Path) -> None:
    before = hakem("db", "status", HAKEM_HOME=str(home))
    assert (before.returncode, before.stdout.split()[0]) == (1, "current=none")
    migrated = hakem("db", "migrate", HAKEM_HOME=str(home))
    assert migrated.returncode == 0, migrated.stderr
    assert migrated.stdout.startswith("applied 0001")
    assert hakem("db", "status", HAKEM_HOME=str(home)).returncode == 0
    url = hakem("db", "url", HAKEM_HOME=str(home)).stdout.strip()
    with psycopg.connect(url) as conn:
        assert conn.info.user == "hakem_owner"
    assert hakem("db", "stop", HAKEM_HOME=str(home)).stdout == "stopped\n"
    assert hakem("db", "stop", HAKEM_HOME=str(home)).stdout == "not running\n"


def test_external_database_is_used_and_never_stopped(new_database: MakeDatabase) -> None:
    database = new_database(migrated=False)
    urls = {"DATABASE_URL": database.service_url, "DATABASE_OWNER_URL": database.owner_url}
    assert hakem("db", "status", **urls).returncode == 1
    assert hakem("db", "migrate", **urls).returncode == 0
    assert hakem("db", "status", **urls).returncode == 0
    assert hakem("db", "url", **urls).stdout.strip() == database.owner_url


def test_one_external_url_migrates_and_serves(new_database: MakeDatabase) -> None:
    database = new_database(migrated=False)
    done = hakem("db", "migrate", DATABASE_URL=database.superuser_url)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_URL": "postgresql://nobody:hush@127.0.0.1:1/none"}, "does not answer"),
        ({"DATABASE_URL": "mysql://hush"}, "DATABASE_URL is not a PostgreSQL URL"),
        ({"DATABASE_OWNER_URL": "postgresql://x"}, "set both or none"),
        ({"LEDGER_SHADOW_WRITE": "perhaps"}, "LEDGER_SHADOW_WRITE"),
    ],
)
def test_broken_environment_is_exit_code_3_without_traceback(environment: dict[str, str], said: str) -> None:
    done = hakem("db", "status", **environment)
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


def test_unknown_command_is_exit_code_2() -> None:
    assert hakem("db", "destroy").returncode == 2
