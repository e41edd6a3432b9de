-- name: capture_payment
-- Books a payment, or finds the one that was booked under the key. The update touches nothing: it makes the row visible
-- to RETURNING even when another session inserted it a moment ago.
INSERT INTO mockpsp.payments AS payment (
    idempotency_key, payment_id, event_id, account_id, reference, amount, currency, status
)
VALUES (
    %(idempotency_key)s, %(payment_id)s, %(event_id)s, %(account_id)s, %(reference)s, %(amount)s, %(currency)s,
    %(status)s
)
ON CONFLICT ON CONSTRAINT payments_pkey DO UPDATE
SET idempotency_key = payment.idempotency_key
RETURNING
    payment.payment_id,
    payment.event_id,
    payment.account_id,
    payment.reference,
    payment.amount,
    payment.currency,
    payment.status,
    payment.created_at;
