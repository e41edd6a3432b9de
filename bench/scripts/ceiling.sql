-- The same rows and row versions as the door's, but nothing is locked, looked up, compared or answered.
\set sent :sent + 1
WITH ask AS MATERIALIZED (
    SELECT
        number,
        (
            '01900000-0000-7000-8000-'
            || lpad(to_hex(1 + floor(random() * :players::INTEGER)::INTEGER), 12, '0')
        )::UUID AS player_id
    FROM generate_series(
        :client_id::BIGINT * 1000000000 + :sent::BIGINT * :size::INTEGER,
        :client_id::BIGINT * 1000000000 + :sent::BIGINT * :size::INTEGER + :size::INTEGER - 1
    ) AS series (number)
),

entries AS (
    INSERT INTO ledger_transactions (
        id, tenant_id, player_id, wallet_version, amount, available_after, pending_after, legacy_available_after,
        legacy_held_after, occurred_at, recorded_at, epoch, currency, type, debit_account, credit_account, arbiter,
        idempotency_key, request_hash
    )
    SELECT
        uuid_v7(), :tenant::UUID, ask.player_id, :size::BIGINT * 10000000000 + ask.number, 1, 0, 0, 0, 0, now(), now(), 0, :currency::TEXT,
        'withdraw_requested', :debit_account::TEXT, :credit_account::TEXT, 'legacy', :run::TEXT || '-' || ask.number, '\x5a'
    FROM ask
),

moved AS MATERIALIZED (
    SELECT player_id, count(*) AS moves FROM ask GROUP BY player_id ORDER BY player_id
),

wallets AS (
    UPDATE wallet_balances AS wallet
    SET
        balance_real_available = wallet.balance_real_available - moved.moves,
        balance_real_pending = wallet.balance_real_pending + moved.moves,
        version = wallet.version + moved.moves,
        updated_at = now()
    FROM moved
    WHERE
        wallet.tenant_id = :tenant::UUID
        AND wallet.player_id = moved.player_id
        AND wallet.currency = :currency::TEXT
)

UPDATE players AS player
SET
    balance_real_available = player.balance_real_available - moved.moves,
    balance_real_held = player.balance_real_held + moved.moves
FROM moved
WHERE player.id = moved.player_id
