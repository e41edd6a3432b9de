-- name: find_attempt
-- One attempt.
SELECT
    attempt.tenant_id,
    attempt.player_id,
    attempt.withdrawal_id,
    attempt.number,
    attempt.provider,
    attempt.account_id,
    attempt.amount,
    attempt.currency,
    attempt.state,
    attempt.provider_ref,
    attempt.provider_event_id,
    attempt.provider_sequence,
    attempt.failure_code,
    attempt.evidence_ref,
    attempt.created_at,
    attempt.state_at,
    attempt.checked_at,
    attempt.next_check_at,
    attempt.checks
FROM payout_attempts AS attempt
WHERE
    attempt.tenant_id = %(tenant_id)s
    AND attempt.withdrawal_id = %(withdrawal_id)s
    AND attempt.number = %(number)s;

-- name: list_attempts
-- The attempts at a withdrawal, the last first.
SELECT
    attempt.tenant_id,
    attempt.player_id,
    attempt.withdrawal_id,
    attempt.number,
    attempt.provider,
    attempt.account_id,
    attempt.amount,
    attempt.currency,
    attempt.state,
    attempt.provider_ref,
    attempt.provider_event_id,
    attempt.provider_sequence,
    attempt.failure_code,
    attempt.evidence_ref,
    attempt.created_at,
    attempt.state_at,
    attempt.checked_at,
    attempt.next_check_at,
    attempt.checks
FROM payout_attempts AS attempt
WHERE attempt.tenant_id = %(tenant_id)s AND attempt.withdrawal_id = %(withdrawal_id)s
ORDER BY attempt.number DESC
LIMIT %(limit)s;

-- name: find_attempt_by_name
-- The tenant, withdrawal and number of an attempt, by our name of it; of any tenant.
SELECT
    attempt.tenant_id,
    attempt.withdrawal_id,
    attempt.number
FROM payout_attempts AS attempt
WHERE attempt.withdrawal_id = %(withdrawal_id)s AND attempt.number = %(number)s;

-- name: find_attempt_by_provider_ref
-- The tenant, withdrawal and number of an attempt, by the provider's name of it; of any tenant. Two with one name are a
-- provider's mistake, and none is meant.
SELECT
    min(attempt.tenant_id::TEXT)::UUID AS tenant_id,
    min(attempt.withdrawal_id::TEXT)::UUID AS withdrawal_id,
    min(attempt.number) AS number
FROM payout_attempts AS attempt
WHERE attempt.provider = %(provider)s AND attempt.provider_ref = %(provider_ref)s
HAVING count(*) = 1;

-- name: find_tenant_of_account
-- The tenant whose account at a provider this is.
SELECT account.tenant_id
FROM psp_accounts AS account
WHERE account.provider = %(provider)s AND account.account_id = %(account_id)s;

-- name: find_account
-- A tenant's account at a provider, the oldest when there are several.
SELECT account.account_id
FROM psp_accounts AS account
WHERE account.tenant_id = %(tenant_id)s AND account.provider = %(provider)s
ORDER BY account.created_at, account.account_id
LIMIT 1;

-- name: lock_withdrawal
-- Locks a withdrawal of a tenant, or of any when it is NULL, for the transaction; whether there is one.
SELECT withdrawal_lock_v1(%(tenant_id)s, %(withdrawal_id)s) AS is_there;

-- name: move_withdrawal
-- Moves a withdrawal one step: row, attempt and ledger together, or nothing.
SELECT
    moved.code,
    moved.state,
    moved.version,
    moved.attempt_number,
    (moved.posted).event_no,
    (moved.posted).code AS posted_code,
    (moved.posted).is_replay,
    (moved.posted).transaction_id,
    (moved.posted).reference,
    (moved.posted).recorded_at,
    (moved.posted).arbiter,
    (moved.posted).epoch,
    (moved.posted).legacy_ok,
    (moved.posted).ledger_ok,
    (moved.posted).wallet_opened,
    (moved.posted).wallet_version,
    (moved.posted).legacy_available_before,
    (moved.posted).legacy_held_before,
    (moved.posted).ledger_available_before,
    (moved.posted).ledger_pending_before,
    (moved.posted).legacy_available_after,
    (moved.posted).legacy_held_after,
    (moved.posted).ledger_available_after,
    (moved.posted).ledger_pending_after
FROM withdrawal_move_v1(
    p_tenant_id => %(tenant_id)s,
    p_player_id => %(player_id)s,
    p_withdrawal_id => %(withdrawal_id)s,
    p_action => %(action)s,
    p_expected_version => %(expected_version)s,
    p_admin_id => %(admin_id)s,
    p_reason => %(reason)s,
    p_approvals_needed => %(approvals_needed)s,
    p_attempt_number => %(attempt_number)s,
    p_provider => %(provider)s,
    p_account_id => %(account_id)s,
    p_evidence_ref => %(evidence_ref)s,
    p_provider_ref => %(provider_ref)s,
    p_provider_event_id => %(provider_event_id)s,
    p_provider_sequence => %(provider_sequence)s,
    p_failure_code => %(failure_code)s,
    p_occurred_at => %(occurred_at)s,
    p_check_after => %(check_after)s
) AS moved;

-- name: note_attempt
-- Records what moves no money about an open attempt, and when to ask again; whether it was open.
SELECT payout_note_v1(
    %(tenant_id)s, %(player_id)s, %(withdrawal_id)s, %(number)s, %(state)s, %(provider_ref)s, %(provider_sequence)s,
    %(check_after)s
) AS is_noted;

-- name: claim_due_attempts
-- Takes attempts that are due for a question to their provider.
SELECT
    claimed.tenant_id,
    claimed.withdrawal_id
FROM payout_claim_due_v1(%(now)s, %(lease)s, %(limit)s) AS claimed;

-- name: find_unknown_attempts
-- Attempts of which nobody knows how they ended: how many, and the oldest. Counted no further than anybody would read.
SELECT
    count(*) AS total,
    min(waiting.created_at) AS oldest_at
FROM (
    SELECT attempt.created_at
    FROM payout_attempts AS attempt
    WHERE attempt.state = 'unknown'
    LIMIT 10000
) AS waiting;

-- name: claim_attempt
-- Takes the open attempt of a withdrawal, unless it was asked about a moment ago.
SELECT payout_claim_one_v1(%(tenant_id)s, %(player_id)s, %(withdrawal_id)s, %(now)s, %(interval)s) AS is_claimed;
