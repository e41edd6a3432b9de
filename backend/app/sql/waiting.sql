-- name: list_waiting_payouts
-- Attempts to pay that have no end yet, the longest waiting first, with what was found out about them.
SELECT
    attempt.tenant_id,
    'payout' AS kind,
    attempt.withdrawal_id::TEXT AS subject,
    attempt.state,
    attempt.state_at AS since,
    attempt.next_check_at AS next_at,
    attempt.checks,
    concat_ws(
        '; ',
        'attempt ' || attempt.number || ' at ' || attempt.provider,
        attempt.failure_code,
        (
            SELECT string_agg(DISTINCT finding.finding_type, ', ')
            FROM reconciliation_findings AS finding
            WHERE finding.tx_id = attempt.withdrawal_id AND finding.status = 'OPEN'
        )
    ) AS reason
FROM payout_attempts AS attempt
WHERE
    attempt.next_check_at IS NOT NULL
    AND (%(tenant_id)s::UUID IS NULL OR attempt.tenant_id = %(tenant_id)s)
ORDER BY attempt.state_at, attempt.withdrawal_id
LIMIT %(limit)s;

-- name: list_waiting_deposits
-- Deposits that no provider has settled, the longest waiting first.
SELECT
    deposit.tenant_id,
    'deposit' AS kind,
    deposit.id::TEXT AS subject,
    deposit.state,
    deposit.created_at AS since,
    deposit.next_check_at AS next_at,
    deposit.checks,
    concat_ws(
        '; ',
        'at ' || deposit.provider,
        (
            SELECT string_agg(DISTINCT finding.finding_type, ', ')
            FROM reconciliation_findings AS finding
            WHERE finding.tx_id = deposit.id AND finding.status = 'OPEN'
        )
    ) AS reason
FROM deposits AS deposit
WHERE
    deposit.next_check_at IS NOT NULL
    AND (%(tenant_id)s::UUID IS NULL OR deposit.tenant_id = %(tenant_id)s)
ORDER BY deposit.created_at, deposit.id
LIMIT %(limit)s;

-- name: list_waiting_events
-- What providers told us that is not applied: due again, given up, or not to be read; the longest waiting first.
SELECT
    event.tenant_id,
    'event' AS kind,
    concat_ws(':', event.provider, nullif(event.account_id, ''), event.provider_event_id) AS subject,
    event.state,
    event.received_at AS since,
    event.next_attempt_at AS next_at,
    event.attempts AS checks,
    coalesce(event.last_error, '') AS reason
FROM psp_events AS event
WHERE
    event.state IN ('pending', 'dead', 'quarantined')
    AND (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
ORDER BY event.received_at, event.id
LIMIT %(limit)s;

-- name: count_waiting_withdrawals
-- Withdrawals that wait for a person, by tenant and state.
SELECT
    tenant.id AS tenant_id,
    queue.state,
    queue.currency,
    queue.withdrawals,
    queue.amount,
    queue.oldest_at
FROM tenants AS tenant
CROSS JOIN LATERAL (
    SELECT
        withdrawal.state,
        withdrawal.currency,
        count(*) AS withdrawals,
        sum(withdrawal.amount)::BIGINT AS amount,
        min(withdrawal.created_at) AS oldest_at
    FROM withdrawals AS withdrawal
    WHERE
        withdrawal.tenant_id = tenant.id
        AND withdrawal.state IN ('requested', 'awaiting_second_approval', 'approved', 'failed')
    GROUP BY withdrawal.state, withdrawal.currency
) AS queue
WHERE %(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s
ORDER BY queue.oldest_at, tenant.id, queue.state, queue.currency
LIMIT %(limit)s;
