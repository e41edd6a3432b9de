"""Bearer tokens: signed, short-lived statements of who somebody is. HS256 only; the kind is part of the claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import jwt

from backend.app.domain.identity import PlayerIdentity, Unauthorized

ALGORITHM: Final = "HS256"
ISSUER: Final = "hakem"
PLAYER_LIFETIME: Final = timedelta(hours=12)
ADMIN_LIFETIME: Final = timedelta(hours=8)
LEEWAY: Final = timedelta(seconds=5)
# Verified tokens kept so that a busy client's signature is not computed for every request. Only the signature and its
# expiry are remembered: whether the account is still active is asked of the database each time.
REMEMBERED_MAX: Final = 20_000


class TokenKind(StrEnum):
    """Who a token is for; one is never good for the other."""

    PLAYER = "player"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a good token says."""

    kind: TokenKind
    subject: UUID
    tenant_id: UUID | None
    currency: str | None
    issued_at: datetime
    expires_at: datetime


class Tokens:
    """Signs and reads tokens with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._remembered: dict[str, Claims] = {}

    def issue_player(self, identity: PlayerIdentity, *, now: datetime) -> str:
        """A token for a player."""
        facts = {"tenant_id": str(identity.tenant_id), "currency": identity.currency}
        return self._issue(TokenKind.PLAYER, identity.player_id, facts, now=now, lifetime=PLAYER_LIFETIME)

    def issue_admin(self, admin_id: UUID, *, now: datetime) -> str:
        """A token for an admin. Role and tenant are looked up at each use, so a demotion takes effect at once; and
        another password ends it: `now` is the database's time from before the password was looked at.
        """
        return self._issue(TokenKind.ADMIN, admin_id, {}, now=now, lifetime=ADMIN_LIFETIME)

    def read(self, token: str, *, kind: TokenKind, now: datetime) -> Claims:
        """What the token says. Raises Unauthorized unless it is ours, of this kind and still good."""
        claims = self._remembered.get(token)
        if claims is None:
            claims = self._verify(token)
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[token] = claims
        if claims.kind is not kind or claims.expires_at + LEEWAY <= now:
            raise Unauthorized
        return claims

    def _issue(
        self, kind: TokenKind, subject: UUID, facts: Mapping[str, str], *, now: datetime, lifetime: timedelta
    ) -> str:
        claims = {
            "iss": ISSUER,
            "kind": kind.value,
            "sub": str(subject),
            # To the microsecond: an admin's token is held against the moment from which tokens are good.
            "iat": now.timestamp(),
            "exp": int((now + lifetime).timestamp()),
        }
        return jwt.encode({**claims, **facts}, self._secret, algorithm=ALGORITHM)

    def _verify(self, token: str) -> Claims:
        try:
            payload = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "sub", "kind"]},
            )
            return Claims(
                kind=TokenKind(payload["kind"]),
                subject=UUID(payload["sub"]),
                tenant_id=UUID(payload["tenant_id"]) if "tenant_id" in payload else None,
                currency=payload.get("currency"),
                issued_at=datetime.fromtimestamp(payload["iat"], tz=UTC),
                expires_at=datetime.fromtimestamp(payload["exp"], tz=UTC),
            )
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
            raise Unauthorized from None
