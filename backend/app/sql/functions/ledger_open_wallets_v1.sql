-- Opens wallets from the legacy columns: opening = legacy − Σ(ledger so far), as opening_balance transactions.
--
-- The caller holds the row locks of these players, taken in an EARLIER statement: this one then reads balances and sums
-- from one fresh snapshot, so it cannot miss an entry that committed while the lock was waited for. (Lock and sum in
-- one statement reads a stale sum: measured wrong balances.) Every wallet is opened under its player's lock, so exactly
-- once; one that is open already is left alone.
--
-- A legacy amount that is held has no withdrawal behind it here, so one is created (method legacy_hold): every held cent
-- has a withdrawal that explains it.
--
-- Returns the wallets that are open now, those opened before included.
CREATE FUNCTION ledger_open_wallets_v1(p_tenant_ids UUID[], p_player_ids UUID[])
RETURNS TABLE (
    tenant_id UUID,
    player_id UUID,
    currency TEXT,
    balance_real_available BIGINT,
    balance_real_pending BIGINT,
    version BIGINT
)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET enable_hashjoin = off
SET enable_mergejoin = off
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
