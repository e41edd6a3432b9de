"""The one door for money."""

from backend.app.sql.migrations import run_functions, run_sql_file

revision = "0004_functions"
down_revision = "0003_payments"


def upgrade() -> None:
    run_functions(
        "platform_modes_v1",
        "tenant_modes_v1",
        "ledger_types_v1",
        "ledger_fold_v1",
        "ledger_open_wallets_v1",
        "ledger_event_v1",
        "ledger_replay_v1",
        "ledger_load_v1",
        "ledger_post_many_v1",
        "ledger_post_v1",
        "withdrawal_request_v1",
        "deposit_v1",
        "wallet_open_v1",
        "deposit_observe_v1",
    )
    run_sql_file(revision)
