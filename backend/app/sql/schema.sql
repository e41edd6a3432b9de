CREATE SCHEMA mockpsp;

CREATE DOMAIN public.arbiter_side AS text
	CONSTRAINT arbiter_side_check CHECK ((VALUE = ANY (ARRAY['legacy'::text, 'ledger'::text])));

CREATE TYPE public.backfill_judgement_v1 AS (
	player_id uuid,
	currency text,
	legacy_available bigint,
	legacy_held bigint,
	ledger_available bigint,
	ledger_pending bigint,
	outcome text
);

CREATE DOMAIN public.currency_code AS text
	CONSTRAINT currency_code_check CHECK ((VALUE ~ '^[A-Z]{3}$'::text));

CREATE DOMAIN public.email_address AS text
	CONSTRAINT email_address_check CHECK (((VALUE = lower(VALUE)) AND (VALUE ~~ '_%@_%'::text) AND (char_length(VALUE) <= 254)));

CREATE DOMAIN public.kyc_status AS text
	CONSTRAINT kyc_status_check CHECK ((VALUE = ANY (ARRAY['pending'::text, 'verified'::text, 'rejected'::text])));

CREATE TYPE public.ledger_balances_v1 AS (
	is_opened boolean,
	available bigint,
	pending bigint,
	version bigint,
	legacy_available bigint,
	legacy_held bigint,
	moves integer
);

CREATE TYPE public.ledger_event_facts_v1 AS (
	wallet_no integer,
	key_no integer,
	provider_event_no integer,
	is_replay boolean,
	refusal text,
	debit_account text,
	credit_account text,
	available_change bigint,
	pending_change bigint
);

CREATE TYPE public.ledger_result_v1 AS (
	event_no integer,
	code text,
	is_replay boolean,
	transaction_id uuid,
	reference uuid,
	recorded_at timestamp with time zone,
	arbiter text,
	epoch integer,
	legacy_ok boolean,
	ledger_ok boolean,
	wallet_opened boolean,
	wallet_version bigint,
	legacy_available_before bigint,
	legacy_held_before bigint,
	ledger_available_before bigint,
	ledger_pending_before bigint,
	legacy_available_after bigint,
	legacy_held_after bigint,
	ledger_available_after bigint,
	ledger_pending_after bigint
);

CREATE TYPE public.ledger_wallet_facts_v1 AS (
	tenant_id uuid,
	player_id uuid,
	currency text,
	kyc_status text,
	is_active boolean,
	legacy_available bigint,
	legacy_held bigint,
	arbiter text,
	epoch integer,
	shadow_write boolean,
	mode_is_refused boolean
);

CREATE FUNCTION public.adjustment_admin_v1(p_tenant_id uuid, p_admin_id uuid, p_roles text[]) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT EXISTS (
        SELECT
        FROM admins AS admin
        WHERE
            admin.id = p_admin_id
            AND admin.is_active
            AND admin.role = ANY(p_roles)
            AND (admin.tenant_id = p_tenant_id OR admin.role = 'owner')
    )
$$;

CREATE FUNCTION public.uuid_v7() RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    AS $$SELECT uuidv7()$$;

CREATE TABLE public.ledger_adjustments (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    finding_id uuid,
    currency text NOT NULL,
    player_amount bigint NOT NULL,
    clearing_amount bigint NOT NULL,
    provider text,
    closes_kind text,
    closes_id uuid,
    closes_attempt integer,
    reason text NOT NULL,
    status text DEFAULT 'proposed'::text NOT NULL,
    proposed_by uuid NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    decided_by uuid,
    decided_at timestamp with time zone,
    decision_note text,
    journal_id uuid,
    CONSTRAINT ledger_adjustments_amounts_check CHECK (((player_amount <> 0) OR (clearing_amount <> 0))),
    CONSTRAINT ledger_adjustments_closes_check CHECK (((closes_kind = ANY (ARRAY['deposit'::text, 'payout'::text])) AND ((closes_kind IS NULL) = (closes_id IS NULL)) AND ((NOT (closes_kind IS DISTINCT FROM 'payout'::text)) = (closes_attempt IS NOT NULL)))),
    CONSTRAINT ledger_adjustments_four_eyes_check CHECK (((status <> ALL (ARRAY['approved'::text, 'applied'::text])) OR ((decided_by IS NOT NULL) AND (decided_by <> proposed_by)))),
    CONSTRAINT ledger_adjustments_provider_check CHECK (((provider IS NOT NULL) OR ((clearing_amount = 0) AND (closes_kind IS NULL)))),
    CONSTRAINT ledger_adjustments_reason_check CHECK ((btrim(reason) <> ''::text)),
    CONSTRAINT ledger_adjustments_status_check CHECK (((status = ANY (ARRAY['proposed'::text, 'approved'::text, 'applied'::text, 'rejected'::text])) AND ((status = 'proposed'::text) = (decided_by IS NULL)) AND ((decided_by IS NULL) = (decided_at IS NULL))))
);

CREATE FUNCTION public.adjustment_close_v1(p_adjustment public.ledger_adjustments) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_finding reconciliation_findings;
    v_deposit deposits;
    v_code TEXT;
BEGIN
    SELECT finding.* INTO v_finding
    FROM reconciliation_findings AS finding
    WHERE finding.id = p_adjustment.finding_id;
    IF p_adjustment.closes_kind = 'payout' THEN
        SELECT moved.code INTO v_code
        FROM withdrawal_move_v1(
            p_tenant_id => p_adjustment.tenant_id,
            p_player_id => p_adjustment.player_id,
            p_withdrawal_id => p_adjustment.closes_id,
            p_action => 'payout_paid',
            p_expected_version => NULL,
            p_admin_id => NULL,
            p_reason => NULL,
            p_approvals_needed => NULL,
            p_attempt_number => p_adjustment.closes_attempt,
            p_provider => NULL,
            p_account_id => NULL,
            p_evidence_ref => NULL,
            p_provider_ref => v_finding.provider_ref,
            p_provider_event_id => v_finding.provider_event_id,
            p_provider_sequence => NULL,
            p_failure_code => NULL,
            p_occurred_at => clock_timestamp(),
            p_check_after => NULL
        ) AS moved;
        IF v_code <> 'moved' THEN
            RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = v_code;
        END IF;
        RETURN;
    END IF;

    SELECT deposit.* INTO v_deposit
    FROM deposits AS deposit
    WHERE deposit.id = p_adjustment.closes_id AND deposit.tenant_id = p_adjustment.tenant_id
    FOR NO KEY UPDATE;
    IF v_deposit.state <> 'pending_provider' THEN
        RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = 'payment_not_open';
    END IF;
    SELECT posted.code INTO v_code
    FROM deposit_capture_v1(
        p_deposit_ids => ARRAY[v_deposit.id],
        p_tenant_ids => ARRAY[v_deposit.tenant_id],
        p_player_ids => ARRAY[v_deposit.player_id],
        p_currencies => ARRAY[v_deposit.currency],
        p_amounts => ARRAY[v_deposit.amount],
        p_idempotency_keys => ARRAY[v_deposit.idempotency_key],
        p_request_hashes => ARRAY[v_deposit.request_hash],
        p_providers => ARRAY[v_deposit.provider],
        p_provider_refs => ARRAY[coalesce(v_finding.provider_ref, v_deposit.provider_ref)],
        p_provider_event_ids => ARRAY[v_finding.provider_event_id],
        p_provider_sequences => ARRAY[NULL::BIGINT],
        p_occurred_ats => ARRAY[clock_timestamp()]
    ) AS posted;
    IF v_code <> 'applied' THEN
        RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = v_code;
    END IF;
END
$$;

CREATE FUNCTION public.adjustment_decide_v1(p_tenant_id uuid, p_adjustment_id uuid, p_admin_id uuid, p_is_approved boolean, p_note text) RETURNS TABLE(code text, detail text, posted public.ledger_result_v1[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_adjustment ledger_adjustments;
    v_types TEXT[] := '{}';
    v_amounts BIGINT[] := '{}';
    v_debits TEXT[] := '{}';
    v_credits TEXT[] := '{}';
    v_keys TEXT[] := '{}';
    v_clearing TEXT;
    v_lines INTEGER;
    v_journal_id CONSTANT UUID := uuid_v7();
    v_refusal TEXT;
BEGIN
    SELECT adjustment.* INTO v_adjustment
    FROM ledger_adjustments AS adjustment
    WHERE adjustment.id = p_adjustment_id AND adjustment.tenant_id = p_tenant_id
    FOR UPDATE;
    IF NOT FOUND THEN
        code := 'unknown_adjustment';
    ELSIF v_adjustment.status <> 'proposed' THEN
        code := 'already_decided';
        detail := v_adjustment.status;
    ELSIF p_is_approved AND p_admin_id = v_adjustment.proposed_by THEN
        code := 'four_eyes_required';
    ELSIF NOT adjustment_admin_v1(
        p_tenant_id, p_admin_id,
        CASE
            WHEN NOT p_is_approved AND p_admin_id = v_adjustment.proposed_by
                THEN ARRAY['owner', 'tenant_admin', 'finance', 'approver', 'recon']
            ELSE ARRAY['owner', 'tenant_admin', 'finance', 'approver']
        END
    )
    THEN
        code := 'unknown_admin';
    END IF;
    IF code IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    IF NOT p_is_approved THEN
        UPDATE ledger_adjustments
        SET status = 'rejected', decided_by = p_admin_id, decided_at = clock_timestamp(), decision_note = p_note
        WHERE id = p_adjustment_id;
        code := 'rejected';
        RETURN NEXT;
        RETURN;
    END IF;

    v_clearing := 'psp:' || v_adjustment.provider || ':clearing';
    IF v_adjustment.clearing_amount <> 0 THEN
        v_types := v_types || 'clearing_adjustment'::TEXT;
        v_amounts := v_amounts || abs(v_adjustment.clearing_amount);
        v_keys := v_keys || ('adj_' || p_adjustment_id);
        v_debits := v_debits || CASE WHEN v_adjustment.clearing_amount > 0 THEN v_clearing ELSE 'house:adjustment' END;
        v_credits := v_credits || CASE WHEN v_adjustment.clearing_amount > 0 THEN 'house:adjustment' ELSE v_clearing END;
    END IF;
    IF v_adjustment.player_amount <> 0 THEN
        v_types := v_types || 'manual_adjustment'::TEXT;
        v_amounts := v_amounts || abs(v_adjustment.player_amount);
        v_keys := v_keys || ('adj_' || p_adjustment_id);
        v_debits := v_debits
            || CASE WHEN v_adjustment.player_amount > 0 THEN 'house:adjustment'::TEXT ELSE 'player:available' END;
        v_credits := v_credits
            || CASE WHEN v_adjustment.player_amount > 0 THEN 'player:available'::TEXT ELSE 'house:adjustment' END;
    END IF;
    v_lines := cardinality(v_types);

    -- What the door refuses it keeps under its key for good; a proposal that is approved later has to be judged anew.
    -- So all of this is undone together when one part does not go through.
    BEGIN
        UPDATE ledger_adjustments
        SET status = 'approved', decided_by = p_admin_id, decided_at = clock_timestamp(), decision_note = p_note
        WHERE id = p_adjustment_id;
        IF v_adjustment.closes_id IS NOT NULL THEN
            PERFORM adjustment_close_v1(v_adjustment);
        END IF;
        SELECT array_agg(result ORDER BY result.event_no) INTO posted
        FROM ledger_post_v1(
            p_tenant_ids => array_fill(p_tenant_id, ARRAY[v_lines]),
            p_player_ids => array_fill(v_adjustment.player_id, ARRAY[v_lines]),
            p_currencies => array_fill(v_adjustment.currency, ARRAY[v_lines]),
            p_types => v_types,
            p_amounts => v_amounts,
            p_idempotency_keys => v_keys,
            p_request_hashes => array_fill(sha256(convert_to('adj_' || p_adjustment_id, 'UTF8')), ARRAY[v_lines]),
            p_references => array_fill(p_adjustment_id, ARRAY[v_lines]),
            p_providers => array_fill(v_adjustment.provider, ARRAY[v_lines]),
            p_provider_refs => array_fill(NULL::TEXT, ARRAY[v_lines]),
            p_provider_event_ids => array_fill(NULL::TEXT, ARRAY[v_lines]),
            p_debit_accounts => v_debits,
            p_credit_accounts => v_credits,
            p_journal_ids => CASE WHEN v_lines > 1 THEN array_fill(v_journal_id, ARRAY[v_lines]) END,
            p_occurred_ats => NULL,
            p_by_player => NULL,
            p_metadata => NULL
        ) AS result;
        FOR v_line IN 1 .. v_lines LOOP
            IF (posted[v_line]).code <> 'applied' THEN
                v_refusal := coalesce(v_refusal, nullif((posted[v_line]).code, 'journal_refused'));
            END IF;
        END LOOP;
        IF v_refusal IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'HK001', MESSAGE = v_refusal;
        END IF;
        UPDATE ledger_adjustments
        SET status = 'applied', journal_id = CASE WHEN v_lines > 1 THEN v_journal_id END
        WHERE id = p_adjustment_id;
    EXCEPTION
        WHEN SQLSTATE 'HK001' THEN
            code := 'refused';
            detail := SQLERRM;
            posted := NULL;
            RETURN NEXT;
            RETURN;
    END;
    code := 'applied';
    RETURN NEXT;
END
$$;

CREATE FUNCTION public.adjustment_propose_v1(p_tenant_id uuid, p_player_id uuid, p_finding_id uuid, p_player_amount bigint, p_clearing_amount bigint, p_provider text, p_closes_kind text, p_closes_id uuid, p_closes_attempt integer, p_reason text, p_admin_id uuid) RETURNS TABLE(code text, adjustment_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_currency TEXT;
BEGIN
    IF NOT adjustment_admin_v1(p_tenant_id, p_admin_id, ARRAY['owner', 'tenant_admin', 'finance', 'recon']) THEN
        code := 'unknown_admin';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT player.currency INTO v_currency
    FROM players AS player
    WHERE player.id = p_player_id AND player.tenant_id = p_tenant_id;
    IF NOT FOUND THEN
        code := 'unknown_player';
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_finding_id IS NOT NULL AND NOT EXISTS (
        SELECT
        FROM reconciliation_findings AS finding
        WHERE finding.id = p_finding_id AND finding.tenant_id = p_tenant_id
    )
    THEN
        code := 'unknown_finding';
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_closes_kind = 'deposit' AND NOT EXISTS (
        SELECT
        FROM deposits AS deposit
        WHERE
            deposit.tenant_id = p_tenant_id
            AND deposit.player_id = p_player_id
            AND deposit.id = p_closes_id
            AND deposit.state = 'pending_provider'
    )
    OR p_closes_kind = 'payout' AND NOT EXISTS (
        SELECT
        FROM payout_attempts AS attempt
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_closes_id
            AND attempt.number = p_closes_attempt
            AND attempt.next_check_at IS NOT NULL
    )
    THEN
        code := 'payment_not_open';
        RETURN NEXT;
        RETURN;
    END IF;

    INSERT INTO ledger_adjustments (
        tenant_id, player_id, finding_id, currency, player_amount, clearing_amount, provider, closes_kind, closes_id,
        closes_attempt, reason, proposed_by, proposed_at
    )
    VALUES (
        p_tenant_id, p_player_id, p_finding_id, v_currency, p_player_amount, p_clearing_amount, p_provider, p_closes_kind,
        p_closes_id, p_closes_attempt, p_reason, p_admin_id, clock_timestamp()
    )
    ON CONFLICT (closes_kind, closes_id) WHERE closes_id IS NOT NULL AND status <> 'rejected' DO NOTHING
    RETURNING id INTO adjustment_id;
    code := CASE WHEN adjustment_id IS NULL THEN 'already_proposed' ELSE 'proposed' END;
    RETURN NEXT;
END
$$;

CREATE FUNCTION public.backfill_chunk_v1(p_run_id uuid, p_lease_token bigint, p_rows integer, p_currencies text, p_rows_per_second integer, p_error_code text, p_error_detail text) RETURNS TABLE(code text, phase text, scanned bigint, created bigint, skipped_exists bigint, updated_forced bigint, errors bigint, differing bigint, unexplained_holds bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '500ms'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    c_rows_max CONSTANT INTEGER := 50000;

    v_run BACKFILL_RUNS;
    v_mode RECORD;
    v_group RECORD;
    v_page UUID[];
    v_ids UUID[];
    v_wanted UUID[] := '{}';
    v_done UUID[];
    v_opened UUID[];
    v_locked UUID[] := '{}';
    v_verified INTEGER;
    -- What was decided about whom, and which of them changed something or have to be shown.
    v_open BACKFILL_JUDGEMENT_V1[];
    v_forced BACKFILL_JUDGEMENT_V1[];
    v_noted BACKFILL_JUDGEMENT_V1[];
    v_rest BACKFILL_JUDGEMENT_V1[];
    v_skipped INTEGER := 0;
    v_short UUID[];
BEGIN
    IF p_rows NOT BETWEEN 1 AND c_rows_max THEN
        RAISE EXCEPTION 'backfill_chunk takes 1 to % players', c_rows_max USING ERRCODE = 'program_limit_exceeded';
    END IF;

    -- 0. Lease.
    SELECT run.* INTO v_run
    FROM backfill_runs AS run
    WHERE run.id = p_run_id AND run.lease_token = p_lease_token AND run.state = 'running'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 'lease_lost';
        RETURN NEXT;
        RETURN;
    END IF;

    -- 1. Fence.
    PERFORM pg_advisory_xact_lock_shared(c_fence_namespace, tenant.number)
    FROM tenants AS tenant
    WHERE tenant.id = v_run.tenant_id;

    -- 2. Arbiter.
    SELECT mode.arbiter, mode.epoch, mode.shadow_write, mode.is_refused INTO v_mode
    FROM tenant_modes AS mode
    WHERE mode.tenant_id = v_run.tenant_id;
    code := CASE
        WHEN v_mode.arbiter <> v_run.arbiter OR v_mode.epoch <> v_run.epoch THEN 'arbiter_changed'
        WHEN v_mode.is_refused OR NOT v_mode.shadow_write THEN 'shadow_off'
        ELSE 'worked'
    END;
    IF code <> 'worked' THEN
        RETURN NEXT;
        RETURN;
    END IF;

    -- 3. Which.
    SELECT next.page, next.ids INTO v_page, v_ids FROM backfill_next_v1(v_run, p_rows, p_currencies) AS next;

    IF v_page IS NULL THEN
        -- The phase is over. The next one begins from the lowest key, up to the highest there is now.
        v_run.phase := CASE v_run.phase WHEN 'scan' THEN 'sweep' WHEN 'sweep' THEN 'deferred' ELSE 'done' END;
        v_run.checkpoint := NULL;
        IF v_run.phase = 'sweep' THEN
            SELECT player.id INTO v_run.upper_id
            FROM players AS player
            WHERE player.tenant_id = v_run.tenant_id
            ORDER BY player.id DESC
            LIMIT 1;
        END IF;
    ELSIF p_error_code IS NOT NULL THEN
        SELECT array_agg(
            ROW(
                judged.player_id, judged.currency, judged.legacy_available, judged.legacy_held,
                judged.ledger_available, judged.ledger_pending, p_error_code
            )::BACKFILL_JUDGEMENT_V1
        )
        INTO v_noted
        FROM backfill_judge_v1(v_run.tenant_id, v_ids, p_currencies, v_run.arbiter, FALSE) AS judged;
    ELSE
        -- A wallet that is open stays open: what a repeated run finds done is counted without a lock.
        SELECT
            coalesce(array_agg(player.id ORDER BY player.id) FILTER (WHERE is_done.is_done IS NOT TRUE), '{}'),
            array_agg(player.id) FILTER (WHERE is_done.is_done)
        INTO v_wanted, v_done
        FROM unnest(v_ids) AS turn (player_id)
        INNER JOIN players AS player ON player.id = turn.player_id AND player.tenant_id = v_run.tenant_id
        LEFT JOIN wallet_balances AS wallet
            ON wallet.tenant_id = player.tenant_id
            AND wallet.player_id = player.id
            AND wallet.currency = player.currency
        CROSS JOIN LATERAL (
            SELECT
                wallet.opened_at IS NOT NULL
                AND (
                    v_run.mode = 'open'
                    OR (
                        wallet.balance_real_available = player.balance_real_available
                        AND wallet.balance_real_pending = player.balance_real_held
                    )
                ) AS is_done
        ) AS is_done;
        IF v_done IS NOT NULL THEN
            SELECT
                array_agg(judged) FILTER (WHERE judged.outcome <> 'skipped_exists'),
                count(*) FILTER (WHERE judged.outcome = 'skipped_exists')
            INTO v_noted, v_skipped
            FROM backfill_judge_v1(v_run.tenant_id, v_done, p_currencies, v_run.arbiter, FALSE) AS judged;
        END IF;
    END IF;

    -- 4. Lock.
    IF v_page IS NOT NULL AND v_run.phase = 'deferred' THEN
        PERFORM player.id
        FROM (SELECT wanted.id FROM unnest(v_wanted) AS wanted (id) ORDER BY wanted.id) AS wanted
        CROSS JOIN LATERAL (
            SELECT candidate.id
            FROM players AS candidate
            WHERE candidate.id = wanted.id AND candidate.tenant_id = v_run.tenant_id
            FOR NO KEY UPDATE
        ) AS player;
        v_locked := v_wanted;
        DELETE FROM backfill_deferred AS deferred
        WHERE deferred.run_id = v_run.id AND deferred.player_id = ANY(v_ids);
    ELSIF cardinality(v_wanted) > 0 THEN
        SELECT coalesce(array_agg(player.id), '{}') INTO v_locked
        FROM unnest(v_wanted) AS wanted (id)
        CROSS JOIN LATERAL (
            SELECT candidate.id
            FROM players AS candidate
            WHERE candidate.id = wanted.id AND candidate.tenant_id = v_run.tenant_id
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS player;
        IF cardinality(v_locked) < cardinality(v_wanted) THEN
            INSERT INTO backfill_deferred (run_id, player_id)
            SELECT v_run.id, passed.id
            FROM (SELECT unnest(v_wanted) AS id EXCEPT SELECT unnest(v_locked)) AS passed;
        END IF;
    END IF;

    -- 5. Judge again, open, force.
    IF cardinality(v_locked) > 0 THEN
        SELECT
            array_agg(judged) FILTER (WHERE judged.outcome = 'created'),
            array_agg(judged) FILTER (WHERE judged.outcome = 'updated_forced'),
            array_agg(judged) FILTER (WHERE judged.outcome NOT IN ('created', 'updated_forced', 'skipped_exists')),
            v_skipped + count(*) FILTER (WHERE judged.outcome = 'skipped_exists')
        INTO v_open, v_forced, v_rest, v_skipped
        FROM backfill_judge_v1(
            v_run.tenant_id, v_locked, p_currencies, v_run.arbiter, v_run.mode = 'force'
        ) AS judged;
        v_noted := v_noted || v_rest;
    END IF;

    IF v_open IS NOT NULL THEN
        SELECT array_agg(judged.player_id ORDER BY judged.player_id) INTO v_opened FROM unnest(v_open) AS judged;
        PERFORM opened.player_id
        FROM ledger_open_wallets_v1(array_fill(v_run.tenant_id, ARRAY[cardinality(v_opened)]), v_opened) AS opened;
        -- 6. Verify, by reading what was written: the wallet and the last row of its ledger say what
        -- the legacy column said under the lock.
        SELECT count(*) INTO v_verified
        FROM unnest(v_open) AS judged
        -- OFFSET 0: one look-up a player, also in a plan that was made while the tables were empty.
        CROSS JOIN LATERAL (
            SELECT
                wallet.balance_real_available,
                wallet.balance_real_pending,
                wallet.version
            FROM wallet_balances AS wallet
            WHERE
                wallet.tenant_id = v_run.tenant_id
                AND wallet.player_id = judged.player_id
                AND wallet.currency = judged.currency
                AND wallet.opened_at IS NOT NULL
            OFFSET 0
        ) AS wallet
        LEFT JOIN LATERAL (
            SELECT
                entry.available_after,
                entry.pending_after
            FROM ledger_transactions AS entry
            WHERE
                entry.tenant_id = v_run.tenant_id
                AND entry.player_id = judged.player_id
                AND entry.currency = judged.currency
                AND entry.wallet_version = wallet.version
            OFFSET 0
        ) AS entry ON TRUE
        WHERE
            wallet.balance_real_available = judged.legacy_available
            AND wallet.balance_real_pending = judged.legacy_held
            AND coalesce(entry.available_after, 0) = wallet.balance_real_available
            AND coalesce(entry.pending_after, 0) = wallet.balance_real_pending;
        IF v_verified <> cardinality(v_opened) THEN
            RAISE EXCEPTION 'of % wallets opened, only % are right: none was kept', cardinality(v_opened), v_verified
                USING ERRCODE = 'data_exception';
        END IF;
        FOR v_group IN
            SELECT
                judged.currency,
                count(*) AS players,
                sum(judged.legacy_available) AS available,
                sum(judged.legacy_held) AS held
            FROM unnest(v_open) AS judged
            GROUP BY judged.currency
        LOOP
            v_run.money := v_run.money || jsonb_build_object(v_group.currency, jsonb_build_object(
                'players',
                coalesce((v_run.money #>> ARRAY[v_group.currency, 'players'])::BIGINT, 0) + v_group.players,
                'available',
                coalesce((v_run.money #>> ARRAY[v_group.currency, 'available'])::NUMERIC, 0) + v_group.available,
                'held',
                coalesce((v_run.money #>> ARRAY[v_group.currency, 'held'])::NUMERIC, 0) + v_group.held
            ));
        END LOOP;
    END IF;

    IF v_forced IS NOT NULL THEN
        IF v_run.updated_forced + cardinality(v_forced) > v_run.rows_max THEN
            RAISE EXCEPTION 'the run may force % wallets and has come to more', v_run.rows_max
                USING ERRCODE = 'configuration_limit_exceeded';
        END IF;
        IF v_run.arbiter = 'ledger' THEN
            PERFORM legacy_repair_v1(v_forced, v_run);
        ELSE
            SELECT ledger_adjust_wallets_v1(
                v_run.tenant_id, array_agg(judged.player_id), v_run.id, v_run.reason
            )
            INTO v_short
            FROM unnest(v_forced) AS judged;
        END IF;
        v_run.updated_forced := v_run.updated_forced + cardinality(v_forced);
        v_run.unexplained_holds := v_run.unexplained_holds + coalesce(cardinality(v_short), 0);
    END IF;

    IF v_noted IS NOT NULL OR v_forced IS NOT NULL THEN
        PERFORM backfill_note_v1(v_run, v_noted, v_forced, v_short, p_error_detail);
        FOR v_group IN
            SELECT noted.outcome, count(*) AS players FROM unnest(v_noted) AS noted GROUP BY noted.outcome
        LOOP
            IF v_group.outcome = 'differs' THEN
                v_run.differing := v_run.differing + v_group.players;
                v_run.skipped_exists := v_run.skipped_exists + v_group.players;
            ELSE
                v_run.errors := v_run.errors + v_group.players;
                v_run.error_counts := v_run.error_counts || jsonb_build_object(
                    v_group.outcome, coalesce((v_run.error_counts ->> v_group.outcome)::BIGINT, 0) + v_group.players
                );
            END IF;
        END LOOP;
    END IF;

    v_run.created := v_run.created + coalesce(cardinality(v_open), 0);
    v_run.skipped_exists := v_run.skipped_exists + v_skipped;
    -- Whoever was passed over counts when the turn comes.
    v_run.scanned := v_run.created + v_run.skipped_exists + v_run.updated_forced + v_run.errors;
    UPDATE backfill_runs AS run
    SET
        phase = v_run.phase,
        upper_id = v_run.upper_id,
        checkpoint = CASE
            WHEN v_page IS NULL OR v_run.phase = 'deferred' THEN v_run.checkpoint
            WHEN v_run.phase = 'sweep' AND cardinality(v_ids) = p_rows THEN v_ids[p_rows]
            ELSE v_page[cardinality(v_page)]
        END,
        scanned = v_run.scanned,
        created = v_run.created,
        skipped_exists = v_run.skipped_exists,
        updated_forced = v_run.updated_forced,
        errors = v_run.errors,
        differing = v_run.differing,
        unexplained_holds = v_run.unexplained_holds,
        error_counts = v_run.error_counts,
        money = v_run.money,
        rows_per_second = p_rows_per_second,
        updated_at = clock_timestamp()
    WHERE run.id = v_run.id;

    phase := v_run.phase;
    scanned := v_run.scanned;
    created := v_run.created;
    skipped_exists := v_run.skipped_exists;
    updated_forced := v_run.updated_forced;
    errors := v_run.errors;
    differing := v_run.differing;
    unexplained_holds := v_run.unexplained_holds;
    RETURN NEXT;
END
$$;

CREATE FUNCTION public.backfill_judge_v1(p_tenant_id uuid, p_player_ids uuid[], p_currencies text, p_arbiter text, p_is_forced boolean) RETURNS SETOF public.backfill_judgement_v1
    LANGUAGE sql STABLE
    AS $$
    SELECT
        player.id,
        player.currency::TEXT,
        player.balance_real_available,
        player.balance_real_held,
        wallet.available,
        wallet.pending,
        CASE
            WHEN wallet.available = player.balance_real_available AND wallet.pending = player.balance_real_held
                THEN 'skipped_exists'
            WHEN wallet.available IS NOT NULL AND NOT p_is_forced THEN 'differs'
            WHEN wallet.available IS NOT NULL AND p_arbiter = 'ledger' THEN
                CASE
                    WHEN EXISTS (
                        SELECT
                        FROM ledger_fold_v1(player.tenant_id, player.id, player.currency) AS folded
                        WHERE
                            (folded.available, folded.pending, folded.version)
                            IS DISTINCT FROM (wallet.available, wallet.pending, wallet.version)
                    ) THEN 'snapshot_not_fold'
                    ELSE 'updated_forced'
                END
            -- From here on the legacy balance is what the wallet would get.
            WHEN strpos(p_currencies, player.currency) = 0 THEN 'unknown_currency'
            WHEN least(player.balance_real_available, player.balance_real_held) < 0 THEN 'negative_balance'
            -- What no entrance of ours takes either (AMOUNT_MINOR_MAX): not money but somebody's mistake.
            WHEN greatest(player.balance_real_available, player.balance_real_held) > 1000000000000000
                THEN 'balance_too_large'
            WHEN wallet.available IS NOT NULL THEN 'updated_forced'
            WHEN wallet.has_money_elsewhere THEN 'other_currency'
            ELSE 'created'
        END
    FROM unnest(p_player_ids) AS wanted (player_id)
    INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = p_tenant_id
    -- One look-up for all of a player's wallets; nulls when none in the player's currency is opened.
    CROSS JOIN LATERAL (
        SELECT
            max(candidate.balance_real_available) FILTER (WHERE is_own.is_own) AS available,
            max(candidate.balance_real_pending) FILTER (WHERE is_own.is_own) AS pending,
            max(candidate.version) FILTER (WHERE is_own.is_own) AS version,
            bool_or(
                candidate.currency <> player.currency
                AND (candidate.balance_real_available <> 0 OR candidate.balance_real_pending <> 0)
            ) AS has_money_elsewhere
        FROM wallet_balances AS candidate
        CROSS JOIN LATERAL (
            SELECT candidate.currency = player.currency AND candidate.opened_at IS NOT NULL AS is_own
        ) AS is_own
        WHERE candidate.tenant_id = player.tenant_id AND candidate.player_id = player.id
    ) AS wallet
    -- Keeps the outcome from being worked out again at each place that asks for it.
    OFFSET 0
$$;

CREATE TABLE public.backfill_runs (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid NOT NULL,
    mode text NOT NULL,
    state text DEFAULT 'running'::text NOT NULL,
    phase text DEFAULT 'scan'::text NOT NULL,
    reason text,
    actor_kind text NOT NULL,
    actor_id uuid,
    actor_label text NOT NULL,
    runner text NOT NULL,
    lease_token bigint DEFAULT 1 NOT NULL,
    batch_size integer NOT NULL,
    rows_max bigint NOT NULL,
    arbiter public.arbiter_side NOT NULL,
    epoch integer NOT NULL,
    upper_id uuid,
    checkpoint uuid,
    players_total bigint NOT NULL,
    scanned bigint DEFAULT 0 NOT NULL,
    created bigint DEFAULT 0 NOT NULL,
    skipped_exists bigint DEFAULT 0 NOT NULL,
    updated_forced bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    differing bigint DEFAULT 0 NOT NULL,
    unexplained_holds bigint DEFAULT 0 NOT NULL,
    error_counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    money jsonb DEFAULT '{}'::jsonb NOT NULL,
    rows_per_second integer,
    throttled_by text,
    error text,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT backfill_runs_mode_check CHECK ((mode = ANY (ARRAY['open'::text, 'force'::text]))),
    CONSTRAINT backfill_runs_phase_check CHECK ((phase = ANY (ARRAY['scan'::text, 'sweep'::text, 'deferred'::text, 'done'::text]))),
    CONSTRAINT backfill_runs_state_check CHECK ((state = ANY (ARRAY['running'::text, 'completed'::text, 'stopped'::text, 'refused'::text, 'failed'::text, 'abandoned'::text])))
)
WITH (fillfactor='50');

CREATE FUNCTION public.backfill_next_v1(p_run public.backfill_runs, p_rows integer, p_currencies text, OUT page uuid[], OUT ids uuid[]) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
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

CREATE FUNCTION public.backfill_note_v1(p_run public.backfill_runs, p_noted public.backfill_judgement_v1[], p_forced public.backfill_judgement_v1[], p_short uuid[], p_detail text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    c_kept_max CONSTANT INTEGER := 1000;
    v_now TIMESTAMPTZ := clock_timestamp();
BEGIN
    INSERT INTO ledger_mismatches AS known (
        tenant_id, player_id, currency, class, legacy_available, legacy_held, ledger_available, ledger_pending, arbiter,
        first_seen_at, last_seen_at
    )
    SELECT
        p_run.tenant_id,
        seen.player_id,
        seen.currency,
        CASE WHEN seen.legacy_available <> seen.ledger_available THEN 'available_diff' ELSE 'pending_diff' END,
        seen.legacy_available,
        seen.legacy_held,
        seen.ledger_available,
        seen.ledger_pending,
        p_run.arbiter,
        v_now,
        v_now
    FROM unnest(p_noted || p_forced) AS seen
    WHERE seen.outcome IN ('differs', 'updated_forced', 'snapshot_not_fold')
    -- One order for all who keep evidence: two of them cannot deadlock.
    ORDER BY seen.player_id
    ON CONFLICT ON CONSTRAINT ledger_mismatches_pkey DO UPDATE
    SET
        legacy_available = excluded.legacy_available,
        legacy_held = excluded.legacy_held,
        ledger_available = excluded.ledger_available,
        ledger_pending = excluded.ledger_pending,
        arbiter = excluded.arbiter,
        occurrences = known.occurrences + 1,
        last_seen_at = excluded.last_seen_at;

    INSERT INTO backfill_errors (
        run_id, player_id, code, currency, legacy_available, legacy_held, ledger_available, ledger_pending, detail
    )
    SELECT
        p_run.id,
        kept.player_id,
        kept.code,
        kept.currency,
        kept.legacy_available,
        kept.legacy_held,
        kept.ledger_available,
        kept.ledger_pending,
        p_detail
    FROM (
        SELECT
            seen.*,
            CASE seen.outcome WHEN 'updated_forced' THEN 'held_below_withdrawals' ELSE seen.outcome END AS code,
            row_number() OVER (PARTITION BY seen.outcome = 'differs' ORDER BY seen.player_id) AS position
        FROM unnest(p_noted || p_forced) AS seen
        WHERE seen.outcome <> 'updated_forced' OR seen.player_id = ANY(p_short)
    ) AS kept
    WHERE kept.position + (
        SELECT count(*)
        FROM backfill_errors AS earlier
        WHERE earlier.run_id = p_run.id AND (earlier.code = 'differs') = (kept.outcome = 'differs')
    ) <= c_kept_max
    ON CONFLICT ON CONSTRAINT backfill_errors_pkey DO NOTHING;
END
$$;

CREATE FUNCTION public.deposit_capture_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_provider_sequences bigint[], p_occurred_ats timestamp with time zone[]) RETURNS SETOF public.ledger_result_v1
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
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

CREATE FUNCTION public.deposit_check_v1(p_deposit_id uuid, p_checks integer, p_next_check_at timestamp with time zone) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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
    status_class text,
    provider_sequence bigint,
    next_check_at timestamp with time zone,
    checks integer DEFAULT 0 NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT deposits_amount_check CHECK ((amount > 0)),
    CONSTRAINT deposits_state_check CHECK ((state = ANY (ARRAY['pending_provider'::text, 'completed'::text, 'failed'::text, 'refunded'::text]))),
    CONSTRAINT deposits_status_class_check CHECK ((status_class = ANY (ARRAY['pending'::text, 'success'::text, 'failed'::text, 'reversed'::text])))
)
WITH (fillfactor='90');

CREATE FUNCTION public.deposit_lock_v1(p_deposit_ids uuid[]) RETURNS SETOF public.deposits
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    SELECT deposit.*
    FROM deposits AS deposit
    WHERE deposit.id = ANY(p_deposit_ids)
    ORDER BY deposit.id
    FOR NO KEY UPDATE
$$;

CREATE FUNCTION public.deposit_open_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_providers text[], p_idempotency_keys text[], p_request_hashes bytea[], p_unverified_caps bigint[], p_first_check_after interval) RETURNS TABLE(event_no integer, code text, deposit_id uuid, state text, provider text, provider_ref text, provider_event_id text, failure_code text, created_at timestamp with time zone, updated_at timestamp with time zone, deposited_today bigint)
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

CREATE FUNCTION public.deposit_record_v1(p_deposit_id uuid, p_is_failed boolean, p_provider_ref text, p_failure_code text, p_status_class text, p_provider_sequence bigint) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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

CREATE FUNCTION public.deposit_refund_v1(p_deposit_id uuid, p_provider_event_id text, p_provider_sequence bigint, p_request_hash bytea, p_occurred_at timestamp with time zone) RETURNS SETOF public.ledger_result_v1
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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

CREATE FUNCTION public.ensure_adjustment_approved() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM ledger_adjustments AS adjustment
        WHERE
            adjustment.id = NEW.reference
            AND adjustment.tenant_id = NEW.tenant_id
            AND adjustment.player_id = NEW.player_id
            AND adjustment.currency = NEW.currency
            AND adjustment.status = 'approved'
            AND NEW.amount = abs(
                CASE NEW.type
                    WHEN 'manual_adjustment' THEN adjustment.player_amount
                    ELSE adjustment.clearing_amount
                END
            )
            AND (NEW.debit_account = 'house:adjustment') = (
                CASE NEW.type
                    WHEN 'manual_adjustment' THEN adjustment.player_amount > 0
                    ELSE adjustment.clearing_amount < 0
                END
            )
    )
    THEN
        RAISE EXCEPTION 'a transaction of type % needs an approved adjustment', NEW.type
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_transactions_adjustment_approved';
    END IF;
    RETURN NULL;
END
$$;

CREATE TABLE public.reconciliation_findings (
    id uuid NOT NULL,
    provider text NOT NULL,
    tenant_id uuid NOT NULL,
    player_id uuid,
    tx_id uuid,
    provider_event_id text,
    provider_ref text,
    finding_type text NOT NULL,
    severity text NOT NULL,
    status text DEFAULT 'OPEN'::text NOT NULL,
    message text NOT NULL,
    evidence jsonb NOT NULL,
    evidence_hash bytea NOT NULL,
    fingerprint bytea NOT NULL,
    run_id uuid,
    resolution_code text,
    resolution_note text,
    resolved_by uuid,
    resolved_at timestamp with time zone,
    occurrences bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    account_id text,
    item_id text,
    transaction_id uuid,
    assigned_to uuid,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT reconciliation_findings_severity_check CHECK ((severity = ANY (ARRAY['critical'::text, 'high'::text, 'medium'::text, 'low'::text]))),
    CONSTRAINT reconciliation_findings_status_check CHECK ((((status = 'OPEN'::text) AND (resolved_at IS NULL)) OR ((status = 'RESOLVED'::text) AND (resolved_at IS NOT NULL))))
);

CREATE FUNCTION public.finding_stays_v1(p_finding public.reconciliation_findings, p_evidence_hash bytea) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT
        p_finding.status = 'OPEN'
        OR (p_finding.evidence_hash = p_evidence_hash AND p_finding.resolution_code IS DISTINCT FROM 'AUTO_CLEARED')
$$;

CREATE FUNCTION public.flag_effective_v1(p_tenant_id uuid, p_provider text) RETURNS TABLE(flag text, value boolean, source text, own_value boolean, reason text, set_by text, set_at timestamp with time zone, expires_at timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
    WITH own AS (
        SELECT
            setting.flag,
            setting.value
        FROM flag_settings AS setting
        WHERE
            (
                (
                    setting.scope = 'tenant'
                    AND setting.holder = p_tenant_id::TEXT
                    -- Of these two the tenant's row has the word; what is kept here only says where it came from.
                    AND setting.flag NOT IN ('ledger_enforce_balance', 'ledger_shadow_write')
                )
                OR (setting.scope = 'provider' AND setting.holder = p_provider)
            )
            AND (setting.expires_at IS NULL OR setting.expires_at > clock_timestamp())
        UNION ALL
        SELECT
            ledger.flag,
            ledger.value
        FROM tenants AS tenant
        CROSS JOIN LATERAL (VALUES
            ('ledger_enforce_balance', (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN),
            ('ledger_shadow_write', (tenant.flags ->> 'ledger_shadow_override')::BOOLEAN)
        ) AS ledger (flag, value)
        WHERE tenant.id = p_tenant_id AND ledger.value IS NOT NULL
    ),

    judged AS (
        SELECT
            level.flag,
            NOT level.is_killed
            AND coalesce(own.value, level.global_value, level.environment_value, level.default_value) AS value,
            CASE
                WHEN level.is_killed THEN 'environment_false'
                WHEN own.value IS NOT NULL
                    THEN CASE level.flag WHEN 'webhook_signature_enforced' THEN 'provider' ELSE 'tenant' END
                WHEN level.global_value IS NOT NULL THEN 'global'
                WHEN level.environment_value IS NOT NULL THEN 'environment'
                ELSE 'default'
            END AS source,
            own.value AS own_value
        FROM flag_levels AS level
        LEFT JOIN own ON own.flag = level.flag
    )

    SELECT
        judged.flag,
        judged.value,
        judged.source,
        judged.own_value,
        said.reason,
        said.set_by,
        said.set_at,
        said.expires_at
    FROM judged
    LEFT JOIN LATERAL (
        SELECT
            setting.reason,
            setting.set_by,
            setting.set_at,
            setting.expires_at
        FROM flag_settings AS setting
        WHERE
            setting.flag = judged.flag
            AND setting.value = judged.value
            AND CASE judged.source
                WHEN 'tenant' THEN setting.scope = 'tenant' AND setting.holder = p_tenant_id::TEXT
                WHEN 'provider' THEN setting.scope = 'provider' AND setting.holder = p_provider
                WHEN 'global' THEN setting.scope = 'global'
                WHEN 'default' THEN FALSE
                ELSE setting.scope = 'environment'
            END
        -- Of several processes that say the same, the one that has said it longest.
        ORDER BY setting.set_at, setting.holder
        LIMIT 1
    ) AS said ON TRUE
    ORDER BY judged.flag
$$;

CREATE FUNCTION public.flag_write_v1(p_flag text, p_scope text, p_holder text, p_value boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_before RECORD;
BEGIN
    DELETE FROM flag_settings AS setting
    WHERE setting.flag = p_flag AND setting.scope = p_scope AND setting.holder = p_holder
    RETURNING setting.value, setting.expires_at INTO v_before;
    IF p_value IS NOT NULL THEN
        INSERT INTO flag_settings (flag, scope, holder, value, reason, set_by, expires_at)
        VALUES (p_flag, p_scope, p_holder, p_value, p_reason, p_actor ->> 'label', p_expires_at);
    END IF;

    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after,
        request_id, client_address
    )
    VALUES (
        CASE p_scope WHEN 'tenant' THEN p_holder::UUID END,
        p_actor ->> 'kind',
        (p_actor ->> 'id')::UUID,
        p_actor ->> 'label',
        'flag.changed',
        'flag',
        p_flag,
        p_reason,
        jsonb_build_object('value', v_before.value, 'expires_at', v_before.expires_at),
        jsonb_build_object('scope', p_scope, 'holder', p_holder, 'value', p_value, 'expires_at', p_expires_at),
        p_actor ->> 'request_id',
        p_actor ->> 'client_address'
    );
END
$$;

CREATE FUNCTION public.job_defer_v1(p_name text, p_arguments jsonb, p_lock text, p_not_before timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'procrastinate', 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (procrastinate_defer_jobs_v1(ARRAY[
        ROW(p_name, p_name, 0, p_lock, NULL, p_arguments, p_not_before)::procrastinate_job_to_defer_v1
    ]))[1];
END
$$;

CREATE FUNCTION public.job_prune_v1(p_statuses text[], p_ended_before timestamp with time zone, p_limit integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'procrastinate', 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    pruned INTEGER;
BEGIN
    DELETE FROM procrastinate_jobs AS job
    WHERE job.id IN (
        SELECT finished.id
        FROM procrastinate_jobs AS finished
        WHERE
            finished.status = ANY(p_statuses::procrastinate_job_status[])
            AND NOT EXISTS (
                SELECT
                FROM procrastinate_events AS event
                WHERE event.job_id = finished.id AND event.at > p_ended_before
            )
        ORDER BY finished.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END
$$;

CREATE FUNCTION public.job_take_up_v1(p_id bigint, p_worker_id bigint, p_is_last boolean) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'procrastinate', 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM FROM procrastinate_jobs AS job
    WHERE job.id = p_id AND job.status = 'doing' AND job.worker_id IS NOT DISTINCT FROM p_worker_id
    FOR UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    IF p_is_last THEN
        PERFORM procrastinate_finish_job_v1(p_id, 'failed', FALSE);
        RETURN 'failed';
    END IF;
    BEGIN
        PERFORM procrastinate_retry_job_v2(p_id, NULL, NULL, NULL, NULL);
        RETURN 'queued';
    EXCEPTION WHEN unique_violation THEN
        -- The next tick of a periodic job waits already, and would wait for ever for this one's lock.
        PERFORM procrastinate_finish_job_v1(p_id, 'aborted', FALSE);
        RETURN 'superseded';
    END;
END
$$;

CREATE FUNCTION public.ledger_adjust_wallets_v1(p_tenant_id uuid, p_player_ids uuid[], p_run_id uuid, p_reason text) RETURNS uuid[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_now TIMESTAMPTZ := clock_timestamp();
    v_short UUID[];
BEGIN
    WITH adjusted AS MATERIALIZED (
        SELECT
            player.id AS player_id,
            player.currency,
            player.balance_real_available,
            player.balance_real_held,
            folded.available AS folded_available,
            folded.pending AS folded_pending,
            folded.version,
            explained.amount AS explained,
            mode.arbiter,
            mode.epoch
        FROM unnest(p_player_ids) AS wanted (player_id)
        INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = p_tenant_id
        CROSS JOIN LATERAL ledger_fold_v1(player.tenant_id, player.id, player.currency) AS folded
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(withdrawal.amount), 0)::BIGINT AS amount
            FROM withdrawals AS withdrawal
            WHERE
                withdrawal.tenant_id = player.tenant_id
                AND withdrawal.player_id = player.id
                AND withdrawal.currency = player.currency
                AND withdrawal.state IN ('requested', 'awaiting_second_approval', 'approved', 'processing', 'failed')
        ) AS explained
        CROSS JOIN (
            SELECT
                candidate.arbiter,
                candidate.epoch
            FROM tenant_modes AS candidate
            WHERE candidate.tenant_id = p_tenant_id
        ) AS mode
    ),

    lines AS MATERIALIZED (
        SELECT
            adjusted.*,
            side.component,
            side.difference,
            CASE
                WHEN
                    side.component = 'held'
                    AND side.difference > 0
                    AND adjusted.balance_real_held > adjusted.explained
                    THEN uuid_v7()
            END AS hold_id,
            row_number() OVER (PARTITION BY adjusted.player_id ORDER BY side.component) AS line,
            sum(side.difference * (side.component = 'available')::INTEGER)
                OVER (PARTITION BY adjusted.player_id ORDER BY side.component) AS available_moved,
            sum(side.difference * (side.component = 'held')::INTEGER)
                OVER (PARTITION BY adjusted.player_id ORDER BY side.component) AS pending_moved
        FROM adjusted
        CROSS JOIN LATERAL (VALUES
            ('available', adjusted.balance_real_available - adjusted.folded_available),
            ('held', adjusted.balance_real_held - adjusted.folded_pending)
        ) AS side (component, difference)
        WHERE side.difference <> 0
    ),

    holds AS (
        INSERT INTO withdrawals (
            id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key, request_hash,
            created_at, updated_at
        )
        SELECT
            line.hold_id, p_tenant_id, line.player_id, line.balance_real_held - line.explained, line.currency,
            'requested', 'legacy_hold', '', 'backfill:' || p_run_id || ':held', '\x', v_now, v_now
        FROM lines AS line
        WHERE line.hold_id IS NOT NULL
    ),

    entries AS (
        INSERT INTO ledger_transactions (
            id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
            legacy_held_after, reference, journal_id, occurred_at, recorded_at, epoch, currency, type, debit_account,
            credit_account, arbiter, idempotency_key, request_hash, metadata
        )
        SELECT
            uuid_v7(),
            p_tenant_id,
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
            'backfill_adjustment',
            CASE WHEN line.difference > 0 THEN 'house:adjustment' ELSE 'player:' || line.component END,
            CASE WHEN line.difference > 0 THEN 'player:' || line.component ELSE 'house:adjustment' END,
            line.arbiter,
            'backfill:' || p_run_id || ':' || line.component,
            '\x',
            jsonb_build_object('reason', p_reason, 'run_id', p_run_id)
        FROM lines AS line
    )

    UPDATE wallet_balances AS wallet
    SET
        balance_real_available = adjusted.balance_real_available,
        balance_real_pending = adjusted.balance_real_held,
        version = adjusted.version
        + (adjusted.balance_real_available <> adjusted.folded_available)::INTEGER
        + (adjusted.balance_real_held <> adjusted.folded_pending)::INTEGER,
        updated_at = v_now
    FROM adjusted
    WHERE
        wallet.tenant_id = p_tenant_id
        AND wallet.player_id = adjusted.player_id
        AND wallet.currency = adjusted.currency;

    SELECT coalesce(array_agg(player.id ORDER BY player.id), '{}') INTO v_short
    FROM unnest(p_player_ids) AS wanted (player_id)
    INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = p_tenant_id
    WHERE
        player.balance_real_held < (
            SELECT sum(withdrawal.amount)
            FROM withdrawals AS withdrawal
            WHERE
                withdrawal.tenant_id = player.tenant_id
                AND withdrawal.player_id = player.id
                AND withdrawal.currency = player.currency
                AND withdrawal.state IN ('requested', 'awaiting_second_approval', 'approved', 'processing', 'failed')
        );
    RETURN v_short;
END
$$;

CREATE FUNCTION public.ledger_event_line_v1(p_type text, p_provider text, p_debit_account text, p_credit_account text) RETURNS TABLE(debit_account text, credit_account text, available_sign smallint, pending_sign smallint)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        replace(type.debit_account, '{provider}', coalesce(p_provider, '')),
        replace(type.credit_account, '{provider}', coalesce(p_provider, '')),
        type.available_sign,
        type.pending_sign
    FROM ledger_transaction_types AS type
    WHERE
        type.type = p_type
        AND (p_provider IS NOT NULL OR NOT type.needs_provider)
        AND (
            (type.is_sole AND p_debit_account IS NULL AND p_credit_account IS NULL)
            OR (
                replace(type.debit_account, '{provider}', coalesce(p_provider, '')) = p_debit_account
                AND replace(type.credit_account, '{provider}', coalesce(p_provider, '')) = p_credit_account
            )
        )
$$;

CREATE FUNCTION public.ledger_event_refusal_v1(p_wallet public.ledger_wallet_facts_v1, p_debit_account text, p_credit_account text, p_available_sign smallint, p_amount bigint, p_currency text, p_by_player boolean) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN p_wallet.arbiter IS NULL OR p_wallet.currency IS NULL THEN 'unknown_player'
        WHEN p_wallet.mode_is_refused THEN 'mode_refused'
        WHEN p_debit_account IS NULL OR p_credit_account IS NULL OR p_amount <= 0 THEN 'invalid_event'
        WHEN p_currency <> p_wallet.currency THEN 'currency_mismatch'
        WHEN p_by_player AND NOT p_wallet.is_active THEN 'player_disabled'
        WHEN p_by_player AND p_available_sign < 0 AND p_wallet.kyc_status <> 'verified' THEN 'kyc_required'
        -- So small that no sum of a balance and an amount can overflow and abort its neighbours.
        WHEN p_amount > 1000000000000000000 THEN 'balance_out_of_range'
    END
$$;

CREATE FUNCTION public.ledger_fold_v1(p_tenant_id uuid, p_player_id uuid, p_currency text) RETURNS TABLE(available bigint, pending bigint, version bigint)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        coalesce(sum(entry.amount * type.available_sign), 0)::BIGINT,
        coalesce(sum(entry.amount * type.pending_sign), 0)::BIGINT,
        coalesce(max(entry.wallet_version), 0)
    FROM ledger_transactions AS entry
    INNER JOIN ledger_transaction_types AS type
        ON type.type = entry.type
        AND replace(type.debit_account, '{provider}', coalesce(entry.provider, '')) = entry.debit_account
        AND replace(type.credit_account, '{provider}', coalesce(entry.provider, '')) = entry.credit_account
    WHERE
        entry.tenant_id = p_tenant_id
        AND entry.player_id = p_player_id
        AND entry.currency = p_currency
$$;

CREATE FUNCTION public.ledger_in_range_v1(p_available bigint, p_pending bigint, p_legacy_available bigint, p_legacy_held bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT
        p_available BETWEEN -4000000000000000000 AND 4000000000000000000
        AND p_pending BETWEEN -4000000000000000000 AND 4000000000000000000
        AND p_legacy_available BETWEEN -4000000000000000000 AND 4000000000000000000
        AND p_legacy_held BETWEEN -4000000000000000000 AND 4000000000000000000
$$;

CREATE FUNCTION public.ledger_is_covered_v1(p_available_after bigint, p_pending_after bigint, p_available_change bigint, p_pending_change bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT (p_available_change >= 0 OR p_available_after >= 0) AND (p_pending_change >= 0 OR p_pending_after >= 0)
$$;

CREATE FUNCTION public.ledger_key_stored_v1(p_tenant_id uuid, p_player_id uuid, p_type text, p_idempotency_key text) RETURNS TABLE(is_stored boolean)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        EXISTS (
            SELECT
            FROM ledger_transactions AS entry
            WHERE
                entry.tenant_id = p_tenant_id
                AND entry.player_id = p_player_id
                AND entry.type = p_type
                AND entry.idempotency_key = p_idempotency_key
        )
        OR EXISTS (
            SELECT
            FROM ledger_refusals AS refusal
            WHERE
                refusal.tenant_id = p_tenant_id
                AND refusal.player_id = p_player_id
                AND refusal.type = p_type
                AND refusal.idempotency_key = p_idempotency_key
        )
        OR EXISTS (
            SELECT
            FROM legacy_movements AS movement
            WHERE
                movement.tenant_id = p_tenant_id
                AND movement.player_id = p_player_id
                AND movement.type = p_type
                AND movement.idempotency_key = p_idempotency_key
        )
$$;

CREATE FUNCTION public.ledger_load_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_providers text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_by_player boolean[], OUT events public.ledger_event_facts_v1[], OUT wallets public.ledger_wallet_facts_v1[], OUT balances public.ledger_balances_v1[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_count CONSTANT INTEGER := cardinality(p_tenant_ids);
    v_no INTEGER;
    v_first_no INTEGER;
BEGIN
    -- Players, in key order. The lateral sub-select runs once per key, so rows are locked in exactly that order.
    WITH modes AS MATERIALIZED (
        SELECT
            mode.tenant_id,
            mode.arbiter,
            mode.epoch,
            mode.shadow_write,
            mode.is_refused
        FROM tenant_modes AS mode
        WHERE mode.tenant_id = ANY(p_tenant_ids)
    )

    SELECT array_agg(
        ROW(
            wanted.tenant_id, wanted.player_id, player.currency, player.kyc_status, player.is_active,
            player.balance_real_available, player.balance_real_held, mode.arbiter, mode.epoch, mode.shadow_write,
            mode.is_refused
        )::LEDGER_WALLET_FACTS_V1
        ORDER BY wanted.tenant_id, wanted.player_id
    )
    INTO wallets
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
    LEFT JOIN modes AS mode ON mode.tenant_id = wanted.tenant_id;

    -- Wallets. A new statement: one that was written while a player's lock was waited for is seen now. They need no row
    -- lock of their own: every writer holds the player's, and the door's update is guarded by the version read here.
    SELECT array_agg(
        ROW(
            wallet.opened_at IS NOT NULL,
            coalesce(wallet.balance_real_available, 0),
            coalesce(wallet.balance_real_pending, 0),
            coalesce(wallet.version, 0),
            key.legacy_available,
            key.legacy_held,
            0
        )::LEDGER_BALANCES_V1
        ORDER BY key.ordinality
    )
    INTO balances
    FROM unnest(wallets) WITH ORDINALITY AS key
    LEFT JOIN wallet_balances AS wallet
        ON wallet.tenant_id = key.tenant_id
        AND wallet.player_id = key.player_id
        AND wallet.currency = key.currency;

    -- Events.
    SELECT array_agg(
        ROW(
            event.wallet_no,
            event.key_no,
            NULL,
            key.is_stored OR provider_event.is_stored,
            ledger_event_refusal_v1(
                wallets[event.wallet_no], line.debit_account, line.credit_account, line.available_sign,
                p_amounts[event.no], p_currencies[event.no], p_by_player[event.no]
            ),
            line.debit_account,
            line.credit_account,
            line.available_sign * greatest(p_amounts[event.no], 0),
            line.pending_sign * greatest(p_amounts[event.no], 0)
        )::LEDGER_EVENT_FACTS_V1
        ORDER BY event.no
    )
    INTO events
    FROM (
        SELECT
            series.no,
            dense_rank() OVER (ORDER BY p_tenant_ids[series.no], p_player_ids[series.no])::INTEGER AS wallet_no,
            min(series.no) OVER (
                PARTITION BY
                    p_tenant_ids[series.no],
                    p_player_ids[series.no],
                    p_types[series.no],
                    p_idempotency_keys[series.no]
            ) AS key_no
        FROM generate_series(1, v_count) AS series (no)
    ) AS event
    LEFT JOIN LATERAL (
        SELECT *
        FROM ledger_event_line_v1(
            p_types[event.no], p_providers[event.no], p_debit_accounts[event.no], p_credit_accounts[event.no]
        )
        LIMIT 1
    ) AS line ON TRUE
    CROSS JOIN LATERAL ledger_key_stored_v1(
        p_tenant_ids[event.no], p_player_ids[event.no], p_types[event.no], p_idempotency_keys[event.no]
    ) AS key
    CROSS JOIN LATERAL ledger_provider_event_stored_v1(
        p_providers[event.no], p_provider_event_ids[event.no]
    ) AS provider_event;

    IF cardinality(array_remove(p_provider_event_ids, NULL)) > 0 THEN
        FOR v_no, v_first_no IN
            SELECT
                event.no,
                min(event.no) OVER (PARTITION BY event.provider, event.provider_event_id)
            FROM unnest(p_providers, p_provider_event_ids) WITH ORDINALITY AS event (provider, provider_event_id, no)
            -- An id says nothing without the provider that gave it.
            WHERE event.provider IS NOT NULL AND event.provider_event_id IS NOT NULL
        LOOP
            events[v_no].provider_event_no := v_first_no;
        END LOOP;
    END IF;
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
    -- Once for the call: as a view joined to each player it would be worked out for each player.
    WITH modes AS MATERIALIZED (
        SELECT
            mode.tenant_id,
            mode.arbiter,
            mode.epoch
        FROM tenant_modes AS mode
        WHERE mode.tenant_id = ANY(p_tenant_ids)
    ),

    unopened AS MATERIALIZED (
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
            so_far.version,
            player.balance_real_available - so_far.available AS available_difference,
            player.balance_real_held - so_far.pending AS held_difference,
            wallet.player_id IS NOT NULL AS has_row
        FROM unnest(p_tenant_ids, p_player_ids) AS wanted (tenant_id, player_id)
        INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = wanted.tenant_id
        LEFT JOIN wallet_balances AS wallet
            ON wallet.tenant_id = player.tenant_id
            AND wallet.player_id = player.id
            AND wallet.currency = player.currency
        CROSS JOIN LATERAL ledger_fold_v1(player.tenant_id, player.id, player.currency) AS so_far
        INNER JOIN modes AS mode ON mode.tenant_id = player.tenant_id
        WHERE wallet.opened_at IS NULL
    ),

    -- One line per side that differs from what the ledger says so far; `line` orders them within the wallet, and what has
    -- moved is counted up to the line.
    lines AS MATERIALIZED (
        SELECT
            unopened.*,
            side.component,
            side.difference,
            CASE WHEN side.component = 'held' AND side.difference > 0 THEN uuid_v7() END AS hold_id,
            side.line,
            side.available_moved,
            side.pending_moved
        FROM unopened
        CROSS JOIN LATERAL (VALUES
            ('available', unopened.available_difference, 1, unopened.available_difference, 0),
            (
                'held', unopened.held_difference, 1 + (unopened.available_difference <> 0)::INTEGER,
                unopened.available_difference, unopened.held_difference
            )
        ) AS side (component, difference, line, available_moved, pending_moved)
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
    ),

    -- A row that is there already. Apart from the others, which nobody else can have inserted under the player's lock:
    -- inserting costs less when it need not reckon with that. Not as an UPDATE: a plan made for an empty table would read
    -- all of it to find these few.
    reopened AS (
        INSERT INTO wallet_balances (
            tenant_id, player_id, currency, balance_real_available, balance_real_pending, version, opened_at, updated_at
        )
        SELECT
            unopened.tenant_id,
            unopened.player_id,
            unopened.currency,
            unopened.balance_real_available,
            unopened.balance_real_held,
            unopened.version + (unopened.available_difference <> 0)::INTEGER + (unopened.held_difference <> 0)::INTEGER,
            v_now,
            v_now
        FROM unopened
        WHERE unopened.has_row
        ON CONFLICT ON CONSTRAINT wallet_balances_pkey DO UPDATE
        SET
            balance_real_available = excluded.balance_real_available,
            balance_real_pending = excluded.balance_real_pending,
            version = excluded.version,
            opened_at = excluded.opened_at,
            updated_at = excluded.updated_at
    )

    INSERT INTO wallet_balances (
        tenant_id, player_id, currency, balance_real_available, balance_real_pending, version, opened_at, updated_at
    )
    SELECT
        unopened.tenant_id,
        unopened.player_id,
        unopened.currency,
        unopened.balance_real_available,
        unopened.balance_real_held,
        unopened.version + (unopened.available_difference <> 0)::INTEGER + (unopened.held_difference <> 0)::INTEGER,
        v_now,
        v_now
    FROM unopened
    WHERE NOT unopened.has_row;

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

CREATE FUNCTION public.ledger_post_many_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) RETURNS SETOF public.ledger_result_v1
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    -- Far below BIGINT's end, so that no sum of a balance and an amount can overflow and abort its neighbours.
    c_balance_max CONSTANT BIGINT := 4000000000000000000;

    v_count CONSTANT INTEGER := cardinality(p_tenant_ids);
    v_now TIMESTAMPTZ;

    -- What is known: by event, in the order given; by wallet, in key order. Balances run with the decisions.
    v_events LEDGER_EVENT_FACTS_V1[];
    v_journal_ends INTEGER[];
    v_wallets LEDGER_WALLET_FACTS_V1[];
    v_balances LEDGER_BALANCES_V1[];

    -- What was decided, and which wallets moved.
    v_applied LEDGER_RESULT_V1[];
    v_refused LEDGER_RESULT_V1[];
    v_moved INTEGER[];
    v_snapshots_moved INTEGER := 0;
    v_replays BOOLEAN[];

    -- The journal in hand.
    v_first INTEGER;
    v_last INTEGER := 0;
    v_event LEDGER_EVENT_FACTS_V1;
    v_wallet LEDGER_WALLET_FACTS_V1;
    v_before LEDGER_BALANCES_V1;
    v_after LEDGER_BALANCES_V1;
    v_opened RECORD;
    v_code TEXT;
    v_known INTEGER;
    v_refused_no INTEGER;
    v_legacy_ok BOOLEAN;
    v_ledger_ok BOOLEAN;
    v_available_moved BIGINT;
    v_pending_moved BIGINT;
    v_result LEDGER_RESULT_V1;
    v_written INTEGER;
BEGIN
    -- 2, 3 and 5.
    SELECT
        loaded.wallets,
        loaded.balances,
        loaded.events
    INTO v_wallets, v_balances, v_events
    FROM ledger_load_v1(
        p_tenant_ids, p_player_ids, p_currencies, p_types, p_amounts, p_idempotency_keys, p_providers,
        p_provider_event_ids, p_debit_accounts, p_credit_accounts, p_by_player
    ) AS loaded;
    IF p_journal_ids IS NOT NULL THEN
        SELECT array_agg(line.last_no ORDER BY line.no) INTO v_journal_ends
        FROM (
            SELECT
                series.no,
                max(series.no) OVER (
                    PARTITION BY
                        p_journal_ids[series.no],
                        (v_events[series.no]).wallet_no,
                        CASE WHEN p_journal_ids[series.no] IS NULL THEN series.no END
                ) AS last_no
            FROM generate_series(1, v_count) AS series (no)
        ) AS line;
    END IF;

    -- After the last wait, so that recorded_at follows wallet_version.
    v_now := clock_timestamp();

    -- 6. Decide, journal by journal.
    WHILE v_last < v_count LOOP
        v_first := v_last + 1;
        v_last := greatest(v_journal_ends[v_first], v_first);

        -- Answered before, or by this very call. A journal is answered as a whole: if some of its lines are known and some
        -- are not, it is another journal than the one they were posted in, and the new lines are refused.
        v_known := 0;
        FOR v_no IN v_first .. v_last LOOP
            v_event := v_events[v_no];
            IF v_event.is_replay OR v_event.key_no < v_first OR v_event.provider_event_no < v_first THEN
                IF v_event.is_replay OR EXISTS (
                    SELECT
                    FROM unnest(v_applied || v_refused) AS stored
                    WHERE
                        v_events[stored.event_no].key_no = v_event.key_no
                        -- A refusal binds its key, and not the provider's event: under another key that is decided anew.
                        OR (
                            stored.code = 'applied'
                            AND v_events[stored.event_no].provider_event_no = v_event.provider_event_no
                        )
                )
                THEN
                    v_replays := coalesce(v_replays, array_fill(FALSE, ARRAY[v_count]));
                    v_replays[v_no] := TRUE;
                    v_known := v_known + 1;
                END IF;
            END IF;
        END LOOP;
        CONTINUE WHEN v_known = v_last - v_first + 1;

        v_event := v_events[v_first];
        v_wallet := v_wallets[v_event.wallet_no];
        v_before := v_balances[v_event.wallet_no];
        v_code := CASE WHEN v_known > 0 THEN 'journal_refused' ELSE v_event.refusal END;
        v_refused_no := v_first;
        WHILE v_code IS NULL AND v_refused_no < v_last LOOP
            v_refused_no := v_refused_no + 1;
            v_code := CASE
                WHEN v_events[v_refused_no].wallet_no <> v_event.wallet_no
                    OR p_journal_ids[v_refused_no] IS DISTINCT FROM p_journal_ids[v_first]
                    -- Two lines of one journal under one key or provider event.
                    OR EXISTS (
                        SELECT
                        FROM generate_series(v_first, v_refused_no - 1) AS line (no)
                        WHERE
                            v_events[line.no].key_no = v_events[v_refused_no].key_no
                            OR v_events[line.no].provider_event_no = v_events[v_refused_no].provider_event_no
                    ) THEN 'invalid_event'
                ELSE v_events[v_refused_no].refusal
            END;
        END LOOP;

        IF v_code IS NULL AND NOT ledger_in_range_v1(
            v_before.available, v_before.pending, v_before.legacy_available, v_before.legacy_held
        )
        THEN
            v_refused_no := v_first;
            v_code := 'balance_out_of_range';
        END IF;

        -- 4. Open. In an enforced tenant a debit on an unopened wallet fails closed; a credit opens it first.
        IF v_code IS NULL AND v_wallet.shadow_write AND NOT v_before.is_opened THEN
            IF v_wallet.arbiter = 'legacy' OR NOT EXISTS (
                SELECT
                FROM generate_series(v_first, v_last) AS line (no)
                WHERE v_events[line.no].available_change < 0 OR v_events[line.no].pending_change < 0
            )
            THEN
                SELECT * INTO v_opened
                FROM ledger_open_wallets_v1(ARRAY[v_wallet.tenant_id], ARRAY[v_wallet.player_id]) AS opened
                WHERE opened.currency = v_wallet.currency;
                v_before.is_opened := TRUE;
                v_before.available := v_opened.balance_real_available;
                v_before.pending := v_opened.balance_real_pending;
                v_before.version := v_opened.version;
                v_balances[v_event.wallet_no] := v_before;
            END IF;
        END IF;

        -- Both verdicts, over the running balances of the journal's lines; only the arbiter's counts.
        v_legacy_ok := NULL;
        v_ledger_ok := NULL;
        IF v_code IS NULL THEN
            v_legacy_ok := TRUE;
            v_ledger_ok := v_before.is_opened;
            v_available_moved := 0;
            v_pending_moved := 0;
            FOR v_no IN v_first .. v_last LOOP
                v_event := v_events[v_no];
                v_available_moved := v_available_moved + v_event.available_change;
                v_pending_moved := v_pending_moved + v_event.pending_change;
                IF greatest(abs(v_available_moved), abs(v_pending_moved)) > c_balance_max THEN
                    v_refused_no := v_no;
                    v_code := 'balance_out_of_range';
                    EXIT;
                END IF;
                v_legacy_ok := v_legacy_ok AND ledger_is_covered_v1(
                    v_before.legacy_available + v_available_moved, v_before.legacy_held + v_pending_moved,
                    v_event.available_change, v_event.pending_change
                );
                v_ledger_ok := v_ledger_ok AND ledger_is_covered_v1(
                    v_before.available + v_available_moved, v_before.pending + v_pending_moved,
                    v_event.available_change, v_event.pending_change
                );
                IF v_code IS NULL
                    AND NOT (CASE v_wallet.arbiter WHEN 'ledger' THEN v_ledger_ok ELSE v_legacy_ok END)
                THEN
                    v_refused_no := v_no;
                    v_code := CASE
                        WHEN v_event.available_change < 0 THEN 'insufficient_funds'
                        WHEN v_event.pending_change < 0 AND v_before.is_opened THEN 'insufficient_held'
                        ELSE 'insufficient_funds'
                    END;
                END IF;
            END LOOP;
            IF NOT v_wallet.shadow_write THEN
                -- What is not written has no verdict.
                v_ledger_ok := NULL;
            END IF;
        END IF;

        IF v_code IS NOT NULL THEN
            -- Refused: no balance changes. Only a verdict on funds is evidence and is stored.
            FOR v_no IN v_first .. v_last LOOP
                CONTINUE WHEN v_replays[v_no];
                v_result := ROW(
                    v_no, CASE WHEN v_no = v_refused_no THEN v_code ELSE 'journal_refused' END, FALSE, NULL,
                    p_references[v_no], v_now, v_wallet.arbiter, v_wallet.epoch, v_legacy_ok, v_ledger_ok,
                    v_before.is_opened, NULL,
                    v_before.legacy_available, v_before.legacy_held, v_before.available, v_before.pending,
                    v_before.legacy_available, v_before.legacy_held, v_before.available, v_before.pending
                )::LEDGER_RESULT_V1;
                IF v_code IN ('insufficient_funds', 'insufficient_held') THEN
                    v_refused := v_refused || v_result;
                END IF;
                RETURN NEXT v_result;
            END LOOP;
            CONTINUE;
        END IF;

        -- From here on the journal is accepted.
        v_after := v_before;
        FOR v_no IN v_first .. v_last LOOP
            v_event := v_events[v_no];
            IF v_wallet.shadow_write THEN
                v_after.available := v_after.available + v_event.available_change;
                v_after.pending := v_after.pending + v_event.pending_change;
                v_after.version := v_after.version + 1;
            END IF;
            IF v_wallet.arbiter = 'ledger' THEN
                -- Enforced: the legacy column follows the snapshot, whatever stood in it.
                v_after.legacy_available := v_after.available;
                v_after.legacy_held := v_after.pending;
            ELSE
                v_after.legacy_available := v_after.legacy_available + v_event.available_change;
                v_after.legacy_held := v_after.legacy_held + v_event.pending_change;
            END IF;
            v_result := ROW(
                v_no, 'applied', FALSE, uuid_v7(), p_references[v_no], v_now, v_wallet.arbiter, v_wallet.epoch,
                v_legacy_ok, v_ledger_ok, v_after.is_opened, v_after.version,
                v_before.legacy_available, v_before.legacy_held, v_before.available, v_before.pending,
                v_after.legacy_available, v_after.legacy_held, v_after.available, v_after.pending
            )::LEDGER_RESULT_V1;
            v_applied := v_applied || v_result;
            RETURN NEXT v_result;
        END LOOP;
        IF v_after.moves = 0 THEN
            v_moved := v_moved || v_event.wallet_no;
            v_snapshots_moved := v_snapshots_moved + v_wallet.shadow_write::INTEGER;
        END IF;
        v_after.moves := v_after.moves + v_last - v_first + 1;
        v_balances[v_event.wallet_no] := v_after;
    END LOOP;

    -- Write: rows, snapshots, legacy columns, in this one transaction.
    IF v_applied IS NOT NULL THEN
        INSERT INTO ledger_transactions (
            id, tenant_id, player_id, wallet_version, amount, available_after, pending_after,
            legacy_available_after, legacy_held_after, reference, journal_id, occurred_at, recorded_at, epoch,
            currency, type, debit_account, credit_account, arbiter, idempotency_key, request_hash, provider,
            provider_ref, provider_event_id, metadata
        )
        SELECT
            result.transaction_id,
            p_tenant_ids[result.event_no],
            p_player_ids[result.event_no],
            result.wallet_version,
            p_amounts[result.event_no],
            result.ledger_available_after,
            result.ledger_pending_after,
            result.legacy_available_after,
            result.legacy_held_after,
            result.reference,
            p_journal_ids[result.event_no],
            coalesce(p_occurred_ats[result.event_no], v_now),
            v_now,
            result.epoch,
            p_currencies[result.event_no],
            p_types[result.event_no],
            v_events[result.event_no].debit_account,
            v_events[result.event_no].credit_account,
            result.arbiter,
            p_idempotency_keys[result.event_no],
            p_request_hashes[result.event_no],
            p_providers[result.event_no],
            p_provider_refs[result.event_no],
            p_provider_event_ids[result.event_no],
            p_metadata[result.event_no]
        FROM unnest(v_applied) AS result
        WHERE v_wallets[v_events[result.event_no].wallet_no].shadow_write;
        GET DIAGNOSTICS v_written = ROW_COUNT;

        -- What was not written there moved while shadow writing is off.
        IF v_written < cardinality(v_applied) THEN
            INSERT INTO legacy_movements (
                id, tenant_id, player_id, currency, type, amount, legacy_available_after, legacy_held_after, epoch,
                reference, idempotency_key, request_hash, provider, provider_event_id, recorded_at
            )
            SELECT
                result.transaction_id,
                p_tenant_ids[result.event_no],
                p_player_ids[result.event_no],
                p_currencies[result.event_no],
                p_types[result.event_no],
                p_amounts[result.event_no],
                result.legacy_available_after,
                result.legacy_held_after,
                result.epoch,
                result.reference,
                p_idempotency_keys[result.event_no],
                p_request_hashes[result.event_no],
                p_providers[result.event_no],
                p_provider_event_ids[result.event_no],
                v_now
            FROM unnest(v_applied) AS result
            WHERE NOT v_wallets[v_events[result.event_no].wallet_no].shadow_write;
        END IF;

        UPDATE wallet_balances AS wallet
        SET
            balance_real_available = v_balances[moved.no].available,
            balance_real_pending = v_balances[moved.no].pending,
            version = v_balances[moved.no].version,
            updated_at = v_now
        FROM unnest(v_moved) AS moved (no)
        WHERE
            wallet.tenant_id = v_wallets[moved.no].tenant_id
            AND wallet.player_id = v_wallets[moved.no].player_id
            AND wallet.currency = v_wallets[moved.no].currency
            AND wallet.version = v_balances[moved.no].version - v_balances[moved.no].moves
            AND v_wallets[moved.no].shadow_write;
        GET DIAGNOSTICS v_written = ROW_COUNT;
        IF v_written <> v_snapshots_moved THEN
            RAISE EXCEPTION 'a wallet was changed by another writer than the door'
                USING ERRCODE = 'serialization_failure';
        END IF;

        UPDATE players AS player
        SET
            balance_real_available = v_balances[moved.no].legacy_available,
            balance_real_held = v_balances[moved.no].legacy_held
        FROM unnest(v_moved) AS moved (no)
        WHERE
            player.id = v_wallets[moved.no].player_id
            AND player.tenant_id = v_wallets[moved.no].tenant_id;
    END IF;

    IF v_refused IS NOT NULL THEN
        INSERT INTO ledger_refusals (
            id, tenant_id, player_id, currency, type, amount, code, wallet_opened, legacy_available, legacy_held,
            ledger_available, ledger_pending, legacy_ok, ledger_ok, arbiter, epoch, reference, idempotency_key,
            request_hash, recorded_at
        )
        SELECT
            uuid_v7(),
            p_tenant_ids[result.event_no],
            p_player_ids[result.event_no],
            p_currencies[result.event_no],
            p_types[result.event_no],
            p_amounts[result.event_no],
            result.code,
            result.wallet_opened,
            result.legacy_available_after,
            result.legacy_held_after,
            result.ledger_available_after,
            result.ledger_pending_after,
            result.legacy_ok,
            result.ledger_ok,
            result.arbiter,
            result.epoch,
            result.reference,
            p_idempotency_keys[result.event_no],
            p_request_hashes[result.event_no],
            v_now
        FROM unnest(v_refused) AS result;
    END IF;

    -- Replays are answered last, from what is stored: earlier calls' results, and this call's for twins. A key that a
    -- later line of this call wrote was not stored when the line was judged: that line is known by its provider event.
    IF v_replays IS NOT NULL THEN
        RETURN QUERY
        SELECT replay.*
        FROM (
            SELECT array_agg(CASE WHEN later.event_no IS NULL THEN p_idempotency_keys[line.no] END ORDER BY line.no)
            FROM generate_series(1, v_count) AS line (no)
            LEFT JOIN unnest(v_applied || v_refused) AS later
                ON v_events[later.event_no].key_no = v_events[line.no].key_no AND later.event_no > line.no
        ) AS line (known_keys)
        CROSS JOIN LATERAL ledger_replay_v1(
            p_tenant_ids, p_player_ids, p_types, p_amounts, line.known_keys, p_request_hashes, p_providers,
            p_provider_event_ids, v_replays
        ) AS replay;
    END IF;
END
$$;

CREATE FUNCTION public.ledger_post_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) RETURNS SETOF public.ledger_result_v1
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    c_provider_event_namespace CONSTANT INTEGER := 4711002;
    c_events_max CONSTANT INTEGER := 1000;

    v_count CONSTANT INTEGER := coalesce(cardinality(p_tenant_ids), 0);

    -- A lone event, its player and its wallet, as they are under the locks. Scalars: a record would be built anew each time.
    v_tenant_id CONSTANT UUID := p_tenant_ids[1];
    v_player_id CONSTANT UUID := p_player_ids[1];
    v_currency TEXT;
    v_kyc_status TEXT;
    v_is_active BOOLEAN;
    v_legacy_available BIGINT;
    v_legacy_held BIGINT;
    v_arbiter TEXT;
    v_epoch INTEGER;
    v_is_ordinary BOOLEAN;
    v_available BIGINT;
    v_pending BIGINT;
    v_version BIGINT;
    v_is_stored BOOLEAN;
    v_debit_account TEXT;
    v_credit_account TEXT;
    v_available_change BIGINT;
    v_pending_change BIGINT;
    v_available_after BIGINT;
    v_pending_after BIGINT;
    v_legacy_available_after BIGINT;
    v_legacy_held_after BIGINT;
    v_legacy_ok BOOLEAN;
    v_ledger_ok BOOLEAN;
    v_now TIMESTAMPTZ;
BEGIN
    IF v_count NOT BETWEEN 1 AND c_events_max THEN
        IF v_count = 0 THEN
            RETURN;
        END IF;
        RAISE EXCEPTION 'ledger_post takes at most % events, got %', c_events_max, v_count
            USING ERRCODE = 'program_limit_exceeded';
    END IF;

    -- 1. Fence.
    IF v_count = 1 THEN
        PERFORM pg_advisory_xact_lock_shared(c_fence_namespace, tenant.number)
        FROM tenants AS tenant
        WHERE tenant.id = v_tenant_id;
    ELSE
        PERFORM pg_advisory_xact_lock_shared(c_fence_namespace, fence.number)
        FROM (
            SELECT tenant.number
            FROM tenants AS tenant
            WHERE tenant.id = ANY(p_tenant_ids)
            ORDER BY tenant.number
        ) AS fence;
    END IF;

    -- 3. Lock. One provider event at a time: its unique key is shared by all players, so without this a second player
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

    IF v_count = 1 THEN
        -- 3. Lock the player.
        SELECT
            player.currency,
            player.kyc_status,
            player.is_active,
            player.balance_real_available,
            player.balance_real_held
        INTO v_currency, v_kyc_status, v_is_active, v_legacy_available, v_legacy_held
        FROM players AS player
        WHERE player.id = v_player_id AND player.tenant_id = v_tenant_id
        FOR NO KEY UPDATE;

        -- 2 and 5. A new statement: what was written while the lock was waited for is seen now. No row for an unknown
        -- player or type or a wallet that was never written: v_is_ordinary stays null.
        SELECT
            mode.arbiter,
            mode.epoch,
            wallet.balance_real_available,
            wallet.balance_real_pending,
            wallet.version,
            key.is_stored,
            line.debit_account,
            line.credit_account,
            line.available_sign * greatest(p_amounts[1], 0),
            line.pending_sign * greatest(p_amounts[1], 0),
            mode.shadow_write
            AND wallet.opened_at IS NOT NULL
            AND ledger_event_refusal_v1(
                ROW(
                    v_tenant_id, v_player_id, v_currency, v_kyc_status, v_is_active, v_legacy_available,
                    v_legacy_held, mode.arbiter, mode.epoch, mode.shadow_write, mode.is_refused
                )::LEDGER_WALLET_FACTS_V1,
                line.debit_account, line.credit_account, line.available_sign, p_amounts[1], p_currencies[1],
                p_by_player[1]
            ) IS NULL
            AND ledger_in_range_v1(
                wallet.balance_real_available, wallet.balance_real_pending, v_legacy_available, v_legacy_held
            )
        INTO
            v_arbiter, v_epoch, v_available, v_pending, v_version, v_is_stored, v_debit_account, v_credit_account,
            v_available_change, v_pending_change, v_is_ordinary
        FROM tenant_modes AS mode
        INNER JOIN wallet_balances AS wallet
            ON wallet.tenant_id = v_tenant_id
            AND wallet.player_id = v_player_id
            AND wallet.currency = v_currency
        CROSS JOIN LATERAL ledger_event_line_v1(
            p_types[1], p_providers[1], p_debit_accounts[1], p_credit_accounts[1]
        ) AS line
        CROSS JOIN LATERAL ledger_key_stored_v1(v_tenant_id, v_player_id, p_types[1], p_idempotency_keys[1]) AS key
        WHERE mode.tenant_id = v_tenant_id;

        IF v_is_stored THEN
            RETURN QUERY
            SELECT
                1, entry.code, TRUE, entry.transaction_id, entry.reference, entry.recorded_at, entry.arbiter,
                entry.epoch, NULL::BOOLEAN, NULL::BOOLEAN, TRUE, entry.wallet_version, NULL::BIGINT, NULL::BIGINT,
                NULL::BIGINT, NULL::BIGINT, entry.legacy_available_after, entry.legacy_held_after,
                entry.ledger_available_after, entry.ledger_pending_after
            FROM ledger_stored_entry_v1(
                v_tenant_id, v_player_id, p_types[1], p_idempotency_keys[1], p_request_hashes[1]
            ) AS entry;
            IF FOUND THEN
                RETURN;
            END IF;
        ELSIF p_provider_event_ids[1] IS NOT NULL THEN
            SELECT event.is_stored INTO v_is_stored
            FROM ledger_provider_event_stored_v1(p_providers[1], p_provider_event_ids[1]) AS event;
        END IF;

        -- 6. Decide. Sums cannot overflow: balances and amount were found in range.
        IF v_is_ordinary AND NOT v_is_stored THEN
            v_available_after := v_available + v_available_change;
            v_pending_after := v_pending + v_pending_change;
            v_legacy_available_after := v_legacy_available + v_available_change;
            v_legacy_held_after := v_legacy_held + v_pending_change;
            v_legacy_ok := ledger_is_covered_v1(
                v_legacy_available_after, v_legacy_held_after, v_available_change, v_pending_change
            );
            v_ledger_ok := ledger_is_covered_v1(
                v_available_after, v_pending_after, v_available_change, v_pending_change
            );
            IF (CASE v_arbiter WHEN 'ledger' THEN v_ledger_ok ELSE v_legacy_ok END) THEN
                IF v_arbiter = 'ledger' THEN
                    -- Enforced: the legacy column follows the snapshot, whatever stood in it.
                    v_legacy_available_after := v_available_after;
                    v_legacy_held_after := v_pending_after;
                END IF;
                -- After the last wait, so that recorded_at follows wallet_version.
                v_now := clock_timestamp();

                RETURN QUERY
                INSERT INTO ledger_transactions (
                    id, tenant_id, player_id, wallet_version, amount, available_after, pending_after,
                    legacy_available_after, legacy_held_after, reference, journal_id, occurred_at, recorded_at, epoch,
                    currency, type, debit_account, credit_account, arbiter, idempotency_key, request_hash, provider,
                    provider_ref, provider_event_id, metadata
                )
                VALUES (
                    uuid_v7(), v_tenant_id, v_player_id, v_version + 1, p_amounts[1], v_available_after,
                    v_pending_after, v_legacy_available_after, v_legacy_held_after, p_references[1], p_journal_ids[1],
                    coalesce(p_occurred_ats[1], v_now), v_now, v_epoch, p_currencies[1], p_types[1], v_debit_account,
                    v_credit_account, v_arbiter, p_idempotency_keys[1], p_request_hashes[1], p_providers[1],
                    p_provider_refs[1], p_provider_event_ids[1], p_metadata[1]
                )
                RETURNING
                    1, 'applied', FALSE, id, reference, recorded_at, v_arbiter, epoch, v_legacy_ok, v_ledger_ok, TRUE,
                    wallet_version, v_legacy_available, v_legacy_held, v_available, v_pending, legacy_available_after,
                    legacy_held_after, available_after, pending_after;

                UPDATE wallet_balances AS wallet
                SET
                    balance_real_available = v_available_after,
                    balance_real_pending = v_pending_after,
                    version = v_version + 1,
                    updated_at = v_now
                WHERE
                    wallet.tenant_id = v_tenant_id
                    AND wallet.player_id = v_player_id
                    AND wallet.currency = v_currency
                    AND wallet.version = v_version;
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'a wallet was changed by another writer than the door'
                        USING ERRCODE = 'serialization_failure';
                END IF;

                UPDATE players AS player
                SET
                    balance_real_available = v_legacy_available_after,
                    balance_real_held = v_legacy_held_after
                WHERE player.id = v_player_id AND player.tenant_id = v_tenant_id;
                RETURN;
            END IF;
        END IF;
    END IF;

    RETURN QUERY
    SELECT * FROM ledger_post_many_v1(
        p_tenant_ids, p_player_ids, p_currencies, p_types, p_amounts, p_idempotency_keys, p_request_hashes,
        p_references, p_providers, p_provider_refs, p_provider_event_ids, p_debit_accounts, p_credit_accounts,
        p_journal_ids, p_occurred_ats, p_by_player, p_metadata
    );
END
$$;

CREATE FUNCTION public.ledger_provider_event_stored_v1(p_provider text, p_provider_event_id text) RETURNS TABLE(is_stored boolean)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        p_provider_event_id IS NOT NULL
        AND (
            EXISTS (
                SELECT
                FROM ledger_transactions AS entry
                WHERE entry.provider = p_provider AND entry.provider_event_id = p_provider_event_id
            )
            OR EXISTS (
                SELECT
                FROM legacy_movements AS movement
                WHERE movement.provider = p_provider AND movement.provider_event_id = p_provider_event_id
            )
        )
$$;

CREATE FUNCTION public.ledger_replay_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_event_ids text[], p_wanted boolean[]) RETURNS SETOF public.ledger_result_v1
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
BEGIN
    RETURN QUERY
    SELECT
        event.no::INTEGER,
        stored.code,
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
            1 AS strength, entry.code, entry.transaction_id, entry.reference, entry.recorded_at, entry.arbiter, entry.epoch,
            NULL::BOOLEAN AS legacy_ok, NULL::BOOLEAN AS ledger_ok, TRUE AS wallet_opened, entry.wallet_version,
            entry.legacy_available_after, entry.legacy_held_after,
            entry.ledger_available_after, entry.ledger_pending_after
        FROM ledger_stored_entry_v1(
            event.tenant_id, event.player_id, event.type, event.idempotency_key, event.request_hash
        ) AS entry
        UNION ALL
        SELECT
            1, CASE WHEN refusal.request_hash = event.request_hash THEN refusal.code ELSE 'exists_different' END,
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
            1, CASE WHEN movement.request_hash = event.request_hash THEN 'exists' ELSE 'exists_different' END,
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
            2,
            CASE
                WHEN
                    entry.tenant_id = event.tenant_id AND entry.player_id = event.player_id
                    AND entry.type = event.type AND entry.amount = event.amount
                    THEN 'exists'
                ELSE 'exists_different'
            END,
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
            2,
            CASE
                WHEN
                    movement.tenant_id = event.tenant_id AND movement.player_id = event.player_id
                    AND movement.type = event.type AND movement.amount = event.amount
                    THEN 'exists'
                ELSE 'exists_different'
            END,
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
    ORDER BY event.no;
END
$$;

CREATE FUNCTION public.ledger_stored_entry_v1(p_tenant_id uuid, p_player_id uuid, p_type text, p_idempotency_key text, p_request_hash bytea) RETURNS TABLE(code text, transaction_id uuid, reference uuid, recorded_at timestamp with time zone, arbiter text, epoch integer, wallet_version bigint, legacy_available_after bigint, legacy_held_after bigint, ledger_available_after bigint, ledger_pending_after bigint)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        CASE WHEN entry.request_hash = p_request_hash THEN 'exists' ELSE 'exists_different' END,
        entry.id,
        entry.reference,
        entry.recorded_at,
        entry.arbiter::TEXT,
        entry.epoch,
        entry.wallet_version,
        entry.legacy_available_after,
        entry.legacy_held_after,
        entry.available_after,
        entry.pending_after
    FROM ledger_transactions AS entry
    WHERE
        entry.tenant_id = p_tenant_id
        AND entry.player_id = p_player_id
        AND entry.type = p_type
        AND entry.idempotency_key = p_idempotency_key
$$;

CREATE FUNCTION public.legacy_repair_v1(p_judged public.backfill_judgement_v1[], p_run public.backfill_runs) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
BEGIN
    UPDATE players AS player
    SET
        balance_real_available = judged.ledger_available,
        balance_real_held = judged.ledger_pending
    FROM unnest(p_judged) AS judged
    WHERE player.id = judged.player_id AND player.tenant_id = p_run.tenant_id;

    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after
    )
    SELECT
        p_run.tenant_id, p_run.actor_kind, p_run.actor_id, p_run.actor_label, 'player.legacy_repaired', 'player',
        judged.player_id::TEXT, p_run.reason,
        jsonb_build_object(
            'currency', judged.currency, 'available_minor', judged.legacy_available, 'held_minor', judged.legacy_held,
            'backfill_run_id', p_run.id
        ),
        jsonb_build_object(
            'currency', judged.currency, 'available_minor', judged.ledger_available, 'held_minor', judged.ledger_pending
        )
    FROM unnest(p_judged) AS judged
    ORDER BY judged.player_id;
END
$$;

CREATE FUNCTION public.payout_claim_due_v1(p_now timestamp with time zone, p_lease interval, p_limit integer) RETURNS TABLE(tenant_id uuid, player_id uuid, withdrawal_id uuid, number integer)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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

CREATE FUNCTION public.payout_claim_one_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_now timestamp with time zone, p_interval interval) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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

CREATE FUNCTION public.payout_note_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_number integer, p_state text, p_provider_ref text, p_provider_sequence bigint, p_check_after interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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

CREATE FUNCTION public.platform_modes_refresh_v1() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    -- One at a time, and in a statement of its own: whoever waited here sees below what the other committed.
    PERFORM FROM platform_modes AS platform WHERE platform.id = 1 FOR UPDATE;

    INSERT INTO platform_modes AS platform (
        id, shadow_global, shadow_global_until, shadow_otherwise, enforce_is_killed, enforce_global,
        enforce_global_until, enforce_otherwise, enforce_otherwise_source
    )
    SELECT
        1,
        shadow.global_value,
        shadow.global_until,
        coalesce(shadow.environment_value, shadow.default_value),
        enforce.is_killed,
        enforce.global_value,
        enforce.global_until,
        coalesce(enforce.environment_value, enforce.default_value),
        CASE WHEN enforce.environment_value IS NULL THEN 'default' ELSE 'environment' END
    FROM flag_statements AS shadow
    CROSS JOIN flag_statements AS enforce
    WHERE shadow.flag = 'ledger_shadow_write' AND enforce.flag = 'ledger_enforce_balance'
    ON CONFLICT (id) DO UPDATE
    SET
        shadow_global = excluded.shadow_global,
        shadow_global_until = excluded.shadow_global_until,
        shadow_otherwise = excluded.shadow_otherwise,
        enforce_is_killed = excluded.enforce_is_killed,
        enforce_global = excluded.enforce_global,
        enforce_global_until = excluded.enforce_global_until,
        enforce_otherwise = excluded.enforce_otherwise,
        enforce_otherwise_source = excluded.enforce_otherwise_source;
    -- For those who keep a copy of what no money decision needs (services/rollout/flag_cache.py). Flags are changed by hand or by
    -- a process that starts, never on the money path: commits that notify take turns.
    PERFORM pg_notify('hakem_flags', '');
    RETURN NULL;
END
$$;

CREATE FUNCTION public.psp_events_prune_v1(p_before timestamp with time zone, p_limit integer) RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
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

CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused; write a correcting row instead', tg_table_name, tg_op
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE FUNCTION public.rollout_attest_v1(p_tenant_id uuid, p_player_ids uuid[]) RETURNS TABLE(currency text, players bigint, unopened bigint, differing bigint, legacy_available numeric, legacy_held numeric, snapshot_available numeric, snapshot_pending numeric, ledger_available numeric, ledger_pending numeric, unopened_ids uuid[], differing_ids uuid[])
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    c_named_max CONSTANT INTEGER := 5;
BEGIN
    RETURN QUERY
    SELECT
        side.currency,
        count(*),
        count(*) FILTER (WHERE NOT side.is_opened),
        count(*) FILTER (WHERE side.is_differing),
        sum(side.legacy_available),
        sum(side.legacy_held),
        sum(side.snapshot_available),
        sum(side.snapshot_pending),
        sum(side.ledger_available),
        sum(side.ledger_pending),
        coalesce((array_agg(side.player_id ORDER BY side.player_id) FILTER (WHERE NOT side.is_opened))[1:c_named_max], '{}'),
        coalesce((array_agg(side.player_id ORDER BY side.player_id) FILTER (WHERE side.is_differing))[1:c_named_max], '{}')
    FROM (
        SELECT
            player.id AS player_id,
            player.currency::TEXT AS currency,
            player.balance_real_available AS legacy_available,
            player.balance_real_held AS legacy_held,
            coalesce(wallet.balance_real_available, 0) AS snapshot_available,
            coalesce(wallet.balance_real_pending, 0) AS snapshot_pending,
            coalesce(entry.available_after, 0) AS ledger_available,
            coalesce(entry.pending_after, 0) AS ledger_pending,
            wallet.opened_at IS NOT NULL AS is_opened,
            wallet.opened_at IS NOT NULL
            AND (
                player.balance_real_available <> wallet.balance_real_available
                OR player.balance_real_held <> wallet.balance_real_pending
                OR wallet.balance_real_available <> coalesce(entry.available_after, 0)
                OR wallet.balance_real_pending <> coalesce(entry.pending_after, 0)
            ) AS is_differing
        FROM unnest(p_player_ids) AS wanted (player_id)
        INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = p_tenant_id
        -- OFFSET 0: one look-up a player, also in a plan that was made while the tables were empty.
        LEFT JOIN LATERAL (
            SELECT
                stored.balance_real_available,
                stored.balance_real_pending,
                stored.version,
                stored.opened_at
            FROM wallet_balances AS stored
            WHERE
                stored.tenant_id = p_tenant_id
                AND stored.player_id = player.id
                AND stored.currency = player.currency
            OFFSET 0
        ) AS wallet ON TRUE
        LEFT JOIN LATERAL (
            SELECT
                stored.available_after,
                stored.pending_after
            FROM ledger_transactions AS stored
            WHERE
                stored.tenant_id = p_tenant_id
                AND stored.player_id = player.id
                AND stored.currency = player.currency
                AND stored.wallet_version = wallet.version
            OFFSET 0
        ) AS entry ON TRUE
    ) AS side
    GROUP BY side.currency
    ORDER BY side.currency;
END
$$;

CREATE FUNCTION public.rollout_attestation_v1(p_tenant_id uuid) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    c_players_max CONSTANT INTEGER := 2000;
    v_player_ids UUID[];
BEGIN
    SELECT array_agg(candidate.id) INTO v_player_ids
    FROM (
        SELECT player.id
        FROM players AS player
        WHERE player.tenant_id = p_tenant_id
        LIMIT c_players_max + 1
    ) AS candidate;
    IF cardinality(v_player_ids) > c_players_max THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT coalesce(
            jsonb_agg(to_jsonb(attested) - 'unopened_ids' - 'differing_ids' ORDER BY attested.currency), '[]'
        )
        FROM rollout_attest_v1(p_tenant_id, coalesce(v_player_ids, '{}')) AS attested
    );
END
$$;

CREATE FUNCTION public.rollout_control_v1(p_is_alone boolean, p_is_needed boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '1s'
    AS $$
DECLARE
    c_control_namespace CONSTANT INTEGER := 4711007;
BEGIN
    IF p_is_alone THEN
        PERFORM pg_advisory_xact_lock(c_control_namespace, 0);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(c_control_namespace, 0);
    END IF;
EXCEPTION WHEN lock_not_available THEN
    IF p_is_needed THEN
        RAISE;
    END IF;
END
$$;

CREATE TABLE public.arbiter_changes (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    arbiter_before public.arbiter_side NOT NULL,
    arbiter public.arbiter_side NOT NULL,
    epoch integer NOT NULL,
    reason text NOT NULL,
    actor_kind text NOT NULL,
    actor_id uuid,
    actor_label text NOT NULL,
    is_automatic boolean NOT NULL,
    decision_id uuid,
    waived_gates text[] DEFAULT '{}'::text[] NOT NULL,
    gates jsonb,
    attestation jsonb,
    is_fenced boolean NOT NULL,
    fence_waited_ms integer NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT arbiter_changes_actor_kind_check CHECK ((actor_kind = ANY (ARRAY['admin'::text, 'player'::text, 'operator'::text, 'system'::text]))),
    CONSTRAINT arbiter_changes_arbiter_check CHECK (((arbiter)::text <> (arbiter_before)::text)),
    CONSTRAINT arbiter_changes_kind_check CHECK ((kind = ANY (ARRAY['flip'::text, 'flags'::text, 'rehearsal'::text]))),
    CONSTRAINT arbiter_changes_reason_check CHECK (((char_length(reason) >= 1) AND (char_length(reason) <= 500)))
);

CREATE FUNCTION public.rollout_enforce_v1(p_tenant_id uuid, p_kind text, p_override boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb, p_facts jsonb, p_attestation jsonb) RETURNS SETOF public.arbiter_changes
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_arbiter_before TEXT;
    v_mode RECORD;
BEGIN
    IF NOT rollout_is_fenced_v1(p_tenant_id) THEN
        RAISE EXCEPTION 'a flip to the ledger needs the fence of the tenant'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT mode.arbiter INTO v_arbiter_before FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id;

    PERFORM tenant_flag_write_v1(
        p_tenant_id, 'ledger_enforce_balance', p_override, p_reason, p_actor, p_expires_at
    );
    SELECT mode.arbiter, mode.is_refused INTO v_mode FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id;
    IF v_mode.arbiter IS DISTINCT FROM 'ledger' OR v_mode.is_refused THEN
        RAISE EXCEPTION 'the ledger cannot decide for the tenant: a kill switch is on, or shadow writing is off'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF v_arbiter_before <> 'ledger' THEN
        RETURN NEXT rollout_note_v1(
            p_tenant_id, p_kind, 'ledger', p_reason, p_actor, p_facts, p_attestation, TRUE
        );
    END IF;
END
$$;

CREATE FUNCTION public.rollout_enforced_v1() RETURNS uuid[]
    LANGUAGE sql
    AS $$
    SELECT coalesce(array_agg(mode.tenant_id ORDER BY mode.number), '{}') FROM tenant_modes AS mode WHERE mode.arbiter = 'ledger'
$$;

CREATE FUNCTION public.rollout_fence_v1(p_tenant_ids uuid[], p_budget_ms integer) RETURNS uuid[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    c_pause_seconds CONSTANT DOUBLE PRECISION := 0.05;
    v_deadline CONSTANT TIMESTAMPTZ := clock_timestamp() + p_budget_ms * INTERVAL '1 millisecond';
    v_fenced UUID[] := '{}';
    v_tenant RECORD;
BEGIN
    FOR v_tenant IN
        SELECT tenant.id, tenant.number
        FROM tenants AS tenant
        WHERE tenant.id = ANY(p_tenant_ids)
        ORDER BY tenant.number
    LOOP
        LOOP
            IF pg_try_advisory_xact_lock(c_fence_namespace, v_tenant.number) THEN
                v_fenced := v_fenced || v_tenant.id;
                EXIT;
            END IF;
            EXIT WHEN clock_timestamp() >= v_deadline;
            BEGIN
                PERFORM pg_advisory_xact_lock(c_fence_namespace, v_tenant.number);
                v_fenced := v_fenced || v_tenant.id;
                EXIT;
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                EXIT WHEN clock_timestamp() >= v_deadline;
                PERFORM pg_sleep(c_pause_seconds);
            END;
        END LOOP;
    END LOOP;
    RETURN v_fenced;
END
$$;

CREATE FUNCTION public.rollout_is_fenced_v1(p_tenant_id uuid) RETURNS boolean
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT EXISTS (
        SELECT
        FROM pg_locks AS held
        INNER JOIN tenants AS tenant ON tenant.number::OID = held.objid
        WHERE
            held.locktype = 'advisory'
            AND held.classid = 4711001
            AND held.objsubid = 2
            AND held.mode = 'ExclusiveLock'
            AND held.granted
            AND held.pid = pg_backend_pid()
            AND tenant.id = p_tenant_id
    )
$$;

CREATE FUNCTION public.rollout_kill_v1(p_tenant_id uuid, p_reason text) RETURNS TABLE(tenant_id uuid, slug text, arbiter text, epoch integer, is_fenced boolean, changed_at timestamp with time zone)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    SELECT
        change.tenant_id,
        tenant.slug,
        change.arbiter,
        change.epoch,
        change.is_fenced,
        change.changed_at
    FROM rollout_rollback_v1(
        p_tenant_id, 'flip', FALSE, p_reason, jsonb_build_object('kind', 'operator', 'label', session_user), NULL
    ) AS change
    INNER JOIN tenants AS tenant ON tenant.id = change.tenant_id
    ORDER BY tenant.number
$$;

CREATE FUNCTION public.rollout_note_v1(p_tenant_id uuid, p_kind text, p_arbiter text, p_reason text, p_actor jsonb, p_facts jsonb, p_attestation jsonb, p_is_fenced boolean) RETURNS public.arbiter_changes
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_change ARBITER_CHANGES;
    v_before CONSTANT TEXT := CASE p_arbiter WHEN 'ledger' THEN 'legacy' ELSE 'ledger' END;
BEGIN
    UPDATE tenants AS tenant
    SET
        epoch = tenant.epoch + 1,
        updated_at = clock_timestamp()
    WHERE tenant.id = p_tenant_id
    RETURNING tenant.epoch INTO v_change.epoch;

    INSERT INTO arbiter_changes (
        tenant_id, kind, arbiter_before, arbiter, epoch, reason, actor_kind, actor_id, actor_label, is_automatic,
        decision_id, waived_gates, gates, attestation, is_fenced, fence_waited_ms, changed_at
    )
    VALUES (
        p_tenant_id,
        p_kind,
        v_before,
        p_arbiter,
        v_change.epoch,
        p_reason,
        p_actor ->> 'kind',
        (p_actor ->> 'id')::UUID,
        p_actor ->> 'label',
        coalesce((p_facts ->> 'is_automatic')::BOOLEAN, FALSE),
        (p_facts ->> 'decision_id')::UUID,
        ARRAY(SELECT jsonb_array_elements_text(coalesce(p_facts -> 'waived_gates', '[]'))),
        p_facts -> 'gates',
        p_attestation,
        p_is_fenced,
        coalesce((p_facts ->> 'fence_waited_ms')::INTEGER, 0),
        clock_timestamp()
    )
    RETURNING * INTO v_change;

    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after,
        request_id, client_address
    )
    VALUES (
        p_tenant_id,
        v_change.actor_kind,
        v_change.actor_id,
        v_change.actor_label,
        'arbiter.' || CASE p_kind WHEN 'rehearsal' THEN 'rehearsed' ELSE 'changed' END,
        'tenant',
        p_tenant_id::TEXT,
        p_reason,
        jsonb_build_object('arbiter', v_before, 'epoch', v_change.epoch - 1),
        jsonb_build_object(
            'arbiter', p_arbiter, 'epoch', v_change.epoch, 'is_fenced', p_is_fenced,
            'waived_gates', nullif(array_to_string(v_change.waived_gates, ','), ''), 'arbiter_change_id', v_change.id
        ),
        p_actor ->> 'request_id',
        p_actor ->> 'client_address'
    );
    RETURN v_change;
END
$$;

CREATE FUNCTION public.rollout_rollback_v1(p_tenant_id uuid, p_kind text, p_override boolean, p_reason text, p_actor jsonb, p_facts jsonb) RETURNS SETOF public.arbiter_changes
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
#variable_conflict use_column
DECLARE
    c_fence_budget_ms CONSTANT INTEGER := 1000;
    v_started_at CONSTANT TIMESTAMPTZ := clock_timestamp();
    v_reason CONSTANT TEXT := left(coalesce(nullif(btrim(p_reason), ''), 'no reason was given'), 500);
    v_enforced UUID[];
    v_fenced UUID[];
    v_waited JSONB;
    v_tenant RECORD;
    v_arbiter TEXT;
BEGIN
    PERFORM rollout_control_v1(p_tenant_id IS NULL, FALSE);
    SELECT coalesce(array_agg(mode.tenant_id), '{}') INTO v_enforced
    FROM tenant_modes AS mode
    WHERE mode.arbiter = 'ledger' AND (p_tenant_id IS NULL OR mode.tenant_id = p_tenant_id);
    v_fenced := rollout_fence_v1(v_enforced, c_fence_budget_ms);
    v_waited := jsonb_build_object(
        'fence_waited_ms', round(extract(EPOCH FROM clock_timestamp() - v_started_at) * 1000)::INTEGER
    );

    IF p_tenant_id IS NULL THEN
        PERFORM flag_write_v1('ledger_enforce_balance', 'global', '', FALSE, NULL, v_reason, p_actor);
    END IF;
    FOR v_tenant IN
        SELECT
            tenant.id,
            (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN AS override
        FROM tenants AS tenant
        WHERE
            tenant.id = p_tenant_id
            OR (p_tenant_id IS NULL AND (tenant.flags ->> 'ledger_enforce_override' = 'true' OR tenant.id = ANY(v_enforced)))
        ORDER BY tenant.number
    LOOP
        IF v_tenant.override IS DISTINCT FROM p_override THEN
            PERFORM tenant_flag_write_v1(
                v_tenant.id, 'ledger_enforce_balance', p_override, v_reason, p_actor, NULL
            );
        END IF;
        SELECT mode.arbiter INTO v_arbiter FROM tenant_modes AS mode WHERE mode.tenant_id = v_tenant.id;
        IF v_arbiter = 'legacy' AND v_tenant.id = ANY(v_enforced) THEN
            RETURN NEXT rollout_note_v1(
                v_tenant.id, p_kind, 'legacy', v_reason, p_actor, v_waited || coalesce(p_facts, '{}'),
                rollout_attestation_v1(v_tenant.id), v_tenant.id = ANY(v_fenced)
            );
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION public.rollout_settle_v1(p_before uuid[], p_reason text, p_actor jsonb, p_facts jsonb, p_budget_ms integer) RETURNS SETOF public.arbiter_changes
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_after CONSTANT UUID[] := rollout_enforced_v1();
    v_changed UUID[];
    v_fenced UUID[];
    v_tenant_id UUID;
BEGIN
    SELECT coalesce(array_agg(tenant.id ORDER BY tenant.number), '{}') INTO v_changed
    FROM tenants AS tenant
    WHERE (tenant.id = ANY(p_before)) <> (tenant.id = ANY(v_after));

    v_fenced := rollout_fence_v1(v_changed, p_budget_ms);
    FOREACH v_tenant_id IN ARRAY v_changed LOOP
        RETURN NEXT rollout_note_v1(
            v_tenant_id,
            'flags',
            CASE WHEN v_tenant_id = ANY(v_after) THEN 'ledger' ELSE 'legacy' END,
            p_reason,
            p_actor,
            p_facts,
            rollout_attestation_v1(v_tenant_id),
            v_tenant_id = ANY(v_fenced)
        );
    END LOOP;
END
$$;

CREATE FUNCTION public.sandbox_enforce_v1(p_is_enforced boolean) RETURNS TABLE(arbiter text, epoch integer, shadow_write boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    v_tenant_id UUID;
BEGIN
    SELECT tenant.id INTO STRICT v_tenant_id FROM tenants AS tenant WHERE tenant.is_sandbox;
    PERFORM pg_advisory_xact_lock(c_fence_namespace, tenant.number) FROM tenants AS tenant WHERE tenant.id = v_tenant_id;

    UPDATE tenants AS tenant
    SET
        flags = tenant.flags || jsonb_build_object('ledger_enforce_override', CASE WHEN p_is_enforced THEN TRUE END),
        epoch = tenant.epoch + 1,
        updated_at = clock_timestamp()
    WHERE tenant.id = v_tenant_id;

    RETURN QUERY
    SELECT
        mode.arbiter,
        mode.epoch,
        mode.shadow_write
    FROM tenant_modes AS mode
    WHERE mode.tenant_id = v_tenant_id;
END
$$;

CREATE FUNCTION public.sandbox_ensure_v1(p_players integer) RETURNS TABLE(tenant_id uuid, player_ids uuid[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    c_slug CONSTANT TEXT := 'hakem-sandbox';
    v_tenant_id UUID;
BEGIN
    -- One at a time; the unique index on is_sandbox would stop a second one, in a less friendly way.
    PERFORM pg_advisory_xact_lock(4711006, 1);

    SELECT tenant.id INTO v_tenant_id FROM tenants AS tenant WHERE tenant.is_sandbox;
    IF v_tenant_id IS NULL THEN
        INSERT INTO tenants AS made (slug, name, base_currency, is_sandbox)
        VALUES (
            -- Somebody may have taken the name for a tenant of theirs.
            CASE
                WHEN EXISTS (SELECT FROM tenants AS taken WHERE taken.slug = c_slug)
                    THEN c_slug || '-' || substr(md5(clock_timestamp()::TEXT), 1, 8)
                ELSE c_slug
            END,
            'The monitor''s sandbox', 'USD', TRUE
        )
        RETURNING made.id INTO v_tenant_id;
    END IF;

    INSERT INTO players (tenant_id, external_id, email, username, currency, kyc_status)
    SELECT
        v_tenant_id,
        'sandbox-' || place.number,
        'sandbox-' || place.number || '@sandbox.invalid',
        'sandbox-' || place.number,
        'USD',
        'verified'
    FROM generate_series(1, p_players) AS place (number)
    ON CONFLICT DO NOTHING;

    RETURN QUERY
    SELECT
        v_tenant_id,
        array_agg(player.id ORDER BY player.id)
    FROM players AS player
    WHERE
        player.tenant_id = v_tenant_id
        AND player.external_id IN (
            SELECT 'sandbox-' || place.number FROM generate_series(1, p_players) AS place (number)
        );
END
$$;

CREATE FUNCTION public.sandbox_plant_v1(p_player_ids uuid[], p_available bigint) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
    WITH planted AS (
        UPDATE players AS player
        SET balance_real_available = p_available
        FROM tenants AS tenant
        WHERE player.id = ANY(p_player_ids) AND tenant.id = player.tenant_id AND tenant.is_sandbox
        RETURNING player.id
    )

    SELECT count(*) FROM planted
$$;

CREATE FUNCTION public.statement_statistics_v1(p_of_items boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
BEGIN
    IF p_of_items THEN
        ANALYZE psp_statement_items, reconciliation_unmatched;
    ELSE
        ANALYZE psp_statement_lines;
    END IF;
EXCEPTION
    WHEN lock_not_available THEN
        RETURN;
END
$$;

CREATE FUNCTION public.statistics_refresh_v1() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
BEGIN
    ANALYZE players, wallet_balances, ledger_transactions, withdrawals;
END
$$;

CREATE FUNCTION public.tenant_flag_write_v1(p_tenant_id uuid, p_flag text, p_override boolean, p_reason text, p_actor jsonb, p_expires_at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_key CONSTANT TEXT := CASE p_flag
        WHEN 'ledger_enforce_balance' THEN 'ledger_enforce_override'
        ELSE 'ledger_shadow_override'
    END;
    v_before BOOLEAN;
BEGIN
    SELECT (tenant.flags ->> v_key)::BOOLEAN INTO v_before
    FROM tenants AS tenant
    WHERE tenant.id = p_tenant_id
    FOR NO KEY UPDATE;
    UPDATE tenants AS tenant
    SET
        flags = tenant.flags || jsonb_build_object(v_key, p_override),
        updated_at = clock_timestamp()
    WHERE tenant.id = p_tenant_id;

    DELETE FROM flag_settings AS setting
    WHERE setting.flag = p_flag AND setting.scope = 'tenant' AND setting.holder = p_tenant_id::TEXT;
    IF p_override IS NOT NULL THEN
        INSERT INTO flag_settings (flag, scope, holder, value, reason, set_by, expires_at)
        VALUES (p_flag, 'tenant', p_tenant_id::TEXT, p_override, p_reason, p_actor ->> 'label', p_expires_at);
    END IF;

    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after,
        request_id, client_address
    )
    VALUES (
        p_tenant_id,
        p_actor ->> 'kind',
        (p_actor ->> 'id')::UUID,
        p_actor ->> 'label',
        'flag.changed',
        'flag',
        p_flag,
        p_reason,
        jsonb_build_object('value', v_before),
        jsonb_build_object('scope', 'tenant', 'value', p_override, 'expires_at', p_expires_at),
        p_actor ->> 'request_id',
        p_actor ->> 'client_address'
    );
END
$$;

CREATE FUNCTION public.tenant_flags_notify_v1() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_notify('hakem_flags', '');
    RETURN NULL;
END
$$;

CREATE FUNCTION public.tenant_shadow_v1(p_tenant_id uuid, p_override boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM rollout_control_v1(TRUE, TRUE);
    PERFORM tenant_flag_write_v1(p_tenant_id, 'ledger_shadow_write', p_override, p_reason, p_actor, p_expires_at);
    IF EXISTS (SELECT FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id AND mode.is_refused) THEN
        RAISE EXCEPTION 'the ledger decides for the tenant, so it has to be written'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

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

CREATE FUNCTION public.webhook_mode_v1(p_provider text) RETURNS TABLE(is_enforced boolean, source text)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        NOT level.is_killed
        AND coalesce(own.value, level.global_value, level.environment_value, level.default_value),
        CASE
            WHEN level.is_killed THEN 'environment_false'
            WHEN own.value IS NOT NULL THEN 'provider'
            WHEN level.global_value IS NOT NULL THEN 'global'
            WHEN level.environment_value IS NOT NULL THEN 'environment'
            ELSE 'default'
        END
    FROM flag_levels AS level
    LEFT JOIN flag_settings AS own
        ON own.flag = level.flag
        AND own.scope = 'provider'
        AND own.holder = p_provider
        AND (own.expires_at IS NULL OR own.expires_at > clock_timestamp())
    WHERE level.flag = 'webhook_signature_enforced'
$$;

CREATE FUNCTION public.withdrawal_lock_v1(p_tenant_id uuid, p_withdrawal_id uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM withdrawal.id
    FROM withdrawals AS withdrawal
    WHERE withdrawal.id = p_withdrawal_id AND (p_tenant_id IS NULL OR withdrawal.tenant_id = p_tenant_id)
    FOR NO KEY UPDATE;
    RETURN FOUND;
END
$$;

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
    version integer DEFAULT 1 NOT NULL,
    approvals_needed smallint DEFAULT 1 NOT NULL,
    first_approved_by uuid,
    first_approved_at timestamp with time zone,
    second_approved_by uuid,
    second_approved_at timestamp with time zone,
    reviewed_by uuid,
    reviewed_at timestamp with time zone,
    review_reason text,
    provider text,
    provider_ref text,
    provider_event_id text,
    failure_code text,
    CONSTRAINT withdrawals_amount_check CHECK ((amount > 0)),
    CONSTRAINT withdrawals_approved_check CHECK (((state = ANY (ARRAY['requested'::text, 'rejected'::text, 'cancelled'::text])) OR ((first_approved_by IS NOT NULL) AND ((second_approved_by IS NOT NULL) OR (approvals_needed = 1) OR (state = 'awaiting_second_approval'::text))))),
    CONSTRAINT withdrawals_four_eyes_check CHECK (((approvals_needed = ANY (ARRAY[1, 2])) AND (first_approved_by <> second_approved_by) AND ((second_approved_by IS NULL) OR (first_approved_by IS NOT NULL)) AND ((state <> 'awaiting_second_approval'::text) OR ((approvals_needed = 2) AND (second_approved_by IS NULL))))),
    CONSTRAINT withdrawals_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'awaiting_second_approval'::text, 'approved'::text, 'processing'::text, 'paid'::text, 'rejected'::text, 'cancelled'::text, 'failed'::text, 'returned'::text])))
)
WITH (fillfactor='90');

CREATE FUNCTION public.withdrawal_matching_v1(p_tenant_id uuid, p_asked_tenant_id uuid, p_state text, p_player_id uuid, p_method text, p_currency text, p_least_amount bigint, p_greatest_amount bigint, p_least_amounts jsonb, p_greatest_amounts jsonb, p_date_from timestamp with time zone, p_date_to timestamp with time zone) RETURNS SETOF public.withdrawals
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

CREATE FUNCTION public.withdrawal_move_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_action text, p_expected_version integer, p_admin_id uuid, p_reason text, p_approvals_needed integer, p_attempt_number integer, p_provider text, p_account_id text, p_evidence_ref text, p_provider_ref text, p_provider_event_id text, p_provider_sequence bigint, p_failure_code text, p_occurred_at timestamp with time zone, p_check_after interval) RETURNS TABLE(code text, state text, version integer, attempt_number integer, posted public.ledger_result_v1)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_now TIMESTAMPTZ;
    v_withdrawal withdrawals;
    v_attempt payout_attempts;
    v_action TEXT := p_action;
    v_step withdrawal_transitions;
    v_needed INTEGER;
    v_number INTEGER;
    v_attempt_state TEXT;
    v_is_manual CONSTANT BOOLEAN := p_action = 'mark_paid_manually';
    v_provider TEXT;
    v_posted LEDGER_RESULT_V1[];
BEGIN
    SELECT withdrawal.* INTO v_withdrawal
    FROM withdrawals AS withdrawal
    WHERE
        withdrawal.tenant_id = p_tenant_id
        AND withdrawal.player_id = p_player_id
        AND withdrawal.id = p_withdrawal_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 'unknown_withdrawal';
        RETURN NEXT;
        RETURN;
    END IF;
    state := v_withdrawal.state;
    version := v_withdrawal.version;

    IF p_expected_version <> v_withdrawal.version THEN
        code := 'stale_version';
        RETURN NEXT;
        RETURN;
    END IF;

    -- How many have to approve is decided when the first one does, and can only rise.
    v_needed := greatest(v_withdrawal.approvals_needed, coalesce(p_approvals_needed, 1));
    IF v_action IN ('approve', 'approve_first') AND v_withdrawal.state = 'requested' THEN
        v_action := CASE WHEN v_needed > 1 THEN 'approve_first' ELSE 'approve' END;
    END IF;
    SELECT step.* INTO v_step
    FROM withdrawal_transitions AS step
    WHERE step.from_state = v_withdrawal.state AND step.action = v_action;
    IF NOT FOUND OR (v_action = 'mark_paid' AND v_withdrawal.method = 'legacy_hold') THEN
        code := 'invalid_transition';
        RETURN NEXT;
        RETURN;
    END IF;

    IF v_step.is_by_admin AND NOT EXISTS (
        SELECT
        FROM admins AS admin
        WHERE
            admin.id = p_admin_id
            AND admin.is_active
            AND admin.role IN ('owner', 'tenant_admin', 'finance', 'approver')
            AND (admin.tenant_id = p_tenant_id OR admin.role = 'owner')
    )
    THEN
        code := 'unknown_admin';
        RETURN NEXT;
        RETURN;
    END IF;
    IF v_action = 'approve' AND v_withdrawal.first_approved_by = p_admin_id THEN
        code := 'four_eyes_required';
        RETURN NEXT;
        RETURN;
    END IF;

    -- The attempt that the step is about, and what becomes of it.
    IF v_action IN ('mark_paid', 'mark_paid_manually') THEN
        SELECT coalesce(max(attempt.number), 0) + 1 INTO v_number
        FROM payout_attempts AS attempt
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_withdrawal_id;
        v_provider := CASE WHEN v_is_manual THEN 'manual' ELSE p_provider END;
        v_attempt_state := CASE WHEN v_is_manual THEN 'paid' ELSE 'created' END;
    ELSIF NOT v_step.is_by_admin THEN
        SELECT attempt.* INTO v_attempt
        FROM payout_attempts AS attempt
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_withdrawal_id
            AND attempt.number = p_attempt_number
        FOR NO KEY UPDATE;
        IF NOT FOUND OR (
            CASE
                WHEN v_withdrawal.state = 'processing' THEN v_attempt.state NOT IN ('created', 'pending', 'unknown')
                ELSE v_attempt.state <> v_withdrawal.state
            END
        )
        THEN
            code := 'invalid_attempt';
            RETURN NEXT;
            RETURN;
        END IF;
        v_number := v_attempt.number;
        v_provider := v_attempt.provider;
        v_attempt_state := substr(v_action, length('payout_') + 1);
    END IF;
    attempt_number := v_number;

    -- Dispatching moves money between two accounts that the door counts together, so it cannot see that nothing is held
    -- any more. The provider must not be asked to pay what the arbiter does not have.
    IF v_action = 'mark_paid' AND v_withdrawal.amount > (
        SELECT
            CASE mode.arbiter
                WHEN 'ledger' THEN coalesce(wallet.balance_real_pending, 0) ELSE player.balance_real_held
            END
        FROM players AS player
        INNER JOIN tenant_modes AS mode ON mode.tenant_id = player.tenant_id
        LEFT JOIN wallet_balances AS wallet
            ON wallet.tenant_id = player.tenant_id
            AND wallet.player_id = player.id
            AND wallet.currency = player.currency
        WHERE player.id = p_player_id AND player.tenant_id = p_tenant_id
    )
    THEN
        code := 'not_held';
        RETURN NEXT;
        RETURN;
    END IF;

    IF cardinality(v_step.ledger_types) > 0 THEN
        v_posted := withdrawal_post_v1(
            v_withdrawal, v_step.ledger_types, v_number, v_provider, coalesce(p_provider_ref, v_attempt.provider_ref),
            p_provider_event_id, p_evidence_ref, p_occurred_at
        );
        posted := v_posted[1];
        FOR v_line IN 1 .. cardinality(v_posted) LOOP
            IF (v_posted[v_line]).code <> 'applied' THEN
                code := 'ledger_refused';
                IF posted.code IN ('applied', 'journal_refused') THEN
                    posted := v_posted[v_line];
                END IF;
            END IF;
        END LOOP;
        IF code IS NOT NULL THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;

    -- From here on the step is taken.
    v_now := clock_timestamp();
    IF v_action IN ('mark_paid', 'mark_paid_manually') THEN
        INSERT INTO payout_attempts (
            tenant_id, player_id, withdrawal_id, number, provider, account_id, amount, currency, state, provider_ref,
            evidence_ref, created_at, state_at, next_check_at
        )
        VALUES (
            p_tenant_id, p_player_id, p_withdrawal_id, v_number, v_provider,
            CASE WHEN NOT v_is_manual THEN p_account_id END, v_withdrawal.amount, v_withdrawal.currency,
            v_attempt_state, CASE WHEN v_is_manual THEN p_evidence_ref END,
            CASE WHEN v_is_manual THEN p_evidence_ref END, v_now, v_now,
            CASE WHEN NOT v_is_manual THEN v_now + p_check_after END
        )
        RETURNING * INTO v_attempt;
    ELSIF v_attempt_state IS NOT NULL THEN
        UPDATE payout_attempts AS attempt
        SET
            state = v_attempt_state,
            state_at = v_now,
            provider_ref = coalesce(p_provider_ref, attempt.provider_ref),
            provider_event_id = coalesce(p_provider_event_id, attempt.provider_event_id),
            provider_sequence = p_provider_sequence,
            failure_code = p_failure_code,
            next_check_at = NULL
        WHERE
            attempt.tenant_id = p_tenant_id
            AND attempt.player_id = p_player_id
            AND attempt.withdrawal_id = p_withdrawal_id
            AND attempt.number = v_number
        RETURNING attempt.* INTO v_attempt;
    END IF;

    UPDATE withdrawals AS withdrawal
    SET
        state = v_step.to_state,
        version = withdrawal.version + 1,
        updated_at = v_now,
        approvals_needed = CASE
            WHEN v_action IN ('approve', 'approve_first') THEN v_needed ELSE withdrawal.approvals_needed
        END,
        first_approved_by = coalesce(
            withdrawal.first_approved_by, CASE WHEN v_action IN ('approve', 'approve_first') THEN p_admin_id END
        ),
        first_approved_at = coalesce(
            withdrawal.first_approved_at, CASE WHEN v_action IN ('approve', 'approve_first') THEN v_now END
        ),
        second_approved_by = CASE
            WHEN withdrawal.state = 'awaiting_second_approval' AND v_action = 'approve' THEN p_admin_id
            ELSE withdrawal.second_approved_by
        END,
        second_approved_at = CASE
            WHEN withdrawal.state = 'awaiting_second_approval' AND v_action = 'approve' THEN v_now
            ELSE withdrawal.second_approved_at
        END,
        reviewed_by = CASE
            WHEN v_action IN ('approve', 'approve_first', 'reject', 'cancel') THEN p_admin_id
            ELSE withdrawal.reviewed_by
        END,
        reviewed_at = CASE
            WHEN v_action IN ('approve', 'approve_first', 'reject', 'cancel') THEN v_now ELSE withdrawal.reviewed_at
        END,
        review_reason = CASE
            WHEN v_action IN ('approve', 'approve_first', 'reject', 'cancel') THEN p_reason
            ELSE withdrawal.review_reason
        END,
        -- Of the attempt in hand; a step without one leaves them.
        provider = CASE WHEN v_attempt_state IS NULL THEN withdrawal.provider ELSE v_attempt.provider END,
        provider_ref = CASE WHEN v_attempt_state IS NULL THEN withdrawal.provider_ref ELSE v_attempt.provider_ref END,
        provider_event_id = CASE
            WHEN v_attempt_state IS NULL THEN withdrawal.provider_event_id ELSE v_attempt.provider_event_id
        END,
        failure_code = CASE WHEN v_attempt_state IS NULL THEN withdrawal.failure_code ELSE v_attempt.failure_code END
    WHERE
        withdrawal.tenant_id = p_tenant_id
        AND withdrawal.player_id = p_player_id
        AND withdrawal.id = p_withdrawal_id
    RETURNING withdrawal.state, withdrawal.version INTO state, version;
    code := 'moved';
    RETURN NEXT;
END
$$;

CREATE FUNCTION public.withdrawal_post_v1(p_withdrawal public.withdrawals, p_types text[], p_attempt_number integer, p_provider text, p_provider_ref text, p_provider_event_id text, p_evidence_ref text, p_occurred_at timestamp with time zone) RETURNS public.ledger_result_v1[]
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    AS $$
DECLARE
    v_count CONSTANT INTEGER := cardinality(p_types);
    v_return_no CONSTANT INTEGER := array_position(p_types, 'withdraw_returned');
    v_base CONSTANT TEXT := 'wd_' || p_withdrawal.id || coalesce('_' || p_attempt_number, '');
    v_variant INTEGER := 1;
    v_keys TEXT[];
    v_hashes BYTEA[];
    v_debits TEXT[] := array_fill(NULL::TEXT, ARRAY[v_count]);
    v_credits TEXT[] := array_fill(NULL::TEXT, ARRAY[v_count]);
    v_event_ids TEXT[] := array_fill(NULL::TEXT, ARRAY[v_count]);
    v_results LEDGER_RESULT_V1[];
BEGIN
    LOOP
        v_keys := array_fill(v_base || CASE WHEN v_variant > 1 THEN '~' || v_variant ELSE '' END, ARRAY[v_count]);
        EXIT WHEN NOT EXISTS (
            SELECT
            FROM ledger_refusals AS refusal
            WHERE
                refusal.tenant_id = p_withdrawal.tenant_id
                AND refusal.player_id = p_withdrawal.player_id
                AND refusal.type = ANY(p_types)
                AND refusal.idempotency_key = v_keys[1]
        );
        v_variant := v_variant + 1;
    END LOOP;

    -- A return is two transactions of one type: told apart by their accounts, and the second one's key is its own.
    IF v_return_no IS NOT NULL THEN
        v_debits[v_return_no] := 'psp:' || p_provider || ':clearing';
        v_credits[v_return_no] := 'house:returns';
        v_debits[v_return_no + 1] := 'house:returns';
        v_credits[v_return_no + 1] := 'player:available';
        v_keys[v_return_no + 1] := v_keys[v_return_no + 1] || '_credit';
    END IF;
    -- One provider event is one transaction's: the one at the provider's clearing account.
    v_event_ids[coalesce(v_return_no, v_count)] := p_provider_event_id;

    SELECT array_agg(
        sha256(convert_to(concat_ws(':', line.type, line.key, p_withdrawal.amount, p_withdrawal.currency), 'UTF8'))
        ORDER BY line.no
    )
    INTO v_hashes
    FROM unnest(p_types, v_keys) WITH ORDINALITY AS line (type, key, no);

    SELECT array_agg(posted ORDER BY posted.event_no) INTO v_results
    FROM ledger_post_v1(
        p_tenant_ids => array_fill(p_withdrawal.tenant_id, ARRAY[v_count]),
        p_player_ids => array_fill(p_withdrawal.player_id, ARRAY[v_count]),
        p_currencies => array_fill(p_withdrawal.currency, ARRAY[v_count]),
        p_types => p_types,
        p_amounts => array_fill(p_withdrawal.amount, ARRAY[v_count]),
        p_idempotency_keys => v_keys,
        p_request_hashes => v_hashes,
        p_references => array_fill(p_withdrawal.id, ARRAY[v_count]),
        p_providers => array_fill(p_provider, ARRAY[v_count]),
        p_provider_refs => array_fill(coalesce(p_evidence_ref, p_provider_ref), ARRAY[v_count]),
        p_provider_event_ids => v_event_ids,
        p_debit_accounts => v_debits,
        p_credit_accounts => v_credits,
        p_journal_ids => CASE WHEN v_count > 1 THEN array_fill(uuid_v7(), ARRAY[v_count]) END,
        p_occurred_ats => array_fill(p_occurred_at, ARRAY[v_count]),
        p_by_player => NULL,
        p_metadata => NULL
    ) AS posted;
    RETURN v_results;
END
$$;

CREATE FUNCTION public.withdrawal_request_v1(p_withdrawal_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_addresses text[], p_idempotency_keys text[], p_request_hashes bytea[]) RETURNS SETOF public.ledger_result_v1
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'public', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
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

CREATE TABLE mockpsp.deliveries (
    delivery_id bigint NOT NULL,
    event_id text NOT NULL,
    object_id text NOT NULL,
    body bytea NOT NULL,
    signing text NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone NOT NULL,
    last_result text,
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'delivered'::text, 'given_up'::text])))
)
WITH (fillfactor='80');

ALTER TABLE mockpsp.deliveries ALTER COLUMN delivery_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mockpsp.deliveries_delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE mockpsp.events (
    event_id text NOT NULL,
    kind text NOT NULL,
    object_id text NOT NULL,
    account_id text NOT NULL,
    reference text NOT NULL,
    sequence integer NOT NULL,
    type text NOT NULL,
    status text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    movement text,
    failure_code text,
    idempotency_key text,
    occurred_at timestamp with time zone NOT NULL,
    written_by xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT events_amount_check CHECK ((amount >= 0)),
    CONSTRAINT events_kind_check CHECK ((kind = ANY (ARRAY['payment'::text, 'payout'::text]))),
    CONSTRAINT events_movement_check CHECK ((movement = ANY (ARRAY['deposit'::text, 'refund'::text, 'payout'::text, 'return'::text])))
);

CREATE TABLE mockpsp.lost_requests (
    idempotency_key text NOT NULL,
    lost_at timestamp with time zone NOT NULL
);

CREATE TABLE mockpsp.payments (
    payment_id text NOT NULL,
    idempotency_key text NOT NULL,
    account_id text NOT NULL,
    reference text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    method text NOT NULL,
    is_captured_at_once boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT payments_amount_check CHECK ((amount > 0))
);

CREATE TABLE mockpsp.payouts (
    payout_id text NOT NULL,
    idempotency_key text NOT NULL,
    account_id text NOT NULL,
    reference text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    method text NOT NULL,
    address text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT payouts_amount_check CHECK ((amount > 0))
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
    sessions_valid_from timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    last_signed_in_at timestamp with time zone,
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
    client_address text,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT audit_events_actor_kind_check CHECK ((actor_kind = ANY (ARRAY['admin'::text, 'player'::text, 'operator'::text, 'system'::text])))
);

CREATE TABLE public.backfill_deferred (
    run_id uuid NOT NULL,
    player_id uuid NOT NULL
);

CREATE TABLE public.backfill_errors (
    run_id uuid NOT NULL,
    player_id uuid NOT NULL,
    code text NOT NULL,
    currency text NOT NULL,
    legacy_available bigint NOT NULL,
    legacy_held bigint NOT NULL,
    ledger_available bigint,
    ledger_pending bigint,
    detail text,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.backfill_requests (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid NOT NULL,
    is_dry_run boolean NOT NULL,
    is_forced boolean NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    reason text,
    actor_kind text NOT NULL,
    actor_id uuid,
    actor_label text NOT NULL,
    players_total bigint,
    scanned bigint DEFAULT 0 NOT NULL,
    created bigint DEFAULT 0 NOT NULL,
    skipped_exists bigint DEFAULT 0 NOT NULL,
    updated_forced bigint DEFAULT 0 NOT NULL,
    errors bigint DEFAULT 0 NOT NULL,
    differing bigint DEFAULT 0 NOT NULL,
    rows_per_second integer,
    throttled_by text,
    result jsonb DEFAULT '{}'::jsonb NOT NULL,
    error text,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT backfill_requests_forced_check CHECK ((is_dry_run OR (NOT is_forced))),
    CONSTRAINT backfill_requests_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'refused'::text, 'failed'::text])))
)
WITH (fillfactor='50');

CREATE TABLE public.census_accounts (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    currency text NOT NULL,
    account text NOT NULL,
    balance numeric NOT NULL
);

CREATE TABLE public.census_classes (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    class text NOT NULL,
    differences bigint NOT NULL,
    amount numeric NOT NULL
);

CREATE TABLE public.census_differences (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    class text NOT NULL,
    place integer NOT NULL,
    player_id uuid,
    currency text NOT NULL,
    wallet_version bigint,
    reference uuid,
    amount numeric NOT NULL,
    evidence jsonb NOT NULL,
    found_at timestamp with time zone NOT NULL
);

CREATE TABLE public.census_runs (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    tenant_id uuid NOT NULL,
    number integer NOT NULL,
    state text DEFAULT 'running'::text NOT NULL,
    is_scheduled boolean NOT NULL,
    started_by text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    progressed_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    next_player_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    chunks bigint DEFAULT 0 NOT NULL,
    resumes integer DEFAULT 0 NOT NULL,
    sides_compared boolean,
    unconfirmed bigint DEFAULT 0 NOT NULL,
    paused_ms bigint DEFAULT 0 NOT NULL,
    CONSTRAINT census_runs_finished_check CHECK (((state = 'running'::text) = (finished_at IS NULL))),
    CONSTRAINT census_runs_state_check CHECK ((state = ANY (ARRAY['running'::text, 'clean'::text, 'differences'::text, 'abandoned'::text])))
);

ALTER TABLE public.census_runs ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.census_runs_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.census_totals (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    currency text NOT NULL,
    players bigint NOT NULL,
    opened_wallets bigint NOT NULL,
    transactions bigint NOT NULL,
    legacy_available numeric NOT NULL,
    legacy_held numeric NOT NULL,
    snapshot_available numeric NOT NULL,
    snapshot_pending numeric NOT NULL,
    folded_available numeric NOT NULL,
    folded_pending numeric NOT NULL,
    open_withdrawals numeric NOT NULL
);

CREATE TABLE public.console_sessions (
    token_hash bytea NOT NULL,
    admin_id uuid NOT NULL,
    scope_tenant_id uuid,
    opened_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    flash jsonb
);

CREATE TABLE public.delivery_buckets (
    provider text NOT NULL,
    minute timestamp with time zone NOT NULL,
    instance integer NOT NULL,
    result text NOT NULL,
    is_credible boolean NOT NULL,
    flush_number bigint NOT NULL,
    n bigint NOT NULL,
    flushed_at timestamp with time zone NOT NULL
)
WITH (fillfactor='70');

CREATE TABLE public.delivery_subjects (
    provider text NOT NULL,
    minute timestamp with time zone NOT NULL,
    subject text NOT NULL,
    tenant_id uuid,
    events bigint NOT NULL
);

CREATE TABLE public.evidence_buckets (
    tenant_id uuid NOT NULL,
    stream text NOT NULL,
    minute timestamp with time zone NOT NULL,
    instance integer NOT NULL,
    epoch integer NOT NULL,
    arbiter public.arbiter_side NOT NULL,
    flush_number bigint NOT NULL,
    n bigint NOT NULL,
    x bigint NOT NULL,
    flushed_at timestamp with time zone NOT NULL,
    CONSTRAINT evidence_buckets_count_check CHECK (((0 <= x) AND (x <= n))),
    CONSTRAINT evidence_buckets_stream_check CHECK ((stream = ANY (ARRAY['t1_disputed'::text, 't1_overpaid'::text, 't1_refused'::text, 't3_mismatch'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.evidence_flushes (
    instance integer NOT NULL,
    flush_number bigint NOT NULL,
    app_version text NOT NULL,
    clock_skew_seconds double precision NOT NULL,
    dropped bigint DEFAULT 0 NOT NULL,
    flushed_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.evidence_subjects (
    tenant_id uuid NOT NULL,
    stream text NOT NULL,
    minute timestamp with time zone NOT NULL,
    epoch integer NOT NULL,
    arbiter public.arbiter_side NOT NULL,
    subject text NOT NULL,
    currency text NOT NULL,
    events bigint NOT NULL,
    amount bigint NOT NULL
);

CREATE VIEW public.flag_statements AS
SELECT
    NULL::text AS flag,
    NULL::boolean AS default_value,
    NULL::boolean AS is_killed,
    NULL::boolean AS global_value,
    NULL::timestamp with time zone AS global_until,
    NULL::boolean AS environment_value;

CREATE VIEW public.flag_levels AS
 SELECT flag,
    default_value,
    is_killed,
        CASE
            WHEN (global_until > clock_timestamp()) THEN global_value
            ELSE NULL::boolean
        END AS global_value,
    environment_value
   FROM public.flag_statements said;

CREATE TABLE public.flag_settings (
    flag text NOT NULL,
    scope text NOT NULL,
    holder text DEFAULT ''::text NOT NULL,
    value boolean NOT NULL,
    reason text,
    set_by text NOT NULL,
    set_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    CONSTRAINT flag_settings_expiry_check CHECK (((scope <> 'environment'::text) OR (expires_at IS NULL))),
    CONSTRAINT flag_settings_global_check CHECK (((scope <> 'global'::text) OR (holder = ''::text))),
    CONSTRAINT flag_settings_scope_check CHECK ((scope = ANY (ARRAY['environment'::text, 'global'::text, 'tenant'::text, 'provider'::text])))
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

CREATE TABLE public.monitor_baselines (
    tenant_id uuid NOT NULL,
    stream text NOT NULL,
    epoch integer NOT NULL,
    arbiter public.arbiter_side NOT NULL,
    found_at timestamp with time zone NOT NULL,
    n bigint NOT NULL,
    x bigint NOT NULL,
    baseline jsonb NOT NULL
);

CREATE TABLE public.monitor_decisions (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    subject_kind text NOT NULL,
    subject text NOT NULL,
    tenant_id uuid,
    trigger text NOT NULL,
    verdict_before text NOT NULL,
    verdict text NOT NULL,
    actions jsonb NOT NULL,
    is_automatic boolean NOT NULL,
    is_rollback boolean NOT NULL,
    epoch integer,
    evidence jsonb NOT NULL,
    thresholds jsonb NOT NULL,
    detector_version text NOT NULL,
    lease_token bigint NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    CONSTRAINT monitor_decisions_subject_kind_check CHECK ((subject_kind = ANY (ARRAY['tenant'::text, 'provider'::text])))
);

CREATE TABLE public.monitor_lease (
    id smallint DEFAULT 1 NOT NULL,
    token bigint DEFAULT 0 NOT NULL,
    holder text DEFAULT ''::text NOT NULL,
    expires_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    evaluated_at timestamp with time zone,
    evaluated_in_ms bigint,
    CONSTRAINT monitor_lease_id_check CHECK ((id = 1))
);

CREATE TABLE public.monitor_results (
    decision_id uuid NOT NULL,
    action text NOT NULL,
    is_done boolean NOT NULL,
    result jsonb NOT NULL,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.monitor_selftests (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    outcome text NOT NULL,
    started_by text NOT NULL,
    findings jsonb NOT NULL,
    CONSTRAINT monitor_selftests_outcome_check CHECK ((outcome = ANY (ARRAY['passed'::text, 'failed'::text, 'skipped'::text])))
);

CREATE TABLE public.monitor_settings (
    tenant_id uuid NOT NULL,
    auto_rollback boolean NOT NULL,
    set_by text NOT NULL,
    set_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.monitor_verdicts (
    subject_kind text NOT NULL,
    subject text NOT NULL,
    trigger text NOT NULL,
    tenant_id uuid,
    verdict text NOT NULL,
    since timestamp with time zone NOT NULL,
    evaluated_at timestamp with time zone NOT NULL,
    decision_id uuid,
    acknowledged_at timestamp with time zone,
    acknowledged_by text,
    latches jsonb NOT NULL,
    assessments jsonb NOT NULL,
    sentences jsonb NOT NULL,
    actions jsonb NOT NULL,
    score double precision NOT NULL,
    CONSTRAINT monitor_verdicts_subject_kind_check CHECK ((subject_kind = ANY (ARRAY['tenant'::text, 'provider'::text]))),
    CONSTRAINT monitor_verdicts_verdict_check CHECK ((verdict = ANY (ARRAY['no_data'::text, 'ok'::text, 'light'::text, 'high'::text, 'sustained'::text, 'critical'::text])))
)
WITH (fillfactor='50');

CREATE TABLE public.payout_attempts (
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    withdrawal_id uuid NOT NULL,
    number integer NOT NULL,
    provider text NOT NULL,
    account_id text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    provider_ref text,
    provider_event_id text,
    provider_sequence bigint,
    failure_code text,
    evidence_ref text,
    created_at timestamp with time zone NOT NULL,
    state_at timestamp with time zone NOT NULL,
    checked_at timestamp with time zone,
    next_check_at timestamp with time zone,
    checks integer DEFAULT 0 NOT NULL,
    CONSTRAINT payout_attempts_amount_check CHECK ((amount > 0)),
    CONSTRAINT payout_attempts_check_check CHECK (((state = ANY (ARRAY['created'::text, 'pending'::text, 'unknown'::text])) = (next_check_at IS NOT NULL))),
    CONSTRAINT payout_attempts_number_check CHECK (((number >= 1) AND (number <= 99999))),
    CONSTRAINT payout_attempts_rail_check CHECK ((((provider = 'manual'::text) = (evidence_ref IS NOT NULL)) AND ((provider = 'manual'::text) = (account_id IS NULL)))),
    CONSTRAINT payout_attempts_state_check CHECK ((state = ANY (ARRAY['created'::text, 'pending'::text, 'unknown'::text, 'paid'::text, 'failed'::text, 'returned'::text])))
);

CREATE TABLE public.platform_modes (
    id smallint DEFAULT 1 NOT NULL,
    shadow_global boolean,
    shadow_global_until timestamp with time zone NOT NULL,
    shadow_otherwise boolean NOT NULL,
    enforce_is_killed boolean NOT NULL,
    enforce_global boolean,
    enforce_global_until timestamp with time zone NOT NULL,
    enforce_otherwise boolean NOT NULL,
    enforce_otherwise_source text NOT NULL,
    CONSTRAINT platform_modes_id_check CHECK ((id = 1))
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

CREATE VIEW public.provider_movements AS
 SELECT entry.tenant_id,
    entry.provider,
    entry.id AS transaction_id,
    entry.player_id,
        CASE entry.type
            WHEN 'deposit_captured'::text THEN 'deposit'::text
            WHEN 'deposit_refunded'::text THEN 'refund'::text
            WHEN 'withdraw_paid'::text THEN 'payout'::text
            WHEN 'withdraw_returned'::text THEN 'return'::text
            ELSE NULL::text
        END AS kind,
    entry.reference AS tx_id,
        CASE
            WHEN (entry.type = ANY (ARRAY['deposit_captured'::text, 'deposit_refunded'::text])) THEN (entry.reference)::text
            ELSE split_part(entry.idempotency_key, '~'::text, 1)
        END AS name,
    entry.provider_ref,
    entry.provider_event_id,
    entry.amount,
    entry.currency,
    entry.occurred_at,
    entry.recorded_at,
    entry.journal_id
   FROM public.ledger_transactions entry
  WHERE ((entry.provider IS NOT NULL) AND (entry.type = ANY (ARRAY['deposit_captured'::text, 'deposit_refunded'::text, 'withdraw_paid'::text, 'withdraw_returned'::text])) AND (((('psp:'::text || entry.provider) || ':clearing'::text) = entry.debit_account) OR ((('psp:'::text || entry.provider) || ':clearing'::text) = entry.credit_account)))
UNION ALL
 SELECT movement.tenant_id,
    movement.provider,
    movement.id AS transaction_id,
    movement.player_id,
        CASE movement.type
            WHEN 'deposit_captured'::text THEN 'deposit'::text
            WHEN 'deposit_refunded'::text THEN 'refund'::text
            WHEN 'withdraw_paid'::text THEN 'payout'::text
            WHEN 'withdraw_returned'::text THEN 'return'::text
            ELSE NULL::text
        END AS kind,
    movement.reference AS tx_id,
        CASE
            WHEN (movement.type = ANY (ARRAY['deposit_captured'::text, 'deposit_refunded'::text])) THEN (movement.reference)::text
            ELSE split_part(movement.idempotency_key, '~'::text, 1)
        END AS name,
    NULL::text AS provider_ref,
    movement.provider_event_id,
    movement.amount,
    movement.currency,
    movement.recorded_at AS occurred_at,
    movement.recorded_at,
    NULL::uuid AS journal_id
   FROM public.legacy_movements movement
  WHERE ((movement.provider IS NOT NULL) AND (movement.type = ANY (ARRAY['deposit_captured'::text, 'deposit_refunded'::text, 'withdraw_paid'::text, 'withdraw_returned'::text])) AND (movement.idempotency_key !~~ '%\_credit'::text));

CREATE TABLE public.psp_accounts (
    provider text NOT NULL,
    account_id text NOT NULL,
    tenant_id uuid NOT NULL,
    webhook_secret_name text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT psp_accounts_webhook_secret_name_check CHECK (((webhook_secret_name ~ '^[A-Z][A-Z0-9_]{0,39}$'::text) AND (webhook_secret_name !~ '(^|_)PREVIOUS$'::text)))
);

CREATE TABLE public.psp_events (
    id uuid NOT NULL,
    provider text NOT NULL,
    account_id text NOT NULL,
    provider_event_id text,
    signature_status text NOT NULL,
    signature_result text NOT NULL,
    secret_name text,
    state text DEFAULT 'pending'::text NOT NULL,
    body bytea NOT NULL,
    body_size integer NOT NULL,
    body_sha256 bytea NOT NULL,
    headers jsonb NOT NULL,
    request_id text,
    received_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone,
    last_error text,
    event_type text,
    effect text,
    detail text,
    tenant_id uuid,
    tx_id uuid,
    applied_at timestamp with time zone,
    CONSTRAINT psp_events_due_check CHECK (((state = 'pending'::text) = (next_attempt_at IS NOT NULL))),
    CONSTRAINT psp_events_named_check CHECK (((signature_status = 'unverified'::text) OR (provider_event_id IS NOT NULL))),
    CONSTRAINT psp_events_signature_status_check CHECK ((signature_status = ANY (ARRAY['valid'::text, 'unverified'::text]))),
    CONSTRAINT psp_events_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'applied'::text, 'ignored'::text, 'quarantined'::text, 'dead'::text])))
);

CREATE TABLE public.psp_statement_items (
    provider text NOT NULL,
    account_id text NOT NULL,
    item_id text NOT NULL,
    tenant_id uuid NOT NULL,
    provider_ref text NOT NULL,
    reference text,
    kind text NOT NULL,
    status text NOT NULL,
    status_class text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    copies integer NOT NULL,
    transaction_id uuid,
    rule text,
    gone_at timestamp with time zone,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT psp_statement_items_amount_check CHECK ((amount >= 0)),
    CONSTRAINT psp_statement_items_kind_check CHECK ((kind = ANY (ARRAY['deposit'::text, 'refund'::text, 'payout'::text, 'return'::text]))),
    CONSTRAINT psp_statement_items_rule_check CHECK ((((transaction_id IS NULL) = (rule IS NULL)) AND (rule = ANY (ARRAY['event'::text, 'provider_ref'::text, 'reference'::text])))),
    CONSTRAINT psp_statement_items_status_class_check CHECK ((status_class = ANY (ARRAY['pending'::text, 'success'::text, 'failed'::text, 'reversed'::text])))
)
WITH (fillfactor='100');

CREATE UNLOGGED TABLE public.psp_statement_lines (
    run_id uuid NOT NULL,
    account_id text NOT NULL,
    item_id text NOT NULL,
    provider_ref text NOT NULL,
    reference text,
    kind text NOT NULL,
    status text NOT NULL,
    status_class text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    occurred_at timestamp with time zone NOT NULL
);

CREATE TABLE public.reconciliation_balances (
    tenant_id uuid NOT NULL,
    provider text NOT NULL,
    account_id text NOT NULL,
    currency text NOT NULL,
    day date NOT NULL,
    psp_items bigint NOT NULL,
    psp_net numeric NOT NULL,
    ledger_transactions bigint NOT NULL,
    ledger_net numeric NOT NULL,
    explained_net numeric NOT NULL,
    run_id uuid NOT NULL
);

CREATE TABLE public.reconciliation_reach (
    tenant_id uuid NOT NULL,
    provider text NOT NULL,
    covered_from timestamp with time zone NOT NULL,
    covered_until timestamp with time zone NOT NULL,
    ledger_until uuid NOT NULL,
    balanced_until date NOT NULL
);

CREATE TABLE public.reconciliation_runs (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    number integer NOT NULL,
    parent_id uuid,
    tenant_id uuid,
    provider text NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    is_window_asked boolean NOT NULL,
    is_full boolean NOT NULL,
    is_dry_run boolean NOT NULL,
    is_scheduled boolean NOT NULL,
    file jsonb,
    started_by text NOT NULL,
    started_by_id uuid,
    window_start timestamp with time zone,
    window_end timestamp with time zone,
    cutoff timestamp with time zone,
    is_feed_complete boolean,
    feed jsonb DEFAULT '{}'::jsonb NOT NULL,
    counts jsonb DEFAULT '{}'::jsonb NOT NULL,
    control_totals jsonb DEFAULT '{}'::jsonb NOT NULL,
    resumes integer DEFAULT 0 NOT NULL,
    error text,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    progressed_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT reconciliation_runs_finished_check CHECK (((status = ANY (ARRAY['queued'::text, 'running'::text])) = (finished_at IS NULL))),
    CONSTRAINT reconciliation_runs_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'partial'::text, 'failed'::text]))),
    CONSTRAINT reconciliation_runs_window_check CHECK ((window_start < window_end))
);

ALTER TABLE public.reconciliation_runs ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.reconciliation_runs_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.reconciliation_unmatched (
    tenant_id uuid NOT NULL,
    provider text NOT NULL,
    transaction_id uuid NOT NULL,
    player_id uuid NOT NULL,
    kind text NOT NULL,
    tx_id uuid,
    reference text,
    provider_ref text,
    provider_event_id text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE public.rollout_holds (
    id uuid DEFAULT public.uuid_v7() NOT NULL,
    kind text NOT NULL,
    tenant_id uuid,
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ends_at timestamp with time zone,
    decision_id uuid,
    lifted_at timestamp with time zone,
    lifted_by text,
    lift_reason text,
    CONSTRAINT rollout_holds_freeze_check CHECK (((kind <> 'freeze'::text) OR (tenant_id IS NULL))),
    CONSTRAINT rollout_holds_kind_check CHECK ((kind = ANY (ARRAY['hold'::text, 'cooldown'::text, 'freeze'::text, 'pin'::text]))),
    CONSTRAINT rollout_holds_lifted_check CHECK ((((lifted_at IS NULL) = (lifted_by IS NULL)) AND ((lifted_at IS NULL) = (lift_reason IS NULL)))),
    CONSTRAINT rollout_holds_reason_check CHECK (((char_length(reason) >= 1) AND (char_length(reason) <= 500)))
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

CREATE TABLE public.settlement_mappings (
    tenant_id uuid NOT NULL,
    provider text NOT NULL,
    mapping jsonb NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
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
    is_sandbox boolean DEFAULT false NOT NULL,
    CONSTRAINT tenants_flags_check CHECK (((jsonb_typeof(flags) = 'object'::text) AND (COALESCE((flags -> 'ledger_enforce_override'::text), 'null'::jsonb) = ANY (ARRAY['true'::jsonb, 'false'::jsonb, 'null'::jsonb])) AND (COALESCE((flags -> 'ledger_shadow_override'::text), 'null'::jsonb) = ANY (ARRAY['true'::jsonb, 'false'::jsonb, 'null'::jsonb])))),
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
            COALESCE(((tenant.flags ->> 'ledger_shadow_override'::text))::boolean,
                CASE
                    WHEN (platform.shadow_global_until > clock_timestamp()) THEN platform.shadow_global
                    ELSE NULL::boolean
                END, platform.shadow_otherwise) AS shadow_write,
            ((NOT platform.enforce_is_killed) AND COALESCE(((tenant.flags ->> 'ledger_enforce_override'::text))::boolean,
                CASE
                    WHEN (platform.enforce_global_until > clock_timestamp()) THEN platform.enforce_global
                    ELSE NULL::boolean
                END, platform.enforce_otherwise)) AS enforce_balance,
                CASE
                    WHEN platform.enforce_is_killed THEN 'environment_false'::text
                    WHEN ((tenant.flags ->> 'ledger_enforce_override'::text) IS NOT NULL) THEN 'tenant'::text
                    WHEN ((platform.enforce_global IS NOT NULL) AND (platform.enforce_global_until > clock_timestamp())) THEN 'global'::text
                    ELSE platform.enforce_otherwise_source
                END AS enforce_source
           FROM (public.tenants tenant
             JOIN public.platform_modes platform ON ((platform.id = 1)))) mode;

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

CREATE TABLE public.withdrawal_deed_keys (
    tenant_id uuid NOT NULL,
    player_id uuid NOT NULL,
    operation text NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    withdrawal_id uuid NOT NULL,
    answered jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.withdrawal_transitions (
    from_state text NOT NULL,
    action text NOT NULL,
    to_state text NOT NULL,
    ledger_types text[] NOT NULL,
    is_by_admin boolean GENERATED ALWAYS AS ((action !~~ 'payout_%'::text)) STORED NOT NULL
);

ALTER TABLE ONLY mockpsp.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (delivery_id);

ALTER TABLE ONLY mockpsp.events
    ADD CONSTRAINT events_idempotency_key UNIQUE (idempotency_key);

ALTER TABLE ONLY mockpsp.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY mockpsp.events
    ADD CONSTRAINT events_sequence_key UNIQUE (object_id, sequence);

ALTER TABLE ONLY mockpsp.lost_requests
    ADD CONSTRAINT lost_requests_pkey PRIMARY KEY (idempotency_key);

ALTER TABLE ONLY mockpsp.payments
    ADD CONSTRAINT payments_idempotency_key UNIQUE (idempotency_key);

ALTER TABLE ONLY mockpsp.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (payment_id);

ALTER TABLE ONLY mockpsp.payouts
    ADD CONSTRAINT payouts_idempotency_key UNIQUE (idempotency_key);

ALTER TABLE ONLY mockpsp.payouts
    ADD CONSTRAINT payouts_pkey PRIMARY KEY (payout_id);

ALTER TABLE ONLY public.admins
    ADD CONSTRAINT admins_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.arbiter_changes
    ADD CONSTRAINT arbiter_changes_epoch_key UNIQUE (tenant_id, epoch);

ALTER TABLE ONLY public.arbiter_changes
    ADD CONSTRAINT arbiter_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.backfill_deferred
    ADD CONSTRAINT backfill_deferred_pkey PRIMARY KEY (run_id, player_id);

ALTER TABLE ONLY public.backfill_errors
    ADD CONSTRAINT backfill_errors_pkey PRIMARY KEY (run_id, player_id, code);

ALTER TABLE ONLY public.backfill_requests
    ADD CONSTRAINT backfill_requests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.backfill_runs
    ADD CONSTRAINT backfill_runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.census_accounts
    ADD CONSTRAINT census_accounts_pkey PRIMARY KEY (tenant_id, run_id, currency, account);

ALTER TABLE ONLY public.census_classes
    ADD CONSTRAINT census_classes_pkey PRIMARY KEY (tenant_id, run_id, class);

ALTER TABLE ONLY public.census_differences
    ADD CONSTRAINT census_differences_pkey PRIMARY KEY (tenant_id, run_id, class, place);

ALTER TABLE ONLY public.census_runs
    ADD CONSTRAINT census_runs_number_key UNIQUE (number);

ALTER TABLE ONLY public.census_runs
    ADD CONSTRAINT census_runs_pkey PRIMARY KEY (tenant_id, id);

ALTER TABLE ONLY public.census_totals
    ADD CONSTRAINT census_totals_pkey PRIMARY KEY (tenant_id, run_id, currency);

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.delivery_buckets
    ADD CONSTRAINT delivery_buckets_pkey PRIMARY KEY (provider, minute, instance, result, is_credible);

ALTER TABLE ONLY public.delivery_subjects
    ADD CONSTRAINT delivery_subjects_pkey PRIMARY KEY (provider, minute, subject);

ALTER TABLE ONLY public.deposits
    ADD CONSTRAINT deposits_idempotency_key UNIQUE (tenant_id, player_id, idempotency_key);

ALTER TABLE ONLY public.deposits
    ADD CONSTRAINT deposits_pkey PRIMARY KEY (tenant_id, player_id, id);

ALTER TABLE ONLY public.evidence_buckets
    ADD CONSTRAINT evidence_buckets_pkey PRIMARY KEY (tenant_id, stream, minute, instance, epoch, arbiter);

ALTER TABLE ONLY public.evidence_flushes
    ADD CONSTRAINT evidence_flushes_pkey PRIMARY KEY (instance);

ALTER TABLE ONLY public.evidence_subjects
    ADD CONSTRAINT evidence_subjects_pkey PRIMARY KEY (tenant_id, stream, minute, epoch, arbiter, subject, currency);

ALTER TABLE ONLY public.flag_settings
    ADD CONSTRAINT flag_settings_pkey PRIMARY KEY (flag, scope, holder);

ALTER TABLE ONLY public.flags
    ADD CONSTRAINT flags_pkey PRIMARY KEY (flag);

ALTER TABLE ONLY public.ledger_accounts
    ADD CONSTRAINT ledger_accounts_pkey PRIMARY KEY (account);

ALTER TABLE ONLY public.ledger_adjustments
    ADD CONSTRAINT ledger_adjustments_pkey PRIMARY KEY (id);

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

ALTER TABLE ONLY public.monitor_baselines
    ADD CONSTRAINT monitor_baselines_pkey PRIMARY KEY (tenant_id, stream, epoch, arbiter);

ALTER TABLE ONLY public.monitor_decisions
    ADD CONSTRAINT monitor_decisions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.monitor_lease
    ADD CONSTRAINT monitor_lease_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.monitor_results
    ADD CONSTRAINT monitor_results_pkey PRIMARY KEY (decision_id, action);

ALTER TABLE ONLY public.monitor_selftests
    ADD CONSTRAINT monitor_selftests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.monitor_settings
    ADD CONSTRAINT monitor_settings_pkey PRIMARY KEY (tenant_id);

ALTER TABLE ONLY public.monitor_verdicts
    ADD CONSTRAINT monitor_verdicts_pkey PRIMARY KEY (subject_kind, subject, trigger);

ALTER TABLE ONLY public.payout_attempts
    ADD CONSTRAINT payout_attempts_pkey PRIMARY KEY (tenant_id, player_id, withdrawal_id, number);

ALTER TABLE ONLY public.platform_modes
    ADD CONSTRAINT platform_modes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.players
    ADD CONSTRAINT players_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.psp_accounts
    ADD CONSTRAINT psp_accounts_pkey PRIMARY KEY (provider, account_id);

ALTER TABLE ONLY public.psp_events
    ADD CONSTRAINT psp_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.psp_statement_items
    ADD CONSTRAINT psp_statement_items_pkey PRIMARY KEY (provider, account_id, item_id);

ALTER TABLE ONLY public.reconciliation_balances
    ADD CONSTRAINT reconciliation_balances_pkey PRIMARY KEY (tenant_id, provider, account_id, currency, day);

ALTER TABLE ONLY public.reconciliation_findings
    ADD CONSTRAINT reconciliation_findings_fingerprint_key UNIQUE (fingerprint);

ALTER TABLE ONLY public.reconciliation_findings
    ADD CONSTRAINT reconciliation_findings_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.reconciliation_reach
    ADD CONSTRAINT reconciliation_reach_pkey PRIMARY KEY (tenant_id, provider);

ALTER TABLE ONLY public.reconciliation_runs
    ADD CONSTRAINT reconciliation_runs_number_key UNIQUE (number);

ALTER TABLE ONLY public.reconciliation_runs
    ADD CONSTRAINT reconciliation_runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.reconciliation_unmatched
    ADD CONSTRAINT reconciliation_unmatched_pkey PRIMARY KEY (tenant_id, provider, transaction_id);

ALTER TABLE ONLY public.rollout_holds
    ADD CONSTRAINT rollout_holds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.service_instances
    ADD CONSTRAINT service_instances_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.settlement_mappings
    ADD CONSTRAINT settlement_mappings_pkey PRIMARY KEY (tenant_id, provider);

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

ALTER TABLE ONLY public.withdrawal_deed_keys
    ADD CONSTRAINT withdrawal_deed_keys_pkey PRIMARY KEY (tenant_id, player_id, operation, idempotency_key);

ALTER TABLE ONLY public.withdrawal_transitions
    ADD CONSTRAINT withdrawal_transitions_pkey PRIMARY KEY (from_state, action);

ALTER TABLE ONLY public.withdrawals
    ADD CONSTRAINT withdrawals_idempotency_key UNIQUE (tenant_id, player_id, idempotency_key);

ALTER TABLE ONLY public.withdrawals
    ADD CONSTRAINT withdrawals_pkey PRIMARY KEY (tenant_id, player_id, id);

CREATE INDEX deliveries_due_index ON mockpsp.deliveries USING btree (due_at, delivery_id) WHERE (state = 'waiting'::text);

CREATE INDEX deliveries_event_index ON mockpsp.deliveries USING btree (event_id);

CREATE INDEX events_reference_index ON mockpsp.events USING btree (account_id, reference, kind);

CREATE INDEX events_statement_index ON mockpsp.events USING btree (account_id, occurred_at, event_id) WHERE (movement IS NOT NULL);

CREATE UNIQUE INDEX admins_email_key ON public.admins USING btree (email);

CREATE INDEX admins_tenant_index ON public.admins USING btree (tenant_id, id DESC);

CREATE INDEX arbiter_changes_recent_index ON public.arbiter_changes USING btree (changed_at, id);

CREATE INDEX audit_events_action_index ON public.audit_events USING btree (tenant_id, action, id DESC);

CREATE INDEX audit_events_actor_id_index ON public.audit_events USING btree (tenant_id, actor_id, id DESC) WHERE (actor_id IS NOT NULL);

CREATE INDEX audit_events_actor_index ON public.audit_events USING btree (tenant_id, actor_label, id DESC);

CREATE INDEX audit_events_deed_index ON public.audit_events USING btree (tenant_id, actor_label, action, id DESC);

CREATE INDEX audit_events_object_index ON public.audit_events USING btree (object_id, id DESC);

CREATE INDEX audit_events_tenant_index ON public.audit_events USING btree (tenant_id, id DESC);

CREATE UNIQUE INDEX backfill_requests_open_key ON public.backfill_requests USING btree (tenant_id) WHERE (state = ANY (ARRAY['queued'::text, 'running'::text]));

CREATE INDEX backfill_requests_tenant_index ON public.backfill_requests USING btree (tenant_id, id DESC);

CREATE UNIQUE INDEX backfill_runs_running_key ON public.backfill_runs USING btree (tenant_id) WHERE (state = 'running'::text);

CREATE INDEX backfill_runs_tenant_index ON public.backfill_runs USING btree (tenant_id, id DESC);

CREATE INDEX console_sessions_admin_index ON public.console_sessions USING btree (admin_id);

CREATE INDEX console_sessions_seen_index ON public.console_sessions USING btree (seen_at);

CREATE INDEX delivery_buckets_minute_index ON public.delivery_buckets USING btree (minute);

CREATE INDEX delivery_subjects_minute_index ON public.delivery_subjects USING btree (minute);

CREATE INDEX deposits_due_index ON public.deposits USING btree (next_check_at, id) WHERE (next_check_at IS NOT NULL);

CREATE INDEX deposits_id_index ON public.deposits USING btree (id);

CREATE INDEX deposits_player_index ON public.deposits USING btree (tenant_id, player_id, created_at DESC, id DESC);

CREATE INDEX deposits_provider_ref_index ON public.deposits USING btree (provider, provider_ref) WHERE (provider_ref IS NOT NULL);

CREATE INDEX evidence_buckets_disagreed_index ON public.evidence_buckets USING btree (tenant_id, minute) WHERE ((x > 0) AND (stream <> 't1_refused'::text));

CREATE INDEX evidence_buckets_minute_index ON public.evidence_buckets USING btree (minute);

CREATE INDEX evidence_subjects_minute_index ON public.evidence_subjects USING btree (minute);

CREATE UNIQUE INDEX ledger_adjustments_closes_key ON public.ledger_adjustments USING btree (closes_kind, closes_id) WHERE ((closes_id IS NOT NULL) AND (status <> 'rejected'::text));

CREATE INDEX ledger_adjustments_finding_index ON public.ledger_adjustments USING btree (finding_id) WHERE (finding_id IS NOT NULL);

CREATE INDEX ledger_adjustments_tenant_index ON public.ledger_adjustments USING btree (tenant_id, id DESC);

CREATE INDEX ledger_mismatches_recent_index ON public.ledger_mismatches USING btree (tenant_id, last_seen_at);

CREATE INDEX ledger_refusals_recent_index ON public.ledger_refusals USING btree (tenant_id, recorded_at) WHERE (recorded_at IS NOT NULL);

CREATE INDEX ledger_transactions_id_index ON public.ledger_transactions USING btree (id);

CREATE UNIQUE INDEX ledger_transactions_provider_event_key ON public.ledger_transactions USING btree (provider, provider_event_id) WHERE (provider_event_id IS NOT NULL);

CREATE INDEX ledger_transactions_provider_index ON public.ledger_transactions USING btree (tenant_id, provider, id) WHERE (provider IS NOT NULL);

CREATE INDEX ledger_transactions_reference_index ON public.ledger_transactions USING btree (reference) WHERE (reference IS NOT NULL);

CREATE UNIQUE INDEX legacy_movements_provider_event_key ON public.legacy_movements USING btree (provider, provider_event_id) WHERE (provider_event_id IS NOT NULL);

CREATE INDEX legacy_movements_provider_index ON public.legacy_movements USING btree (tenant_id, provider, id) WHERE (provider IS NOT NULL);

CREATE INDEX monitor_decisions_recent_index ON public.monitor_decisions USING btree (decided_at DESC, id DESC);

CREATE UNIQUE INDEX monitor_decisions_rollback_key ON public.monitor_decisions USING btree (tenant_id, epoch) WHERE is_rollback;

CREATE INDEX monitor_decisions_subject_index ON public.monitor_decisions USING btree (subject_kind, subject, decided_at DESC, id DESC);

CREATE INDEX monitor_verdicts_tenant_index ON public.monitor_verdicts USING btree (tenant_id) WHERE (tenant_id IS NOT NULL);

CREATE INDEX payout_attempts_due_index ON public.payout_attempts USING btree (next_check_at) WHERE (next_check_at IS NOT NULL);

CREATE UNIQUE INDEX payout_attempts_evidence_key ON public.payout_attempts USING btree (tenant_id, evidence_ref) WHERE (evidence_ref IS NOT NULL);

CREATE UNIQUE INDEX payout_attempts_open_key ON public.payout_attempts USING btree (tenant_id, player_id, withdrawal_id) WHERE (state = ANY (ARRAY['created'::text, 'pending'::text, 'unknown'::text]));

CREATE INDEX payout_attempts_provider_index ON public.payout_attempts USING btree (provider, provider_ref) WHERE (provider_ref IS NOT NULL);

CREATE INDEX payout_attempts_withdrawal_index ON public.payout_attempts USING btree (withdrawal_id, number);

CREATE UNIQUE INDEX players_email_key ON public.players USING btree (tenant_id, email);

CREATE INDEX players_email_prefix_index ON public.players USING btree (tenant_id, email COLLATE "C");

CREATE UNIQUE INDEX players_external_id_key ON public.players USING btree (tenant_id, external_id) WHERE (external_id IS NOT NULL);

CREATE INDEX players_tenant_index ON public.players USING btree (tenant_id, id DESC);

CREATE INDEX players_username_prefix_index ON public.players USING btree (tenant_id, lower(username) COLLATE "C");

CREATE INDEX psp_accounts_secret_index ON public.psp_accounts USING btree (provider, webhook_secret_name, account_id) WHERE (webhook_secret_name IS NOT NULL);

CREATE INDEX psp_accounts_tenant_index ON public.psp_accounts USING btree (tenant_id, provider, account_id);

CREATE INDEX psp_events_due_index ON public.psp_events USING btree (next_attempt_at, id) WHERE (state = 'pending'::text);

CREATE INDEX psp_events_tenant_index ON public.psp_events USING btree (tenant_id, id DESC);

CREATE INDEX psp_events_tx_index ON public.psp_events USING btree (tx_id) WHERE (tx_id IS NOT NULL);

CREATE INDEX psp_events_unverified_index ON public.psp_events USING btree (provider, received_at) WHERE (signature_status = 'unverified'::text);

CREATE UNIQUE INDEX psp_events_verified_key ON public.psp_events USING btree (provider, account_id, provider_event_id) WHERE (signature_status = 'valid'::text);

CREATE INDEX psp_events_waiting_index ON public.psp_events USING btree (state, received_at, id) WHERE (state = ANY (ARRAY['pending'::text, 'dead'::text, 'quarantined'::text]));

CREATE INDEX psp_statement_items_day_index ON public.psp_statement_items USING btree (tenant_id, provider, occurred_at);

CREATE INDEX psp_statement_items_ref_index ON public.psp_statement_items USING btree (tenant_id, provider, provider_ref);

CREATE UNIQUE INDEX psp_statement_items_transaction_key ON public.psp_statement_items USING btree (transaction_id) WHERE (transaction_id IS NOT NULL);

CREATE INDEX psp_statement_items_unmatched_index ON public.psp_statement_items USING btree (tenant_id, provider) WHERE (transaction_id IS NULL);

CREATE INDEX psp_statement_lines_run_index ON public.psp_statement_lines USING btree (run_id);

CREATE INDEX reconciliation_findings_attention_index ON public.reconciliation_findings USING btree (tenant_id, severity, created_at) WHERE (status = 'OPEN'::text);

CREATE INDEX reconciliation_findings_event_index ON public.reconciliation_findings USING btree (tenant_id, provider_event_id) WHERE (provider_event_id IS NOT NULL);

CREATE INDEX reconciliation_findings_newest_index ON public.reconciliation_findings USING btree (tenant_id, id DESC);

CREATE INDEX reconciliation_findings_open_index ON public.reconciliation_findings USING btree (tenant_id, provider, finding_type, id) WHERE (status = 'OPEN'::text);

CREATE INDEX reconciliation_findings_open_newest_index ON public.reconciliation_findings USING btree (id DESC) WHERE (status = 'OPEN'::text);

CREATE INDEX reconciliation_findings_open_tenant_index ON public.reconciliation_findings USING btree (tenant_id, id DESC) WHERE (status = 'OPEN'::text);

CREATE INDEX reconciliation_findings_ref_index ON public.reconciliation_findings USING btree (tenant_id, provider, provider_ref) WHERE (provider_ref IS NOT NULL);

CREATE INDEX reconciliation_findings_run_index ON public.reconciliation_findings USING btree (run_id, id DESC) WHERE (run_id IS NOT NULL);

CREATE INDEX reconciliation_findings_tenant_index ON public.reconciliation_findings USING btree (tenant_id, created_at DESC, id DESC);

CREATE INDEX reconciliation_findings_tx_index ON public.reconciliation_findings USING btree (tx_id) WHERE (tx_id IS NOT NULL);

CREATE INDEX reconciliation_runs_file_index ON public.reconciliation_runs USING btree (tenant_id, provider, ((file ->> 'sha256'::text))) WHERE (file IS NOT NULL);

CREATE INDEX reconciliation_runs_finished_index ON public.reconciliation_runs USING btree (tenant_id, provider, finished_at DESC) WHERE ((status = 'completed'::text) AND (NOT is_dry_run));

CREATE UNIQUE INDEX reconciliation_runs_open_key ON public.reconciliation_runs USING btree (tenant_id, provider) NULLS NOT DISTINCT WHERE (status = ANY (ARRAY['queued'::text, 'running'::text]));

CREATE INDEX reconciliation_runs_parent_index ON public.reconciliation_runs USING btree (parent_id) WHERE (parent_id IS NOT NULL);

CREATE INDEX reconciliation_runs_tenant_index ON public.reconciliation_runs USING btree (tenant_id, id DESC);

CREATE INDEX rollout_holds_history_index ON public.rollout_holds USING btree (tenant_id, id DESC);

CREATE INDEX rollout_holds_tenant_index ON public.rollout_holds USING btree (tenant_id, id DESC) WHERE (lifted_at IS NULL);

CREATE INDEX sign_in_failures_window_index ON public.sign_in_failures USING btree (window_started_at);

CREATE UNIQUE INDEX tenants_sandbox_key ON public.tenants USING btree (is_sandbox) WHERE is_sandbox;

CREATE INDEX withdrawals_amount_index ON public.withdrawals USING btree (tenant_id, amount, id);

CREATE INDEX withdrawals_created_index ON public.withdrawals USING btree (created_at, id);

CREATE INDEX withdrawals_currency_index ON public.withdrawals USING btree (currency, tenant_id, created_at, id);

CREATE INDEX withdrawals_id_index ON public.withdrawals USING btree (id);

CREATE INDEX withdrawals_method_index ON public.withdrawals USING btree (tenant_id, method, created_at, id);

CREATE INDEX withdrawals_player_index ON public.withdrawals USING btree (tenant_id, player_id, created_at DESC, id DESC);

CREATE INDEX withdrawals_state_index ON public.withdrawals USING btree (tenant_id, state, created_at, id);

CREATE INDEX withdrawals_tenant_index ON public.withdrawals USING btree (tenant_id, created_at, id);

CREATE OR REPLACE VIEW public.flag_statements AS
 SELECT flag.flag,
    flag.default_value,
    (flag.environment_false_wins AND COALESCE(bool_or(((setting.scope = 'environment'::text) AND (NOT setting.value))), false)) AS is_killed,
    bool_and(setting.value) FILTER (WHERE (setting.scope = 'global'::text)) AS global_value,
    COALESCE(max(setting.expires_at) FILTER (WHERE (setting.scope = 'global'::text)), 'infinity'::timestamp with time zone) AS global_until,
    bool_and(setting.value) FILTER (WHERE (setting.scope = 'environment'::text)) AS environment_value
   FROM (public.flags flag
     LEFT JOIN public.flag_settings setting ON (((setting.flag = flag.flag) AND (setting.scope = ANY (ARRAY['environment'::text, 'global'::text])))))
  GROUP BY flag.flag;

CREATE TRIGGER arbiter_changes_append_only BEFORE DELETE OR UPDATE ON public.arbiter_changes FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER arbiter_changes_no_truncate BEFORE TRUNCATE ON public.arbiter_changes FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER audit_events_append_only BEFORE DELETE OR UPDATE ON public.audit_events FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON public.audit_events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER flag_settings_platform_modes AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.flag_settings FOR EACH STATEMENT EXECUTE FUNCTION public.platform_modes_refresh_v1();

CREATE TRIGGER flags_platform_modes AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.flags FOR EACH STATEMENT EXECUTE FUNCTION public.platform_modes_refresh_v1();

CREATE TRIGGER ledger_refusals_append_only BEFORE DELETE OR UPDATE ON public.ledger_refusals FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER ledger_refusals_no_truncate BEFORE TRUNCATE ON public.ledger_refusals FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER ledger_transactions_adjustment_approved AFTER INSERT ON public.ledger_transactions FOR EACH ROW WHEN ((new.type = ANY (ARRAY['manual_adjustment'::text, 'clearing_adjustment'::text]))) EXECUTE FUNCTION public.ensure_adjustment_approved();

CREATE TRIGGER ledger_transactions_append_only BEFORE DELETE OR UPDATE ON public.ledger_transactions FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON public.ledger_transactions FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER legacy_movements_append_only BEFORE DELETE OR UPDATE ON public.legacy_movements FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER legacy_movements_no_truncate BEFORE TRUNCATE ON public.legacy_movements FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER monitor_decisions_append_only BEFORE DELETE OR UPDATE ON public.monitor_decisions FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER monitor_decisions_no_truncate BEFORE TRUNCATE ON public.monitor_decisions FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER tenants_flags_notify AFTER UPDATE OF flags ON public.tenants FOR EACH STATEMENT EXECUTE FUNCTION public.tenant_flags_notify_v1();

ALTER TABLE ONLY mockpsp.deliveries
    ADD CONSTRAINT deliveries_event_fkey FOREIGN KEY (event_id) REFERENCES mockpsp.events(event_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.admins
    ADD CONSTRAINT admins_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.arbiter_changes
    ADD CONSTRAINT arbiter_changes_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.backfill_deferred
    ADD CONSTRAINT backfill_deferred_run_fkey FOREIGN KEY (run_id) REFERENCES public.backfill_runs(id);

ALTER TABLE ONLY public.backfill_errors
    ADD CONSTRAINT backfill_errors_run_fkey FOREIGN KEY (run_id) REFERENCES public.backfill_runs(id);

ALTER TABLE ONLY public.backfill_requests
    ADD CONSTRAINT backfill_requests_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.backfill_runs
    ADD CONSTRAINT backfill_runs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.census_accounts
    ADD CONSTRAINT census_accounts_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES public.census_runs(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.census_classes
    ADD CONSTRAINT census_classes_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES public.census_runs(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.census_differences
    ADD CONSTRAINT census_differences_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES public.census_runs(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.census_runs
    ADD CONSTRAINT census_runs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.census_totals
    ADD CONSTRAINT census_totals_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES public.census_runs(tenant_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_admin_fkey FOREIGN KEY (admin_id) REFERENCES public.admins(id);

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_tenant_fkey FOREIGN KEY (scope_tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.flag_settings
    ADD CONSTRAINT flag_settings_flag_fkey FOREIGN KEY (flag) REFERENCES public.flags(flag);

ALTER TABLE ONLY public.ledger_adjustments
    ADD CONSTRAINT ledger_adjustments_decider_fkey FOREIGN KEY (decided_by) REFERENCES public.admins(id);

ALTER TABLE ONLY public.ledger_adjustments
    ADD CONSTRAINT ledger_adjustments_finding_fkey FOREIGN KEY (finding_id) REFERENCES public.reconciliation_findings(id);

ALTER TABLE ONLY public.ledger_adjustments
    ADD CONSTRAINT ledger_adjustments_proposer_fkey FOREIGN KEY (proposed_by) REFERENCES public.admins(id);

ALTER TABLE ONLY public.ledger_adjustments
    ADD CONSTRAINT ledger_adjustments_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.ledger_transaction_types
    ADD CONSTRAINT ledger_transaction_types_credit_fkey FOREIGN KEY (credit_account) REFERENCES public.ledger_accounts(account);

ALTER TABLE ONLY public.ledger_transaction_types
    ADD CONSTRAINT ledger_transaction_types_debit_fkey FOREIGN KEY (debit_account) REFERENCES public.ledger_accounts(account);

ALTER TABLE ONLY public.monitor_decisions
    ADD CONSTRAINT monitor_decisions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.monitor_results
    ADD CONSTRAINT monitor_results_decision_fkey FOREIGN KEY (decision_id) REFERENCES public.monitor_decisions(id);

ALTER TABLE ONLY public.monitor_settings
    ADD CONSTRAINT monitor_settings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.monitor_verdicts
    ADD CONSTRAINT monitor_verdicts_decision_fkey FOREIGN KEY (decision_id) REFERENCES public.monitor_decisions(id);

ALTER TABLE ONLY public.monitor_verdicts
    ADD CONSTRAINT monitor_verdicts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.payout_attempts
    ADD CONSTRAINT payout_attempts_withdrawal_fkey FOREIGN KEY (tenant_id, player_id, withdrawal_id) REFERENCES public.withdrawals(tenant_id, player_id, id);

ALTER TABLE ONLY public.players
    ADD CONSTRAINT players_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.psp_accounts
    ADD CONSTRAINT psp_accounts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.psp_events
    ADD CONSTRAINT psp_events_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.reconciliation_findings
    ADD CONSTRAINT reconciliation_findings_assigned_fkey FOREIGN KEY (assigned_to) REFERENCES public.admins(id);

ALTER TABLE ONLY public.reconciliation_findings
    ADD CONSTRAINT reconciliation_findings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.reconciliation_reach
    ADD CONSTRAINT reconciliation_reach_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.reconciliation_runs
    ADD CONSTRAINT reconciliation_runs_parent_fkey FOREIGN KEY (parent_id) REFERENCES public.reconciliation_runs(id);

ALTER TABLE ONLY public.reconciliation_runs
    ADD CONSTRAINT reconciliation_runs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.rollout_holds
    ADD CONSTRAINT rollout_holds_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

ALTER TABLE ONLY public.settlement_mappings
    ADD CONSTRAINT settlement_mappings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);

GRANT USAGE ON SCHEMA mockpsp TO hakem_service;

REVOKE ALL ON FUNCTION public.adjustment_admin_v1(p_tenant_id uuid, p_admin_id uuid, p_roles text[]) FROM PUBLIC;

GRANT SELECT ON TABLE public.ledger_adjustments TO hakem_service;

REVOKE ALL ON FUNCTION public.adjustment_close_v1(p_adjustment public.ledger_adjustments) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.adjustment_decide_v1(p_tenant_id uuid, p_adjustment_id uuid, p_admin_id uuid, p_is_approved boolean, p_note text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.adjustment_decide_v1(p_tenant_id uuid, p_adjustment_id uuid, p_admin_id uuid, p_is_approved boolean, p_note text) TO hakem_service;

REVOKE ALL ON FUNCTION public.adjustment_propose_v1(p_tenant_id uuid, p_player_id uuid, p_finding_id uuid, p_player_amount bigint, p_clearing_amount bigint, p_provider text, p_closes_kind text, p_closes_id uuid, p_closes_attempt integer, p_reason text, p_admin_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.adjustment_propose_v1(p_tenant_id uuid, p_player_id uuid, p_finding_id uuid, p_player_amount bigint, p_clearing_amount bigint, p_provider text, p_closes_kind text, p_closes_id uuid, p_closes_attempt integer, p_reason text, p_admin_id uuid) TO hakem_service;

REVOKE ALL ON FUNCTION public.backfill_chunk_v1(p_run_id uuid, p_lease_token bigint, p_rows integer, p_currencies text, p_rows_per_second integer, p_error_code text, p_error_detail text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.backfill_chunk_v1(p_run_id uuid, p_lease_token bigint, p_rows integer, p_currencies text, p_rows_per_second integer, p_error_code text, p_error_detail text) TO hakem_service;

GRANT ALL ON FUNCTION public.backfill_judge_v1(p_tenant_id uuid, p_player_ids uuid[], p_currencies text, p_arbiter text, p_is_forced boolean) TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(state) ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(runner) ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(lease_token) ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(batch_size) ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(throttled_by) ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(error) ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(updated_at) ON TABLE public.backfill_runs TO hakem_service;

GRANT UPDATE(finished_at) ON TABLE public.backfill_runs TO hakem_service;

REVOKE ALL ON FUNCTION public.backfill_next_v1(p_run public.backfill_runs, p_rows integer, p_currencies text, OUT page uuid[], OUT ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.backfill_note_v1(p_run public.backfill_runs, p_noted public.backfill_judgement_v1[], p_forced public.backfill_judgement_v1[], p_short uuid[], p_detail text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.deposit_capture_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_provider_sequences bigint[], p_occurred_ats timestamp with time zone[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_capture_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_provider_sequences bigint[], p_occurred_ats timestamp with time zone[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_check_v1(p_deposit_id uuid, p_checks integer, p_next_check_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_check_v1(p_deposit_id uuid, p_checks integer, p_next_check_at timestamp with time zone) TO hakem_service;

GRANT SELECT ON TABLE public.deposits TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_lock_v1(p_deposit_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_lock_v1(p_deposit_ids uuid[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_open_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_providers text[], p_idempotency_keys text[], p_request_hashes bytea[], p_unverified_caps bigint[], p_first_check_after interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_open_v1(p_deposit_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_providers text[], p_idempotency_keys text[], p_request_hashes bytea[], p_unverified_caps bigint[], p_first_check_after interval) TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_record_v1(p_deposit_id uuid, p_is_failed boolean, p_provider_ref text, p_failure_code text, p_status_class text, p_provider_sequence bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_record_v1(p_deposit_id uuid, p_is_failed boolean, p_provider_ref text, p_failure_code text, p_status_class text, p_provider_sequence bigint) TO hakem_service;

REVOKE ALL ON FUNCTION public.deposit_refund_v1(p_deposit_id uuid, p_provider_event_id text, p_provider_sequence bigint, p_request_hash bytea, p_occurred_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.deposit_refund_v1(p_deposit_id uuid, p_provider_event_id text, p_provider_sequence bigint, p_request_hash bytea, p_occurred_at timestamp with time zone) TO hakem_service;

REVOKE ALL ON FUNCTION public.ensure_adjustment_approved() FROM PUBLIC;

GRANT SELECT,INSERT,UPDATE ON TABLE public.reconciliation_findings TO hakem_service;

REVOKE ALL ON FUNCTION public.finding_stays_v1(p_finding public.reconciliation_findings, p_evidence_hash bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION public.finding_stays_v1(p_finding public.reconciliation_findings, p_evidence_hash bytea) TO hakem_service;

REVOKE ALL ON FUNCTION public.flag_write_v1(p_flag text, p_scope text, p_holder text, p_value boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.flag_write_v1(p_flag text, p_scope text, p_holder text, p_value boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb) TO hakem_service;

REVOKE ALL ON FUNCTION public.job_defer_v1(p_name text, p_arguments jsonb, p_lock text, p_not_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.job_defer_v1(p_name text, p_arguments jsonb, p_lock text, p_not_before timestamp with time zone) TO hakem_service;

REVOKE ALL ON FUNCTION public.job_prune_v1(p_statuses text[], p_ended_before timestamp with time zone, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.job_prune_v1(p_statuses text[], p_ended_before timestamp with time zone, p_limit integer) TO hakem_service;

REVOKE ALL ON FUNCTION public.job_take_up_v1(p_id bigint, p_worker_id bigint, p_is_last boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.job_take_up_v1(p_id bigint, p_worker_id bigint, p_is_last boolean) TO hakem_service;

REVOKE ALL ON FUNCTION public.ledger_adjust_wallets_v1(p_tenant_id uuid, p_player_ids uuid[], p_run_id uuid, p_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_event_line_v1(p_type text, p_provider text, p_debit_account text, p_credit_account text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_event_refusal_v1(p_wallet public.ledger_wallet_facts_v1, p_debit_account text, p_credit_account text, p_available_sign smallint, p_amount bigint, p_currency text, p_by_player boolean) FROM PUBLIC;

GRANT ALL ON FUNCTION public.ledger_fold_v1(p_tenant_id uuid, p_player_id uuid, p_currency text) TO hakem_service;

REVOKE ALL ON FUNCTION public.ledger_in_range_v1(p_available bigint, p_pending bigint, p_legacy_available bigint, p_legacy_held bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_is_covered_v1(p_available_after bigint, p_pending_after bigint, p_available_change bigint, p_pending_change bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_key_stored_v1(p_tenant_id uuid, p_player_id uuid, p_type text, p_idempotency_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_load_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_providers text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_by_player boolean[], OUT events public.ledger_event_facts_v1[], OUT wallets public.ledger_wallet_facts_v1[], OUT balances public.ledger_balances_v1[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_open_wallets_v1(p_tenant_ids uuid[], p_player_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_post_many_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_post_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ledger_post_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_references uuid[], p_providers text[], p_provider_refs text[], p_provider_event_ids text[], p_debit_accounts text[], p_credit_accounts text[], p_journal_ids uuid[], p_occurred_ats timestamp with time zone[], p_by_player boolean[], p_metadata jsonb[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.ledger_provider_event_stored_v1(p_provider text, p_provider_event_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_replay_v1(p_tenant_ids uuid[], p_player_ids uuid[], p_types text[], p_amounts bigint[], p_idempotency_keys text[], p_request_hashes bytea[], p_providers text[], p_provider_event_ids text[], p_wanted boolean[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.ledger_stored_entry_v1(p_tenant_id uuid, p_player_id uuid, p_type text, p_idempotency_key text, p_request_hash bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.legacy_repair_v1(p_judged public.backfill_judgement_v1[], p_run public.backfill_runs) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.payout_claim_due_v1(p_now timestamp with time zone, p_lease interval, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.payout_claim_due_v1(p_now timestamp with time zone, p_lease interval, p_limit integer) TO hakem_service;

REVOKE ALL ON FUNCTION public.payout_claim_one_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_now timestamp with time zone, p_interval interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.payout_claim_one_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_now timestamp with time zone, p_interval interval) TO hakem_service;

REVOKE ALL ON FUNCTION public.payout_note_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_number integer, p_state text, p_provider_ref text, p_provider_sequence bigint, p_check_after interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.payout_note_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_number integer, p_state text, p_provider_ref text, p_provider_sequence bigint, p_check_after interval) TO hakem_service;

REVOKE ALL ON FUNCTION public.platform_modes_refresh_v1() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.psp_events_prune_v1(p_before timestamp with time zone, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.psp_events_prune_v1(p_before timestamp with time zone, p_limit integer) TO hakem_service;

REVOKE ALL ON FUNCTION public.refuse_change() FROM PUBLIC;

GRANT SELECT ON TABLE public.arbiter_changes TO hakem_service;

REVOKE ALL ON FUNCTION public.rollout_enforce_v1(p_tenant_id uuid, p_kind text, p_override boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb, p_facts jsonb, p_attestation jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rollout_enforce_v1(p_tenant_id uuid, p_kind text, p_override boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb, p_facts jsonb, p_attestation jsonb) TO hakem_service;

REVOKE ALL ON FUNCTION public.rollout_kill_v1(p_tenant_id uuid, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rollout_kill_v1(p_tenant_id uuid, p_reason text) TO hakem_service;

REVOKE ALL ON FUNCTION public.rollout_note_v1(p_tenant_id uuid, p_kind text, p_arbiter text, p_reason text, p_actor jsonb, p_facts jsonb, p_attestation jsonb, p_is_fenced boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.rollout_rollback_v1(p_tenant_id uuid, p_kind text, p_override boolean, p_reason text, p_actor jsonb, p_facts jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rollout_rollback_v1(p_tenant_id uuid, p_kind text, p_override boolean, p_reason text, p_actor jsonb, p_facts jsonb) TO hakem_service;

REVOKE ALL ON FUNCTION public.rollout_settle_v1(p_before uuid[], p_reason text, p_actor jsonb, p_facts jsonb, p_budget_ms integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rollout_settle_v1(p_before uuid[], p_reason text, p_actor jsonb, p_facts jsonb, p_budget_ms integer) TO hakem_service;

REVOKE ALL ON FUNCTION public.sandbox_enforce_v1(p_is_enforced boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sandbox_enforce_v1(p_is_enforced boolean) TO hakem_service;

REVOKE ALL ON FUNCTION public.sandbox_ensure_v1(p_players integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sandbox_ensure_v1(p_players integer) TO hakem_service;

REVOKE ALL ON FUNCTION public.sandbox_plant_v1(p_player_ids uuid[], p_available bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sandbox_plant_v1(p_player_ids uuid[], p_available bigint) TO hakem_service;

REVOKE ALL ON FUNCTION public.statement_statistics_v1(p_of_items boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.statement_statistics_v1(p_of_items boolean) TO hakem_service;

REVOKE ALL ON FUNCTION public.statistics_refresh_v1() FROM PUBLIC;
GRANT ALL ON FUNCTION public.statistics_refresh_v1() TO hakem_service;

REVOKE ALL ON FUNCTION public.tenant_flag_write_v1(p_tenant_id uuid, p_flag text, p_override boolean, p_reason text, p_actor jsonb, p_expires_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.tenant_flags_notify_v1() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.tenant_shadow_v1(p_tenant_id uuid, p_override boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION public.tenant_shadow_v1(p_tenant_id uuid, p_override boolean, p_expires_at timestamp with time zone, p_reason text, p_actor jsonb) TO hakem_service;

REVOKE ALL ON FUNCTION public.wallet_open_v1(p_tenant_id uuid, p_player_ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.wallet_open_v1(p_tenant_id uuid, p_player_ids uuid[]) TO hakem_service;

REVOKE ALL ON FUNCTION public.withdrawal_lock_v1(p_tenant_id uuid, p_withdrawal_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.withdrawal_lock_v1(p_tenant_id uuid, p_withdrawal_id uuid) TO hakem_service;

GRANT SELECT ON TABLE public.withdrawals TO hakem_service;

REVOKE ALL ON FUNCTION public.withdrawal_matching_v1(p_tenant_id uuid, p_asked_tenant_id uuid, p_state text, p_player_id uuid, p_method text, p_currency text, p_least_amount bigint, p_greatest_amount bigint, p_least_amounts jsonb, p_greatest_amounts jsonb, p_date_from timestamp with time zone, p_date_to timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.withdrawal_matching_v1(p_tenant_id uuid, p_asked_tenant_id uuid, p_state text, p_player_id uuid, p_method text, p_currency text, p_least_amount bigint, p_greatest_amount bigint, p_least_amounts jsonb, p_greatest_amounts jsonb, p_date_from timestamp with time zone, p_date_to timestamp with time zone) TO hakem_service;

REVOKE ALL ON FUNCTION public.withdrawal_move_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_action text, p_expected_version integer, p_admin_id uuid, p_reason text, p_approvals_needed integer, p_attempt_number integer, p_provider text, p_account_id text, p_evidence_ref text, p_provider_ref text, p_provider_event_id text, p_provider_sequence bigint, p_failure_code text, p_occurred_at timestamp with time zone, p_check_after interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.withdrawal_move_v1(p_tenant_id uuid, p_player_id uuid, p_withdrawal_id uuid, p_action text, p_expected_version integer, p_admin_id uuid, p_reason text, p_approvals_needed integer, p_attempt_number integer, p_provider text, p_account_id text, p_evidence_ref text, p_provider_ref text, p_provider_event_id text, p_provider_sequence bigint, p_failure_code text, p_occurred_at timestamp with time zone, p_check_after interval) TO hakem_service;

REVOKE ALL ON FUNCTION public.withdrawal_post_v1(p_withdrawal public.withdrawals, p_types text[], p_attempt_number integer, p_provider text, p_provider_ref text, p_provider_event_id text, p_evidence_ref text, p_occurred_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.withdrawal_request_v1(p_withdrawal_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_addresses text[], p_idempotency_keys text[], p_request_hashes bytea[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.withdrawal_request_v1(p_withdrawal_ids uuid[], p_tenant_ids uuid[], p_player_ids uuid[], p_currencies text[], p_amounts bigint[], p_methods text[], p_addresses text[], p_idempotency_keys text[], p_request_hashes bytea[]) TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE mockpsp.deliveries TO hakem_service;

GRANT SELECT,INSERT,DELETE ON TABLE mockpsp.events TO hakem_service;

GRANT SELECT,INSERT ON TABLE mockpsp.lost_requests TO hakem_service;

GRANT SELECT,INSERT ON TABLE mockpsp.payments TO hakem_service;

GRANT UPDATE(method) ON TABLE mockpsp.payments TO hakem_service;

GRANT SELECT,INSERT ON TABLE mockpsp.payouts TO hakem_service;

GRANT UPDATE(method) ON TABLE mockpsp.payouts TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.admins TO hakem_service;

GRANT UPDATE(email) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(password_hash) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(role) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(is_active) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(updated_at) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(sessions_valid_from) ON TABLE public.admins TO hakem_service;

GRANT UPDATE(last_signed_in_at) ON TABLE public.admins TO hakem_service;

GRANT SELECT ON TABLE public.alembic_version TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.audit_events TO hakem_service;

GRANT SELECT ON TABLE public.backfill_deferred TO hakem_service;

GRANT SELECT ON TABLE public.backfill_errors TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE public.backfill_requests TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.census_accounts TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.census_classes TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.census_differences TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.census_runs TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.census_totals TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.console_sessions TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.delivery_buckets TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.delivery_subjects TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.evidence_buckets TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.evidence_flushes TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.evidence_subjects TO hakem_service;

GRANT SELECT ON TABLE public.flag_levels TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.flag_settings TO hakem_service;

GRANT SELECT ON TABLE public.flags TO hakem_service;

GRANT SELECT ON TABLE public.ledger_accounts TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE public.ledger_mismatches TO hakem_service;

GRANT SELECT ON TABLE public.ledger_refusals TO hakem_service;

GRANT SELECT ON TABLE public.ledger_transaction_types TO hakem_service;

GRANT SELECT ON TABLE public.ledger_transactions TO hakem_service;

GRANT SELECT ON TABLE public.legacy_movements TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.monitor_baselines TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.monitor_decisions TO hakem_service;

GRANT SELECT,UPDATE ON TABLE public.monitor_lease TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE public.monitor_results TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.monitor_selftests TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.monitor_settings TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.monitor_verdicts TO hakem_service;

GRANT SELECT ON TABLE public.payout_attempts TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.players TO hakem_service;

GRANT UPDATE(external_id) ON TABLE public.players TO hakem_service;

GRANT UPDATE(email) ON TABLE public.players TO hakem_service;

GRANT UPDATE(username) ON TABLE public.players TO hakem_service;

GRANT UPDATE(password_hash) ON TABLE public.players TO hakem_service;

GRANT UPDATE(kyc_status) ON TABLE public.players TO hakem_service;

GRANT UPDATE(is_active) ON TABLE public.players TO hakem_service;

GRANT UPDATE(updated_at) ON TABLE public.players TO hakem_service;

GRANT SELECT ON TABLE public.provider_movements TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.psp_accounts TO hakem_service;

GRANT UPDATE(webhook_secret_name) ON TABLE public.psp_accounts TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(state) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(attempts) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(next_attempt_at) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(last_error) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(event_type) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(effect) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(detail) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(tenant_id) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(tx_id) ON TABLE public.psp_events TO hakem_service;

GRANT UPDATE(applied_at) ON TABLE public.psp_events TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.psp_statement_items TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.psp_statement_lines TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.reconciliation_balances TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE public.reconciliation_reach TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE public.reconciliation_runs TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.reconciliation_unmatched TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.rollout_holds TO hakem_service;

GRANT UPDATE(lifted_at) ON TABLE public.rollout_holds TO hakem_service;

GRANT UPDATE(lifted_by) ON TABLE public.rollout_holds TO hakem_service;

GRANT UPDATE(lift_reason) ON TABLE public.rollout_holds TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.service_instances TO hakem_service;

GRANT USAGE ON SEQUENCE public.service_instances_number_seq TO hakem_service;

GRANT SELECT,INSERT,UPDATE ON TABLE public.settlement_mappings TO hakem_service;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sign_in_failures TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.tenants TO hakem_service;

GRANT UPDATE(name) ON TABLE public.tenants TO hakem_service;

GRANT UPDATE(updated_at) ON TABLE public.tenants TO hakem_service;

GRANT SELECT ON TABLE public.tenant_modes TO hakem_service;

GRANT SELECT ON TABLE public.wallet_balances TO hakem_service;

GRANT SELECT,INSERT ON TABLE public.withdrawal_deed_keys TO hakem_service;

GRANT UPDATE(answered) ON TABLE public.withdrawal_deed_keys TO hakem_service;

GRANT SELECT ON TABLE public.withdrawal_transitions TO hakem_service;
