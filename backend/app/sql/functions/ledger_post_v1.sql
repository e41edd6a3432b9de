-- The one door: all money moves through here. Takes parallel arrays, one element per event, and returns one row per
-- event, in order. Locks are held for this call only. READ COMMITTED is required: each statement below must see what
-- committed while the previous one waited for its locks.
-- Why no money can be lost or spent twice (the order is the argument):
--   1. FENCE. Every caller holds the tenant's advisory lock in shared form; a flip of the arbiter takes it exclusively.
--      So a flip waits for calls in flight, and a call that starts after the flip waits for it to commit.
--   2. ARBITER. Read in a statement of its own after the fence, hence never older than the last flip.
--   3. LOCKS, in one global order: provider events, then players, each sorted by key. All writers of a wallet hold its
--      player's row lock: what is read from here on does not change until commit, and no cycle of waits can form.
--   4. OPENING under the player's lock, by the same function that registration and the backfill use.
--   5. REPLAYS are looked up after the locks: an earlier call with the same key has committed or does not exist.
--   6. Decisions are made in memory on the locked balances; then all rows, snapshots and legacy columns are written by
--      this one transaction.
-- The steps from 2 on stand in ledger_post_many_v1 for every call. A lone event of the ordinary kind takes the same steps
-- here in few plain statements, because setting statements up is what a lone call costs (docs/decisions/0020): its wallet
-- is open, shadow writing is on, and it is a replay or both accepted and written. Whatever else turns up, nothing has been
-- written yet, and it is left to ledger_post_many_v1. What an event means, why it is refused and what covers it are said
-- once for both, in ledger_event_v1.sql; what the codes mean, in ledger_types_v1.sql.
CREATE FUNCTION ledger_post_v1(
    p_tenant_ids UUID[],
    p_player_ids UUID[],
    p_currencies TEXT[],
    p_types TEXT[],
    p_amounts BIGINT[],
    p_idempotency_keys TEXT[],
    p_request_hashes BYTEA[],
    p_references UUID[],
    p_providers TEXT[],
    p_provider_refs TEXT[],
    p_provider_event_ids TEXT[],
    p_debit_accounts TEXT[],
    p_credit_accounts TEXT[],
    p_journal_ids UUID[],
    p_occurred_ats TIMESTAMPTZ[],
    p_by_player BOOLEAN[],
    p_metadata JSONB[]
)
RETURNS SETOF LEDGER_RESULT_V1
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- The plans of the hot path must not depend on when statistics were last taken: keys in, index probes out.
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
-- Before PostgreSQL 18 a plan that cannot avoid what is switched off has an enormous cost and would be compiled each time.
SET jit = off
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
