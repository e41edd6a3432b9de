"""What those who reconcile look at: what is open, a page of findings, and one finding with both its sides. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from backend.app.domain.audit import AuditEvent
from backend.app.domain.desk.withdrawal_desk import WebhookSeen
from backend.app.domain.finding import FindingStatus, FindingType, Severity, StoredFinding
from backend.app.domain.identity import Role
from backend.app.domain.money import CURRENCY_EXPONENTS
from backend.app.domain.reconciliation.adjustment import Adjustment
from backend.app.domain.reconciliation.reconciliation import Run

# Findings are counted so far in each tenant: beyond it is "more than".
COUNTED_MAX: Final = 10_000
# A search looks through so many findings at a time, so that a rare one costs no more than a common one.
LOOKED_AT_MAX: Final = 20_000
# Worst first.
SEVERITIES: Final = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW)
# Who may work on findings, and so have one.
ASSIGNABLE_ROLES: Final = (Role.TENANT_ADMIN, Role.FINANCE, Role.RECON)
# What no provider can be asked about: no single payment is behind it.
_NOT_ASKED: Final = frozenset(
    {
        FindingType.BALANCE_DRIFT,
        FindingType.DUPLICATE_EVENT_BODY_DIFFERS,
        FindingType.FEED_ANOMALY,
        FindingType.LEDGER_INVARIANT,
        FindingType.ORPHAN_WEBHOOK,
    }
)


class OpenKind(NamedTuple):
    """What is open of one type and severity, in the order of the query's columns. is_cut: there are more."""

    finding_type: str
    severity: str
    findings: int
    unassigned: int
    oldest_at: datetime
    is_cut: bool


class FindingContext(NamedTuple):
    """What surrounds a finding, in the order of the query's columns. payment_*: our deposit or withdrawal."""

    tenant_name: str
    username: str | None
    email: str | None
    currency: str | None
    assigned_email: str | None
    resolved_email: str | None
    payment_kind: str | None
    payment_state: str | None
    payment_amount: int | None
    payment_currency: str | None
    payment_ref: str | None
    payment_created_at: datetime | None
    payment_updated_at: datetime | None
    is_payment_open: bool


class Colleague(NamedTuple):
    """Somebody who may look after a finding."""

    id: UUID
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAdjustment:
    """An adjustment with what its people are called. decider None: nobody has decided."""

    adjustment: Adjustment
    tenant_name: str
    username: str
    proposer: str
    decider: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What is open, worst first, and the newest run."""

    kinds: Sequence[OpenKind]
    last_run: Run | None

    @property
    def by_severity(self) -> list[tuple[Severity, int, datetime | None, bool]]:
        """(severity, how many, since when, whether there are more) of every severity that matters or has any."""
        rows = []
        for severity in SEVERITIES:
            kinds = [kind for kind in self.kinds if kind.severity == severity]
            oldest_at = min((kind.oldest_at for kind in kinds), default=None)
            is_cut = any(kind.is_cut for kind in kinds)
            rows.append((severity, sum(kind.findings for kind in kinds), oldest_at, is_cut))
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingsPage:
    """A page of findings. counted: how many match from here on, among the LOOKED_AT_MAX that were looked through.

    goes_on_before: from where the next page, or the next search, begins; None: that is all. is_cut: there are more than
    were looked through. names: of tenants and admins, by id.
    """

    findings: Sequence[StoredFinding]
    goes_on_before: UUID | None
    is_cut: bool
    counted: int
    names: Mapping[UUID, str]
    board: Board


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingDetail:
    """One finding with its history, what the provider told about it, and the adjustments that were proposed for it."""

    finding: StoredFinding
    context: FindingContext
    history: Sequence[AuditEvent]
    events: Sequence[WebhookSeen]
    adjustments: Sequence[SeenAdjustment]
    colleagues: Sequence[Colleague]

    @property
    def can_replay(self) -> bool:
        """Whether there is a payment that the provider can be asked about."""
        finding = self.finding
        return finding.finding_type not in _NOT_ASKED and (
            finding.provider_ref is not None or finding.tx_id is not None
        )

    @property
    def can_close(self) -> bool:
        """Whether the open payment can be closed at what the provider moved."""
        return self.context.is_payment_open and isinstance(self.finding.evidence.get("theirs_amount_minor"), int)

    @property
    def can_adjust(self) -> bool:
        """Whether there is a player whose balance a correction would change."""
        return self.finding.player_id is not None and self.context.currency is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLine:
    """One thing that both sides say something about; None: that side says nothing. amounts are (minor, currency)."""

    name: str
    ours: Any
    theirs: Any
    is_different: bool = False


def is_open(finding: StoredFinding) -> bool:
    """Whether somebody still has to look."""
    return finding.status == FindingStatus.OPEN


def sides_of(finding: StoredFinding, context: FindingContext) -> list[SideLine]:
    """Both sides line by line, as far as the evidence and our payment know them; a difference is marked."""
    told = _Told(finding, context)
    lines = [
        told.line("amount", told.amount("ours"), told.amount("theirs"), is_compared=True),
        told.line("status", *told.statuses(), is_compared=True),
        told.line("kind", told.get("ours_kind"), told.get("theirs_kind"), is_compared=True),
        told.line("word", None, told.get("theirs_word")),
        told.line("net", told.net("ours"), told.net("theirs"), is_compared=True),
        told.line("occurred_at", told.moment("ours"), told.moment("theirs")),
        told.line(
            "reference",
            told.get("ours_reference", "attempt"),
            told.get("theirs_reference", "reference"),
            is_compared=True,
        ),
        told.line(
            "provider_ref",
            told.get("ours_provider_ref", "attempt_provider_ref") or context.payment_ref,
            told.get("theirs_provider_ref", "provider_ref") or (finding.provider_ref if told.is_theirs_known else None),
            is_compared=True,
        ),
        told.line("account", told.get("attempt_account"), told.get("provider_account", "account_id", "account")),
    ]
    return [line for line in lines if line.ours is not None or line.theirs is not None]


class _Told:
    """Reads evidence, which each finder writes a little differently."""

    def __init__(self, finding: StoredFinding, context: FindingContext) -> None:
        self._finding = finding
        self._context = context
        self._evidence = finding.evidence
        self.is_theirs_known = any(name.startswith(("theirs_", "provider_")) for name in finding.evidence)
        self._is_ours_known = context.payment_kind is not None or any(
            name.startswith(("ours_", "attempt")) for name in finding.evidence
        )

    def get(self, *names: str) -> str | None:
        """The first of these that the evidence has."""
        found = (self._evidence.get(name) for name in names)
        return next((str(value) for value in found if value is not None), None)

    def amount(self, side: str) -> tuple[int, str] | str | None:
        """What a side says was moved; as a text where it is kept as one."""
        minor, currency = self._evidence.get(f"{side}_amount_minor"), self._evidence.get(f"{side}_currency")
        if isinstance(minor, int) and currency in CURRENCY_EXPONENTS:
            return minor, str(currency)
        if side == "theirs":
            return self.get("theirs_amount", "provider_amount", "refunded")
        context = self._context
        if context.payment_amount is not None and context.payment_currency is not None:
            return context.payment_amount, context.payment_currency
        return self.get("attempt_amount")

    def net(self, side: str) -> tuple[int, str] | None:
        """What a side moved on the day that a drift is about."""
        minor, currency = self._evidence.get(f"{side}_net_minor"), self._evidence.get("currency")
        return (int(minor), str(currency)) if minor is not None and currency in CURRENCY_EXPONENTS else None

    def statuses(self) -> tuple[str | None, str | None]:
        """How each side says that it ended."""
        ours = self.get("ours_status", "ours_state", "attempt_state") or self._context.payment_state
        return ours, self.get("theirs_status", "provider_status", "event_type", "type")

    def moment(self, side: str) -> datetime | None:
        """When a side says that it happened."""
        text = self.get(f"{side}_occurred_at", f"{side}_created_at", *(("received_at",) if side == "theirs" else ()))
        try:
            moment = None if text is None else datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment
        return self._context.payment_created_at if side == "ours" else None

    def line(self, name: str, ours: Any, theirs: Any, *, is_compared: bool = False) -> SideLine:
        """The line; different where both speak and do not agree, or where one is known to have nothing."""
        if not is_compared:
            return SideLine(name=name, ours=ours, theirs=theirs)
        if name == "status" and self.get("ours_status") is None:
            # A state of ours is no status class: only the type of the finding says whether they agree.
            is_different = self._finding.finding_type in _ABOUT_STATUS
        elif ours is None or theirs is None:
            is_different = name == "amount" and self._finding.finding_type in _ONE_SIDED
        else:
            is_different = ours != theirs
        return SideLine(name=name, ours=ours, theirs=theirs, is_different=is_different)


_ABOUT_STATUS: Final = frozenset(
    {FindingType.STATUS_MISMATCH, FindingType.PAID_AFTER_RELEASE, FindingType.RETURNED_AFTER_PAID}
)
_ONE_SIDED: Final = frozenset(
    {FindingType.MISSING_IN_LEDGER, FindingType.MISSING_IN_PSP, FindingType.ORPHAN_WEBHOOK, FindingType.TENANT_MISMATCH}
)
