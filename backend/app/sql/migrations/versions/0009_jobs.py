"""Background jobs: the tables of procrastinate in a schema of their own, and our functions on them."""

from backend.app.sql.migrations import install_procrastinate, run_functions, run_sql_file

revision = "0009_jobs"
down_revision = "0008_psp_events"


def upgrade() -> None:
    install_procrastinate()
    run_functions("job_defer_v1", "job_take_up_v1", "job_prune_v1")
    run_sql_file(revision)
