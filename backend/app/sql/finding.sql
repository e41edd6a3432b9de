-- name: open_finding
-- Writes a finding or, when it is known, brings it up to date; a resolved one opens again only with other evidence, or when
-- it had only gone by itself.
INSERT INTO reconciliation_findings AS finding (
    id, provider, tenant_id, player_id, tx_id, provider_event_id, provider_ref, finding_type, severity, message,
    evidence, evidence_hash, fingerprint
)
VALUES (
    %(finding_id)s, %(provider)s, %(tenant_id)s, %(player_id)s, %(tx_id)s, %(provider_event_id)s, %(provider_ref)s,
    %(finding_type)s, %(severity)s, %(message)s, %(evidence)s, %(evidence_hash)s, %(fingerprint)s
)
ON CONFLICT ON CONSTRAINT reconciliation_findings_fingerprint_key DO UPDATE
SET
    severity = excluded.severity,
    message = excluded.message,
    evidence = excluded.evidence,
    evidence_hash = excluded.evidence_hash,
    provider_event_id = excluded.provider_event_id,
    status = CASE WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.status ELSE 'OPEN' END,
    resolution_code = CASE
        WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolution_code
    END,
    resolution_note = CASE
        WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolution_note
    END,
    resolved_by = CASE WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolved_by END,
    resolved_at = CASE WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolved_at END,
    occurrences = finding.occurrences + 1,
    last_seen_at = clock_timestamp(),
    updated_at = clock_timestamp()
RETURNING finding.id;

-- name: list_findings
-- Findings of a tenant, or of all when tenant_id is NULL; newest first, from before a finding.
SELECT
    finding.id,
    finding.provider,
    finding.tenant_id,
    finding.player_id,
    finding.tx_id,
    finding.provider_event_id,
    finding.provider_ref,
    finding.finding_type,
    finding.severity,
    finding.status,
    finding.message,
    finding.evidence,
    finding.run_id,
    finding.resolution_code,
    finding.resolution_note,
    finding.resolved_by,
    finding.resolved_at,
    finding.assigned_to,
    finding.occurrences,
    finding.account_id,
    finding.item_id,
    finding.transaction_id,
    finding.created_at,
    finding.updated_at,
    finding.last_seen_at
FROM reconciliation_findings AS finding
WHERE
    (%(tenant_id)s::UUID IS NULL OR finding.tenant_id = %(tenant_id)s)
    AND (%(asked_tenant_id)s::UUID IS NULL OR finding.tenant_id = %(asked_tenant_id)s)
    AND (%(provider)s::TEXT IS NULL OR finding.provider = %(provider)s)
    AND (%(status)s::TEXT IS NULL OR finding.status = %(status)s)
    AND (%(finding_type)s::TEXT IS NULL OR finding.finding_type = %(finding_type)s)
    AND (%(severity)s::TEXT IS NULL OR finding.severity = %(severity)s)
    AND (%(player_id)s::UUID IS NULL OR finding.player_id = %(player_id)s)
    AND (%(tx_id)s::UUID IS NULL OR finding.tx_id = %(tx_id)s)
    AND (%(provider_event_id)s::TEXT IS NULL OR finding.provider_event_id = %(provider_event_id)s)
    AND (%(run_id)s::UUID IS NULL OR finding.run_id = %(run_id)s)
    AND (%(assigned_to)s::UUID IS NULL OR finding.assigned_to = %(assigned_to)s)
    AND (NOT %(is_unassigned)s OR finding.assigned_to IS NULL)
    AND (%(created_before)s::TIMESTAMPTZ IS NULL OR finding.created_at < %(created_before)s)
    AND (%(before_id)s::UUID IS NULL OR finding.id < %(before_id)s)
ORDER BY finding.id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count_findings
-- How many findings match.
SELECT count(*)
FROM reconciliation_findings AS finding
WHERE
    (%(tenant_id)s::UUID IS NULL OR finding.tenant_id = %(tenant_id)s)
    AND (%(asked_tenant_id)s::UUID IS NULL OR finding.tenant_id = %(asked_tenant_id)s)
    AND (%(provider)s::TEXT IS NULL OR finding.provider = %(provider)s)
    AND (%(status)s::TEXT IS NULL OR finding.status = %(status)s)
    AND (%(finding_type)s::TEXT IS NULL OR finding.finding_type = %(finding_type)s)
    AND (%(severity)s::TEXT IS NULL OR finding.severity = %(severity)s)
    AND (%(player_id)s::UUID IS NULL OR finding.player_id = %(player_id)s)
    AND (%(tx_id)s::UUID IS NULL OR finding.tx_id = %(tx_id)s)
    AND (%(provider_event_id)s::TEXT IS NULL OR finding.provider_event_id = %(provider_event_id)s)
    AND (%(run_id)s::UUID IS NULL OR finding.run_id = %(run_id)s)
    AND (%(assigned_to)s::UUID IS NULL OR finding.assigned_to = %(assigned_to)s)
    AND (NOT %(is_unassigned)s OR finding.assigned_to IS NULL)
    AND (%(created_before)s::TIMESTAMPTZ IS NULL OR finding.created_at < %(created_before)s);

-- name: find_finding
-- One finding of a tenant, or of any when tenant_id is NULL.
SELECT
    finding.id,
    finding.provider,
    finding.tenant_id,
    finding.player_id,
    finding.tx_id,
    finding.provider_event_id,
    finding.provider_ref,
    finding.finding_type,
    finding.severity,
    finding.status,
    finding.message,
    finding.evidence,
    finding.run_id,
    finding.resolution_code,
    finding.resolution_note,
    finding.resolved_by,
    finding.resolved_at,
    finding.assigned_to,
    finding.occurrences,
    finding.account_id,
    finding.item_id,
    finding.transaction_id,
    finding.created_at,
    finding.updated_at,
    finding.last_seen_at
FROM reconciliation_findings AS finding
WHERE finding.id = %(finding_id)s AND (%(tenant_id)s::UUID IS NULL OR finding.tenant_id = %(tenant_id)s);

-- name: lock_finding
-- The same, its row kept for this transaction.
SELECT
    finding.id,
    finding.provider,
    finding.tenant_id,
    finding.player_id,
    finding.tx_id,
    finding.provider_event_id,
    finding.provider_ref,
    finding.finding_type,
    finding.severity,
    finding.status,
    finding.message,
    finding.evidence,
    finding.run_id,
    finding.resolution_code,
    finding.resolution_note,
    finding.resolved_by,
    finding.resolved_at,
    finding.assigned_to,
    finding.occurrences,
    finding.account_id,
    finding.item_id,
    finding.transaction_id,
    finding.created_at,
    finding.updated_at,
    finding.last_seen_at
FROM reconciliation_findings AS finding
WHERE finding.id = %(finding_id)s AND (%(tenant_id)s::UUID IS NULL OR finding.tenant_id = %(tenant_id)s)
FOR UPDATE;

-- name: resolve_finding
-- Somebody is done with it.
UPDATE reconciliation_findings
SET
    status = 'RESOLVED',
    resolution_code = %(resolution_code)s,
    resolution_note = %(note)s,
    resolved_by = %(admin_id)s,
    resolved_at = clock_timestamp(),
    updated_at = clock_timestamp()
WHERE id = %(finding_id)s AND tenant_id = %(tenant_id)s;

-- name: reopen_finding
-- Somebody is not.
UPDATE reconciliation_findings
SET
    status = 'OPEN',
    resolution_code = NULL,
    resolution_note = NULL,
    resolved_by = NULL,
    resolved_at = NULL,
    updated_at = clock_timestamp()
WHERE id = %(finding_id)s AND tenant_id = %(tenant_id)s;

-- name: assign_finding
-- Somebody looks after it, or nobody any more. An admin of another tenant is nobody.
UPDATE reconciliation_findings
SET
    assigned_to = %(assigned_to)s,
    updated_at = clock_timestamp()
WHERE
    id = %(finding_id)s
    AND tenant_id = %(tenant_id)s
    AND (
        %(assigned_to)s::UUID IS NULL
        OR EXISTS (
            SELECT
            FROM admins AS admin
            WHERE
                admin.id = %(assigned_to)s
                AND admin.is_active
                AND (admin.tenant_id = %(tenant_id)s OR admin.role = 'owner')
        )
    )
RETURNING id;

-- name: list_open_counts
-- Open findings by type, severity and age in hours of the oldest bucket that they are in.
SELECT
    finding.finding_type,
    finding.severity,
    CASE
        WHEN finding.created_at > %(now)s - INTERVAL '1 day' THEN '1d'
        WHEN finding.created_at > %(now)s - INTERVAL '3 days' THEN '3d'
        WHEN finding.created_at > %(now)s - INTERVAL '7 days' THEN '7d'
        ELSE 'older'
    END AS age,
    count(*) AS findings
FROM reconciliation_findings AS finding
WHERE finding.status = 'OPEN'
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
LIMIT %(limit)s;
