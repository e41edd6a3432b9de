"""Signing in, seen from PostgreSQL: its clock, and failures, so that throttling holds across processes."""

from collections.abc import Sequence
from datetime import datetime

from backend.app import sql
from backend.app.domain.people.sign_in import WINDOW, Failures, Subject
from backend.app.repositories.database import Connection

SQL = sql.load("sign_in")


async def read_clock(conn: Connection) -> datetime:
    """The time, as sessions and tokens are measured by it."""
    row = await (await conn.execute(SQL.read_clock)).fetchone()
    assert row is not None, "a clock answers"
    moment: datetime = row[0]
    return moment


async def list_failures(conn: Connection, subjects: Sequence[Subject], *, now: datetime) -> list[Failures]:
    """What is counted against the subjects in windows that are not over at `now`."""
    cursor = await conn.execute(
        SQL.list_failures, {"subjects": [subject.key for subject in subjects], "over_since": now - WINDOW}
    )
    return [Failures._make(row) for row in await cursor.fetchall()]


async def count_failure(conn: Connection, subjects: Sequence[Subject], *, now: datetime) -> list[Failures]:
    """Count one failure against each subject, in one statement; what is counted now, this failure included."""
    parameters = {"subjects": [subject.key for subject in subjects], "over_since": now - WINDOW, "now": now}
    return [Failures._make(row) for row in await (await conn.execute(SQL.count_failure, parameters)).fetchall()]


async def clear_failures(conn: Connection, subject: Subject, *, now: datetime) -> None:
    """Forget what was counted against a subject, unless it has become too much."""
    await conn.execute(
        SQL.clear_failures,
        {"subject": subject.key, "failures_max": subject.failures_max, "over_since": now - WINDOW},
    )


async def sweep_failures(conn: Connection, *, now: datetime, limit: int) -> int:
    """Remove up to `limit` windows that are over at `now`; how many there were."""
    return (await conn.execute(SQL.sweep_failures, {"over_since": now - WINDOW, "limit": limit})).rowcount
