-- Who decides for each tenant, and what is written. Strongest first: an explicit False in the environment of a running
-- process (for the flags where it wins), the tenant's override, the global setting, the environment, the default in code.
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
        coalesce(
            (tenant.flags ->> 'ledger_shadow_override')::BOOLEAN,
            CASE WHEN platform.shadow_global_until > clock_timestamp() THEN platform.shadow_global END,
            platform.shadow_otherwise
        ) AS shadow_write,
        NOT platform.enforce_is_killed
        AND coalesce(
            (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN,
            CASE WHEN platform.enforce_global_until > clock_timestamp() THEN platform.enforce_global END,
            platform.enforce_otherwise
        ) AS enforce_balance,
        CASE
            WHEN platform.enforce_is_killed THEN 'environment_false'
            WHEN tenant.flags ->> 'ledger_enforce_override' IS NOT NULL THEN 'tenant'
            WHEN platform.enforce_global IS NOT NULL AND platform.enforce_global_until > clock_timestamp() THEN 'global'
            ELSE platform.enforce_otherwise_source
        END AS enforce_source
    FROM tenants AS tenant
    INNER JOIN platform_modes AS platform ON platform.id = 1
) AS mode;

GRANT SELECT ON tenant_modes TO hakem_service;
