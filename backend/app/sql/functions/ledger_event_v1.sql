-- What the door reads and judges about one event, under its locks. Each is said here once, for a lone event and for those
-- of a batch. STABLE or IMMUTABLE and without settings of their own, so that the planner puts their text in the place of
-- the call.

-- The declared line that an event is: the accounts it moves money between, and what one unit of its amount does to the
-- snapshot. No row when the type is not declared so.
CREATE FUNCTION ledger_event_line_v1(p_type TEXT, p_provider TEXT, p_debit_account TEXT, p_credit_account TEXT)
RETURNS TABLE (
    debit_account TEXT,
    credit_account TEXT,
    available_sign SMALLINT,
    pending_sign SMALLINT
)
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

-- Whether this key was answered before: with money, with a refusal, or while shadow writing was off.
CREATE FUNCTION ledger_key_stored_v1(p_tenant_id UUID, p_player_id UUID, p_type TEXT, p_idempotency_key TEXT)
RETURNS TABLE (is_stored BOOLEAN)
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

-- Whether this event of a provider was answered before, under whatever key.
CREATE FUNCTION ledger_provider_event_stored_v1(p_provider TEXT, p_provider_event_id TEXT)
RETURNS TABLE (is_stored BOOLEAN)
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

-- Why an event is refused whatever the balances are; null when only they decide.
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

-- Whether all four balances are far enough from BIGINT's ends to be reckoned with. No abs(): the smallest BIGINT has none.
CREATE FUNCTION ledger_in_range_v1(
    p_available BIGINT, p_pending BIGINT, p_legacy_available BIGINT, p_legacy_held BIGINT
)
RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE
AS $$
    SELECT
        p_available BETWEEN -4000000000000000000 AND 4000000000000000000
        AND p_pending BETWEEN -4000000000000000000 AND 4000000000000000000
        AND p_legacy_available BETWEEN -4000000000000000000 AND 4000000000000000000
        AND p_legacy_held BETWEEN -4000000000000000000 AND 4000000000000000000
$$;

-- One side's verdict on an event, from that side's balances as they would be after it: what goes down stays above zero.
CREATE FUNCTION ledger_is_covered_v1(
    p_available_after BIGINT, p_pending_after BIGINT, p_available_change BIGINT, p_pending_change BIGINT
)
RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE
AS $$
    SELECT (p_available_change >= 0 OR p_available_after >= 0) AND (p_pending_change >= 0 OR p_pending_after >= 0)
$$;

-- The stored result of an event that moved money, by its key: the same request again, or another one under its key.
CREATE FUNCTION ledger_stored_entry_v1(
    p_tenant_id UUID, p_player_id UUID, p_type TEXT, p_idempotency_key TEXT, p_request_hash BYTEA
)
RETURNS TABLE (
    code TEXT,
    transaction_id UUID,
    reference UUID,
    recorded_at TIMESTAMPTZ,
    arbiter TEXT,
    epoch INTEGER,
    wallet_version BIGINT,
    legacy_available_after BIGINT,
    legacy_held_after BIGINT,
    ledger_available_after BIGINT,
    ledger_pending_after BIGINT
)
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
