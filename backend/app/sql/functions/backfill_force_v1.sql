-- A forced backfill moves the side that is not the arbiter to where the arbiter stands. Both functions are called by
-- backfill_chunk_v1 under its fence and the players' locks, taken in an EARLIER statement (see ledger_open_wallets_v1).

-- The legacy column decides: backfill_adjustment transactions take each wallet from its fold to the legacy balance.
-- Measured against the fold and not against the snapshot, so that a snapshot somebody wrote into is mended as well.
-- Held money that no open withdrawal explains gets one (method legacy_hold), as at opening.
-- Returns the players who now hold less than their open withdrawals ask for: a person has to look at those.
CREATE FUNCTION ledger_adjust_wallets_v1(p_tenant_id UUID, p_player_ids UUID[], p_run_id UUID, p_reason TEXT)
RETURNS UUID[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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

-- The ledger decides: the legacy column follows the snapshot. No transaction is due, since no money of the ledger moves;
-- the audit keeps what stood in the column before, player by player, with the run and its reason.
CREATE FUNCTION legacy_repair_v1(p_judged BACKFILL_JUDGEMENT_V1[], p_run BACKFILL_RUNS)
RETURNS VOID
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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

REVOKE ALL ON FUNCTION ledger_adjust_wallets_v1, legacy_repair_v1 FROM PUBLIC;
