"""Migrations: repeatable, safe to race, and equal to the schema.sql that people read."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from backend.app.repositories import schema
from backend.app.repositories.embedded.cluster import SUPERUSER
from backend.app.repositories.embedded.postgres import OWNER_ROLE
from backend.app.repositories.faults import DatabaseUnavailable, DatabaseUnsuitable
from backend.app.repositories.schema_dump import dump_schema
from backend.app.sql import migrations
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


def migrate_to(url: str, revision: str) -> None:
    """What an older release had done."""
    with psycopg.connect(url, autocommit=True) as conn:
        schema.ensure_service_role(conn)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_database_of_an_older_release_gets_the_job_queue(new_database: MakeDatabase) -> None:
    url = new_database(migrated=False).owner_url
    head = schema.status(url).head
    migrate_to(url, "0005_findings")
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT to_regnamespace('procrastinate')").fetchone() == (None,)
    assert schema.migrate(url).current == head
    assert dump_schema(url) == SCHEMA_FILE.read_text("utf-8")


def test_job_queue_is_the_one_that_the_locked_package_works_with(owner_url: str) -> None:
    """Fails when a new procrastinate brings migrations: docs/decisions/0010 says what to do then."""
    newest = "03.04.00_50_post_add_retry_failed_job_procedure.sql"
    assert migrations.newest_procrastinate_migration() == newest
    with psycopg.connect(owner_url) as conn:
        row = conn.execute("SELECT obj_description('procrastinate'::REGNAMESPACE, 'pg_namespace')").fetchone()
    assert row == (newest,)


def test_role_that_may_not_make_schemas_is_told_what_an_administrator_must_run(new_database: MakeDatabase) -> None:
    database = new_database(migrated=False)
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {database.name} OWNER TO {SUPERUSER}")
        conn.execute(f"GRANT ALL ON SCHEMA public TO {OWNER_ROLE}")
        with pytest.raises(DatabaseUnsuitable, match="Let an administrator run: GRANT CREATE ON DATABASE") as refused:
            schema.migrate(database.owner_url)
        conn.execute(str(refused.value).partition("run: ")[2])
    assert schema.migrate(database.owner_url).is_current


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
