-- name: request_withdrawals
-- Places the holds and writes the rows of many requests at once, one result row per request.
SELECT
    event_no,
    code,
    is_replay,
    transaction_id,
    reference,
    recorded_at,
    arbiter,
    epoch,
    legacy_ok,
    ledger_ok,
    wallet_opened,
    wallet_version,
    legacy_available_before,
    legacy_held_before,
    ledger_available_before,
    ledger_pending_before,
    legacy_available_after,
    legacy_held_after,
    ledger_available_after,
    ledger_pending_after
FROM withdrawal_request_v1(
    %(withdrawal_ids)b, %(tenant_ids)b, %(player_ids)b, %(currencies)b, %(amounts)b::BIGINT[], %(methods)b,
    %(addresses)b, %(idempotency_keys)b, %(request_hashes)b
);
