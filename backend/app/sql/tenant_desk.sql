-- name: list_tenants
-- One tenant, or all of them but the sandbox when tenant_id is NULL, newest first from before an id. With each, who
-- decides about balances, since when nobody else is asked, what it has of its own, and its players counted so far.
SELECT
    tenant.id,
    tenant.slug,
    tenant.name,
    tenant.base_currency,
    tenant.created_at,
    mode.arbiter,
    mode.enforce_source,
    mode.shadow_write,
    mode.epoch,
    (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN AS enforce_override,
    (tenant.flags ->> 'ledger_shadow_override')::BOOLEAN AS shadow_override,
    counted.players,
    staff.admins
FROM (
    SELECT
        candidate.id,
        candidate.slug,
        candidate.name,
        candidate.base_currency,
        candidate.flags,
        candidate.created_at
    FROM tenants AS candidate
    WHERE
        CASE WHEN %(tenant_id)s::UUID IS NULL THEN NOT candidate.is_sandbox ELSE candidate.id = %(tenant_id)s END
        AND (%(before_id)s::UUID IS NULL OR candidate.id < %(before_id)s)
    ORDER BY candidate.id DESC
    LIMIT %(limit)s
) AS tenant
INNER JOIN tenant_modes AS mode ON mode.tenant_id = tenant.id
CROSS JOIN LATERAL (
    SELECT count(*) AS players
    FROM (
        SELECT player.id
        FROM players AS player
        WHERE player.tenant_id = tenant.id
        -- In an order that an index has, so that no more is read than is counted.
        ORDER BY player.id DESC
        LIMIT %(counted_max)s + 1
    ) AS player
) AS counted
CROSS JOIN LATERAL (
    SELECT count(*) AS admins
    FROM (
        SELECT admin.id
        FROM admins AS admin
        WHERE admin.tenant_id = tenant.id AND admin.is_active
        ORDER BY admin.id DESC
        LIMIT %(counted_max)s + 1
    ) AS admin
) AS staff
ORDER BY tenant.id DESC;
