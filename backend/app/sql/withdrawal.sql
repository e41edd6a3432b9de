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

-- name: find_withdrawal
-- One withdrawal of a tenant, or of any when it is NULL.
SELECT
    withdrawal.id,
    withdrawal.tenant_id,
    withdrawal.player_id,
    withdrawal.amount,
    withdrawal.currency,
    withdrawal.state,
    withdrawal.method,
    withdrawal.address,
    withdrawal.idempotency_key,
    withdrawal.version,
    withdrawal.approvals_needed,
    withdrawal.first_approved_by,
    withdrawal.first_approved_at,
    withdrawal.second_approved_by,
    withdrawal.second_approved_at,
    withdrawal.reviewed_by,
    withdrawal.reviewed_at,
    withdrawal.review_reason,
    withdrawal.provider,
    withdrawal.provider_ref,
    withdrawal.provider_event_id,
    withdrawal.failure_code,
    withdrawal.created_at,
    withdrawal.updated_at
FROM withdrawals AS withdrawal
WHERE withdrawal.id = %(withdrawal_id)s AND (%(tenant_id)s::UUID IS NULL OR withdrawal.tenant_id = %(tenant_id)s);

-- name: list_withdrawals
-- The withdrawals with these ids, in the order of the ids.
SELECT
    withdrawal.id,
    withdrawal.tenant_id,
    withdrawal.player_id,
    withdrawal.amount,
    withdrawal.currency,
    withdrawal.state,
    withdrawal.method,
    withdrawal.address,
    withdrawal.idempotency_key,
    withdrawal.version,
    withdrawal.approvals_needed,
    withdrawal.first_approved_by,
    withdrawal.first_approved_at,
    withdrawal.second_approved_by,
    withdrawal.second_approved_at,
    withdrawal.reviewed_by,
    withdrawal.reviewed_at,
    withdrawal.review_reason,
    withdrawal.provider,
    withdrawal.provider_ref,
    withdrawal.provider_event_id,
    withdrawal.failure_code,
    withdrawal.created_at,
    withdrawal.updated_at
FROM unnest(%(withdrawal_ids)b::UUID[]) WITH ORDINALITY AS wanted (id, no)
INNER JOIN withdrawals AS withdrawal
    ON wanted.id = withdrawal.id
    AND (%(tenant_id)s::UUID IS NULL OR withdrawal.tenant_id = %(tenant_id)s)
ORDER BY wanted.no
LIMIT %(limit)s;

-- name: list_newest_ids
-- Ids of the withdrawals that match, newest first, from before a time and id.
SELECT withdrawal.id
FROM withdrawal_matching_v1(
    %(tenant_id)s, %(asked_tenant_id)s, %(state)s, %(player_id)s, %(method)s, %(currency)s, %(least_amount)s,
    %(greatest_amount)s, %(least_amounts)s, %(greatest_amounts)s, %(date_from)s, %(date_to)s
) AS withdrawal
WHERE
    %(last_at)s::TIMESTAMPTZ IS NULL
    OR (withdrawal.created_at, withdrawal.id) < (%(last_at)s::TIMESTAMPTZ, %(last_id)s::UUID)
ORDER BY withdrawal.created_at DESC, withdrawal.id DESC
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: list_oldest_ids
-- Ids of the withdrawals that match, oldest first, from after a time and id.
SELECT withdrawal.id
FROM withdrawal_matching_v1(
    %(tenant_id)s, %(asked_tenant_id)s, %(state)s, %(player_id)s, %(method)s, %(currency)s, %(least_amount)s,
    %(greatest_amount)s, %(least_amounts)s, %(greatest_amounts)s, %(date_from)s, %(date_to)s
) AS withdrawal
WHERE
    %(last_at)s::TIMESTAMPTZ IS NULL
    OR (withdrawal.created_at, withdrawal.id) > (%(last_at)s::TIMESTAMPTZ, %(last_id)s::UUID)
ORDER BY withdrawal.created_at, withdrawal.id
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: list_largest_ids
-- Ids of the withdrawals that match, largest amount in minor units first, from below an amount and id.
SELECT withdrawal.id
FROM withdrawal_matching_v1(
    %(tenant_id)s, %(asked_tenant_id)s, %(state)s, %(player_id)s, %(method)s, %(currency)s, %(least_amount)s,
    %(greatest_amount)s, %(least_amounts)s, %(greatest_amounts)s, %(date_from)s, %(date_to)s
) AS withdrawal
WHERE
    %(last_amount)s::BIGINT IS NULL
    OR (withdrawal.amount, withdrawal.id) < (%(last_amount)s::BIGINT, %(last_id)s::UUID)
ORDER BY withdrawal.amount DESC, withdrawal.id DESC
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: list_smallest_ids
-- Ids of the withdrawals that match, smallest amount in minor units first, from above an amount and id.
SELECT withdrawal.id
FROM withdrawal_matching_v1(
    %(tenant_id)s, %(asked_tenant_id)s, %(state)s, %(player_id)s, %(method)s, %(currency)s, %(least_amount)s,
    %(greatest_amount)s, %(least_amounts)s, %(greatest_amounts)s, %(date_from)s, %(date_to)s
) AS withdrawal
WHERE
    %(last_amount)s::BIGINT IS NULL
    OR (withdrawal.amount, withdrawal.id) > (%(last_amount)s::BIGINT, %(last_id)s::UUID)
ORDER BY withdrawal.amount, withdrawal.id
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_withdrawals
-- How many withdrawals match.
SELECT count(*) AS total
FROM withdrawal_matching_v1(
    %(tenant_id)s, %(asked_tenant_id)s, %(state)s, %(player_id)s, %(method)s, %(currency)s, %(least_amount)s,
    %(greatest_amount)s, %(least_amounts)s, %(greatest_amounts)s, %(date_from)s, %(date_to)s
) AS withdrawal;

-- name: list_ledger
-- The ledger's transactions for a withdrawal, in order.
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
WHERE entry.reference = %(withdrawal_id)s AND entry.tenant_id = %(tenant_id)s
ORDER BY entry.wallet_version
LIMIT %(limit)s;

-- name: find_deed_key
-- What was done under a key, and the withdrawal as it was answered then; its columns are NULL before there was an answer.
SELECT
    deed.request_hash,
    deed.withdrawal_id,
    answered.id,
    answered.tenant_id,
    answered.player_id,
    answered.amount,
    answered.currency,
    answered.state,
    answered.method,
    answered.address,
    answered.idempotency_key,
    answered.version,
    answered.approvals_needed,
    answered.first_approved_by,
    answered.first_approved_at,
    answered.second_approved_by,
    answered.second_approved_at,
    answered.reviewed_by,
    answered.reviewed_at,
    answered.review_reason,
    answered.provider,
    answered.provider_ref,
    answered.provider_event_id,
    answered.failure_code,
    answered.created_at,
    answered.updated_at
FROM withdrawal_deed_keys AS deed
CROSS JOIN LATERAL jsonb_populate_record(NULL::WITHDRAWALS, deed.answered) AS answered
WHERE
    deed.tenant_id = %(tenant_id)s
    AND deed.player_id = %(player_id)s
    AND deed.operation = %(operation)s
    AND deed.idempotency_key = %(idempotency_key)s;

-- name: insert_deed_key
-- Keeps the key of a deed; nothing when another deed has it.
INSERT INTO withdrawal_deed_keys (tenant_id, player_id, operation, idempotency_key, request_hash, withdrawal_id)
VALUES (
    %(tenant_id)s, %(player_id)s, %(operation)s, %(idempotency_key)s, %(request_hash)s, %(withdrawal_id)s
)
ON CONFLICT ON CONSTRAINT withdrawal_deed_keys_pkey DO NOTHING
RETURNING withdrawal_id;

-- name: keep_answer
-- Keeps the withdrawal as it is now as the answer to a deed that has none yet.
UPDATE withdrawal_deed_keys AS deed
SET answered = to_jsonb(withdrawal.*)
FROM withdrawals AS withdrawal
WHERE
    deed.tenant_id = %(tenant_id)s
    AND deed.player_id = %(player_id)s
    AND deed.operation = %(operation)s
    AND deed.idempotency_key = %(idempotency_key)s
    AND deed.answered IS NULL
    AND withdrawal.tenant_id = deed.tenant_id
    AND withdrawal.player_id = deed.player_id
    AND withdrawal.id = deed.withdrawal_id;
