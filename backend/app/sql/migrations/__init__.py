"""The migrations: `versions/<stem>.py` says what follows what, `<stem>.sql` is what is done.

Forward only. Each revision is one transaction; a lock that is not granted soon fails the migration
instead of queueing the whole service behind it.
"""

from importlib import resources
from pathlib import Path

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


def install_procrastinate() -> None:
    """Make the tables of the job queue, in a schema of their own, out of the package that is locked.

    The schema's comment names the package's newest migration, which is where an upgrade goes on from.
    """
    # Not at the top: Alembic loads this module whenever it lists the revisions, and that must stay quick.
    from procrastinate.schema import SchemaManager  # noqa: PLC0415

    _run("CREATE SCHEMA procrastinate")
    # The package names no schema: what it makes goes where the path leads first.
    _run("SET LOCAL search_path = procrastinate")
    _run(SchemaManager.get_schema())
    _run(f"COMMENT ON SCHEMA procrastinate IS '{newest_procrastinate_migration()}'")
    _run("RESET search_path")


def newest_procrastinate_migration() -> str:
    """The file name of the newest migration that the installed package brings, such as `03.04.00_50_post_….sql`."""
    from procrastinate.schema import SchemaManager  # noqa: PLC0415

    return max(path.name for path in Path(SchemaManager.get_migrations_path()).glob("*.sql"))


def _run(text: str) -> None:
    conn = op.get_bind().connection.driver_connection
    assert isinstance(conn, Connection)
    with conn.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # No parameters are passed, so the text goes to the server unchanged: % needs no doubling.
        cursor.execute(text.encode())
