"""Webhooks: signed by Standard Webhooks, sent until somebody answers 2xx or the schedule ends.

Whoever sends claims a webhook for one attempt: its due time moves past the longest an attempt may take, in a
transaction that is over before the first byte is sent. So any number of senders share the work, none holds a connection
while it waits for an answer, and what a sender had claimed when it died is due again afterwards.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from secrets import token_urlsafe
from typing import Final

import httpx
import psycopg
import structlog
from psycopg_pool import PoolClosed, PoolTimeout

from backend.app.psp import standard_webhooks
from backend.mockpsp.books import Books
from backend.mockpsp.records import Claimed, Signing

log = structlog.get_logger()

# Seconds before each attempt, counted from the end of the one before; the schedule of the standard's own operators.
SCHEDULE_SECONDS: Final = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER: Final = 0.1
RETRY_AFTER_SECONDS_MAX: Final = 86_400
TIMEOUT_SECONDS: Final = 15.0
LEASE_MARGIN_SECONDS: Final = 2.0
OLD_TIMESTAMP_AGE: Final = timedelta(minutes=10)

SKIPPED_BYTES_MAX: Final = 64 * 1024
CLAIM_MAX: Final = 20
# How long a webhook that another process left behind may be overlooked; our own wake us.
POLL_SECONDS: Final = 1.0
PAUSE_AFTER_FAULT_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 5.0

_AWAY: Final = (psycopg.OperationalError, PoolTimeout, PoolClosed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What webhooks are signed with; while there is a previous secret, with both."""

    current: str = field(repr=False)
    previous: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where webhooks go. `transport` None: over the network."""

    url: str
    transport: httpx.AsyncBaseTransport | None = None
    timeout_seconds: float = TIMEOUT_SECONDS


class Deliveries:
    """One sender. `clock_factor` compresses the schedule, not the time-outs."""

    def __init__(self, books: Books, *, target: Target, secrets: Secrets, clock_factor: float) -> None:
        self._books = books
        self._target = target
        self._secrets = secrets
        self._clock_factor = clock_factor
        self._client = httpx.AsyncClient(
            transport=target.transport, timeout=target.timeout_seconds, follow_redirects=False, trust_env=False
        )
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send what is due."""
        self._loop = asyncio.create_task(self._run(), name="mockpsp-deliveries")

    async def stop(self) -> None:
        """Send nothing more; wait a moment for what is under way."""
        self._is_stopping = True
        self._woken.set()
        if self._loop is not None:
            _, unfinished = await asyncio.wait({self._loop}, timeout=DRAIN_SECONDS)
            for task in unfinished:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await self._client.aclose()

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def lease_from(self, now: datetime) -> datetime:
        """Until when a claim made now holds."""
        return now + timedelta(seconds=self._target.timeout_seconds + LEASE_MARGIN_SECONDS)

    async def deliver_first_of(self, object_id: str, *, now: datetime) -> None:
        """One attempt, now, at each webhook of an order that was booked under a lease."""
        claimed = await self._books.claim_first_of_order(object_id, leased_until=self.lease_from(now))
        await self._attempt_in_order(claimed)

    async def deliver_due(self, *, now: datetime) -> int:
        """One attempt at each webhook that is due, up to CLAIM_MAX; how many there were."""
        claimed = await self._books.claim_due(now=now, leased_until=self.lease_from(now), limit=CLAIM_MAX)
        # What is due about one order is sent one after the other, in the order in which it was due.
        by_order: dict[str, list[Claimed]] = {}
        for each in claimed:
            by_order.setdefault(each.object_id, []).append(each)
        await asyncio.gather(*(self._attempt_in_order(group) for group in by_order.values()))
        return len(claimed)

    async def _run(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            try:
                if await self.deliver_due(now=datetime.now(UTC)) == 0:
                    await self._rest()
            except _AWAY as error:
                log.warning("mockpsp.books_away", error=str(error))
                await self._pause(PAUSE_AFTER_FAULT_SECONDS)
            except Exception:
                # A webhook that cannot be sent must not end all others.
                log.exception("mockpsp.delivery_crashed")
                await self._pause(PAUSE_AFTER_FAULT_SECONDS)

    async def _rest(self) -> None:
        """Wait for the next due time, for somebody's wake, or for the poll."""
        next_due_at = await self._books.find_next_due()
        seconds = POLL_SECONDS
        if next_due_at is not None:
            seconds = min(seconds, max(0.0, (next_due_at - datetime.now(UTC)).total_seconds()))
        await self._pause(seconds)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), timeout=seconds)

    async def _attempt_in_order(self, claimed: Sequence[Claimed]) -> None:
        for each in claimed:
            await self._attempt(each)

    async def _attempt(self, claimed: Claimed) -> None:
        result, retry_after_seconds = await self._send(claimed)
        if result.startswith("status_2"):
            await self._books.record_attempt(claimed, state="delivered", due_at=None, result=result)
            return
        is_last = claimed.attempt >= len(SCHEDULE_SECONDS)
        state = "given_up" if is_last else "waiting"
        due_at = None
        if not is_last:
            seconds = next_delay_seconds(claimed.attempt, retry_after_seconds=retry_after_seconds)
            due_at = datetime.now(UTC) + timedelta(seconds=seconds * self._clock_factor)
        log.info("mockpsp.delivery_failed", event_id=claimed.event_id, attempt=claimed.attempt, result=result)
        await self._books.record_attempt(claimed, state=state, due_at=due_at, result=result)

    async def _send(self, claimed: Claimed) -> tuple[str, float | None]:
        """What came of sending it, fit for a log, and the seconds that the receiver asked us to wait."""
        now = datetime.now(UTC)
        headers = {"content-type": "application/json", **self._sign(claimed, now=now)}
        try:
            # The deadline covers all of it; httpx's own time-outs start anew with each byte, and an application that
            # is called in-process has none.
            async with (
                asyncio.timeout(self._target.timeout_seconds),
                self._client.stream("POST", self._target.url, content=claimed.body, headers=headers) as response,
            ):
                # The body is of no interest; a short one is read so that the connection can serve again.
                skipped_bytes = 0
                async for chunk in response.aiter_raw():
                    skipped_bytes += len(chunk)
                    if skipped_bytes > SKIPPED_BYTES_MAX:
                        break
                return f"status_{response.status_code}", read_retry_after(response.headers, now=now)
        except (TimeoutError, httpx.TimeoutException):
            return "timeout", None
        except (httpx.HTTPError, httpx.StreamError, OSError):
            return "connection", None

    def _sign(self, claimed: Claimed, *, now: datetime) -> dict[str, str]:
        is_first = claimed.attempt == 1
        signed_at = now
        signers = [self._secrets.current] + ([self._secrets.previous] if self._secrets.previous else [])
        match claimed.signing:
            case Signing.BAD_FIRST if is_first:
                signers = [_nobodys_secret()]
            case Signing.OLD_TIMESTAMP_FIRST if is_first:
                signed_at = now - OLD_TIMESTAMP_AGE
            case Signing.PREVIOUS_SECRET:
                # Without a previous secret, the old one is one that the receiver has forgotten.
                signers = [self._secrets.previous or _nobodys_secret()]
        return standard_webhooks.sign(claimed.body, delivery_id=claimed.event_id, signed_at=signed_at, secrets=signers)


def next_delay_seconds(attempt: int, *, retry_after_seconds: float | None) -> float:
    """Seconds from the end of this failed attempt (from 1) to the next: the schedule's, or longer if asked for."""
    scheduled = SCHEDULE_SECONDS[attempt] * (1 + random.uniform(0, JITTER))
    return max(scheduled, min(retry_after_seconds or 0, RETRY_AFTER_SECONDS_MAX))


def read_retry_after(headers: httpx.Headers, *, now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for, in either of its forms (RFC 9110 §10.2.3); None where it says nothing."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _nobodys_secret() -> str:
    return token_urlsafe(32)
