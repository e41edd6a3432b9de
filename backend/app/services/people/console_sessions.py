"""Who is signed in to the console: sessions that the server keeps and can end at any moment.

form ─ console ─▶ SignInCommand
  [read]   the database's clock
  [effect] services/people/sign_in.py: throttled, the password compared
  [write]  the session, unless the account changed since that clock was read
  [effect] the browser gets a token whose hash is stored
"""

import secrets
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.people.console_session import ConsoleSession, Flash, hash_token, session_of
from backend.app.domain.people.sign_in import InvalidCredentials, SignInCommand
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.database import Database
from backend.app.repositories.people import console_session_repo
from backend.app.services.people.sign_in import SignIn

log = structlog.get_logger()

TOKEN_BYTES: Final = 32
# A token of ours is 43 characters; anything much longer is not one and is not hashed.
TOKEN_LENGTH_MAX: Final = 64
SWEEP_BATCH: Final = 1000


class ConsoleSessions:
    """The session service. Built once per process."""

    def __init__(self, database: Database, sign_in: SignIn) -> None:
        self._database = database
        self._sign_in = sign_in

    async def open(self, command: SignInCommand) -> str:
        """Sign an admin in; the new session's token. Raises InvalidCredentials or RateLimited."""
        checked_at = await self._sign_in.read_clock()
        admin_id = await self._sign_in.sign_in(command)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        async with self._database.connection() as conn:
            is_open = await console_session_repo.insert(
                conn, token_hash=hash_token(token), admin_id=admin_id, checked_at=checked_at
            )
        if not is_open:
            raise InvalidCredentials
        log.info("console_session.opened", admin_id=str(admin_id))
        return token

    async def find(self, token: str, *, is_activity: bool) -> ConsoleSession | None:
        """The session of a token, or None when it is over; is_activity: a person did something."""
        if len(token) > TOKEN_LENGTH_MAX:
            return None
        async with self._database.connection() as conn:
            row = await console_session_repo.find(conn, token_hash=hash_token(token), is_activity=is_activity)
        return None if row is None else session_of(token, row)

    async def close(self, token: str) -> None:
        """Sign out."""
        async with self._database.connection() as conn:
            await console_session_repo.delete(conn, token_hash=hash_token(token))
        log.info("console_session.closed")

    async def choose_tenant(self, session: ConsoleSession, tenant_id: UUID | None) -> None:
        """The tenant that an owner's pages are about from now on; None: all. Raises TenantNotFound."""
        async with self._database.connection() as conn:
            if not await console_session_repo.set_scope(conn, tenant_id, token_hash=hash_token(session.token)):
                raise TenantNotFound

    async def say(self, session: ConsoleSession, flash: Flash) -> None:
        """Let the session's next page say something."""
        async with self._database.connection() as conn:
            await console_session_repo.set_flash(conn, flash, token_hash=hash_token(session.token))

    async def forget_flash(self, session: ConsoleSession) -> None:
        """It was said."""
        async with self._database.connection() as conn:
            await console_session_repo.set_flash(conn, None, token_hash=hash_token(session.token))

    async def sweep(self, _: datetime) -> int:
        """Remove sessions that are over; a job. How many."""
        async with self._database.connection() as conn:
            return await console_session_repo.sweep(conn, limit=SWEEP_BATCH)
