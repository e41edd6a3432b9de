CREATE SCHEMA mockpsp;

CREATE DOMAIN public.arbiter_side AS text
	CONSTRAINT arbiter_side_check CHECK ((VALUE = ANY (ARRAY['legacy'::text, 'ledger'::text])));

CREATE DOMAIN public.currency_code AS text
	CONSTRAINT currency_code_check CHECK ((VALUE ~ '^[A-Z]{3}$'::text));

CREATE DOMAIN public.email_address AS text
	CONSTRAINT email_address_check CHECK (((VALUE = lower(VALUE)) AND (VALUE ~~ '_%@_%'::text) AND (char_length(VALUE) <= 254)));

CREATE DOMAIN public.kyc_status AS text
	CONSTRAINT kyc_status_check CHECK ((VALUE = ANY (ARRAY['pending'::text, 'verified'::text, 'rejected'::text])));

CREATE FUNCTION public.deposit_capture_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_occurred_ats timestamp with time zone[]) RETURNS TABLE(event_no integer, code text, is_replay boolean, transaction_id uuid, reference uuid, recorded_at timestamp with time zone, arbiter text, epoch integer, legacy_ok boolean, ledger_ok boolean, wallet_opened boolean, wallet_version bigint, legacy_available_before bigint, legacy_held_before bigint, ledger_available_before bigint, ledger_pending_before bigint, legacy_available_after bigint, legacy_held_after bigint, ledger_available_after bigint, ledger_pending_after bigint)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
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

    SELECT * FROM posted
$$;

CREATE FUNCTION public.deposit_fail_v1(p_tenant_id uuid, p_player_id uuid, p_deposit_id uuid, p_provider_ref text, p_failure_code text) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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

CREATE FUNCTION public.deposit_open_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_providers text[], p_idempotency_keys text[], p_request_hashes bytea[], p_unverified_caps bigint[]) RETURNS TABLE(event_no integer, code text, deposit_id uuid, state text, provider text, provider_ref text, provider_event_id text, failure_code text, created_at timestamp with time zone, updated_at timestamp with time zone, deposited_today bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
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

CREATE FUNCTION public.ledger_open_wallets_v1(p_tenant_ids uuid[], p_player_ids uuid[]) RETURNS TABLE(tenant_id uuid, player_id uuid, currency text, balance_real_available bigint, balance_real_pending bigint, version bigint)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_now TIMESTAMPTZ := clock_timestamp();
BEGIN
    WITH unopened AS MATERIALIZED (
        SELECT
            player.tenant_id,
            player.id AS player_id,
            player.currency,
            player.balance_real_available,
            player.balance_real_held,
            mode.arbiter,
            mode.epoch,
            so_far.available AS folded_available,
            so_far.pending AS folded_pending,
            so_far.version
        FROM unnest(p_tenant_ids, p_player_ids) AS wanted (tenant_id, player_id)
        INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = wanted.tenant_id
        LEFT JOIN wallet_balances AS wallet
            ON wallet.tenant_id = player.tenant_id
            AND wallet.player_id = player.id
            AND wallet.currency = player.currency
        CROSS JOIN LATERAL (
            SELECT
                coalesce(sum(entry.amount * type.available_sign), 0)::BIGINT AS available,
                coalesce(sum(entry.amount * type.pending_sign), 0)::BIGINT AS pending,
                coalesce(max(entry.wallet_version), 0) AS version
            FROM ledger_transactions AS entry
            INNER JOIN ledger_transaction_types AS type
                ON type.type = entry.type
                AND replace(type.debit_account, '{provider}', coalesce(entry.provider, '')) = entry.debit_account
                AND replace(type.credit_account, '{provider}', coalesce(entry.provider, '')) = entry.credit_account
            WHERE
                entry.tenant_id = player.tenant_id
                AND entry.player_id = player.id
                AND entry.currency = player.currency
        ) AS so_far
        INNER JOIN tenant_modes AS mode ON mode.tenant_id = player.tenant_id
        WHERE wallet.opened_at IS NULL
    ),

    -- One line per side that differs from what the ledger says so far; `line` orders them within the wallet.
    lines AS MATERIALIZED (
        SELECT
            unopened.*,
            side.component,
            side.difference,
            CASE WHEN side.component = 'held' AND side.difference > 0 THEN uuid_v7() END AS hold_id,
            row_number() OVER (PARTITION BY unopened.tenant_id, unopened.player_id ORDER BY side.component) AS line,
            sum(side.difference * (side.component = 'available')::INTEGER)
                OVER (PARTITION BY unopened.tenant_id, unopened.player_id ORDER BY side.component) AS available_moved,
            sum(side.difference * (side.component = 'held')::INTEGER)
                OVER (PARTITION BY unopened.tenant_id, unopened.player_id ORDER BY side.component) AS pending_moved
        FROM unopened
        CROSS JOIN LATERAL (VALUES
            ('available', unopened.balance_real_available - unopened.folded_available),
            ('held', unopened.balance_real_held - unopened.folded_pending)
        ) AS side (component, difference)
        WHERE side.difference <> 0
    ),

    holds AS (
        INSERT INTO withdrawals (
            id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key, request_hash,
            created_at, updated_at
        )
        SELECT
            line.hold_id, line.tenant_id, line.player_id, line.difference, line.currency, 'requested', 'legacy_hold', '',
            'opening:v1:held', '\x', v_now, v_now
        FROM lines AS line
        WHERE line.hold_id IS NOT NULL
    ),

    entries AS (
        INSERT INTO ledger_transactions (
            id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
            legacy_held_after, reference, journal_id, occurred_at, recorded_at, epoch, currency, type, debit_account,
            credit_account, arbiter, idempotency_key, request_hash
        )
        SELECT
            uuid_v7(),
            line.tenant_id,
            line.player_id,
            line.version + line.line,
            abs(line.difference),
            line.folded_available + line.available_moved,
            line.folded_pending + line.pending_moved,
            line.balance_real_available,
            line.balance_real_held,
            line.hold_id,
            NULL,
            v_now,
            v_now,
            line.epoch,
            line.currency,
            'opening_balance',
            CASE WHEN line.difference > 0 THEN 'house:opening' ELSE 'player:' || line.component END,
            CASE WHEN line.difference > 0 THEN 'player:' || line.component ELSE 'house:opening' END,
            line.arbiter,
            'opening:v1:' || line.component,
            '\x'
        FROM lines AS line
    )

    INSERT INTO wallet_balances AS wallet (
        tenant_id, player_id, currency, balance_real_available, balance_real_pending, version, opened_at, updated_at
    )
    SELECT
        unopened.tenant_id,
        unopened.player_id,
        unopened.currency,
        unopened.balance_real_available,
        unopened.balance_real_held,
        unopened.version
        + (unopened.balance_real_available <> unopened.folded_available)::INTEGER
        + (unopened.balance_real_held <> unopened.folded_pending)::INTEGER,
        v_now,
        v_now
    FROM unopened
    ORDER BY unopened.tenant_id, unopened.player_id
    ON CONFLICT ON CONSTRAINT wallet_balances_pkey DO UPDATE
    SET
        balance_real_available = excluded.balance_real_available,
        balance_real_pending = excluded.balance_real_pending,
        version = excluded.version,
        opened_at = excluded.opened_at,
        updated_at = excluded.updated_at;

    RETURN QUERY
    SELECT
        wallet.tenant_id,
        wallet.player_id,
        wallet.currency,
        wallet.balance_real_available,
        wallet.balance_real_pending,
        wallet.version
    FROM unnest(p_tenant_ids, p_player_ids) AS wanted (tenant_id, player_id)
    INNER JOIN wallet_balances AS wallet
        ON wallet.tenant_id = wanted.tenant_id AND wallet.player_id = wanted.player_id
    WHERE wallet.opened_at IS NOT NULL;
END
$$;

CREATE FUNCTION public.ledger_post_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) RETURNS TABLE(event_no integer, code text, is_replay boolean, transaction_id uuid, reference uuid, recorded_at timestamp with time zone, arbiter text, epoch integer, legacy_ok boolean, ledger_ok boolean, wallet_opened boolean, wallet_version bigint, legacy_available_before bigint, legacy_held_before bigint, ledger_available_before bigint, ledger_pending_before bigint, legacy_available_after bigint, legacy_held_after bigint, ledger_available_after bigint, ledger_pending_after bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    c_provider_event_namespace CONSTANT INTEGER := 4711002;
    c_events_max CONSTANT INTEGER := 1000;
    -- Far below BIGINT's end, so that no sum of a balance and an amount can overflow and abort its neighbours.
    c_balance_max CONSTANT BIGINT := 4000000000000000000;
    c_amount_max CONSTANT BIGINT := 1000000000000000000;

    v_count CONSTANT INTEGER := coalesce(cardinality(p_tenant_ids), 0);
    v_now TIMESTAMPTZ;

    -- Per event.
    e_wallet INTEGER[];
    e_journal_end INTEGER[];
    e_twin INTEGER[];
    e_debit TEXT[];
    e_credit TEXT[];
    e_available_sign INTEGER[];
    e_pending_sign INTEGER[];
    e_is_stored BOOLEAN[] := array_fill(FALSE, ARRAY[v_count]);
    e_is_replay BOOLEAN[];

    -- Per wallet, in key order.
    w_tenant UUID[];
    w_player UUID[];
    w_currency TEXT[];
    w_kyc_status TEXT[];
    w_is_active BOOLEAN[];
    w_arbiter TEXT[];
    w_epoch INTEGER[];
    w_shadow BOOLEAN[];
    w_mode_refused BOOLEAN[];
    w_legacy_available BIGINT[];
    w_legacy_held BIGINT[];
    w_opened BOOLEAN[];
    w_available BIGINT[];
    w_pending BIGINT[];
    w_version BIGINT[];
    w_moves INTEGER[];

    -- What to write, by event.
    a_event INTEGER[] := '{}';
    a_id UUID[] := '{}';
    a_version BIGINT[] := '{}';
    a_available BIGINT[] := '{}';
    a_pending BIGINT[] := '{}';
    a_legacy_available BIGINT[] := '{}';
    a_legacy_held BIGINT[] := '{}';
    r_event INTEGER[] := '{}';
    r_code TEXT[] := '{}';
    r_legacy_ok BOOLEAN[] := '{}';
    r_ledger_ok BOOLEAN[] := '{}';
    r_opened BOOLEAN[] := '{}';
    r_legacy_available BIGINT[] := '{}';
    r_legacy_held BIGINT[] := '{}';
    r_available BIGINT[] := '{}';
    r_pending BIGINT[] := '{}';

    -- The journal in hand.
    v_first INTEGER;
    v_last INTEGER;
    v_wallet INTEGER;
    v_event INTEGER;
    v_available BIGINT;
    v_pending BIGINT;
    v_version BIGINT;
    v_legacy_available BIGINT;
    v_legacy_held BIGINT;
    v_change_available BIGINT;
    v_change_pending BIGINT;
    v_is_credit BOOLEAN;
    v_code TEXT;
    v_refused_event INTEGER;
    v_opened RECORD;
    v_wallets_moved INTEGER := 0;
    v_written INTEGER;
BEGIN
    IF v_count = 0 THEN
        RETURN;
    END IF;
    IF v_count > c_events_max THEN
        RAISE EXCEPTION 'ledger_post takes at most % events, got %', c_events_max, v_count
            USING ERRCODE = 'program_limit_exceeded';
    END IF;

    -- 1. Fence.
    PERFORM pg_advisory_xact_lock_shared(c_fence_namespace, fence.number)
    FROM (
        SELECT tenant.number
        FROM (SELECT DISTINCT event.tenant_id FROM unnest(p_tenant_ids) AS event (tenant_id)) AS wanted
        INNER JOIN tenants AS tenant ON tenant.id = wanted.tenant_id
        ORDER BY tenant.number
    ) AS fence;

    -- 2. Arbiter, and what every event means. Wallets are numbered in key order; twins are events of this very call
    -- that share a key; a journal ends where the next event belongs to another.
    SELECT
        array_agg(prepared.wallet_no ORDER BY prepared.no),
        array_agg(prepared.journal_end ORDER BY prepared.no),
        array_agg(prepared.twin ORDER BY prepared.no),
        array_agg(prepared.debit_account ORDER BY prepared.no),
        array_agg(prepared.credit_account ORDER BY prepared.no),
        array_agg(prepared.available_sign ORDER BY prepared.no),
        array_agg(prepared.pending_sign ORDER BY prepared.no)
    INTO e_wallet, e_journal_end, e_twin, e_debit, e_credit, e_available_sign, e_pending_sign
    FROM (
        SELECT
            event.no,
            dense_rank() OVER (ORDER BY event.tenant_id, event.player_id)::INTEGER AS wallet_no,
            CASE
                WHEN event.journal_id IS NULL THEN event.no
                ELSE max(event.no) OVER (PARTITION BY event.journal_id, event.tenant_id, event.player_id)
            END::INTEGER AS journal_end,
            least(
                min(event.no) OVER (PARTITION BY event.tenant_id, event.player_id, event.type, event.idempotency_key),
                CASE
                    WHEN event.provider_event_id IS NULL THEN event.no
                    ELSE min(event.no) OVER (PARTITION BY event.provider, event.provider_event_id)
                END
            )::INTEGER AS twin,
            replace(declared.debit_account, '{provider}', coalesce(event.provider, '')) AS debit_account,
            replace(declared.credit_account, '{provider}', coalesce(event.provider, '')) AS credit_account,
            declared.available_sign::INTEGER AS available_sign,
            declared.pending_sign::INTEGER AS pending_sign
        FROM
            unnest(
                p_tenant_ids, p_player_ids, p_types, p_idempotency_keys, p_providers, p_provider_event_ids,
                p_debit_accounts, p_credit_accounts, p_journal_ids
            ) WITH ORDINALITY AS event (
                tenant_id, player_id, type, idempotency_key, provider, provider_event_id, debit_account, credit_account,
                journal_id, no
            )
        LEFT JOIN LATERAL (
            SELECT
                type.debit_account,
                type.credit_account,
                type.available_sign,
                type.pending_sign
            FROM ledger_transaction_types AS type
            WHERE
                type.type = event.type
                AND (event.provider IS NOT NULL OR NOT type.needs_provider)
                AND (
                    (type.is_sole AND event.debit_account IS NULL AND event.credit_account IS NULL)
                    OR (
                        replace(type.debit_account, '{provider}', coalesce(event.provider, '')) = event.debit_account
                        AND replace(type.credit_account, '{provider}', coalesce(event.provider, ''))
                        = event.credit_account
                    )
                )
            LIMIT 1
        ) AS declared ON TRUE
    ) AS prepared;

    -- 3a. One provider event at a time: its unique key is shared by all players, so without this a second player
    -- carrying the same event id would fail the whole call instead of being told.
    IF cardinality(array_remove(p_provider_event_ids, NULL)) > 0 THEN
        PERFORM pg_advisory_xact_lock(c_provider_event_namespace, keys.key)
        FROM (
            SELECT DISTINCT hashtext(event.provider || ' ' || event.provider_event_id) AS key
            FROM unnest(p_providers, p_provider_event_ids) AS event (provider, provider_event_id)
            WHERE event.provider_event_id IS NOT NULL
            ORDER BY key
        ) AS keys;
    END IF;

    -- 3b. Players, in key order. The lateral sub-select runs once per key, so rows are locked in exactly that order.
    SELECT
        array_agg(wanted.tenant_id ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(wanted.player_id ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(player.currency ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(player.kyc_status ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(player.is_active ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(player.balance_real_available ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(player.balance_real_held ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(mode.arbiter ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(mode.epoch ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(mode.shadow_write ORDER BY wanted.tenant_id, wanted.player_id),
        array_agg(mode.is_refused ORDER BY wanted.tenant_id, wanted.player_id)
    INTO
        w_tenant, w_player, w_currency, w_kyc_status, w_is_active, w_legacy_available, w_legacy_held,
        w_arbiter, w_epoch, w_shadow, w_mode_refused
    FROM (
        SELECT DISTINCT
            event.tenant_id,
            event.player_id
        FROM unnest(p_tenant_ids, p_player_ids) AS event (tenant_id, player_id)
        ORDER BY event.tenant_id, event.player_id
    ) AS wanted
    LEFT JOIN LATERAL (
        SELECT
            candidate.currency,
            candidate.kyc_status,
            candidate.is_active,
            candidate.balance_real_available,
            candidate.balance_real_held
        FROM players AS candidate
        WHERE candidate.id = wanted.player_id AND candidate.tenant_id = wanted.tenant_id
        FOR NO KEY UPDATE
    ) AS player ON TRUE
    LEFT JOIN tenant_modes AS mode ON mode.tenant_id = wanted.tenant_id;

    -- 3c. Wallets. A new statement: one that was written while a player's lock was waited for is seen now. They need no
    -- row lock of their own: every writer holds the player's, and the update below is guarded by the version read here.
    SELECT
        array_agg(wallet.opened_at IS NOT NULL ORDER BY key.no),
        array_agg(coalesce(wallet.balance_real_available, 0) ORDER BY key.no),
        array_agg(coalesce(wallet.balance_real_pending, 0) ORDER BY key.no),
        array_agg(coalesce(wallet.version, 0) ORDER BY key.no),
        array_agg(0)
    INTO w_opened, w_available, w_pending, w_version, w_moves
    FROM unnest(w_tenant, w_player, w_currency) WITH ORDINALITY AS key (tenant_id, player_id, currency, no)
    LEFT JOIN wallet_balances AS wallet
        ON wallet.tenant_id = key.tenant_id
        AND wallet.player_id = key.player_id
        AND wallet.currency = key.currency;

    -- 5. Which events were answered before.
    SELECT array_agg(
        EXISTS (
            SELECT
            FROM ledger_transactions AS entry
            WHERE
                entry.tenant_id = event.tenant_id
                AND entry.player_id = event.player_id
                AND entry.type = event.type
                AND entry.idempotency_key = event.idempotency_key
        )
        OR EXISTS (
            SELECT
            FROM ledger_refusals AS refusal
            WHERE
                refusal.tenant_id = event.tenant_id
                AND refusal.player_id = event.player_id
                AND refusal.type = event.type
                AND refusal.idempotency_key = event.idempotency_key
        )
        OR EXISTS (
            SELECT
            FROM legacy_movements AS movement
            WHERE
                movement.tenant_id = event.tenant_id
                AND movement.player_id = event.player_id
                AND movement.type = event.type
                AND movement.idempotency_key = event.idempotency_key
        )
        OR (
            event.provider_event_id IS NOT NULL
            AND (
                EXISTS (
                    SELECT
                    FROM ledger_transactions AS entry
                    WHERE entry.provider = event.provider AND entry.provider_event_id = event.provider_event_id
                )
                OR EXISTS (
                    SELECT
                    FROM legacy_movements AS movement
                    WHERE movement.provider = event.provider AND movement.provider_event_id = event.provider_event_id
                )
            )
        )
        ORDER BY event.no
    )
    INTO e_is_replay
    FROM
        unnest(p_tenant_ids, p_player_ids, p_types, p_idempotency_keys, p_providers, p_provider_event_ids)
        WITH ORDINALITY AS event (tenant_id, player_id, type, idempotency_key, provider, provider_event_id, no);

    -- After the last wait, so that recorded_at follows wallet_version.
    v_now := clock_timestamp();
    recorded_at := v_now;

    -- 6. Decide, journal by journal.
    v_last := 0;
    WHILE v_last < v_count LOOP
        v_first := v_last + 1;
        v_last := greatest(e_journal_end[v_first], v_first);
        v_wallet := e_wallet[v_first];

        IF NOT e_is_replay[v_first] AND e_twin[v_first] < v_first THEN
            e_is_replay[v_first] := e_is_stored[e_twin[v_first]];
        END IF;
        IF e_is_replay[v_first] THEN
            FOR v_event IN v_first + 1 .. v_last LOOP
                e_is_replay[v_event] := TRUE;
            END LOOP;
            CONTINUE;
        END IF;

        v_code := NULL;
        v_is_credit := TRUE;
        FOR v_event IN v_first .. v_last LOOP
            v_refused_event := v_event;
            v_code := CASE
                WHEN w_arbiter[v_wallet] IS NULL OR w_currency[v_wallet] IS NULL THEN 'unknown_player'
                WHEN w_mode_refused[v_wallet] THEN 'mode_refused'
                WHEN e_debit[v_event] IS NULL OR e_credit[v_event] IS NULL OR p_amounts[v_event] <= 0
                    OR e_wallet[v_event] <> v_wallet
                    OR p_journal_ids[v_event] IS DISTINCT FROM p_journal_ids[v_first] THEN 'invalid_event'
                WHEN p_currencies[v_event] <> w_currency[v_wallet] THEN 'currency_mismatch'
                WHEN p_by_player[v_event] AND NOT w_is_active[v_wallet] THEN 'player_disabled'
                WHEN p_by_player[v_event] AND e_available_sign[v_event] < 0 AND w_kyc_status[v_wallet] <> 'verified'
                    THEN 'kyc_required'
                WHEN p_amounts[v_event] > c_amount_max THEN 'balance_out_of_range'
            END;
            EXIT WHEN v_code IS NOT NULL;
            v_is_credit := v_is_credit AND e_available_sign[v_event] >= 0 AND e_pending_sign[v_event] >= 0;
        END LOOP;

        -- 4. Open. In an enforced tenant a debit on an unopened wallet fails closed; a credit opens it first.
        IF v_code IS NULL AND w_shadow[v_wallet] AND NOT w_opened[v_wallet]
            AND (w_arbiter[v_wallet] = 'legacy' OR v_is_credit)
        THEN
            SELECT * INTO v_opened
            FROM ledger_open_wallets_v1(ARRAY[w_tenant[v_wallet]], ARRAY[w_player[v_wallet]]) AS opened
            WHERE opened.currency = w_currency[v_wallet];
            w_opened[v_wallet] := TRUE;
            w_available[v_wallet] := v_opened.balance_real_available;
            w_pending[v_wallet] := v_opened.balance_real_pending;
            w_version[v_wallet] := v_opened.version;
        END IF;

        v_available := w_available[v_wallet];
        v_pending := w_pending[v_wallet];
        v_version := w_version[v_wallet];
        v_legacy_available := w_legacy_available[v_wallet];
        v_legacy_held := w_legacy_held[v_wallet];

        arbiter := w_arbiter[v_wallet];
        epoch := w_epoch[v_wallet];
        wallet_opened := w_opened[v_wallet];
        is_replay := FALSE;
        legacy_available_before := v_legacy_available;
        legacy_held_before := v_legacy_held;
        ledger_available_before := v_available;
        ledger_pending_before := v_pending;
        legacy_ok := NULL;
        ledger_ok := NULL;

        IF v_code IS NULL AND greatest(
            abs(v_available), abs(v_pending), abs(v_legacy_available), abs(v_legacy_held)
        ) > c_balance_max
        THEN
            v_refused_event := v_first;
            v_code := 'balance_out_of_range';
        END IF;

        -- Both verdicts, over the running balances of the journal's lines; only the arbiter's counts.
        IF v_code IS NULL THEN
            legacy_ok := TRUE;
            ledger_ok := CASE WHEN w_shadow[v_wallet] THEN w_opened[v_wallet] END;
            FOR v_event IN v_first .. v_last LOOP
                v_change_available := e_available_sign[v_event] * p_amounts[v_event];
                v_change_pending := e_pending_sign[v_event] * p_amounts[v_event];
                v_legacy_available := v_legacy_available + v_change_available;
                v_legacy_held := v_legacy_held + v_change_pending;
                v_available := v_available + v_change_available;
                v_pending := v_pending + v_change_pending;
                legacy_ok := legacy_ok
                    AND (v_change_available >= 0 OR v_legacy_available >= 0)
                    AND (v_change_pending >= 0 OR v_legacy_held >= 0);
                ledger_ok := ledger_ok
                    AND (v_change_available >= 0 OR v_available >= 0)
                    AND (v_change_pending >= 0 OR v_pending >= 0);
                IF v_code IS NULL AND ((arbiter = 'ledger' AND NOT ledger_ok) OR (arbiter = 'legacy' AND NOT legacy_ok)) THEN
                    v_refused_event := v_event;
                    v_code := CASE
                        WHEN v_change_available < 0 THEN 'insufficient_funds'
                        WHEN v_change_pending < 0 AND w_opened[v_wallet] THEN 'insufficient_held'
                        ELSE 'insufficient_funds'
                    END;
                END IF;
            END LOOP;
        END IF;

        IF v_code IS NOT NULL THEN
            -- Refused: no balance changes. Only a verdict on funds is evidence and is stored.
            FOR v_event IN v_first .. v_last LOOP
                event_no := v_event;
                code := CASE WHEN v_event = v_refused_event THEN v_code ELSE 'journal_refused' END;
                transaction_id := NULL;
                reference := p_references[v_event];
                wallet_version := NULL;
                legacy_available_after := legacy_available_before;
                legacy_held_after := legacy_held_before;
                ledger_available_after := ledger_available_before;
                ledger_pending_after := ledger_pending_before;
                IF v_code IN ('insufficient_funds', 'insufficient_held') THEN
                    e_is_stored[v_event] := TRUE;
                    r_event := r_event || v_event;
                    r_code := r_code || code;
                    r_legacy_ok := r_legacy_ok || legacy_ok;
                    r_ledger_ok := r_ledger_ok || ledger_ok;
                    r_opened := r_opened || wallet_opened;
                    r_legacy_available := r_legacy_available || legacy_available_before;
                    r_legacy_held := r_legacy_held || legacy_held_before;
                    r_available := r_available || ledger_available_before;
                    r_pending := r_pending || ledger_pending_before;
                END IF;
                RETURN NEXT;
            END LOOP;
            CONTINUE;
        END IF;

        -- From here on the journal is accepted.
        v_available := w_available[v_wallet];
        v_pending := w_pending[v_wallet];
        v_legacy_available := w_legacy_available[v_wallet];
        v_legacy_held := w_legacy_held[v_wallet];
        FOR v_event IN v_first .. v_last LOOP
            v_change_available := e_available_sign[v_event] * p_amounts[v_event];
            v_change_pending := e_pending_sign[v_event] * p_amounts[v_event];
            IF w_shadow[v_wallet] THEN
                v_available := v_available + v_change_available;
                v_pending := v_pending + v_change_pending;
                v_version := v_version + 1;
            END IF;
            IF arbiter = 'ledger' THEN
                -- Enforced: the legacy column follows the snapshot, whatever stood in it.
                v_legacy_available := v_available;
                v_legacy_held := v_pending;
            ELSE
                v_legacy_available := v_legacy_available + v_change_available;
                v_legacy_held := v_legacy_held + v_change_pending;
            END IF;

            event_no := v_event;
            code := 'applied';
            transaction_id := uuid_v7();
            reference := p_references[v_event];
            wallet_version := v_version;
            legacy_available_after := v_legacy_available;
            legacy_held_after := v_legacy_held;
            ledger_available_after := v_available;
            ledger_pending_after := v_pending;
            e_is_stored[v_event] := TRUE;
            a_event := a_event || v_event;
            a_id := a_id || transaction_id;
            a_version := a_version || v_version;
            a_available := a_available || v_available;
            a_pending := a_pending || v_pending;
            a_legacy_available := a_legacy_available || v_legacy_available;
            a_legacy_held := a_legacy_held || v_legacy_held;
            RETURN NEXT;
        END LOOP;
        w_available[v_wallet] := v_available;
        w_pending[v_wallet] := v_pending;
        w_version[v_wallet] := v_version;
        w_legacy_available[v_wallet] := v_legacy_available;
        w_legacy_held[v_wallet] := v_legacy_held;
        IF w_shadow[v_wallet] AND w_moves[v_wallet] = 0 THEN
            v_wallets_moved := v_wallets_moved + 1;
        END IF;
        w_moves[v_wallet] := w_moves[v_wallet] + v_last - v_first + 1;
    END LOOP;

    -- Write: rows, snapshots, legacy columns, in this one transaction.
    IF cardinality(a_event) > 0 THEN
        IF TRUE = ANY(w_shadow) THEN
            INSERT INTO ledger_transactions (
                id, tenant_id, player_id, wallet_version, amount, available_after, pending_after,
                legacy_available_after, legacy_held_after, reference, journal_id, occurred_at, recorded_at, epoch,
                currency, type, debit_account, credit_account, arbiter, idempotency_key, request_hash, provider,
                provider_ref, provider_event_id, metadata
            )
            SELECT
                written.id,
                p_tenant_ids[written.no],
                p_player_ids[written.no],
                written.version,
                p_amounts[written.no],
                written.available,
                written.pending,
                written.legacy_available,
                written.legacy_held,
                p_references[written.no],
                p_journal_ids[written.no],
                coalesce(p_occurred_ats[written.no], v_now),
                v_now,
                w_epoch[e_wallet[written.no]],
                p_currencies[written.no],
                p_types[written.no],
                e_debit[written.no],
                e_credit[written.no],
                w_arbiter[e_wallet[written.no]],
                p_idempotency_keys[written.no],
                p_request_hashes[written.no],
                p_providers[written.no],
                p_provider_refs[written.no],
                p_provider_event_ids[written.no],
                p_metadata[written.no]
            FROM unnest(a_event, a_id, a_version, a_available, a_pending, a_legacy_available, a_legacy_held)
                AS written (no, id, version, available, pending, legacy_available, legacy_held)
            WHERE w_shadow[e_wallet[written.no]];

            UPDATE wallet_balances AS wallet
            SET
                balance_real_available = folded.available,
                balance_real_pending = folded.pending,
                version = folded.version,
                updated_at = v_now
            FROM unnest(w_tenant, w_player, w_currency, w_available, w_pending, w_version, w_moves, w_shadow)
                AS folded (tenant_id, player_id, currency, available, pending, version, moves, shadow)
            WHERE
                wallet.tenant_id = folded.tenant_id
                AND wallet.player_id = folded.player_id
                AND wallet.currency = folded.currency
                AND wallet.version = folded.version - folded.moves
                AND folded.moves > 0
                AND folded.shadow;
            GET DIAGNOSTICS v_written = ROW_COUNT;
            IF v_written <> v_wallets_moved THEN
                RAISE EXCEPTION 'a wallet was changed by another writer than the door' USING ERRCODE = 'serialization_failure';
            END IF;
        END IF;

        IF FALSE = ANY(w_shadow) THEN
            INSERT INTO legacy_movements (
                id, tenant_id, player_id, currency, type, amount, legacy_available_after, legacy_held_after, epoch,
                reference, idempotency_key, request_hash, provider, provider_event_id, recorded_at
            )
            SELECT
                written.id,
                p_tenant_ids[written.no],
                p_player_ids[written.no],
                p_currencies[written.no],
                p_types[written.no],
                p_amounts[written.no],
                written.legacy_available,
                written.legacy_held,
                w_epoch[e_wallet[written.no]],
                p_references[written.no],
                p_idempotency_keys[written.no],
                p_request_hashes[written.no],
                p_providers[written.no],
                p_provider_event_ids[written.no],
                v_now
            FROM unnest(a_event, a_id, a_legacy_available, a_legacy_held)
                AS written (no, id, legacy_available, legacy_held)
            WHERE NOT w_shadow[e_wallet[written.no]];
        END IF;

        UPDATE players AS player
        SET
            balance_real_available = mirrored.available,
            balance_real_held = mirrored.held
        FROM unnest(w_tenant, w_player, w_legacy_available, w_legacy_held, w_moves)
            AS mirrored (tenant_id, player_id, available, held, moves)
        WHERE player.id = mirrored.player_id AND player.tenant_id = mirrored.tenant_id AND mirrored.moves > 0;
    END IF;

    IF cardinality(r_event) > 0 THEN
        INSERT INTO ledger_refusals (
            id, tenant_id, player_id, currency, type, amount, code, wallet_opened, legacy_available, legacy_held,
            ledger_available, ledger_pending, legacy_ok, ledger_ok, arbiter, epoch, reference, idempotency_key,
            request_hash, recorded_at
        )
        SELECT
            uuid_v7(),
            p_tenant_ids[refused.no],
            p_player_ids[refused.no],
            p_currencies[refused.no],
            p_types[refused.no],
            p_amounts[refused.no],
            refused.code,
            refused.opened,
            refused.legacy_available,
            refused.legacy_held,
            refused.available,
            refused.pending,
            refused.legacy_ok,
            refused.ledger_ok,
            w_arbiter[e_wallet[refused.no]],
            w_epoch[e_wallet[refused.no]],
            p_references[refused.no],
            p_idempotency_keys[refused.no],
            p_request_hashes[refused.no],
            v_now
        FROM
            unnest(
                r_event, r_code, r_legacy_ok, r_ledger_ok, r_opened, r_legacy_available, r_legacy_held, r_available,
                r_pending
            ) AS refused (
                no, code, legacy_ok, ledger_ok, opened, legacy_available, legacy_held, available, pending
            );
    END IF;

    -- Replays are answered last, from what is stored: earlier calls' results, and this call's for twins.
    IF TRUE = ANY(e_is_replay) THEN
        RETURN QUERY
        SELECT * FROM ledger_replay_v1(
            p_tenant_ids, p_player_ids, p_types, p_amounts, p_idempotency_keys, p_request_hashes, p_providers,
            p_provider_event_ids, e_is_replay
        );
    END IF;
END
$$;

CREATE FUNCTION public.ledger_replay_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_event_ids text[], p_wanted boolean[]) RETURNS TABLE(event_no integer, code text, is_replay boolean, transaction_id uuid, reference uuid, recorded_at timestamp with time zone, arbiter text, epoch integer, legacy_ok boolean, ledger_ok boolean, wallet_opened boolean, wallet_version bigint, legacy_available_before bigint, legacy_held_before bigint, ledger_available_before bigint, ledger_pending_before bigint, legacy_available_after bigint, legacy_held_after bigint, ledger_available_after bigint, ledger_pending_after bigint)
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
    SELECT
        event.no::INTEGER,
        CASE WHEN stored.is_same THEN stored.code ELSE 'exists_different' END,
        TRUE,
        stored.transaction_id,
        stored.reference,
        stored.recorded_at,
        stored.arbiter,
        stored.epoch,
        stored.legacy_ok,
        stored.ledger_ok,
        stored.wallet_opened,
        stored.wallet_version,
        NULL::BIGINT,
        NULL::BIGINT,
        NULL::BIGINT,
        NULL::BIGINT,
        stored.legacy_available_after,
        stored.legacy_held_after,
        stored.ledger_available_after,
        stored.ledger_pending_after
    FROM
        unnest(
            p_tenant_ids, p_player_ids, p_types, p_amounts, p_idempotency_keys, p_request_hashes, p_providers,
            p_provider_event_ids, p_wanted
        ) WITH ORDINALITY AS event (
            tenant_id, player_id, type, amount, idempotency_key, request_hash, provider, provider_event_id, wanted, no
        )
    CROSS JOIN LATERAL (
        SELECT
            1 AS strength, 'exists' AS code, entry.request_hash = event.request_hash AS is_same,
            entry.id AS transaction_id, entry.reference, entry.recorded_at, entry.arbiter, entry.epoch,
            NULL::BOOLEAN AS legacy_ok, NULL::BOOLEAN AS ledger_ok, TRUE AS wallet_opened, entry.wallet_version,
            entry.legacy_available_after, entry.legacy_held_after,
            entry.available_after AS ledger_available_after, entry.pending_after AS ledger_pending_after
        FROM ledger_transactions AS entry
        WHERE
            entry.tenant_id = event.tenant_id
            AND entry.player_id = event.player_id
            AND entry.type = event.type
            AND entry.idempotency_key = event.idempotency_key
        UNION ALL
        SELECT
            1, refusal.code, refusal.request_hash = event.request_hash,
            NULL, refusal.reference, refusal.recorded_at, refusal.arbiter, refusal.epoch,
            refusal.legacy_ok, refusal.ledger_ok, refusal.wallet_opened, NULL,
            refusal.legacy_available, refusal.legacy_held, refusal.ledger_available, refusal.ledger_pending
        FROM ledger_refusals AS refusal
        WHERE
            refusal.tenant_id = event.tenant_id
            AND refusal.player_id = event.player_id
            AND refusal.type = event.type
            AND refusal.idempotency_key = event.idempotency_key
        UNION ALL
        SELECT
            1, 'exists', movement.request_hash = event.request_hash,
            movement.id, movement.reference, movement.recorded_at, 'legacy', movement.epoch,
            NULL, NULL, FALSE, NULL,
            movement.legacy_available_after, movement.legacy_held_after, NULL, NULL
        FROM legacy_movements AS movement
        WHERE
            movement.tenant_id = event.tenant_id
            AND movement.player_id = event.player_id
            AND movement.type = event.type
            AND movement.idempotency_key = event.idempotency_key
        UNION ALL
        SELECT
            2, 'exists',
            entry.tenant_id = event.tenant_id AND entry.player_id = event.player_id AND entry.type = event.type
            AND entry.amount = event.amount,
            entry.id, entry.reference, entry.recorded_at, entry.arbiter, entry.epoch,
            NULL, NULL, TRUE, entry.wallet_version,
            entry.legacy_available_after, entry.legacy_held_after, entry.available_after, entry.pending_after
        FROM ledger_transactions AS entry
        WHERE
            event.provider_event_id IS NOT NULL
            AND entry.provider = event.provider
            AND entry.provider_event_id = event.provider_event_id
        UNION ALL
        SELECT
            2, 'exists',
            movement.tenant_id = event.tenant_id AND movement.player_id = event.player_id
            AND movement.type = event.type AND movement.amount = event.amount,
            movement.id, movement.reference, movement.recorded_at, 'legacy', movement.epoch,
            NULL, NULL, FALSE, NULL,
            movement.legacy_available_after, movement.legacy_held_after, NULL, NULL
        FROM legacy_movements AS movement
        WHERE
            event.provider_event_id IS NOT NULL
            AND movement.provider = event.provider
            AND movement.provider_event_id = event.provider_event_id
        ORDER BY strength
        LIMIT 1
    ) AS stored
    WHERE event.wanted
    ORDER BY event.no
$$;

CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused; write a correcting row instead', tg_table_name, tg_op
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE FUNCTION public.uuid_v7() RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    AS $$SELECT uuidv7()$$;

CREATE FUNCTION public.wallet_open_v1(p_tenant_id uuid, p_player_ids uuid[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    v_shadow BOOLEAN;
    v_unopened UUID[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(c_fence_namespace, tenant.number)
    FROM tenants AS tenant
    WHERE tenant.id = p_tenant_id;

    SELECT mode.shadow_write INTO v_shadow FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id;
    IF v_shadow IS NOT TRUE THEN
        RETURN 0;
    END IF;

    PERFORM player.id
    FROM players AS player
    WHERE player.tenant_id = p_tenant_id AND player.id = ANY(p_player_ids)
    ORDER BY player.id
    FOR NO KEY UPDATE;

    -- A statement of its own, after the locks: see ledger_open_wallets_v1.
    SELECT coalesce(array_agg(player.id ORDER BY player.id), '{}') INTO v_unopened
    FROM players AS player
    LEFT JOIN wallet_balances AS wallet
        ON wallet.tenant_id = player.tenant_id
        AND wallet.player_id = player.id
        AND wallet.currency = player.currency
    WHERE player.tenant_id = p_tenant_id AND player.id = ANY(p_player_ids) AND wallet.opened_at IS NULL;

    PERFORM ledger_open_wallets_v1(array_fill(p_tenant_id, ARRAY[cardinality(v_unopened)]), v_unopened);
    RETURN cardinality(v_unopened);
END
$$;

CREATE FUNCTION public.withdrawal_request_v1(p_withdrawal_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_addresses text[], p_idempotency_keys text[], p_request_hashes bytea[]) RETURNS TABLE(event_no integer, code text, is_replay boolean, transaction_id uuid, reference uuid, recorded_at timestamp with time zone, arbiter text, epoch integer, legacy_ok boolean, ledger_ok boolean, wallet_opened boolean, wallet_version bigint, legacy_available_before bigint, legacy_held_before bigint, ledger_available_before bigint, ledger_pending_before bigint, legacy_available_after bigint, legacy_held_after bigint, ledger_available_after bigint, ledger_pending_after bigint)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
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

    SELECT * FROM posted
$$;

CREATE TABLE mockpsp.payments (
    idempotency_key text NOT NULL,
    payment_id text NOT NULL,
    event_id text NOT NULL,
    account_id text NOT NULL,
    reference text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.admins (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid,
    email public.email_address NOT NULL,
    password_hash text NOT NULL,
    role text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT admins_role_check CHECK ((role = ANY (ARRAY['owner'::text, 'tenant_admin'::text, 'finance'::text, 'approver'::text, 'recon'::text, 'viewer'::text]))),
    CONSTRAINT admins_scope_check CHECK (((role = 'owner'::text) = (tenant_id IS NULL)))
);

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.audit_events (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid,
    actor_kind text NOT NULL,
    actor_id uuid,
    actor_label text NOT NULL,
    action text NOT NULL,
    object_kind text NOT NULL,
    object_id text NOT NULL,
    reason text,
    state_before jsonb,
    state_after jsonb,
    request_id text,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT audit_events_actor_kind_check CHECK ((actor_kind = ANY (ARRAY['admin'::text, 'player'::text, 'operator'::text, 'system'::text])))
);

CREATE TABLE public.deposits (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    method text NOT NULL,
    provider text NOT NULL,
    provider_ref text,
    provider_event_id text,
    failure_code text,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT deposits_amount_check CHECK ((amount > 0)),
    CONSTRAINT deposits_state_check CHECK ((state = ANY (ARRAY['pending_provider'::text, 'completed'::text, 'failed'::text])))
)
WITH (fillfactor='90');

CREATE VIEW public.flag_levels AS
SELECT
    NULL::text AS flag,
    NULL::boolean AS default_value,
    NULL::boolean AS is_killed,
    NULL::boolean AS global_value,
    NULL::boolean AS environment_value;

CREATE TABLE public.flag_settings (
    flag text NOT NULL,
    scope text NOT NULL,
    holder text DEFAULT ''::text NOT NULL,
    value boolean NOT NULL,
    reason text,
    set_by text NOT NULL,
    set_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    CONSTRAINT flag_settings_scope_check CHECK ((scope = ANY (ARRAY['environment'::text, 'global'::text, 'provider'::text])))
);

CREATE TABLE public.flags (
    flag text NOT NULL,
    default_value boolean NOT NULL,
    environment_false_wins boolean NOT NULL
);

CREATE TABLE public.ledger_accounts (
    account text NOT NULL,
    belongs_to text NOT NULL,
    snapshot_column text,
    CONSTRAINT ledger_accounts_belongs_to_check CHECK ((belongs_to = ANY (ARRAY['player'::text, 'house'::text]))),
    CONSTRAINT ledger_accounts_snapshot_column_check CHECK ((((belongs_to = 'player'::text) = (snapshot_column IS NOT NULL)) AND (snapshot_column = ANY (ARRAY['balance_real_available'::text, 'balance_real_pending'::text]))))
);

CREATE TABLE public.ledger_mismatches (
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    currency text NOT NULL,
    class text NOT NULL,
    legacy_available bigint NOT NULL,
    legacy_held bigint NOT NULL,
    ledger_available bigint NOT NULL,
    ledger_pending bigint NOT NULL,
    arbiter public.arbiter_side NOT NULL,
    occurrences bigint DEFAULT 1 NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    CONSTRAINT ledger_mismatches_class_check CHECK ((class = ANY (ARRAY['missing_wallet'::text, 'available_diff'::text, 'pending_diff'::text])))
);

CREATE TABLE public.ledger_refusals (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    currency text NOT NULL,
    type text NOT NULL,
    amount bigint NOT NULL,
    code text NOT NULL,
    wallet_opened boolean NOT NULL,
    legacy_available bigint NOT NULL,
    legacy_held bigint NOT NULL,
    ledger_available bigint NOT NULL,
    ledger_pending bigint NOT NULL,
    legacy_ok boolean NOT NULL,
    ledger_ok boolean,
    arbiter public.arbiter_side NOT NULL,
    epoch integer NOT NULL,
    reference uuid,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE public.ledger_transaction_types (
    type text NOT NULL,
    debit_account text NOT NULL,
    credit_account text NOT NULL,
    is_sole boolean NOT NULL,
    needs_provider boolean GENERATED ALWAYS AS (((debit_account ~~ '%{provider}%'::text) OR (credit_account ~~ '%{provider}%'::text))) STORED NOT NULL,
    available_sign smallint NOT NULL,
    pending_sign smallint NOT NULL,
    CONSTRAINT ledger_transaction_types_accounts_check CHECK ((debit_account <> credit_account))
);

CREATE TABLE public.ledger_transactions (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    wallet_version bigint NOT NULL,
    amount bigint NOT NULL,
    available_after bigint NOT NULL,
    pending_after bigint NOT NULL,
    legacy_available_after bigint NOT NULL,
    legacy_held_after bigint NOT NULL,
    reference uuid,
    journal_id uuid,
    occurred_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    epoch integer NOT NULL,
    currency text NOT NULL,
    type text NOT NULL,
    debit_account text NOT NULL,
    credit_account text NOT NULL,
    arbiter public.arbiter_side NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    provider text,
    provider_ref text,
    provider_event_id text,
    metadata jsonb,
    CONSTRAINT ledger_transactions_balanced_check CHECK (((amount > 0) AND (debit_account <> credit_account)))
)
WITH (fillfactor='100');

CREATE TABLE public.legacy_movements (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    currency text NOT NULL,
    type text NOT NULL,
    amount bigint NOT NULL,
    legacy_available_after bigint NOT NULL,
    legacy_held_after bigint NOT NULL,
    epoch integer NOT NULL,
    reference uuid,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    provider text,
    provider_event_id text,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE public.players (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid NOT NULL,
    external_id text,
    email public.email_address NOT NULL,
    username text NOT NULL,
    password_hash text,
    currency public.currency_code NOT NULL,
    kyc_status public.kyc_status DEFAULT 'pending'::text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    balance_real_available bigint DEFAULT 0 NOT NULL,
    balance_real_held bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='80');

CREATE TABLE public.psp_accounts (
    provider text NOT NULL,
    account_id text NOT NULL,
    tenant_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.service_instances (
    number integer NOT NULL,
    app_version text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE public.service_instances ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.service_instances_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.sign_in_failures (
    subject text NOT NULL,
    failures integer NOT NULL,
    window_started_at timestamp with time zone NOT NULL
);

CREATE TABLE public.tenants (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    number integer NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    base_currency public.currency_code NOT NULL,
    flags jsonb DEFAULT '{}'::jsonb NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT tenants_flags_check CHECK (((jsonb_typeof(flags) = 'object'::text) AND (COALESCE((flags -> 'ledger_enforce_override'::text), 'null'::jsonb) = ANY (ARRAY['true'::jsonb, 'false'::jsonb, 'null'::jsonb])))),
    CONSTRAINT tenants_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 200))),
    CONSTRAINT tenants_slug_check CHECK ((slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'::text))
);

CREATE VIEW public.tenant_modes AS
 SELECT tenant_id,
    number,
    epoch,
    shadow_write,
        CASE
            WHEN enforce_balance THEN 'ledger'::text
            ELSE 'legacy'::text
        END AS arbiter,
    enforce_source,
    (enforce_balance AND (NOT shadow_write)) AS is_refused
   FROM ( SELECT tenant.id AS tenant_id,
            tenant.number,
            tenant.epoch,
            platform.shadow_write,
            ((NOT platform.is_killed) AND COALESCE(((tenant.flags ->> 'ledger_enforce_override'::text))::boolean, platform.enforce_balance)) AS enforce_balance,
                CASE
                    WHEN platform.is_killed THEN 'environment_false'::text
                    WHEN ((tenant.flags ->> 'ledger_enforce_override'::text) IS NOT NULL) THEN 'tenant'::text
                    ELSE platform.enforce_source
                END AS enforce_source
           FROM (public.tenants tenant
             CROSS JOIN ( SELECT bool_or(COALESCE(level.global_value, level.environment_value, level.default_value)) FILTER (WHERE (level.flag = 'ledger_shadow_write'::text)) AS shadow_write,
                    bool_or(COALESCE(level.global_value, level.environment_value, level.default_value)) FILTER (WHERE (level.flag = 'ledger_enforce_balance'::text)) AS enforce_balance,
                    bool_or(level.is_killed) FILTER (WHERE (level.flag = 'ledger_enforce_balance'::text)) AS is_killed,
                    max(
                        CASE
                            WHEN (level.global_value IS NOT NULL) THEN 'global'::text
                            WHEN (level.environment_value IS NOT NULL) THEN 'environment'::text
                            ELSE 'default'::text
                        END) FILTER (WHERE (level.flag = 'ledger_enforce_balance'::text)) AS enforce_source
                   FROM public.flag_levels level
                  WHERE (level.flag = ANY (ARRAY['ledger_enforce_balance'::text, 'ledger_shadow_write'::text]))) platform)) mode;

ALTER TABLE public.tenants ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.tenants_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.wallet_balances (
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    currency text NOT NULL,
    balance_real_available bigint DEFAULT 0 NOT NULL,
    balance_real_pending bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    opened_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.withdrawals (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    method text NOT NULL,
    address text NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT withdrawals_amount_check CHECK ((amount > 0)),
    CONSTRAINT withdrawals_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'awaiting_second_approval'::text, 'approved'::text, 'processing'::text, 'paid'::text, 'rejected'::text, 'cancelled'::text, 'failed'::text, 'returned'::text])))
)
WITH (fillfactor='90');

ALTER TABLE ONLY mockpsp.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (idempotency_key);

ALTER TABLE ONLY public.admins
    ADD CONSTRAINT admins_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.deposits
    ADD CONSTRAINT deposits_idempotency_key UNIQUE (tenant_id, player_id, idempotency_key);

ALTER TABLE ONLY public.deposits
    ADD CONSTRAINT deposits_pkey PRIMARY KEY (tenant_id, player_id, id);

ALTER TABLE ONLY public.flag_settings
    ADD CONSTRAINT flag_settings_pkey PRIMARY KEY (flag, scope, holder);

ALTER TABLE ONLY public.flags
    ADD CONSTRAINT flags_pkey PRIMARY KEY (flag);

ALTER TABLE ONLY public.ledger_accounts
    ADD CONSTRAINT ledger_accounts_pkey PRIMARY KEY (account);

ALTER TABLE ONLY public.ledger_mismatches
    ADD CONSTRAINT ledger_mismatches_pkey PRIMARY KEY (tenant_id, player_id, currency, class);

ALTER TABLE ONLY public.ledger_refusals
    ADD CONSTRAINT ledger_refusals_pkey PRIMARY KEY (tenant_id, player_id, type, idempotency_key);

ALTER TABLE ONLY public.ledger_transaction_types
    ADD CONSTRAINT ledger_transaction_types_pkey PRIMARY KEY (type, debit_account, credit_account);

ALTER TABLE ONLY public.ledger_transactions
    ADD CONSTRAINT ledger_transactions_idempotency_key UNIQUE (tenant_id, player_id, type, idempotency_key);

ALTER TABLE ONLY public.ledger_transactions
    ADD CONSTRAINT ledger_transactions_pkey PRIMARY KEY (tenant_id, player_id, currency, wallet_version);

ALTER TABLE ONLY public.legacy_movements
    ADD CONSTRAINT legacy_movements_pkey PRIMARY KEY (tenant_id, player_id, type, idempotency_key);

ALTER TABLE ONLY public.players
    ADD CONSTRAINT players_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.psp_accounts
    ADD CONSTRAINT psp_accounts_pkey PRIMARY KEY (provider, account_id);

ALTER TABLE ONLY public.service_instances
    ADD CONSTRAINT service_instances_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.sign_in_failures
    ADD CONSTRAINT sign_in_failures_pkey PRIMARY KEY (subject);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_number_key UNIQUE (number);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_slug_key UNIQUE (slug);

ALTER TABLE ONLY public.wallet_balances
    ADD CONSTRAINT wallet_balances_pkey PRIMARY KEY (tenant_id, player_id, currency);

ALTER TABLE ONLY public.withdrawals
    ADD CONSTRAINT withdrawals_idempotency_key UNIQUE (tenant_id, player_id, idempotency_key);

ALTER TABLE ONLY public.withdrawals
    ADD CONSTRAINT withdrawals_pkey PRIMARY KEY (tenant_id, player_id, id);

CREATE UNIQUE INDEX admins_email_key ON public.admins USING btree (email);

CREATE INDEX admins_tenant_index ON public.admins USING btree (tenant_id, id DESC);

CREATE INDEX audit_events_object_index ON public.audit_events USING btree (object_kind, object_id, id DESC);

CREATE INDEX audit_events_tenant_index ON public.audit_events USING btree (tenant_id, id DESC);

CREATE INDEX deposits_id_index ON public.deposits USING btree (id);

CREATE INDEX deposits_player_index ON public.deposits USING btree (tenant_id, player_id, created_at DESC, id DESC);

CREATE INDEX ledger_mismatches_recent_index ON public.ledger_mismatches USING btree (tenant_id, last_seen_at);

CREATE INDEX ledger_refusals_recent_index ON public.ledger_refusals USING btree (tenant_id, recorded_at) WHERE (recorded_at IS NOT NULL);

CREATE INDEX ledger_transactions_id_index ON public.ledger_transactions USING btree (id);

CREATE UNIQUE INDEX ledger_transactions_provider_event_key ON public.ledger_transactions USING btree (provider, provider_event_id) WHERE (provider_event_id IS NOT NULL);

CREATE INDEX ledger_transactions_reference_index ON public.ledger_transactions USING btree (reference) WHERE (reference IS NOT NULL);

CREATE UNIQUE INDEX legacy_movements_provider_event_key ON public.legacy_movements USING btree (provider, provider_event_id) WHERE (provider_event_id IS NOT NULL);

CREATE UNIQUE INDEX players_email_key ON public.players USING btree (tenant_id, email);

CREATE UNIQUE INDEX players_external_id_key ON public.players USING btree (tenant_id, external_id) WHERE (external_id IS NOT NULL);

CREATE INDEX players_tenant_index ON public.players USING btree (tenant_id, id DESC);

CREATE INDEX psp_accounts_tenant_index ON public.psp_accounts USING btree (tenant_id, provider, account_id);

CREATE INDEX sign_in_failures_window_index ON public.sign_in_failures USING btree (window_started_at);

CREATE INDEX withdrawals_id_index ON public.withdrawals USING btree (id);

CREATE INDEX withdrawals_player_index ON public.withdrawals USING btree (tenant_id, player_id, created_at DESC, id DESC);

CREATE OR REPLACE VIEW public.flag_levels AS
 SELECT flag.flag,
    flag.default_value,
    (flag.environment_false_wins AND COALESCE(bool_or(((setting.scope = 'environment'::text) AND (NOT setting.value))), false)) AS is_killed,
    bool_and(setting.value) FILTER (WHERE (setting.scope = 'global'::text)) AS global_value,
    bool_and(setting.value) FILTER (WHERE (setting.scope = 'environment'::text)) AS environment_value
   FROM (public.flags flag
     LEFT JOIN public.flag_settings setting ON (((setting.flag = flag.flag) AND (setting.scope = ANY (ARRAY['environment'::text, 'global'::text])) AND ((setting.expires_at IS NULL) OR (setting.expires_at > clock_timestamp())))))
  GROUP BY flag.flag;

CREATE TRIGGER audit_events_append_only BEFORE DELETE OR UPDATE ON public.audit_events FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON public.audit_events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER ledger_refusals_append_only BEFORE DELETE OR UPDATE ON public.ledger_refusals FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER ledger_refusals_no_truncate BEFORE TRUNCATE ON public.ledger_refusals FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER ledger_transactions_append_only BEFORE DELETE OR UPDATE ON public.ledger_transactions FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON public.ledger_transactions FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER legacy_movements_append_only BEFORE DELETE OR UPDATE ON public.legacy_movements FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER legacy_movements_no_truncate BEFORE TRUNCATE ON public.legacy_movements FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

ALTER TABLE ONLY public.admins
    ADD CONSTRAINT admins_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.flag_settings
    ADD CONSTRAINT flag_settings_flag_fkey FOREIGN KEY (flag) REFERENCES public.flags(flag);

ALTER TABLE ONLY public.ledger_transaction_types
    ADD CONSTRAINT ledger_transaction_types_credit_fkey FOREIGN KEY (credit_account) REFERENCES public.ledger_accounts(account);

ALTER TABLE ONLY public.ledger_transaction_types
    ADD CONSTRAINT ledger_transaction_types_debit_fkey FOREIGN KEY (debit_account) REFERENCES public.ledger_accounts(account);

ALTER TABLE ONLY public.players
    ADD CONSTRAINT players_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.psp_accounts
    ADD CONSTRAINT psp_accounts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

GRANT USAGE ON SCHEMA mockpsp TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_capture_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_occurred_ats timestamp with time zone[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_capture_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_occurred_ats timestamp with time zone[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_fail_v1(p_tenant_id uuid, p_player_id uuid, p_deposit_id uuid, p_provider_ref text, p_failure_code text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_fail_v1(p_tenant_id uuid, p_player_id uuid, p_deposit_id uuid, p_provider_ref text, p_failure_code text) TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_open_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_providers text[], p_idempotency_keys text[], p_request_hashes bytea[], p_unverified_caps bigint[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_open_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_providers text[], p_idempotency_keys text[], p_request_hashes bytea[], p_unverified_caps bigint[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.ledger_open_wallets_v1(p_tenant_ids uuid[], p_player_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_post_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ledger_post_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.ledger_replay_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_event_ids text[], p_wanted boolean[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.refuse_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.wallet_open_v1(p_tenant_id uuid, p_player_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.wallet_open_v1(p_tenant_id uuid, p_player_ids uuid[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.withdrawal_request_v1(p_withdrawal_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_addresses text[], p_idempotency_keys text[], p_request_hashes bytea[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.withdrawal_request_v1(p_withdrawal_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_addresses text[], p_idempotency_keys text[], p_request_hashes bytea[]) TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE mockpsp.payments TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.admins TO hakem_service;

GRANT UPDATE(email) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(password_hash) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(role) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(is_active) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(updated_at) ON TABLE public.admins TO hakem_service;

GRANT SELECT ON TABLE public.alembic_version TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.audit_events TO hakem_service;

GRANT SELECT ON TABLE public.deposits TO hakem_service;

GRANT SELECT ON TABLE public.flag_levels TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.flag_settings TO hakem_service;

GRANT SELECT ON TABLE public.flags TO hakem_service;

GRANT SELECT ON TABLE public.ledger_accounts TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE public.ledger_mismatches TO hakem_service;

GRANT SELECT ON TABLE public.ledger_refusals TO hakem_service;

GRANT SELECT ON TABLE public.ledger_transaction_types TO hakem_service;

GRANT SELECT ON TABLE public.ledger_transactions TO hakem_service;

GRANT SELECT ON TABLE public.legacy_movements TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.players TO hakem_service;

GRANT UPDATE(external_id) ON TABLE public.players TO hakem_service;

GRANT UPDATE(email) ON TABLE public.players TO hakem_service;

GRANT UPDATE(username) ON TABLE public.players TO hakem_service;

GRANT UPDATE(password_hash) ON TABLE public.players TO hakem_service;

GRANT UPDATE(kyc_status) ON TABLE public.players TO hakem_service;

GRANT UPDATE(is_active) ON TABLE public.players TO hakem_service;

GRANT UPDATE(updated_at) ON TABLE public.players TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.psp_accounts TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.service_instances TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sign_in_failures TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.tenants TO hakem_service;

GRANT UPDATE(name) ON TABLE public.tenants TO hakem_service;

GRANT UPDATE(updated_at) ON TABLE public.tenants TO hakem_service;

GRANT SELECT ON TABLE public.tenant_modes TO hakem_service;

GRANT SELECT ON TABLE public.wallet_balances TO hakem_service;

GRANT SELECT ON TABLE public.withdrawals TO hakem_service;
