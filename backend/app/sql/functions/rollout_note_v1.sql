-- What every change of an arbiter is made of, whoever makes it. In this order:
--   CONTROL  one lock for all changes of flags: shared by those who change one tenant, alone for those who change many. So
--            "before" and "after" of a change differ by this change only.
--   FENCE    the exclusive form of the lock that every call of the door holds to its commit.
--   CHANGE   the flag, in whatever table it stands. It is seen by nobody before the commit.
--   NOTE     epoch, row in arbiter_changes, audit, for exactly the tenants whose arbiter is another one now.
-- Why nobody is judged by the old arbiter once the commit has returned: the door takes the fence in its shared form and only
-- then, in a statement of its own, reads who decides. A call that had the shared form before us has committed before
-- we got ours, and one that comes later gets it after our commit and reads what we wrote. There is no third kind.

-- Whose arbiter is the ledger, as far as this transaction sees.
CREATE FUNCTION rollout_enforced_v1()
RETURNS UUID[]
LANGUAGE sql VOLATILE
AS $$
    SELECT coalesce(array_agg(mode.tenant_id ORDER BY mode.number), '{}') FROM tenant_modes AS mode WHERE mode.arbiter = 'ledger'
$$;

-- Takes the control lock for this transaction. Whoever may not wait goes on without it: what is lost then is that two
-- changes at the same moment might both count themselves as the one that changed a tenant.
CREATE FUNCTION rollout_control_v1(p_is_alone BOOLEAN, p_is_needed BOOLEAN)
RETURNS VOID
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '1s'
AS $$
DECLARE
    c_control_namespace CONSTANT INTEGER := 4711007;
BEGIN
    IF p_is_alone THEN
        PERFORM pg_advisory_xact_lock(c_control_namespace, 0);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(c_control_namespace, 0);
    END IF;
EXCEPTION WHEN lock_not_available THEN
    IF p_is_needed THEN
        RAISE;
    END IF;
END
$$;

-- Takes the fences of tenants in the order of their numbers, as far as they come within the budget; returns whose did.
-- Whoever waits for a fence holds up every call of that tenant behind itself, so one wait is short, and between two waits
-- the calls that came meanwhile are let through: a transaction that stays open for seconds stalls nobody but itself.
CREATE FUNCTION rollout_fence_v1(p_tenant_ids UUID[], p_budget_ms INTEGER)
RETURNS UUID[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '200ms'
AS $$
DECLARE
    c_fence_namespace CONSTANT INTEGER := 4711001;
    c_pause_seconds CONSTANT DOUBLE PRECISION := 0.05;
    v_deadline CONSTANT TIMESTAMPTZ := clock_timestamp() + p_budget_ms * INTERVAL '1 millisecond';
    v_fenced UUID[] := '{}';
    v_tenant RECORD;
BEGIN
    FOR v_tenant IN
        SELECT tenant.id, tenant.number
        FROM tenants AS tenant
        WHERE tenant.id = ANY(p_tenant_ids)
        ORDER BY tenant.number
    LOOP
        LOOP
            IF pg_try_advisory_xact_lock(c_fence_namespace, v_tenant.number) THEN
                v_fenced := v_fenced || v_tenant.id;
                EXIT;
            END IF;
            EXIT WHEN clock_timestamp() >= v_deadline;
            BEGIN
                PERFORM pg_advisory_xact_lock(c_fence_namespace, v_tenant.number);
                v_fenced := v_fenced || v_tenant.id;
                EXIT;
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                EXIT WHEN clock_timestamp() >= v_deadline;
                PERFORM pg_sleep(c_pause_seconds);
            END;
        END LOOP;
    END LOOP;
    RETURN v_fenced;
END
$$;

-- Whether this session holds a tenant's fence alone.
CREATE FUNCTION rollout_is_fenced_v1(p_tenant_id UUID)
RETURNS BOOLEAN
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT EXISTS (
        SELECT
        FROM pg_locks AS held
        INNER JOIN tenants AS tenant ON tenant.number::OID = held.objid
        WHERE
            held.locktype = 'advisory'
            AND held.classid = 4711001
            AND held.objsubid = 2
            AND held.mode = 'ExclusiveLock'
            AND held.granted
            AND held.pid = pg_backend_pid()
            AND tenant.id = p_tenant_id
    )
$$;

-- Writes down that a tenant's arbiter is another one from the end of this transaction on; returns the row.
-- p_actor: {kind, id, label, request_id}. p_facts: {decision_id, waived_gates, gates, fence_waited_ms, is_automatic}, all of
-- which may be missing.
CREATE FUNCTION rollout_note_v1(
    p_tenant_id UUID,
    p_kind TEXT,
    p_arbiter TEXT,
    p_reason TEXT,
    p_actor JSONB,
    p_facts JSONB,
    p_attestation JSONB,
    p_is_fenced BOOLEAN
)
RETURNS ARBITER_CHANGES
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_change ARBITER_CHANGES;
    v_before CONSTANT TEXT := CASE p_arbiter WHEN 'ledger' THEN 'legacy' ELSE 'ledger' END;
BEGIN
    UPDATE tenants AS tenant
    SET
        epoch = tenant.epoch + 1,
        updated_at = clock_timestamp()
    WHERE tenant.id = p_tenant_id
    RETURNING tenant.epoch INTO v_change.epoch;

    INSERT INTO arbiter_changes (
        tenant_id, kind, arbiter_before, arbiter, epoch, reason, actor_kind, actor_id, actor_label, is_automatic,
        decision_id, waived_gates, gates, attestation, is_fenced, fence_waited_ms, changed_at
    )
    VALUES (
        p_tenant_id,
        p_kind,
        v_before,
        p_arbiter,
        v_change.epoch,
        p_reason,
        p_actor ->> 'kind',
        (p_actor ->> 'id')::UUID,
        p_actor ->> 'label',
        coalesce((p_facts ->> 'is_automatic')::BOOLEAN, FALSE),
        (p_facts ->> 'decision_id')::UUID,
        ARRAY(SELECT jsonb_array_elements_text(coalesce(p_facts -> 'waived_gates', '[]'))),
        p_facts -> 'gates',
        p_attestation,
        p_is_fenced,
        coalesce((p_facts ->> 'fence_waited_ms')::INTEGER, 0),
        clock_timestamp()
    )
    RETURNING * INTO v_change;

    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id, reason, state_before, state_after,
        request_id, client_address
    )
    VALUES (
        p_tenant_id,
        v_change.actor_kind,
        v_change.actor_id,
        v_change.actor_label,
        'arbiter.' || CASE p_kind WHEN 'rehearsal' THEN 'rehearsed' ELSE 'changed' END,
        'tenant',
        p_tenant_id::TEXT,
        p_reason,
        jsonb_build_object('arbiter', v_before, 'epoch', v_change.epoch - 1),
        jsonb_build_object(
            'arbiter', p_arbiter, 'epoch', v_change.epoch, 'is_fenced', p_is_fenced,
            'waived_gates', nullif(array_to_string(v_change.waived_gates, ','), ''), 'arbiter_change_id', v_change.id
        ),
        p_actor ->> 'request_id',
        p_actor ->> 'client_address'
    );
    RETURN v_change;
END
$$;

-- After a change of flags that bind many tenants, in its transaction: fences, and a note for each tenant whose arbiter is
-- another one than in p_before (rollout_enforced_v1 before the change). Fences that do not come within the budget are gone
-- without; a caller who may not do without has taken them before. At most so many rows come back as tenants have changed.
CREATE FUNCTION rollout_settle_v1(p_before UUID[], p_reason TEXT, p_actor JSONB, p_facts JSONB, p_budget_ms INTEGER)
RETURNS SETOF ARBITER_CHANGES
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    v_after CONSTANT UUID[] := rollout_enforced_v1();
    v_changed UUID[];
    v_fenced UUID[];
    v_tenant_id UUID;
BEGIN
    SELECT coalesce(array_agg(tenant.id ORDER BY tenant.number), '{}') INTO v_changed
    FROM tenants AS tenant
    WHERE (tenant.id = ANY(p_before)) <> (tenant.id = ANY(v_after));

    v_fenced := rollout_fence_v1(v_changed, p_budget_ms);
    FOREACH v_tenant_id IN ARRAY v_changed LOOP
        RETURN NEXT rollout_note_v1(
            v_tenant_id,
            'flags',
            CASE WHEN v_tenant_id = ANY(v_after) THEN 'ledger' ELSE 'legacy' END,
            p_reason,
            p_actor,
            p_facts,
            rollout_attestation_v1(v_tenant_id),
            v_tenant_id = ANY(v_fenced)
        );
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION rollout_note_v1, rollout_settle_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rollout_settle_v1 TO hakem_service;
