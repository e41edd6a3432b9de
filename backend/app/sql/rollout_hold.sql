-- name: insert_hold
-- Places a hold on a tenant or, when tenant_id is NULL, on all of them.
INSERT INTO rollout_holds (kind, tenant_id, reason, placed_by, ends_at, decision_id)
VALUES (%(kind)s, %(tenant_id)s, %(reason)s, %(placed_by)s, %(ends_at)s, %(decision_id)s)
RETURNING id, kind, tenant_id, reason, placed_by, placed_at, ends_at, decision_id;

-- name: lift_holds
-- Ends the holds of a tenant, or of all tenants together when tenant_id is NULL, that still stand: one, or all of a kind.
UPDATE rollout_holds AS hold
SET
    lifted_at = clock_timestamp(),
    lifted_by = %(lifted_by)s,
    lift_reason = %(reason)s
WHERE
    hold.tenant_id IS NOT DISTINCT FROM %(tenant_id)s::UUID
    AND hold.lifted_at IS NULL
    AND (hold.ends_at IS NULL OR hold.ends_at > clock_timestamp())
    AND (%(kind)s::TEXT IS NULL OR hold.kind = %(kind)s)
    AND (%(hold_id)s::UUID IS NULL OR hold.id = %(hold_id)s)
RETURNING
    hold.id, hold.kind, hold.tenant_id, hold.reason, hold.placed_by, hold.placed_at, hold.ends_at, hold.decision_id;

-- name: list_active_holds
-- What stands against enforcing a tenant: its own holds and those of the fleet; with tenant_id NULL, all there are.
-- reasons: as the monitor's decision has them in each language, for a hold that it led to.
SELECT
    hold.id,
    hold.kind,
    hold.tenant_id,
    hold.reason,
    hold.placed_by,
    hold.placed_at,
    hold.ends_at,
    hold.decision_id,
    (
        SELECT planned.hold -> 'reasons'
        FROM monitor_decisions AS decision
        CROSS JOIN LATERAL jsonb_array_elements(decision.actions -> 'holds') AS planned (hold)
        WHERE decision.id = hold.decision_id AND planned.hold ->> 'kind' = hold.kind
        LIMIT 1
    ) AS reasons
FROM rollout_holds AS hold
WHERE
    hold.lifted_at IS NULL
    AND (hold.ends_at IS NULL OR hold.ends_at > clock_timestamp())
    AND (%(tenant_id)s::UUID IS NULL OR hold.tenant_id IS NULL OR hold.tenant_id = %(tenant_id)s)
ORDER BY hold.id DESC
LIMIT %(limit)s;
