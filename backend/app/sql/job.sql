-- name: defer
-- Puts a job into the queue, in the caller's transaction.
SELECT job_defer_v1(%(name)s, %(arguments)s, %(lock)s, %(not_before)s);

-- name: read_queue
-- How many jobs could run now (counted up to ten thousand), for how many seconds the oldest of them could have, and how many
-- workers are alive.
WITH waiting AS (
    SELECT
        job.id,
        job.scheduled_at
    FROM procrastinate.procrastinate_jobs AS job
    WHERE job.status = 'todo' AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
    ORDER BY job.priority DESC, job.id
    LIMIT 10000
),

oldest AS (
    SELECT
        waiting.id,
        waiting.scheduled_at
    FROM waiting
    ORDER BY waiting.id
    LIMIT 1
)

SELECT
    (SELECT count(*) FROM waiting) AS jobs_waiting,
    coalesce(
        (
            SELECT extract(EPOCH FROM now() - greatest(oldest.scheduled_at, min(event.at)))::FLOAT8
            FROM oldest
            INNER JOIN procrastinate.procrastinate_events AS event ON event.job_id = oldest.id
            GROUP BY oldest.id, oldest.scheduled_at
        ),
        0
    ) AS waiting_seconds,
    (
        SELECT count(*)
        FROM procrastinate.procrastinate_workers AS worker
        WHERE worker.last_heartbeat > now() - make_interval(secs => %(stalled_seconds)s)
    ) AS workers_alive;

-- name: list_abandoned
-- Jobs that are marked as running although their worker is gone, or although their time was over long ago.
SELECT
    job.id,
    job.task_name,
    job.worker_id,
    job.attempts,
    known.attempts_max
FROM procrastinate.procrastinate_jobs AS job
INNER JOIN
    unnest(%(names)s::TEXT[], %(deadlines_seconds)s::FLOAT8[], %(attempts_max)s::INTEGER[])
        AS known (name, deadline_seconds, attempts_max)
    ON known.name = job.task_name
LEFT JOIN procrastinate.procrastinate_workers AS worker ON worker.id = job.worker_id
WHERE
    job.status = 'doing'
    AND (
        worker.id IS NULL
        OR worker.last_heartbeat < now() - make_interval(secs => %(stalled_seconds)s)
        OR (
            SELECT max(event.at)
            FROM procrastinate.procrastinate_events AS event
            WHERE event.job_id = job.id AND event.type = 'started'
        ) < now() - make_interval(secs => known.deadline_seconds + %(stalled_seconds)s)
    )
ORDER BY job.id
LIMIT 100;

-- name: take_up
-- Takes up a job whose process is gone.
SELECT job_take_up_v1(%(job_id)s, %(worker_id)s, %(is_last)s);

-- name: prune_finished
-- Removes some of the oldest jobs that ended in one of these ways before that time.
SELECT job_prune_v1(%(statuses)s, %(ended_before)s, %(limit)s);
