-- name: list_people
-- Admins of a tenant, or of everywhere when tenant_id is NULL, newest first from before an id; or the one with admin_id.
-- With each, how many sessions at the console are good, and when a person last did something in one.
SELECT
    admin.id,
    admin.tenant_id,
    admin.email,
    admin.role,
    admin.is_active,
    admin.created_at,
    admin.updated_at,
    admin.last_signed_in_at,
    tenant.name AS tenant_name,
    session.sessions,
    session.seen_at
FROM (
    SELECT
        candidate.id,
        candidate.tenant_id,
        candidate.email,
        candidate.role,
        candidate.is_active,
        candidate.created_at,
        candidate.updated_at,
        candidate.last_signed_in_at,
        candidate.sessions_valid_from
    FROM admins AS candidate
    WHERE
        (%(tenant_id)s::UUID IS NULL OR candidate.tenant_id = %(tenant_id)s)
        AND (%(admin_id)s::UUID IS NULL OR candidate.id = %(admin_id)s)
        AND (%(before_id)s::UUID IS NULL OR candidate.id < %(before_id)s)
    ORDER BY candidate.id DESC
    LIMIT %(limit)s
) AS admin
LEFT JOIN tenants AS tenant ON tenant.id = admin.tenant_id
CROSS JOIN LATERAL (
    SELECT
        count(*) AS sessions,
        max(held.seen_at) AS seen_at
    FROM console_sessions AS held
    WHERE
        held.admin_id = admin.id
        AND held.seen_at > clock_timestamp() - %(idle_timeout)s::INTERVAL
        AND held.opened_at > clock_timestamp() - %(lifetime)s::INTERVAL
        AND admin.is_active
        AND held.opened_at >= admin.sessions_valid_from
) AS session
ORDER BY admin.id DESC;

-- name: list_sessions
-- An admin's sessions at the console that are good, the latest first; is_own: the one that asks.
SELECT
    held.opened_at,
    held.seen_at,
    held.token_hash = %(own_token_hash)s AS is_own
FROM admins AS admin
INNER JOIN console_sessions AS held ON held.admin_id = admin.id
WHERE
    admin.id = %(admin_id)s
    AND (%(tenant_id)s::UUID IS NULL OR admin.tenant_id = %(tenant_id)s)
    AND held.seen_at > clock_timestamp() - %(idle_timeout)s::INTERVAL
    AND held.opened_at > clock_timestamp() - %(lifetime)s::INTERVAL
    AND admin.is_active
    AND held.opened_at >= admin.sessions_valid_from
ORDER BY held.seen_at DESC, held.token_hash
LIMIT %(limit)s;
