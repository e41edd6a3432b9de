-- name: book_payment
-- Books a payment with its whole course and its webhooks, unless its key is taken; how many were booked.
WITH booked AS (
    INSERT INTO mockpsp.payments (
        payment_id, idempotency_key, account_id, reference, amount, currency, method, is_captured_at_once, created_at
    )
    VALUES (
        %(id)s, %(idempotency_key)s, %(account)s, %(reference)s, %(amount)s, %(currency)s, %(method)s,
        %(is_captured_at_once)s, %(now)s
    )
    ON CONFLICT ON CONSTRAINT payments_idempotency_key DO NOTHING
    RETURNING payment_id
),

written AS (
    INSERT INTO mockpsp.events (
        event_id, kind, object_id, account_id, reference, sequence, type, status, amount, currency, movement,
        failure_code, occurred_at
    )
    SELECT
        event.event_id,
        'payment',
        booked.payment_id,
        %(account)s,
        %(reference)s,
        event.sequence,
        event.type,
        event.status,
        event.amount,
        event.currency,
        event.movement,
        event.failure_code,
        event.occurred_at
    FROM booked
    CROSS JOIN jsonb_to_recordset(%(events)s::JSONB) AS event (
        event_id TEXT,
        sequence INTEGER,
        type TEXT,
        status TEXT,
        amount BIGINT,
        currency TEXT,
        movement TEXT,
        failure_code TEXT,
        occurred_at TIMESTAMPTZ
    )
),

queued AS (
    INSERT INTO mockpsp.deliveries (event_id, object_id, body, signing, due_at)
    SELECT
        delivery.event_id,
        booked.payment_id,
        convert_to(delivery.body, 'UTF8'),
        delivery.signing,
        delivery.due_at
    FROM booked
    CROSS JOIN jsonb_to_recordset(%(deliveries)s::JSONB) AS delivery (
        event_id TEXT,
        body TEXT,
        signing TEXT,
        due_at TIMESTAMPTZ
    )
)

SELECT count(*) AS booked
FROM booked;

-- name: book_payout
-- Books a payout with its whole course and its webhooks, unless its key is taken; how many were booked.
WITH booked AS (
    INSERT INTO mockpsp.payouts (
        payout_id, idempotency_key, account_id, reference, amount, currency, method, address, created_at
    )
    VALUES (
        %(id)s, %(idempotency_key)s, %(account)s, %(reference)s, %(amount)s, %(currency)s, %(method)s, %(address)s,
        %(now)s
    )
    ON CONFLICT ON CONSTRAINT payouts_idempotency_key DO NOTHING
    RETURNING payout_id
),

written AS (
    INSERT INTO mockpsp.events (
        event_id, kind, object_id, account_id, reference, sequence, type, status, amount, currency, movement,
        failure_code, occurred_at
    )
    SELECT
        event.event_id,
        'payout',
        booked.payout_id,
        %(account)s,
        %(reference)s,
        event.sequence,
        event.type,
        event.status,
        event.amount,
        event.currency,
        event.movement,
        event.failure_code,
        event.occurred_at
    FROM booked
    CROSS JOIN jsonb_to_recordset(%(events)s::JSONB) AS event (
        event_id TEXT,
        sequence INTEGER,
        type TEXT,
        status TEXT,
        amount BIGINT,
        currency TEXT,
        movement TEXT,
        failure_code TEXT,
        occurred_at TIMESTAMPTZ
    )
),

queued AS (
    INSERT INTO mockpsp.deliveries (event_id, object_id, body, signing, due_at)
    SELECT
        delivery.event_id,
        booked.payout_id,
        convert_to(delivery.body, 'UTF8'),
        delivery.signing,
        delivery.due_at
    FROM booked
    CROSS JOIN jsonb_to_recordset(%(deliveries)s::JSONB) AS delivery (
        event_id TEXT,
        body TEXT,
        signing TEXT,
        due_at TIMESTAMPTZ
    )
)

SELECT count(*) AS booked
FROM booked;

-- name: add_events
-- Adds events and their webhooks to an order that is booked and locked.
WITH written AS (
    INSERT INTO mockpsp.events (
        event_id, kind, object_id, account_id, reference, sequence, type, status, amount, currency, movement,
        failure_code, idempotency_key, occurred_at
    )
    SELECT
        event.event_id,
        %(kind)s,
        %(id)s,
        %(account)s,
        %(reference)s,
        event.sequence,
        event.type,
        event.status,
        event.amount,
        event.currency,
        event.movement,
        event.failure_code,
        event.idempotency_key,
        event.occurred_at
    FROM jsonb_to_recordset(%(events)s::JSONB) AS event (
        event_id TEXT,
        sequence INTEGER,
        type TEXT,
        status TEXT,
        amount BIGINT,
        currency TEXT,
        movement TEXT,
        failure_code TEXT,
        idempotency_key TEXT,
        occurred_at TIMESTAMPTZ
    )
)

INSERT INTO mockpsp.deliveries (event_id, object_id, body, signing, due_at)
SELECT
    delivery.event_id,
    %(id)s,
    convert_to(delivery.body, 'UTF8'),
    delivery.signing,
    delivery.due_at
FROM jsonb_to_recordset(%(deliveries)s::JSONB) AS delivery (
    event_id TEXT,
    body TEXT,
    signing TEXT,
    due_at TIMESTAMPTZ
);

-- name: remove_events_after
-- Takes back what has not happened yet to an order, and with it the webhooks about it.
DELETE FROM mockpsp.events AS event
WHERE event.object_id = %(object_id)s AND event.occurred_at > %(now)s;

-- name: find_payment_by_key
-- The payment that a key was used for.
SELECT
    payment_id,
    idempotency_key,
    account_id,
    reference,
    amount,
    currency,
    method,
    '' AS address,
    is_captured_at_once
FROM mockpsp.payments
WHERE idempotency_key = %(idempotency_key)s;

-- name: find_payout_by_key
-- The payout that a key was used for.
SELECT
    payout_id,
    idempotency_key,
    account_id,
    reference,
    amount,
    currency,
    method,
    address,
    TRUE AS is_captured_at_once
FROM mockpsp.payouts
WHERE idempotency_key = %(idempotency_key)s;

-- name: lock_payment
-- A payment, locked until the end of the transaction.
SELECT
    payment_id,
    idempotency_key,
    account_id,
    reference,
    amount,
    currency,
    method,
    '' AS address,
    is_captured_at_once
FROM mockpsp.payments
WHERE payment_id = %(id)s
FOR UPDATE;

-- name: lock_payout
-- A payout, locked until the end of the transaction.
SELECT
    payout_id,
    idempotency_key,
    account_id,
    reference,
    amount,
    currency,
    method,
    address,
    TRUE AS is_captured_at_once
FROM mockpsp.payouts
WHERE payout_id = %(id)s
FOR UPDATE;

-- name: list_events
-- All events of an order, those still to come included, in their sequence.
SELECT
    event_id,
    kind,
    object_id,
    account_id,
    reference,
    sequence,
    type,
    status,
    amount,
    currency,
    movement,
    failure_code,
    idempotency_key,
    occurred_at
FROM mockpsp.events
WHERE object_id = %(object_id)s
ORDER BY sequence
LIMIT %(limit)s;

-- name: find_latest_event
-- What is true of an order now, if it belongs to the account.
SELECT
    event_id,
    kind,
    object_id,
    account_id,
    reference,
    sequence,
    type,
    status,
    amount,
    currency,
    movement,
    failure_code,
    idempotency_key,
    occurred_at
FROM mockpsp.events
WHERE
    object_id = %(object_id)s
    AND kind = %(kind)s
    AND account_id = %(account)s
    AND occurred_at <= %(now)s
ORDER BY sequence DESC
LIMIT 1;

-- name: list_latest_events
-- What is true now of each order with a reference: one event to an order.
SELECT DISTINCT ON (object_id)
    event_id,
    kind,
    object_id,
    account_id,
    reference,
    sequence,
    type,
    status,
    amount,
    currency,
    movement,
    failure_code,
    idempotency_key,
    occurred_at
FROM mockpsp.events
WHERE account_id = %(account)s AND reference = %(reference)s AND kind = %(kind)s AND occurred_at <= %(now)s
ORDER BY object_id, sequence DESC
LIMIT %(limit)s;

-- name: lose_request
-- Loses the first request with a key; the row comes back only to the one that is lost.
INSERT INTO mockpsp.lost_requests (idempotency_key, lost_at)
VALUES (%(idempotency_key)s, %(now)s)
ON CONFLICT ON CONSTRAINT lost_requests_pkey DO NOTHING
RETURNING TRUE AS is_lost;

-- name: take_snapshot
-- Names what is committed now, for the pages of one statement.
SELECT pg_current_snapshot()::TEXT AS snapshot;

-- name: sum_statement
-- Control totals of a window, by currency.
SELECT
    currency,
    count(*) AS lines,
    sum(amount) AS amount
FROM mockpsp.events
WHERE
    account_id = %(account)s
    AND movement IS NOT NULL
    AND occurred_at >= %(from_at)s
    AND occurred_at < %(to_at)s
    AND occurred_at <= %(as_of)s
    AND pg_visible_in_snapshot(written_by, %(snapshot)s::PG_SNAPSHOT)
GROUP BY currency;

-- name: list_statement
-- One page of the movements of a window, oldest first, after the last one of the page before.
SELECT
    event_id,
    object_id,
    reference,
    movement,
    status,
    amount,
    currency,
    occurred_at
FROM mockpsp.events
WHERE
    account_id = %(account)s
    AND movement IS NOT NULL
    AND (occurred_at, event_id) > (%(after_at)s, %(after_event_id)s)
    AND occurred_at >= %(from_at)s
    AND occurred_at < %(to_at)s
    AND occurred_at <= %(as_of)s
    AND pg_visible_in_snapshot(written_by, %(snapshot)s::PG_SNAPSHOT)
ORDER BY occurred_at, event_id
LIMIT %(limit)s;

-- name: claim_due
-- Takes webhooks that are due for one attempt each; nobody else takes them before the lease is over.
WITH due AS (
    SELECT
        delivery.delivery_id,
        delivery.due_at
    FROM mockpsp.deliveries AS delivery
    WHERE delivery.state = 'waiting' AND delivery.due_at <= %(now)s
    ORDER BY delivery.due_at, delivery.delivery_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),

claimed AS (
    UPDATE mockpsp.deliveries AS delivery
    SET
        attempts = delivery.attempts + 1,
        due_at = %(leased_until)s
    FROM due
    WHERE delivery.delivery_id = due.delivery_id
    RETURNING
        delivery.delivery_id,
        delivery.event_id,
        delivery.object_id,
        delivery.body,
        delivery.signing,
        delivery.attempts,
        due.due_at AS was_due_at
)

SELECT
    delivery_id,
    event_id,
    object_id,
    body,
    signing,
    attempts
FROM claimed
ORDER BY was_due_at, delivery_id;

-- name: claim_first_of_order
-- Takes the first webhooks of an order that was booked under a lease.
UPDATE mockpsp.deliveries AS delivery
SET
    attempts = 1,
    due_at = %(leased_until)s
WHERE delivery.object_id = %(object_id)s AND delivery.attempts = 0 AND delivery.state = 'waiting'
RETURNING
    delivery.delivery_id,
    delivery.event_id,
    delivery.object_id,
    delivery.body,
    delivery.signing,
    delivery.attempts;

-- name: record_attempt
-- What became of an attempt, unless its lease ran out and somebody else is at the next one.
UPDATE mockpsp.deliveries
SET
    state = %(state)s,
    due_at = coalesce(%(due_at)s, due_at),
    last_result = %(result)s
WHERE delivery_id = %(delivery_id)s AND attempts = %(attempt)s AND state = 'waiting';

-- name: find_next_due
-- When the next webhook is due; NULL when none is waiting.
SELECT min(due_at) AS due_at
FROM mockpsp.deliveries
WHERE state = 'waiting';
