-- Who decides for each tenant, and what is written. Strongest first: an explicit False in the environment of a running
-- process (for the flags where it wins), the tenant's override, the global setting, the environment, the default in code.
CREATE VIEW flag_levels AS
SELECT
    flag.flag,
    flag.default_value,
    flag.environment_false_wins
    AND coalesce(bool_or(setting.scope = 'environment' AND NOT setting.value), FALSE) AS is_killed,
    bool_and(setting.value) FILTER (WHERE setting.scope = 'global') AS global_value,
    bool_and(setting.value) FILTER (WHERE setting.scope = 'environment') AS environment_value
FROM flags AS flag
LEFT JOIN flag_settings AS setting
    ON setting.flag = flag.flag
    AND setting.scope IN ('environment', 'global')
    AND (setting.expires_at IS NULL OR setting.expires_at > clock_timestamp())
GROUP BY flag.flag;

-- arbiter: 'legacy' (players.balance_real_*) or 'ledger' (wallet_balances). is_refused: enforcing without shadow writing,
-- which the service refuses to start with and the door refuses to work in.
CREATE VIEW tenant_modes AS
SELECT
    mode.tenant_id,
    mode.number,
    mode.epoch,
    mode.shadow_write,
    CASE WHEN mode.enforce_balance THEN 'ledger' ELSE 'legacy' END AS arbiter,
    mode.enforce_source,
    mode.enforce_balance AND NOT mode.shadow_write AS is_refused
FROM (
    SELECT
        tenant.id AS tenant_id,
        tenant.number,
        tenant.epoch,
        platform.shadow_write,
        NOT platform.is_killed
        AND coalesce((tenant.flags ->> 'ledger_enforce_override')::BOOLEAN, platform.enforce_balance) AS enforce_balance,
        CASE
            WHEN platform.is_killed THEN 'environment_false'
            WHEN tenant.flags ->> 'ledger_enforce_override' IS NOT NULL THEN 'tenant'
            ELSE platform.enforce_source
        END AS enforce_source
    FROM tenants AS tenant
    -- The two flags side by side, once for all tenants: this view is read by every posting.
    CROSS JOIN (
        SELECT
            bool_or(coalesce(level.global_value, level.environment_value, level.default_value))
                FILTER (WHERE level.flag = 'ledger_shadow_write') AS shadow_write,
            bool_or(coalesce(level.global_value, level.environment_value, level.default_value))
                FILTER (WHERE level.flag = 'ledger_enforce_balance') AS enforce_balance,
            bool_or(level.is_killed) FILTER (WHERE level.flag = 'ledger_enforce_balance') AS is_killed,
            max(CASE
                WHEN level.global_value IS NOT NULL THEN 'global'
                WHEN level.environment_value IS NOT NULL THEN 'environment'
                ELSE 'default'
            END) FILTER (WHERE level.flag = 'ledger_enforce_balance') AS enforce_source
        FROM flag_levels AS level
        WHERE level.flag IN ('ledger_enforce_balance', 'ledger_shadow_write')
    ) AS platform
) AS mode;

GRANT SELECT ON flag_levels, tenant_modes TO hakem_service;
