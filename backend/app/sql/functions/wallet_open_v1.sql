-- Opens the wallets of players by the door's opening rule, under the door's fence and locks: for registration and for
-- the backfill. Wallets of tenants without shadow writing are left alone. Returns how many wallets this call opened.
CREATE FUNCTION wallet_open_v1(p_tenant_id UUID, p_player_ids UUID[])
RETURNS INTEGER
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    v_shadow BOOLEAN;
    v_unopened UUID[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(c_fence_namespace, tenant.number)
    FROM tenants AS tenant
    WHERE tenant.id = p_tenant_id;

    SELECT mode.shadow_write INTO v_shadow FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id;
    IF v_shadow IS NOT TRUE THEN
        RETURN 0;
    END IF;

    PERFORM player.id
    FROM players AS player
    WHERE player.tenant_id = p_tenant_id AND player.id = ANY(p_player_ids)
    ORDER BY player.id
    FOR NO KEY UPDATE;

    -- A statement of its own, after the locks: see ledger_open_wallets_v1.
    SELECT coalesce(array_agg(player.id ORDER BY player.id), '{}') INTO v_unopened
    FROM players AS player
    LEFT JOIN wallet_balances AS wallet
        ON wallet.tenant_id = player.tenant_id
        AND wallet.player_id = player.id
        AND wallet.currency = player.currency
    WHERE player.tenant_id = p_tenant_id AND player.id = ANY(p_player_ids) AND wallet.opened_at IS NULL;

    PERFORM ledger_open_wallets_v1(array_fill(p_tenant_id, ARRAY[cardinality(v_unopened)]), v_unopened);
    RETURN cardinality(v_unopened);
END
$$;
