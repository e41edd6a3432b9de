-- What the backfill makes of players: the one rule, asked by the dry run and, under the locks, by the run.
-- Outcomes: created (the wallet is opened) · skipped_exists (opened, both sides equal) · differs (opened, both sides
-- differ, left alone) · updated_forced (the same, forced); and the errors, whose wallets nobody touches:
-- unknown_currency · negative_balance · balance_too_large · other_currency (a wallet in another currency has money: the
-- player's currency was changed) · snapshot_not_fold (the ledger is to repair the legacy column, and contradicts itself).
CREATE TYPE backfill_judgement_v1 AS (
    player_id UUID,
    currency TEXT,
    legacy_available BIGINT,
    legacy_held BIGINT,
    ledger_available BIGINT,
    ledger_pending BIGINT,
    outcome TEXT
);

-- STABLE and without settings of its own, so that the planner puts its text in the place of the call.
CREATE FUNCTION backfill_judge_v1(
    p_tenant_id UUID,
    p_player_ids UUID[],
    -- The currencies that there are, with blanks between them: in a string one is found faster than in an array.
    p_currencies TEXT,
    p_arbiter TEXT,
    p_is_forced BOOLEAN
)
RETURNS SETOF BACKFILL_JUDGEMENT_V1
LANGUAGE sql STABLE
AS $$
    SELECT
        player.id,
        player.currency::TEXT,
        player.balance_real_available,
        player.balance_real_held,
        wallet.available,
        wallet.pending,
        CASE
            WHEN wallet.available = player.balance_real_available AND wallet.pending = player.balance_real_held
                THEN 'skipped_exists'
            WHEN wallet.available IS NOT NULL AND NOT p_is_forced THEN 'differs'
            WHEN wallet.available IS NOT NULL AND p_arbiter = 'ledger' THEN
                CASE
                    WHEN EXISTS (
                        SELECT
                        FROM ledger_fold_v1(player.tenant_id, player.id, player.currency) AS folded
                        WHERE
                            (folded.available, folded.pending, folded.version)
                            IS DISTINCT FROM (wallet.available, wallet.pending, wallet.version)
                    ) THEN 'snapshot_not_fold'
                    ELSE 'updated_forced'
                END
            -- From here on the legacy balance is what the wallet would get.
            WHEN strpos(p_currencies, player.currency) = 0 THEN 'unknown_currency'
            WHEN least(player.balance_real_available, player.balance_real_held) < 0 THEN 'negative_balance'
            -- What no entrance of ours takes either (AMOUNT_MINOR_MAX): not money but somebody's mistake.
            WHEN greatest(player.balance_real_available, player.balance_real_held) > 1000000000000000
                THEN 'balance_too_large'
            WHEN wallet.available IS NOT NULL THEN 'updated_forced'
            WHEN wallet.has_money_elsewhere THEN 'other_currency'
            ELSE 'created'
        END
    FROM unnest(p_player_ids) AS wanted (player_id)
    INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = p_tenant_id
    -- One look-up for all of a player's wallets; nulls when none in the player's currency is opened.
    CROSS JOIN LATERAL (
        SELECT
            max(candidate.balance_real_available) FILTER (WHERE is_own.is_own) AS available,
            max(candidate.balance_real_pending) FILTER (WHERE is_own.is_own) AS pending,
            max(candidate.version) FILTER (WHERE is_own.is_own) AS version,
            bool_or(
                candidate.currency <> player.currency
                AND (candidate.balance_real_available <> 0 OR candidate.balance_real_pending <> 0)
            ) AS has_money_elsewhere
        FROM wallet_balances AS candidate
        CROSS JOIN LATERAL (
            SELECT candidate.currency = player.currency AND candidate.opened_at IS NOT NULL AS is_own
        ) AS is_own
        WHERE candidate.tenant_id = player.tenant_id AND candidate.player_id = player.id
    ) AS wallet
    -- Keeps the outcome from being worked out again at each place that asks for it.
    OFFSET 0
$$;

GRANT EXECUTE ON FUNCTION backfill_judge_v1 TO hakem_service;
