"""Applies what providers told us, once each, from the inbox.

What is verified is applied in one transaction: inbox row, payment row, ledger, findings. What is not is a hint: the
provider is asked about the payment that it names, if it is one of ours, and the answer is applied.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

import psycopg
import structlog

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.payments.psp_delivery import (
    HINT_LEASE,
    UNVERIFIED_KEPT_FOR,
    EventState,
    Outcome,
    PendingEvent,
    PspEventFilter,
    PspEventNotFound,
    PspEventRow,
    PullRefused,
    outcome_of,
    retry_at,
)
from backend.app.domain.payments.psp_event import Applied, PspEvent, PspEventType
from backend.app.psp.registry import SCHEMES
from backend.app.psp.webhook import UnparsableEvent
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.desk import webhook_desk_repo
from backend.app.repositories.payments import psp_account_repo, psp_event_repo
from backend.app.services.payments import psp_telemetry
from backend.app.services.payments.deposit_observations import NotBooked
from backend.app.services.payments.psp_hints import Hints, Observer, types_of
from backend.app.services.payments.webhook_secrets import SHARED_NAMES

log = structlog.get_logger()

# What comes in is applied in batches: after its answer nobody waits for a delivery, and alone each would cost ten times
# the round trips. Two appliers, so that one batch that waits for somebody's row does not keep the others waiting.
APPLIERS: Final = 2
GATHER_SECONDS: Final = 0.025
BATCH_MAX: Final = 64
ALONE_AT_ONCE_MAX: Final = 4
# What a batch takes: one event that moves the deposit's player at most once, so that locks are taken in one order.
BATCHED_TYPES: Final = frozenset(
    {PspEventType.DEPOSIT_PENDING, PspEventType.DEPOSIT_CAPTURED, PspEventType.DEPOSIT_FAILED}
)
WAITING_MAX: Final = 10_000
PRUNED_MAX: Final = 1_000
ERROR_CHARS_MAX: Final = 500


class DepositObserver(Observer, Protocol):
    """Who applies events of deposits, many at once if need be."""

    async def observe_all(
        self, conn: Connection, tellings: Sequence[tuple[PspEvent, str | None]]
    ) -> Sequence[Applied | NotBooked]:
        """Apply events, each with its account; one result for each, in order."""
        ...


class PspInbox:
    """The inbox of provider events. Built once per process; `payouts` None leaves those to be applied later."""

    def __init__(
        self,
        database: Database,
        *,
        deposits: DepositObserver,
        payouts: Observer | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._deposits = deposits
        self._payouts = payouts
        self._clock = clock
        self._waiting: asyncio.Queue[UUID] = asyncio.Queue(WAITING_MAX)
        self._hints = Hints(database, deposits=deposits, payouts=payouts)
        self._alone = asyncio.Semaphore(ALONE_AT_ONCE_MAX)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to apply what this process takes in. What others left behind is due, and found by the job."""
        assert not self._tasks, "started once"
        self._tasks = [asyncio.create_task(self._serve(), name=f"psp-inbox-{number}") for number in range(APPLIERS)]

    async def stop(self) -> None:
        """Stop. What is under way is rolled back and found by the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def apply_soon(self, event_id: UUID) -> None:
        """Have a delivery applied right away; where too many wait already, by the next sweep."""
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(event_id)

    async def apply_due(self, *, limit: int) -> int:
        """Apply what is due, the longest due first; how many were applied."""
        async with self._database.connection() as conn:
            due = await psp_event_repo.list_due(conn, now=self._clock(), limit=limit)
        applied = 0
        for start in range(0, len(due), BATCH_MAX):
            applied += await self.apply(due[start : start + BATCH_MAX])
        await self._measure()
        return applied

    async def prune(self) -> int:
        """Forget unverified deliveries that were kept long enough; how many, at most PRUNED_MAX."""
        async with self._database.connection() as conn:
            return await psp_event_repo.prune_unverified(
                conn, before=self._clock() - UNVERIFIED_KEPT_FOR, limit=PRUNED_MAX
            )

    async def apply(self, event_ids: Sequence[UUID]) -> int:
        """Apply those deliveries that are due and that nobody else applies; how many are done with.

        Never raises: a failure is counted on its delivery, which is tried again later.
        """
        done: set[UUID] = set()
        try:
            async with self._database.connection(is_for_batch=True) as conn, conn.transaction():
                batched = await self._apply_batch(conn, event_ids)
            done.update(batched)
        # One of them spoils it for all: alone each harms nobody but itself.
        except Exception as error:
            log.info("psp_inbox.batch_split", size=len(event_ids), error=type(error).__name__)
        alone = await asyncio.gather(*(self._apply_alone(each) for each in event_ids if each not in done))
        return len(done) + sum(alone)

    async def _apply_batch(self, conn: Connection, event_ids: Sequence[UUID]) -> set[UUID]:
        """Apply what is plain enough to be applied with others, in the caller's transaction; which deliveries were."""
        plain = []
        for event in await psp_event_repo.lock_due(conn, event_ids, now=self._clock()):
            told = _read(event) if event.is_verified else ()
            if len(told) == 1 and told[0].type in BATCHED_TYPES:
                plain.append((event, told[0]))
        if not plain:
            return set()
        tellings = [(told, await _account_of(conn, event, told)) for event, told in plain]
        results = await self._deposits.observe_all(conn, tellings)
        outcomes = {
            event: outcome_of([result], event_type=told.type.value)
            for (event, told), result in zip(plain, results, strict=True)
            # What the door did not take is left to be counted and tried again by itself.
            if not isinstance(result, NotBooked)
        }
        await self._finish(conn, outcomes)
        return {event.id for event in outcomes}

    async def _apply_alone(self, event_id: UUID) -> bool:
        """Apply one delivery in a transaction of its own; whether it is done with. Never raises."""
        try:
            async with self._alone:
                async with self._database.transaction() as conn:
                    found = await psp_event_repo.lock_due(conn, [event_id], now=self._clock())
                    if not found:
                        return False
                    (event,) = found
                    if not event.is_verified:
                        await psp_event_repo.lease_hint(conn, event.id, until=self._clock() + HINT_LEASE)
                    else:
                        await self._finish(conn, {event: await self._apply_verified(conn, event)})
                if not event.is_verified:
                    outcome = await self._hints.follow(event)
                    async with self._database.transaction() as conn:
                        await self._finish(conn, {event: outcome})
        # Whatever it is, the delivery must not be lost, and must not keep others waiting for ever.
        except Exception as error:
            await self._postpone(event_id, error)
            return False
        return True

    async def reprocess(self, scope_tenant_id: UUID | None, *, event_id: UUID, actor: Actor) -> PspEventRow:
        """Make a delivery due again; the delivery. Raises PspEventNotFound, also for another tenant's."""
        async with self._database.transaction() as conn:
            before = await psp_event_repo.lock_one(conn, scope_tenant_id, event_id=event_id)
            if before is None:
                raise PspEventNotFound
            await psp_event_repo.reopen(conn, event_id, now=self._clock())
            after = await psp_event_repo.lock_one(conn, scope_tenant_id, event_id=event_id)
            assert after is not None, "its row is ours"
            await audit_repo.insert(
                conn,
                before.tenant_id,
                AuditEntry(
                    actor=actor,
                    action="psp_event.reprocessed",
                    object_kind="psp_event",
                    object_id=str(event_id),
                    before={"state": before.state, "attempts": before.attempts, "last_error": before.last_error},
                    after={"state": after.state},
                ),
            )
        self.apply_soon(event_id)
        return after

    async def pull(self, scope_tenant_id: UUID | None, *, event_id: UUID, actor: Actor) -> Sequence[Applied]:
        """Ask the provider about the payments that a delivery names, and apply its answers as a webhook's would be.

        What they did; nothing where there was nobody to ask or no answer. Whoever asks is audited before. Raises
        PspEventNotFound, also for another tenant's, and PullRefused.
        """
        async with self._database.transaction() as conn:
            event = await webhook_desk_repo.find_to_ask(conn, scope_tenant_id, event_id=event_id)
            if event is None:
                raise PspEventNotFound
            await audit_repo.insert(
                conn,
                event.tenant_id,
                AuditEntry(actor=actor, action="psp_event.pulled", object_kind="psp_event", object_id=str(event_id)),
            )
        try:
            return await self._hints.ask(event)
        except NotBooked as error:
            raise PullRefused(f"the ledger refused what the provider said: {error}") from None

    async def list_page(
        self, scope_tenant_id: UUID | None, *, asked: PspEventFilter, before_id: UUID | None, limit: int, offset: int
    ) -> tuple[list[PspEventRow], int]:
        """A page of deliveries of a tenant, or of all when it is None, newest first; and how many match."""
        async with self._database.connection() as conn:
            return await psp_event_repo.list_page(
                conn, scope_tenant_id, asked=asked, before_id=before_id, limit=limit, offset=offset
            )

    async def _serve(self) -> None:
        while True:
            event_ids = [await self._waiting.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while len(event_ids) < BATCH_MAX and not self._waiting.empty():
                event_ids.append(self._waiting.get_nowait())
            await self.apply(event_ids)

    async def _apply_verified(self, conn: Connection, event: PendingEvent) -> Outcome:
        assert event.provider_event_id is not None, "a verified delivery has a name"
        try:
            told = SCHEMES[event.provider].parse_event(event.body, delivery_id=event.provider_event_id)
        except UnparsableEvent as error:
            log.error("psp_event.quarantined", provider=event.provider, event_id=str(event.id), reason=str(error))
            return Outcome(state=EventState.QUARANTINED, last_error=str(error)[:ERROR_CHARS_MAX])
        known = [each for each in told if each.type is not PspEventType.UNKNOWN]
        if not known:
            return Outcome(
                state=EventState.IGNORED, event_type=PspEventType.UNKNOWN.value, detail="nothing that we act on"
            )
        applied = []
        # In one order, so that two deliveries with the same payments do not wait for each other in a circle.
        for each in sorted(known, key=lambda told: (told.reference or "", told.provider_ref or "")):
            observer = self._observer_of(each)
            if observer is None:
                return Outcome(
                    state=EventState.QUARANTINED, event_type=each.type.value, last_error="nobody applies payouts here"
                )
            applied.append(await observer.observe(conn, each, account_id=await _account_of(conn, event, each)))
        return outcome_of(applied, event_type=types_of(known))

    def _observer_of(self, event: PspEvent) -> Observer | None:
        return self._deposits if event.type.startswith("deposit.") else self._payouts

    async def _finish(self, conn: Connection, outcomes: Mapping[PendingEvent, Outcome]) -> None:
        by_id = {event.id: outcome for event, outcome in outcomes.items()}
        await psp_event_repo.finish(conn, by_id, now=self._clock())
        for event, outcome in outcomes.items():
            effect = "none" if outcome.effect is None else outcome.effect.value
            psp_telemetry.applied_total.labels(event.provider, outcome.state.value, effect).inc()

    async def _postpone(self, event_id: UUID, error: Exception) -> None:
        """Count the failure on the delivery. Where even that fails it stays due, and the next sweep finds it."""
        reason = f"{type(error).__name__}: {error}".replace("\x00", "")[:ERROR_CHARS_MAX]
        state = None
        try:
            async with self._database.connection() as conn:
                attempts = await psp_event_repo.find_attempts(conn, event_id)
                if attempts is not None:
                    state = await psp_event_repo.postpone(
                        conn,
                        event_id,
                        attempts=attempts + 1,
                        next_attempt_at=retry_at(attempts + 1, now=self._clock()),
                        last_error=reason,
                    )
        except (TemporarilyUnavailable, psycopg.Error):
            log.warning("psp_event.not_postponed", event_id=str(event_id), reason=reason)
            return
        if state is None:
            return
        psp_telemetry.failed_total.labels(state.value).inc()
        if state is EventState.DEAD:
            log.error("psp_event.dead", event_id=str(event_id), reason=reason)
        else:
            is_expected = isinstance(error, TemporarilyUnavailable | NotBooked)
            trace = None if is_expected else error
            log.warning("psp_event.postponed", event_id=str(event_id), reason=reason, exc_info=trace)

    async def _measure(self) -> None:
        now = self._clock()
        async with self._database.connection() as conn:
            backlog = await psp_event_repo.find_backlog(conn, now=now)
        psp_telemetry.inbox_due.set(backlog.due)
        psp_telemetry.inbox_dead.set(backlog.dead)
        oldest = 0.0 if backlog.oldest_at is None else (now - backlog.oldest_at).total_seconds()
        psp_telemetry.inbox_oldest_seconds.set(max(oldest, 0.0))


async def _account_of(conn: Connection, event: PendingEvent, told: PspEvent) -> str | None:
    """The account that one event of a delivery is believed to be of.

    The body is believed as far as its signature goes: an account that it names counts if the same secret signs for it.
    """
    claimed = told.account_hint
    if claimed is None or claimed == event.account_id:
        return event.account_id or None
    account = await psp_account_repo.find_signed(conn, provider=event.provider, account_id=claimed)
    shared = SHARED_NAMES.get(event.provider)
    if account is None:
        return claimed if event.secret_name == shared else event.account_id or None
    return claimed if (account.secret_name or shared) == event.secret_name else event.account_id or None


def _read(event: PendingEvent) -> tuple[PspEvent, ...]:
    """The events of a verified delivery; none if it cannot be read."""
    assert event.provider_event_id is not None, "a verified delivery has a name"
    try:
        return SCHEMES[event.provider].parse_event(event.body, delivery_id=event.provider_event_id)
    except UnparsableEvent:
        return ()
