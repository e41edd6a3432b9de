"""Bearer tokens: signed, short-lived statements of who somebody is. HS256 only; the kind is part of the claim.

They are JSON Web Tokens, made by PyJWT and read here: a reader that has to understand only what this service issues is
a few lines, takes nothing else, and costs a sixth (docs/decisions/0026).
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

import jwt
import msgspec

from backend.app.domain.identity import PlayerIdentity, Unauthorized

ALGORITHM: Final = "HS256"
ISSUER: Final = "hakem"
PLAYER_LIFETIME: Final = timedelta(hours=12)
ADMIN_LIFETIME: Final = timedelta(hours=8)
LEEWAY: Final = timedelta(seconds=5)
# The first part of every token of ours. A token that names another algorithm, or none, differs already here.
HEADER: Final = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
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
    expires_at: datetime


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The claims as they stand in a token. One more, such as an audience, would be a limit that nobody here heeds."""

    iss: Literal["hakem"]
    kind: TokenKind
    sub: UUID
    iat: int
    exp: int
    tenant_id: UUID | None = None
    currency: str | None = None


_PAYLOAD: Final = msgspec.json.Decoder(_Payload)


class Tokens:
    """Signs and reads tokens with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._key = secret.encode()
        self._remembered: dict[str, Claims] = {}

    def issue_player(self, identity: PlayerIdentity, *, now: datetime) -> str:
        """A token for a player."""
        facts = {"tenant_id": str(identity.tenant_id), "currency": identity.currency}
        return self._issue(TokenKind.PLAYER, identity.player_id, facts, now=now, lifetime=PLAYER_LIFETIME)

    def issue_admin(self, admin_id: UUID, *, now: datetime) -> str:
        """A token for an admin. Role and tenant are looked up at each use, so a demotion takes effect at once."""
        return self._issue(TokenKind.ADMIN, admin_id, {}, now=now, lifetime=ADMIN_LIFETIME)

    def read(self, token: str, *, kind: TokenKind, now: datetime) -> Claims:
        """What the token says. Raises Unauthorized unless it is ours, of this kind and still good."""
        claims = self._remembered.get(token)
        if claims is None:
            claims = self._verify(token, now=now)
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
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        return jwt.encode({**claims, **facts}, self._secret, algorithm=ALGORITHM)

    def _verify(self, token: str, *, now: datetime) -> Claims:
        try:
            signed, _, signature = token.encode("ascii").rpartition(b".")
            header, _, payload = signed.partition(b".")
            if not hmac.compare_digest(self._signature(signed), signature) or header != HEADER:
                raise Unauthorized
            facts = _PAYLOAD.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
            if datetime.fromtimestamp(facts.iat, tz=UTC) > now + LEEWAY:
                raise Unauthorized
            return Claims(
                kind=facts.kind,
                subject=facts.sub,
                tenant_id=facts.tenant_id,
                currency=facts.currency,
                expires_at=datetime.fromtimestamp(facts.exp, tz=UTC),
            )
        except (ValueError, OverflowError, OSError):
            # Not ASCII, not Base64, not JSON, not these claims, or a time that no calendar has.
            raise Unauthorized from None

    def _signature(self, signed: bytes) -> bytes:
        return base64.urlsafe_b64encode(hmac.digest(self._key, signed, "sha256")).rstrip(b"=")
