"""Signing in: throttled by account and by address, and telling nobody which accounts exist.

POST body ─ api ─▶ SignInCommand                                            + now
  [read]   what was counted against the account and the address; the account's hash
  [effect] the hash is compared, or one of nobody when there is no such account
  [write]  a failure is counted in one statement; a success clears the account
  [pure]   the account's id, InvalidCredentials, or RateLimited
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.people import password
from backend.app.domain.people.sign_in import Credentials, InvalidCredentials, Realm, SignInCommand, ensure_not_blocked
from backend.app.repositories import player_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.people import admin_repo, sign_in_repo
from backend.app.services.people.passwords import Passwords

log = structlog.get_logger()

# A guesser makes a row per invented account; what one run leaves over, the next one takes.
SWEEP_BATCH: Final = 1000
SWEEP_BATCHES_MAX: Final = 100


class SignIn:
    """The sign-in service. Built once per process; what it counts is in the database."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def read_clock(self) -> datetime:
        """The database's time. Read before a password is looked at, it tells whether the account changed meanwhile."""
        async with self._database.connection() as conn:
            return await sign_in_repo.read_clock(conn)

    async def sign_in(self, command: SignInCommand) -> UUID:
        """The id of the account whose password this is. Raises InvalidCredentials or RateLimited."""
        async with self._passwords.turn():
            # Asked when it is this one's turn: of many that were sent at once, most are refused without a hash.
            async with self._database.connection() as conn:
                counted = await sign_in_repo.list_failures(conn, command.subjects, now=command.now)
                ensure_not_blocked(counted, command=command, including_this=False)
                account = await _find(conn, command)
            password_hash = account.password_hash if account else None
            is_match = await self._passwords.matches(command.password, password_hash=password_hash)
        if account is None or not is_match or not account.is_active:
            await self._refuse(command)
            raise InvalidCredentials
        await self._accept(command)
        await self._upgrade(command, account)
        if command.realm is Realm.ADMIN:
            async with self._database.connection() as conn:
                await admin_repo.note_sign_in(conn, admin_id=account.id)
        log.info("sign_in.accepted", realm=command.realm.value, account_id=str(account.id))
        return account.id

    async def sweep(self, now: datetime) -> int:
        """Forget failures whose window is over; a job. How many subjects were forgotten."""
        swept = 0
        for _ in range(SWEEP_BATCHES_MAX):
            async with self._database.connection() as conn:
                count = await sign_in_repo.sweep_failures(conn, now=now, limit=SWEEP_BATCH)
            swept += count
            if count < SWEEP_BATCH:
                break
        return swept

    async def _refuse(self, command: SignInCommand) -> None:
        async with self._database.connection() as conn:
            counted = await sign_in_repo.count_failure(conn, command.subjects, now=command.now)
        log.warning("sign_in.refused", realm=command.realm.value, client_address=command.client_address)
        ensure_not_blocked(counted, command=command, including_this=True)

    async def _accept(self, command: SignInCommand) -> None:
        """Clear the account, unless failures counted meanwhile block it: guessing in parallel gains nothing."""
        async with self._database.connection() as conn:
            counted = await sign_in_repo.list_failures(conn, command.subjects, now=command.now)
            ensure_not_blocked(counted, command=command, including_this=False)
            if any(failures.key == command.account.key for failures in counted):
                await sign_in_repo.clear_failures(conn, command.account, now=command.now)

    async def _upgrade(self, command: SignInCommand, account: Credentials) -> None:
        """Now that the password is known, keep it by today's parameters."""
        outdated = account.password_hash
        if outdated is None or not self._passwords.is_outdated(outdated):
            return
        upgraded = await self._passwords.hash(password.comparable(command.password))
        async with self._database.connection() as conn:
            if command.realm is Realm.ADMIN:
                await admin_repo.upgrade_hash(conn, admin_id=account.id, outdated_hash=outdated, password_hash=upgraded)
            elif command.tenant_id is not None:
                await player_repo.upgrade_hash(
                    conn, command.tenant_id, player_id=account.id, outdated_hash=outdated, password_hash=upgraded
                )
        log.info("sign_in.hash_upgraded", realm=command.realm.value, account_id=str(account.id))


async def _find(conn: Connection, command: SignInCommand) -> Credentials | None:
    if command.realm is Realm.ADMIN:
        return await admin_repo.find_credentials(conn, email=command.email)
    assert command.tenant_id is not None, "a player signs in to a tenant"
    return await player_repo.find_credentials(conn, command.tenant_id, email=command.email)
