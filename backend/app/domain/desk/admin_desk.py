"""What those see who manage admins: people with how they are signed in, and one person with what there is to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.app.domain.desk.audit_desk import SeenDeed
from backend.app.domain.identity import Role


class Person(NamedTuple):
    """An admin with how they are signed in to the console, in the order of the query's columns.

    tenant_name None: an owner. last_signed_in_at None: never yet. seen_at: the latest doing in a session that is good.
    """

    id: UUID
    tenant_id: UUID | None
    email: str
    role: Role
    is_active: bool
    created_at: datetime
    updated_at: datetime
    last_signed_in_at: datetime | None
    tenant_name: str | None
    sessions: int
    seen_at: datetime | None


class OpenSession(NamedTuple):
    """A session at the console that is good, in the order of the query's columns. is_own: of the one who looks."""

    opened_at: datetime
    seen_at: datetime
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonDetail:
    """One admin: sessions, and what they did last."""

    person: Person
    sessions: Sequence[OpenSession]
    deeds: Sequence[SeenDeed]
