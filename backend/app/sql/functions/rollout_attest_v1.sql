-- Count and sums of the three sides of these players of a tenant, by currency, as of one moment: the legacy columns, the
-- snapshots, and what the last transaction of each wallet says that the ledger came to. By key only, so that it costs the
-- same however large the tenant is. In a tenant that may be enforced, unopened and differing are zero, and the sums equal.
CREATE FUNCTION rollout_attest_v1(p_tenant_id UUID, p_player_ids UUID[])
RETURNS TABLE (
    currency TEXT,
    players BIGINT,
    unopened BIGINT,
    differing BIGINT,
    legacy_available NUMERIC,
    legacy_held NUMERIC,
    snapshot_available NUMERIC,
    snapshot_pending NUMERIC,
    ledger_available NUMERIC,
    ledger_pending NUMERIC,
    -- The first few of each.
    unopened_ids UUID[],
    differing_ids UUID[]
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    c_named_max CONSTANT INTEGER := 5;
BEGIN
    RETURN QUERY
    SELECT
        side.currency,
        count(*),
        count(*) FILTER (WHERE NOT side.is_opened),
        count(*) FILTER (WHERE side.is_differing),
        sum(side.legacy_available),
        sum(side.legacy_held),
        sum(side.snapshot_available),
        sum(side.snapshot_pending),
        sum(side.ledger_available),
        sum(side.ledger_pending),
        coalesce((array_agg(side.player_id ORDER BY side.player_id) FILTER (WHERE NOT side.is_opened))[1:c_named_max], '{}'),
        coalesce((array_agg(side.player_id ORDER BY side.player_id) FILTER (WHERE side.is_differing))[1:c_named_max], '{}')
    FROM (
        SELECT
            player.id AS player_id,
            player.currency::TEXT AS currency,
            player.balance_real_available AS legacy_available,
            player.balance_real_held AS legacy_held,
            coalesce(wallet.balance_real_available, 0) AS snapshot_available,
            coalesce(wallet.balance_real_pending, 0) AS snapshot_pending,
            coalesce(entry.available_after, 0) AS ledger_available,
            coalesce(entry.pending_after, 0) AS ledger_pending,
            wallet.opened_at IS NOT NULL AS is_opened,
            wallet.opened_at IS NOT NULL
            AND (
                player.balance_real_available <> wallet.balance_real_available
                OR player.balance_real_held <> wallet.balance_real_pending
                OR wallet.balance_real_available <> coalesce(entry.available_after, 0)
                OR wallet.balance_real_pending <> coalesce(entry.pending_after, 0)
            ) AS is_differing
        FROM unnest(p_player_ids) AS wanted (player_id)
        INNER JOIN players AS player ON player.id = wanted.player_id AND player.tenant_id = p_tenant_id
        -- OFFSET 0: one look-up a player, also in a plan that was made while the tables were empty.
        LEFT JOIN LATERAL (
            SELECT
                stored.balance_real_available,
                stored.balance_real_pending,
                stored.version,
                stored.opened_at
            FROM wallet_balances AS stored
            WHERE
                stored.tenant_id = p_tenant_id
                AND stored.player_id = player.id
                AND stored.currency = player.currency
            OFFSET 0
        ) AS wallet ON TRUE
        LEFT JOIN LATERAL (
            SELECT
                stored.available_after,
                stored.pending_after
            FROM ledger_transactions AS stored
            WHERE
                stored.tenant_id = p_tenant_id
                AND stored.player_id = player.id
                AND stored.currency = player.currency
                AND stored.wallet_version = wallet.version
            OFFSET 0
        ) AS entry ON TRUE
    ) AS side
    GROUP BY side.currency
    ORDER BY side.currency;
END
$$;

-- The attestation of a whole tenant as it is stored with a flip; null for more players than can be looked at in passing.
CREATE FUNCTION rollout_attestation_v1(p_tenant_id UUID)
RETURNS JSONB
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    c_players_max CONSTANT INTEGER := 2000;
    v_player_ids UUID[];
BEGIN
    SELECT array_agg(candidate.id) INTO v_player_ids
    FROM (
        SELECT player.id
        FROM players AS player
        WHERE player.tenant_id = p_tenant_id
        LIMIT c_players_max + 1
    ) AS candidate;
    IF cardinality(v_player_ids) > c_players_max THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT coalesce(
            jsonb_agg(to_jsonb(attested) - 'unopened_ids' - 'differing_ids' ORDER BY attested.currency), '[]'
        )
        FROM rollout_attest_v1(p_tenant_id, coalesce(v_player_ids, '{}')) AS attested
    );
END
$$;
