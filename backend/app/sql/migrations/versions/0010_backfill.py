"""The backfill: its runs, and the functions that open and force wallets."""

from backend.app.sql.migrations import run_functions, run_sql_file

revision = "0010_backfill"
down_revision = "0009_jobs"


def upgrade() -> None:
    run_sql_file(revision)
    run_functions(
        "backfill_judge_v1",
        "backfill_force_v1",
        "backfill_note_v1",
        "backfill_next_v1",
        "backfill_chunk_v1",
        "statistics_refresh_v1",
    )
