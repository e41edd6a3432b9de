-- Removes up to p_limit of the oldest jobs that ended in one of these ways before that time; their events go with them.
-- Says how many. A function for the sake of the path: the package's triggers find their tables by it.
CREATE FUNCTION job_prune_v1(p_statuses TEXT[], p_ended_before TIMESTAMPTZ, p_limit INTEGER) RETURNS INTEGER
LANGUAGE plpgsql
SET search_path = procrastinate, pg_catalog, pg_temp
AS $$
DECLARE
    pruned INTEGER;
BEGIN
    DELETE FROM procrastinate_jobs AS job
    WHERE job.id IN (
        SELECT finished.id
        FROM procrastinate_jobs AS finished
        WHERE
            finished.status = ANY(p_statuses::procrastinate_job_status[])
            AND NOT EXISTS (
                SELECT
                FROM procrastinate_events AS event
                WHERE event.job_id = finished.id AND event.at > p_ended_before
            )
        ORDER BY finished.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END
$$;
