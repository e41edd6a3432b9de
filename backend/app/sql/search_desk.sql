-- name: find_by_id
-- What an id names in a tenant, or anywhere when tenant_id is NULL, of the kinds that are asked for.
SELECT
    found.kind,
    found.id,
    found.player_id,
    found.number,
    found.tenant_id,
    found.provider
FROM (
    SELECT
        'withdrawal' AS kind, withdrawal.id, withdrawal.player_id, NULL::INTEGER AS number, withdrawal.tenant_id, NULL AS provider
    FROM withdrawals AS withdrawal
    WHERE withdrawal.id = %(id)s
    UNION ALL
    SELECT 'player', player.id, player.id, NULL, player.tenant_id, NULL
    FROM players AS player
    WHERE player.id = %(id)s
    UNION ALL
    SELECT 'deposit', deposit.id, deposit.player_id, NULL, deposit.tenant_id, deposit.provider
    FROM deposits AS deposit
    WHERE deposit.id = %(id)s
    UNION ALL
    SELECT 'transaction', entry.id, entry.player_id, NULL, entry.tenant_id, NULL
    FROM ledger_transactions AS entry
    WHERE entry.id = %(id)s
    UNION ALL
    SELECT 'finding', finding.id, finding.player_id, NULL, finding.tenant_id, finding.provider
    FROM reconciliation_findings AS finding
    WHERE finding.id = %(id)s
    UNION ALL
    SELECT 'adjustment', adjustment.id, adjustment.player_id, NULL, adjustment.tenant_id, adjustment.provider
    FROM ledger_adjustments AS adjustment
    WHERE adjustment.id = %(id)s
    UNION ALL
    SELECT 'event', event.id, NULL, NULL, event.tenant_id, event.provider
    FROM psp_events AS event
    WHERE event.id = %(id)s
    UNION ALL
    SELECT 'run', run.id, NULL, run.number, run.tenant_id, run.provider
    FROM reconciliation_runs AS run
    WHERE run.id = %(id)s
    UNION ALL
    SELECT 'backfill', done.id, NULL, NULL, done.tenant_id, NULL
    FROM backfill_runs AS done
    WHERE done.id = %(id)s
    UNION ALL
    SELECT 'backfill', asked.id, NULL, NULL, asked.tenant_id, NULL
    FROM backfill_requests AS asked
    WHERE asked.id = %(id)s
) AS found
WHERE
    (%(tenant_id)s::UUID IS NULL OR found.tenant_id = %(tenant_id)s)
    AND found.kind = ANY(%(kinds)s::TEXT[])
ORDER BY array_position(%(kinds)s::TEXT[], found.kind)
LIMIT %(limit)s;

-- name: find_attempt
-- One attempt to pay a withdrawal by its place among them, in a tenant, or anywhere when tenant_id is NULL.
SELECT
    'attempt' AS kind,
    attempt.withdrawal_id,
    attempt.player_id,
    attempt.number,
    attempt.tenant_id,
    attempt.provider
FROM payout_attempts AS attempt
WHERE
    attempt.withdrawal_id = %(withdrawal_id)s
    AND attempt.number = %(number)s
    AND (%(tenant_id)s::UUID IS NULL OR attempt.tenant_id = %(tenant_id)s);

-- name: find_by_reference
-- What a provider calls by exactly this name: payouts, deposits and verified deliveries, in a tenant, or anywhere when
-- tenant_id is NULL, of the kinds that are asked for.
SELECT
    found.kind,
    found.id,
    found.player_id,
    found.number,
    found.tenant_id,
    found.provider
FROM (
    (
        SELECT
            'attempt' AS kind, attempt.withdrawal_id AS id, attempt.player_id, attempt.number, attempt.tenant_id, attempt.provider
        FROM payout_attempts AS attempt
        WHERE
            attempt.provider = ANY(%(providers)s)
            AND attempt.provider_ref = %(reference)s
            AND (%(tenant_id)s::UUID IS NULL OR attempt.tenant_id = %(tenant_id)s)
        LIMIT %(looked_at_max)s
    )
    UNION ALL
    (
        SELECT 'deposit', deposit.id, deposit.player_id, NULL, deposit.tenant_id, deposit.provider
        FROM deposits AS deposit
        WHERE
            deposit.provider = ANY(%(providers)s)
            AND deposit.provider_ref = %(reference)s
            AND (%(tenant_id)s::UUID IS NULL OR deposit.tenant_id = %(tenant_id)s)
        LIMIT %(looked_at_max)s
    )
    UNION ALL
    (
        SELECT 'event', named.id, NULL, NULL, named.tenant_id, named.provider
        FROM psp_accounts AS account
        CROSS JOIN LATERAL (
            SELECT event.id, event.tenant_id, event.provider
            FROM psp_events AS event
            WHERE
                event.signature_status = 'valid'
                AND event.provider = account.provider
                AND event.account_id = account.account_id
                AND event.provider_event_id = %(reference)s
            LIMIT 1
        ) AS named
        WHERE %(tenant_id)s::UUID IS NULL OR account.tenant_id = %(tenant_id)s
        LIMIT %(looked_at_max)s
    )
) AS found
WHERE
    (%(tenant_id)s::UUID IS NULL OR found.tenant_id = %(tenant_id)s)
    AND found.kind = ANY(%(kinds)s::TEXT[])
ORDER BY array_position(%(kinds)s::TEXT[], found.kind), found.id, found.number
LIMIT %(limit)s;
