"""Migrations: repeatable, safe to race, and equal to the schema.sql that people read."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from backend.app.repositories import schema
from backend.app.repositories.faults import DatabaseUnavailable, DatabaseUnsuitable
from backend.app.repositories.schema_dump import dump_schema
from backend.scripts.write_schema import SCHEMA_FILE
from backend.tests.conftest import Database

MakeDatabase = Callable[..., Database]


def test_schema_file_equals_the_migrations(owner_url: str) -> None:
    assert dump_schema(owner_url) == SCHEMA_FILE.read_text("utf-8"), "run `make schema`"


def test_migrating_an_empty_database_runs_everything_once(new_database: MakeDatabase) -> None:
    url = new_database(migrated=False).owner_url
    before = schema.status(url)
    assert before.current is None
    assert before.pending[-1] == before.head
    after = schema.migrate(url)
    assert after.is_current
    assert after.current == before.head
    assert schema.migrate(url) == after


def test_services_that_start_together_migrate_once(new_database: MakeDatabase) -> None:
    url = new_database(migrated=False).owner_url
    with ThreadPoolExecutor(4) as pool:
        assert {status.pending for status in pool.map(schema.migrate, [url] * 4)} == {()}


def test_service_role_may_ask_for_the_status(database: Database) -> None:
    assert schema.status(database.service_url).is_current


def test_database_of_a_newer_release_is_refused(new_database: MakeDatabase) -> None:
    url = new_database().owner_url
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999_future'")
    with pytest.raises(DatabaseUnsuitable, match="9999_future"):
        schema.status(url)


def test_database_that_is_away_is_named(new_database: MakeDatabase) -> None:
    url = new_database().owner_url.replace("/test_", "/gone_")
    with pytest.raises(DatabaseUnavailable, match="gone_"):
        schema.status(url)
    with pytest.raises(DatabaseUnavailable, match="gone_"):
        schema.migrate(url)


def test_separate_login_may_become_the_service(new_database: MakeDatabase) -> None:
    database = new_database()
    login = f"login_of_{database.name}"
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'of-this-test'")
        with pytest.raises(DatabaseUnsuitable, match=f'GRANT "hakem_service" TO "{login}"'):
            schema.migrate(database.owner_url, service_login=login)
        schema.migrate(database.superuser_url, service_login=login)
        try:
            conn.execute(f"SET SESSION AUTHORIZATION {login}")
            conn.execute("SET ROLE hakem_service")
        finally:
            conn.execute("RESET SESSION AUTHORIZATION")
            conn.execute(f"DROP ROLE {login}")
