-- Sets or removes what a tenant has of its own for one of the two ledger flags (p_override null removes it), and says who
-- set it, why and until when. Called by the functions below under their locks.
CREATE FUNCTION tenant_flag_write_v1(
    p_tenant_id UUID,
    p_flag TEXT,
    p_override BOOLEAN,
    p_reason TEXT,
    p_actor JSONB,
    p_expires_at TIMESTAMPTZ
)
RETURNS VOID
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_key CONSTANT TEXT := CASE p_flag
        WHEN 'ledger_enforce_balance' THEN 'ledger_enforce_override'
        ELSE 'ledger_shadow_override'
    END;
    v_before BOOLEAN;
BEGIN
    SELECT (tenant.flags ->> v_key)::BOOLEAN INTO v_before
    FROM tenants AS tenant
    WHERE tenant.id = p_tenant_id
    FOR NO KEY UPDATE;
    UPDATE tenants AS tenant
    SET
        flags = tenant.flags || jsonb_build_object(v_key, p_override),
        updated_at = clock_timestamp()
    WHERE tenant.id = p_tenant_id;

    DELETE FROM flag_settings AS setting
    WHERE setting.flag = p_flag AND setting.scope = 'tenant' AND setting.holder = p_tenant_id::TEXT;
    IF p_override IS NOT NULL THEN
        INSERT INTO flag_settings (flag, scope, holder, value, reason, set_by, expires_at)
        VALUES (p_flag, 'tenant', p_tenant_id::TEXT, p_override, p_reason, p_actor ->> 'label', p_expires_at);
    END IF;

    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after,
        request_id, client_address
    )
    VALUES (
        p_tenant_id,
        p_actor ->> 'kind',
        (p_actor ->> 'id')::UUID,
        p_actor ->> 'label',
        'flag.changed',
        'flag',
        p_flag,
        p_reason,
        jsonb_build_object('value', v_before),
        jsonb_build_object('scope', 'tenant', 'value', p_override, 'expires_at', p_expires_at),
        p_actor ->> 'request_id',
        p_actor ->> 'client_address'
    );
END
$$;

-- Sets or removes (p_value null) what is said about a flag for everybody, for a provider or, of a flag that the door does
-- not read, for a tenant; with its audit row. p_holder is empty for everybody.
CREATE FUNCTION flag_write_v1(
    p_flag TEXT,
    p_scope TEXT,
    p_holder TEXT,
    p_value BOOLEAN,
    p_expires_at TIMESTAMPTZ,
    p_reason TEXT,
    p_actor JSONB
)
RETURNS VOID
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_before RECORD;
BEGIN
    DELETE FROM flag_settings AS setting
    WHERE setting.flag = p_flag AND setting.scope = p_scope AND setting.holder = p_holder
    RETURNING setting.value, setting.expires_at INTO v_before;
    IF p_value IS NOT NULL THEN
        INSERT INTO flag_settings (flag, scope, holder, value, reason, set_by, expires_at)
        VALUES (p_flag, p_scope, p_holder, p_value, p_reason, p_actor ->> 'label', p_expires_at);
    END IF;

    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after,
        request_id, client_address
    )
    VALUES (
        CASE p_scope WHEN 'tenant' THEN p_holder::UUID END,
        p_actor ->> 'kind',
        (p_actor ->> 'id')::UUID,
        p_actor ->> 'label',
        'flag.changed',
        'flag',
        p_flag,
        p_reason,
        jsonb_build_object('value', v_before.value, 'expires_at', v_before.expires_at),
        jsonb_build_object('scope', p_scope, 'holder', p_holder, 'value', p_value, 'expires_at', p_expires_at),
        p_actor ->> 'request_id',
        p_actor ->> 'client_address'
    );
END
$$;

-- The flip to the ledger: the caller holds the fence and has judged the gates inside it. p_override null removes the
-- tenant's own value, where a level below enforces. Returns the row, or none when the ledger decided already.
-- Raises object_not_in_prerequisite_state when the fence is not held, when shadow writing is off, or when the ledger does
-- not decide even then, because a kill switch is on.
CREATE FUNCTION rollout_enforce_v1(
    p_tenant_id UUID,
    p_kind TEXT,
    p_override BOOLEAN,
    p_expires_at TIMESTAMPTZ,
    p_reason TEXT,
    p_actor JSONB,
    p_facts JSONB,
    p_attestation JSONB
)
RETURNS SETOF ARBITER_CHANGES
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_arbiter_before TEXT;
    v_mode RECORD;
BEGIN
    IF NOT rollout_is_fenced_v1(p_tenant_id) THEN
        RAISE EXCEPTION 'a flip to the ledger needs the fence of the tenant'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT mode.arbiter INTO v_arbiter_before FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id;

    PERFORM tenant_flag_write_v1(
        p_tenant_id, 'ledger_enforce_balance', p_override, p_reason, p_actor, p_expires_at
    );
    SELECT mode.arbiter, mode.is_refused INTO v_mode FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id;
    IF v_mode.arbiter IS DISTINCT FROM 'ledger' OR v_mode.is_refused THEN
        RAISE EXCEPTION 'the ledger cannot decide for the tenant: a kill switch is on, or shadow writing is off'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF v_arbiter_before <> 'ledger' THEN
        RETURN NEXT rollout_note_v1(
            p_tenant_id, p_kind, 'ledger', p_reason, p_actor, p_facts, p_attestation, TRUE
        );
    END IF;
END
$$;

-- Switches shadow writing of one tenant, or leaves it to the levels below. Raises object_not_in_prerequisite_state when
-- that would leave the ledger deciding about balances that it does not write.
CREATE FUNCTION tenant_shadow_v1(
    p_tenant_id UUID,
    p_override BOOLEAN,
    p_expires_at TIMESTAMPTZ,
    p_reason TEXT,
    p_actor JSONB
)
RETURNS VOID
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM rollout_control_v1(TRUE, TRUE);
    PERFORM tenant_flag_write_v1(p_tenant_id, 'ledger_shadow_write', p_override, p_reason, p_actor, p_expires_at);
    IF EXISTS (SELECT FROM tenant_modes AS mode WHERE mode.tenant_id = p_tenant_id AND mode.is_refused) THEN
        RAISE EXCEPTION 'the ledger decides for the tenant, so it has to be written'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION tenant_flag_write_v1, flag_write_v1, rollout_enforce_v1, tenant_shadow_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION flag_write_v1, rollout_enforce_v1, tenant_shadow_v1 TO hakem_service;
