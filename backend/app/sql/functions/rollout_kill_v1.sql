-- The way back: the legacy column decides again, for one tenant or, when p_tenant_id is null, for all. Nothing stands
-- against it: no gate, no metric, no hold, and no fence that does not come within a second.
-- Why it may do without the fence: both sides are written by every transaction, whoever decides, so what is believed can
-- change at any moment without a cent being lost or counted twice. Without the fence a call that had read the old arbiter
-- may still commit behind us. It was judged before the rollback; had the fence come, we would have waited for its end and
-- the ledger's verdict on it would stand just the same. is_fenced says which of the two it was.
-- Repeating it changes nothing. p_override null removes the tenant's own value instead of setting it to false, for a value
-- that was set until a time that has come: then the levels below decide, and the arbiter may stay.
-- For all, what enforces below the tenants is switched off as well, so that nobody is enforced by what was left behind.
-- Returns a row for each tenant whose arbiter is another one now.
CREATE FUNCTION rollout_rollback_v1(
    p_tenant_id UUID,
    p_kind TEXT,
    p_override BOOLEAN,
    p_reason TEXT,
    p_actor JSONB,
    p_facts JSONB
)
RETURNS SETOF ARBITER_CHANGES
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
-- A row of a tenant is held by nobody for long; should it be all the same, better an error that says so than silence.
SET lock_timeout = '2s'
AS $$
#variable_conflict use_column
DECLARE
    c_fence_budget_ms CONSTANT INTEGER := 1000;
    v_started_at CONSTANT TIMESTAMPTZ := clock_timestamp();
    v_reason CONSTANT TEXT := left(coalesce(nullif(btrim(p_reason), ''), 'no reason was given'), 500);
    v_enforced UUID[];
    v_fenced UUID[];
    v_waited JSONB;
    v_tenant RECORD;
    v_arbiter TEXT;
BEGIN
    PERFORM rollout_control_v1(p_tenant_id IS NULL, FALSE);
    SELECT coalesce(array_agg(mode.tenant_id), '{}') INTO v_enforced
    FROM tenant_modes AS mode
    WHERE mode.arbiter = 'ledger' AND (p_tenant_id IS NULL OR mode.tenant_id = p_tenant_id);
    v_fenced := rollout_fence_v1(v_enforced, c_fence_budget_ms);
    v_waited := jsonb_build_object(
        'fence_waited_ms', round(extract(EPOCH FROM clock_timestamp() - v_started_at) * 1000)::INTEGER
    );

    IF p_tenant_id IS NULL THEN
        PERFORM flag_write_v1('ledger_enforce_balance', 'global', '', FALSE, NULL, v_reason, p_actor);
    END IF;
    FOR v_tenant IN
        SELECT
            tenant.id,
            (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN AS override
        FROM tenants AS tenant
        WHERE
            tenant.id = p_tenant_id
            OR (p_tenant_id IS NULL AND (tenant.flags ->> 'ledger_enforce_override' = 'true' OR tenant.id = ANY(v_enforced)))
        ORDER BY tenant.number
    LOOP
        IF v_tenant.override IS DISTINCT FROM p_override THEN
            PERFORM tenant_flag_write_v1(
                v_tenant.id, 'ledger_enforce_balance', p_override, v_reason, p_actor, NULL
            );
        END IF;
        SELECT mode.arbiter INTO v_arbiter FROM tenant_modes AS mode WHERE mode.tenant_id = v_tenant.id;
        IF v_arbiter = 'legacy' AND v_tenant.id = ANY(v_enforced) THEN
            RETURN NEXT rollout_note_v1(
                v_tenant.id, p_kind, 'legacy', v_reason, p_actor, v_waited || coalesce(p_facts, '{}'),
                rollout_attestation_v1(v_tenant.id), v_tenant.id = ANY(v_fenced)
            );
        END IF;
    END LOOP;
END
$$;

-- The same for a person at psql when nothing else runs: SELECT * FROM rollout_kill_v1('<tenant>' or NULL, 'why');
CREATE FUNCTION rollout_kill_v1(p_tenant_id UUID, p_reason TEXT)
RETURNS TABLE (tenant_id UUID, slug TEXT, arbiter TEXT, epoch INTEGER, is_fenced BOOLEAN, changed_at TIMESTAMPTZ)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT
        change.tenant_id,
        tenant.slug,
        change.arbiter,
        change.epoch,
        change.is_fenced,
        change.changed_at
    FROM rollout_rollback_v1(
        p_tenant_id, 'flip', FALSE, p_reason, jsonb_build_object('kind', 'operator', 'label', session_user), NULL
    ) AS change
    INNER JOIN tenants AS tenant ON tenant.id = change.tenant_id
    ORDER BY tenant.number
$$;

REVOKE ALL ON FUNCTION rollout_rollback_v1, rollout_kill_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rollout_rollback_v1, rollout_kill_v1 TO hakem_service;
