"""What the demo's story is told in: a player, and what players, staff and others can do. Pure."""

from dataclasses import dataclass
from datetime import datetime

from backend.app.domain.identity import Role
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.domain.player import KycStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A player of the story, as they come: the balances are legacy ones, of those who are imported."""

    number: int
    email: str
    username: str
    kyc_status: KycStatus
    available_minor: int = 0
    held_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Something that happens at a time (UTC)."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(Scene):
    """The players of another system come, with their legacy balances."""

    people: tuple[Person, ...]
    file_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWallets(Scene):
    """A backfill."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeCensus(Scene):
    """A census."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleLegacyHolds(Scene):
    """The withdrawals that came with the import were paid by the other system: confirmed by hand."""

    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveFindings(Scene):
    """Somebody looks at what was found and closes all but the last `keep` that are not critical."""

    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StrayWebhooks(Scene):
    """Webhooks about payouts that nobody knows: one signed, one not; and perhaps a signed one that cannot be read."""

    is_one_unreadable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonScene(Scene):
    """Something that a player does, or that is done to one."""

    person: Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(PersonScene):
    """A player registers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify(PersonScene):
    """Staff judge a player's documents."""

    kyc_status: KycStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayIn(PersonScene):
    """A deposit. key: its name in the story."""

    key: str
    amount_minor: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(PersonScene):
    """A withdrawal. key: its name in the story. is_refused: there is less than that."""

    key: str
    amount_minor: int
    method: str
    is_refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide(PersonScene):
    """Staff do something about the withdrawal `key`."""

    key: str
    action: Action
    by: Role
    reason: str | None = None
    evidence_ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(PersonScene):
    """Another program writes the legacy column, past the ledger."""

    change_minor: int
