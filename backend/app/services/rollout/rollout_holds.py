"""Holds: what stands against enforcing a tenant or the fleet. Each call belongs to its caller's transaction, with its
audit row. Nothing here ever stands against a rollback.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.rollout.rollout_state import HoldKind, HoldNotFound, RolloutHold, ensure_hold_fits
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection
from backend.app.repositories.rollout import rollout_hold_repo

log = structlog.get_logger()


async def place(
    conn: Connection,
    kind: HoldKind,
    tenant_id: UUID | None,
    *,
    reason: str,
    until: datetime | None,
    actor: Actor,
    decision_id: UUID | None = None,
) -> RolloutHold:
    """Hold a tenant, or with None the whole fleet, until a time or until somebody lifts it. Raises FieldError."""
    ensure_hold_fits(kind, tenant_id, ends_at=until, now=datetime.now(UTC))
    hold = await rollout_hold_repo.insert(
        conn, tenant_id, kind=kind, reason=reason, placed_by=actor.label, ends_at=until, decision_id=decision_id
    )
    await audit_repo.insert(conn, tenant_id, _entry(hold, "rollout_hold.placed", reason=reason, actor=actor))
    log.warning("rollout_hold.placed", hold_kind=kind.value, tenant_id=_text(tenant_id), reason=reason)
    return hold


async def lift(
    conn: Connection,
    tenant_id: UUID | None,
    *,
    reason: str,
    actor: Actor,
    kind: HoldKind | None = None,
    hold_id: UUID | None = None,
) -> Sequence[RolloutHold]:
    """Lift what stands of the tenant's own holds, or of the fleet's: all, one, or those of a kind. Raises
    HoldNotFound.
    """
    lifted = await rollout_hold_repo.lift(
        conn, tenant_id, kind=kind, hold_id=hold_id, reason=reason, lifted_by=actor.label
    )
    if not lifted:
        raise HoldNotFound
    for hold in lifted:
        await audit_repo.insert(conn, tenant_id, _entry(hold, "rollout_hold.lifted", reason=reason, actor=actor))
        log.info("rollout_hold.lifted", hold_kind=hold.kind.value, tenant_id=_text(tenant_id), reason=reason)
    return lifted


async def list_active(conn: Connection, tenant_id: UUID | None) -> list[RolloutHold]:
    """What stands against enforcing a tenant, the fleet's holds included; with None, all there are. Newest first."""
    return await rollout_hold_repo.list_active(conn, tenant_id)


def _entry(hold: RolloutHold, action: str, *, reason: str, actor: Actor) -> AuditEntry:
    return AuditEntry(
        actor=actor,
        action=action,
        object_kind="rollout_hold",
        object_id=str(hold.id),
        reason=reason,
        after={
            "kind": hold.kind.value,
            "whole_fleet": hold.tenant_id is None,
            "ends_at": None if hold.ends_at is None else hold.ends_at.isoformat(),
            "decision_id": _text(hold.decision_id),
        },
    )


def _text(id_: UUID | None) -> str | None:
    return None if id_ is None else str(id_)
