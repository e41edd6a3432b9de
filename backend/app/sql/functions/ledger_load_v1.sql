-- Steps 2, 3 and 5 of the door for a call of several events: under the fence that the caller holds, locks what the events
-- touch and returns what is known about each event (in the order given) and each wallet (in key order). Each statement
-- sees what committed while the one before it waited.
CREATE FUNCTION ledger_load_v1(
    p_tenant_ids UUID[],
    p_player_ids UUID[],
    p_currencies TEXT[],
    p_types TEXT[],
    p_amounts BIGINT[],
    p_idempotency_keys TEXT[],
    p_providers TEXT[],
    p_provider_event_ids TEXT[],
    p_debit_accounts TEXT[],
    p_credit_accounts TEXT[],
    p_by_player BOOLEAN[],
    OUT events LEDGER_EVENT_FACTS_V1[],
    OUT wallets LEDGER_WALLET_FACTS_V1[],
    OUT balances LEDGER_BALANCES_V1[]
)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
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
