-- Requests withdrawals: the hold on the ledger and the withdrawal row, together or not at all, for many players in one
-- call. Returns the door's result per request; `reference` is the withdrawal's id (of the stored one on a replay).
CREATE FUNCTION withdrawal_request_v1(
    p_withdrawal_ids UUID[],
    p_tenant_ids UUID[],
    p_player_ids UUID[],
    p_currencies TEXT[],
    p_amounts BIGINT[],
    p_methods TEXT[],
    p_addresses TEXT[],
    p_idempotency_keys TEXT[],
    p_request_hashes BYTEA[]
)
RETURNS SETOF LEDGER_RESULT_V1
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    WITH posted AS MATERIALIZED (
        SELECT *
        FROM ledger_post_v1(
            p_tenant_ids => p_tenant_ids,
            p_player_ids => p_player_ids,
            p_currencies => p_currencies,
            p_types => array_fill('withdraw_requested'::TEXT, ARRAY[cardinality(p_tenant_ids)]),
            p_amounts => p_amounts,
            p_idempotency_keys => p_idempotency_keys,
            p_request_hashes => p_request_hashes,
            p_references => p_withdrawal_ids,
            p_providers => NULL,
            p_provider_refs => NULL,
            p_provider_event_ids => NULL,
            p_debit_accounts => NULL,
            p_credit_accounts => NULL,
            p_journal_ids => NULL,
            p_occurred_ats => NULL,
            p_by_player => array_fill(TRUE, ARRAY[cardinality(p_tenant_ids)]),
            p_metadata => NULL
        )
    ),

    requested AS (
        INSERT INTO withdrawals (
            id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key, request_hash,
            created_at, updated_at
        )
        SELECT
            p_withdrawal_ids[posted.event_no],
            p_tenant_ids[posted.event_no],
            p_player_ids[posted.event_no],
            p_amounts[posted.event_no],
            p_currencies[posted.event_no],
            'requested',
            p_methods[posted.event_no],
            p_addresses[posted.event_no],
            p_idempotency_keys[posted.event_no],
            p_request_hashes[posted.event_no],
            posted.recorded_at,
            posted.recorded_at
        FROM posted
        WHERE posted.code = 'applied'
    )

    SELECT * FROM posted;
END
$$;
