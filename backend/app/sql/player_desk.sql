-- name: list_matching_ids
-- Players whose address or name begins like that, or who are known elsewhere by exactly that; of a tenant, or of all
-- when tenant_id is NULL. The patterns are LIKE's, in lower case.
SELECT found.id
FROM tenants AS tenant
CROSS JOIN LATERAL (
    (
        SELECT player.id, player.email
        FROM players AS player
        WHERE player.tenant_id = tenant.id AND player.email COLLATE "C" LIKE %(email_pattern)s
        ORDER BY player.email COLLATE "C"
        LIMIT %(limit)s
    )
    UNION
    (
        SELECT player.id, player.email
        FROM players AS player
        WHERE player.tenant_id = tenant.id AND lower(player.username) COLLATE "C" LIKE lower(%(name_pattern)s)
        ORDER BY lower(player.username) COLLATE "C"
        LIMIT %(limit)s
    )
    UNION
    (
        SELECT player.id, player.email
        FROM players AS player
        WHERE player.tenant_id = tenant.id AND player.external_id = %(external_id)s
        LIMIT 1
    )
) AS found
WHERE %(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s
ORDER BY found.email COLLATE "C", found.id
LIMIT %(limit)s;

-- name: list_newest_ids
-- The newest players of a tenant, or of all when tenant_id is NULL, from before a player.
SELECT player.id
FROM players AS player
WHERE
    (%(tenant_id)s::UUID IS NULL OR player.tenant_id = %(tenant_id)s)
    AND (%(before_id)s::UUID IS NULL OR player.id < %(before_id)s)
ORDER BY player.id DESC
LIMIT %(limit)s;

-- name: list_players
-- The players with these ids in the order of the ids, with both sides and the side that decides.
SELECT
    player.id,
    player.tenant_id,
    player.email,
    player.username,
    player.currency,
    player.kyc_status,
    player.is_active,
    player.balance_real_available AS legacy_available,
    player.balance_real_held AS legacy_held,
    wallet.balance_real_available AS ledger_available,
    wallet.balance_real_pending AS ledger_pending,
    wallet.version AS wallet_version,
    wallet.opened_at AS wallet_opened_at,
    mode.arbiter,
    player.created_at,
    tenant.name AS tenant_name
FROM unnest(%(player_ids)b::UUID[]) WITH ORDINALITY AS wanted (id, place)
INNER JOIN players AS player
    ON wanted.id = player.id
    AND (%(tenant_id)s::UUID IS NULL OR player.tenant_id = %(tenant_id)s)
INNER JOIN tenants AS tenant ON player.tenant_id = tenant.id
INNER JOIN tenant_modes AS mode ON player.tenant_id = mode.tenant_id
LEFT JOIN wallet_balances AS wallet
    ON player.tenant_id = wallet.tenant_id
    AND player.id = wallet.player_id
    AND player.currency = wallet.currency
ORDER BY wanted.place
LIMIT %(limit)s;

-- name: list_statement
-- A player's ledger, the latest first, from before a wallet version; with what each transaction did to the balances.
SELECT
    entry.id,
    entry.wallet_version,
    entry.type,
    entry.debit_account,
    entry.credit_account,
    entry.amount,
    CASE
        WHEN entry.credit_account = 'player:available' THEN entry.amount
        WHEN entry.debit_account = 'player:available' THEN -entry.amount
        ELSE 0
    END AS available_change,
    CASE WHEN entry.credit_account IN ('player:held', 'player:in_transit') THEN entry.amount ELSE 0 END
    - CASE WHEN entry.debit_account IN ('player:held', 'player:in_transit') THEN entry.amount ELSE 0 END
    AS pending_change,
    entry.available_after,
    entry.pending_after,
    entry.arbiter,
    entry.reference,
    entry.provider,
    entry.provider_ref,
    entry.occurred_at,
    entry.recorded_at
FROM ledger_transactions AS entry
WHERE
    entry.tenant_id = %(tenant_id)s
    AND entry.player_id = %(player_id)s
    AND entry.currency = %(currency)s
    AND (%(before_version)s::BIGINT IS NULL OR entry.wallet_version < %(before_version)s)
ORDER BY entry.wallet_version DESC
LIMIT %(limit)s;

-- name: list_type_sums
-- What a player's transactions after a wallet version add up to, by type.
SELECT
    entry.type,
    count(*) AS transactions,
    sum(
        CASE
            WHEN entry.credit_account = 'player:available' THEN entry.amount
            WHEN entry.debit_account = 'player:available' THEN -entry.amount
            ELSE 0
        END
    )::BIGINT AS available,
    sum(
        CASE WHEN entry.credit_account IN ('player:held', 'player:in_transit') THEN entry.amount ELSE 0 END
        - CASE WHEN entry.debit_account IN ('player:held', 'player:in_transit') THEN entry.amount ELSE 0 END
    )::BIGINT AS pending
FROM (
    SELECT
        candidate.type,
        candidate.debit_account,
        candidate.credit_account,
        candidate.amount
    FROM ledger_transactions AS candidate
    WHERE
        candidate.tenant_id = %(tenant_id)s
        AND candidate.player_id = %(player_id)s
        AND candidate.currency = %(currency)s
        AND candidate.wallet_version > %(from_version)s
    ORDER BY candidate.wallet_version
    LIMIT %(limit)s
) AS entry
GROUP BY entry.type
ORDER BY min(array_position(%(types)b::TEXT[], entry.type)), entry.type;

-- name: find_after_image
-- The balances after one transaction.
SELECT
    entry.available_after,
    entry.pending_after
FROM ledger_transactions AS entry
WHERE
    entry.tenant_id = %(tenant_id)s
    AND entry.player_id = %(player_id)s
    AND entry.currency = %(currency)s
    AND entry.wallet_version = %(wallet_version)s;

-- name: list_movements
-- A player's latest deposits and withdrawals.
SELECT
    movement.id,
    movement.type,
    movement.amount,
    movement.currency,
    movement.state,
    movement.method,
    movement.created_at
FROM (
    (
        SELECT
            deposit.id, 'deposit' AS type, deposit.amount, deposit.currency, deposit.state, deposit.method,
            deposit.created_at
        FROM deposits AS deposit
        WHERE
            deposit.tenant_id = %(tenant_id)s
            AND deposit.player_id = %(player_id)s
            AND (%(before_at)s::TIMESTAMPTZ IS NULL OR deposit.created_at < %(before_at)s)
        ORDER BY deposit.created_at DESC, deposit.id DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT
            withdrawal.id, 'withdrawal', withdrawal.amount, withdrawal.currency, withdrawal.state, withdrawal.method,
            withdrawal.created_at
        FROM withdrawals AS withdrawal
        WHERE
            withdrawal.tenant_id = %(tenant_id)s
            AND withdrawal.player_id = %(player_id)s
            AND (%(before_at)s::TIMESTAMPTZ IS NULL OR withdrawal.created_at < %(before_at)s)
        ORDER BY withdrawal.created_at DESC, withdrawal.id DESC
        LIMIT %(limit)s
    )
) AS movement
ORDER BY movement.created_at DESC, movement.id DESC
LIMIT %(limit)s;

-- name: list_mismatches
-- Where a player's two sides were seen to differ.
SELECT
    mismatch.class AS mismatch_class,
    mismatch.occurrences,
    mismatch.first_seen_at,
    mismatch.last_seen_at
FROM ledger_mismatches AS mismatch
WHERE mismatch.tenant_id = %(tenant_id)s AND mismatch.player_id = %(player_id)s
ORDER BY mismatch.last_seen_at DESC, mismatch.class
LIMIT 10;
