-- Opens deposits: writes the row that exists before the provider is called, so that its answer can never be homeless.
-- Under the player's lock, in key order: replay, account, currency, and for an unverified player the UTC day's cap.
-- Returns one row per request, in order. Codes: opened · exists · exists_different · unknown_player · player_disabled ·
-- currency_mismatch · kyc_deposit_limit.
CREATE FUNCTION deposit_open_v1(
    p_deposit_ids UUID[],
    p_tenant_ids UUID[],
    p_player_ids UUID[],
    p_currencies TEXT[],
    p_amounts BIGINT[],
    p_methods TEXT[],
    p_providers TEXT[],
    p_idempotency_keys TEXT[],
    p_request_hashes BYTEA[],
    -- The most an unverified player may deposit in a UTC day, in the minor units of the request's currency.
    p_unverified_caps BIGINT[],
    -- After how long the provider is asked, should nobody have heard of it by then.
    p_first_check_after INTERVAL
)
RETURNS TABLE (
    event_no INTEGER,
    code TEXT,
    deposit_id UUID,
    state TEXT,
    provider TEXT,
    provider_ref TEXT,
    provider_event_id TEXT,
    failure_code TEXT,
    created_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ,
    deposited_today BIGINT
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    v_no INTEGER;
    v_player RECORD;
    v_stored RECORD;
    v_now TIMESTAMPTZ;
BEGIN
    IF cardinality(p_tenant_ids) > 1000 THEN
        RAISE EXCEPTION 'deposit_open takes at most 1000 requests' USING ERRCODE = 'program_limit_exceeded';
    END IF;

    PERFORM player.id
    FROM (
        SELECT DISTINCT
            request.tenant_id,
            request.player_id
        FROM unnest(p_tenant_ids, p_player_ids) AS request (tenant_id, player_id)
        ORDER BY request.tenant_id, request.player_id
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT candidate.id
        FROM players AS candidate
        WHERE candidate.id = wanted.player_id AND candidate.tenant_id = wanted.tenant_id
        FOR NO KEY UPDATE
    ) AS player;

    v_now := clock_timestamp();
    FOR v_no IN 1 .. coalesce(cardinality(p_tenant_ids), 0) LOOP
        event_no := v_no;
        deposit_id := p_deposit_ids[v_no];
        state := NULL;
        provider := p_providers[v_no];
        provider_ref := NULL;
        provider_event_id := NULL;
        failure_code := NULL;
        created_at := v_now;
        updated_at := v_now;
        deposited_today := NULL;

        SELECT deposit.* INTO v_stored
        FROM deposits AS deposit
        WHERE
            deposit.tenant_id = p_tenant_ids[v_no]
            AND deposit.player_id = p_player_ids[v_no]
            AND deposit.idempotency_key = p_idempotency_keys[v_no];
        IF FOUND THEN
            code := CASE WHEN v_stored.request_hash = p_request_hashes[v_no] THEN 'exists' ELSE 'exists_different' END;
            deposit_id := v_stored.id;
            state := v_stored.state;
            provider := v_stored.provider;
            provider_ref := v_stored.provider_ref;
            provider_event_id := v_stored.provider_event_id;
            failure_code := v_stored.failure_code;
            created_at := v_stored.created_at;
            updated_at := v_stored.updated_at;
            RETURN NEXT;
            CONTINUE;
        END IF;

        SELECT player.currency, player.is_active, player.kyc_status INTO v_player
        FROM players AS player
        WHERE player.id = p_player_ids[v_no] AND player.tenant_id = p_tenant_ids[v_no];
        code := CASE
            WHEN NOT FOUND THEN 'unknown_player'
            WHEN NOT v_player.is_active THEN 'player_disabled'
            WHEN v_player.currency <> p_currencies[v_no] THEN 'currency_mismatch'
        END;
        IF code IS NULL AND v_player.kyc_status <> 'verified' THEN
            SELECT coalesce(sum(deposit.amount), 0)::BIGINT INTO deposited_today
            FROM deposits AS deposit
            WHERE
                deposit.tenant_id = p_tenant_ids[v_no]
                AND deposit.player_id = p_player_ids[v_no]
                AND deposit.created_at >= date_trunc('day', v_now, 'UTC')
                AND deposit.state <> 'failed';
            IF deposited_today > p_unverified_caps[v_no] - p_amounts[v_no] THEN
                code := 'kyc_deposit_limit';
            END IF;
        END IF;
        IF code IS NOT NULL THEN
            RETURN NEXT;
            CONTINUE;
        END IF;

        INSERT INTO deposits (
            id, tenant_id, player_id, amount, currency, state, method, provider, next_check_at, idempotency_key,
            request_hash, created_at, updated_at
        )
        VALUES (
            p_deposit_ids[v_no], p_tenant_ids[v_no], p_player_ids[v_no], p_amounts[v_no], p_currencies[v_no],
            'pending_provider', p_methods[v_no], p_providers[v_no], v_now + p_first_check_after,
            p_idempotency_keys[v_no], p_request_hashes[v_no], v_now, v_now
        );
        code := 'opened';
        state := 'pending_provider';
        RETURN NEXT;
    END LOOP;
END
$$;
