-- name: insert_verified
-- Stores verified deliveries unless one of the same name is there; the ids of those that are new.
INSERT INTO psp_events (
    id, provider, account_id, provider_event_id, signature_status, signature_result, secret_name, tenant_id, body,
    body_size, body_sha256, headers, request_id, received_at, next_attempt_at
)
SELECT
    event.id,
    event.provider,
    event.account_id,
    event.provider_event_id,
    'valid',
    event.signature_result,
    event.secret_name,
    event.tenant_id,
    event.body,
    event.body_size,
    event.body_sha256,
    event.headers::JSONB,
    event.request_id,
    event.received_at,
    event.received_at
FROM unnest(
    %(ids)s::UUID[], %(providers)s::TEXT[], %(account_ids)s::TEXT[], %(provider_event_ids)s::TEXT[],
    %(signature_results)s::TEXT[], %(secret_names)s::TEXT[], %(tenant_ids)s::UUID[], %(bodies)s::BYTEA[],
    %(body_sizes)s::INTEGER[], %(body_hashes)s::BYTEA[], %(headers)s::TEXT[], %(request_ids)s::TEXT[],
    %(received_ats)s::TIMESTAMPTZ[]
) AS event (
    id, provider, account_id, provider_event_id, signature_result, secret_name, tenant_id, body, body_size,
    body_sha256, headers, request_id, received_at
)
-- In one order, so that two batches with the same deliveries cannot wait for each other in a circle.
ORDER BY event.provider, event.account_id, event.provider_event_id
ON CONFLICT (provider, account_id, provider_event_id) WHERE signature_status = 'valid' DO NOTHING
RETURNING id;

-- name: list_verified
-- What is stored under the names of these deliveries, by their place in the list.
SELECT
    wanted.place,
    event.id,
    event.body_sha256
FROM unnest(%(providers)s::TEXT[], %(account_ids)s::TEXT[], %(provider_event_ids)s::TEXT[])
    WITH ORDINALITY AS wanted (provider, account_id, provider_event_id, place)
INNER JOIN psp_events AS event
    ON event.provider = wanted.provider
    AND event.account_id = wanted.account_id
    AND event.provider_event_id = wanted.provider_event_id
    AND event.signature_status = 'valid'
ORDER BY wanted.place
LIMIT 1000;

-- name: insert_unverified
-- Stores a delivery that nobody vouches for, unless too many of its provider were stored lately; its id then.
INSERT INTO psp_events (
    id, provider, account_id, provider_event_id, signature_status, signature_result, body, body_size, body_sha256,
    headers, request_id, received_at, next_attempt_at
)
SELECT
    %(event_id)s,
    %(provider)s,
    %(account_id)s,
    %(provider_event_id)s,
    'unverified',
    %(signature_result)s,
    %(body)s,
    %(body_size)s,
    %(body_hash)s,
    %(headers)s,
    %(request_id)s,
    %(received_at)s,
    %(received_at)s
WHERE (
    SELECT count(*)
    FROM (
        SELECT
        FROM psp_events AS recent
        WHERE
            recent.provider = %(provider)s
            AND recent.signature_status = 'unverified'
            AND recent.received_at > %(received_at)s::TIMESTAMPTZ - INTERVAL '1 minute'
        LIMIT %(per_minute_max)s
    ) AS counted
) < %(per_minute_max)s
RETURNING id;

-- name: list_due
-- Deliveries to apply now, the longest due first.
SELECT event.id
FROM psp_events AS event
WHERE event.state = 'pending' AND event.next_attempt_at <= %(now)s
ORDER BY event.next_attempt_at, event.id
LIMIT %(limit)s;

-- name: list_due_locked
-- Takes deliveries for this transaction, without those that somebody else has or that are not due.
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
WHERE event.id = ANY(%(event_ids)s::UUID[]) AND event.state = 'pending' AND event.next_attempt_at <= %(now)s
ORDER BY event.id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED;

-- name: finish_events
-- Writes down what became of deliveries. A tenant that its account told stays.
UPDATE psp_events AS event
SET
    state = done.state,
    attempts = event.attempts + 1,
    next_attempt_at = NULL,
    last_error = done.last_error,
    event_type = done.event_type,
    effect = done.effect,
    detail = done.detail,
    tenant_id = coalesce(event.tenant_id, done.tenant_id),
    tx_id = done.tx_id,
    applied_at = %(now)s
FROM unnest(
    %(event_ids)s::UUID[], %(states)s::TEXT[], %(last_errors)s::TEXT[], %(event_types)s::TEXT[], %(effects)s::TEXT[],
    %(details)s::TEXT[], %(tenant_ids)s::UUID[], %(tx_ids)s::UUID[]
) AS done (id, state, last_error, event_type, effect, detail, tenant_id, tx_id)
WHERE event.id = done.id AND event.state = 'pending';

-- name: postpone_event
-- Counts a failure; with no further time given the delivery is dead. Its state then.
UPDATE psp_events
SET
    state = CASE WHEN %(next_attempt_at)s::TIMESTAMPTZ IS NULL THEN 'dead' ELSE 'pending' END,
    attempts = %(attempts)s,
    next_attempt_at = %(next_attempt_at)s::TIMESTAMPTZ,
    last_error = %(last_error)s
WHERE id = %(event_id)s AND state = 'pending'
RETURNING state;

-- name: find_attempts
-- How often a pending delivery was tried.
SELECT event.attempts FROM psp_events AS event WHERE event.id = %(event_id)s AND event.state = 'pending';

-- name: lease_hint
-- Keeps a hint to oneself for a while, without holding its row.
UPDATE psp_events
SET next_attempt_at = %(until)s
WHERE id = %(event_id)s AND state = 'pending';

-- name: lock_event
-- Takes a delivery of a tenant, or of any when tenant_id is NULL, for this transaction.
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
FROM psp_events AS event
WHERE event.id = %(event_id)s AND (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
FOR UPDATE;

-- name: reopen_event
-- Makes a delivery due again, as if it had just come in.
UPDATE psp_events
SET
    state = 'pending',
    attempts = 0,
    next_attempt_at = %(now)s
WHERE id = %(event_id)s;

-- name: list_events
-- Deliveries of a tenant, or all of them when tenant_id is NULL; newest first, from before one.
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
FROM psp_events AS event
WHERE
    (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
    AND (%(provider)s::TEXT IS NULL OR event.provider = %(provider)s)
    AND (%(state)s::TEXT IS NULL OR event.state = %(state)s)
    AND (%(signature_status)s::TEXT IS NULL OR event.signature_status = %(signature_status)s)
    AND (%(before_id)s::UUID IS NULL OR event.id < %(before_id)s)
ORDER BY event.id DESC
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_events
-- How many deliveries list_events would show from its beginning.
SELECT count(*) AS total
FROM psp_events AS event
WHERE
    (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
    AND (%(provider)s::TEXT IS NULL OR event.provider = %(provider)s)
    AND (%(state)s::TEXT IS NULL OR event.state = %(state)s)
    AND (%(signature_status)s::TEXT IS NULL OR event.signature_status = %(signature_status)s);

-- name: find_backlog
-- What waits: how many are due, since when the oldest, and how many are dead. Counted no further than anybody would read.
SELECT
    due.total AS due,
    due.oldest_at,
    dead.total AS dead
FROM (
    SELECT
        count(*) AS total,
        min(waiting.next_attempt_at) AS oldest_at
    FROM (
        SELECT event.next_attempt_at
        FROM psp_events AS event
        WHERE event.state = 'pending' AND event.next_attempt_at <= %(now)s
        ORDER BY event.next_attempt_at
        LIMIT 10000
    ) AS waiting
) AS due
CROSS JOIN (
    SELECT count(*) AS total
    FROM (SELECT FROM psp_events AS event WHERE event.state = 'dead' LIMIT 10000) AS lost
) AS dead;

-- name: prune_unverified
-- Removes old deliveries that nobody vouched for; how many were removed.
SELECT psp_events_prune_v1(%(before)s, %(limit)s) AS removed;

-- name: find_withdrawal_tenant
-- Whose withdrawal it is.
SELECT withdrawal.tenant_id FROM withdrawals AS withdrawal WHERE withdrawal.id = %(withdrawal_id)s;
