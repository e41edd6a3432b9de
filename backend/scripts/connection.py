"""A command's way to the database: the engine of the settings, with the schema of this release, and a pool on it."""

import getpass
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from backend.app.domain.audit import Actor, ActorKind
from backend.app.repositories.database import Database
from backend.app.repositories.engine import Engine, resolve
from backend.app.repositories.faults import DatabaseUnsuitable
from backend.config import Settings

log = structlog.get_logger()


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database of the settings for the length of a command. Raises DatabaseUnsuitable when it is not migrated."""
    with resolve(settings) as engine:
        if not engine.status().is_current:
            raise DatabaseUnsuitable("the schema is not at this release: run `hakem db migrate`")
        async with open_pools(engine, settings) as database:
            yield database


@asynccontextmanager
async def open_pools(engine: Engine, settings: Settings) -> AsyncIterator[Database]:
    """Pools on an engine that stays the caller's to close."""
    database = Database(engine, settings)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def ensure_schema(engine: Engine, *, is_dev: bool) -> None:
    """Migrate the embedded or a developer's database; elsewhere an operator does that, and readiness says so.

    Raises DatabaseUnsuitable when there is no schema at all.
    """
    if engine.embedded is not None or is_dev:
        engine.migrate()
        return
    status = engine.status()
    if status.current is None:
        raise DatabaseUnsuitable("the database has no schema yet: run hakem db migrate")
    if status.pending:
        log.warning("schema.behind", current=status.current, pending=status.pending)


def operator() -> Actor:
    """Who runs this command, for the audit: the name of the account, or its number where it has none."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return Actor(kind=ActorKind.OPERATOR, actor_id=None, label=name)
