-- name: insert_event
-- Writes one deed, in the transaction of the deed.
INSERT INTO audit_events (
    tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after,
    request_id, client_address
)
VALUES (
    %(tenant_id)s, %(actor_kind)s, %(actor_id)s, %(actor_label)s, %(action)s, %(object_kind)s, %(object_id)s,
    %(reason)s, %(state_before)s, %(state_after)s, %(request_id)s, %(client_address)s
);

-- name: list_events
-- Deeds in a tenant, or everywhere when tenant_id is NULL; newest first, from before an event.
SELECT
    event.id,
    event.tenant_id,
    event.actor_kind,
    event.actor_id,
    event.actor_label,
    event.action,
    event.object_kind,
    event.object_id,
    event.reason,
    event.state_before,
    event.state_after,
    event.request_id,
    event.client_address,
    event.recorded_at
FROM audit_events AS event
WHERE
    (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
    AND (%(asked_tenant_id)s::UUID IS NULL OR event.tenant_id = %(asked_tenant_id)s)
    AND (%(action)s::TEXT IS NULL OR event.action = %(action)s)
    AND (%(actor)s::TEXT IS NULL OR event.actor_label = %(actor)s OR event.actor_id::TEXT = %(actor)s)
    AND (%(object_kind)s::TEXT IS NULL OR event.object_kind = %(object_kind)s)
    AND (%(object_id)s::TEXT IS NULL OR event.object_id = %(object_id)s)
    AND (%(date_from)s::TIMESTAMPTZ IS NULL OR event.recorded_at >= %(date_from)s)
    AND (%(date_to)s::TIMESTAMPTZ IS NULL OR event.recorded_at < %(date_to)s)
    AND (%(before_id)s::UUID IS NULL OR event.id < %(before_id)s)
ORDER BY event.id DESC
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_events
-- How many deeds list_events would show from its beginning.
SELECT count(*) AS total
FROM audit_events AS event
WHERE
    (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
    AND (%(asked_tenant_id)s::UUID IS NULL OR event.tenant_id = %(asked_tenant_id)s)
    AND (%(action)s::TEXT IS NULL OR event.action = %(action)s)
    AND (%(actor)s::TEXT IS NULL OR event.actor_label = %(actor)s OR event.actor_id::TEXT = %(actor)s)
    AND (%(object_kind)s::TEXT IS NULL OR event.object_kind = %(object_kind)s)
    AND (%(object_id)s::TEXT IS NULL OR event.object_id = %(object_id)s)
    AND (%(date_from)s::TIMESTAMPTZ IS NULL OR event.recorded_at >= %(date_from)s)
    AND (%(date_to)s::TIMESTAMPTZ IS NULL OR event.recorded_at < %(date_to)s);

-- name: list_of_object
-- What was done to an object of a tenant, or of none when tenant_id is NULL; the latest first.
SELECT
    event.id,
    event.tenant_id,
    event.actor_kind,
    event.actor_id,
    event.actor_label,
    event.action,
    event.object_kind,
    event.object_id,
    event.reason,
    event.state_before,
    event.state_after,
    event.request_id,
    event.client_address,
    event.recorded_at
FROM audit_events AS event
WHERE
    event.object_kind = %(object_kind)s
    AND event.object_id = %(object_id)s::TEXT
    AND event.tenant_id IS NOT DISTINCT FROM %(tenant_id)s::UUID
ORDER BY event.id DESC
LIMIT %(limit)s;

-- name: list_newest_ids
-- Deeds in a tenant, or everywhere when tenant_id is NULL; newest first, from before an event. Ids are in the order of
-- time, so from_id and before_id bound the reading where a range of days is asked for; the times then decide.
SELECT event.id
FROM audit_events AS event
WHERE
    (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
    AND (%(action)s::TEXT IS NULL OR event.action = %(action)s)
    AND (%(actor_label)s::TEXT IS NULL OR event.actor_label = %(actor_label)s)
    AND (%(actor_id)s::UUID IS NULL OR event.actor_id = %(actor_id)s)
    AND (%(object_id)s::TEXT IS NULL OR event.object_id = %(object_id)s)
    AND (%(date_from)s::TIMESTAMPTZ IS NULL OR event.recorded_at >= %(date_from)s)
    AND (%(date_to)s::TIMESTAMPTZ IS NULL OR event.recorded_at < %(date_to)s)
    AND event.id >= %(from_id)s
    AND event.id < %(before_id)s
ORDER BY event.id DESC
LIMIT %(limit)s;

-- name: list_newest_ids_everywhere
-- The same for one action or one actor in all tenants: each tenant's newest, and those of the platform, because the
-- indexes of actions and of actors begin with the tenant.
SELECT newest.id
FROM (
    SELECT found.id
    FROM tenants AS tenant
    CROSS JOIN LATERAL (
        SELECT event.id
        FROM audit_events AS event
        WHERE
            event.tenant_id = tenant.id
            AND (%(action)s::TEXT IS NULL OR event.action = %(action)s)
            AND (%(actor_label)s::TEXT IS NULL OR event.actor_label = %(actor_label)s)
            AND (%(actor_id)s::UUID IS NULL OR event.actor_id = %(actor_id)s)
            AND (%(date_from)s::TIMESTAMPTZ IS NULL OR event.recorded_at >= %(date_from)s)
            AND (%(date_to)s::TIMESTAMPTZ IS NULL OR event.recorded_at < %(date_to)s)
            AND event.id >= %(from_id)s
            AND event.id < %(before_id)s
        ORDER BY event.id DESC
        LIMIT %(limit)s
    ) AS found
    UNION ALL
    (
        SELECT event.id
        FROM audit_events AS event
        WHERE
            event.tenant_id IS NULL
            AND (%(action)s::TEXT IS NULL OR event.action = %(action)s)
            AND (%(actor_label)s::TEXT IS NULL OR event.actor_label = %(actor_label)s)
            AND (%(actor_id)s::UUID IS NULL OR event.actor_id = %(actor_id)s)
            AND (%(date_from)s::TIMESTAMPTZ IS NULL OR event.recorded_at >= %(date_from)s)
            AND (%(date_to)s::TIMESTAMPTZ IS NULL OR event.recorded_at < %(date_to)s)
            AND event.id >= %(from_id)s
            AND event.id < %(before_id)s
        ORDER BY event.id DESC
        LIMIT %(limit)s
    )
) AS newest
ORDER BY newest.id DESC
LIMIT %(limit)s;

-- name: list_by_id
-- The deeds with these ids, newest first.
SELECT
    event.id,
    event.tenant_id,
    event.actor_kind,
    event.actor_id,
    event.actor_label,
    event.action,
    event.object_kind,
    event.object_id,
    event.reason,
    event.state_before,
    event.state_after,
    event.request_id,
    event.client_address,
    event.recorded_at,
    tenant.name AS tenant_name
FROM audit_events AS event
LEFT JOIN tenants AS tenant ON tenant.id = event.tenant_id
WHERE
    event.id = ANY(%(event_ids)s)
    AND (%(tenant_id)s::UUID IS NULL OR event.tenant_id = %(tenant_id)s)
ORDER BY event.id DESC
LIMIT %(limit)s;
