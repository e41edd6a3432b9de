-- Whether a finding that is seen again stays as it is: an open one does, and one that a person has resolved, as long as it
-- says the same as then. One that had only gone by itself is back.
CREATE FUNCTION finding_stays_v1(p_finding RECONCILIATION_FINDINGS, p_evidence_hash BYTEA)
RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT
        p_finding.status = 'OPEN'
        OR (p_finding.evidence_hash = p_evidence_hash AND p_finding.resolution_code IS DISTINCT FROM 'AUTO_CLEARED')
$$;

REVOKE ALL ON FUNCTION finding_stays_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION finding_stays_v1 TO hakem_service;
