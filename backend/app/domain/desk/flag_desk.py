"""One flag as whoever changes it looks at it: what it comes to and why, and what each choice would come to. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from backend.app.domain.audit import AuditEvent
from backend.app.domain.ledger import Arbiter
from backend.app.domain.rollout.flags import EffectiveFlag, Flag, FlagLevels, FlagSource

# What can be chosen, by the name that stands in a form.
VALUES: Final = {"on": True, "off": False, "unset": None}


class Fixed(StrEnum):
    """Why a flag is not set at a place; each leads to where it is."""

    # A False in the environment of a running process beats every value that could be set.
    KILLED = "killed"
    # It decides who judges money: that is changed by the flip, with its gates, and by the way back.
    ARBITER = "arbiter"
    # The ledger decides, so it has to be written.
    ENFORCED = "enforced"
    # It has values for everybody and for providers, and none of tenants.
    NOT_OF_TENANTS = "not_of_tenants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of VALUES, and what the flag comes to with it."""

    name: str
    value: bool
    source: FlagSource
    is_present: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDetail:
    """A flag at one place: of a tenant, of a provider, or for everybody when both are None.

    arbiter: who decides in the tenant; None without one.
    """

    tenant_id: UUID | None
    tenant_name: str | None
    arbiter: Arbiter | None
    provider: str | None
    effective: EffectiveFlag
    levels: FlagLevels
    history: Sequence[AuditEvent]

    @property
    def flag(self) -> Flag:
        """Which one."""
        return self.effective.flag

    @property
    def fixed(self) -> Fixed | None:
        """Why it cannot be set here; None when it can."""
        if self.flag is Flag.LEDGER_ENFORCE_BALANCE:
            return Fixed.ARBITER
        if self.tenant_id is not None and self.flag is Flag.WEBHOOK_SIGNATURE_ENFORCED:
            return Fixed.NOT_OF_TENANTS
        if self.levels.is_killed:
            return Fixed.KILLED
        if self.flag is Flag.LEDGER_SHADOW_WRITE and self.arbiter is Arbiter.LEDGER:
            return Fixed.ENFORCED
        return None

    @property
    def set_value(self) -> bool | None:
        """What is set at this place itself; None for nothing."""
        is_platform = self.tenant_id is None and self.provider is None
        return self.levels.global_value if is_platform else self.effective.own_value

    @property
    def choices(self) -> Sequence[Choice]:
        """What can be chosen, and what each comes to."""
        return [
            Choice(name=name, value=value, source=source, is_present=wished is self.set_value)
            for name, wished in VALUES.items()
            for value, source in [self._outcome(wished)]
        ]

    def _outcome(self, wished: bool | None) -> tuple[bool, FlagSource]:
        if self.tenant_id is not None:
            return self.levels.outcome(wished, own_source=FlagSource.TENANT)
        if self.provider is not None:
            return self.levels.outcome(wished, own_source=FlagSource.PROVIDER)
        levels = FlagLevels(
            default_value=self.levels.default_value,
            is_killed=self.levels.is_killed,
            global_value=wished,
            environment_value=self.levels.environment_value,
        )
        return levels.outcome(None, own_source=FlagSource.GLOBAL)
