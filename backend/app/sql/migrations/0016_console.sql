-- The console: who is signed in to it, and what its searches read.

-- A session opened before this time is none: set with another password and when the account is disabled, by the same
-- clock that the session's own times come from, so that a sign-in under way at that moment gains nothing.
ALTER TABLE admins ADD COLUMN sessions_valid_from TIMESTAMPTZ NOT NULL DEFAULT 'epoch';
-- NULL: never yet. By password, at the console or for a token.
ALTER TABLE admins ADD COLUMN last_signed_in_at TIMESTAMPTZ;
GRANT UPDATE (sessions_valid_from, last_signed_in_at) ON admins TO hakem_service;

CREATE TABLE console_sessions (
    -- SHA-256 of what the browser holds: who reads this table cannot sign in with it.
    token_hash BYTEA NOT NULL,
    admin_id UUID NOT NULL,
    -- The tenant that an owner has chosen to work in; NULL for all of them.
    scope_tenant_id UUID,
    opened_at TIMESTAMPTZ NOT NULL,
    -- When a person last did something; what a page fetches by itself does not count.
    seen_at TIMESTAMPTZ NOT NULL,
    -- What the next page has to say about the last deed.
    flash JSONB,
    CONSTRAINT console_sessions_pkey PRIMARY KEY (token_hash),
    CONSTRAINT console_sessions_admin_fkey FOREIGN KEY (admin_id) REFERENCES admins (id),
    CONSTRAINT console_sessions_tenant_fkey FOREIGN KEY (scope_tenant_id) REFERENCES tenants (id)
);
CREATE INDEX console_sessions_seen_index ON console_sessions (seen_at);
CREATE INDEX console_sessions_admin_index ON console_sessions (admin_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON console_sessions TO hakem_service;

-- People are looked for by how their address or name begins.
CREATE INDEX players_email_prefix_index ON players (tenant_id, email COLLATE "C");
CREATE INDEX players_username_prefix_index ON players (tenant_id, (lower(username)) COLLATE "C");

-- What is open, by tenant, for the first page; the rest of the table is the past.
CREATE INDEX reconciliation_findings_attention_index ON reconciliation_findings (tenant_id, severity, created_at)
WHERE status = 'OPEN';

-- Findings that are open, the newest first, in one tenant and in all; and those of one provider event.
CREATE INDEX reconciliation_findings_open_newest_index ON reconciliation_findings (id DESC) WHERE status = 'OPEN';
CREATE INDEX reconciliation_findings_open_tenant_index ON reconciliation_findings (tenant_id, id DESC)
WHERE status = 'OPEN';
CREATE INDEX reconciliation_findings_event_index ON reconciliation_findings (tenant_id, provider_event_id)
WHERE provider_event_id IS NOT NULL;
