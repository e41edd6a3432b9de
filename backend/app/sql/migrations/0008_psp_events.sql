-- The inbox: what providers told us, stored before it is applied. The bytes are kept as they came in; the service may
-- write down what became of a delivery and nothing else of it.

CREATE TABLE psp_events (
    id UUID NOT NULL,
    provider TEXT NOT NULL,
    -- The account that the delivery was verified for or, where accounts share a secret, that it speaks of; empty when it
    -- names none.
    account_id TEXT NOT NULL,
    -- The name of the delivery. One that is not verified may carry any name and occupies none.
    provider_event_id TEXT,
    signature_status TEXT NOT NULL,
    -- Why it is not valid; and by which secret it is: the name in the environment, never the secret.
    signature_result TEXT NOT NULL,
    secret_name TEXT,
    state TEXT NOT NULL DEFAULT 'pending',
    body BYTEA NOT NULL,
    body_size INTEGER NOT NULL,
    body_sha256 BYTEA NOT NULL,
    headers JSONB NOT NULL,
    request_id TEXT,
    received_at TIMESTAMPTZ NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TIMESTAMPTZ,
    last_error TEXT,
    -- What came of it: known once it was applied.
    event_type TEXT,
    effect TEXT,
    detail TEXT,
    tenant_id UUID,
    tx_id UUID,
    applied_at TIMESTAMPTZ,
    CONSTRAINT psp_events_pkey PRIMARY KEY (id),
    CONSTRAINT psp_events_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT psp_events_signature_status_check CHECK (signature_status IN ('valid', 'unverified')),
    CONSTRAINT psp_events_state_check CHECK (state IN ('pending', 'applied', 'ignored', 'quarantined', 'dead')),
    CONSTRAINT psp_events_due_check CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL)),
    CONSTRAINT psp_events_named_check CHECK (signature_status = 'unverified' OR provider_event_id IS NOT NULL)
);
-- Only what is verified occupies an id: whoever cannot sign can keep nobody's event out.
CREATE UNIQUE INDEX psp_events_verified_key ON psp_events (provider, account_id, provider_event_id)
WHERE signature_status = 'valid';
CREATE INDEX psp_events_due_index ON psp_events (next_attempt_at, id) WHERE state = 'pending';
-- What a person has to look at, or the appliers have yet to do.
CREATE INDEX psp_events_waiting_index ON psp_events (state, received_at, id)
WHERE state IN ('pending', 'dead', 'quarantined');
CREATE INDEX psp_events_unverified_index ON psp_events (provider, received_at) WHERE signature_status = 'unverified';
CREATE INDEX psp_events_tenant_index ON psp_events (tenant_id, id DESC);
CREATE INDEX psp_events_tx_index ON psp_events (tx_id) WHERE tx_id IS NOT NULL;

GRANT SELECT, INSERT ON psp_events TO hakem_service;
GRANT UPDATE (
    state, attempts, next_attempt_at, last_error, event_type, effect, detail, tenant_id, tx_id, applied_at
) ON psp_events TO hakem_service;
