-- What a provider and the ledger see differently. Found by webhooks, by polling and by reconciliation alike; a finding is
-- about something (its fingerprint), so that seeing it again updates it. Findings move no money.

CREATE TABLE reconciliation_findings (
    id UUID NOT NULL,
    provider TEXT NOT NULL,
    tenant_id UUID NOT NULL,
    player_id UUID,
    tx_id UUID,
    provider_event_id TEXT,
    provider_ref TEXT,
    finding_type TEXT NOT NULL,
    severity TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'OPEN',
    message TEXT NOT NULL,
    evidence JSONB NOT NULL,
    evidence_hash BYTEA NOT NULL,
    fingerprint BYTEA NOT NULL,
    run_id UUID,
    resolution_code TEXT,
    resolution_note TEXT,
    resolved_by UUID,
    resolved_at TIMESTAMPTZ,
    occurrences BIGINT NOT NULL DEFAULT 1,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT reconciliation_findings_pkey PRIMARY KEY (id),
    CONSTRAINT reconciliation_findings_fingerprint_key UNIQUE (fingerprint),
    CONSTRAINT reconciliation_findings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT reconciliation_findings_severity_check CHECK (severity IN ('critical', 'high', 'medium', 'low')),
    CONSTRAINT reconciliation_findings_status_check CHECK (
        (status = 'OPEN' AND resolved_at IS NULL) OR (status = 'RESOLVED' AND resolved_at IS NOT NULL)
    )
);
CREATE INDEX reconciliation_findings_tenant_index ON reconciliation_findings (tenant_id, created_at DESC, id DESC);
CREATE INDEX reconciliation_findings_tx_index ON reconciliation_findings (tx_id) WHERE tx_id IS NOT NULL;

GRANT SELECT, INSERT, UPDATE ON reconciliation_findings TO hakem_service;
