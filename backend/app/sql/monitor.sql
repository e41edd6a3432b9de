-- name: take_lease
-- Makes this process the one that evaluates, unless another one is at it; its token, and the database's clock.
UPDATE monitor_lease
SET
    token = token + 1,
    holder = %(holder)s,
    expires_at = clock_timestamp() + %(lasts)s::INTERVAL
WHERE id = 1 AND expires_at < clock_timestamp()
RETURNING
    token,
    clock_timestamp() AS now;

-- name: hold_lease
-- Whether the lease is still this evaluation's; it stays so until the end of the transaction. A longer time begins.
UPDATE monitor_lease
SET expires_at = clock_timestamp() + %(lasts)s::INTERVAL
WHERE id = 1 AND token = %(token)s
RETURNING token;

-- name: release_lease
-- Ends the evaluation.
UPDATE monitor_lease
SET
    expires_at = '-infinity',
    evaluated_at = CASE WHEN %(is_complete)s THEN clock_timestamp() ELSE evaluated_at END,
    evaluated_in_ms = CASE WHEN %(is_complete)s THEN %(evaluated_in_ms)s ELSE evaluated_in_ms END
WHERE id = 1 AND token = %(token)s;

-- name: find_last_evaluation
-- When all was evaluated last, how long that took, how old that is in seconds, and the database's clock.
SELECT
    lease.evaluated_at,
    lease.evaluated_in_ms,
    extract(EPOCH FROM clock_timestamp() - lease.evaluated_at)::FLOAT8 AS age_seconds,
    clock_timestamp() AS now
FROM monitor_lease AS lease
WHERE lease.id = 1;

-- name: list_tenants
-- Tenants to watch, by id from after one; one tenant, or all of them but the sandbox.
SELECT
    tenant.id,
    tenant.slug,
    mode.epoch,
    mode.arbiter,
    coalesce(setting.auto_rollback, tenant.is_sandbox) AS auto_rollback,
    tenant.is_sandbox,
    (
        SELECT change.changed_at
        FROM arbiter_changes AS change
        WHERE change.tenant_id = tenant.id AND change.epoch = mode.epoch
    ) AS counted_from,
    ARRAY(
        SELECT known.class
        FROM census_classes AS known
        WHERE
            known.tenant_id = tenant.id
            AND known.differences > 0
            AND known.run_id = (
                SELECT run.id
                FROM census_runs AS run
                WHERE run.tenant_id = tenant.id AND run.state IN ('clean', 'differences')
                ORDER BY run.id DESC
                LIMIT 1
            )
        ORDER BY known.class
    ) AS broken
FROM tenants AS tenant
INNER JOIN tenant_modes AS mode ON mode.tenant_id = tenant.id
LEFT JOIN monitor_settings AS setting ON setting.tenant_id = tenant.id
WHERE
    CASE WHEN %(tenant_id)s::UUID IS NULL THEN NOT tenant.is_sandbox ELSE tenant.id = %(tenant_id)s END
    AND (%(after_id)s::UUID IS NULL OR tenant.id > %(after_id)s)
ORDER BY tenant.id
LIMIT %(limit)s;

-- name: find_mode_then
-- The arbiter and epoch of a tenant at a time, as its last decisions before it tell.
SELECT
    kept.epoch,
    kept.arbiter::TEXT AS arbiter
FROM evidence_buckets AS kept
WHERE kept.tenant_id = %(tenant_id)s AND kept.minute <= %(at)s
ORDER BY kept.minute DESC, kept.epoch DESC
LIMIT 1;

-- name: count_rollbacks
-- How often the tenant was rolled back by itself, whether in this epoch, and how many other tenants since a time.
SELECT
    count(*) FILTER (WHERE decision.tenant_id = %(tenant_id)s) AS of_tenant,
    coalesce(bool_or(decision.tenant_id = %(tenant_id)s AND decision.epoch = %(epoch)s), FALSE) AS is_decided,
    count(DISTINCT decision.tenant_id) FILTER (
        WHERE decision.tenant_id <> %(tenant_id)s AND decision.decided_at > %(since)s AND NOT tenant.is_sandbox
    ) AS others
FROM monitor_decisions AS decision
INNER JOIN tenants AS tenant ON tenant.id = decision.tenant_id
WHERE
    decision.is_rollback
    AND (decision.tenant_id = %(tenant_id)s OR decision.decided_at > %(since)s);

-- name: find_rollback
-- The decision to roll back this tenant in this epoch.
SELECT decision.id
FROM monitor_decisions AS decision
WHERE decision.is_rollback AND decision.tenant_id = %(tenant_id)s AND decision.epoch = %(epoch)s;

-- name: insert_decision
-- Writes down why something is done; its id.
INSERT INTO monitor_decisions (
    subject_kind, subject, tenant_id, trigger, verdict_before, verdict, actions, is_automatic, is_rollback, epoch, evidence,
    thresholds, detector_version, lease_token, decided_at
)
VALUES (
    %(subject_kind)s,
    %(subject)s,
    %(tenant_id)s,
    %(trigger)s,
    %(verdict_before)s,
    %(verdict)s,
    %(actions)s,
    %(is_automatic)s,
    %(is_rollback)s,
    %(epoch)s,
    %(evidence)s,
    %(thresholds)s,
    %(detector_version)s,
    %(lease_token)s,
    %(decided_at)s
)
RETURNING id;

-- name: list_decisions
-- Decisions about a tenant, or about everybody when tenant_id is NULL; newest first, without their evidence.
SELECT
    decision.id,
    decision.subject_kind,
    decision.subject,
    decision.tenant_id,
    decision.trigger,
    decision.verdict_before,
    decision.verdict,
    decision.actions,
    decision.is_automatic,
    decision.is_rollback,
    decision.epoch,
    decision.evidence -> 'sentences' AS sentences,
    decision.detector_version,
    decision.decided_at
FROM monitor_decisions AS decision
LEFT JOIN tenants AS tenant ON tenant.id = decision.tenant_id
WHERE
    CASE
        WHEN %(tenant_id)s::UUID IS NULL THEN tenant.is_sandbox IS NOT TRUE AND decision.subject <> 'sandbox'
        ELSE decision.tenant_id = %(tenant_id)s
    END
    AND (%(before_id)s::UUID IS NULL OR decision.id < %(before_id)s)
ORDER BY decision.id DESC
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_decisions
-- How many decisions list_decisions would show.
SELECT count(*) AS total
FROM monitor_decisions AS decision
LEFT JOIN tenants AS tenant ON tenant.id = decision.tenant_id
WHERE
    CASE
        WHEN %(tenant_id)s::UUID IS NULL THEN tenant.is_sandbox IS NOT TRUE AND decision.subject <> 'sandbox'
        ELSE decision.tenant_id = %(tenant_id)s
    END;

-- name: find_evidence
-- What a decision was made from, and what was decided; of a tenant's own when tenant_id is given.
SELECT
    decision.evidence,
    decision.thresholds,
    decision.verdict,
    decision.actions,
    decision.is_rollback
FROM monitor_decisions AS decision
WHERE
    decision.id = %(decision_id)s
    AND (%(tenant_id)s::UUID IS NULL OR decision.tenant_id = %(tenant_id)s);

-- name: record_result
-- What became of an action; a later word takes the place of an earlier one, unless that said that it is done.
INSERT INTO monitor_results AS known (decision_id, action, is_done, result)
VALUES (%(decision_id)s, %(action)s, %(is_done)s, %(result)s)
ON CONFLICT (decision_id, action) DO UPDATE
SET
    is_done = excluded.is_done,
    result = excluded.result,
    recorded_at = clock_timestamp()
WHERE NOT known.is_done;

-- name: list_results
-- What became of what was decided.
SELECT
    known.decision_id,
    known.action,
    known.is_done,
    known.result,
    known.recorded_at
FROM monitor_results AS known
WHERE known.decision_id = ANY(%(decision_ids)s)
ORDER BY known.decision_id, known.action
LIMIT %(limit)s;

-- name: set_auto_rollback
-- Says whether the tenant may be rolled back without asking anybody.
INSERT INTO monitor_settings (tenant_id, auto_rollback, set_by)
VALUES (%(tenant_id)s, %(auto_rollback)s, %(set_by)s)
ON CONFLICT (tenant_id) DO UPDATE
SET
    auto_rollback = excluded.auto_rollback,
    set_by = excluded.set_by,
    set_at = clock_timestamp();

-- name: lock_auto_rollback
-- The tenant, kept for this transaction, and whether it may be rolled back without asking anybody.
SELECT coalesce(setting.auto_rollback, FALSE) AS auto_rollback
FROM tenants AS tenant
LEFT JOIN monitor_settings AS setting ON setting.tenant_id = tenant.id
WHERE tenant.id = %(tenant_id)s AND NOT tenant.is_sandbox
FOR NO KEY UPDATE OF tenant;

-- name: insert_selftest
-- Keeps the result of a self-test.
INSERT INTO monitor_selftests (started_at, finished_at, outcome, started_by, findings)
VALUES (%(started_at)s, clock_timestamp(), %(outcome)s, %(started_by)s, %(findings)s)
RETURNING id;

-- name: find_last_selftest
-- The last self-test, and how old it is in seconds.
SELECT
    test.outcome,
    test.finished_at,
    extract(EPOCH FROM clock_timestamp() - test.finished_at)::FLOAT8 AS age_seconds,
    test.findings
FROM monitor_selftests AS test
ORDER BY test.id DESC
LIMIT 1;
