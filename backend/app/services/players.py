"""Players: registered, made by admins, verified, and looked at with both balances side by side."""

from typing import Any
from uuid import UUID

from backend.app.domain.audit import Actor, ActorKind, AuditEntry
from backend.app.domain.ledger import PlayerNotFound
from backend.app.domain.money import parse_currency
from backend.app.domain.player import CreatePlayer, KycStatus, Player, PlayerFilter
from backend.app.domain.tenant import InvalidTenant
from backend.app.repositories import audit_repo, ledger_repo, player_repo, tenant_repo
from backend.app.repositories.database import Connection, Database
from backend.app.services.people.passwords import Passwords


class Players:
    """The player service. Built once per process."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def currency(self, tenant_id: UUID, *, asked: str | None) -> str:
        """The currency of a new player: the one asked for, else the tenant's. Raises InvalidTenant or FieldError."""
        async with self._database.connection() as conn:
            base_currency = await tenant_repo.find_base_currency(conn, tenant_id)
        if base_currency is None:
            raise InvalidTenant
        return base_currency if asked is None else parse_currency(asked)

    async def register(self, command: CreatePlayer, *, request_id: str | None) -> Player:
        """A player registers. Raises PlayerExists or InvalidTenant."""
        return await self._create(command, actor=None, request_id=request_id)

    async def create(self, command: CreatePlayer, *, actor: Actor) -> Player:
        """Somebody else makes a player. Raises PlayerExists or InvalidTenant."""
        return await self._create(command, actor=actor, request_id=actor.request_id)

    async def _create(self, command: CreatePlayer, *, actor: Actor | None, request_id: str | None) -> Player:
        """Row, wallet and audit in one transaction; without an actor the player is the one who acts."""
        password_hash = None if command.password is None else await self._passwords.hash(command.password)
        tenant_id = command.tenant_id
        async with self._database.transaction() as conn:
            player_id = await player_repo.insert(conn, tenant_id, command=command, password_hash=password_hash)
            if command.legacy_balances is None:
                await ledger_repo.open_wallets(conn, tenant_id, player_ids=[player_id])
            player = await _get(conn, tenant_id, player_id=player_id)
            themselves = Actor(kind=ActorKind.PLAYER, actor_id=player_id, label=command.email, request_id=request_id)
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor or themselves,
                    action="player.created" if actor else "player.registered",
                    object_kind="player",
                    object_id=str(player_id),
                    after=player.audit_state,
                ),
            )
        return player

    async def set_kyc_status(
        self,
        scope_tenant_id: UUID | None,
        *,
        player_id: UUID,
        kyc_status: KycStatus,
        reason: str | None,
        actor: Actor,
    ) -> Player:
        """Record what is known about a player's identity; also a decision that changes nothing is one. Raises
        PlayerNotFound.
        """
        async with self._database.transaction() as conn:
            former = await player_repo.lock_kyc_status(conn, scope_tenant_id, player_id=player_id)
            if former is None:
                raise PlayerNotFound
            tenant_id = await player_repo.update_kyc_status(
                conn, scope_tenant_id, player_id=player_id, kyc_status=kyc_status
            )
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="player.kyc_changed",
                    object_kind="player",
                    object_id=str(player_id),
                    reason=reason,
                    before={"kyc_status": former.value},
                    after={"kyc_status": kyc_status.value},
                ),
            )
            return await _get(conn, tenant_id, player_id=player_id)

    async def get(self, scope_tenant_id: UUID | None, *, player_id: UUID) -> Player:
        """A player with both sides. Raises PlayerNotFound."""
        async with self._database.connection() as conn:
            return await _get(conn, scope_tenant_id, player_id=player_id)

    async def find_active_id(self, tenant_id: UUID, *, email: str) -> UUID | None:
        """The active player of a tenant with an address."""
        async with self._database.connection() as conn:
            found = await player_repo.find_credentials(conn, tenant_id, email=email)
        return found.id if found is not None and found.is_active else None

    async def list_page(
        self,
        scope_tenant_id: UUID | None,
        *,
        asked: PlayerFilter,
        before_id: UUID | None,
        limit: int,
        offset: int,
    ) -> tuple[list[Player], int]:
        """A page of the players of a tenant, or of everywhere when it is None, newest first; and how many match."""
        async with self._database.connection() as conn:
            return await player_repo.list_page(
                conn, scope_tenant_id, asked=asked, before_id=before_id, limit=limit, offset=offset
            )

    async def list_ledger(
        self,
        scope_tenant_id: UUID | None,
        *,
        player_id: UUID,
        after_version: int,
        limit: int,
        offset: int,
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of a player's ledger in order, from after a wallet version, and how many there are in all. Raises
        PlayerNotFound.
        """
        async with self._database.connection() as conn:
            player = await _get(conn, scope_tenant_id, player_id=player_id)
            page = await ledger_repo.list_player_transactions(
                conn,
                player.tenant_id,
                player_id=player_id,
                currency=player.currency,
                after_version=after_version,
                limit=limit,
                offset=offset,
            )
            total = await ledger_repo.count_player_transactions(
                conn, player.tenant_id, player_id=player_id, currency=player.currency
            )
        return page, total


async def _get(conn: Connection, tenant_id: UUID | None, *, player_id: UUID) -> Player:
    player = await player_repo.find(conn, tenant_id, player_id=player_id)
    if player is None:
        raise PlayerNotFound
    return player
