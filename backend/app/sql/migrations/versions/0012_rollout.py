"""The rollout: flips of the arbiter and what forbids them."""

from backend.app.sql.migrations import run_functions, run_sql_file

revision = "0012_rollout"
down_revision = "0011_census"


def upgrade() -> None:
    run_sql_file(revision)
    run_functions("flag_effective_v1", "rollout_attest_v1", "rollout_note_v1", "rollout_override_v1", "rollout_kill_v1")
