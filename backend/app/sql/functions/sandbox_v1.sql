-- The tenant that the monitor proves itself on: made once, faults planted in it, and in no other. The service may not write
-- balances or flags; here it may, where is_sandbox says that nobody's money is meant.

-- The sandbox and its first p_players players, made where they are missing.
CREATE FUNCTION sandbox_ensure_v1(p_players INTEGER)
RETURNS TABLE (tenant_id UUID, player_ids UUID[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    c_slug CONSTANT TEXT := 'hakem-sandbox';
    v_tenant_id UUID;
BEGIN
    -- One at a time; the unique index on is_sandbox would stop a second one, in a less friendly way.
    PERFORM pg_advisory_xact_lock(4711006, 1);

    SELECT tenant.id INTO v_tenant_id FROM tenants AS tenant WHERE tenant.is_sandbox;
    IF v_tenant_id IS NULL THEN
        INSERT INTO tenants AS made (slug, name, base_currency, is_sandbox)
        VALUES (
            -- Somebody may have taken the name for a tenant of theirs.
            CASE
                WHEN EXISTS (SELECT FROM tenants AS taken WHERE taken.slug = c_slug)
                    THEN c_slug || '-' || substr(md5(clock_timestamp()::TEXT), 1, 8)
                ELSE c_slug
            END,
            'The monitor''s sandbox', 'USD', TRUE
        )
        RETURNING made.id INTO v_tenant_id;
    END IF;

    INSERT INTO players (tenant_id, external_id, email, username, currency, kyc_status)
    SELECT
        v_tenant_id,
        'sandbox-' || place.number,
        'sandbox-' || place.number || '@sandbox.invalid',
        'sandbox-' || place.number,
        'USD',
        'verified'
    FROM generate_series(1, p_players) AS place (number)
    ON CONFLICT DO NOTHING;

    RETURN QUERY
    SELECT
        v_tenant_id,
        array_agg(player.id ORDER BY player.id)
    FROM players AS player
    WHERE
        player.tenant_id = v_tenant_id
        AND player.external_id IN (
            SELECT 'sandbox-' || place.number FROM generate_series(1, p_players) AS place (number)
        );
END
$$;

-- Writes the legacy column of the sandbox's players behind the ledger's back, as another system would. How many it was.
CREATE FUNCTION sandbox_plant_v1(p_player_ids UUID[], p_available BIGINT) RETURNS BIGINT
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    WITH planted AS (
        UPDATE players AS player
        SET balance_real_available = p_available
        FROM tenants AS tenant
        WHERE player.id = ANY(p_player_ids) AND tenant.id = player.tenant_id AND tenant.is_sandbox
        RETURNING player.id
    )

    SELECT count(*) FROM planted
$$;

-- Makes the ledger the sandbox's arbiter, or leaves that to the levels below again; in a new epoch, under the fence. Says who
-- decides then: an explicit False of an environment is stronger. Not a flip that anybody should read of: none of the gates
-- is asked, and arbiter_changes does not know of it.
CREATE FUNCTION sandbox_enforce_v1(p_is_enforced BOOLEAN) RETURNS TABLE (arbiter TEXT, epoch INTEGER, shadow_write BOOLEAN)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    v_tenant_id UUID;
BEGIN
    SELECT tenant.id INTO STRICT v_tenant_id FROM tenants AS tenant WHERE tenant.is_sandbox;
    PERFORM pg_advisory_xact_lock(c_fence_namespace, tenant.number) FROM tenants AS tenant WHERE tenant.id = v_tenant_id;

    UPDATE tenants AS tenant
    SET
        flags = tenant.flags || jsonb_build_object('ledger_enforce_override', CASE WHEN p_is_enforced THEN TRUE END),
        epoch = tenant.epoch + 1,
        updated_at = clock_timestamp()
    WHERE tenant.id = v_tenant_id;

    RETURN QUERY
    SELECT
        mode.arbiter,
        mode.epoch,
        mode.shadow_write
    FROM tenant_modes AS mode
    WHERE mode.tenant_id = v_tenant_id;
END
$$;

REVOKE ALL ON FUNCTION sandbox_ensure_v1, sandbox_plant_v1, sandbox_enforce_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sandbox_ensure_v1, sandbox_plant_v1, sandbox_enforce_v1 TO hakem_service;
