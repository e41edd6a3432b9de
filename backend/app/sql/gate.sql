-- name: find_platform_facts
-- The schema's revision, which of the unique keys that money relies on are missing or not valid, and number and release of
-- the processes that run now: those whose lock is held.
SELECT
    (SELECT version.version_num FROM public.alembic_version AS version LIMIT 1) AS revision,
    ARRAY(
        SELECT wanted.key
        FROM unnest(%(keys)s::TEXT[]) AS wanted (key)
        WHERE NOT EXISTS (
            SELECT
            FROM pg_class AS relation
            INNER JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
            INNER JOIN pg_index AS found ON found.indexrelid = relation.oid
            WHERE
                namespace.nspname = 'public'
                AND relation.relname = wanted.key
                AND found.indisunique
                AND found.indisvalid
                AND found.indisready
        )
        ORDER BY wanted.key
    ) AS missing_keys,
    ARRAY(
        SELECT jsonb_build_array(instance.number, instance.app_version)
        FROM service_instances AS instance
        WHERE EXISTS (
            SELECT
            FROM pg_locks AS held
            WHERE
                held.locktype = 'advisory'
                AND held.database = (
                    SELECT current.oid FROM pg_database AS current WHERE current.datname = current_database()
                )
                AND held.classid = %(lock_namespace)s::INTEGER::OID
                AND held.objid = instance.number::OID
        )
        ORDER BY instance.number
        LIMIT %(limit)s
    ) AS instances;

-- name: list_tenant_facts
-- What the gates of these tenants are judged by and what is shown of them, as far as it is known without counting wallets.
WITH working AS MATERIALIZED (
    SELECT held.objid
    FROM pg_locks AS held
    WHERE
        held.locktype = 'advisory'
        AND held.database = (SELECT current.oid FROM pg_database AS current WHERE current.datname = current_database())
        AND held.classid = %(backfill_namespace)s::INTEGER::OID
        AND held.granted
)

SELECT
    tenant.id,
    tenant.slug,
    tenant.name,
    tenant.number,
    mode.arbiter,
    mode.epoch,
    mode.shadow_write,
    mode.enforce_source,
    run.id AS run_id,
    run.state = 'clean' AS is_clean,
    run.started_at,
    run.finished_at,
    counted.players,
    counted.opened,
    counted.found,
    difference.class AS first_class,
    difference.player_id AS first_player_id,
    EXISTS (SELECT FROM working WHERE working.objid = tenant.number::OID) AS is_backfill_running,
    finding.findings,
    finding.first_finding,
    change.changed_at,
    change.rehearsed_at,
    mismatch.classes
FROM unnest(%(tenant_ids)s::UUID[]) AS wanted (id)
INNER JOIN tenants AS tenant ON tenant.id = wanted.id
INNER JOIN tenant_modes AS mode ON mode.tenant_id = tenant.id
LEFT JOIN LATERAL (
    SELECT
        finished.id,
        finished.state,
        finished.started_at,
        finished.finished_at
    FROM census_runs AS finished
    WHERE finished.tenant_id = tenant.id AND finished.state IN ('clean', 'differences')
    ORDER BY finished.id DESC
    LIMIT 1
) AS run ON TRUE
LEFT JOIN LATERAL (
    SELECT
        (
            SELECT coalesce(sum(total.players), 0)::BIGINT
            FROM census_totals AS total
            WHERE total.tenant_id = tenant.id AND total.run_id = run.id
        ) AS players,
        (
            SELECT coalesce(sum(total.opened_wallets), 0)::BIGINT
            FROM census_totals AS total
            WHERE total.tenant_id = tenant.id AND total.run_id = run.id
        ) AS opened,
        (
            SELECT coalesce(sum(known.differences), 0)::BIGINT
            FROM census_classes AS known
            WHERE known.tenant_id = tenant.id AND known.run_id = run.id
        ) AS found
) AS counted ON TRUE
LEFT JOIN LATERAL (
    SELECT
        kept.class,
        kept.player_id
    FROM census_differences AS kept
    WHERE kept.tenant_id = tenant.id AND kept.run_id = run.id
    ORDER BY kept.class, kept.place
    LIMIT 1
) AS difference ON TRUE
CROSS JOIN LATERAL (
    SELECT
        count(*) AS findings,
        min(unresolved.finding_type || ' ' || unresolved.id) AS first_finding
    FROM (
        SELECT
            stored.id,
            stored.finding_type
        FROM reconciliation_findings AS stored
        WHERE stored.tenant_id = tenant.id AND stored.status = 'OPEN' AND stored.severity = 'critical'
        ORDER BY stored.created_at DESC, stored.id DESC
        LIMIT 100
    ) AS unresolved
) AS finding
CROSS JOIN LATERAL (
    SELECT
        max(made.changed_at) FILTER (WHERE made.kind <> 'rehearsal') AS changed_at,
        -- A rollback that was really made has shown as much as one that was rehearsed.
        max(made.changed_at) FILTER (WHERE made.kind = 'rehearsal' OR made.arbiter = 'legacy') AS rehearsed_at
    FROM (
        SELECT
            stored.changed_at,
            stored.kind,
            stored.arbiter
        FROM arbiter_changes AS stored
        WHERE stored.tenant_id = tenant.id
        ORDER BY stored.epoch DESC
        LIMIT 100
    ) AS made
) AS change
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_object_agg(seen.class, seen.wallets), '{}') AS classes
    FROM (
        SELECT
            recent.class,
            count(*) AS wallets
        FROM (
            SELECT stored.class
            FROM ledger_mismatches AS stored
            WHERE stored.tenant_id = tenant.id AND stored.last_seen_at >= %(mismatches_since)s
            LIMIT 10000
        ) AS recent
        GROUP BY recent.class
    ) AS seen
) AS mismatch
ORDER BY tenant.number
LIMIT %(limit)s;

-- name: summarise_decisions
-- Decisions on funds since a time, some ten thousand at most: those that were held, and those that were refused.
WITH refused AS MATERIALIZED (
    SELECT
        stored.player_id,
        stored.legacy_ok,
        stored.ledger_ok,
        stored.arbiter
    FROM ledger_refusals AS stored
    WHERE stored.tenant_id = %(tenant_id)s AND stored.recorded_at >= %(since)s
    LIMIT 20000
)

SELECT
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM withdrawals AS held
            WHERE held.tenant_id = %(tenant_id)s AND held.created_at >= %(since)s
            LIMIT 20000
        ) AS recent
    ) + (SELECT count(*) FROM refused) AS decisions,
    (SELECT count(*) FROM refused WHERE refused.legacy_ok <> refused.ledger_ok) AS disputed,
    (SELECT count(DISTINCT refused.player_id) FROM refused WHERE refused.legacy_ok <> refused.ledger_ok)
        AS disputed_players,
    (
        SELECT count(*)
        FROM ledger_mismatches AS mismatch
        WHERE mismatch.tenant_id = %(tenant_id)s AND mismatch.last_seen_at >= %(since)s
    ) AS mismatches;
