"""Brings a database to the schema of this release, and tells how far it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from backend.app.repositories.faults import DatabaseUnavailable, DatabaseUnsuitable
from backend.app.sql import migrations

SERVICE_ROLE = "hakem_service"
JOBS_SCHEMA = "procrastinate"

# Any constant will do, as long as nothing else uses it: two services that start together take turns.
MIGRATION_LOCK = 0x48414B454D
MIGRATION_LOCK_TIMEOUT = "120s"
CONNECT_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStatus:
    """Where a database stands: its revision (None when empty), the newest one, and those still to run."""

    current: str | None
    head: str
    pending: tuple[str, ...]

    @property
    def is_current(self) -> bool:
        """Whether nothing is left to migrate."""
        return not self.pending


def status(url: str) -> SchemaStatus:
    """How far the database is; reads one row, so the service's role may ask too.

    Raises DatabaseUnavailable, and DatabaseUnsuitable when a newer release migrated it.
    """
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS) as conn:
            return _status(conn)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"the database does not answer: {one_line(error)}") from error


def head_revision() -> str:
    """The newest revision of this release; asks no database."""
    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    assert head is not None, "a release has migrations"
    return head


def migrate(owner_url: str, *, service_login: str | None = None) -> SchemaStatus:
    """Run every pending revision as the owner, each in a transaction; returns where the database then stands.

    The role hakem_service exists afterwards; `service_login`, when given and another role, may become it.
    Harmless when repeated or called by several processes at once. Raises DatabaseUnavailable or
    DatabaseUnsuitable.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(owner_url, connect_timeout=CONNECT_TIMEOUT_SECONDS),
        poolclass=NullPool,
    )
    try:
        with psycopg.connect(owner_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS) as guard:
            guard.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(MIGRATION_LOCK_TIMEOUT)))
            guard.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            ensure_service_role(guard, login=service_login)
            if not _status(guard).is_current:
                _ensure_schemas_can_be_made(guard)
                config = _alembic_config()
                with engine.connect() as connection:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
            guard.execute(sql.SQL("GRANT SELECT ON public.alembic_version TO {}").format(sql.Identifier(SERVICE_ROLE)))
            return _status(guard)
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseUnavailable(f"the migration waited too long for a lock: {one_line(error)}") from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"the database does not answer: {one_line(error)}") from error


def ensure_service_role(conn: psycopg.Connection, *, login: str | None = None) -> None:
    """Make the role hakem_service when it is missing, and let `login`, when given, become it.

    Raises DatabaseUnsuitable with the statements for an administrator when this session may not do that.
    """
    role = sql.Identifier(SERVICE_ROLE)
    statements = []
    if not _is_true(conn, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s)", SERVICE_ROLE):
        statements.append(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
    if login not in {None, SERVICE_ROLE} and (statements or not _can_become_service(conn, login)):
        statements.append(sql.SQL("GRANT {} TO {}").format(role, sql.Identifier(login)))
    for statement in statements:
        try:
            conn.execute(statement)
        except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            # Roles belong to the whole server: the migration of another database was faster.
            continue
        except psycopg.errors.InsufficientPrivilege as error:
            needed = "; ".join(statement.as_string(conn) for statement in statements)
            raise DatabaseUnsuitable(
                f"this role may not prepare the service's role. Let an administrator run: {needed}"
            ) from error


def _ensure_schemas_can_be_made(conn: psycopg.Connection) -> None:
    """Raise DatabaseUnsuitable when this role may not make the schemas that stand beside `public`."""
    if _is_true(conn, "SELECT NOT has_database_privilege(current_database(), 'CREATE')"):
        statement = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
            sql.Identifier(conn.info.dbname), sql.Identifier(conn.info.user)
        )
        raise DatabaseUnsuitable(
            f"this role may not make schemas in this database. Let an administrator run: {statement.as_string(conn)}"
        )


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())


def _can_become_service(conn: psycopg.Connection, login: str) -> bool:
    # Since PostgreSQL 16 a member may still lack the right to SET ROLE.
    right = "SET" if conn.info.server_version >= 160000 else "MEMBER"
    return _is_true(conn, "SELECT pg_has_role(%s, %s, %s)", login, SERVICE_ROLE, right)


def _is_true(conn: psycopg.Connection, query: LiteralString, *parameters: str) -> bool:
    return conn.execute(query, parameters).fetchone() == (True,)


def _status(conn: psycopg.Connection) -> SchemaStatus:
    revisions = ScriptDirectory.from_config(_alembic_config())
    oldest_first = [script.revision for script in revisions.walk_revisions()][::-1]
    current = None
    if _is_true(conn, "SELECT to_regclass('public.alembic_version') IS NOT NULL"):
        row = conn.execute("SELECT version_num FROM public.alembic_version").fetchone()
        current = row[0] if row else None
    if current is not None and current not in oldest_first:
        raise DatabaseUnsuitable(
            f"the database is at revision {current}, which this release does not know: run the newer release"
        )
    done = oldest_first.index(current) + 1 if current else 0
    return SchemaStatus(current=current, head=oldest_first[-1], pending=tuple(oldest_first[done:]))


def _alembic_config() -> Config:
    config = Config()
    folder = Path(migrations.__file__).parent
    # The value goes through configparser, where a percent sign must be doubled.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
