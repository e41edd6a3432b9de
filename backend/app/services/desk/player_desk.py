"""Looking for players and at their money. What is decided about them is services/players.py."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from backend.app.domain.desk.player_desk import EXPLAINED_MAX, Explanation, FoundPlayer, PlayerDetail
from backend.app.domain.ledger import PlayerNotFound
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.desk import player_desk_repo

LINES: Final = 50
MOVEMENTS: Final = 15


class PlayerDesk:
    """The reading service for players. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def search(
        self, scope_tenant_id: UUID | None, *, text: str, before_id: UUID | None, limit: int
    ) -> tuple[Sequence[FoundPlayer], bool]:
        """The players that match a text, or the newest when it is empty; and whether there are more."""
        async with self._database.connection() as conn:
            if text:
                ids = await player_desk_repo.list_matching_ids(conn, scope_tenant_id, text=text, limit=limit + 1)
            else:
                ids = await player_desk_repo.list_newest_ids(
                    conn, scope_tenant_id, before_id=before_id, limit=limit + 1
                )
            return await player_desk_repo.list_players(conn, scope_tenant_id, player_ids=ids[:limit]), len(ids) > limit

    async def get(
        self,
        scope_tenant_id: UUID | None,
        *,
        player_id: UUID,
        before_version: int | None = None,
        before_at: datetime | None = None,
    ) -> PlayerDetail:
        """A player, a page of the statement and of the movements, as they are at one moment. Raises PlayerNotFound."""
        async with self._database.snapshot() as conn:
            found = await _find(conn, scope_tenant_id, player_id=player_id)
            player = found.player
            lines = await player_desk_repo.list_statement(
                conn, player.tenant_id, player=player, before_version=before_version, limit=LINES + 1
            )
            movements = await player_desk_repo.list_movements(
                conn, player.tenant_id, player_id=player_id, before_at=before_at, limit=MOVEMENTS + 1
            )
            return PlayerDetail(
                player=player,
                tenant_name=found.tenant_name,
                lines=lines[:LINES],
                has_more_lines=len(lines) > LINES,
                movements=movements[:MOVEMENTS],
                has_more_movements=len(movements) > MOVEMENTS,
                mismatches=await player_desk_repo.list_mismatches(conn, player.tenant_id, player_id=player_id),
            )

    async def explain(self, scope_tenant_id: UUID | None, *, player_id: UUID) -> tuple[FoundPlayer, Explanation]:
        """How the player's balance came to be, as it is at one moment. Raises PlayerNotFound."""
        async with self._database.snapshot() as conn:
            found = await _find(conn, scope_tenant_id, player_id=player_id)
            player = found.player
            from_version = max(0, (player.wallet_version or 0) - EXPLAINED_MAX)
            opening = (0, 0)
            if from_version > 0:
                image = await player_desk_repo.find_after_image(
                    conn, player.tenant_id, player=player, wallet_version=from_version
                )
                # A row that is missing is told by sums that do not come to the balance.
                opening = image or opening
            sums = await player_desk_repo.list_type_sums(
                conn, player.tenant_id, player=player, from_version=from_version, limit=EXPLAINED_MAX
            )
            return found, Explanation(
                from_version=from_version,
                opening_available=opening[0],
                opening_pending=opening[1],
                sums=sums,
                snapshot_available=player.ledger_available or 0,
                snapshot_pending=player.ledger_pending or 0,
            )


async def _find(conn: Connection, tenant_id: UUID | None, *, player_id: UUID) -> FoundPlayer:
    found = await player_desk_repo.list_players(conn, tenant_id, player_ids=[player_id])
    if not found:
        raise PlayerNotFound
    return found[0]
