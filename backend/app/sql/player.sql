-- name: find_credentials
-- What signing in needs to know of the player with an address; imported players have no password.
SELECT
    player.id,
    player.password_hash,
    player.is_active
FROM players AS player
WHERE player.tenant_id = %(tenant_id)s AND player.email = %(email)s;

-- name: upgrade_password_hash
-- Replaces a hash that was made with weaker parameters, unless the password was changed meanwhile.
UPDATE players
SET password_hash = %(password_hash)s
WHERE tenant_id = %(tenant_id)s AND id = %(player_id)s AND password_hash = %(outdated_hash)s;

-- name: insert_player
-- A new player, or no row when the address is taken in the tenant.
INSERT INTO players (
    tenant_id, email, username, password_hash, currency, kyc_status, balance_real_available, balance_real_held
)
VALUES (
    %(tenant_id)s, %(email)s, %(username)s, %(password_hash)s, %(currency)s, %(kyc_status)s, %(available)s, %(held)s
)
ON CONFLICT (tenant_id, email) DO NOTHING
RETURNING id;

-- name: lock_kyc_status
-- Keeps a player for this transaction; the status as it stands.
SELECT player.kyc_status
FROM players AS player
WHERE player.id = %(player_id)s AND (%(tenant_id)s::UUID IS NULL OR player.tenant_id = %(tenant_id)s)
FOR NO KEY UPDATE;

-- name: update_kyc_status
-- Sets the status; the player's tenant.
UPDATE players
SET
    kyc_status = %(kyc_status)s,
    updated_at = clock_timestamp()
WHERE id = %(player_id)s AND (%(tenant_id)s::UUID IS NULL OR tenant_id = %(tenant_id)s)
RETURNING tenant_id;

-- name: find_player
-- One player with both sides and the side that decides; anywhere when tenant_id is NULL.
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
    player.created_at
FROM players AS player
INNER JOIN tenant_modes AS mode ON mode.tenant_id = player.tenant_id
LEFT JOIN wallet_balances AS wallet
    ON wallet.tenant_id = player.tenant_id
    AND wallet.player_id = player.id
    AND wallet.currency = player.currency
WHERE player.id = %(player_id)s AND (%(tenant_id)s::UUID IS NULL OR player.tenant_id = %(tenant_id)s);

-- name: list_players
-- Players of a tenant, or of everywhere when tenant_id is NULL; newest first, from before a player. The page is cut
-- before both sides are looked up.
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
    player.created_at
FROM (
    SELECT
        candidate.id,
        candidate.tenant_id,
        candidate.email,
        candidate.username,
        candidate.currency,
        candidate.kyc_status,
        candidate.is_active,
        candidate.balance_real_available,
        candidate.balance_real_held,
        candidate.created_at
    FROM players AS candidate
    WHERE
        (%(tenant_id)s::UUID IS NULL OR candidate.tenant_id = %(tenant_id)s)
        AND (%(asked_tenant_id)s::UUID IS NULL OR candidate.tenant_id = %(asked_tenant_id)s)
        AND (%(email)s::TEXT IS NULL OR candidate.email = %(email)s)
        AND (%(kyc_status)s::TEXT IS NULL OR candidate.kyc_status = %(kyc_status)s)
        AND (%(before_id)s::UUID IS NULL OR candidate.id < %(before_id)s)
    ORDER BY candidate.id DESC
    LIMIT %(limit)s
    OFFSET %(offset)s
) AS player
INNER JOIN tenant_modes AS mode ON mode.tenant_id = player.tenant_id
LEFT JOIN wallet_balances AS wallet
    ON wallet.tenant_id = player.tenant_id
    AND wallet.player_id = player.id
    AND wallet.currency = player.currency
ORDER BY player.id DESC;

-- name: count_players
-- How many players list_players would show from its beginning.
SELECT count(*) AS total
FROM players AS player
WHERE
    (%(tenant_id)s::UUID IS NULL OR player.tenant_id = %(tenant_id)s)
    AND (%(asked_tenant_id)s::UUID IS NULL OR player.tenant_id = %(asked_tenant_id)s)
    AND (%(email)s::TEXT IS NULL OR player.email = %(email)s)
    AND (%(kyc_status)s::TEXT IS NULL OR player.kyc_status = %(kyc_status)s);
