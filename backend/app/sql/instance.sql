-- name: register_instance
-- Enters this process in the register and takes the lock that proves it is alive, for the life of the session.
WITH entered AS (
    INSERT INTO service_instances (app_version)
    VALUES (%(app_version)s)
    RETURNING number
)

SELECT
    entered.number,
    pg_try_advisory_lock(%(lock_namespace)s::INTEGER, entered.number) AS is_locked
FROM entered;

-- name: sweep_dead_instances
-- Removes processes whose lock nobody holds.
DELETE FROM service_instances AS instance
WHERE NOT EXISTS (
    SELECT
    FROM pg_locks AS held
    WHERE
        held.locktype = 'advisory'
        AND held.database = (SELECT current.oid FROM pg_database AS current WHERE current.datname = current_database())
        AND held.classid = %(lock_namespace)s::INTEGER::OID
        AND held.objid = instance.number::OID
);

-- name: sweep_orphaned_flags
-- Removes what the environments of processes said that are no longer registered.
DELETE FROM flag_settings AS setting
WHERE
    setting.scope = 'environment'
    AND NOT EXISTS (SELECT FROM service_instances AS instance WHERE instance.number::TEXT = setting.holder);

-- name: state_environment_flag
-- Writes down what this process has in its environment.
INSERT INTO flag_settings (flag, scope, holder, value, reason, set_by)
VALUES (
    %(flag)s, 'environment', %(holder)s, %(value)s, 'in the environment of a running process', 'process ' || %(holder)s
);

-- name: lock_flags
-- Makes this process the only one that changes flags, for this transaction.
SELECT rollout_control_v1(TRUE, TRUE);

-- name: find_enforced
-- Whose arbiter is the ledger now.
SELECT rollout_enforced_v1() AS tenant_ids;

-- name: settle_statement
-- Fences, epochs and evidence for the tenants whose arbiter is another one now; those tenants.
SELECT
    change.tenant_id,
    change.arbiter
FROM rollout_settle_v1(
    %(before)s, %(reason)s, jsonb_build_object('kind', 'system', 'label', %(label)s::TEXT), NULL, %(budget_ms)s
) AS change;

-- name: list_refused_tenants
-- Tenants that would be enforced while shadow writing is off.
SELECT tenant.slug
FROM tenant_modes AS mode
INNER JOIN tenants AS tenant ON tenant.id = mode.tenant_id
WHERE mode.is_refused
ORDER BY tenant.slug
LIMIT 20;

-- name: find_revision
-- The migration the database stands at.
SELECT version.version_num FROM public.alembic_version AS version LIMIT 1;
