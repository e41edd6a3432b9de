-- What the monitor sees, remembers and decides. None of this is money, and nothing that moves money reads it.

-- The tenant that the monitor proves itself on. Left out wherever people look at tenants.
ALTER TABLE tenants ADD COLUMN is_sandbox BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX tenants_sandbox_key ON tenants (is_sandbox) WHERE is_sandbox;

-- A command that counts evidence takes a number as a registered process does, without being in the register.
GRANT USAGE ON SEQUENCE service_instances_number_seq TO hakem_service;

-- The last flush of each process. A flush is numbered, and what is written with one that stands here already is nothing.
CREATE TABLE evidence_flushes (
    instance INTEGER NOT NULL,
    flush_number BIGINT NOT NULL,
    app_version TEXT NOT NULL,
    -- How far the process's clock is from the database's, in seconds; told about and used nowhere.
    clock_skew_seconds DOUBLE PRECISION NOT NULL,
    -- Units that it could not keep while the database was away.
    dropped BIGINT NOT NULL DEFAULT 0,
    flushed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT evidence_flushes_pkey PRIMARY KEY (instance)
) WITH (fillfactor = 50);

-- Decisions by minute of the database's clock, as each process counted them: n of which x (domain/monitor/bucket.py says of what).
-- epoch and arbiter are of the decision: what was counted before a flip says nothing about what decides after it.
CREATE TABLE evidence_buckets (
    tenant_id UUID NOT NULL,
    stream TEXT NOT NULL,
    minute TIMESTAMPTZ NOT NULL,
    instance INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    arbiter ARBITER_SIDE NOT NULL,
    -- The last flush that added to the row, and when.
    flush_number BIGINT NOT NULL,
    n BIGINT NOT NULL,
    x BIGINT NOT NULL,
    flushed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT evidence_buckets_pkey PRIMARY KEY (tenant_id, stream, minute, instance, epoch, arbiter),
    CONSTRAINT evidence_buckets_stream_check CHECK (
        stream IN ('t1_disputed', 't1_overpaid', 't1_refused', 't3_mismatch')
    ),
    CONSTRAINT evidence_buckets_count_check CHECK (0 <= x AND x <= n)
) WITH (fillfactor = 70);
CREATE INDEX evidence_buckets_minute_index ON evidence_buckets (minute);
-- The minutes in which the sides disagreed: few, and looked for through a whole day.
CREATE INDEX evidence_buckets_disagreed_index ON evidence_buckets (tenant_id, minute)
WHERE x > 0 AND stream <> 't1_refused';

-- Who is behind x: players, by minute; the first of them where there are many. amount: minor units at stake.
CREATE TABLE evidence_subjects (
    tenant_id UUID NOT NULL,
    stream TEXT NOT NULL,
    minute TIMESTAMPTZ NOT NULL,
    epoch INTEGER NOT NULL,
    arbiter ARBITER_SIDE NOT NULL,
    subject TEXT NOT NULL,
    currency TEXT NOT NULL,
    events BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    CONSTRAINT evidence_subjects_pkey PRIMARY KEY (tenant_id, stream, minute, epoch, arbiter, subject, currency)
);
CREATE INDEX evidence_subjects_minute_index ON evidence_subjects (minute);

-- Webhooks by what their signature is, and whether their sender is one to believe. A provider is of all tenants.
CREATE TABLE delivery_buckets (
    provider TEXT NOT NULL,
    minute TIMESTAMPTZ NOT NULL,
    instance INTEGER NOT NULL,
    result TEXT NOT NULL,
    is_credible BOOLEAN NOT NULL,
    flush_number BIGINT NOT NULL,
    n BIGINT NOT NULL,
    flushed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT delivery_buckets_pkey PRIMARY KEY (provider, minute, instance, result, is_credible)
) WITH (fillfactor = 70);
CREATE INDEX delivery_buckets_minute_index ON delivery_buckets (minute);

-- Whose payments rejected deliveries of credible senders named: players, so that one of them counts once.
CREATE TABLE delivery_subjects (
    provider TEXT NOT NULL,
    minute TIMESTAMPTZ NOT NULL,
    subject TEXT NOT NULL,
    tenant_id UUID,
    events BIGINT NOT NULL,
    CONSTRAINT delivery_subjects_pkey PRIMARY KEY (provider, minute, subject)
);
CREATE INDEX delivery_subjects_minute_index ON delivery_subjects (minute);

-- Who evaluates now. The token grows with each holder, and every write of an evaluation asks for its own: what a process
-- that was thought dead still sends changes nothing.
CREATE TABLE monitor_lease (
    id SMALLINT NOT NULL DEFAULT 1,
    token BIGINT NOT NULL DEFAULT 0,
    holder TEXT NOT NULL DEFAULT '',
    expires_at TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    evaluated_at TIMESTAMPTZ,
    evaluated_in_ms BIGINT,
    CONSTRAINT monitor_lease_pkey PRIMARY KEY (id),
    CONSTRAINT monitor_lease_id_check CHECK (id = 1)
);
INSERT INTO monitor_lease DEFAULT VALUES;

-- What may be done by itself for a tenant. No row: nothing.
CREATE TABLE monitor_settings (
    tenant_id UUID NOT NULL,
    auto_rollback BOOLEAN NOT NULL,
    set_by TEXT NOT NULL,
    set_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT monitor_settings_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT monitor_settings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

-- The rate of refusals that is usual for a tenant while one arbiter decides: found once, so that a spike cannot teach it.
CREATE TABLE monitor_baselines (
    tenant_id UUID NOT NULL,
    stream TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    arbiter ARBITER_SIDE NOT NULL,
    found_at TIMESTAMPTZ NOT NULL,
    n BIGINT NOT NULL,
    x BIGINT NOT NULL,
    baseline JSONB NOT NULL,
    CONSTRAINT monitor_baselines_pkey PRIMARY KEY (tenant_id, stream, epoch, arbiter)
);

-- Why something was decided: all that the decision was made from, so that it can be made again.
CREATE TABLE monitor_decisions (
    id UUID NOT NULL DEFAULT uuid_v7(),
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    tenant_id UUID,
    trigger TEXT NOT NULL,
    verdict_before TEXT NOT NULL,
    verdict TEXT NOT NULL,
    -- What was done by itself and what is recommended, each with its reason or its command.
    actions JSONB NOT NULL,
    is_automatic BOOLEAN NOT NULL,
    is_rollback BOOLEAN NOT NULL,
    epoch INTEGER,
    evidence JSONB NOT NULL,
    thresholds JSONB NOT NULL,
    detector_version TEXT NOT NULL,
    lease_token BIGINT NOT NULL,
    decided_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT monitor_decisions_pkey PRIMARY KEY (id),
    CONSTRAINT monitor_decisions_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT monitor_decisions_subject_kind_check CHECK (subject_kind IN ('tenant', 'provider'))
);
CREATE INDEX monitor_decisions_subject_index ON monitor_decisions (subject_kind, subject, decided_at DESC, id DESC);
CREATE INDEX monitor_decisions_recent_index ON monitor_decisions (decided_at DESC, id DESC);
-- One rollback to a tenant and epoch: a second monitor, or a second try, finds the first one's decision.
CREATE UNIQUE INDEX monitor_decisions_rollback_key ON monitor_decisions (tenant_id, epoch) WHERE is_rollback;
CREATE TRIGGER monitor_decisions_append_only BEFORE UPDATE OR DELETE ON monitor_decisions
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER monitor_decisions_no_truncate BEFORE TRUNCATE ON monitor_decisions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What became of what was decided: the rollback, the dry run, the census.
CREATE TABLE monitor_results (
    decision_id UUID NOT NULL,
    action TEXT NOT NULL,
    is_done BOOLEAN NOT NULL,
    result JSONB NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT monitor_results_pkey PRIMARY KEY (decision_id, action),
    CONSTRAINT monitor_results_decision_fkey FOREIGN KEY (decision_id) REFERENCES monitor_decisions (id)
);

-- The verdicts as they stand, kept until they are acknowledged or over. latches: what the detector remembers of each stream.
CREATE TABLE monitor_verdicts (
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    trigger TEXT NOT NULL,
    tenant_id UUID,
    verdict TEXT NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    evaluated_at TIMESTAMPTZ NOT NULL,
    decision_id UUID,
    acknowledged_at TIMESTAMPTZ,
    acknowledged_by TEXT,
    latches JSONB NOT NULL,
    assessments JSONB NOT NULL,
    -- Ready for people: sentences by language, and what is recommended.
    sentences JSONB NOT NULL,
    actions JSONB NOT NULL,
    score DOUBLE PRECISION NOT NULL,
    CONSTRAINT monitor_verdicts_pkey PRIMARY KEY (subject_kind, subject, trigger),
    CONSTRAINT monitor_verdicts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT monitor_verdicts_decision_fkey FOREIGN KEY (decision_id) REFERENCES monitor_decisions (id),
    CONSTRAINT monitor_verdicts_subject_kind_check CHECK (subject_kind IN ('tenant', 'provider')),
    CONSTRAINT monitor_verdicts_verdict_check CHECK (
        verdict IN ('no_data', 'ok', 'light', 'high', 'sustained', 'critical')
    )
) WITH (fillfactor = 50);
CREATE INDEX monitor_verdicts_tenant_index ON monitor_verdicts (tenant_id) WHERE tenant_id IS NOT NULL;

-- The monitor looking at faults that were planted for it.
CREATE TABLE monitor_selftests (
    id UUID NOT NULL DEFAULT uuid_v7(),
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    outcome TEXT NOT NULL,
    started_by TEXT NOT NULL,
    findings JSONB NOT NULL,
    CONSTRAINT monitor_selftests_pkey PRIMARY KEY (id),
    CONSTRAINT monitor_selftests_outcome_check CHECK (outcome IN ('passed', 'failed', 'skipped'))
);

GRANT SELECT, INSERT, UPDATE, DELETE ON evidence_flushes, evidence_buckets, evidence_subjects, delivery_buckets,
delivery_subjects, monitor_settings, monitor_baselines, monitor_verdicts TO hakem_service;
GRANT SELECT, INSERT ON monitor_decisions, monitor_selftests TO hakem_service;
GRANT SELECT, INSERT, UPDATE ON monitor_results TO hakem_service;
GRANT SELECT, UPDATE ON monitor_lease TO hakem_service;
