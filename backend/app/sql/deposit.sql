-- name: open_deposits
-- Writes the rows of many deposits before their provider is called, one result row per request.
SELECT
    event_no,
    code,
    deposit_id,
    state,
    provider,
    provider_ref,
    provider_event_id,
    failure_code,
    created_at,
    updated_at,
    deposited_today
FROM deposit_open_v1(
    %(deposit_ids)b, %(tenant_ids)b, %(player_ids)b, %(currencies)b, %(amounts)b::BIGINT[], %(methods)b, %(providers)b,
    %(idempotency_keys)b, %(request_hashes)b, %(unverified_caps)b::BIGINT[]
);

-- name: capture_deposits
-- Posts confirmed deposits to the ledger and completes their rows, one result row per deposit.
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
FROM deposit_capture_v1(
    %(deposit_ids)b, %(tenant_ids)b, %(player_ids)b, %(currencies)b, %(amounts)b::BIGINT[], %(idempotency_keys)b,
    %(request_hashes)b, %(providers)b, %(provider_refs)b, %(provider_event_ids)b, %(occurred_ats)b::TIMESTAMPTZ[]
);

-- name: fail_deposit
-- Records the provider's final refusal; whether the deposit was still open.
SELECT deposit_fail_v1(
    %(tenant_id)s, %(player_id)s, %(deposit_id)s, %(provider_ref)s::TEXT, %(failure_code)s
) AS is_failed;

-- name: is_opened
-- Whether a deposit with the key exists.
SELECT EXISTS (
    SELECT
    FROM deposits AS deposit
    WHERE
        deposit.tenant_id = %(tenant_id)s
        AND deposit.player_id = %(player_id)s
        AND deposit.idempotency_key = %(idempotency_key)s
) AS is_opened;
