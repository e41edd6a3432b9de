"""The console's sessions, and what its searches read."""

from backend.app.sql.migrations import run_sql_file

revision = "0016_console"
down_revision = "0015_reconciliation"


def upgrade() -> None:
    run_sql_file(revision)
