-- What a provider says about deposits, written down. Whoever brings it (the answer to a request, a webhook, a poll) first
-- takes the deposits' rows by deposit_lock_v1, judges in the light of them, and then writes by one of the others, in one
-- transaction: deposit rows before players, so that no cycle of waits can form with another observer.

-- Locks deposits, in the order of their ids, and returns them as they are under the lock.
CREATE FUNCTION deposit_lock_v1(p_deposit_ids UUID[])
RETURNS SETOF deposits
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET enable_seqscan = off
AS $$
    SELECT deposit.*
    FROM deposits AS deposit
    WHERE deposit.id = ANY(p_deposit_ids)
    ORDER BY deposit.id
    FOR NO KEY UPDATE
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
    -- NULL for a capture that is known only because it was undone.
    p_provider_event_ids TEXT[],
    p_provider_sequences BIGINT[],
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
            status_class = 'success',
            provider_sequence = p_provider_sequences[posted.event_no],
            next_check_at = NULL,
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

-- Takes back a captured deposit that the provider has given back: from the player what is there, the rest from
-- house:returns, in one journal, so that the arbiter's side does not go below zero (docs/decisions/0011). Returns the
-- door's results: one row, or two when both have to pay; no row when the deposit is not completed.
CREATE FUNCTION deposit_refund_v1(
    p_deposit_id UUID,
    p_provider_event_id TEXT,
    p_provider_sequence BIGINT,
    p_request_hash BYTEA,
    p_occurred_at TIMESTAMPTZ
)
RETURNS SETOF LEDGER_RESULT_V1
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    v_deposit deposits%ROWTYPE;
    v_available BIGINT;
    v_from_player BIGINT;
    v_amounts BIGINT[] := '{}';
    v_keys TEXT[] := '{}';
    v_debits TEXT[] := '{}';
    v_events TEXT[];
    v_lines INTEGER;
    v_journal_id CONSTANT UUID := uuid_v7();
BEGIN
    SELECT deposit.* INTO v_deposit
    FROM deposits AS deposit
    WHERE deposit.id = p_deposit_id AND deposit.state = 'completed'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    -- As the door does it: fence, then player, then, in a statement of its own, who decides and what is there.
    PERFORM pg_advisory_xact_lock_shared(c_fence_namespace, tenant.number)
    FROM tenants AS tenant
    WHERE tenant.id = v_deposit.tenant_id;
    PERFORM player.id
    FROM players AS player
    WHERE player.id = v_deposit.player_id AND player.tenant_id = v_deposit.tenant_id
    FOR NO KEY UPDATE;
    SELECT
        CASE mode.arbiter
            WHEN 'legacy' THEN player.balance_real_available
            -- A wallet that is not opened fails closed.
            WHEN 'ledger' THEN CASE WHEN wallet.opened_at IS NULL THEN 0 ELSE wallet.balance_real_available END
        END
    INTO v_available
    FROM players AS player
    INNER JOIN tenant_modes AS mode ON mode.tenant_id = player.tenant_id
    LEFT JOIN wallet_balances AS wallet
        ON wallet.tenant_id = player.tenant_id
        AND wallet.player_id = player.id
        AND wallet.currency = player.currency
    WHERE player.id = v_deposit.player_id AND player.tenant_id = v_deposit.tenant_id;
    v_from_player := least(greatest(v_available, 0), v_deposit.amount);

    IF v_from_player > 0 THEN
        v_amounts := v_amounts || v_from_player;
        v_keys := v_keys || ('refund_' || v_deposit.id);
        v_debits := v_debits || 'player:available'::TEXT;
    END IF;
    IF v_from_player < v_deposit.amount THEN
        v_amounts := v_amounts || (v_deposit.amount - v_from_player);
        v_keys := v_keys || ('refund_' || v_deposit.id || '_returns');
        v_debits := v_debits || 'house:returns'::TEXT;
    END IF;
    v_lines := cardinality(v_amounts);
    -- A provider event is on one line only: its key is unique.
    v_events := array_fill(NULL::TEXT, ARRAY[v_lines]);
    v_events[1] := p_provider_event_id;

    RETURN QUERY
    WITH posted AS MATERIALIZED (
        SELECT *
        FROM ledger_post_v1(
            p_tenant_ids => array_fill(v_deposit.tenant_id, ARRAY[v_lines]),
            p_player_ids => array_fill(v_deposit.player_id, ARRAY[v_lines]),
            p_currencies => array_fill(v_deposit.currency, ARRAY[v_lines]),
            p_types => array_fill('deposit_refunded'::TEXT, ARRAY[v_lines]),
            p_amounts => v_amounts,
            p_idempotency_keys => v_keys,
            p_request_hashes => array_fill(p_request_hash, ARRAY[v_lines]),
            p_references => array_fill(v_deposit.id, ARRAY[v_lines]),
            p_providers => array_fill(v_deposit.provider, ARRAY[v_lines]),
            p_provider_refs => array_fill(v_deposit.provider_ref, ARRAY[v_lines]),
            p_provider_event_ids => v_events,
            p_debit_accounts => v_debits,
            p_credit_accounts => array_fill('psp:' || v_deposit.provider || ':clearing', ARRAY[v_lines]),
            p_journal_ids => array_fill(v_journal_id, ARRAY[v_lines]),
            p_occurred_ats => array_fill(p_occurred_at, ARRAY[v_lines]),
            p_by_player => NULL,
            p_metadata => NULL
        )
    ),

    refunded AS (
        UPDATE deposits AS deposit
        SET
            state = 'refunded',
            status_class = 'reversed',
            provider_sequence = p_provider_sequence,
            next_check_at = NULL,
            updated_at = posted.recorded_at
        FROM posted
        WHERE posted.event_no = 1 AND posted.code = 'applied' AND deposit.id = v_deposit.id
    )

    SELECT * FROM posted;
END
$$;

-- Writes down what moves no money: the provider's name for the payment, what it was last believed to say and, of an open
-- deposit, that it failed. NULL leaves a value as it is. Nothing here completes or refunds a deposit.
CREATE FUNCTION deposit_record_v1(
    p_deposit_id UUID,
    p_is_failed BOOLEAN,
    p_provider_ref TEXT,
    p_failure_code TEXT,
    p_status_class TEXT,
    p_provider_sequence BIGINT
)
RETURNS VOID
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    UPDATE deposits AS deposit
    SET
        state = CASE WHEN p_is_failed THEN 'failed' ELSE deposit.state END,
        provider_ref = coalesce(deposit.provider_ref, p_provider_ref),
        failure_code = coalesce(p_failure_code, deposit.failure_code),
        status_class = p_status_class,
        provider_sequence = p_provider_sequence,
        next_check_at = CASE WHEN p_is_failed THEN NULL ELSE deposit.next_check_at END,
        updated_at = CASE WHEN p_is_failed THEN clock_timestamp() ELSE deposit.updated_at END
    WHERE deposit.id = p_deposit_id AND (deposit.state = 'pending_provider' OR NOT p_is_failed)
$$;

-- Takes the next check of an open deposit, so that of several pollers one asks, and sets when the one after it is due.
-- Returns whether this call took it.
CREATE FUNCTION deposit_check_v1(p_deposit_id UUID, p_checks INTEGER, p_next_check_at TIMESTAMPTZ)
RETURNS BOOLEAN
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH taken AS (
        UPDATE deposits AS deposit
        SET
            checks = deposit.checks + 1,
            next_check_at = p_next_check_at
        WHERE deposit.id = p_deposit_id AND deposit.state = 'pending_provider' AND deposit.checks = p_checks
        RETURNING deposit.id
    )

    SELECT EXISTS (SELECT FROM taken)
$$;
