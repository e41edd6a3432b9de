-- name: list_runs
-- Runs and dry runs of a tenant, or of all when tenant_id is NULL, the newest first, each with the counters of the last
-- completed one of its kind before it. Of what was asked for at the console also what did not become a run.
SELECT
    run.id,
    run.tenant_id,
    tenant.name AS tenant_name,
    run.kind,
    run.state,
    run.reason,
    run.actor_label,
    run.players_total,
    run.scanned,
    run.created,
    run.skipped_exists,
    run.updated_forced,
    run.errors,
    run.differing,
    run.rows_per_second,
    run.throttled_by,
    run.error,
    run.result,
    run.started_at,
    run.finished_at,
    before.counts AS counts_before
FROM (
    (
        SELECT
            done.id,
            done.tenant_id,
            done.mode AS kind,
            done.state,
            done.reason,
            done.actor_label,
            done.players_total,
            done.scanned,
            done.created,
            done.skipped_exists,
            done.updated_forced,
            done.errors,
            done.differing,
            done.rows_per_second,
            done.throttled_by,
            done.error,
            jsonb_build_object('errors', done.error_counts, 'opened', done.money) AS result,
            done.started_at,
            done.finished_at
        FROM backfill_runs AS done
        WHERE
            (%(tenant_id)s::UUID IS NULL OR done.tenant_id = %(tenant_id)s)
            AND (%(before_id)s::UUID IS NULL OR done.id < %(before_id)s)
        ORDER BY done.id DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT
            asked.id,
            asked.tenant_id,
            CASE WHEN NOT asked.is_dry_run THEN 'open' WHEN asked.is_forced THEN 'dry_force' ELSE 'dry' END,
            asked.state,
            asked.reason,
            asked.actor_label,
            asked.players_total,
            asked.scanned,
            asked.created,
            asked.skipped_exists,
            asked.updated_forced,
            asked.errors,
            asked.differing,
            asked.rows_per_second,
            asked.throttled_by,
            asked.error,
            asked.result,
            coalesce(asked.started_at, asked.asked_at),
            asked.finished_at
        FROM backfill_requests AS asked
        WHERE
            (%(tenant_id)s::UUID IS NULL OR asked.tenant_id = %(tenant_id)s)
            AND (%(before_id)s::UUID IS NULL OR asked.id < %(before_id)s)
            AND (asked.is_dry_run OR asked.state IN ('queued', 'refused', 'failed'))
        ORDER BY asked.id DESC
        LIMIT %(limit)s
    )
) AS run
INNER JOIN tenants AS tenant ON tenant.id = run.tenant_id
LEFT JOIN LATERAL (
    (
        SELECT
            ARRAY[earlier.scanned, earlier.created, earlier.skipped_exists, earlier.updated_forced, earlier.errors] AS counts
        FROM backfill_runs AS earlier
        WHERE
            run.kind IN ('open', 'force')
            AND earlier.tenant_id = run.tenant_id
            AND earlier.id < run.id
            AND earlier.state = 'completed'
        ORDER BY earlier.id DESC
        LIMIT 1
    )
    UNION ALL
    (
        SELECT ARRAY[earlier.scanned, earlier.created, earlier.skipped_exists, earlier.updated_forced, earlier.errors]
        FROM backfill_requests AS earlier
        WHERE
            run.kind NOT IN ('open', 'force')
            AND earlier.tenant_id = run.tenant_id
            AND earlier.id < run.id
            AND earlier.state = 'completed'
            AND earlier.is_dry_run
        ORDER BY earlier.id DESC
        LIMIT 1
    )
) AS before ON TRUE
ORDER BY run.id DESC
LIMIT %(limit)s;

-- name: give_up
-- Ends what nobody has worked on for so long that nobody will.
UPDATE backfill_requests
SET
    state = 'failed',
    error = 'whoever worked on it is gone',
    updated_at = clock_timestamp(),
    finished_at = clock_timestamp()
WHERE
    tenant_id = %(tenant_id)s
    AND state IN ('queued', 'running')
    AND updated_at < clock_timestamp() - %(silence)s::INTERVAL;

-- name: insert_request
-- Asks for a backfill; no row when one is under way that was asked for before.
INSERT INTO backfill_requests (tenant_id, is_dry_run, is_forced, reason, actor_kind, actor_id, actor_label)
VALUES (
    %(tenant_id)s, %(is_dry_run)s, %(is_forced)s, %(reason)s, %(actor_kind)s, %(actor_id)s, %(actor_label)s
)
ON CONFLICT (tenant_id) WHERE state IN ('queued', 'running') DO NOTHING
RETURNING id;

-- name: begin_request
-- Begins to work on a request, or goes on where another process left it; no row when it is done. is_begun: it was before.
UPDATE backfill_requests AS asked
SET
    state = 'running',
    started_at = coalesce(asked.started_at, clock_timestamp()),
    updated_at = clock_timestamp()
FROM backfill_requests AS before
WHERE asked.id = %(request_id)s AND before.id = asked.id AND asked.state IN ('queued', 'running')
RETURNING
    asked.tenant_id,
    asked.is_dry_run,
    asked.is_forced,
    asked.reason,
    asked.actor_kind,
    asked.actor_id,
    asked.actor_label,
    before.started_at IS NOT NULL AS is_begun;

-- name: note_progress
-- How far a request is.
UPDATE backfill_requests
SET
    players_total = coalesce(%(players_total)s, players_total),
    scanned = %(scanned)s,
    created = %(created)s,
    skipped_exists = %(skipped_exists)s,
    updated_forced = %(updated_forced)s,
    errors = %(errors)s,
    differing = %(differing)s,
    rows_per_second = %(rows_per_second)s,
    throttled_by = %(throttled_by)s,
    updated_at = clock_timestamp()
WHERE id = %(request_id)s AND tenant_id = %(tenant_id)s AND state = 'running';

-- name: end_request
-- How a request ended.
UPDATE backfill_requests
SET
    state = %(state)s,
    result = %(result)s,
    error = %(error)s,
    throttled_by = NULL,
    updated_at = clock_timestamp(),
    finished_at = clock_timestamp()
WHERE id = %(request_id)s AND tenant_id = %(tenant_id)s AND state = 'running';
