-- name: list_verdicts
-- All verdicts as they stand, with what the detector remembers.
SELECT
    kept.subject_kind,
    kept.subject,
    coalesce(tenant.slug, kept.subject) AS name,
    kept.trigger,
    kept.tenant_id,
    kept.verdict,
    kept.since,
    kept.evaluated_at,
    kept.latches,
    kept.acknowledged_at,
    kept.acknowledged_by,
    kept.decision_id
FROM monitor_verdicts AS kept
LEFT JOIN tenants AS tenant ON tenant.id = kept.tenant_id
WHERE
    %(subject)s::TEXT IS NULL OR kept.subject = %(subject)s
ORDER BY kept.subject_kind, kept.subject, kept.trigger
LIMIT %(limit)s;

-- name: list_shown
-- Verdicts for people: of a tenant, or of everybody but the sandbox when tenant_id is NULL; the most serious first.
SELECT
    kept.subject_kind,
    kept.subject,
    coalesce(tenant.slug, kept.subject) AS name,
    kept.trigger,
    kept.tenant_id,
    kept.verdict,
    kept.since,
    kept.evaluated_at,
    kept.acknowledged_at,
    kept.acknowledged_by,
    kept.decision_id,
    kept.assessments,
    kept.sentences,
    kept.actions,
    kept.score
FROM monitor_verdicts AS kept
LEFT JOIN tenants AS tenant ON tenant.id = kept.tenant_id
WHERE
    CASE
        WHEN %(tenant_id)s::UUID IS NULL THEN tenant.is_sandbox IS NOT TRUE AND kept.subject <> 'sandbox'
        ELSE kept.tenant_id = %(tenant_id)s
    END
ORDER BY
    array_position(ARRAY['critical', 'sustained', 'high', 'light', 'ok', 'no_data'], kept.verdict),
    kept.subject_kind,
    kept.subject,
    kept.trigger
LIMIT %(limit)s;

-- name: list_triggers
-- What stands for tenants: their own verdicts, and of each provider that they have an account at.
SELECT
    asked.id AS tenant_id,
    kept.subject_kind,
    kept.subject,
    kept.trigger,
    kept.verdict,
    kept.since,
    kept.evaluated_at,
    kept.acknowledged_at,
    kept.acknowledged_by,
    kept.decision_id,
    kept.sentences,
    kept.actions,
    kept.score
FROM unnest(%(tenant_ids)s::UUID[]) AS asked (id)
INNER JOIN monitor_verdicts AS kept
    ON kept.tenant_id = asked.id
    OR (
        kept.subject_kind = 'provider'
        AND EXISTS (
            SELECT
            FROM psp_accounts AS account
            WHERE account.tenant_id = asked.id AND account.provider = kept.subject
        )
    )
ORDER BY asked.id, kept.trigger, kept.subject
LIMIT %(limit)s;

-- name: keep_verdict
-- The verdict as it is now; not when a person has taken note of it since it was read. A decision that was made stays named.
INSERT INTO monitor_verdicts AS kept (
    subject_kind, subject, trigger, tenant_id, verdict, since, evaluated_at, decision_id, latches, assessments, sentences,
    actions, score
)
VALUES (
    %(subject_kind)s,
    %(subject)s,
    %(trigger)s,
    %(tenant_id)s,
    %(verdict)s,
    %(since)s,
    %(evaluated_at)s,
    %(decision_id)s,
    %(latches)s,
    %(assessments)s,
    %(sentences)s,
    %(actions)s,
    %(score)s
)
ON CONFLICT (subject_kind, subject, trigger) DO UPDATE
SET
    verdict = excluded.verdict,
    since = excluded.since,
    evaluated_at = excluded.evaluated_at,
    decision_id = coalesce(excluded.decision_id, kept.decision_id),
    latches = excluded.latches,
    assessments = excluded.assessments,
    sentences = excluded.sentences,
    actions = excluded.actions,
    score = excluded.score,
    acknowledged_at = CASE WHEN kept.acknowledged_at >= excluded.since THEN kept.acknowledged_at END,
    acknowledged_by = CASE WHEN kept.acknowledged_at >= excluded.since THEN kept.acknowledged_by END
WHERE kept.acknowledged_at IS NOT DISTINCT FROM %(acknowledged_at_seen)s
RETURNING kept.subject;

-- name: lock_verdict
-- One verdict, kept for this transaction.
SELECT
    kept.subject_kind,
    kept.subject,
    coalesce(tenant.slug, kept.subject) AS name,
    kept.trigger,
    kept.tenant_id,
    kept.verdict,
    kept.since,
    kept.evaluated_at,
    kept.latches,
    kept.acknowledged_at,
    kept.acknowledged_by,
    kept.decision_id
FROM monitor_verdicts AS kept
LEFT JOIN tenants AS tenant ON tenant.id = kept.tenant_id
WHERE kept.subject_kind = %(subject_kind)s AND kept.subject = %(subject)s AND kept.trigger = %(trigger)s
FOR UPDATE OF kept;

-- name: acknowledge
-- A person has taken note.
UPDATE monitor_verdicts
SET
    acknowledged_at = %(acknowledged_at)s,
    acknowledged_by = %(acknowledged_by)s,
    latches = %(latches)s
WHERE subject_kind = %(subject_kind)s AND subject = %(subject)s AND trigger = %(trigger)s;

-- name: forget
-- Removes the verdicts of a subject, with all that is remembered of it: for the sandbox, which begins anew each time.
DELETE FROM monitor_verdicts WHERE subject = ANY(%(subjects)s);

-- name: list_since
-- Every verdict that a tenant had since a time: those that began then, and those that stand.
SELECT DISTINCT had.verdict
FROM (
    SELECT decision.verdict
    FROM monitor_decisions AS decision
    WHERE
        decision.subject_kind = 'tenant'
        AND decision.subject = %(tenant_id)s::UUID::TEXT
        AND decision.decided_at >= %(since)s
    UNION ALL
    SELECT kept.verdict
    FROM monitor_verdicts AS kept
    WHERE kept.tenant_id = %(tenant_id)s
) AS had
ORDER BY had.verdict
LIMIT 10;
