-- The life of a withdrawal after its request: approvals, attempts to pay it, and what was answered to whom.

-- What decides about a withdrawal stands in its own row, so that the row's checks can forbid what nobody may do, whatever
-- function or statement writes it. Both checks look at the state first: a request, which is the hot path, passes at once.
ALTER TABLE withdrawals
-- Counts the transitions; a caller says which version it saw.
ADD COLUMN version INTEGER NOT NULL DEFAULT 1,
ADD COLUMN approvals_needed SMALLINT NOT NULL DEFAULT 1,
ADD COLUMN first_approved_by UUID,
ADD COLUMN first_approved_at TIMESTAMPTZ,
ADD COLUMN second_approved_by UUID,
ADD COLUMN second_approved_at TIMESTAMPTZ,
-- The last decision of a person: approved, rejected or cancelled, and why.
ADD COLUMN reviewed_by UUID,
ADD COLUMN reviewed_at TIMESTAMPTZ,
ADD COLUMN review_reason TEXT,
-- Of the last attempt.
ADD COLUMN provider TEXT,
ADD COLUMN provider_ref TEXT,
ADD COLUMN provider_event_id TEXT,
ADD COLUMN failure_code TEXT,
-- Money does not leave without its approvals.
ADD CONSTRAINT withdrawals_approved_check CHECK (
    state IN ('requested', 'rejected', 'cancelled')
    OR (
        first_approved_by IS NOT NULL
        AND (second_approved_by IS NOT NULL OR approvals_needed = 1 OR state = 'awaiting_second_approval')
    )
),
-- Two approvals are two people's. (A comparison with NULL is no violation.)
ADD CONSTRAINT withdrawals_four_eyes_check CHECK (
    approvals_needed IN (1, 2)
    AND first_approved_by <> second_approved_by
    AND (second_approved_by IS NULL OR first_approved_by IS NOT NULL)
    AND (state <> 'awaiting_second_approval' OR (approvals_needed = 2 AND second_approved_by IS NULL))
);

-- What finance looks through: a tenant's newest, by state, method or amount; and all tenants' newest, for owners.
CREATE INDEX withdrawals_tenant_index ON withdrawals (tenant_id, created_at, id);
CREATE INDEX withdrawals_state_index ON withdrawals (tenant_id, state, created_at, id);
CREATE INDEX withdrawals_method_index ON withdrawals (tenant_id, method, created_at, id);
CREATE INDEX withdrawals_amount_index ON withdrawals (tenant_id, amount, id);
CREATE INDEX withdrawals_created_index ON withdrawals (created_at, id);
-- A currency that hardly anybody is paid in is looked for in vain along the others. It comes first, for all tenants too.
CREATE INDEX withdrawals_currency_index ON withdrawals (currency, tenant_id, created_at, id);

-- The same table as domain/payments/withdrawal_lifecycle.py: there it plans, here it binds.
CREATE TABLE withdrawal_transitions (
    from_state TEXT NOT NULL,
    action TEXT NOT NULL,
    to_state TEXT NOT NULL,
    ledger_types TEXT[] NOT NULL,
    is_by_admin BOOLEAN NOT NULL GENERATED ALWAYS AS (action NOT LIKE 'payout_%') STORED,
    CONSTRAINT withdrawal_transitions_pkey PRIMARY KEY (from_state, action)
);
INSERT INTO withdrawal_transitions (from_state, action, to_state, ledger_types) VALUES
('requested', 'approve', 'approved', '{}'),
('requested', 'approve_first', 'awaiting_second_approval', '{}'),
('requested', 'reject', 'rejected', '{withdraw_rejected}'),
('requested', 'cancel', 'cancelled', '{withdraw_cancelled}'),
('awaiting_second_approval', 'approve', 'approved', '{}'),
('awaiting_second_approval', 'reject', 'rejected', '{withdraw_rejected}'),
('approved', 'cancel', 'cancelled', '{withdraw_cancelled}'),
('approved', 'mark_paid', 'processing', '{withdraw_dispatched}'),
('approved', 'mark_paid_manually', 'paid', '{withdraw_dispatched,withdraw_paid}'),
('processing', 'payout_paid', 'paid', '{withdraw_paid}'),
('processing', 'payout_failed', 'failed', '{payout_failed}'),
('processing', 'payout_returned', 'returned', '{withdraw_paid,withdraw_returned,withdraw_returned}'),
('paid', 'payout_returned', 'returned', '{withdraw_returned,withdraw_returned}'),
('failed', 'retry', 'approved', '{}'),
('failed', 'cancel', 'cancelled', '{withdraw_failed}');

-- One try to pay a withdrawal. A row is committed before the provider is called, and its name at the provider is
-- wd_<withdrawal id>_<number>. An open attempt always has a time at which it is asked about: nothing hangs for ever.
CREATE TABLE payout_attempts (
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    withdrawal_id UUID NOT NULL,
    number INTEGER NOT NULL,
    provider TEXT NOT NULL,
    account_id TEXT,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    state TEXT NOT NULL,
    provider_ref TEXT,
    provider_event_id TEXT,
    provider_sequence BIGINT,
    failure_code TEXT,
    -- What proves a payment on the manual rail.
    evidence_ref TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    state_at TIMESTAMPTZ NOT NULL,
    checked_at TIMESTAMPTZ,
    next_check_at TIMESTAMPTZ,
    -- How often the provider was asked since the attempt is in its state.
    checks INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT payout_attempts_pkey PRIMARY KEY (tenant_id, player_id, withdrawal_id, number),
    CONSTRAINT payout_attempts_withdrawal_fkey FOREIGN KEY (tenant_id, player_id, withdrawal_id)
    REFERENCES withdrawals (tenant_id, player_id, id),
    CONSTRAINT payout_attempts_number_check CHECK (number BETWEEN 1 AND 99999),
    CONSTRAINT payout_attempts_amount_check CHECK (amount > 0),
    CONSTRAINT payout_attempts_state_check CHECK (
        state IN ('created', 'pending', 'unknown', 'paid', 'failed', 'returned')
    ),
    CONSTRAINT payout_attempts_rail_check CHECK (
        (provider = 'manual') = (evidence_ref IS NOT NULL) AND (provider = 'manual') = (account_id IS NULL)
    ),
    CONSTRAINT payout_attempts_check_check CHECK (
        (state IN ('created', 'pending', 'unknown')) = (next_check_at IS NOT NULL)
    )
);
CREATE UNIQUE INDEX payout_attempts_open_key ON payout_attempts (tenant_id, player_id, withdrawal_id)
WHERE state IN ('created', 'pending', 'unknown');
-- One bank transfer pays one withdrawal.
CREATE UNIQUE INDEX payout_attempts_evidence_key ON payout_attempts (tenant_id, evidence_ref)
WHERE evidence_ref IS NOT NULL;
CREATE INDEX payout_attempts_withdrawal_index ON payout_attempts (withdrawal_id, number);
CREATE INDEX payout_attempts_provider_index ON payout_attempts (provider, provider_ref) WHERE provider_ref IS NOT NULL;
CREATE INDEX payout_attempts_due_index ON payout_attempts (next_check_at) WHERE next_check_at IS NOT NULL;

-- Keys under which admins did something, written with the deed. `answered` is the withdrawal as it was in the answer;
-- null when the process died before it answered.
CREATE TABLE withdrawal_deed_keys (
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    operation TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    withdrawal_id UUID NOT NULL,
    answered JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT withdrawal_deed_keys_pkey PRIMARY KEY (tenant_id, player_id, operation, idempotency_key)
);

GRANT SELECT ON withdrawal_transitions, payout_attempts, withdrawal_deed_keys TO hakem_service;
GRANT INSERT, UPDATE (answered) ON withdrawal_deed_keys TO hakem_service;
