-- Whether deliveries of a provider must be signed, and which level says so. Strongest first: an explicit False in the
-- environment of a running process, the provider's own setting, the global setting, the environment, the default in code.
CREATE FUNCTION webhook_mode_v1(p_provider TEXT)
RETURNS TABLE (is_enforced BOOLEAN, source TEXT)
LANGUAGE sql STABLE
AS $$
    SELECT
        NOT level.is_killed
        AND coalesce(own.value, level.global_value, level.environment_value, level.default_value),
        CASE
            WHEN level.is_killed THEN 'environment_false'
            WHEN own.value IS NOT NULL THEN 'provider'
            WHEN level.global_value IS NOT NULL THEN 'global'
            WHEN level.environment_value IS NOT NULL THEN 'environment'
            ELSE 'default'
        END
    FROM flag_levels AS level
    LEFT JOIN flag_settings AS own
        ON own.flag = level.flag
        AND own.scope = 'provider'
        AND own.holder = p_provider
        AND (own.expires_at IS NULL OR own.expires_at > clock_timestamp())
    WHERE level.flag = 'webhook_signature_enforced'
$$;
