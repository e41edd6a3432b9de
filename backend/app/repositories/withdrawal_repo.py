"""Withdrawals in PostgreSQL."""

from collections.abc import Sequence

from backend.app import sql
from backend.app.domain.ledger import PostResult
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories.database import Connection
from backend.app.repositories.ledger_repo import results_in_order

SQL = sql.load("withdrawal")


async def request(conn: Connection, commands: Sequence[RequestWithdrawal]) -> list[PostResult]:
    """Place the hold and write the row of each request, in one statement; one result per command, in order."""
    cursor = await conn.execute(
        SQL.request_withdrawals,
        {
            "withdrawal_ids": [command.withdrawal_id for command in commands],
            "tenant_ids": [command.tenant_id for command in commands],
            "player_ids": [command.player_id for command in commands],
            "currencies": [command.money.currency for command in commands],
            "amounts": [command.money.amount_minor for command in commands],
            "methods": [command.method for command in commands],
            "addresses": [command.address for command in commands],
            "idempotency_keys": [command.idempotency_key for command in commands],
            "request_hashes": [command.request_hash for command in commands],
        },
    )
    return results_in_order(await cursor.fetchall())
