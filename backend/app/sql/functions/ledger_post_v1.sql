-- The one door: all money moves through here. Takes parallel arrays, one element per event, and returns one row per
-- event, in order. Locks are held for this call only. READ COMMITTED is required: each statement below must see what
-- committed while the previous one waited for its locks.
--
-- Why no money can be lost or spent twice (the order is the argument):
--   1. FENCE. Every caller holds the tenant's advisory lock in shared form; a flip of the arbiter takes it exclusively.
--      So a flip waits for calls in flight, and a call that starts after the flip waits for it to commit.
--   2. ARBITER. Read in a statement of its own after the fence, hence never older than the last flip.
--   3. LOCKS, in one global order: provider events, then players, then wallets, each sorted by key. All writers of a
--      wallet hold its player's row lock, so what is read from here on does not change until commit, and no cycle of
--      waits can form.
--   4. OPENING under the player's lock, by the same function that registration and the backfill use.
--   5. REPLAYS are looked up after the locks: an earlier call with the same key has committed or does not exist.
--   6. Decisions are made in memory on the locked balances, journal by journal; then all rows, snapshots and legacy
--      columns are written in bulk by this one transaction.
--
-- Consecutive events with the same journal_id (and wallet) are one journal: all its lines or none.
--
-- Codes: applied · exists (same key, same request: the stored result) · exists_different (same key, another request) ·
-- insufficient_funds · insufficient_held (the arbiter's side would go below zero; stored, and replayed as such) ·
-- player_disabled · kyc_required (only where by_player: the player asks, and money leaves) · unknown_player ·
-- currency_mismatch · invalid_event · balance_out_of_range · mode_refused (these are not stored: the same key may succeed
-- later) · journal_refused (another line of the journal was refused).
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
RETURNS TABLE (
    event_no INTEGER,
    code TEXT,
    is_replay BOOLEAN,
    transaction_id UUID,
    reference UUID,
    recorded_at TIMESTAMPTZ,
    arbiter TEXT,
    epoch INTEGER,
    legacy_ok BOOLEAN,
    ledger_ok BOOLEAN,
    wallet_opened BOOLEAN,
    wallet_version BIGINT,
    legacy_available_before BIGINT,
    legacy_held_before BIGINT,
    ledger_available_before BIGINT,
    ledger_pending_before BIGINT,
    legacy_available_after BIGINT,
    legacy_held_after BIGINT,
    ledger_available_after BIGINT,
    ledger_pending_after BIGINT
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- The plans of the hot path must not depend on when statistics were last taken: keys in, index probes out.
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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
