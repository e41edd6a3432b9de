-- name: identify_admin
-- The active admin that a token stands for, unless their tokens ended since it was issued; and whether the tenant it asks to work in exists.
SELECT
    admin.email,
    admin.role,
    admin.tenant_id,
    EXISTS (SELECT FROM tenants AS asked WHERE asked.id = %(asked_tenant_id)s) AS asked_tenant_exists
FROM admins AS admin
WHERE
    admin.id = %(admin_id)s
    AND admin.is_active
    AND (%(issued_at)s::TIMESTAMPTZ IS NULL OR admin.sessions_valid_from <= %(issued_at)s);

-- name: find_credentials
-- What signing in needs to know of the admin with an address.
SELECT
    admin.id,
    admin.password_hash,
    admin.is_active
FROM admins AS admin
WHERE admin.email = %(email)s;

-- name: insert_admin
-- A new admin, or no row when the address is taken.
INSERT INTO admins (tenant_id, email, password_hash, role, is_active)
VALUES (%(tenant_id)s, %(email)s, %(password_hash)s, %(role)s, %(is_active)s)
ON CONFLICT (email) DO NOTHING
RETURNING id, tenant_id, email, role, is_active, created_at, updated_at;

-- name: lock_two_owners
-- Keeps two active owners as they are for this transaction, always in the same order: enough to know that one is left.
SELECT admin.id
FROM admins AS admin
WHERE admin.role = 'owner' AND admin.is_active
ORDER BY admin.id
LIMIT 2
FOR NO KEY UPDATE;

-- name: lock_admin
-- Keeps an admin of a tenant, or of anywhere when tenant_id is NULL, for this transaction.
SELECT
    admin.id,
    admin.tenant_id,
    admin.email,
    admin.role,
    admin.is_active,
    admin.created_at,
    admin.updated_at
FROM admins AS admin
WHERE admin.id = %(admin_id)s AND (%(tenant_id)s::UUID IS NULL OR admin.tenant_id = %(tenant_id)s)
FOR NO KEY UPDATE;

-- name: update_admin
-- Changes what is not NULL.
UPDATE admins
SET
    email = coalesce(%(email)s, email),
    password_hash = coalesce(%(password_hash)s, password_hash),
    role = coalesce(%(role)s, role),
    is_active = coalesce(%(is_active)s, is_active),
    -- Another password, or a disabled account: nobody stays signed in.
    sessions_valid_from = CASE
        WHEN %(password_hash)s::TEXT IS NOT NULL OR %(is_active)s::BOOLEAN IS FALSE THEN clock_timestamp()
        ELSE sessions_valid_from
    END,
    updated_at = clock_timestamp()
WHERE id = %(admin_id)s AND (%(tenant_id)s::UUID IS NULL OR tenant_id = %(tenant_id)s)
RETURNING id, tenant_id, email, role, is_active, created_at, updated_at;

-- name: end_sessions
-- Nobody stays signed in as this admin: no token or session from before now is good, and the sessions that are, are
-- forgotten. How many were good.
WITH ended AS (
    DELETE FROM console_sessions AS held
    WHERE held.admin_id = %(admin_id)s
    RETURNING held.seen_at, held.opened_at
),

barred AS (
    UPDATE admins
    SET
        sessions_valid_from = clock_timestamp(),
        updated_at = clock_timestamp()
    WHERE id = %(admin_id)s AND (%(tenant_id)s::UUID IS NULL OR tenant_id = %(tenant_id)s)
)

SELECT count(*) AS ended
FROM ended
WHERE
    ended.seen_at > clock_timestamp() - %(idle_timeout)s::INTERVAL
    AND ended.opened_at > clock_timestamp() - %(lifetime)s::INTERVAL;

-- name: note_sign_in
-- That an admin's password was right just now.
UPDATE admins
SET last_signed_in_at = clock_timestamp()
WHERE id = %(admin_id)s;

-- name: upgrade_password_hash
-- Replaces a hash that was made with weaker parameters, unless the password was changed meanwhile.
UPDATE admins
SET password_hash = %(password_hash)s
WHERE id = %(admin_id)s AND password_hash = %(outdated_hash)s;

-- name: list_admins
-- Admins of a tenant, or of everywhere when tenant_id is NULL; newest first.
SELECT
    admin.id,
    admin.tenant_id,
    admin.email,
    admin.role,
    admin.is_active,
    admin.created_at,
    admin.updated_at
FROM admins AS admin
WHERE %(tenant_id)s::UUID IS NULL OR admin.tenant_id = %(tenant_id)s
ORDER BY admin.id DESC
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_admins
-- How many admins list_admins would show.
SELECT count(*) AS total
FROM admins AS admin
WHERE %(tenant_id)s::UUID IS NULL OR admin.tenant_id = %(tenant_id)s;
