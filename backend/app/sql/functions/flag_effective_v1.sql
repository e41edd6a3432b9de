-- What each flag comes to for a tenant or for a provider, and which level says so. Strongest first: an explicit False in
-- the environment of a running process (for the flags where it wins), the tenant's or the provider's own value, the global
-- setting, the environment, the default in code. Both parameters may be null: then nobody's own value counts.
-- The door does not ask here: it reads tenant_modes, after its fence. A test holds the two against one model.
CREATE FUNCTION flag_effective_v1(p_tenant_id UUID, p_provider TEXT)
RETURNS TABLE (
    flag TEXT,
    value BOOLEAN,
    source TEXT,
    own_value BOOLEAN,
    reason TEXT,
    set_by TEXT,
    set_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ
)
LANGUAGE sql STABLE
AS $$
    WITH own AS (
        SELECT
            setting.flag,
            setting.value
        FROM flag_settings AS setting
        WHERE
            (
                (
                    setting.scope = 'tenant'
                    AND setting.holder = p_tenant_id::TEXT
                    -- Of these two the tenant's row has the word; what is kept here only says where it came from.
                    AND setting.flag NOT IN ('ledger_enforce_balance', 'ledger_shadow_write')
                )
                OR (setting.scope = 'provider' AND setting.holder = p_provider)
            )
            AND (setting.expires_at IS NULL OR setting.expires_at > clock_timestamp())
        UNION ALL
        SELECT
            ledger.flag,
            ledger.value
        FROM tenants AS tenant
        CROSS JOIN LATERAL (VALUES
            ('ledger_enforce_balance', (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN),
            ('ledger_shadow_write', (tenant.flags ->> 'ledger_shadow_override')::BOOLEAN)
        ) AS ledger (flag, value)
        WHERE tenant.id = p_tenant_id AND ledger.value IS NOT NULL
    ),

    judged AS (
        SELECT
            level.flag,
            NOT level.is_killed
            AND coalesce(own.value, level.global_value, level.environment_value, level.default_value) AS value,
            CASE
                WHEN level.is_killed THEN 'environment_false'
                WHEN own.value IS NOT NULL
                    THEN CASE level.flag WHEN 'webhook_signature_enforced' THEN 'provider' ELSE 'tenant' END
                WHEN level.global_value IS NOT NULL THEN 'global'
                WHEN level.environment_value IS NOT NULL THEN 'environment'
                ELSE 'default'
            END AS source,
            own.value AS own_value
        FROM flag_levels AS level
        LEFT JOIN own ON own.flag = level.flag
    )

    SELECT
        judged.flag,
        judged.value,
        judged.source,
        judged.own_value,
        said.reason,
        said.set_by,
        said.set_at,
        said.expires_at
    FROM judged
    LEFT JOIN LATERAL (
        SELECT
            setting.reason,
            setting.set_by,
            setting.set_at,
            setting.expires_at
        FROM flag_settings AS setting
        WHERE
            setting.flag = judged.flag
            AND setting.value = judged.value
            AND CASE judged.source
                WHEN 'tenant' THEN setting.scope = 'tenant' AND setting.holder = p_tenant_id::TEXT
                WHEN 'provider' THEN setting.scope = 'provider' AND setting.holder = p_provider
                WHEN 'global' THEN setting.scope = 'global'
                WHEN 'default' THEN FALSE
                ELSE setting.scope = 'environment'
            END
        -- Of several processes that say the same, the one that has said it longest.
        ORDER BY setting.set_at, setting.holder
        LIMIT 1
    ) AS said ON TRUE
    ORDER BY judged.flag
$$;
