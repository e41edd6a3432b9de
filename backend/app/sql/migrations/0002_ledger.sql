-- The ledger: declared accounts and types, append-only transactions, the snapshot, and the evidence of decisions.

CREATE TABLE ledger_accounts (
    account TEXT NOT NULL,
    belongs_to TEXT NOT NULL,
    -- Which snapshot column this account is part of; none for house accounts, which are summed from the ledger so that
    -- no hot row is ever locked on the money path.
    snapshot_column TEXT,
    CONSTRAINT ledger_accounts_pkey PRIMARY KEY (account),
    CONSTRAINT ledger_accounts_belongs_to_check CHECK (belongs_to IN ('player', 'house')),
    CONSTRAINT ledger_accounts_snapshot_column_check CHECK (
        (belongs_to = 'player') = (snapshot_column IS NOT NULL)
        AND snapshot_column IN ('balance_real_available', 'balance_real_pending')
    )
);
INSERT INTO ledger_accounts (account, belongs_to, snapshot_column) VALUES
('player:available', 'player', 'balance_real_available'),
('player:held', 'player', 'balance_real_pending'),
('player:in_transit', 'player', 'balance_real_pending'),
('psp:{provider}:clearing', 'house', NULL),
('house:opening', 'house', NULL),
('house:adjustment', 'house', NULL),
('house:fees', 'house', NULL),
('house:returns', 'house', NULL);

-- A type names its debit and credit account. A type with several lines is told apart by the accounts the caller gives;
-- a type with one line (is_sole) needs none.
CREATE TABLE ledger_transaction_types (
    type TEXT NOT NULL,
    debit_account TEXT NOT NULL,
    credit_account TEXT NOT NULL,
    is_sole BOOLEAN NOT NULL,
    needs_provider BOOLEAN NOT NULL
    GENERATED ALWAYS AS (debit_account LIKE '%{provider}%' OR credit_account LIKE '%{provider}%') STORED,
    -- What one unit of amount does to the snapshot: -1, 0 or 1.
    available_sign SMALLINT NOT NULL,
    pending_sign SMALLINT NOT NULL,
    CONSTRAINT ledger_transaction_types_pkey PRIMARY KEY (type, debit_account, credit_account),
    CONSTRAINT ledger_transaction_types_debit_fkey FOREIGN KEY (debit_account) REFERENCES ledger_accounts (account),
    CONSTRAINT ledger_transaction_types_credit_fkey FOREIGN KEY (credit_account) REFERENCES ledger_accounts (account),
    CONSTRAINT ledger_transaction_types_accounts_check CHECK (debit_account <> credit_account)
);
INSERT INTO ledger_transaction_types (type, debit_account, credit_account, is_sole, available_sign, pending_sign)
SELECT
    declared.type,
    declared.debit_account,
    declared.credit_account,
    count(*) OVER (PARTITION BY declared.type) = 1,
    (credit.snapshot_column IS NOT DISTINCT FROM 'balance_real_available')::INTEGER
    - (debit.snapshot_column IS NOT DISTINCT FROM 'balance_real_available')::INTEGER,
    (credit.snapshot_column IS NOT DISTINCT FROM 'balance_real_pending')::INTEGER
    - (debit.snapshot_column IS NOT DISTINCT FROM 'balance_real_pending')::INTEGER
FROM (VALUES
    ('opening_balance', 'house:opening', 'player:available'),
    ('opening_balance', 'house:opening', 'player:held'),
    -- A legacy column below zero is opened as it is: the truth is carried over first, and judged afterwards.
    ('opening_balance', 'player:available', 'house:opening'),
    ('opening_balance', 'player:held', 'house:opening'),
    ('deposit_captured', 'psp:{provider}:clearing', 'player:available'),
    -- What the player no longer has is the house's to give back (docs/decisions/0011).
    ('deposit_refunded', 'player:available', 'psp:{provider}:clearing'),
    ('deposit_refunded', 'house:returns', 'psp:{provider}:clearing'),
    ('withdraw_requested', 'player:available', 'player:held'),
    ('withdraw_rejected', 'player:held', 'player:available'),
    ('withdraw_cancelled', 'player:held', 'player:available'),
    ('withdraw_failed', 'player:held', 'player:available'),
    ('withdraw_dispatched', 'player:held', 'player:in_transit'),
    ('withdraw_paid', 'player:in_transit', 'psp:{provider}:clearing'),
    ('payout_failed', 'player:in_transit', 'player:held'),
    ('withdraw_returned', 'psp:{provider}:clearing', 'house:returns'),
    ('withdraw_returned', 'house:returns', 'player:available'),
    ('backfill_adjustment', 'house:adjustment', 'player:available'),
    ('backfill_adjustment', 'player:available', 'house:adjustment'),
    ('backfill_adjustment', 'house:adjustment', 'player:held'),
    ('backfill_adjustment', 'player:held', 'house:adjustment'),
    ('manual_adjustment', 'house:adjustment', 'player:available'),
    ('manual_adjustment', 'player:available', 'house:adjustment')
) AS declared (type, debit_account, credit_account)
INNER JOIN ledger_accounts AS debit ON declared.debit_account = debit.account
INNER JOIN ledger_accounts AS credit ON declared.credit_account = credit.account;

-- One row is one transfer: it debits one account and credits another by one amount, so it balances by construction.
-- No foreign keys to players or types: the door holds the player's row lock and reads the type while it writes, a
-- trigger per row would cost a tenth of the whole write, and `hakem verify` looks for orphans.
CREATE TABLE ledger_transactions (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    wallet_version BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    available_after BIGINT NOT NULL,
    pending_after BIGINT NOT NULL,
    -- The legacy columns after the same deed: what a replay under the legacy arbiter answers, and proof of invariant 4.
    legacy_available_after BIGINT NOT NULL,
    legacy_held_after BIGINT NOT NULL,
    reference UUID,
    journal_id UUID,
    occurred_at TIMESTAMPTZ NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    epoch INTEGER NOT NULL,
    currency TEXT NOT NULL,
    type TEXT NOT NULL,
    debit_account TEXT NOT NULL,
    credit_account TEXT NOT NULL,
    arbiter ARBITER_SIDE NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    provider TEXT,
    provider_ref TEXT,
    provider_event_id TEXT,
    metadata JSONB,
    -- Serves "a player's history in order" and makes a gap or a duplicate of a version impossible.
    CONSTRAINT ledger_transactions_pkey PRIMARY KEY (tenant_id, player_id, currency, wallet_version),
    CONSTRAINT ledger_transactions_idempotency_key UNIQUE (tenant_id, player_id, type, idempotency_key),
    CONSTRAINT ledger_transactions_balanced_check CHECK (amount > 0 AND debit_account <> credit_account)
) WITH (fillfactor = 100);
CREATE UNIQUE INDEX ledger_transactions_provider_event_key ON ledger_transactions (provider, provider_event_id)
WHERE provider_event_id IS NOT NULL;
CREATE INDEX ledger_transactions_id_index ON ledger_transactions (id);
CREATE INDEX ledger_transactions_reference_index ON ledger_transactions (reference) WHERE reference IS NOT NULL;
CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_transactions_no_truncate BEFORE TRUNCATE ON ledger_transactions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The snapshot: always the fold of the wallet's transactions, written in the same database transaction as they are.
-- It may go below zero while the legacy column is the arbiter (the shadow never vetoes), so it carries no CHECK.
CREATE TABLE wallet_balances (
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    currency TEXT NOT NULL,
    balance_real_available BIGINT NOT NULL DEFAULT 0,
    balance_real_pending BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 0,
    opened_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT wallet_balances_pkey PRIMARY KEY (tenant_id, player_id, currency)
) WITH (fillfactor = 70);

-- A refused event, with what both sides would have said. The same key replays the same refusal for ever, so a delayed
-- duplicate can never move money, and "who was refused wrongly" is a query.
CREATE TABLE ledger_refusals (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    currency TEXT NOT NULL,
    type TEXT NOT NULL,
    amount BIGINT NOT NULL,
    code TEXT NOT NULL,
    wallet_opened BOOLEAN NOT NULL,
    legacy_available BIGINT NOT NULL,
    legacy_held BIGINT NOT NULL,
    ledger_available BIGINT NOT NULL,
    ledger_pending BIGINT NOT NULL,
    legacy_ok BOOLEAN NOT NULL,
    ledger_ok BOOLEAN,
    arbiter ARBITER_SIDE NOT NULL,
    epoch INTEGER NOT NULL,
    reference UUID,
    idempotency_key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT ledger_refusals_pkey PRIMARY KEY (tenant_id, player_id, type, idempotency_key)
);
-- The condition is always true. It keeps this index out of look-ups by key: a plan made while the table is empty would
-- else prefer it by chance, and read all of a tenant's refusals when it no longer is.
CREATE INDEX ledger_refusals_recent_index ON ledger_refusals (tenant_id, recorded_at) WHERE recorded_at IS NOT NULL;
CREATE TRIGGER ledger_refusals_append_only BEFORE UPDATE OR DELETE ON ledger_refusals
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_refusals_no_truncate BEFORE TRUNCATE ON ledger_refusals
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What moved while shadow writing was off: only the legacy column was written, but a key must still replay.
CREATE TABLE legacy_movements (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    currency TEXT NOT NULL,
    type TEXT NOT NULL,
    amount BIGINT NOT NULL,
    legacy_available_after BIGINT NOT NULL,
    legacy_held_after BIGINT NOT NULL,
    epoch INTEGER NOT NULL,
    reference UUID,
    idempotency_key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    provider TEXT,
    provider_event_id TEXT,
    recorded_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT legacy_movements_pkey PRIMARY KEY (tenant_id, player_id, type, idempotency_key)
);
CREATE UNIQUE INDEX legacy_movements_provider_event_key ON legacy_movements (provider, provider_event_id)
WHERE provider_event_id IS NOT NULL;
CREATE TRIGGER legacy_movements_append_only BEFORE UPDATE OR DELETE ON legacy_movements
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER legacy_movements_no_truncate BEFORE TRUNCATE ON legacy_movements
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Where legacy column and snapshot were seen to differ: one row per wallet and class, so a hot wallet cannot flood it.
CREATE TABLE ledger_mismatches (
    tenant_id UUID NOT NULL,
    player_id UUID NOT NULL,
    currency TEXT NOT NULL,
    class TEXT NOT NULL,
    legacy_available BIGINT NOT NULL,
    legacy_held BIGINT NOT NULL,
    ledger_available BIGINT NOT NULL,
    ledger_pending BIGINT NOT NULL,
    arbiter ARBITER_SIDE NOT NULL,
    occurrences BIGINT NOT NULL DEFAULT 1,
    first_seen_at TIMESTAMPTZ NOT NULL,
    last_seen_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT ledger_mismatches_pkey PRIMARY KEY (tenant_id, player_id, currency, class),
    CONSTRAINT ledger_mismatches_class_check CHECK (class IN ('missing_wallet', 'available_diff', 'pending_diff'))
);
CREATE INDEX ledger_mismatches_recent_index ON ledger_mismatches (tenant_id, last_seen_at);

GRANT SELECT ON ledger_accounts, ledger_transaction_types, ledger_transactions, wallet_balances, ledger_refusals,
legacy_movements, ledger_mismatches TO hakem_service;
GRANT INSERT, UPDATE ON ledger_mismatches TO hakem_service;
