-- Who may call what. The functions themselves stand one to a file in ../functions and are created just before this.
REVOKE ALL ON FUNCTION
ledger_open_wallets_v1, ledger_event_line_v1, ledger_key_stored_v1, ledger_provider_event_stored_v1,
ledger_event_refusal_v1, ledger_in_range_v1, ledger_is_covered_v1, ledger_stored_entry_v1, ledger_load_v1,
ledger_post_many_v1, ledger_replay_v1, platform_modes_refresh_v1, tenant_flags_notify_v1, refuse_change
FROM PUBLIC;
REVOKE ALL ON FUNCTION
ledger_post_v1, withdrawal_request_v1, deposit_open_v1, deposit_lock_v1, deposit_capture_v1, deposit_refund_v1,
deposit_record_v1, deposit_check_v1, wallet_open_v1
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
ledger_post_v1, withdrawal_request_v1, deposit_open_v1, deposit_lock_v1, deposit_capture_v1, deposit_refund_v1,
deposit_record_v1, deposit_check_v1, wallet_open_v1
TO hakem_service;
