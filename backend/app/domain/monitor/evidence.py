"""Evidence: what each decision on funds says about the two sides, counted by minute of the database's clock. Pure.

A tally lives in one process and is emptied every few seconds. What it keeps is bounded: a database that is away for an
hour, a tenant under attack or a clock that jumps cost counts at most, and how many is said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.ledger import Arbiter, PostCode, PostResult
from backend.app.domain.mismatch import Mismatch
from backend.app.domain.monitor.bucket import Stream

# Tenants times minutes that a process keeps until they are flushed: a hundred busy tenants through five hours.
KEYS_MAX: Final = 30_000
# Who is behind a minute's x, by name: the first of them. More than decide about a verdict.
SUBJECTS_PER_MINUTE: Final = 50
SUBJECTS_MAX: Final = 20_000
# Payments named by deliveries that nobody vouches for, until it is looked up whether they are ours.
CLAIMS_MAX: Final = 1_000
# A wallet that differs is found different by each of its decisions; so long it counts once.
SAME_MISMATCH_FOR: Final = timedelta(minutes=10)
WALLETS_MAX: Final = 10_000


class DecisionKey(NamedTuple):
    """What decisions are counted by: tenant, epoch, arbiter, and the minute since 1970. Integers hash fastest."""

    tenant: int
    epoch: int
    arbiter: str
    minute: int


class Claim(NamedTuple):
    """A payment that a delivery names: our reference, and the provider's own name for it."""

    reference: str | None
    provider_ref: str | None


class DeliveryKey(NamedTuple):
    """What deliveries are counted by. claim None: nothing that could be looked up."""

    provider: str
    minute: int
    result: str
    is_credible: bool
    claim: Claim | None


@dataclass(slots=True)
class DecisionCounts:
    """Of one tenant in one minute. disputed: the ledger refuses what the legacy column allows, whoever decides;
    overpaid: the other way round; refused: by the arbiter, for funds.
    """

    decisions: int = 0
    disputed: int = 0
    overpaid: int = 0
    refused: int = 0
    comparisons: int = 0
    mismatches: int = 0

    def by_stream(self) -> Iterator[tuple[Stream, int, int]]:
        """(stream, n, x). Where n is that of another stream it is written with that one only, unless x is more than
        nothing."""
        if self.decisions:
            yield Stream.T1_DISPUTED, self.decisions, self.disputed
        if self.overpaid:
            yield Stream.T1_OVERPAID, self.overpaid, self.overpaid
        if self.refused:
            yield Stream.T1_REFUSED, self.refused, self.refused
        if self.comparisons:
            yield Stream.T3_MISMATCH, self.comparisons, self.mismatches


class CountedSubject(NamedTuple):
    """A player behind x, in one minute. amount_minor: what was at stake in all."""

    key: DecisionKey
    stream: Stream
    player_id: UUID
    currency: str
    events: int
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a tally held when it was emptied."""

    decisions: Mapping[DecisionKey, DecisionCounts]
    subjects: Sequence[CountedSubject]
    deliveries: Mapping[DeliveryKey, int]
    dropped: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not (self.decisions or self.deliveries or self.dropped)


_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_SubjectKey = tuple[DecisionKey, Stream]


@dataclass(slots=True)
class Tally:
    """Counts of one process since it was last emptied. Its methods are called for each request: they do little."""

    _decisions: dict[DecisionKey, DecisionCounts] = field(default_factory=dict)
    _subjects: dict[_SubjectKey, dict[tuple[UUID, str], list[int]]] = field(default_factory=dict)
    _subjects_total: int = 0
    _deliveries: dict[DeliveryKey, int] = field(default_factory=dict)
    _claims: int = 0
    _dropped: int = 0
    # Wallets seen to differ, and the cell of time in which they were; kept when the tally is emptied.
    _wallets: set[tuple[int, UUID]] = field(default_factory=set)
    _wallets_cell: int = 0
    # The minute in which most decisions fall: working it out anew would be a third of what counting costs.
    _minute: int = 0
    _minute_begins: datetime = _LONG_AGO
    _minute_ends: datetime = _LONG_AGO

    def count_decision(
        self, result: PostResult, *, tenant_id: UUID, player_id: UUID, currency: str, amount_minor: int
    ) -> None:
        """Count a request for money that reached the question of funds; a replay, and any other refusal, did not."""
        legacy_ok, ledger_ok = result.legacy_ok, result.ledger_ok
        if legacy_ok is None or ledger_ok is None or result.is_replay:
            return
        counts, key = self._counts_of(result, tenant_id)
        if counts is None:
            return
        counts.decisions += 1
        if legacy_ok and ledger_ok:
            return
        streams: list[Stream] = []
        if legacy_ok and not ledger_ok:
            counts.disputed += 1
            streams.append(Stream.T1_DISPUTED)
        elif ledger_ok and not legacy_ok:
            counts.overpaid += 1
            streams.append(Stream.T1_OVERPAID)
        if result.code == PostCode.INSUFFICIENT_FUNDS:
            counts.refused += 1
            streams.append(Stream.T1_REFUSED)
        for stream in streams:
            self._note_subject(key, stream, player_id, currency, amount_minor)

    def count_comparison(self, result: PostResult, mismatch: Mismatch | None, *, tenant_id: UUID) -> None:
        """Count that both sides of a wallet were seen under its lock, and whether they differed."""
        if result.is_replay or result.legacy_ok is None or result.ledger_ok is None:
            return
        counts, key = self._counts_of(result, tenant_id)
        if counts is None:
            return
        counts.comparisons += 1
        if mismatch is not None and self._is_new(mismatch, key):
            counts.mismatches += 1
            amount = abs(mismatch.legacy_available - mismatch.ledger_available)
            amount += abs(mismatch.legacy_held - mismatch.ledger_pending)
            self._note_subject(key, Stream.T3_MISMATCH, mismatch.player_id, mismatch.currency, amount)

    def count_delivery(
        self, provider: str, *, result: str, is_credible: bool, claim: Claim | None, at: datetime
    ) -> None:
        """Count a delivery. claim: the payment that an unverified one names, to be looked up later."""
        if claim is not None and self._claims >= CLAIMS_MAX:
            # A flood that is not looked at is noise.
            claim = None
        key = DeliveryKey(provider, self._minute_of(at), result, is_credible, claim)
        if key in self._deliveries:
            self._deliveries[key] += 1
            return
        if len(self._deliveries) >= KEYS_MAX:
            self._dropped += 1
            return
        self._claims += claim is not None
        self._deliveries[key] = 1

    def empty(self) -> Counted:
        """What was counted; counting goes on from nothing."""
        counted = Counted(
            decisions=self._decisions,
            subjects=[
                CountedSubject(key, stream, player_id, currency, events, amount_minor)
                for (key, stream), players in self._subjects.items()
                for (player_id, currency), (events, amount_minor) in players.items()
            ],
            deliveries=self._deliveries,
            dropped=self._dropped,
        )
        self._decisions, self._subjects, self._deliveries = {}, {}, {}
        self._subjects_total = self._claims = self._dropped = 0
        return counted

    def _counts_of(self, result: PostResult, tenant_id: UUID) -> tuple[DecisionCounts | None, DecisionKey]:
        recorded_at = result.recorded_at
        if self._minute_begins <= recorded_at < self._minute_ends:
            minute = self._minute
        else:
            minute = self._minute_of(recorded_at)
            self._minute = minute
            self._minute_begins = minute_at(minute)
            self._minute_ends = minute_at(minute + 1)
        key = DecisionKey(tenant_id.int, result.epoch or 0, result.arbiter or Arbiter.LEGACY.value, minute)
        return self._find_counts(key), key

    def _find_counts(self, key: DecisionKey) -> DecisionCounts | None:
        counts = self._decisions.get(key)
        if counts is None:
            if len(self._decisions) >= KEYS_MAX:
                self._dropped += 1
                return None
            counts = self._decisions[key] = DecisionCounts()
        return counts

    def _note_subject(
        self, key: DecisionKey, stream: Stream, player_id: UUID, currency: str, amount_minor: int
    ) -> None:
        players = self._subjects.setdefault((key, stream), {})
        known = players.get((player_id, currency))
        if known is not None:
            known[0] += 1
            known[1] += amount_minor
        elif len(players) < SUBJECTS_PER_MINUTE and self._subjects_total < SUBJECTS_MAX:
            players[(player_id, currency)] = [1, amount_minor]
            self._subjects_total += 1

    def _is_new(self, mismatch: Mismatch, key: DecisionKey) -> bool:
        cell = key.minute // (SAME_MISMATCH_FOR // timedelta(minutes=1))
        if cell != self._wallets_cell:
            self._wallets_cell = cell
            self._wallets.clear()
        wallet = (key.epoch, mismatch.player_id)
        if wallet in self._wallets:
            return False
        if len(self._wallets) < WALLETS_MAX:
            self._wallets.add(wallet)
        return True

    @staticmethod
    def _minute_of(at: datetime) -> int:
        return int(at.timestamp()) // 60


def minute_at(minute: int) -> datetime:
    """The beginning of a minute since 1970, UTC."""
    return datetime.fromtimestamp(minute * 60, UTC)
