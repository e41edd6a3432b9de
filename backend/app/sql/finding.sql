-- name: open_finding
-- Writes a finding or, when it is known, brings it up to date; a resolved one opens again only with other evidence.
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
    status = CASE WHEN finding.evidence_hash = excluded.evidence_hash THEN finding.status ELSE 'OPEN' END,
    resolution_code = CASE WHEN finding.evidence_hash = excluded.evidence_hash THEN finding.resolution_code END,
    resolution_note = CASE WHEN finding.evidence_hash = excluded.evidence_hash THEN finding.resolution_note END,
    resolved_by = CASE WHEN finding.evidence_hash = excluded.evidence_hash THEN finding.resolved_by END,
    resolved_at = CASE WHEN finding.evidence_hash = excluded.evidence_hash THEN finding.resolved_at END,
    occurrences = finding.occurrences + 1,
    updated_at = clock_timestamp()
RETURNING finding.id;
