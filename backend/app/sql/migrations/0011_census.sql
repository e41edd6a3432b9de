-- What a census found: one run per tenant, its totals, and the differences that it could name. Written by the service's role:
-- none of this is money, and nothing that moves money reads it.

CREATE TABLE census_runs (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID NOT NULL,
    -- Keys the advisory lock that a process holds while it works on the run: a run whose lock is free has nobody.
    number INTEGER GENERATED ALWAYS AS IDENTITY,
    state TEXT NOT NULL DEFAULT 'running',
    is_scheduled BOOLEAN NOT NULL,
    started_by TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    progressed_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    -- The checkpoint: the smallest player id that was not read yet. A chunk's results are written together with it.
    next_player_id UUID NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    chunks BIGINT NOT NULL DEFAULT 0,
    resumes INTEGER NOT NULL DEFAULT 0,
    -- Whether both sides were compared; they are not while shadow writing is off. Null before the first chunk.
    sides_compared BOOLEAN,
    -- Seen once and gone when read again.
    unconfirmed BIGINT NOT NULL DEFAULT 0,
    paused_ms BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT census_runs_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT census_runs_number_key UNIQUE (number),
    CONSTRAINT census_runs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT census_runs_state_check CHECK (state IN ('running', 'clean', 'differences', 'abandoned')),
    CONSTRAINT census_runs_finished_check CHECK ((state = 'running') = (finished_at IS NULL))
);

-- Sums over all that a run read, by currency. NUMERIC: a sum of many BIGINTs need not be one.
CREATE TABLE census_totals (
    tenant_id UUID NOT NULL,
    run_id UUID NOT NULL,
    currency TEXT NOT NULL,
    players BIGINT NOT NULL,
    opened_wallets BIGINT NOT NULL,
    transactions BIGINT NOT NULL,
    legacy_available NUMERIC NOT NULL,
    legacy_held NUMERIC NOT NULL,
    snapshot_available NUMERIC NOT NULL,
    snapshot_pending NUMERIC NOT NULL,
    folded_available NUMERIC NOT NULL,
    folded_pending NUMERIC NOT NULL,
    open_withdrawals NUMERIC NOT NULL,
    CONSTRAINT census_totals_pkey PRIMARY KEY (tenant_id, run_id, currency),
    CONSTRAINT census_totals_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES census_runs (tenant_id, id)
    ON DELETE CASCADE
);

-- What every house account stands at, summed from the transactions that a run read.
CREATE TABLE census_accounts (
    tenant_id UUID NOT NULL,
    run_id UUID NOT NULL,
    currency TEXT NOT NULL,
    account TEXT NOT NULL,
    balance NUMERIC NOT NULL,
    CONSTRAINT census_accounts_pkey PRIMARY KEY (tenant_id, run_id, currency, account),
    CONSTRAINT census_accounts_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES census_runs (tenant_id, id)
    ON DELETE CASCADE
);

-- How many of each class, and by how much money in all, currencies added up as if they were one: a size, not a sum to book.
CREATE TABLE census_classes (
    tenant_id UUID NOT NULL,
    run_id UUID NOT NULL,
    class TEXT NOT NULL,
    differences BIGINT NOT NULL,
    amount NUMERIC NOT NULL,
    CONSTRAINT census_classes_pkey PRIMARY KEY (tenant_id, run_id, class),
    CONSTRAINT census_classes_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES census_runs (tenant_id, id)
    ON DELETE CASCADE
);

-- The first differences of each class, in the order of players; place 1 is the first bad one. The rest is only counted.
CREATE TABLE census_differences (
    tenant_id UUID NOT NULL,
    run_id UUID NOT NULL,
    class TEXT NOT NULL,
    place INTEGER NOT NULL,
    -- Null where a whole currency is meant.
    player_id UUID,
    currency TEXT NOT NULL,
    -- The first row that does not fit, where a row is meant.
    wallet_version BIGINT,
    -- The deposit or withdrawal, where one is meant.
    reference UUID,
    amount NUMERIC NOT NULL,
    evidence JSONB NOT NULL,
    found_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT census_differences_pkey PRIMARY KEY (tenant_id, run_id, class, place),
    CONSTRAINT census_differences_run_fkey FOREIGN KEY (tenant_id, run_id) REFERENCES census_runs (tenant_id, id)
    ON DELETE CASCADE
);

GRANT SELECT, INSERT, UPDATE, DELETE ON census_runs, census_totals, census_accounts, census_classes, census_differences
TO hakem_service;
