"""Hashing passwords: argon2id, beside the event loop, and never more at once than there are cores."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.people import password
from backend.app.repositories import home

# More than this waiting for their turn would wait for longer than a client does.
WAITING_MAX: Final = 256


class TooManySignIns(TemporarilyUnavailable):
    """503: the cores are busy with other people's passwords."""

    error_code = "SIGN_IN_BUSY"
    title = "Too many people are signing in at once"


class Passwords:
    """Hashes and compares passwords. Built once per process; parameters are RFC 9106 §4's second recommendation."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._turns = asyncio.Semaphore(os.cpu_count() or 1)
        self._waiting = 0
        # What the password of an account that does not exist is compared with, so that both take the same time.
        self._nobody = self._hasher.hash(home.random_password())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of the few places to hash in. Raises TooManySignIns rather than to let the queue grow for ever."""
        if self._waiting >= WAITING_MAX:
            raise TooManySignIns
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def hash(self, text: str) -> str:
        """The hash of a password that domain.password has accepted; salted, with its parameters."""
        async with self.turn():
            return await asyncio.to_thread(self._hasher.hash, text)

    async def matches(self, text: str, *, password_hash: str | None) -> bool:
        """Whether this is the password of the hash. Takes as long without a hash. Call within `turn()`."""
        is_match = await asyncio.to_thread(self._verify, password.comparable(text), password_hash or self._nobody)
        return is_match and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, text: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, text)
        except (VerificationError, InvalidHashError):
            return False
