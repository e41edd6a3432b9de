"""Flags: which there are, at which levels they can be set, and what may be asked of them. Pure.

Strongest first: an explicit False in the environment of a running process (for the flags that enforce), the tenant's or
the provider's own value, the global one, the environment, the default in code.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.errors import AppError, FieldError, NotFound

REASON_LENGTH_MAX: Final = 500


class Flag(StrEnum):
    """The flags; what each means is in the runbook."""

    LEDGER_SHADOW_WRITE = "ledger_shadow_write"
    LEDGER_ENFORCE_BALANCE = "ledger_enforce_balance"
    LEDGER_BALANCE_MISMATCH_LOG = "ledger_balance_mismatch_log"
    WEBHOOK_SIGNATURE_ENFORCED = "webhook_signature_enforced"


class FlagSource(StrEnum):
    """The level that decides a flag, strongest first."""

    ENVIRONMENT_FALSE = "environment_false"
    TENANT = "tenant"
    PROVIDER = "provider"
    GLOBAL = "global"
    ENVIRONMENT = "environment"
    DEFAULT = "default"


class FlagScope(StrEnum):
    """Where a value can be set."""

    GLOBAL = "global"
    TENANT = "tenant"


class UnknownFlag(NotFound):
    """404: there is no such flag."""

    error_code = "FLAG_NOT_FOUND"
    title = "There is no such flag"


class FlagsContradict(AppError):
    """409: the ledger would decide about balances that it does not write, or a kill switch stands against it."""

    error_code = "FLAGS_CONTRADICT"
    status = 409
    title = "The flags would contradict each other"


class FlagChanged(AppError):
    """409: somebody set the flag since it was looked at, or what it comes to changed by itself."""

    error_code = "FLAG_CHANGED"
    status = 409
    title = "The flag is not any more what it was when it was looked at"


class EffectiveFlag(NamedTuple):
    """What a flag comes to, and which level says so; in the order of the query's columns.

    own_value: the tenant's or the provider's own, whether or not it decides. reason, set_by, set_at and expires_at are
    those of the deciding level, as far as somebody gave them.
    """

    flag: Flag
    value: bool
    source: FlagSource
    own_value: bool | None
    reason: str | None
    set_by: str | None
    set_at: datetime | None
    expires_at: datetime | None

    @property
    def mark(self) -> str:
        """What is another text whenever somebody set the flag, or it comes to something else."""
        times = (None if time is None else time.isoformat() for time in (self.set_at, self.expires_at))
        return "|".join(str(part) for part in (self.value, self.source, self.own_value, *times))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagLevels:
    """What is said about a flag at the levels that bind everybody, in the order of the query's columns; None: nothing.

    is_killed: an environment says False to a flag where that beats everything.
    """

    default_value: bool
    is_killed: bool
    global_value: bool | None
    environment_value: bool | None

    def outcome(self, own_value: bool | None, *, own_source: FlagSource) -> tuple[bool, FlagSource]:
        """What the flag comes to with an own value of a tenant or a provider, or with none; and which level says so."""
        if self.is_killed:
            return False, FlagSource.ENVIRONMENT_FALSE
        levels = (
            (own_value, own_source),
            (self.global_value, FlagSource.GLOBAL),
            (self.environment_value, FlagSource.ENVIRONMENT),
            (self.default_value, FlagSource.DEFAULT),
        )
        return next((value, source) for value, source in levels if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFlag:
    """The wish to set a flag, or with None to leave it to the levels below."""

    flag: Flag
    value: bool | None
    scope: FlagScope
    tenant_id: UUID | None
    provider: str | None
    reason: str
    expires_at: datetime | None


def parse_flag(text: str) -> Flag:
    """The flag of a name, in either case. Raises UnknownFlag."""
    try:
        return Flag(text.lower())
    except ValueError:
        raise UnknownFlag(f"there is no flag {text[:80]}; there are {', '.join(Flag)}") from None


def parse_reason(text: str, *, field: str = "reason") -> str:
    """A reason somebody else can read later. Raises FieldError."""
    reason = " ".join(text.split())
    if not 1 <= len(reason) <= REASON_LENGTH_MAX:
        raise FieldError(field, f"says why, in 1 to {REASON_LENGTH_MAX} characters")
    return reason


def cut_reason(text: str) -> str:
    """A reason of ours that fits: what is too long ends after a whole word, and says so by its last sign."""
    if len(text) <= REASON_LENGTH_MAX:
        return text
    whole, space, _ = text[:REASON_LENGTH_MAX].rpartition(" ")
    return (whole.rstrip(" ,;:") if space else text[: REASON_LENGTH_MAX - 1]) + "…"


def ensure_settable(wish: SetFlag, *, now: datetime) -> None:
    """Return when such a value can exist. Raises FieldError naming what cannot be.

    A value of the ledger's flags ends only in the safe direction: nobody is enforced, and shadow writing is not
    switched off, because a clock has come to some point.
    """
    if (wish.scope is FlagScope.TENANT) != (wish.tenant_id is not None):
        raise FieldError("tenant_id", "belongs to the scope tenant, which needs it")
    if wish.flag is Flag.WEBHOOK_SIGNATURE_ENFORCED and wish.scope is FlagScope.TENANT:
        raise FieldError("scope", "webhook_signature_enforced is set globally, or for a provider")
    if wish.provider is not None and wish.flag is not Flag.WEBHOOK_SIGNATURE_ENFORCED:
        raise FieldError("provider", "only webhook_signature_enforced has values of providers")
    if wish.expires_at is not None:
        _ensure_may_end(wish, now=now)


def _ensure_may_end(wish: SetFlag, *, now: datetime) -> None:
    assert wish.expires_at is not None, "asked about an end"
    if wish.value is None:
        raise FieldError("expires_at", "what is removed cannot end")
    if wish.expires_at <= now:
        raise FieldError("expires_at", "lies in the past")
    if wish.flag is Flag.LEDGER_ENFORCE_BALANCE and (not wish.value or wish.scope is FlagScope.GLOBAL):
        raise FieldError("expires_at", "only True of one tenant may end: nobody is enforced by the clock")
    if wish.flag is Flag.LEDGER_SHADOW_WRITE and wish.value:
        raise FieldError("expires_at", "only False may end: shadow writing is not switched off by the clock")
