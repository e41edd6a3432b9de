"""The ledger, its snapshots and its evidence."""

from backend.app.sql.migrations import run_sql_file

revision = "0002_ledger"
down_revision = "0001_people"


def upgrade() -> None:
    run_sql_file(revision)
