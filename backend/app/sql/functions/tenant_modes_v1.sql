-- Who decides for each tenant, and what is written. Strongest first: an explicit False in the environment of a running
-- process (for the flags where it wins), the tenant's override, the global setting, the environment, the default in code.
CREATE VIEW flag_levels AS
SELECT
    flag.flag,
    flag.default_value,
    flag.environment_false_wins AND coalesce(stated.any_environment_false, FALSE) AS is_killed,
    stated.global_value,
    stated.environment_value
FROM flags AS flag
CROSS JOIN LATERAL (
    SELECT
        bool_or(setting.scope = 'environment' AND NOT setting.value) AS any_environment_false,
        bool_and(setting.value) FILTER (WHERE setting.scope = 'global') AS global_value,
        bool_and(setting.value) FILTER (WHERE setting.scope = 'environment') AS environment_value
    FROM flag_settings AS setting
    WHERE
        setting.flag = flag.flag
        AND setting.scope IN ('environment', 'global')
        AND (setting.expires_at IS NULL OR setting.expires_at > clock_timestamp())
) AS stated;

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
        coalesce(shadow.global_value, shadow.environment_value, shadow.default_value) AS shadow_write,
        NOT enforce.is_killed AND coalesce(
            (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN,
            enforce.global_value,
            enforce.environment_value,
            enforce.default_value
        ) AS enforce_balance,
        CASE
            WHEN enforce.is_killed THEN 'environment_false'
            WHEN tenant.flags ->> 'ledger_enforce_override' IS NOT NULL THEN 'tenant'
            WHEN enforce.global_value IS NOT NULL THEN 'global'
            WHEN enforce.environment_value IS NOT NULL THEN 'environment'
            ELSE 'default'
        END AS enforce_source
    FROM tenants AS tenant
    CROSS JOIN flag_levels AS enforce
    CROSS JOIN flag_levels AS shadow
    WHERE enforce.flag = 'ledger_enforce_balance' AND shadow.flag = 'ledger_shadow_write'
) AS mode;

GRANT SELECT ON flag_levels, tenant_modes TO hakem_service;
