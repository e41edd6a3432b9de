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
    p_unverified_caps BIGINT[]
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
            id, tenant_id, player_id, amount, currency, state, method, provider, idempotency_key, request_hash,
            created_at, updated_at
        )
        VALUES (
            p_deposit_ids[v_no], p_tenant_ids[v_no], p_player_ids[v_no], p_amounts[v_no], p_currencies[v_no],
            'pending_provider', p_methods[v_no], p_providers[v_no], p_idempotency_keys[v_no], p_request_hashes[v_no],
            v_now, v_now
        );
        code := 'opened';
        state := 'pending_provider';
        RETURN NEXT;
    END LOOP;
END
$$;

-- Settles deposits the provider has confirmed: ledger row, balances and deposit row together. The ledger's key is the
-- player's own key, so whoever confirms first (the answer or a webhook), the money arrives once.
CREATE FUNCTION deposit_capture_v1(
    p_deposit_ids UUID[],
    p_tenant_ids UUID[],
    p_player_ids UUID[],
    p_currencies TEXT[],
    p_amounts BIGINT[],
    p_idempotency_keys TEXT[],
    p_request_hashes BYTEA[],
    p_providers TEXT[],
    p_provider_refs TEXT[],
    p_provider_event_ids TEXT[],
    p_occurred_ats TIMESTAMPTZ[]
)
RETURNS SETOF LEDGER_RESULT_V1
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
    WITH posted AS MATERIALIZED (
        SELECT *
        FROM ledger_post_v1(
            p_tenant_ids => p_tenant_ids,
            p_player_ids => p_player_ids,
            p_currencies => p_currencies,
            p_types => array_fill('deposit_captured'::TEXT, ARRAY[cardinality(p_tenant_ids)]),
            p_amounts => p_amounts,
            p_idempotency_keys => p_idempotency_keys,
            p_request_hashes => p_request_hashes,
            p_references => p_deposit_ids,
            p_providers => p_providers,
            p_provider_refs => p_provider_refs,
            p_provider_event_ids => p_provider_event_ids,
            p_debit_accounts => NULL,
            p_credit_accounts => NULL,
            p_journal_ids => NULL,
            p_occurred_ats => p_occurred_ats,
            p_by_player => NULL,
            p_metadata => NULL
        )
    ),

    settled AS (
        UPDATE deposits AS deposit
        SET
            state = 'completed',
            provider_ref = p_provider_refs[posted.event_no],
            provider_event_id = p_provider_event_ids[posted.event_no],
            updated_at = posted.recorded_at
        FROM posted
        WHERE
            posted.code = 'applied'
            AND deposit.tenant_id = p_tenant_ids[posted.event_no]
            AND deposit.player_id = p_player_ids[posted.event_no]
            AND deposit.id = p_deposit_ids[posted.event_no]
            AND deposit.state = 'pending_provider'
    )

    SELECT * FROM posted;
END
$$;

-- Records a provider's final refusal. Returns whether this call did it (false: the deposit was no longer open).
CREATE FUNCTION deposit_fail_v1(
    p_tenant_id UUID, p_player_id UUID, p_deposit_id UUID, p_provider_ref TEXT, p_failure_code TEXT
)
RETURNS BOOLEAN
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH failed AS (
        UPDATE deposits AS deposit
        SET
            state = 'failed',
            provider_ref = p_provider_ref,
            failure_code = p_failure_code,
            updated_at = clock_timestamp()
        WHERE
            deposit.tenant_id = p_tenant_id
            AND deposit.player_id = p_player_id
            AND deposit.id = p_deposit_id
            AND deposit.state = 'pending_provider'
        RETURNING deposit.id
    )

    SELECT EXISTS (SELECT FROM failed)
$$;
