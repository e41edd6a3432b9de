-- Puts a job into the queue, in the caller's transaction: the job is there when the transaction commits, and only then.
-- The queue is named like the job, so that a process takes only jobs that it knows. p_lock: jobs with the same one never run
-- at the same time. Its rights are the caller's; it exists because the package's functions find their tables by the path.
CREATE FUNCTION job_defer_v1(p_name TEXT, p_arguments JSONB, p_lock TEXT, p_not_before TIMESTAMPTZ) RETURNS BIGINT
LANGUAGE plpgsql
SET search_path = procrastinate, pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (procrastinate_defer_jobs_v1(ARRAY[
        ROW(p_name, p_name, 0, p_lock, NULL, p_arguments, p_not_before)::procrastinate_job_to_defer_v1
    ]))[1];
END
$$;
