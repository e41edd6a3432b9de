-- name: list_effective
-- What each flag comes to for a tenant or a provider, and where it comes from.
SELECT
    effective.flag,
    effective.value,
    effective.source,
    effective.own_value,
    effective.reason,
    effective.set_by,
    effective.set_at,
    effective.expires_at
FROM flag_effective_v1(%(tenant_id)s::UUID, %(provider)s::TEXT) AS effective
ORDER BY effective.flag
LIMIT 100;

-- name: write_flag
-- Sets or removes what is said about a flag for everybody, for a provider or for a tenant.
SELECT flag_write_v1(
    %(flag)s, %(scope)s, %(holder)s, %(value)s, %(expires_at)s, %(reason)s, %(actor)s
);

-- name: write_tenant_shadow
-- Switches shadow writing of one tenant.
SELECT tenant_shadow_v1(%(tenant_id)s, %(value)s, %(expires_at)s, %(reason)s, %(actor)s);

-- name: list_refused
-- Tenants that would be enforced while shadow writing is off.
SELECT tenant.slug
FROM tenant_modes AS mode
INNER JOIN tenants AS tenant ON tenant.id = mode.tenant_id
WHERE mode.is_refused
ORDER BY tenant.slug
LIMIT 20;

-- name: list_levels
-- Every flag as it is for who has nothing of its own.
SELECT
    level.flag,
    NOT level.is_killed
    AND coalesce(level.global_value, level.environment_value, level.default_value) AS value
FROM flag_levels AS level
ORDER BY level.flag
LIMIT 100;

-- name: find_levels
-- One flag at the levels that bind everybody.
SELECT
    level.default_value,
    level.is_killed,
    level.global_value,
    level.environment_value
FROM flag_levels AS level
WHERE level.flag = %(flag)s;

-- name: list_own_values
-- What tenants and providers have of their own.
SELECT
    setting.flag,
    setting.holder,
    setting.value
FROM flag_settings AS setting
WHERE
    setting.scope IN ('tenant', 'provider')
    AND (setting.expires_at IS NULL OR setting.expires_at > clock_timestamp())
ORDER BY setting.flag, setting.holder
LIMIT %(limit)s;

-- name: list_expired
-- Values of the ledger's flags that were given to tenants until a time that has come.
SELECT
    setting.flag,
    setting.holder::UUID AS tenant_id,
    setting.expires_at
FROM flag_settings AS setting
WHERE
    setting.scope = 'tenant'
    AND setting.flag IN ('ledger_enforce_balance', 'ledger_shadow_write')
    AND setting.expires_at <= clock_timestamp()
ORDER BY setting.expires_at, setting.holder
LIMIT %(limit)s;
