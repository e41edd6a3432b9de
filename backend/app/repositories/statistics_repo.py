"""What the planner knows of the tables that grow by leaps."""

from typing import Final

import psycopg

from backend.app import sql
from backend.app.repositories.database import Connection

SQL = sql.load("statistics")

# So many new rows change what the planner should think of a table.
WORTH_IT_FROM: Final = 10_000


async def refresh(conn: Connection) -> bool:
    """Tell the planner how many rows there are; False when somebody else is at it or it takes too long."""
    try:
        await conn.execute(SQL.refresh_statistics)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.QueryCanceled):
        return False
    return True
