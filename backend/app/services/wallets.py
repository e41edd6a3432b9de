"""Reading a player's wallet, as the arbiter sees it."""

from typing import Any
from uuid import UUID

from backend.app.domain.ledger import Arbiter, Balance, PlayerUnauthorized
from backend.app.repositories import wallet_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.wallet_repo import BothBalances


class Wallets:
    """The wallet service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def balance(self, tenant_id: UUID, *, player_id: UUID) -> Balance:
        """What the arbiter says the player has. Raises PlayerUnauthorized for a disabled or unknown player.

        A wallet that is not opened holds nothing where the ledger is the arbiter: it fails closed until it is opened.
        """
        async with self._database.connection() as conn:
            both = await _find_active(conn, tenant_id, player_id=player_id)
        if both.arbiter == Arbiter.LEDGER:
            is_open = both.opened_at is not None
            return Balance(
                currency=both.currency,
                available_minor=(both.ledger_available or 0) if is_open else 0,
                held_minor=(both.ledger_pending or 0) if is_open else 0,
            )
        return Balance(currency=both.currency, available_minor=both.legacy_available, held_minor=both.legacy_held)

    async def list_money(
        self, tenant_id: UUID, *, player_id: UUID, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of the player's deposits and withdrawals, newest first, and how many there are. Raises
        PlayerUnauthorized for a disabled or unknown player.
        """
        async with self._database.connection() as conn:
            await _find_active(conn, tenant_id, player_id=player_id)
            return await wallet_repo.list_player_money(conn, tenant_id, player_id=player_id, limit=limit, offset=offset)


async def _find_active(conn: Connection, tenant_id: UUID, *, player_id: UUID) -> BothBalances:
    both = await wallet_repo.find_balances(conn, tenant_id, player_id=player_id)
    if both is None or not both.is_active:
        raise PlayerUnauthorized
    return both
