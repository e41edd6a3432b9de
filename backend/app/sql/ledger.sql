-- name: post_events
-- Posts events through the one door, one result row per event.
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
FROM ledger_post_v1(
    %(tenant_ids)b, %(player_ids)b, %(currencies)b, %(types)b, %(amounts)b::BIGINT[], %(idempotency_keys)b,
    %(request_hashes)b, %(reference_ids)b::UUID[], %(providers)b::TEXT[], %(provider_refs)b::TEXT[],
    %(provider_event_ids)b::TEXT[], %(debit_accounts)b::TEXT[], %(credit_accounts)b::TEXT[], %(journal_ids)b::UUID[],
    %(occurred_ats)b::TIMESTAMPTZ[], %(by_player)b::BOOLEAN[], NULL
);

-- name: open_wallets
-- Opens the wallets of these players of a tenant by the door's opening rule; how many it opened.
SELECT wallet_open_v1(%(tenant_id)s, %(player_ids)s) AS opened;

-- name: list_player_transactions
-- A player's ledger in order, from after a wallet version.
SELECT
    entry.id,
    entry.wallet_version,
    entry.type,
    entry.debit_account,
    entry.credit_account,
    entry.amount,
    entry.currency,
    entry.available_after,
    entry.pending_after,
    entry.arbiter,
    entry.epoch,
    entry.reference,
    entry.journal_id,
    entry.idempotency_key,
    entry.provider,
    entry.provider_ref,
    entry.provider_event_id,
    entry.occurred_at,
    entry.recorded_at
FROM ledger_transactions AS entry
WHERE
    entry.tenant_id = %(tenant_id)s
    AND entry.player_id = %(player_id)s
    AND entry.currency = %(currency)s
    AND entry.wallet_version > %(after_version)s
ORDER BY entry.wallet_version
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_player_transactions
-- How long a player's ledger is: the last version of the wallet, since versions have no gaps.
SELECT coalesce(max(entry.wallet_version), 0)::BIGINT AS total
FROM ledger_transactions AS entry
WHERE
    entry.tenant_id = %(tenant_id)s
    AND entry.player_id = %(player_id)s
    AND entry.currency = %(currency)s;

-- name: record_mismatches
-- Keeps one evidence row per wallet and class, counting how often it was seen.
INSERT INTO ledger_mismatches AS seen (
    tenant_id, player_id, currency, class, legacy_available, legacy_held, ledger_available, ledger_pending, arbiter,
    occurrences, first_seen_at, last_seen_at
)
SELECT
    mismatch.tenant_id,
    mismatch.player_id,
    mismatch.currency,
    mismatch.class,
    mismatch.legacy_available,
    mismatch.legacy_held,
    mismatch.ledger_available,
    mismatch.ledger_pending,
    mismatch.arbiter,
    1,
    clock_timestamp(),
    clock_timestamp()
FROM unnest(
    %(tenant_ids)b::UUID[], %(player_ids)b::UUID[], %(currencies)b::TEXT[], %(classes)b::TEXT[],
    %(legacy_available)b::BIGINT[], %(legacy_held)b::BIGINT[], %(ledger_available)b::BIGINT[],
    %(ledger_pending)b::BIGINT[], %(arbiters)b::TEXT[]
) AS mismatch (
    tenant_id, player_id, currency, class, legacy_available, legacy_held, ledger_available, ledger_pending, arbiter
)
ORDER BY mismatch.tenant_id, mismatch.player_id, mismatch.currency, mismatch.class
ON CONFLICT ON CONSTRAINT ledger_mismatches_pkey DO UPDATE
SET
    legacy_available = excluded.legacy_available,
    legacy_held = excluded.legacy_held,
    ledger_available = excluded.ledger_available,
    ledger_pending = excluded.ledger_pending,
    arbiter = excluded.arbiter,
    occurrences = seen.occurrences + 1,
    last_seen_at = excluded.last_seen_at;

-- name: is_answered
-- Whether the door has answered the key: with a transaction, a stored refusal, or a movement of the legacy column.
SELECT
    EXISTS (
        SELECT
        FROM ledger_transactions AS entry
        WHERE
            entry.tenant_id = %(tenant_id)s
            AND entry.player_id = %(player_id)s
            AND entry.type = %(type)s
            AND entry.idempotency_key = %(idempotency_key)s
    )
    OR EXISTS (
        SELECT
        FROM ledger_refusals AS refusal
        WHERE
            refusal.tenant_id = %(tenant_id)s
            AND refusal.player_id = %(player_id)s
            AND refusal.type = %(type)s
            AND refusal.idempotency_key = %(idempotency_key)s
    )
    OR EXISTS (
        SELECT
        FROM legacy_movements AS movement
        WHERE
            movement.tenant_id = %(tenant_id)s
            AND movement.player_id = %(player_id)s
            AND movement.type = %(type)s
            AND movement.idempotency_key = %(idempotency_key)s
    ) AS is_answered;
