-- Whose turn it is in a backfill run. page: the players that the chunk goes past; null when the phase is over. ids: those
-- of them that it has to look at.
CREATE FUNCTION backfill_next_v1(
    p_run BACKFILL_RUNS, p_rows INTEGER, p_currencies TEXT, OUT page UUID[], OUT ids UUID[]
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_sweep_page CONSTANT INTEGER := 20000;
    c_lowest CONSTANT UUID := '00000000-0000-0000-0000-000000000000';
BEGIN
    IF p_run.phase = 'deferred' THEN
        SELECT array_agg(turn.player_id ORDER BY turn.player_id) INTO page
        FROM (
            SELECT deferred.player_id
            FROM backfill_deferred AS deferred
            WHERE deferred.run_id = p_run.id
            ORDER BY deferred.player_id
            LIMIT p_rows
        ) AS turn;
    ELSE
        -- Nothing but the key is asked for, so that the tenant's index alone answers.
        SELECT array_agg(turn.id ORDER BY turn.id) INTO page
        FROM (
            SELECT player.id
            FROM players AS player
            WHERE
                player.tenant_id = p_run.tenant_id
                AND player.id > coalesce(p_run.checkpoint, c_lowest)
                AND player.id <= p_run.upper_id
            ORDER BY player.id
            LIMIT CASE p_run.phase WHEN 'sweep' THEN c_sweep_page ELSE p_rows END
        ) AS turn;
    END IF;
    ids := page;

    IF p_run.phase = 'sweep' AND page IS NOT NULL THEN
        -- Nearly everybody is opened by now: those are left out by one look-up each.
        SELECT coalesce(array_agg(turn.player_id ORDER BY turn.player_id), '{}') INTO ids
        FROM unnest(page) AS turn (player_id)
        WHERE NOT EXISTS (
            SELECT
            FROM wallet_balances AS wallet
            WHERE
                wallet.tenant_id = p_run.tenant_id
                AND wallet.player_id = turn.player_id
                AND wallet.opened_at IS NOT NULL
        );
        -- Who was not passed over, and was not counted as an error in the scan: of the errors only
        -- players count who are newer than the run.
        SELECT coalesce(array_agg(missed.player_id ORDER BY missed.player_id), '{}') INTO ids
        FROM (
            SELECT judged.player_id
            FROM backfill_judge_v1(p_run.tenant_id, ids, p_currencies, p_run.arbiter, FALSE) AS judged
            WHERE
                judged.outcome NOT IN ('skipped_exists', 'differs')
                AND NOT EXISTS (
                    SELECT
                    FROM backfill_deferred AS deferred
                    WHERE deferred.run_id = p_run.id AND deferred.player_id = judged.player_id
                )
                AND NOT EXISTS (
                    SELECT
                    FROM backfill_errors AS noted
                    WHERE noted.run_id = p_run.id AND noted.player_id = judged.player_id
                )
                AND (
                    judged.outcome = 'created'
                    OR EXISTS (
                        SELECT
                        FROM players AS player
                        WHERE player.id = judged.player_id AND player.created_at >= p_run.started_at
                    )
                )
            ORDER BY judged.player_id
            LIMIT p_rows
        ) AS missed;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION backfill_next_v1 FROM PUBLIC;
