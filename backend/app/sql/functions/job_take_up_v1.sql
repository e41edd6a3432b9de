-- Takes up a job whose process is gone: back into the queue, or failed when p_is_last. Says what became of it, or null when
-- it has ended or changed hands since it was looked at.
CREATE FUNCTION job_take_up_v1(p_id BIGINT, p_worker_id BIGINT, p_is_last BOOLEAN) RETURNS TEXT
LANGUAGE plpgsql
SET search_path = procrastinate, pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM procrastinate_jobs AS job
    WHERE job.id = p_id AND job.status = 'doing' AND job.worker_id IS NOT DISTINCT FROM p_worker_id
    FOR UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    IF p_is_last THEN
        PERFORM procrastinate_finish_job_v1(p_id, 'failed', FALSE);
        RETURN 'failed';
    END IF;
    BEGIN
        PERFORM procrastinate_retry_job_v2(p_id, NULL, NULL, NULL, NULL);
        RETURN 'queued';
    EXCEPTION WHEN unique_violation THEN
        -- The next tick of a periodic job waits already, and would wait for ever for this one's lock.
        PERFORM procrastinate_finish_job_v1(p_id, 'aborted', FALSE);
        RETURN 'superseded';
    END;
END
$$;
