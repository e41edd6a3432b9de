-- name: list_tenants
-- Tenants to backfill, by id, from after one: one tenant, or all of them but the sandbox when tenant_id is NULL.
SELECT
    tenant.id,
    tenant.slug,
    tenant.number,
    mode.arbiter,
    mode.epoch,
    mode.shadow_write AND NOT mode.is_refused AS is_writable
FROM tenants AS tenant
INNER JOIN tenant_modes AS mode ON mode.tenant_id = tenant.id
WHERE
    CASE WHEN %(tenant_id)s::UUID IS NULL THEN NOT tenant.is_sandbox ELSE tenant.id = %(tenant_id)s END
    AND (%(after_id)s::UUID IS NULL OR tenant.id > %(after_id)s)
ORDER BY tenant.id
LIMIT %(limit)s;

-- name: try_lock_tenant
-- Takes the tenant's backfill lock for the life of this session, unless somebody has it.
SELECT pg_try_advisory_lock(%(namespace)s::INTEGER, %(tenant_number)s::INTEGER);

-- name: unlock_tenant
-- Gives it back.
SELECT pg_advisory_unlock(%(namespace)s::INTEGER, %(tenant_number)s::INTEGER);

-- name: find_latest_run
-- The tenant's latest run.
SELECT
    run.id,
    run.mode,
    run.state,
    run.arbiter,
    run.epoch,
    run.lease_token,
    run.players_total,
    run.rows_max,
    run.runner
FROM backfill_runs AS run
WHERE run.tenant_id = %(tenant_id)s
ORDER BY run.id DESC
LIMIT 1;

-- name: abandon_run
-- Closes a run whose process is gone and that nobody resumes.
UPDATE backfill_runs
SET
    state = 'abandoned',
    lease_token = lease_token + 1,
    updated_at = clock_timestamp(),
    finished_at = clock_timestamp()
WHERE tenant_id = %(tenant_id)s AND state = 'running';

-- name: insert_run
-- Begins a run; its id, its lease and how many players the tenant has.
INSERT INTO backfill_runs (
    tenant_id, mode, reason, actor_kind, actor_id, actor_label, runner, batch_size, rows_max, arbiter, epoch, upper_id,
    players_total
)
SELECT
    %(tenant_id)s, %(mode)s, %(reason)s, %(actor_kind)s, %(actor_id)s, %(actor_label)s, %(runner)s, %(batch_size)s,
    %(rows_max)s, %(arbiter)s, %(epoch)s,
    (
        SELECT player.id
        FROM players AS player
        WHERE player.tenant_id = %(tenant_id)s
        ORDER BY player.id DESC
        LIMIT 1
    ),
    (SELECT count(*) FROM players AS player WHERE player.tenant_id = %(tenant_id)s)
RETURNING id, lease_token, players_total;

-- name: take_over_run
-- Goes on with a run that another process left: from here on that process is refused.
UPDATE backfill_runs
SET
    state = 'running',
    lease_token = lease_token + 1,
    runner = %(runner)s,
    batch_size = %(batch_size)s,
    error = NULL,
    finished_at = NULL,
    updated_at = clock_timestamp()
WHERE id = %(run_id)s AND tenant_id = %(tenant_id)s
RETURNING id, lease_token, players_total;

-- name: commit_later
-- From here on this session's commits do not wait for the disk. They still reach it in their order, each chunk with its
-- checkpoint: a crash takes back the last chunks whole, and whatever anybody built upon them came later and goes too.
SET synchronous_commit = off;

-- name: commit_at_once
-- Commits wait for the disk again.
RESET synchronous_commit;

-- name: work_chunk
-- Works the next chunk of a run, or notes its next player as an error.
SELECT
    code,
    phase,
    scanned,
    created,
    skipped_exists,
    updated_forced,
    errors,
    differing,
    unexplained_holds
FROM backfill_chunk_v1(
    %(run_id)s, %(lease_token)s, %(rows)s, %(currencies)s, %(rows_per_second)s, %(error_code)s, %(error_detail)s
);

-- name: note_throttle
-- Says why the run is slow now, or that it no longer is.
UPDATE backfill_runs
SET
    throttled_by = %(throttled_by)s,
    updated_at = clock_timestamp()
WHERE id = %(run_id)s AND tenant_id = %(tenant_id)s AND lease_token = %(lease_token)s;

-- name: end_run
-- Ends a run, if it is still this caller's.
UPDATE backfill_runs
SET
    state = %(state)s,
    error = %(error)s,
    throttled_by = NULL,
    updated_at = clock_timestamp(),
    finished_at = clock_timestamp()
WHERE id = %(run_id)s AND tenant_id = %(tenant_id)s AND lease_token = %(lease_token)s AND state = 'running';

-- name: find_outcome
-- What a run has done so far.
SELECT
    run.error_counts,
    run.money
FROM backfill_runs AS run
WHERE run.id = %(run_id)s AND run.tenant_id = %(tenant_id)s;

-- name: list_errors
-- The first players that a run could not take or saw differ: errors before differences.
SELECT
    noted.player_id,
    noted.code,
    noted.currency,
    noted.legacy_available,
    noted.legacy_held,
    noted.ledger_available,
    noted.ledger_pending,
    noted.detail
FROM backfill_errors AS noted
INNER JOIN backfill_runs AS run ON run.id = noted.run_id
WHERE noted.run_id = %(run_id)s AND run.tenant_id = %(tenant_id)s
ORDER BY noted.code = 'differs', noted.player_id, noted.code
LIMIT %(limit)s;

-- name: begin_plan
-- The transaction that has just begun sees one moment of the database and can write nothing.
SET LOCAL transaction_isolation = 'repeatable read';
SET LOCAL transaction_read_only = TRUE;

-- name: count_players
-- How many players a tenant has, or all of them when tenant_id is NULL.
SELECT count(*) FROM players AS player WHERE %(tenant_id)s::UUID IS NULL OR player.tenant_id = %(tenant_id)s;

-- name: plan_page
-- What a run would make of the next players after one, by outcome and currency, and the last of them.
WITH page AS MATERIALIZED (
    SELECT array_agg(turn.id ORDER BY turn.id) AS ids
    FROM (
        SELECT player.id
        FROM players AS player
        WHERE
            player.tenant_id = %(tenant_id)s
            AND player.id > coalesce(%(after_id)s, '00000000-0000-0000-0000-000000000000'::UUID)
        ORDER BY player.id
        LIMIT %(rows)s
    ) AS turn
)

SELECT
    judged.outcome,
    judged.currency,
    count(*) AS players,
    sum(judged.legacy_available) AS available,
    sum(judged.legacy_held) AS held,
    (array_agg(page.ids[cardinality(page.ids)]))[1] AS last_id
FROM page
CROSS JOIN LATERAL backfill_judge_v1(
    %(tenant_id)s, page.ids, %(currencies)s, %(arbiter)s, %(is_forced)s
) AS judged
GROUP BY judged.outcome, judged.currency;

-- name: list_largest
-- Of a page of players those with some outcomes, the largest difference first.
WITH page AS MATERIALIZED (
    SELECT array_agg(turn.id ORDER BY turn.id) AS ids
    FROM (
        SELECT player.id
        FROM players AS player
        WHERE
            player.tenant_id = %(tenant_id)s
            AND player.id > coalesce(%(after_id)s, '00000000-0000-0000-0000-000000000000'::UUID)
        ORDER BY player.id
        LIMIT %(rows)s
    ) AS turn
)

SELECT
    judged.player_id,
    judged.outcome,
    judged.currency,
    judged.legacy_available,
    judged.legacy_held,
    judged.ledger_available,
    judged.ledger_pending,
    NULL AS detail
FROM page
CROSS JOIN LATERAL backfill_judge_v1(
    %(tenant_id)s, page.ids, %(currencies)s, %(arbiter)s, %(is_forced)s
) AS judged
WHERE judged.outcome = ANY(%(outcomes)b)
ORDER BY
    abs(judged.legacy_available::NUMERIC - coalesce(judged.ledger_available, 0))
    + abs(judged.legacy_held::NUMERIC - coalesce(judged.ledger_pending, 0)) DESC,
    judged.player_id
LIMIT %(limit)s;

-- name: read_load
-- How busy the database is with others than the sessions named: sessions at work; those that were at work a tenth of a
-- second ago or less; those waiting longer than half a second for a lock; seconds that the oldest transaction is open;
-- replicas, how many of them this role may not look at, and how many seconds the slowest is behind.
SELECT
    activity.active,
    activity.live,
    activity.lock_waits,
    activity.oldest_seconds,
    replica.replicas,
    replica.unseen,
    replica.lag_seconds
FROM (
    SELECT
        count(*) FILTER (WHERE session.state = 'active' AND session.wait_event_type IS DISTINCT FROM 'Lock') AS active,
        -- The register's sessions only show that their process lives.
        count(*) FILTER (
            WHERE
            (session.state = 'active' OR session.state_change > clock_timestamp() - interval '0.1 seconds')
            AND session.application_name <> 'hakem-presence'
        ) AS live,
        count(*) FILTER (
            WHERE EXISTS (
                SELECT
                FROM pg_locks AS wanted
                WHERE
                    wanted.pid = session.pid
                    AND NOT wanted.granted
                    AND wanted.waitstart < clock_timestamp() - interval '0.5 seconds'
            )
        ) AS lock_waits,
        coalesce(extract(EPOCH FROM max(clock_timestamp() - session.xact_start)), 0)::DOUBLE PRECISION AS oldest_seconds
    FROM pg_stat_activity AS session
    WHERE
        session.datname = current_database()
        AND session.backend_type = 'client backend'
        AND session.pid <> ALL(%(own_pids)b)
) AS activity
CROSS JOIN (
    SELECT
        count(*) AS replicas,
        count(*) FILTER (WHERE sender.state IS NULL) AS unseen,
        coalesce(extract(EPOCH FROM max(sender.replay_lag)), 0)::DOUBLE PRECISION AS lag_seconds
    FROM pg_stat_replication AS sender
) AS replica;
