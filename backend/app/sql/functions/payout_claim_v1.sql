-- Takes attempts that are due for a question to their provider, oldest first, for the length of a lease: whoever else
-- looks meanwhile passes them over. A lease that is not used up just ends. (Two questions at once would do no harm: a
-- provider does one payout for one key.)
CREATE FUNCTION payout_claim_due_v1(p_now TIMESTAMPTZ, p_lease INTERVAL, p_limit INTEGER)
RETURNS TABLE (tenant_id UUID, player_id UUID, withdrawal_id UUID, number INTEGER)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE payout_attempts AS attempt
    SET
        next_check_at = p_now + p_lease,
        checked_at = p_now,
        checks = attempt.checks + 1
    FROM (
        SELECT
            waiting.tenant_id,
            waiting.player_id,
            waiting.withdrawal_id,
            waiting.number
        FROM payout_attempts AS waiting
        WHERE waiting.next_check_at <= p_now
        ORDER BY waiting.next_check_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS due
    WHERE
        attempt.tenant_id = due.tenant_id
        AND attempt.player_id = due.player_id
        AND attempt.withdrawal_id = due.withdrawal_id
        AND attempt.number = due.number
    RETURNING attempt.tenant_id, attempt.player_id, attempt.withdrawal_id, attempt.number
$$;

-- Takes the open attempt of one withdrawal for somebody who is looking at it: not when it was asked about less than the
-- interval ago, nor while its first call may still be under way. It leaves the schedule alone, so that looking often does
-- not slow it down. Whether it was taken.
CREATE FUNCTION payout_claim_one_v1(
    p_tenant_id UUID, p_player_id UUID, p_withdrawal_id UUID, p_now TIMESTAMPTZ, p_interval INTERVAL
)
RETURNS BOOLEAN
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH taken AS (
        UPDATE payout_attempts AS attempt
        SET checked_at = p_now
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_withdrawal_id
            AND attempt.next_check_at IS NOT NULL
            AND coalesce(attempt.checked_at, attempt.created_at) <= p_now - p_interval
        RETURNING attempt.number
    )

    SELECT EXISTS (SELECT FROM taken)
$$;

REVOKE ALL ON FUNCTION payout_claim_due_v1, payout_claim_one_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION payout_claim_due_v1, payout_claim_one_v1 TO hakem_service;
