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
    %(idempotency_keys)b, %(request_hashes)b, %(unverified_caps)b::BIGINT[],
    %(first_check_after)s
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
    %(request_hashes)b, %(providers)b, %(provider_refs)b::TEXT[], %(provider_event_ids)b::TEXT[],
    %(provider_sequences)b::BIGINT[], %(occurred_ats)b::TIMESTAMPTZ[]
);

-- name: lock_deposits
-- Takes the rows of deposits for this transaction, as they are under their locks.
SELECT
    deposit.id,
    deposit.tenant_id,
    deposit.player_id,
    deposit.amount,
    deposit.currency,
    deposit.state,
    deposit.method,
    deposit.provider,
    deposit.provider_ref,
    deposit.provider_event_id,
    deposit.failure_code,
    deposit.status_class,
    deposit.provider_sequence,
    deposit.checks,
    deposit.idempotency_key,
    deposit.request_hash,
    deposit.created_at,
    deposit.updated_at
FROM deposit_lock_v1(%(deposit_ids)b) AS deposit;

-- name: refund_deposit
-- Takes a completed deposit back, one result row for each who pays.
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
FROM deposit_refund_v1(
    %(deposit_id)s, %(provider_event_id)s::TEXT, %(provider_sequence)s::BIGINT, %(request_hash)s,
    %(occurred_at)s::TIMESTAMPTZ
);

-- name: record_deposit
-- Writes down what the provider was believed to say where no money moves.
SELECT deposit_record_v1(
    %(deposit_id)s, %(is_failed)s, %(provider_ref)s::TEXT, %(failure_code)s::TEXT, %(status_class)s::TEXT,
    %(provider_sequence)s::BIGINT
) AS recorded;

-- name: find_payments
-- The deposits that a provider means, in the order asked: by our id of it, else by its own name for the payment.
SELECT
    found.tenant_id,
    found.id
FROM unnest(%(providers)s::TEXT[], %(deposit_ids)s::UUID[], %(provider_refs)s::TEXT[])
    WITH ORDINALITY AS named (provider, deposit_id, provider_ref, place)
LEFT JOIN LATERAL (
    SELECT
        deposit.tenant_id,
        deposit.id
    FROM deposits AS deposit
    WHERE deposit.id = named.deposit_id AND deposit.provider = named.provider
    UNION ALL
    (
        SELECT
            other.tenant_id,
            other.id
        FROM deposits AS other
        WHERE
            named.deposit_id IS NULL
            AND other.provider = named.provider
            AND other.provider_ref = named.provider_ref
        ORDER BY other.created_at, other.id
        LIMIT 1
    )
    LIMIT 1
) AS found ON TRUE
ORDER BY named.place;

-- name: find_deposit
-- What is needed to ask the provider about a deposit.
SELECT
    deposit.tenant_id,
    deposit.id,
    deposit.provider,
    deposit.provider_ref,
    deposit.state,
    deposit.checks
FROM deposits AS deposit
WHERE deposit.id = %(deposit_id)s AND deposit.tenant_id = %(tenant_id)s;

-- name: list_due_deposits
-- Open deposits whose provider is to be asked, the longest due first.
SELECT
    deposit.tenant_id,
    deposit.id,
    deposit.provider,
    deposit.provider_ref,
    deposit.state,
    deposit.checks
FROM deposits AS deposit
WHERE deposit.next_check_at <= %(now)s
ORDER BY deposit.next_check_at, deposit.id
LIMIT %(limit)s;

-- name: check_deposit
-- Takes the next check of a deposit; whether nobody else had taken it.
SELECT deposit_check_v1(%(deposit_id)s, %(checks)s, %(next_check_at)s) AS is_taken;

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
