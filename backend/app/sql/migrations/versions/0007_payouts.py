"""Approvals, attempts to pay, and the ways a withdrawal can go."""

from backend.app.sql.migrations import run_functions, run_sql_file

revision = "0007_payouts"
down_revision = "0005_findings"


def upgrade() -> None:
    # Tables first: the functions around them also say who may call them.
    run_sql_file(revision)
    run_functions(
        "withdrawal_lock_v1",
        "withdrawal_post_v1",
        "withdrawal_move_v1",
        "payout_note_v1",
        "payout_claim_v1",
        "withdrawal_matching_v1",
    )
