-- What the demo does with the owner's rights (repositories/demo_repo.py): nothing here is for a database with real money.

-- name: lock_seeding
-- One process seeds; others wait until it is done, and then find the history there.
SELECT pg_advisory_lock(%(namespace)s, 1);

-- name: find_history
-- Whether the tenant's history is written, and whether somebody began to write one.
SELECT
    EXISTS (
        SELECT
        FROM audit_events AS event
        WHERE event.tenant_id = %(tenant_id)s AND event.action = 'demo.history_written'
    ) AS is_written,
    EXISTS (
        SELECT
        FROM audit_events AS event
        WHERE event.tenant_id = %(tenant_id)s AND event.action = 'players.imported'
    ) AS is_begun;

-- name: note_history
-- From here on the tenant's history is there, and is not written again.
INSERT INTO audit_events (tenant_id, actor_kind, actor_label, action, object_kind, object_id)
SELECT
    tenant.id,
    'system',
    'demo',
    'demo.history_written',
    'tenant',
    tenant.id::TEXT
FROM tenants AS tenant
WHERE tenant.id = ANY(%(tenant_ids)b);

-- name: change_legacy_balance
-- What another system does that still writes the legacy column: no ledger, no lock of ours, no trace.
UPDATE players
SET balance_real_available = balance_real_available + %(change_minor)s
WHERE tenant_id = %(tenant_id)s AND id = %(player_id)s;

-- name: resolve_findings
-- Closes the tenant's open findings but for the last few that are not critical; which ones it closed.
UPDATE reconciliation_findings AS finding
SET
    status = 'RESOLVED',
    resolution_code = 'FALSE_POSITIVE',
    resolution_note = %(note)s,
    resolved_by = %(admin_id)s,
    resolved_at = clock_timestamp(),
    updated_at = clock_timestamp()
WHERE
    finding.tenant_id = %(tenant_id)s
    AND finding.status = 'OPEN'
    AND finding.id NOT IN (
        SELECT kept.id
        FROM reconciliation_findings AS kept
        WHERE kept.tenant_id = %(tenant_id)s AND kept.status = 'OPEN' AND kept.severity <> 'critical'
        ORDER BY kept.created_at DESC, kept.id DESC
        LIMIT %(keep)s
    )
RETURNING finding.id, finding.finding_type;

-- name: forget_webhooks
-- Webhooks of long ago are not sent any more: a provider does not keep them for ever either.
DELETE FROM mockpsp.deliveries AS delivery
USING mockpsp.events AS event
WHERE event.event_id = delivery.event_id AND event.account_id = ANY(%(account_ids)b) AND delivery.state = 'waiting';

-- name: count_webhooks_under_way
-- Webhooks that are due or being sent, and deliveries that are not applied yet.
SELECT
    (
        SELECT count(*)
        FROM mockpsp.deliveries AS delivery
        INNER JOIN mockpsp.events AS event ON delivery.event_id = event.event_id
        WHERE
            event.account_id = ANY(%(account_ids)b)
            AND delivery.state = 'waiting'
            AND delivery.due_at < clock_timestamp() + INTERVAL '1 minute'
    )
    + (
        SELECT count(*)
        FROM psp_events AS event
        WHERE event.account_id = ANY(%(account_ids)b) AND event.state = 'pending' AND event.attempts = 0
    ) AS under_way;

-- name: create_clock
-- The clock of the transaction: pieces of the time in which the history was made, and where each lies in the past.
CREATE TEMPORARY TABLE demo_clock (
    real_from TIMESTAMPTZ NOT NULL,
    real_to TIMESTAMPTZ NOT NULL,
    past_from TIMESTAMPTZ NOT NULL,
    past_to TIMESTAMPTZ NOT NULL,
    CONSTRAINT demo_clock_pkey PRIMARY KEY (real_from)
) ON COMMIT DROP;
-- A time outside of all pieces is left as it is. Times keep their order, so whatever followed from another time still does.
CREATE FUNCTION pg_temp.demo_past(p_real TIMESTAMPTZ) RETURNS TIMESTAMPTZ LANGUAGE sql STABLE
AS $$
    SELECT coalesce(
        (
            SELECT
                piece.past_from
                + (piece.past_to - piece.past_from)
                * (
                    extract(EPOCH FROM p_real - piece.real_from)
                    / nullif(extract(EPOCH FROM piece.real_to - piece.real_from), 0)
                )::DOUBLE PRECISION
            FROM pg_temp.demo_clock AS piece
            WHERE piece.real_from <= p_real AND p_real < piece.real_to
            ORDER BY piece.real_from DESC
            LIMIT 1
        ),
        p_real
    )
$$;

-- name: set_clock
-- Takes the pieces in.
INSERT INTO pg_temp.demo_clock (real_from, real_to, past_from, past_to)
SELECT
    piece.real_from,
    piece.real_to,
    piece.past_from,
    piece.past_to
FROM unnest(%(real_froms)b, %(real_tos)b, %(past_froms)b, %(past_tos)b) AS piece (
    real_from, real_to, past_from, past_to
);

-- name: allow_changes
-- For this transaction, which nobody else can see into, the owner's tables are not append-only.
ALTER TABLE ledger_transactions DISABLE TRIGGER ledger_transactions_append_only;
ALTER TABLE ledger_refusals DISABLE TRIGGER ledger_refusals_append_only;
ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only;

-- name: refuse_changes
-- And they are again before it is over.
ALTER TABLE ledger_transactions ENABLE TRIGGER ledger_transactions_append_only;
ALTER TABLE ledger_refusals ENABLE TRIGGER ledger_refusals_append_only;
ALTER TABLE audit_events ENABLE TRIGGER audit_events_append_only;
DROP FUNCTION pg_temp.demo_past(TIMESTAMPTZ);

-- name: move_people
-- Tenants, their accounts, admins and players, and what was done by whom.
WITH moved_tenants AS (
    UPDATE tenants
    SET created_at = pg_temp.demo_past(created_at), updated_at = pg_temp.demo_past(updated_at)
    WHERE id = ANY(%(tenant_ids)b)
),

moved_accounts AS (
    UPDATE psp_accounts SET created_at = pg_temp.demo_past(created_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
),

moved_admins AS (
    UPDATE admins
    SET created_at = pg_temp.demo_past(created_at), updated_at = pg_temp.demo_past(updated_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
),

moved_players AS (
    UPDATE players
    SET created_at = pg_temp.demo_past(created_at), updated_at = pg_temp.demo_past(updated_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
)

UPDATE audit_events
SET
    recorded_at = pg_temp.demo_past(recorded_at),
    -- Ids are in the order of time (see uuid_v7): the first 48 bits are the milliseconds.
    id = encode(
        substr(int8send(floor(extract(EPOCH FROM pg_temp.demo_past(recorded_at)) * 1000)::BIGINT), 3)
        || substr(uuid_send(id), 7),
        'hex'
    )::UUID
WHERE tenant_id = ANY(%(tenant_ids)b);

-- name: note_sign_ins
-- Whoever did something had signed in to do it.
UPDATE admins AS admin
SET last_signed_in_at = (
    SELECT max(event.recorded_at)
    FROM audit_events AS event
    WHERE event.tenant_id = admin.tenant_id AND event.actor_id = admin.id
)
WHERE admin.tenant_id = ANY(%(tenant_ids)b);

-- name: move_ledger
-- The ledger and its evidence: when, and nothing else.
WITH moved_wallets AS (
    UPDATE wallet_balances
    SET opened_at = pg_temp.demo_past(opened_at), updated_at = pg_temp.demo_past(updated_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
),

moved_refusals AS (
    UPDATE ledger_refusals SET recorded_at = pg_temp.demo_past(recorded_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
),

moved_mismatches AS (
    UPDATE ledger_mismatches
    SET first_seen_at = pg_temp.demo_past(first_seen_at), last_seen_at = pg_temp.demo_past(last_seen_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
)

UPDATE ledger_transactions
SET occurred_at = pg_temp.demo_past(occurred_at), recorded_at = pg_temp.demo_past(recorded_at)
WHERE tenant_id = ANY(%(tenant_ids)b);

-- name: move_payments
-- Deposits, withdrawals and the attempts to pay them, what providers told us, and what was found.
WITH moved_deposits AS (
    UPDATE deposits
    SET created_at = pg_temp.demo_past(created_at), updated_at = pg_temp.demo_past(updated_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
),

moved_attempts AS (
    UPDATE payout_attempts
    SET
        created_at = pg_temp.demo_past(created_at),
        state_at = pg_temp.demo_past(state_at),
        checked_at = pg_temp.demo_past(checked_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
),

moved_events AS (
    UPDATE psp_events
    SET received_at = pg_temp.demo_past(received_at), applied_at = pg_temp.demo_past(applied_at)
    WHERE account_id = ANY(%(account_ids)b)
),

moved_findings AS (
    UPDATE reconciliation_findings
    SET
        created_at = pg_temp.demo_past(created_at),
        updated_at = pg_temp.demo_past(updated_at),
        resolved_at = pg_temp.demo_past(resolved_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
)

UPDATE withdrawals
SET
    created_at = pg_temp.demo_past(created_at),
    updated_at = pg_temp.demo_past(updated_at),
    first_approved_at = pg_temp.demo_past(first_approved_at),
    second_approved_at = pg_temp.demo_past(second_approved_at),
    reviewed_at = pg_temp.demo_past(reviewed_at)
WHERE tenant_id = ANY(%(tenant_ids)b);

-- name: move_runs
-- Backfills and censuses.
WITH moved_backfills AS (
    UPDATE backfill_runs
    SET
        started_at = pg_temp.demo_past(started_at),
        updated_at = pg_temp.demo_past(updated_at),
        finished_at = pg_temp.demo_past(finished_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
),

moved_differences AS (
    UPDATE census_differences SET found_at = pg_temp.demo_past(found_at)
    WHERE tenant_id = ANY(%(tenant_ids)b)
)

UPDATE census_runs
SET
    started_at = pg_temp.demo_past(started_at),
    progressed_at = pg_temp.demo_past(progressed_at),
    finished_at = pg_temp.demo_past(finished_at)
WHERE tenant_id = ANY(%(tenant_ids)b);

-- name: move_provider
-- MockPSP's own books, which only it reads otherwise: its statement of a past day has to show what we booked then.
WITH moved_payments AS (
    UPDATE mockpsp.payments SET created_at = pg_temp.demo_past(created_at)
    WHERE account_id = ANY(%(account_ids)b)
),

moved_payouts AS (
    UPDATE mockpsp.payouts SET created_at = pg_temp.demo_past(created_at)
    WHERE account_id = ANY(%(account_ids)b)
)

UPDATE mockpsp.events SET occurred_at = pg_temp.demo_past(occurred_at)
WHERE account_id = ANY(%(account_ids)b);
