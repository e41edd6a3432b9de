-- name: list_queues
-- Deliveries that wait for a time or for a person, by state: how many and since when, each counted only so far.
SELECT
    wanted.state,
    count(waiting.received_at) AS events,
    min(waiting.received_at) AS oldest_at
FROM unnest(%(states)b::TEXT[]) AS wanted (state)
LEFT JOIN LATERAL (
    SELECT event.received_at
    FROM psp_events AS event
    WHERE
        event.state = wanted.state
        AND event.state IN ('pending', 'dead', 'quarantined')
        AND (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
    ORDER BY event.received_at
    LIMIT %(counted_max)s
) AS waiting ON TRUE
GROUP BY wanted.state
ORDER BY wanted.state
LIMIT 10;

-- name: list_events
-- Deliveries that a filter lets through among the newest of a tenant, or of all when tenant_id is NULL; from before one.
SELECT
    event.id,
    event.provider,
    event.account_id,
    event.provider_event_id,
    event.signature_status,
    event.signature_result,
    event.secret_name,
    event.state,
    event.event_type,
    event.effect,
    event.detail,
    event.last_error,
    event.attempts,
    event.next_attempt_at,
    event.body_size,
    event.tenant_id,
    event.tx_id,
    event.received_at,
    event.applied_at
FROM (
    SELECT candidate.*
    FROM psp_events AS candidate
    WHERE
        (%(tenant_id)s::UUID IS NULL OR candidate.tenant_id = %(tenant_id)s)
        AND (%(waiting_state)s::TEXT IS NULL OR candidate.state = %(waiting_state)s)
        AND (%(tx_id)s::UUID IS NULL OR candidate.tx_id = %(tx_id)s)
        AND (%(before_id)s::UUID IS NULL OR candidate.id < %(before_id)s)
    ORDER BY candidate.id DESC
    LIMIT %(looked_at_max)s
) AS event
WHERE
    (%(provider)s::TEXT IS NULL OR event.provider = %(provider)s)
    AND (%(state)s::TEXT IS NULL OR event.state = %(state)s)
    AND (%(event_type)s::TEXT IS NULL OR event.event_type = %(event_type)s)
    AND (%(effect)s::TEXT IS NULL OR event.effect = %(effect)s)
    AND (%(signature_status)s::TEXT IS NULL OR event.signature_status = %(signature_status)s)
    AND (%(provider_event_id)s::TEXT IS NULL OR event.provider_event_id = %(provider_event_id)s)
    AND (%(received_before)s::TIMESTAMPTZ IS NULL OR event.received_at < %(received_before)s)
ORDER BY event.id DESC
LIMIT %(limit)s;

-- name: find_oldest_looked_at
-- The last of the newest deliveries that list_events looks through, when there may be more behind it.
SELECT candidate.id
FROM psp_events AS candidate
WHERE
    (%(tenant_id)s::UUID IS NULL OR candidate.tenant_id = %(tenant_id)s)
    AND (%(waiting_state)s::TEXT IS NULL OR candidate.state = %(waiting_state)s)
    AND (%(tx_id)s::UUID IS NULL OR candidate.tx_id = %(tx_id)s)
    AND (%(before_id)s::UUID IS NULL OR candidate.id < %(before_id)s)
ORDER BY candidate.id DESC
LIMIT 1 OFFSET %(looked_at_max)s - 1;

-- name: find_event
-- One delivery of a tenant, or of any when tenant_id is NULL, with what is kept of it; of its body the beginning.
SELECT
    event.id,
    event.provider,
    event.account_id,
    event.provider_event_id,
    event.signature_status,
    event.signature_result,
    event.secret_name,
    event.state,
    event.event_type,
    event.effect,
    event.detail,
    event.last_error,
    event.attempts,
    event.next_attempt_at,
    event.body_size,
    event.tenant_id,
    event.tx_id,
    event.received_at,
    event.applied_at,
    event.headers,
    event.request_id,
    event.body_sha256,
    substring(event.body FROM 1 FOR %(body_bytes_max)s) AS body,
    length(event.body) AS kept_size,
    tenant.name AS tenant_name,
    CASE WHEN deposit.id IS NOT NULL THEN 'deposit' WHEN withdrawal.id IS NOT NULL THEN 'withdrawal' END AS tx_kind,
    coalesce(deposit.player_id, withdrawal.player_id) AS player_id
FROM psp_events AS event
LEFT JOIN tenants AS tenant ON event.tenant_id = tenant.id
LEFT JOIN deposits AS deposit ON event.tx_id = deposit.id AND event.tenant_id = deposit.tenant_id
LEFT JOIN withdrawals AS withdrawal ON event.tx_id = withdrawal.id AND event.tenant_id = withdrawal.tenant_id
WHERE event.id = %(event_id)s AND (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s);

-- name: find_pull
-- One delivery as asking its provider again needs it, of a tenant or of any when tenant_id is NULL.
SELECT
    event.id,
    event.provider,
    event.account_id,
    event.provider_event_id,
    event.signature_status = 'valid' AS is_verified,
    event.secret_name,
    event.body,
    event.attempts,
    event.tenant_id
FROM psp_events AS event
WHERE event.id = %(event_id)s AND (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s);

-- name: list_findings
-- What a delivery led to, or what its payment has: findings of a tenant, the newest first.
SELECT
    finding.id,
    finding.finding_type,
    finding.severity,
    finding.status,
    finding.created_at
FROM (
    SELECT named.id
    FROM reconciliation_findings AS named
    WHERE named.tenant_id = %(tenant_id)s AND named.provider_event_id = %(provider_event_id)s
    UNION
    SELECT about.id
    FROM reconciliation_findings AS about
    WHERE about.tx_id = %(tx_id)s
) AS found
INNER JOIN reconciliation_findings AS finding ON found.id = finding.id
WHERE finding.tenant_id = %(tenant_id)s
ORDER BY finding.id DESC
LIMIT %(limit)s;
