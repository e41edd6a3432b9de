-- Backfill: who ran it, how far it came, what it could not take. Money is written by backfill_chunk_v1 alone; the rows
-- here say what it did, and the console shows them.

CREATE TABLE backfill_runs (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID NOT NULL,
    mode TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'running',
    phase TEXT NOT NULL DEFAULT 'scan',
    reason TEXT,
    actor_kind TEXT NOT NULL,
    actor_id UUID,
    actor_label TEXT NOT NULL,
    -- Which process works on it: machine and process number, for whoever has to find it.
    runner TEXT NOT NULL,
    -- Grows whenever another process takes the run over: what a process that was thought dead still sends is refused.
    lease_token BIGINT NOT NULL DEFAULT 1,
    batch_size INTEGER NOT NULL,
    -- The most wallets that this run may force.
    rows_max BIGINT NOT NULL,
    -- The run ends when somebody changes the arbiter under it: what force does depends on it.
    arbiter ARBITER_SIDE NOT NULL,
    epoch INTEGER NOT NULL,
    -- Frozen when a phase begins, so that a tenant that keeps growing does not keep the run from ending.
    upper_id UUID,
    checkpoint UUID,
    players_total BIGINT NOT NULL,
    scanned BIGINT NOT NULL DEFAULT 0,
    created BIGINT NOT NULL DEFAULT 0,
    skipped_exists BIGINT NOT NULL DEFAULT 0,
    updated_forced BIGINT NOT NULL DEFAULT 0,
    errors BIGINT NOT NULL DEFAULT 0,
    -- Opened wallets whose two sides differ and that were left alone: part of skipped_exists.
    differing BIGINT NOT NULL DEFAULT 0,
    -- Forced wallets that hold less than their open withdrawals ask for: part of updated_forced.
    unexplained_holds BIGINT NOT NULL DEFAULT 0,
    error_counts JSONB NOT NULL DEFAULT '{}',
    -- What was opened, by currency: players, and minor units available and held.
    money JSONB NOT NULL DEFAULT '{}',
    rows_per_second INTEGER,
    throttled_by TEXT,
    error TEXT,
    started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    finished_at TIMESTAMPTZ,
    CONSTRAINT backfill_runs_pkey PRIMARY KEY (id),
    CONSTRAINT backfill_runs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT backfill_runs_mode_check CHECK (mode IN ('open', 'force')),
    -- abandoned: its process died and a later run began from the start.
    CONSTRAINT backfill_runs_state_check CHECK (
        state IN ('running', 'completed', 'stopped', 'refused', 'failed', 'abandoned')
    ),
    CONSTRAINT backfill_runs_phase_check CHECK (phase IN ('scan', 'sweep', 'deferred', 'done'))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX backfill_runs_running_key ON backfill_runs (tenant_id) WHERE state = 'running';
CREATE INDEX backfill_runs_tenant_index ON backfill_runs (tenant_id, id DESC);

-- Players whose row somebody else held when their turn came; they get another one at the end of the run.
CREATE TABLE backfill_deferred (
    run_id UUID NOT NULL,
    player_id UUID NOT NULL,
    CONSTRAINT backfill_deferred_pkey PRIMARY KEY (run_id, player_id),
    CONSTRAINT backfill_deferred_run_fkey FOREIGN KEY (run_id) REFERENCES backfill_runs (id)
);

-- What a run could not take, and which opened wallets it saw differ: the first thousand of each, with both sides.
CREATE TABLE backfill_errors (
    run_id UUID NOT NULL,
    player_id UUID NOT NULL,
    code TEXT NOT NULL,
    currency TEXT NOT NULL,
    legacy_available BIGINT NOT NULL,
    legacy_held BIGINT NOT NULL,
    ledger_available BIGINT,
    ledger_pending BIGINT,
    detail TEXT,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT backfill_errors_pkey PRIMARY KEY (run_id, player_id, code),
    CONSTRAINT backfill_errors_run_fkey FOREIGN KEY (run_id) REFERENCES backfill_runs (id)
);

-- What people asked for at the console, carried out by a job. Of a dry run this is all there is; a real one has its own run.
CREATE TABLE backfill_requests (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID NOT NULL,
    is_dry_run BOOLEAN NOT NULL,
    is_forced BOOLEAN NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    reason TEXT,
    actor_kind TEXT NOT NULL,
    actor_id UUID,
    actor_label TEXT NOT NULL,
    players_total BIGINT,
    scanned BIGINT NOT NULL DEFAULT 0,
    created BIGINT NOT NULL DEFAULT 0,
    skipped_exists BIGINT NOT NULL DEFAULT 0,
    updated_forced BIGINT NOT NULL DEFAULT 0,
    errors BIGINT NOT NULL DEFAULT 0,
    differing BIGINT NOT NULL DEFAULT 0,
    rows_per_second INTEGER,
    throttled_by TEXT,
    -- Of a dry run: the money by outcome and currency, and by name those who need a look.
    result JSONB NOT NULL DEFAULT '{}',
    error TEXT,
    asked_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    started_at TIMESTAMPTZ,
    -- Whoever works on it says so again and again.
    updated_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    finished_at TIMESTAMPTZ,
    CONSTRAINT backfill_requests_pkey PRIMARY KEY (id),
    CONSTRAINT backfill_requests_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT backfill_requests_state_check CHECK (state IN ('queued', 'running', 'completed', 'refused', 'failed')),
    -- Forcing is for whoever has a shell: a person at the console only looks at what it would do.
    CONSTRAINT backfill_requests_forced_check CHECK (is_dry_run OR NOT is_forced)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX backfill_requests_open_key ON backfill_requests (tenant_id) WHERE state IN ('queued', 'running');
CREATE INDEX backfill_requests_tenant_index ON backfill_requests (tenant_id, id DESC);

GRANT SELECT, INSERT, UPDATE ON backfill_requests TO hakem_service;
GRANT SELECT, INSERT ON backfill_runs TO hakem_service;
-- Everything about a run but what it has done.
GRANT UPDATE (state, runner, lease_token, batch_size, throttled_by, error, updated_at, finished_at) ON backfill_runs
TO hakem_service;
GRANT SELECT ON backfill_deferred, backfill_errors TO hakem_service;
