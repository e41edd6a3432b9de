"""What the monitor sees, remembers and decides; and the sandbox that it proves itself on."""

from backend.app.sql.migrations import run_functions, run_sql_file

revision = "0013_monitor"
down_revision = "0012_rollout"


def upgrade() -> None:
    run_sql_file(revision)
    run_functions("sandbox_v1")
