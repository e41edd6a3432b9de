"""Reconciliation: runs, statements, what is unmatched, and adjustments under four eyes."""

from backend.app.sql.migrations import run_functions, run_sql_file

revision = "0015_reconciliation"
down_revision = "0013_monitor"


def upgrade() -> None:
    run_sql_file(revision)
    run_functions("finding_stays_v1", "ledger_adjustment_v1", "statement_statistics_v1")
