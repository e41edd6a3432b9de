"""Evidence of this process: counted where decisions are made, flushed to the database every few seconds.

decision, comparison, delivery ─ count ─▶ Tally            microseconds, no I/O
  [seal]   every FLUSH_SECONDS the tally becomes a Flush with a number       → never changed again
  [write]  one statement; sent again until it is answered                    → counted once

kill -9 loses what was counted since the last flush, and nothing that was flushed is lost or counted twice.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import prometheus_client
import psycopg
import structlog

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.ledger import Arbiter, PostResult
from backend.app.domain.mismatch import Mismatch
from backend.app.domain.money import Money
from backend.app.domain.monitor.evidence import (
    Claim,
    Counted,
    DecisionCounts,
    DecisionKey,
    DeliveryKey,
    Tally,
    minute_at,
)
from backend.app.domain.payments.payout import find_attempt_name
from backend.app.domain.tenant import parse_tenant_id
from backend.app.repositories.database import Database
from backend.app.repositories.monitor import evidence_repo
from backend.app.repositories.monitor.evidence_repo import Claimant, ClaimedPayment, Flush

log = structlog.get_logger()

FLUSH_SECONDS: Final = 5.0
# A process without traffic says that it lives all the same.
SILENCE_SECONDS_MAX: Final = 20.0
# Flushes that wait for a database that is away. Beyond them what was counted stays in the tally, which is bounded too.
SEALED_MAX: Final = 12
KEEP: Final = timedelta(days=15)
PRUNE_ROWS: Final = 20_000

decisions_total: Final = prometheus_client.Counter(
    "ledger_rollout_decisions",
    "Decisions on funds, by who decided and whether the other side would have decided alike",
    ("tenant", "arbiter", "agree"),
)
flushes_total: Final = prometheus_client.Counter("hakem_evidence_flushes", "Flushes of evidence", ("outcome",))
dropped_total: Final = prometheus_client.Counter(
    "hakem_evidence_dropped", "Units of evidence that this process had no room for"
)


class Evidence:
    """Counts and flushes. Built once per process.

    number: this process's number in the register; None while it has none, and then one is taken for counting alone.
    is_metered: whether what is counted goes to Prometheus as well.
    """

    def __init__(
        self,
        database: Database,
        *,
        app_version: str,
        number: Callable[[], int | None] = lambda: None,
        is_metered: bool = True,
    ) -> None:
        self._database = database
        self._app_version = app_version
        self._number = number
        self._own_number: int | None = None
        self._is_metered = is_metered
        self._tally = Tally()
        # Taken from the tally and not sealed yet, because a question on the way to that was not answered.
        self._unsealed: Counted | None = None
        self._sealed: deque[Flush] = deque()
        self._flush_number = 0
        # What to add to this process's clock to have the database's.
        self._clock_offset = timedelta()
        self._flushed_at = 0.0
        self._is_flushing = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None

    def count_decision(self, result: PostResult, *, tenant_id: UUID, player_id: UUID, money: Money) -> None:
        """A request for money was decided: which side said what."""
        self._tally.count_decision(
            result,
            tenant_id=tenant_id,
            player_id=player_id,
            currency=money.currency,
            amount_minor=money.amount_minor,
        )

    def count_comparison(self, result: PostResult, mismatch: Mismatch | None, *, tenant_id: UUID) -> None:
        """Both sides of a wallet were seen under its lock."""
        self._tally.count_comparison(result, mismatch, tenant_id=tenant_id)

    def count_delivery(
        self, provider: str, *, result: str, is_credible: bool, claim: Claim | None, received_at: datetime
    ) -> None:
        """A webhook came in. is_credible: signed, or from an address of the provider's; otherwise the payment that it
        names tells, which is looked up with the next flush. received_at: by this process's clock.
        """
        self._tally.count_delivery(
            provider, result=result, is_credible=is_credible, claim=claim, at=received_at + self._clock_offset
        )

    def start(self) -> None:
        """Flush every FLUSH_SECONDS from now on."""
        self._loop = asyncio.create_task(self._keep_flushing(), name="evidence")

    async def stop(self, *, deadline_seconds: float) -> None:
        """Flush what is left and end."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        try:
            async with asyncio.timeout(deadline_seconds):
                await self.flush()
        except (TemporarilyUnavailable, psycopg.Error, TimeoutError) as error:
            log.warning("evidence.not_flushed", error=type(error).__name__)

    async def flush(self) -> None:
        """Write all that was counted until now. Raises DatabaseAway or psycopg.Error; nothing is lost by that."""
        async with self._is_flushing:
            while self._sealed:
                await self._send(self._sealed[0])
                self._sealed.popleft()
            await self._seal()
            while self._sealed:
                await self._send(self._sealed[0])
                self._sealed.popleft()

    async def prune(self, now: datetime) -> int:
        """Remove minutes that are older than any baseline looks back, some at a time; how many rows."""
        async with self._database.connection() as conn:
            return await evidence_repo.prune(conn, before=now - KEEP, limit=PRUNE_ROWS)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except (TemporarilyUnavailable, psycopg.Error) as error:
                flushes_total.labels("failed").inc()
                log.warning("evidence.flush_failed", error=type(error).__name__, waiting=len(self._sealed))

    async def _seal(self) -> None:
        """Turn the tally into a flush, unless there is nothing to say."""
        if len(self._sealed) >= SEALED_MAX:
            return
        loop = asyncio.get_running_loop()
        number = await self._find_number()
        counted = self._unsealed or self._tally.empty()
        if counted.is_empty and loop.time() - self._flushed_at < SILENCE_SECONDS_MAX:
            return
        self._unsealed = counted
        claimants = await self._find_claimants(counted.deliveries)
        # From here on the flush is fixed, whatever becomes of the connection.
        self._unsealed = None
        self._flush_number += 1
        self._sealed.append(self._flush_of(counted, claimants, number=number))
        if self._is_metered:
            _meter(counted.decisions)
        if counted.dropped:
            dropped_total.inc(counted.dropped)
            log.error("evidence.dropped", units=counted.dropped)

    async def _find_number(self) -> int:
        number = self._number()
        if number is not None:
            return number
        if self._own_number is None:
            async with self._database.connection() as conn:
                self._own_number = await evidence_repo.take_number(conn)
        return self._own_number

    async def _find_claimants(self, deliveries: Mapping[DeliveryKey, int]) -> dict[tuple[str, Claim], Claimant]:
        names = list({(key.provider, key.claim): None for key in deliveries if key.claim is not None})
        if not names:
            return {}
        payments = [_payment_of(provider, claim) for provider, claim in names]
        async with self._database.connection() as conn:
            found = await evidence_repo.find_claimed(conn, payments, now=datetime.now(UTC) + self._clock_offset)
        return {name: claimant for name, claimant in zip(names, found, strict=True) if claimant is not None}

    def _flush_of(self, counted: Counted, claimants: Mapping[tuple[str, Claim], Claimant], *, number: int) -> Flush:
        deliveries, subjects = _deliveries_of(counted.deliveries, claimants)
        return Flush(
            instance=number,
            flush_number=self._flush_number,
            app_version=self._app_version,
            clock_skew_seconds=self._clock_offset.total_seconds(),
            dropped=counted.dropped,
            buckets=_buckets_of(counted.decisions),
            subjects=[
                {
                    **_key_of(subject.key),
                    "stream": subject.stream.value,
                    "subject": str(subject.player_id),
                    "currency": subject.currency,
                    "events": subject.events,
                    "amount": subject.amount_minor,
                }
                for subject in counted.subjects
            ],
            deliveries=deliveries,
            delivery_subjects=subjects,
        )

    async def _send(self, sealed: Flush) -> None:
        loop = asyncio.get_running_loop()
        async with self._database.connection() as conn:
            before = datetime.now(UTC)
            flushed = await evidence_repo.flush(conn, sealed)
        # The clock was read somewhere between sending and answer.
        self._clock_offset = flushed.now - (before + (datetime.now(UTC) - before) / 2)
        self._flushed_at = loop.time()
        flushes_total.labels("counted" if flushed.is_new else "repeated").inc()


def _meter(decisions: Mapping[DecisionKey, DecisionCounts]) -> None:
    """In one go here and not at each decision, where a label's look-up would cost more than all counting."""
    for key, counts in decisions.items():
        tenant, disagreed = str(UUID(int=key.tenant)), counts.disputed + counts.overpaid
        decisions_total.labels(tenant, key.arbiter, "no").inc(disagreed)
        decisions_total.labels(tenant, key.arbiter, "yes").inc(counts.decisions - disagreed)


def _key_of(key: DecisionKey) -> dict[str, Any]:
    return {
        "tenant_id": str(UUID(int=key.tenant)),
        "minute": minute_at(key.minute).isoformat(),
        "epoch": key.epoch,
        "arbiter": key.arbiter,
    }


def _buckets_of(decisions: Mapping[DecisionKey, DecisionCounts]) -> list[dict[str, Any]]:
    # In one order, so that two processes which flush into the same rows cannot wait for each other; they never share
    # a row but by a number that was given twice.
    return [
        {**_key_of(key), "stream": stream.value, "n": n, "x": x}
        for key, counts in sorted(decisions.items())
        for stream, n, x in counts.by_stream()
    ]


def _deliveries_of(
    deliveries: Mapping[DeliveryKey, int], claimants: Mapping[tuple[str, Claim], Claimant]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Deliveries by what their senders are worth, and whose payments the rejected ones of believable senders name."""
    totals: Counter[tuple[str, int, str, bool]] = Counter()
    players: Counter[tuple[str, int, Claimant]] = Counter()
    for key, n in deliveries.items():
        claimant = None if key.claim is None else claimants.get((key.provider, key.claim))
        totals[(key.provider, key.minute, key.result, key.is_credible or claimant is not None)] += n
        if claimant is not None:
            players[(key.provider, key.minute, claimant)] += n
    return (
        [
            {
                "provider": provider,
                "minute": minute_at(minute).isoformat(),
                "result": result,
                "is_credible": is_credible,
                "n": n,
            }
            for (provider, minute, result, is_credible), n in sorted(totals.items())
        ],
        [
            {
                "provider": provider,
                "minute": minute_at(minute).isoformat(),
                "subject": str(claimant.player_id),
                "tenant_id": str(claimant.tenant_id),
                "events": n,
            }
            for (provider, minute, claimant), n in players.items()
        ],
    )


def _payment_of(provider: str, claim: Claim) -> ClaimedPayment:
    attempt = find_attempt_name(claim.reference)
    return ClaimedPayment(
        provider=provider,
        deposit_id=None if attempt or claim.reference is None else parse_tenant_id(claim.reference),
        withdrawal_id=attempt.withdrawal_id if attempt else None,
        provider_ref=claim.provider_ref,
    )


def initialise_metrics(tenant_ids: Sequence[UUID]) -> None:
    """Every label set at zero: a series whose first value is one has no increase."""
    for tenant_id in tenant_ids:
        for arbiter in Arbiter:
            for agree in ("yes", "no"):
                decisions_total.labels(str(tenant_id), arbiter.value, agree)
