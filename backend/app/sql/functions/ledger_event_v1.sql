-- What one event means, read by the door under its locks: the accounts it moves money between, what one unit of its
-- amount does to the snapshot (nulls when the type is not declared so), and whether it was answered before.
-- STABLE and without settings of its own, so that the planner puts its text in the place of the call.
CREATE FUNCTION ledger_event_meaning_v1(
    p_tenant_id UUID,
    p_player_id UUID,
    p_type TEXT,
    p_idempotency_key TEXT,
    p_provider TEXT,
    p_provider_event_id TEXT,
    p_debit_account TEXT,
    p_credit_account TEXT
)
RETURNS TABLE (
    debit_account TEXT,
    credit_account TEXT,
    available_sign SMALLINT,
    pending_sign SMALLINT,
    is_stored BOOLEAN
)
LANGUAGE sql STABLE
AS $$
    SELECT
        replace(declared.debit_account, '{provider}', coalesce(p_provider, '')),
        replace(declared.credit_account, '{provider}', coalesce(p_provider, '')),
        declared.available_sign,
        declared.pending_sign,
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
        OR (
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
        )
    FROM (SELECT) AS event
    LEFT JOIN LATERAL (
        SELECT
            type.debit_account,
            type.credit_account,
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
        LIMIT 1
    ) AS declared ON TRUE
$$;

-- Why an event is refused whatever the balances are; null when only they decide. An expression, put in place likewise.
CREATE FUNCTION ledger_event_refusal_v1(
    p_wallet LEDGER_WALLET_FACTS_V1,
    p_debit_account TEXT,
    p_credit_account TEXT,
    p_available_sign SMALLINT,
    p_amount BIGINT,
    p_currency TEXT,
    p_by_player BOOLEAN
)
RETURNS TEXT
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
