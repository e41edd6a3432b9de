"""MockPSP's books in PostgreSQL, schema mockpsp, over a pool of their own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from backend.app.sql import Queries
from backend.mockpsp.records import Amount, Claimed, Delivery, Event, KeyConflict, Kind, Line, Order, Signing

Connection = AsyncConnection[TupleRow]

SQL: Final = Queries("books", folder=Path(__file__).parent)

CONNECTIONS_MAX: Final = 8
WAIT_SECONDS: Final = 10.0
# No write takes longer, so a window that ended that long ago has all its lines (statement.py).
STATEMENT_TIMEOUT_SECONDS: Final = 5
EVENTS_MAX: Final = 1_000
SAME_REFERENCE_MAX: Final = 10

_BOOK: Final = {Kind.PAYMENT: SQL.book_payment, Kind.PAYOUT: SQL.book_payout}
_FIND_BY_KEY: Final = {Kind.PAYMENT: SQL.find_payment_by_key, Kind.PAYOUT: SQL.find_payout_by_key}
_LOCK: Final = {Kind.PAYMENT: SQL.lock_payment, Kind.PAYOUT: SQL.lock_payout}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a statement is about: movements of an account in [from_at, to_at), as they were at `as_of`."""

    account: str
    from_at: datetime
    to_at: datetime
    as_of: datetime
    # Of PostgreSQL, in its own notation: which transactions had committed by then.
    snapshot: str

    @property
    def parameters(self) -> dict[str, object]:
        """The window for a query."""
        return {
            "account": self.account,
            "from_at": self.from_at,
            "to_at": self.to_at,
            "as_of": self.as_of,
            "snapshot": self.snapshot,
        }


class Books:
    """The pool, and the queries that stand alone. Open it before use."""

    def __init__(self, database_url: str, *, set_role: str | None) -> None:
        self._set_role = set_role
        options = {
            "statement_timeout": STATEMENT_TIMEOUT_SECONDS * 1000,
            "lock_timeout": 3_000,
            "idle_in_transaction_session_timeout": 10_000,
            "timezone": "UTC",
            "jit": "off",
        }
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            database_url,
            min_size=1,
            max_size=CONNECTIONS_MAX,
            timeout=WAIT_SECONDS,
            open=False,
            name="mockpsp",
            configure=self._configure,
            kwargs={
                "autocommit": True,
                "application_name": "mockpsp",
                "options": " ".join(f"-c {option}={value}" for option, value in options.items()),
                "prepare_threshold": 1,
            },
        )

    async def open(self) -> None:
        """Open the pool and prove that a connection can be had. Raises PoolTimeout."""
        await self._pool.open(wait=True, timeout=WAIT_SECONDS)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=5.0)

    async def _configure(self, conn: Connection) -> None:
        if self._set_role is not None:
            await conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self._set_role)))

    async def _rows(self, query: bytes, parameters: Mapping[str, object]) -> list[TupleRow]:
        async with self._pool.connection() as conn:
            return await (await conn.execute(query, parameters)).fetchall()

    async def book(
        self, order: Order, events: Sequence[Event], deliveries: Sequence[Delivery], *, now: datetime
    ) -> bool:
        """Book an order with its whole course, in one statement; False when its key was used before."""
        rows = await self._rows(
            _BOOK[order.kind],
            {
                "id": order.id,
                "idempotency_key": order.idempotency_key,
                "account": order.account,
                "reference": order.reference,
                "amount": order.amount.minor,
                "currency": order.amount.currency,
                "method": order.method,
                "address": order.address,
                "is_captured_at_once": order.is_captured_at_once,
                "now": now,
                "events": _event_rows(events),
                "deliveries": _delivery_rows(deliveries),
            },
        )
        return rows == [(1,)]

    async def find_booked(self, kind: Kind, idempotency_key: str) -> tuple[Order, Event] | None:
        """The order that a key was used for and the event that it was answered with."""
        async with self._pool.connection() as conn:
            row = await (await conn.execute(_FIND_BY_KEY[kind], {"idempotency_key": idempotency_key})).fetchone()
            if row is None:
                return None
            order = _order(kind, row)
            return order, (await list_events(conn, order.id))[0]

    async def find_latest(self, kind: Kind, object_id: str, *, account: str, now: datetime) -> Event | None:
        """What is true of an order."""
        rows = await self._rows(
            SQL.find_latest_event, {"kind": kind.value, "object_id": object_id, "account": account, "now": now}
        )
        return _event(rows[0]) if rows else None

    async def list_by_reference(self, kind: Kind, reference: str, *, account: str, now: datetime) -> list[Event]:
        """What is true of each order with the merchant's reference; references need not be unique."""
        rows = await self._rows(
            SQL.list_latest_events,
            {
                "kind": kind.value,
                "reference": reference,
                "account": account,
                "now": now,
                "limit": SAME_REFERENCE_MAX,
            },
        )
        return [_event(row) for row in rows]

    async def lose_request(self, idempotency_key: str, *, now: datetime) -> bool:
        """Whether this is the first request with the key, which gets lost."""
        return bool(await self._rows(SQL.lose_request, {"idempotency_key": idempotency_key, "now": now}))

    @asynccontextmanager
    async def locked(self, kind: Kind, object_id: str) -> AsyncIterator[tuple[Connection, Order | None]]:
        """An order under its lock, in one transaction that commits when the block ends well; None if there is none.

        Raises KeyConflict when an event is added under a key that another order's event has.
        """
        try:
            async with self._pool.connection() as conn, conn.transaction():
                row = await (await conn.execute(_LOCK[kind], {"id": object_id})).fetchone()
                yield conn, None if row is None else _order(kind, row)
        except UniqueViolation as violation:
            if violation.diag.constraint_name != "events_idempotency_key":
                raise
            raise KeyConflict from violation

    async def take_snapshot(self) -> str:
        """What is committed now, as PostgreSQL writes it."""
        rows = await self._rows(SQL.take_snapshot, {})
        return str(rows[0][0])

    async def sum_statement(self, window: Window) -> tuple[int, dict[str, int]]:
        """How many lines the window has, and their sums by currency."""
        rows = await self._rows(SQL.sum_statement, window.parameters)
        return sum(lines for _, lines, _ in rows), {currency: int(amount) for currency, _, amount in rows}

    async def list_statement(self, window: Window, *, after: tuple[datetime, str], limit: int) -> list[Line]:
        """Lines of the window, oldest first, after the position."""
        after_at, after_event_id = after
        rows = await self._rows(
            SQL.list_statement,
            {**window.parameters, "after_at": after_at, "after_event_id": after_event_id, "limit": limit},
        )
        return [Line._make(row) for row in rows]

    async def claim_due(self, *, now: datetime, leased_until: datetime, limit: int) -> list[Claimed]:
        """Webhooks that are due, ours until the lease ends, in the order in which they were due."""
        rows = await self._rows(SQL.claim_due, {"now": now, "leased_until": leased_until, "limit": limit})
        return [_claimed(row) for row in rows]

    async def claim_first_of_order(self, object_id: str, *, leased_until: datetime) -> list[Claimed]:
        """The webhooks of an order that nobody has attempted yet."""
        rows = await self._rows(SQL.claim_first_of_order, {"object_id": object_id, "leased_until": leased_until})
        return [_claimed(row) for row in rows]

    async def record_attempt(self, claimed: Claimed, *, state: str, due_at: datetime | None, result: str) -> None:
        """Write what became of an attempt; `due_at` is when the next one is due, None to leave it."""
        async with self._pool.connection() as conn:
            await conn.execute(
                SQL.record_attempt,
                {
                    "delivery_id": claimed.delivery_id,
                    "attempt": claimed.attempt,
                    "state": state,
                    "due_at": due_at,
                    "result": result,
                },
            )

    async def find_next_due(self) -> datetime | None:
        """When the next webhook is due."""
        rows = await self._rows(SQL.find_next_due, {})
        due_at: datetime | None = rows[0][0]
        return due_at


async def list_events(conn: Connection, object_id: str) -> list[Event]:
    """All events of an order, those to come included, in their sequence."""
    cursor = await conn.execute(SQL.list_events, {"object_id": object_id, "limit": EVENTS_MAX})
    return [_event(row) for row in await cursor.fetchall()]


async def add_events(conn: Connection, order: Order, events: Sequence[Event], deliveries: Sequence[Delivery]) -> None:
    """Add to an order that is locked."""
    await conn.execute(
        SQL.add_events,
        {
            "kind": order.kind.value,
            "id": order.id,
            "account": order.account,
            "reference": order.reference,
            "events": _event_rows(events),
            "deliveries": _delivery_rows(deliveries),
        },
    )


async def remove_events_after(conn: Connection, object_id: str, *, now: datetime) -> None:
    """Take back what has not happened yet to an order that is locked."""
    await conn.execute(SQL.remove_events_after, {"object_id": object_id, "now": now})


def _event_rows(events: Sequence[Event]) -> str:
    """Events as one JSON parameter: a dozen arrays would cost more than the query."""
    rows = [
        {
            "event_id": event.event_id,
            "sequence": event.sequence,
            "type": event.type,
            "status": event.status,
            "amount": event.amount.minor,
            "currency": event.amount.currency,
            "movement": event.movement,
            "failure_code": event.failure_code,
            "idempotency_key": event.idempotency_key,
            "occurred_at": event.occurred_at,
        }
        for event in events
    ]
    return msgspec.json.encode(rows).decode()


def _delivery_rows(deliveries: Sequence[Delivery]) -> str:
    """Webhooks as one JSON parameter. Their bodies are UTF-8, so that as text they stay the same bytes."""
    rows = [
        {
            "event_id": delivery.event_id,
            "body": delivery.body.decode(),
            "signing": delivery.signing.value,
            "due_at": delivery.due_at,
        }
        for delivery in deliveries
    ]
    return msgspec.json.encode(rows).decode()


def _order(kind: Kind, row: TupleRow) -> Order:
    order_id, idempotency_key, account, reference, amount, currency, method, address, is_captured_at_once = row
    return Order(
        kind=kind,
        id=order_id,
        idempotency_key=idempotency_key,
        account=account,
        reference=reference,
        amount=Amount(amount, currency),
        method=method,
        address=address,
        is_captured_at_once=is_captured_at_once,
    )


def _event(row: TupleRow) -> Event:
    (
        event_id, kind, object_id, account, reference, sequence, event_type, status, amount, currency, movement,
        failure_code, idempotency_key, occurred_at,
    ) = row  # fmt: skip
    return Event(
        event_id=event_id,
        kind=Kind(kind),
        object_id=object_id,
        account=account,
        reference=reference,
        sequence=sequence,
        type=event_type,
        status=status,
        amount=Amount(amount, currency),
        movement=movement,
        failure_code=failure_code,
        idempotency_key=idempotency_key,
        occurred_at=occurred_at,
    )


def _claimed(row: TupleRow) -> Claimed:
    delivery_id, event_id, object_id, body, signing, attempt = row
    return Claimed(delivery_id, event_id, object_id, bytes(body), Signing(signing), attempt)
