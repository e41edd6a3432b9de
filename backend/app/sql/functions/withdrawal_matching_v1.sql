-- The withdrawals that a filter lets through; null leaves a condition open. STABLE, with the caller's rights and without
-- settings of its own, so that the planner puts its text in the place of the call, drops the open conditions and sees
-- which index serves. Amounts are minor units: a bound in major units is another number in each currency, hence a bound
-- that none is below (or above), which an index can serve, and the exact ones by currency.
CREATE FUNCTION withdrawal_matching_v1(
    p_tenant_id UUID,
    p_asked_tenant_id UUID,
    p_state TEXT,
    p_player_id UUID,
    p_method TEXT,
    p_currency TEXT,
    p_least_amount BIGINT,
    p_greatest_amount BIGINT,
    p_least_amounts JSONB,
    p_greatest_amounts JSONB,
    p_date_from TIMESTAMPTZ,
    p_date_to TIMESTAMPTZ
)
RETURNS SETOF WITHDRAWALS
LANGUAGE sql STABLE
AS $$
    SELECT withdrawal.*
    FROM withdrawals AS withdrawal
    WHERE
        (p_tenant_id IS NULL OR withdrawal.tenant_id = p_tenant_id)
        AND (p_asked_tenant_id IS NULL OR withdrawal.tenant_id = p_asked_tenant_id)
        AND (p_state IS NULL OR withdrawal.state = p_state)
        AND (p_player_id IS NULL OR withdrawal.player_id = p_player_id)
        AND (p_method IS NULL OR withdrawal.method = p_method)
        AND (p_currency IS NULL OR withdrawal.currency = p_currency)
        AND (p_least_amount IS NULL OR withdrawal.amount >= p_least_amount)
        AND (p_greatest_amount IS NULL OR withdrawal.amount <= p_greatest_amount)
        AND (p_least_amounts IS NULL OR withdrawal.amount >= (p_least_amounts ->> withdrawal.currency)::BIGINT)
        AND (p_greatest_amounts IS NULL OR withdrawal.amount <= (p_greatest_amounts ->> withdrawal.currency)::BIGINT)
        AND (p_date_from IS NULL OR withdrawal.created_at >= p_date_from)
        AND (p_date_to IS NULL OR withdrawal.created_at < p_date_to)
$$;

REVOKE ALL ON FUNCTION withdrawal_matching_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION withdrawal_matching_v1 TO hakem_service;
