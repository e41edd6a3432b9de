-- One chunk of a backfill run: the next players of the tenant are judged, opened or forced, verified and counted, and
-- the run's checkpoint is moved, all in this one transaction. READ COMMITTED is required, as for the door.
-- The service's role may call it: nothing here gives anybody money. Wallets are opened from the legacy balance by the
-- rule that the money path opens them by, and force moves the side that does not decide to the side that does.
--   0. LEASE. The run is this caller's as long as nobody has taken it over.
--   1. FENCE, shared as in the door: no flip of the arbiter while the chunk is written.
--   2. ARBITER. Read after the fence; when it is not the one the run began under, nothing is done.
--   3. WHICH. By key, from the checkpoint up. What is done already is counted without any lock.
--   4. LOCK the others, and only lock. Rows that somebody holds are passed over and get another turn at the end of the
--      run, so that no live request ever waits for a chunk that itself waits. In that last turn the chunk waits, in key
--      order, until the lock timeout.
--   5. JUDGE AGAIN, OPEN, FORCE in new statements: they see what committed while the locks were taken.
--   6. VERIFY that what was opened is the legacy balance and the fold's last row; COUNT; CHECKPOINT.
-- Phases: scan (from the first player to the last as the run began) · sweep (players that came into being behind the
-- checkpoint) · deferred (who was passed over) · done.
-- Codes: worked · lease_lost · arbiter_changed · shadow_off. The last three have changed nothing.
-- p_error_code: instead of all that, note the one next player as an error and go past it (p_rows is 1 then).
CREATE FUNCTION backfill_chunk_v1(
    p_run_id UUID,
    p_lease_token BIGINT,
    p_rows INTEGER,
    p_currencies TEXT,
    p_rows_per_second INTEGER,
    p_error_code TEXT,
    p_error_detail TEXT
)
RETURNS TABLE (
    code TEXT,
    phase TEXT,
    scanned BIGINT,
    created BIGINT,
    skipped_exists BIGINT,
    updated_forced BIGINT,
    errors BIGINT,
    differing BIGINT,
    unexplained_holds BIGINT
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '500ms'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
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

REVOKE ALL ON FUNCTION backfill_chunk_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION backfill_chunk_v1 TO hakem_service;
