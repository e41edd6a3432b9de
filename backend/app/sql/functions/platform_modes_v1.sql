-- What was said about each flag for the whole platform, a global value whether it has expired or not.
CREATE VIEW flag_statements AS
SELECT
    flag.flag,
    flag.default_value,
    flag.environment_false_wins
    AND coalesce(bool_or(setting.scope = 'environment' AND NOT setting.value), FALSE) AS is_killed,
    bool_and(setting.value) FILTER (WHERE setting.scope = 'global') AS global_value,
    coalesce(max(setting.expires_at) FILTER (WHERE setting.scope = 'global'), 'infinity') AS global_until,
    bool_and(setting.value) FILTER (WHERE setting.scope = 'environment') AS environment_value
FROM flags AS flag
LEFT JOIN flag_settings AS setting ON setting.flag = flag.flag AND setting.scope IN ('environment', 'global')
GROUP BY flag.flag;

-- The same as it counts now. Strongest first: is_killed (an explicit False in the environment of a running process, for
-- the flags where it wins), the global setting, the environment, the default in code.
CREATE VIEW flag_levels AS
SELECT
    said.flag,
    said.default_value,
    said.is_killed,
    CASE WHEN said.global_until > clock_timestamp() THEN said.global_value END AS global_value,
    said.environment_value
FROM flag_statements AS said;

-- What flag_statements says about the two flags of the ledger, kept as one row, because every posting reads it and four
-- joined and grouped tables are a tenth of what a lone posting costs. Written by triggers in the transaction that changes
-- a flag. Nothing in it depends on the clock: the global value and how long it counts stand side by side, and the reader
-- compares, so a setting expires though no process runs.
CREATE TABLE platform_modes (
    id SMALLINT NOT NULL DEFAULT 1,
    shadow_global BOOLEAN,
    shadow_global_until TIMESTAMPTZ NOT NULL,
    shadow_otherwise BOOLEAN NOT NULL,
    enforce_is_killed BOOLEAN NOT NULL,
    enforce_global BOOLEAN,
    enforce_global_until TIMESTAMPTZ NOT NULL,
    enforce_otherwise BOOLEAN NOT NULL,
    enforce_otherwise_source TEXT NOT NULL,
    CONSTRAINT platform_modes_pkey PRIMARY KEY (id),
    CONSTRAINT platform_modes_id_check CHECK (id = 1)
);

CREATE FUNCTION platform_modes_refresh_v1() RETURNS TRIGGER
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    -- One at a time, and in a statement of its own: whoever waited here sees below what the other committed.
    PERFORM FROM platform_modes AS platform WHERE platform.id = 1 FOR UPDATE;

    INSERT INTO platform_modes AS platform (
        id, shadow_global, shadow_global_until, shadow_otherwise, enforce_is_killed, enforce_global,
        enforce_global_until, enforce_otherwise, enforce_otherwise_source
    )
    SELECT
        1,
        shadow.global_value,
        shadow.global_until,
        coalesce(shadow.environment_value, shadow.default_value),
        enforce.is_killed,
        enforce.global_value,
        enforce.global_until,
        coalesce(enforce.environment_value, enforce.default_value),
        CASE WHEN enforce.environment_value IS NULL THEN 'default' ELSE 'environment' END
    FROM flag_statements AS shadow
    CROSS JOIN flag_statements AS enforce
    WHERE shadow.flag = 'ledger_shadow_write' AND enforce.flag = 'ledger_enforce_balance'
    ON CONFLICT (id) DO UPDATE
    SET
        shadow_global = excluded.shadow_global,
        shadow_global_until = excluded.shadow_global_until,
        shadow_otherwise = excluded.shadow_otherwise,
        enforce_is_killed = excluded.enforce_is_killed,
        enforce_global = excluded.enforce_global,
        enforce_global_until = excluded.enforce_global_until,
        enforce_otherwise = excluded.enforce_otherwise,
        enforce_otherwise_source = excluded.enforce_otherwise_source;
    -- For those who keep a copy of what no money decision needs (services/rollout/flag_cache.py). Flags are changed by hand or by
    -- a process that starts, never on the money path: commits that notify take turns.
    PERFORM pg_notify('hakem_flags', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER flag_settings_platform_modes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON flag_settings
FOR EACH STATEMENT EXECUTE FUNCTION platform_modes_refresh_v1();
CREATE TRIGGER flags_platform_modes AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON flags
FOR EACH STATEMENT EXECUTE FUNCTION platform_modes_refresh_v1();

-- What tenants have of their own is told likewise.
CREATE FUNCTION tenant_flags_notify_v1() RETURNS TRIGGER
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('hakem_flags', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER tenants_flags_notify AFTER UPDATE OF flags ON tenants
FOR EACH STATEMENT EXECUTE FUNCTION tenant_flags_notify_v1();
-- The first row, by the trigger.
UPDATE flags SET default_value = default_value;

GRANT SELECT ON flag_levels TO hakem_service;
