"""Steps of withdrawals and attempts to pay them, in PostgreSQL. What is written, functions around the door write."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import psycopg

from backend.app import sql
from backend.app.domain.ledger import PostResult
from backend.app.domain.payments.finance import EvidenceUsed
from backend.app.domain.payments.payout import Attempt, AttemptName, AttemptState
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.domain.withdrawal import WithdrawalState
from backend.app.repositories.database import Connection

SQL = sql.load("payout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step to take. attempt_number: the attempt that a provider spoke of; a payment makes the next one.

    check_after: when a new attempt counts as unknown.
    """

    player_id: UUID
    withdrawal_id: UUID
    action: Action
    expected_version: int | None = None
    admin_id: UUID | None = None
    reason: str | None = None
    approvals_needed: int = 1
    attempt_number: int | None = None
    provider: str | None = None
    account_id: str | None = None
    evidence_ref: str | None = None
    provider_ref: str | None = None
    provider_event_id: str | None = None
    provider_sequence: int | None = None
    failure_code: str | None = None
    occurred_at: datetime | None = None
    check_after: timedelta | None = None


class Moved(NamedTuple):
    """What withdrawal_move_v1 did; its codes stand there. posted None: the step has no part in the ledger."""

    code: str
    state: WithdrawalState | None
    version: int | None
    attempt_number: int | None
    posted: PostResult | None

    @property
    def is_moved(self) -> bool:
        """Whether the step was taken."""
        return self.code == "moved"


class AttemptKey(NamedTuple):
    """Which attempt it is, and whose."""

    tenant_id: UUID
    withdrawal_id: UUID
    number: int


async def lock(conn: Connection, tenant_id: UUID | None, *, withdrawal_id: UUID) -> bool:
    """Lock a withdrawal of the tenant, or of any when it is None, until the transaction ends; whether there is one."""
    cursor = await conn.execute(SQL.lock_withdrawal, {"tenant_id": tenant_id, "withdrawal_id": withdrawal_id})
    return await cursor.fetchone() == (True,)


async def move(conn: Connection, tenant_id: UUID, step: Step) -> Moved:
    """Take a step: row, attempt and ledger together, or nothing. A refusal is a value; commit it like a success.

    Raises EvidenceUsed; the transaction is then good for nothing.
    """
    try:
        cursor = await conn.execute(
            SQL.move_withdrawal,
            {
                "tenant_id": tenant_id,
                "player_id": step.player_id,
                "withdrawal_id": step.withdrawal_id,
                "action": step.action.value,
                "expected_version": step.expected_version,
                "admin_id": step.admin_id,
                "reason": step.reason,
                "approvals_needed": step.approvals_needed,
                "attempt_number": step.attempt_number,
                "provider": step.provider,
                "account_id": step.account_id,
                "evidence_ref": step.evidence_ref,
                "provider_ref": step.provider_ref,
                "provider_event_id": step.provider_event_id,
                "provider_sequence": step.provider_sequence,
                "failure_code": step.failure_code,
                "occurred_at": step.occurred_at,
                "check_after": step.check_after,
            },
        )
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "payout_attempts_evidence_key":
            raise
        raise EvidenceUsed from None
    row = await cursor.fetchone()
    assert row is not None, "the function returns one row"
    posted = None if row[4] is None else PostResult._make(row[4:])
    return Moved(row[0], None if row[1] is None else WithdrawalState(row[1]), row[2], row[3], posted)


async def note(
    conn: Connection,
    tenant_id: UUID,
    *,
    attempt: Attempt,
    state: AttemptState,
    check_after: timedelta,
    provider_ref: str | None = None,
    provider_sequence: int | None = None,
) -> bool:
    """Record that an attempt is pending or unknown, and when to ask again; whether it was open."""
    cursor = await conn.execute(
        SQL.note_attempt,
        {
            "tenant_id": tenant_id,
            "player_id": attempt.player_id,
            "withdrawal_id": attempt.withdrawal_id,
            "number": attempt.number,
            "state": state.value,
            "provider_ref": provider_ref,
            "provider_sequence": provider_sequence,
            "check_after": check_after,
        },
    )
    return await cursor.fetchone() == (True,)


async def find_attempt(conn: Connection, tenant_id: UUID, *, withdrawal_id: UUID, number: int) -> Attempt | None:
    """One attempt."""
    cursor = await conn.execute(
        SQL.find_attempt, {"tenant_id": tenant_id, "withdrawal_id": withdrawal_id, "number": number}
    )
    row = await cursor.fetchone()
    return None if row is None else Attempt._make(row)


async def list_attempts(conn: Connection, tenant_id: UUID, *, withdrawal_id: UUID, limit: int) -> list[Attempt]:
    """The attempts at a withdrawal, the last first."""
    cursor = await conn.execute(
        SQL.list_attempts, {"tenant_id": tenant_id, "withdrawal_id": withdrawal_id, "limit": limit}
    )
    return [Attempt._make(row) for row in await cursor.fetchall()]


async def find_key_by_name(conn: Connection, name: AttemptName) -> AttemptKey | None:
    """Whose attempt has this name of ours."""
    cursor = await conn.execute(SQL.find_attempt_by_name, {"withdrawal_id": name.withdrawal_id, "number": name.number})
    row = await cursor.fetchone()
    return None if row is None else AttemptKey._make(row)


async def find_key_by_provider_ref(conn: Connection, *, provider: str, provider_ref: str) -> AttemptKey | None:
    """Whose attempt has this name at the provider; None also when two have it."""
    cursor = await conn.execute(SQL.find_attempt_by_provider_ref, {"provider": provider, "provider_ref": provider_ref})
    row = await cursor.fetchone()
    return None if row is None else AttemptKey._make(row)


async def find_tenant_of_account(conn: Connection, *, provider: str, account_id: str) -> UUID | None:
    """Whose account at a provider this is."""
    cursor = await conn.execute(SQL.find_tenant_of_account, {"provider": provider, "account_id": account_id})
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))


async def find_account(conn: Connection, tenant_id: UUID, *, provider: str) -> str | None:
    """The tenant's account at a provider."""
    cursor = await conn.execute(SQL.find_account, {"tenant_id": tenant_id, "provider": provider})
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def claim_due(conn: Connection, *, now: datetime, lease: timedelta, limit: int) -> list[tuple[UUID, UUID]]:
    """(tenant, withdrawal) of attempts that are due; nobody else gets them while the lease lasts."""
    cursor = await conn.execute(SQL.claim_due_attempts, {"now": now, "lease": lease, "limit": limit})
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def find_unknown(conn: Connection) -> tuple[int, datetime | None]:
    """How many attempts nobody knows the end of, and when the oldest of them was made."""
    row = await (await conn.execute(SQL.find_unknown_attempts)).fetchone()
    assert row is not None, "an aggregate returns a row"
    return int(row[0]), row[1]


async def claim(
    conn: Connection, tenant_id: UUID, *, player_id: UUID, withdrawal_id: UUID, now: datetime, interval: timedelta
) -> bool:
    """Whether the withdrawal's open attempt may be asked about: nobody did within the interval."""
    cursor = await conn.execute(
        SQL.claim_attempt,
        {
            "tenant_id": tenant_id,
            "player_id": player_id,
            "withdrawal_id": withdrawal_id,
            "now": now,
            "interval": interval,
        },
    )
    return await cursor.fetchone() == (True,)
