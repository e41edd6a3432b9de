-- name: insert_tenant
-- A new tenant; its id.
INSERT INTO tenants (name, slug, base_currency)
VALUES (%(name)s, %(slug)s, %(base_currency)s)
RETURNING id;

-- name: insert_psp_account
-- An account of the tenant at a provider.
INSERT INTO psp_accounts (provider, account_id, tenant_id)
VALUES (%(provider)s, %(account_id)s, %(tenant_id)s);

-- name: find_base_currency
-- The currency of a tenant's players unless they ask for another.
SELECT tenant.base_currency FROM tenants AS tenant WHERE tenant.id = %(tenant_id)s;

-- name: find_tenant_id
-- The tenant with a slug.
SELECT tenant.id FROM tenants AS tenant WHERE tenant.slug = %(slug)s;

-- name: lock_tenant
-- Keeps the tenant's row for this transaction; its name as it stands.
SELECT tenant.name FROM tenants AS tenant WHERE tenant.id = %(tenant_id)s FOR NO KEY UPDATE;

-- name: rename_tenant
-- Gives a tenant another name.
UPDATE tenants
SET
    name = %(name)s,
    updated_at = clock_timestamp()
WHERE id = %(tenant_id)s;

-- name: list_tenants
-- One tenant, or all of them but the sandbox when tenant_id is NULL; newest first.
SELECT
    tenant.id,
    tenant.slug,
    tenant.name,
    tenant.base_currency,
    (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN AS ledger_enforce_override,
    account.providers,
    account.account_ids,
    tenant.created_at,
    tenant.updated_at
FROM (
    SELECT
        candidate.id,
        candidate.slug,
        candidate.name,
        candidate.base_currency,
        candidate.flags,
        candidate.created_at,
        candidate.updated_at
    FROM tenants AS candidate
    WHERE CASE WHEN %(tenant_id)s::UUID IS NULL THEN NOT candidate.is_sandbox ELSE candidate.id = %(tenant_id)s END
    ORDER BY candidate.id DESC
    LIMIT %(limit)s
    OFFSET %(offset)s
) AS tenant
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(owned.provider ORDER BY owned.provider, owned.account_id), '{}') AS providers,
        coalesce(array_agg(owned.account_id ORDER BY owned.provider, owned.account_id), '{}') AS account_ids
    FROM psp_accounts AS owned
    WHERE owned.tenant_id = tenant.id
) AS account
ORDER BY tenant.id DESC;

-- name: count_tenants
-- How many tenants list_tenants would show.
SELECT count(*) AS total
FROM tenants AS tenant
WHERE CASE WHEN %(tenant_id)s::UUID IS NULL THEN NOT tenant.is_sandbox ELSE tenant.id = %(tenant_id)s END;
