"""Deposits, withdrawals and the accounts at providers."""

from backend.app.sql.migrations import run_sql_file

revision = "0003_payments"
down_revision = "0002_ledger"


def upgrade() -> None:
    run_sql_file(revision)
