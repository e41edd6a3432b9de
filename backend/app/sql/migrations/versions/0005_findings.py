"""What a provider and the ledger see differently."""

from backend.app.sql.migrations import run_sql_file

revision = "0005_findings"
down_revision = "0004_functions"


def upgrade() -> None:
    run_sql_file(revision)
