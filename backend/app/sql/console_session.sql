-- name: insert_session
-- A session of an active admin, unless the account was locked or got another password since its own was checked.
INSERT INTO console_sessions (token_hash, admin_id, opened_at, seen_at)
SELECT
    %(token_hash)s,
    admin.id,
    %(checked_at)s,
    clock_timestamp()
FROM admins AS admin
WHERE admin.id = %(admin_id)s AND admin.is_active AND admin.sessions_valid_from <= %(checked_at)s
RETURNING admin_id;

-- name: find_session
-- A session that is good now, with its admin and the tenant in view. With is_activity, it is noted that a person did
-- something, once in a while.
WITH session AS (
    SELECT
        held.token_hash,
        held.seen_at,
        admin.id AS admin_id,
        admin.email,
        admin.role,
        admin.tenant_id,
        coalesce(admin.tenant_id, held.scope_tenant_id) AS scope_tenant_id,
        held.flash
    FROM console_sessions AS held
    INNER JOIN admins AS admin ON held.admin_id = admin.id
    WHERE
        held.token_hash = %(token_hash)s
        AND held.seen_at > clock_timestamp() - %(idle_timeout)s::INTERVAL
        AND held.opened_at > clock_timestamp() - %(lifetime)s::INTERVAL
        AND admin.is_active
        AND admin.sessions_valid_from <= held.opened_at
),

noted AS (
    UPDATE console_sessions AS held
    SET seen_at = clock_timestamp()
    FROM session
    WHERE
        held.token_hash = session.token_hash
        AND %(is_activity)s::BOOLEAN
        AND session.seen_at < clock_timestamp() - %(note_every)s::INTERVAL
)

SELECT
    session.admin_id,
    session.email,
    session.role,
    session.tenant_id,
    session.scope_tenant_id,
    tenant.name AS tenant_name,
    session.flash
FROM session
LEFT JOIN tenants AS tenant ON session.scope_tenant_id = tenant.id;

-- name: delete_session
-- Ends a session.
DELETE FROM console_sessions
WHERE token_hash = %(token_hash)s;

-- name: set_scope
-- Chooses the tenant that an owner's session is about, or all of them; no row when there is no such tenant.
UPDATE console_sessions AS held
SET scope_tenant_id = %(tenant_id)s
FROM admins AS admin
WHERE
    held.token_hash = %(token_hash)s
    AND held.admin_id = admin.id
    AND admin.role = 'owner'
    AND (%(tenant_id)s::UUID IS NULL OR EXISTS (SELECT FROM tenants AS tenant WHERE tenant.id = %(tenant_id)s))
RETURNING held.admin_id;

-- name: set_flash
-- Keeps what the next page has to say; NULL when it was said.
UPDATE console_sessions
SET flash = %(flash)s
WHERE token_hash = %(token_hash)s;

-- name: sweep_sessions
-- Removes some sessions that are over, the oldest first.
DELETE FROM console_sessions
WHERE token_hash IN (
    SELECT held.token_hash
    FROM console_sessions AS held
    WHERE held.seen_at <= clock_timestamp() - %(idle_timeout)s::INTERVAL
    ORDER BY held.seen_at, held.token_hash
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
);
