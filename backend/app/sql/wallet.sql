-- name: find_balances
-- A player with both sides and the side that decides.
SELECT
    player.currency,
    player.is_active,
    mode.arbiter,
    player.balance_real_available AS legacy_available,
    player.balance_real_held AS legacy_held,
    wallet.balance_real_available AS ledger_available,
    wallet.balance_real_pending AS ledger_pending,
    wallet.opened_at
FROM players AS player
INNER JOIN tenant_modes AS mode ON mode.tenant_id = player.tenant_id
LEFT JOIN wallet_balances AS wallet
    ON wallet.tenant_id = player.tenant_id
    AND wallet.player_id = player.id
    AND wallet.currency = player.currency
WHERE player.tenant_id = %(tenant_id)s AND player.id = %(player_id)s;

-- name: list_player_money
-- A player's deposits and withdrawals, newest first.
SELECT
    movement.id,
    movement.type,
    movement.amount,
    movement.currency,
    movement.state,
    movement.method,
    movement.idempotency_key,
    movement.provider,
    movement.provider_ref,
    movement.provider_event_id,
    movement.created_at,
    movement.updated_at
FROM (
    (
        SELECT
            deposit.id, 'deposit' AS type, deposit.amount, deposit.currency, deposit.state, deposit.method,
            deposit.idempotency_key, deposit.provider, deposit.provider_ref, deposit.provider_event_id,
            deposit.created_at, deposit.updated_at
        FROM deposits AS deposit
        WHERE deposit.tenant_id = %(tenant_id)s AND deposit.player_id = %(player_id)s
        ORDER BY deposit.created_at DESC, deposit.id DESC
        LIMIT %(limit)s::BIGINT + %(offset)s::BIGINT
    )
    UNION ALL
    (
        SELECT
            withdrawal.id, 'withdrawal', withdrawal.amount, withdrawal.currency, withdrawal.state, withdrawal.method,
            withdrawal.idempotency_key, withdrawal.provider, withdrawal.provider_ref, withdrawal.provider_event_id,
            withdrawal.created_at, withdrawal.updated_at
        FROM withdrawals AS withdrawal
        WHERE withdrawal.tenant_id = %(tenant_id)s AND withdrawal.player_id = %(player_id)s
        ORDER BY withdrawal.created_at DESC, withdrawal.id DESC
        LIMIT %(limit)s::BIGINT + %(offset)s::BIGINT
    )
) AS movement
ORDER BY movement.created_at DESC, movement.id DESC
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_player_money
-- How many deposits and withdrawals a player has.
SELECT
    (
        SELECT count(*) FROM deposits AS deposit
        WHERE deposit.tenant_id = %(tenant_id)s AND deposit.player_id = %(player_id)s
    ) + (
        SELECT count(*) FROM withdrawals AS withdrawal
        WHERE withdrawal.tenant_id = %(tenant_id)s AND withdrawal.player_id = %(player_id)s
    ) AS total;
