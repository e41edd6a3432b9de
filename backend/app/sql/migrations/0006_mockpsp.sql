-- MockPSP is a peer of ours, not a part of us: its books stand in a schema of their own, and only backend/mockpsp reads
-- or writes them. They share our database so that development needs no second one.

CREATE SCHEMA mockpsp;

-- What was asked for. The idempotency key is the merchant's name for one request, once in the whole installation.
CREATE TABLE mockpsp.payments (
    payment_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    account_id TEXT NOT NULL,
    reference TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    method TEXT NOT NULL,
    is_captured_at_once BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT payments_pkey PRIMARY KEY (payment_id),
    CONSTRAINT payments_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT payments_amount_check CHECK (amount > 0)
);
CREATE TABLE mockpsp.payouts (
    payout_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    account_id TEXT NOT NULL,
    reference TEXT NOT NULL,
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    method TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT payouts_pkey PRIMARY KEY (payout_id),
    CONSTRAINT payouts_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT payouts_amount_check CHECK (amount > 0)
);

-- What became of them. The whole course of a payment is written when it is booked, what is still to come with a time
-- ahead; an event is true from its time on. So nothing has to run for the future to happen.
CREATE TABLE mockpsp.events (
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    reference TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL,
    -- What really moved, which may differ from what was asked for.
    amount BIGINT NOT NULL,
    currency TEXT NOT NULL,
    -- NULL where no money moved.
    movement TEXT,
    failure_code TEXT,
    -- The merchant's key where a request of its own made the event, such as a refund.
    idempotency_key TEXT,
    occurred_at TIMESTAMPTZ NOT NULL,
    -- Which transaction wrote it: a statement is drawn from one snapshot, however many pages it has.
    written_by XID8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT events_pkey PRIMARY KEY (event_id),
    CONSTRAINT events_sequence_key UNIQUE (object_id, sequence),
    CONSTRAINT events_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT events_kind_check CHECK (kind IN ('payment', 'payout')),
    CONSTRAINT events_movement_check CHECK (movement IN ('deposit', 'refund', 'payout', 'return')),
    CONSTRAINT events_amount_check CHECK (amount >= 0)
);
CREATE INDEX events_reference_index ON mockpsp.events (account_id, reference, kind);
CREATE INDEX events_statement_index ON mockpsp.events (account_id, occurred_at, event_id) WHERE movement IS NOT NULL;

-- Webhooks still to be sent, and what became of those that were. Claiming one moves its due time past the time that an
-- attempt may take, so that a sender that dies loses none.
CREATE TABLE mockpsp.deliveries (
    delivery_id BIGINT GENERATED ALWAYS AS IDENTITY,
    event_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    body BYTEA NOT NULL,
    signing TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at TIMESTAMPTZ NOT NULL,
    last_result TEXT,
    CONSTRAINT deliveries_pkey PRIMARY KEY (delivery_id),
    CONSTRAINT deliveries_event_fkey FOREIGN KEY (event_id) REFERENCES mockpsp.events (event_id) ON DELETE CASCADE,
    CONSTRAINT deliveries_state_check CHECK (state IN ('waiting', 'delivered', 'given_up'))
) WITH (fillfactor = 80);
CREATE INDEX deliveries_due_index ON mockpsp.deliveries (due_at, delivery_id) WHERE state = 'waiting';
CREATE INDEX deliveries_event_index ON mockpsp.deliveries (event_id);

-- Requests that were lost on the way without being booked; the next one with the key gets through.
CREATE TABLE mockpsp.lost_requests (
    idempotency_key TEXT NOT NULL,
    lost_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT lost_requests_pkey PRIMARY KEY (idempotency_key)
);

GRANT USAGE ON SCHEMA mockpsp TO hakem_service;
GRANT SELECT, INSERT ON mockpsp.payments, mockpsp.payouts, mockpsp.lost_requests TO hakem_service;
-- Locking a row takes the right to update it.
GRANT UPDATE (method) ON mockpsp.payments, mockpsp.payouts TO hakem_service;
GRANT SELECT, INSERT, DELETE ON mockpsp.events TO hakem_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON mockpsp.deliveries TO hakem_service;
