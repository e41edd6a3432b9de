"""Deposits in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.app import sql
from backend.app.domain.deposit import OpenDeposit, OpenedDeposit
from backend.app.domain.ledger import PostResult
from backend.app.domain.money import Money
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
    provider_ref: str
    provider_event_id: str
    occurred_at: datetime


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
            "occurred_ats": [capture.occurred_at for capture in captures],
        },
    )
    return results_in_order(await cursor.fetchall())


async def fail(
    conn: Connection,
    tenant_id: UUID,
    *,
    player_id: UUID,
    deposit_id: UUID,
    provider_ref: str | None,
    failure_code: str,
) -> bool:
    """Record the provider's final refusal; whether the deposit was still open."""
    cursor = await conn.execute(
        SQL.fail_deposit,
        {
            "tenant_id": tenant_id,
            "player_id": player_id,
            "deposit_id": deposit_id,
            "provider_ref": provider_ref,
            "failure_code": failure_code,
        },
    )
    row = await cursor.fetchone()
    assert row is not None, "a function returns a row"
    return bool(row[0])


async def is_opened(conn: Connection, tenant_id: UUID, *, player_id: UUID, idempotency_key: str) -> bool:
    """Whether a deposit with the key exists."""
    cursor = await conn.execute(
        SQL.is_opened, {"tenant_id": tenant_id, "player_id": player_id, "idempotency_key": idempotency_key}
    )
    return await cursor.fetchone() == (True,)
