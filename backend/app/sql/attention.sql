-- name: list_open_counts
-- What is open, by kind: findings by severity, payments that no provider has settled for long, provider events that
-- wait for a person, and wallets whose sides were seen to differ within a day. In each tenant counted only so far; what
-- belongs to no tenant is counted when tenant_id is NULL.
WITH tenants_in_view AS (
    SELECT tenant.id
    FROM tenants AS tenant
    WHERE %(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s
),

opened AS (
    SELECT
        'finding_' || finding.severity AS kind,
        finding.created_at AS since
    FROM tenants_in_view AS tenant
    CROSS JOIN LATERAL (
        SELECT
            candidate.severity,
            candidate.created_at
        FROM reconciliation_findings AS candidate
        WHERE candidate.tenant_id = tenant.id AND candidate.status = 'OPEN'
        LIMIT %(counted_max)s
    ) AS finding
    UNION ALL
    SELECT
        'payout_unknown',
        attempt.state_at
    FROM payout_attempts AS attempt
    INNER JOIN tenants_in_view AS tenant ON attempt.tenant_id = tenant.id
    WHERE attempt.next_check_at IS NOT NULL AND attempt.state = 'unknown'
    UNION ALL
    SELECT
        'deposit_waiting',
        deposit.created_at
    FROM deposits AS deposit
    INNER JOIN tenants_in_view AS tenant ON deposit.tenant_id = tenant.id
    WHERE deposit.next_check_at IS NOT NULL AND deposit.created_at < %(waiting_since)s
    UNION ALL
    SELECT
        'event_' || event.state,
        event.received_at
    FROM psp_events AS event
    WHERE
        event.state IN ('dead', 'quarantined')
        AND (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
    UNION ALL
    SELECT
        'mismatch',
        mismatch.first_seen_at
    FROM tenants_in_view AS tenant
    CROSS JOIN LATERAL (
        SELECT candidate.first_seen_at
        FROM ledger_mismatches AS candidate
        WHERE candidate.tenant_id = tenant.id AND candidate.last_seen_at >= %(seen_since)s
        ORDER BY candidate.last_seen_at DESC
        LIMIT %(counted_max)s
    ) AS mismatch
)

SELECT
    opened.kind,
    count(*) AS open_count,
    min(opened.since) AS oldest_at
FROM opened
GROUP BY opened.kind
ORDER BY opened.kind
LIMIT 100;

-- name: list_last_censuses
-- The newest finished census of each tenant in view and how much it found; who has differences first, then who waits
-- longest for one.
SELECT
    tenant.id AS tenant_id,
    tenant.name AS tenant_name,
    run.state,
    run.finished_at,
    coalesce(found.differences, 0)::BIGINT AS differences
FROM tenants AS tenant
LEFT JOIN LATERAL (
    SELECT
        candidate.id,
        candidate.state,
        candidate.finished_at
    FROM census_runs AS candidate
    WHERE candidate.tenant_id = tenant.id AND candidate.state IN ('clean', 'differences')
    ORDER BY candidate.id DESC
    LIMIT 1
) AS run ON TRUE
LEFT JOIN LATERAL (
    SELECT sum(class.differences) AS differences
    FROM census_classes AS class
    WHERE class.tenant_id = tenant.id AND class.run_id = run.id
) AS found ON TRUE
WHERE %(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s
ORDER BY (run.state = 'differences') DESC NULLS LAST, run.finished_at NULLS FIRST, tenant.id
LIMIT %(limit)s;
