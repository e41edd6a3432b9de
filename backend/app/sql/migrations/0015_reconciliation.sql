-- Reconciliation: what a provider says really moved beside what the ledger says, run by run; what differs is a finding.
-- Nothing here is money. Adjustments, which are, are written by functions and by nobody's UPDATE.

-- One run of one tenant and provider; without a tenant, an owner's order to run all of them, whose parts name it.
CREATE TABLE reconciliation_runs (
    id UUID NOT NULL DEFAULT uuid_v7(),
    -- Keys the advisory lock that a process holds while it works on the run: a run whose lock is free has nobody.
    number INTEGER GENERATED ALWAYS AS IDENTITY,
    parent_id UUID,
    tenant_id UUID,
    provider TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued',
    -- Whether the window was asked for; else it follows from what has been compared before.
    is_window_asked BOOLEAN NOT NULL,
    is_full BOOLEAN NOT NULL,
    is_dry_run BOOLEAN NOT NULL,
    is_scheduled BOOLEAN NOT NULL,
    -- The settlement file that is compared in the place of the provider's interface: its name, digests and what it holds.
    -- Only who has the file can carry such a run out.
    file JSONB,
    started_by TEXT NOT NULL,
    started_by_id UUID,
    -- [window_start, window_end) on the provider's clock; null until the run has begun, unless asked for.
    window_start TIMESTAMPTZ,
    window_end TIMESTAMPTZ,
    -- Until when the feed is final: what happened later is compared and not missed.
    cutoff TIMESTAMPTZ,
    -- Whether all of the feed arrived and its control totals fit; null before.
    is_feed_complete BOOLEAN,
    -- The checkpoint of the feed: for each account how far it was read, written together with the lines.
    feed JSONB NOT NULL DEFAULT '{}',
    counts JSONB NOT NULL DEFAULT '{}',
    control_totals JSONB NOT NULL DEFAULT '{}',
    resumes INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    started_at TIMESTAMPTZ,
    progressed_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    CONSTRAINT reconciliation_runs_pkey PRIMARY KEY (id),
    CONSTRAINT reconciliation_runs_number_key UNIQUE (number),
    CONSTRAINT reconciliation_runs_parent_fkey FOREIGN KEY (parent_id) REFERENCES reconciliation_runs (id),
    CONSTRAINT reconciliation_runs_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT reconciliation_runs_status_check CHECK (
        status IN ('queued', 'running', 'completed', 'partial', 'failed')
    ),
    CONSTRAINT reconciliation_runs_finished_check CHECK (
        (status IN ('queued', 'running')) = (finished_at IS NULL)
    ),
    CONSTRAINT reconciliation_runs_window_check CHECK (window_start < window_end)
);
-- One at a time for a tenant and provider.
CREATE UNIQUE INDEX reconciliation_runs_open_key ON reconciliation_runs (tenant_id, provider) NULLS NOT DISTINCT
WHERE status IN ('queued', 'running');
CREATE INDEX reconciliation_runs_tenant_index ON reconciliation_runs (tenant_id, id DESC);
CREATE INDEX reconciliation_runs_parent_index ON reconciliation_runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX reconciliation_runs_finished_index ON reconciliation_runs (tenant_id, provider, finished_at DESC)
WHERE status = 'completed' AND NOT is_dry_run;

-- Whether a file was compared before.
CREATE INDEX reconciliation_runs_file_index ON reconciliation_runs (tenant_id, provider, (file ->> 'sha256'))
WHERE file IS NOT NULL;

-- How far a tenant and provider have been compared without a gap.
CREATE TABLE reconciliation_reach (
    tenant_id UUID NOT NULL,
    provider TEXT NOT NULL,
    -- [covered_from, covered_until) of the provider's feed, each complete.
    covered_from TIMESTAMPTZ NOT NULL,
    covered_until TIMESTAMPTZ NOT NULL,
    -- The ledger's transactions up to this id were looked at; ids are made in the order of time.
    ledger_until UUID NOT NULL,
    -- Days before this one have their balances.
    balanced_until DATE NOT NULL,
    CONSTRAINT reconciliation_reach_pkey PRIMARY KEY (tenant_id, provider),
    CONSTRAINT reconciliation_reach_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

-- Lines of a feed or of a settlement file as they came, until their run has compared them. A database that crashes empties
-- the table; the run's checkpoint says how many there ought to be, and a run that misses some reads the feed again.
CREATE UNLOGGED TABLE psp_statement_lines (
    run_id UUID NOT NULL,
    account_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    provider_ref TEXT NOT NULL,
    -- Ours, as we gave it to the provider.
    reference TEXT,
    kind TEXT NOT NULL,
    -- The provider's word, and what it means.
    status TEXT NOT NULL,
    status_class TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX psp_statement_lines_run_index ON psp_statement_lines (run_id);

-- What a provider's statements have listed, each item once, and which of our transactions it is.
CREATE TABLE psp_statement_items (
    provider TEXT NOT NULL,
    account_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    tenant_id UUID NOT NULL,
    provider_ref TEXT NOT NULL,
    reference TEXT,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    status_class TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    -- How often one feed listed it: a provider that lists a movement twice says that it moved twice.
    copies INTEGER NOT NULL,
    -- The transaction that it is matched with, of ours; and by which rule.
    transaction_id UUID,
    rule TEXT,
    -- Listed once, and not any more.
    gone_at TIMESTAMPTZ,
    changed_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT psp_statement_items_pkey PRIMARY KEY (provider, account_id, item_id),
    CONSTRAINT psp_statement_items_kind_check CHECK (kind IN ('deposit', 'refund', 'payout', 'return')),
    CONSTRAINT psp_statement_items_status_class_check CHECK (
        status_class IN ('pending', 'success', 'failed', 'reversed')
    ),
    CONSTRAINT psp_statement_items_amount_check CHECK (amount >= 0),
    CONSTRAINT psp_statement_items_rule_check CHECK (
        (transaction_id IS NULL) = (rule IS NULL) AND rule IN ('event', 'provider_ref', 'reference')
    )
) WITH (fillfactor = 100);
-- Each of our transactions is claimed by one item at most.
CREATE UNIQUE INDEX psp_statement_items_transaction_key ON psp_statement_items (transaction_id)
WHERE transaction_id IS NOT NULL;
CREATE INDEX psp_statement_items_unmatched_index ON psp_statement_items (tenant_id, provider)
WHERE transaction_id IS NULL;
CREATE INDEX psp_statement_items_day_index ON psp_statement_items (tenant_id, provider, occurred_at);
CREATE INDEX psp_statement_items_ref_index ON psp_statement_items (tenant_id, provider, provider_ref);

-- Our transactions at a provider's clearing account that no item has been found for: the hot end of our side. The legs of
-- one refund are one; `transaction_id` is the first.
CREATE TABLE reconciliation_unmatched (
    tenant_id UUID NOT NULL,
    provider TEXT NOT NULL,
    transaction_id UUID NOT NULL,
    player_id UUID NOT NULL,
    kind TEXT NOT NULL,
    -- The deposit or withdrawal, and its name at the provider.
    tx_id UUID,
    reference TEXT,
    provider_ref TEXT,
    provider_event_id TEXT,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT reconciliation_unmatched_pkey PRIMARY KEY (tenant_id, provider, transaction_id)
);

-- What both sides moved on each day, net, seen from the house: positive came in. Explained is what the differences that
-- were found one by one add up to.
CREATE TABLE reconciliation_balances (
    tenant_id UUID NOT NULL,
    provider TEXT NOT NULL,
    account_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    day DATE NOT NULL,
    psp_items BIGINT NOT NULL,
    psp_net NUMERIC NOT NULL,
    ledger_transactions BIGINT NOT NULL,
    ledger_net NUMERIC NOT NULL,
    explained_net NUMERIC NOT NULL,
    run_id UUID NOT NULL,
    CONSTRAINT reconciliation_balances_pkey PRIMARY KEY (tenant_id, provider, account_id, currency, day)
);

-- How columns of a provider's settlement file are to be read, by name; one declaration for each provider and tenant.
CREATE TABLE settlement_mappings (
    tenant_id UUID NOT NULL,
    provider TEXT NOT NULL,
    mapping JSONB NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT settlement_mappings_pkey PRIMARY KEY (tenant_id, provider),
    CONSTRAINT settlement_mappings_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);

ALTER TABLE reconciliation_findings
-- What a run has to look at again to know whether it is still so: the item, our transaction.
ADD COLUMN account_id TEXT,
ADD COLUMN item_id TEXT,
ADD COLUMN transaction_id UUID,
ADD COLUMN assigned_to UUID,
ADD COLUMN last_seen_at TIMESTAMPTZ NOT NULL DEFAULT now(),
ADD CONSTRAINT reconciliation_findings_assigned_fkey FOREIGN KEY (assigned_to) REFERENCES admins (id);
CREATE INDEX reconciliation_findings_open_index ON reconciliation_findings (tenant_id, provider, finding_type, id)
WHERE status = 'OPEN';
CREATE INDEX reconciliation_findings_newest_index ON reconciliation_findings (tenant_id, id DESC);
CREATE INDEX reconciliation_findings_run_index ON reconciliation_findings (run_id, id DESC) WHERE run_id IS NOT NULL;
CREATE INDEX reconciliation_findings_ref_index ON reconciliation_findings (tenant_id, provider, provider_ref)
WHERE provider_ref IS NOT NULL;

-- A correction that one person proposes and another one approves; applied, it is a journal whose reference is its id. It can
-- also close a payment that moved something else than was asked for: the payment is settled as it was asked for first, and
-- the journal then takes both the player and the clearing account to what really moved.
CREATE TABLE ledger_adjustments (
    id UUID NOT NULL DEFAULT uuid_v7(),
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    finding_id UUID,
    currency TEXT NOT NULL,
    -- Minor units, each against house:adjustment: what the player gets (or gives, below zero), and what the provider turns
    -- out to have collected more for us than was booked (or less).
    player_amount BIGINT NOT NULL,
    clearing_amount BIGINT NOT NULL,
    provider TEXT,
    -- The payment that is settled before.
    closes_kind TEXT,
    closes_id UUID,
    closes_attempt INTEGER,
    reason TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'proposed',
    proposed_by UUID NOT NULL,
    proposed_at TIMESTAMPTZ NOT NULL,
    decided_by UUID,
    decided_at TIMESTAMPTZ,
    decision_note TEXT,
    journal_id UUID,
    CONSTRAINT ledger_adjustments_pkey PRIMARY KEY (id),
    CONSTRAINT ledger_adjustments_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ledger_adjustments_finding_fkey FOREIGN KEY (finding_id) REFERENCES reconciliation_findings (id),
    CONSTRAINT ledger_adjustments_proposer_fkey FOREIGN KEY (proposed_by) REFERENCES admins (id),
    CONSTRAINT ledger_adjustments_decider_fkey FOREIGN KEY (decided_by) REFERENCES admins (id),
    CONSTRAINT ledger_adjustments_status_check CHECK (
        status IN ('proposed', 'approved', 'applied', 'rejected')
        AND (status = 'proposed') = (decided_by IS NULL)
        AND (decided_by IS NULL) = (decided_at IS NULL)
    ),
    -- Nobody approves what is theirs. A proposal may be taken back by who made it.
    CONSTRAINT ledger_adjustments_four_eyes_check CHECK (
        status NOT IN ('approved', 'applied') OR (decided_by IS NOT NULL AND decided_by <> proposed_by)
    ),
    CONSTRAINT ledger_adjustments_amounts_check CHECK (player_amount <> 0 OR clearing_amount <> 0),
    CONSTRAINT ledger_adjustments_provider_check CHECK (
        provider IS NOT NULL OR (clearing_amount = 0 AND closes_kind IS NULL)
    ),
    CONSTRAINT ledger_adjustments_closes_check CHECK (
        closes_kind IN ('deposit', 'payout')
        AND (closes_kind IS NULL) = (closes_id IS NULL)
        AND (closes_kind IS NOT DISTINCT FROM 'payout') = (closes_attempt IS NOT NULL)
    ),
    CONSTRAINT ledger_adjustments_reason_check CHECK (btrim(reason) <> '')
);
CREATE INDEX ledger_adjustments_tenant_index ON ledger_adjustments (tenant_id, id DESC);
CREATE INDEX ledger_adjustments_finding_index ON ledger_adjustments (finding_id) WHERE finding_id IS NOT NULL;
-- A payment is closed once, and only one proposal to do so is open.
CREATE UNIQUE INDEX ledger_adjustments_closes_key ON ledger_adjustments (closes_kind, closes_id)
WHERE closes_id IS NOT NULL AND status <> 'rejected';

-- What the provider turned out to have moved; the player's part is manual_adjustment.
INSERT INTO ledger_transaction_types (type, debit_account, credit_account, is_sole, available_sign, pending_sign)
VALUES
('clearing_adjustment', 'psp:{provider}:clearing', 'house:adjustment', FALSE, 0, 0),
('clearing_adjustment', 'house:adjustment', 'psp:{provider}:clearing', FALSE, 0, 0);

-- What we booked at providers' clearing accounts, leg by leg; of a refund that player and house share there are two. While
-- shadow writing is off the legacy movement is all there is. `name`: ours of the payment, as the provider was told it.
CREATE VIEW provider_movements AS
SELECT
    entry.tenant_id,
    entry.provider,
    entry.id AS transaction_id,
    entry.player_id,
    CASE entry.type
        WHEN 'deposit_captured' THEN 'deposit'
        WHEN 'deposit_refunded' THEN 'refund'
        WHEN 'withdraw_paid' THEN 'payout'
        WHEN 'withdraw_returned' THEN 'return'
    END AS kind,
    entry.reference AS tx_id,
    CASE
        WHEN entry.type IN ('deposit_captured', 'deposit_refunded') THEN entry.reference::TEXT
        ELSE split_part(entry.idempotency_key, '~', 1)
    END AS name,
    entry.provider_ref,
    entry.provider_event_id,
    entry.amount,
    entry.currency,
    entry.occurred_at,
    entry.recorded_at,
    entry.journal_id
FROM ledger_transactions AS entry
WHERE
    entry.provider IS NOT NULL
    AND entry.type IN ('deposit_captured', 'deposit_refunded', 'withdraw_paid', 'withdraw_returned')
    AND 'psp:' || entry.provider || ':clearing' IN (entry.debit_account, entry.credit_account)
UNION ALL
SELECT
    movement.tenant_id,
    movement.provider,
    movement.id,
    movement.player_id,
    CASE movement.type
        WHEN 'deposit_captured' THEN 'deposit'
        WHEN 'deposit_refunded' THEN 'refund'
        WHEN 'withdraw_paid' THEN 'payout'
        WHEN 'withdraw_returned' THEN 'return'
    END,
    movement.reference,
    CASE
        WHEN movement.type IN ('deposit_captured', 'deposit_refunded') THEN movement.reference::TEXT
        ELSE split_part(movement.idempotency_key, '~', 1)
    END,
    NULL,
    movement.provider_event_id,
    movement.amount,
    movement.currency,
    movement.recorded_at,
    movement.recorded_at,
    NULL
FROM legacy_movements AS movement
WHERE
    movement.provider IS NOT NULL
    AND movement.type IN ('deposit_captured', 'deposit_refunded', 'withdraw_paid', 'withdraw_returned')
    -- The other leg of a return.
    AND movement.idempotency_key NOT LIKE '%\_credit';

-- What a run of reconciliation reads of the ledger. A withdrawal's request and its hold have no provider: the hot path does
-- not write into it.
CREATE INDEX ledger_transactions_provider_index ON ledger_transactions (tenant_id, provider, id)
WHERE provider IS NOT NULL;
CREATE INDEX legacy_movements_provider_index ON legacy_movements (tenant_id, provider, id)
WHERE provider IS NOT NULL;

GRANT SELECT ON provider_movements TO hakem_service;
GRANT SELECT, INSERT, UPDATE ON reconciliation_runs, reconciliation_reach, settlement_mappings TO hakem_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON psp_statement_lines, psp_statement_items, reconciliation_unmatched,
reconciliation_balances TO hakem_service;
GRANT SELECT ON ledger_adjustments TO hakem_service;
