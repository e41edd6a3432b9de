"""People, tenants, flags and the audit trail."""

from backend.app.sql.migrations import run_sql_file

revision = "0001_people"
down_revision = None


def upgrade() -> None:
    run_sql_file(revision)
