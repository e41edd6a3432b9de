"""Signing in: what is counted against whom, and when it is too much."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError

WINDOW: Final = timedelta(minutes=15)
# A person who mistypes stays below; a guesser gets forty guesses an hour.
ACCOUNT_FAILURES_MAX: Final = 10
# Many people share an address; this stops somebody who tries one password on every account.
ADDRESS_FAILURES_MAX: Final = 1000
# One subscriber has a whole /64 (RFC 6177 §2).
_IPV6_PREFIX: Final = 64


class InvalidCredentials(AppError):
    """401: no such account, a wrong password, or a disabled account; which of them is not said."""

    error_code = "INVALID_CREDENTIALS"
    status = 401
    title = "The e-mail address or the password is not right"


class RateLimited(AppError):
    """429: too many failures; even the right password is refused until the window has passed."""

    error_code = "RATE_LIMITED"
    status = 429
    title = "Too many failed sign-ins"

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__(f"try again in {retry_after_seconds} seconds", retry_after_seconds=retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class Realm(StrEnum):
    """Where an account lives; the same address may be an admin and a player."""

    ADMIN = "admin"
    PLAYER = "player"


class Subject(NamedTuple):
    """Whom failures are counted against, and how many are too many."""

    key: str
    failures_max: int


class Failures(NamedTuple):
    """What was counted, in the order of the query's columns."""

    key: str
    failures: int
    window_started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInCommand:
    """Somebody tries to sign in. `client_address` is None when the connection has none."""

    realm: Realm
    tenant_id: UUID | None
    email: str
    password: str
    client_address: str | None
    now: datetime

    @property
    def account(self) -> Subject:
        """The account as something to count against; it need not exist."""
        tenant = "" if self.tenant_id is None else self.tenant_id.hex
        return Subject(f"account:{self.realm.value}:{tenant}:{self.email}", ACCOUNT_FAILURES_MAX)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Everything a failure counts against."""
        if self.client_address is None:
            return (self.account,)
        return (self.account, Subject(f"address:{network_of(self.client_address)}", ADDRESS_FAILURES_MAX))


class Credentials(NamedTuple):
    """What signing in needs to know of an account, in the order of the query's columns."""

    id: UUID
    password_hash: str | None
    is_active: bool


def network_of(address: str) -> str:
    """What one subscriber controls: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)


def ensure_not_blocked(counted: list[Failures], *, command: SignInCommand, including_this: bool) -> None:
    """Raise RateLimited when something that the sign-in counts against has too many failures.

    including_this: its own failure is among them, so the last one allowed is not yet too many.
    """
    limits = {subject.key: subject.failures_max + including_this for subject in command.subjects}
    ends = [failures.window_started_at + WINDOW for failures in counted if failures.failures >= limits[failures.key]]
    if ends:
        raise RateLimited(retry_after_seconds=max(1, int((max(ends) - command.now).total_seconds()) + 1))
