-- Records what moves no money about an open attempt: that the provider has it (pending), that nobody knows (unknown), and
-- when to ask again. Whether the attempt was open. What is pending does not become unknown again.
CREATE FUNCTION payout_note_v1(
    p_tenant_id UUID,
    p_player_id UUID,
    p_withdrawal_id UUID,
    p_number INTEGER,
    p_state TEXT,
    p_provider_ref TEXT,
    p_provider_sequence BIGINT,
    p_check_after INTERVAL
)
RETURNS BOOLEAN
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_now CONSTANT TIMESTAMPTZ := clock_timestamp();
BEGIN
    IF p_state NOT IN ('pending', 'unknown') THEN
        RAISE EXCEPTION 'payout_note takes pending and unknown, got %', p_state USING ERRCODE = 'check_violation';
    END IF;
    PERFORM withdrawal_lock_v1(p_tenant_id, p_withdrawal_id);

    UPDATE payout_attempts AS attempt
    SET
        state = noted.state,
        state_at = CASE WHEN attempt.state = noted.state THEN attempt.state_at ELSE v_now END,
        checks = CASE WHEN attempt.state = noted.state THEN attempt.checks ELSE 0 END,
        provider_ref = coalesce(attempt.provider_ref, p_provider_ref),
        provider_sequence = greatest(attempt.provider_sequence, p_provider_sequence),
        next_check_at = v_now + p_check_after
    FROM (
        SELECT CASE WHEN known.state = 'pending' THEN 'pending' ELSE p_state END AS state
        FROM payout_attempts AS known
        WHERE
            known.tenant_id = p_tenant_id
            AND known.player_id = p_player_id
            AND known.withdrawal_id = p_withdrawal_id
            AND known.number = p_number
    ) AS noted
    WHERE
        attempt.tenant_id = p_tenant_id
        AND attempt.player_id = p_player_id
        AND attempt.withdrawal_id = p_withdrawal_id
        AND attempt.number = p_number
        AND attempt.state IN ('created', 'pending', 'unknown');
    RETURN FOUND;
END
$$;

REVOKE ALL ON FUNCTION payout_note_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION payout_note_v1 TO hakem_service;
