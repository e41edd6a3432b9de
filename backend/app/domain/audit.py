"""The audit: who did what to which object, and how it looked before and after. Written with the deed or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

# What a state before or after may be made of: named values as a person would read them. Never a secret.
State = Mapping[str, str | int | bool | None]


class ActorKind(StrEnum):
    """What kind of somebody acted."""

    ADMIN = "admin"
    PLAYER = "player"
    # Somebody at the command line of the service.
    OPERATOR = "operator"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts. `label` is the name people know it by; `request_id` is of the request it acts in, if there is one, and
    `client_address` where that came from.
    """

    kind: ActorKind
    actor_id: UUID | None
    label: str
    request_id: str | None = None
    client_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One deed, to be written in the transaction of the deed. `action` is <object kind>.<past tense>."""

    actor: Actor
    action: str
    object_kind: str
    object_id: str
    reason: str | None = None
    before: State | None = None
    after: State | None = None


class AuditEvent(NamedTuple):
    """One row of the audit, in the order of the query's columns."""

    id: UUID
    tenant_id: UUID | None
    actor_kind: ActorKind
    actor_id: UUID | None
    actor_label: str
    action: str
    object_kind: str
    object_id: str
    reason: str | None
    state_before: State | None
    state_after: State | None
    request_id: str | None
    client_address: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What to list; None leaves a field open. `actor` is an id or a label. The range is [date_from, date_to)."""

    tenant_id: UUID | None = None
    action: str | None = None
    actor: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
