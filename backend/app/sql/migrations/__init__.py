"""The migrations: `versions/<stem>.py` says what follows what, `<stem>.sql` is what is done.

Forward only. Each revision is one transaction; a lock that is not granted soon fails the migration
instead of queueing the whole service behind it.
"""

from importlib import resources

from alembic import op
from psycopg import Connection

LOCK_TIMEOUT = "5s"


def run_sql_file(stem: str) -> None:
    """Run `migrations/<stem>.sql` as it stands, statement after statement, in the revision's transaction."""
    _run((resources.files(__package__) / f"{stem}.sql").read_text("utf-8"))


def run_functions(*stems: str) -> None:
    """Run `functions/<stem>.sql` for each stem, in this order."""
    folder = resources.files("backend.app.sql") / "functions"
    for stem in stems:
        _run((folder / f"{stem}.sql").read_text("utf-8"))


def _run(text: str) -> None:
    conn = op.get_bind().connection.driver_connection
    assert isinstance(conn, Connection)
    with conn.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # No parameters are passed, so the text goes to the server unchanged: % needs no doubling.
        cursor.execute(text.encode())
