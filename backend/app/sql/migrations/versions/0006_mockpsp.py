"""The books of MockPSP."""

from backend.app.sql.migrations import run_sql_file

revision = "0006_mockpsp"
down_revision = "0005_findings"


def upgrade() -> None:
    run_sql_file(revision)
