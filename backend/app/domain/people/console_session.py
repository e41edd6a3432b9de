"""Sessions of the console: how long they last, and what a page knows of the one it is shown in."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from backend.app.domain.identity import AdminIdentity, Role

# Without a person's doing; OWASP ASVS 4.0.3 §3.3.2 asks for 30 minutes and 12 hours where money is moved.
IDLE_TIMEOUT: Final = timedelta(minutes=30)
LIFETIME: Final = timedelta(hours=12)
# Reading a page must not be a write each time.
NOTE_ACTIVITY_EVERY: Final = timedelta(minutes=1)

# What a page has to say: the key of a text and the values that stand in it.
Flash = Mapping[str, str]


class SessionRow(NamedTuple):
    """A good session, in the order of the query's columns."""

    admin_id: UUID
    email: str
    role: Role
    tenant_id: UUID | None
    scope_tenant_id: UUID | None
    tenant_name: str | None
    flash: Flash | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSession:
    """Somebody who is signed in. tenant_name None: an owner who looks at all tenants."""

    token: str
    admin: AdminIdentity
    tenant_name: str | None
    flash: Flash | None


def session_of(token: str, row: SessionRow) -> ConsoleSession:
    """The session that a browser's token stands for."""
    return ConsoleSession(
        token=token,
        admin=AdminIdentity(
            admin_id=row.admin_id,
            email=row.email,
            role=Role(row.role),
            tenant_id=row.tenant_id,
            scope_tenant_id=row.scope_tenant_id,
        ),
        tenant_name=row.tenant_name,
        flash=row.flash,
    )


def hash_token(token: str) -> bytes:
    """What is stored of a token. A token is 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def form_token(secret: str) -> str:
    """What a form has to carry that was made for the holder of a cookie with this secret; it does not give it away."""
    return hmac.new(secret.encode(), b"hakem console form", hashlib.sha256).hexdigest()


def is_form_token(given: str, *, secret: str) -> bool:
    """Whether a form carries its holder's token; compared in constant time."""
    return hmac.compare_digest(given.encode(), form_token(secret).encode())
