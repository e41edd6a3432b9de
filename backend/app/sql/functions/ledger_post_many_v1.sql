-- The door's work for a call of several events, after its fence and its locks on provider events: steps 2 to 6 of
-- ledger_post_v1, in which the order is argued. Decides journal by journal, in memory, on the locked balances; then all
-- rows, snapshots and legacy columns are written in bulk. Consecutive events with the same journal_id (and wallet) are
-- one journal: all its lines or none.
CREATE FUNCTION ledger_post_many_v1(
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
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
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
