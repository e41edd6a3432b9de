-- name: list_queues
-- What waits in these states by currency, of a tenant or of all when tenant_id is NULL. In each tenant a queue is
-- counted from its oldest on and only so far.
SELECT
    queue.state,
    queue.currency,
    count(*) AS withdrawals,
    sum(queue.amount)::BIGINT AS amount,
    min(queue.created_at) AS oldest_at,
    bool_or(queue.place >= %(counted_max)s) AS is_cut
FROM tenants AS tenant
CROSS JOIN unnest(%(states)b::TEXT[]) AS wanted (state)
CROSS JOIN LATERAL (
    SELECT
        waiting.state,
        waiting.currency,
        waiting.amount,
        waiting.created_at,
        row_number() OVER () AS place
    FROM (
        SELECT
            withdrawal.state,
            withdrawal.currency,
            withdrawal.amount,
            withdrawal.created_at
        FROM withdrawals AS withdrawal
        WHERE withdrawal.tenant_id = tenant.id AND withdrawal.state = wanted.state
        ORDER BY withdrawal.created_at, withdrawal.id
        LIMIT %(counted_max)s
    ) AS waiting
) AS queue
WHERE %(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s
GROUP BY queue.state, queue.currency
ORDER BY queue.state, queue.currency
LIMIT 1000;

-- name: count_matching
-- How many withdrawals a filter lets through, counted so far.
SELECT count(*) AS total
FROM (
    SELECT withdrawal.id
    FROM withdrawal_matching_v1(
        %(tenant_id)s, %(asked_tenant_id)s, %(state)s, %(player_id)s, %(method)s, %(currency)s, %(least_amount)s,
        %(greatest_amount)s, %(least_amounts)s, %(greatest_amounts)s, %(date_from)s, %(date_to)s
    ) AS withdrawal
    -- In an order that an index has, so that no more is read than is counted.
    ORDER BY withdrawal.created_at DESC, withdrawal.id DESC
    LIMIT %(counted_max)s + 1
) AS matching;

-- name: list_people
-- The players with these ids, and their tenants' names.
SELECT
    player.id,
    player.username,
    player.email,
    tenant.name AS tenant_name
FROM players AS player
INNER JOIN tenants AS tenant ON player.tenant_id = tenant.id
WHERE player.id = ANY(%(player_ids)s) AND (%(tenant_id)s::UUID IS NULL OR player.tenant_id = %(tenant_id)s)
ORDER BY player.id
LIMIT %(limit)s;

-- name: list_webhooks
-- What providers told us about one payment, the latest first.
SELECT
    event.id,
    event.provider,
    event.account_id,
    event.provider_event_id,
    event.signature_status,
    event.signature_result,
    event.state,
    event.event_type,
    event.effect,
    event.detail,
    event.received_at,
    event.applied_at
FROM psp_events AS event
WHERE event.tx_id = %(tx_id)s AND event.tenant_id = %(tenant_id)s
ORDER BY event.id DESC
LIMIT %(limit)s;
