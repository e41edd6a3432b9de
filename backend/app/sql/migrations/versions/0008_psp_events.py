"""The inbox of provider events."""

from backend.app.sql.migrations import run_functions, run_sql_file

revision = "0008_psp_events"
down_revision = "0007_payouts"


def upgrade() -> None:
    run_sql_file(revision)
    run_functions("webhook_mode_v1", "psp_events_prune_v1")
