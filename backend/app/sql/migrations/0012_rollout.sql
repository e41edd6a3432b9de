-- The rollout: which flips there were, and what forbids the next one.

-- Every change of a tenant's arbiter, written in the transaction that makes it. A flag that is changed without changing
-- anybody's arbiter is in the audit alone.
CREATE TABLE arbiter_changes (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID NOT NULL,
    -- flip: of this tenant. flags: by a flag that binds many tenants, in the database or in an environment.
    -- rehearsal: there and back in one transaction, so that nobody was ever judged by it.
    kind TEXT NOT NULL,
    arbiter_before ARBITER_SIDE NOT NULL,
    arbiter ARBITER_SIDE NOT NULL,
    -- The epoch that began with it.
    epoch INTEGER NOT NULL,
    reason TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id UUID,
    actor_label TEXT NOT NULL,
    is_automatic BOOLEAN NOT NULL,
    -- The monitor's decision that asked for it, if one did.
    decision_id UUID,
    waived_gates TEXT[] NOT NULL DEFAULT '{}',
    -- The gates as they were judged inside the fence; null where none is asked.
    gates JSONB,
    -- Count and sums of all sides by currency at this moment; null where taking them would have taken too long.
    attestation JSONB,
    -- Whether nobody's call was under way: a rollback does not wait for a fence that does not come.
    is_fenced BOOLEAN NOT NULL,
    fence_waited_ms INTEGER NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT arbiter_changes_pkey PRIMARY KEY (id),
    CONSTRAINT arbiter_changes_epoch_key UNIQUE (tenant_id, epoch),
    CONSTRAINT arbiter_changes_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT arbiter_changes_kind_check CHECK (kind IN ('flip', 'flags', 'rehearsal')),
    CONSTRAINT arbiter_changes_arbiter_check CHECK (arbiter <> arbiter_before),
    CONSTRAINT arbiter_changes_reason_check CHECK (char_length(reason) BETWEEN 1 AND 500),
    CONSTRAINT arbiter_changes_actor_kind_check CHECK (actor_kind IN ('admin', 'player', 'operator', 'system'))
);
CREATE INDEX arbiter_changes_recent_index ON arbiter_changes (changed_at, id);
CREATE TRIGGER arbiter_changes_append_only BEFORE UPDATE OR DELETE ON arbiter_changes
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER arbiter_changes_no_truncate BEFORE TRUNCATE ON arbiter_changes
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What forbids to enforce: one tenant, or every tenant when tenant_id is null. Nothing here forbids a rollback.
CREATE TABLE rollout_holds (
    id UUID NOT NULL DEFAULT uuid_v7(),
    kind TEXT NOT NULL,
    tenant_id UUID,
    reason TEXT NOT NULL,
    placed_by TEXT NOT NULL,
    placed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- Null: until somebody lifts it.
    ends_at TIMESTAMPTZ,
    decision_id UUID,
    lifted_at TIMESTAMPTZ,
    lifted_by TEXT,
    lift_reason TEXT,
    CONSTRAINT rollout_holds_pkey PRIMARY KEY (id),
    CONSTRAINT rollout_holds_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT rollout_holds_kind_check CHECK (kind IN ('hold', 'cooldown', 'freeze', 'pin')),
    CONSTRAINT rollout_holds_freeze_check CHECK (kind <> 'freeze' OR tenant_id IS NULL),
    CONSTRAINT rollout_holds_reason_check CHECK (char_length(reason) BETWEEN 1 AND 500),
    CONSTRAINT rollout_holds_lifted_check CHECK (
        (lifted_at IS NULL) = (lifted_by IS NULL) AND (lifted_at IS NULL) = (lift_reason IS NULL)
    )
);
CREATE INDEX rollout_holds_tenant_index ON rollout_holds (tenant_id, id DESC) WHERE lifted_at IS NULL;
CREATE INDEX rollout_holds_history_index ON rollout_holds (tenant_id, id DESC);

GRANT SELECT ON arbiter_changes, rollout_holds TO hakem_service;
GRANT INSERT, UPDATE (lifted_at, lifted_by, lift_reason) ON rollout_holds TO hakem_service;
