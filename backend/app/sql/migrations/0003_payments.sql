-- Money that comes and goes: accounts at providers, deposits, withdrawals. Rows are written by functions that run with
-- the owner's rights, in the same statement as the ledger; the service's role may only read.

CREATE TABLE psp_accounts (
    provider TEXT NOT NULL,
    account_id TEXT NOT NULL,
    tenant_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT psp_accounts_pkey PRIMARY KEY (provider, account_id),
    CONSTRAINT psp_accounts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
CREATE INDEX psp_accounts_tenant_index ON psp_accounts (tenant_id, provider, account_id);

CREATE TABLE deposits (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    state TEXT NOT NULL,
    method TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_ref TEXT,
    provider_event_id TEXT,
    failure_code TEXT,
    idempotency_key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT deposits_pkey PRIMARY KEY (tenant_id, player_id, id),
    CONSTRAINT deposits_idempotency_key UNIQUE (tenant_id, player_id, idempotency_key),
    CONSTRAINT deposits_amount_check CHECK (amount > 0),
    CONSTRAINT deposits_state_check CHECK (state IN ('pending_provider', 'completed', 'failed'))
) WITH (fillfactor = 90);
CREATE INDEX deposits_id_index ON deposits (id);
CREATE INDEX deposits_player_index ON deposits (tenant_id, player_id, created_at DESC, id DESC);

CREATE TABLE withdrawals (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    state TEXT NOT NULL,
    method TEXT NOT NULL,
    address TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT withdrawals_pkey PRIMARY KEY (tenant_id, player_id, id),
    CONSTRAINT withdrawals_idempotency_key UNIQUE (tenant_id, player_id, idempotency_key),
    CONSTRAINT withdrawals_amount_check CHECK (amount > 0),
    CONSTRAINT withdrawals_state_check CHECK (state IN (
        'requested', 'awaiting_second_approval', 'approved', 'processing', 'paid', 'rejected', 'cancelled', 'failed',
        'returned'
    ))
) WITH (fillfactor = 90);
CREATE INDEX withdrawals_id_index ON withdrawals (id);
CREATE INDEX withdrawals_player_index ON withdrawals (tenant_id, player_id, created_at DESC, id DESC);

GRANT SELECT ON psp_accounts, deposits, withdrawals TO hakem_service;
GRANT INSERT ON psp_accounts TO hakem_service;
