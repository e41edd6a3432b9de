-- Removes unverified deliveries that are older than a time, at most so many; how many were removed. What was verified is
-- evidence and stays.
CREATE FUNCTION psp_events_prune_v1(p_before TIMESTAMPTZ, p_limit INTEGER)
RETURNS INTEGER
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH removed AS (
        DELETE FROM psp_events AS event
        WHERE event.id IN (
            SELECT old.id
            FROM psp_events AS old
            WHERE old.signature_status = 'unverified' AND old.received_at < p_before
            ORDER BY old.received_at
            LIMIT p_limit
            FOR UPDATE SKIP LOCKED
        )
        RETURNING event.id
    )

    SELECT count(*)::INTEGER FROM removed
$$;

REVOKE ALL ON FUNCTION psp_events_prune_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION psp_events_prune_v1 TO hakem_service;
