"""Deposits in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from psycopg.rows import TupleRow

from backend.app import sql
from backend.app.domain.deposit import DepositState, OpenDeposit, OpenedDeposit
from backend.app.domain.idempotency import request_hash
from backend.app.domain.ledger import PostResult
from backend.app.domain.money import Money
from backend.app.domain.payments.deposit_observation import FIRST_CHECK_AFTER, DepositObservation, StoredDeposit
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.repositories.database import Connection
from backend.app.repositories.ledger_repo import results_in_order

SQL = sql.load("deposit")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureDeposit:
    """A provider has confirmed a deposit: what is to be posted. The ledger's key is the player's own."""

    deposit_id: UUID
    tenant_id: UUID
    player_id: UUID
    money: Money
    idempotency_key: str
    request_hash: bytes
    provider: str
    provider_ref: str | None
    # None for a capture that is known only because it was undone.
    provider_event_id: str | None
    provider_sequence: int | None
    occurred_at: datetime | None


class PaymentName(NamedTuple):
    """What a provider calls a payment: our reference as it gives it back, and its own."""

    provider: str
    reference: str | None
    provider_ref: str | None


class PaymentKey(NamedTuple):
    """Which deposit of whom."""

    tenant_id: UUID
    deposit_id: UUID


class DueDeposit(NamedTuple):
    """A deposit to ask the provider about. `checks`: how often it was asked on schedule."""

    tenant_id: UUID
    deposit_id: UUID
    provider: str
    provider_ref: str | None
    state: DepositState
    checks: int


async def open_many(conn: Connection, commands: Sequence[OpenDeposit]) -> list[OpenedDeposit]:
    """Write the rows that precede the provider call; one result per command, in order."""
    cursor = await conn.execute(
        SQL.open_deposits,
        {
            "deposit_ids": [command.deposit_id for command in commands],
            "tenant_ids": [command.tenant_id for command in commands],
            "player_ids": [command.player_id for command in commands],
            "currencies": [command.money.currency for command in commands],
            "amounts": [command.money.amount_minor for command in commands],
            "methods": [command.method for command in commands],
            "providers": [command.provider for command in commands],
            "idempotency_keys": [command.idempotency_key for command in commands],
            "request_hashes": [command.request_hash for command in commands],
            "unverified_caps": [command.unverified_cap_minor for command in commands],
            "first_check_after": FIRST_CHECK_AFTER,
        },
    )
    return [OpenedDeposit._make(row) for row in await cursor.fetchall()]


async def capture_many(conn: Connection, captures: Sequence[CaptureDeposit]) -> list[PostResult]:
    """Post confirmed deposits and complete their rows, in one statement; one result per capture, in order."""
    cursor = await conn.execute(
        SQL.capture_deposits,
        {
            "deposit_ids": [capture.deposit_id for capture in captures],
            "tenant_ids": [capture.tenant_id for capture in captures],
            "player_ids": [capture.player_id for capture in captures],
            "currencies": [capture.money.currency for capture in captures],
            "amounts": [capture.money.amount_minor for capture in captures],
            "idempotency_keys": [capture.idempotency_key for capture in captures],
            "request_hashes": [capture.request_hash for capture in captures],
            "providers": [capture.provider for capture in captures],
            "provider_refs": [capture.provider_ref for capture in captures],
            "provider_event_ids": [capture.provider_event_id for capture in captures],
            "provider_sequences": [capture.provider_sequence for capture in captures],
            "occurred_ats": [capture.occurred_at for capture in captures],
        },
    )
    return results_in_order(await cursor.fetchall())


async def lock_many(conn: Connection, *, deposit_ids: Sequence[UUID]) -> dict[UUID, StoredDeposit]:
    """Take the rows of deposits for this transaction, in the order of their ids; those that exist, by id."""
    cursor = await conn.execute(SQL.lock_deposits, {"deposit_ids": list(deposit_ids)})
    return {row[0]: _stored(row) for row in await cursor.fetchall()}


async def refund(conn: Connection, deposit_id: UUID, *, observation: DepositObservation) -> list[PostResult]:
    """Take a completed deposit back: from the player what is there, the rest from the house.

    One result for each of the two that pays; none when the deposit is not completed. Call under `lock_many`.
    """
    cursor = await conn.execute(
        SQL.refund_deposit,
        {
            "deposit_id": deposit_id,
            "provider_event_id": observation.provider_event_id,
            "provider_sequence": observation.sequence,
            "request_hash": request_hash("refund", str(deposit_id)),
            "occurred_at": observation.occurred_at,
        },
    )
    return results_in_order(await cursor.fetchall())


async def record(conn: Connection, deposit_id: UUID, *, observation: DepositObservation, is_failed: bool) -> None:
    """Write down what moves no money. Call under `lock_many`."""
    await conn.execute(
        SQL.record_deposit,
        {
            "deposit_id": deposit_id,
            "is_failed": is_failed,
            "provider_ref": observation.provider_ref,
            "failure_code": observation.failure_code,
            "status_class": observation.status_class.value,
            "provider_sequence": observation.sequence,
        },
    )


async def find_payments(conn: Connection, names: Sequence[PaymentName]) -> list[PaymentKey | None]:
    """The deposits that a provider means, in order: by our id of it, else by its own name for the payment."""
    cursor = await conn.execute(
        SQL.find_payments,
        {
            "providers": [name.provider for name in names],
            "deposit_ids": [_find_uuid(name.reference) for name in names],
            "provider_refs": [name.provider_ref for name in names],
        },
    )
    return [None if row[1] is None else PaymentKey._make(row) for row in await cursor.fetchall()]


async def find_payment(conn: Connection, name: PaymentName) -> PaymentKey | None:
    """The deposit that a provider means."""
    (found,) = await find_payments(conn, [name])
    return found


async def find_one(conn: Connection, tenant_id: UUID, *, deposit_id: UUID) -> DueDeposit | None:
    """What is needed to ask the provider about a deposit."""
    cursor = await conn.execute(SQL.find_deposit, {"tenant_id": tenant_id, "deposit_id": deposit_id})
    row = await cursor.fetchone()
    return None if row is None else DueDeposit._make(row)


async def list_due(conn: Connection, *, now: datetime, limit: int) -> list[DueDeposit]:
    """Open deposits whose provider is to be asked, the longest due first."""
    cursor = await conn.execute(SQL.list_due_deposits, {"now": now, "limit": limit})
    return [DueDeposit._make(row) for row in await cursor.fetchall()]


async def take_check(conn: Connection, deposit_id: UUID, *, checks: int, next_check_at: datetime) -> bool:
    """Take check number `checks` of a deposit, and set when the next is due; False: somebody else has it."""
    cursor = await conn.execute(
        SQL.check_deposit, {"deposit_id": deposit_id, "checks": checks, "next_check_at": next_check_at}
    )
    return await cursor.fetchone() == (True,)


async def is_opened(conn: Connection, tenant_id: UUID, *, player_id: UUID, idempotency_key: str) -> bool:
    """Whether a deposit with the key exists."""
    cursor = await conn.execute(
        SQL.is_opened, {"tenant_id": tenant_id, "player_id": player_id, "idempotency_key": idempotency_key}
    )
    return await cursor.fetchone() == (True,)


def _find_uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def _stored(row: TupleRow) -> StoredDeposit:
    (
        id_,
        tenant_id,
        player_id,
        amount,
        currency,
        state,
        method,
        provider,
        provider_ref,
        provider_event_id,
        failure_code,
        status_class,
        provider_sequence,
        checks,
        idempotency_key,
        request_hash_,
        created_at,
        updated_at,
    ) = row
    return StoredDeposit(
        id=id_,
        tenant_id=tenant_id,
        player_id=player_id,
        money=Money(amount_minor=amount, currency=currency),
        state=DepositState(state),
        method=method,
        provider=provider,
        provider_ref=provider_ref,
        provider_event_id=provider_event_id,
        failure_code=failure_code,
        status_class=None if status_class is None else StatusClass(status_class),
        provider_sequence=provider_sequence,
        checks=checks,
        idempotency_key=idempotency_key,
        request_hash=bytes(request_hash_),
        created_at=created_at,
        updated_at=updated_at,
    )
