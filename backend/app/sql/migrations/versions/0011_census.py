"""What a census found."""

from backend.app.sql.migrations import run_sql_file

revision = "0011_census"
down_revision = "0010_backfill"


def upgrade() -> None:
    run_sql_file(revision)
