-- name: list_due_tenants
-- Tenants whose last finished census began before a time, or that never had one; the longest waiting first.
SELECT due.id
FROM (
    SELECT
        tenant.id,
        (
            SELECT max(run.started_at)
            FROM census_runs AS run
            WHERE run.tenant_id = tenant.id AND run.state IN ('clean', 'differences')
        ) AS last_started_at
    FROM tenants AS tenant
    WHERE NOT tenant.is_sandbox
) AS due
WHERE due.last_started_at IS NULL OR due.last_started_at < %(started_before)s
ORDER BY due.last_started_at NULLS FIRST, due.id
LIMIT %(limit)s;

-- name: find_unfinished_run
-- The newest run of this kind that somebody began and did not finish, if it went on lately.
SELECT
    run.id,
    run.number
FROM census_runs AS run
WHERE
    run.tenant_id = %(tenant_id)s
    AND run.state = 'running'
    AND run.is_scheduled = %(is_scheduled)s
    AND run.progressed_at > clock_timestamp() - %(within)s::INTERVAL
ORDER BY run.id DESC
LIMIT 1;

-- name: insert_run
-- Begins a run.
INSERT INTO census_runs (tenant_id, is_scheduled, started_by, started_at, progressed_at)
VALUES (%(tenant_id)s, %(is_scheduled)s, %(started_by)s, clock_timestamp(), clock_timestamp())
RETURNING id, number;

-- name: try_lock_run
-- Makes a run this session's own; false when another session has it.
SELECT pg_try_advisory_lock(%(namespace)s, %(number)s);

-- name: unlock_run
-- Gives it back.
SELECT pg_advisory_unlock(%(namespace)s, %(number)s);

-- name: abandon_runs
-- Ends the runs of this kind that nobody works on and nobody will.
UPDATE census_runs AS run
SET
    state = 'abandoned',
    finished_at = clock_timestamp()
WHERE
    run.tenant_id = %(tenant_id)s
    AND run.state = 'running'
    AND run.is_scheduled = %(is_scheduled)s
    AND run.id <> %(run_id)s
    -- The locks of the living are theirs; a lock of a transaction is given back by itself.
    AND pg_try_advisory_xact_lock(%(namespace)s, run.number);

-- name: find_run
-- A run as it stands.
SELECT
    run.id,
    run.tenant_id,
    run.state,
    run.started_by,
    run.started_at,
    run.finished_at,
    run.next_player_id,
    run.chunks,
    run.resumes,
    run.sides_compared,
    run.unconfirmed,
    run.paused_ms
FROM census_runs AS run
WHERE run.tenant_id = %(tenant_id)s AND run.id = %(run_id)s;

-- name: resume_run
-- Counts that a run was taken up again.
UPDATE census_runs AS run
SET resumes = run.resumes + 1
WHERE run.tenant_id = %(tenant_id)s AND run.id = %(run_id)s;

-- name: advance_run
-- Moves the checkpoint over a chunk; no row when it is not where the caller left it.
UPDATE census_runs AS run
SET
    next_player_id = %(next_player_id)s,
    chunks = run.chunks + 1,
    progressed_at = clock_timestamp(),
    sides_compared = coalesce(run.sides_compared, TRUE) AND %(sides_compared)s,
    unconfirmed = run.unconfirmed + %(unconfirmed)s,
    paused_ms = run.paused_ms + %(paused_ms)s
WHERE
    run.tenant_id = %(tenant_id)s
    AND run.id = %(run_id)s
    AND run.state = 'running'
    AND run.chunks = %(chunks)s
RETURNING run.chunks;

-- name: add_totals
-- Adds a chunk's sums to the run's.
INSERT INTO census_totals AS total (
    tenant_id, run_id, currency, players, opened_wallets, transactions, legacy_available, legacy_held,
    snapshot_available, snapshot_pending, folded_available, folded_pending, open_withdrawals
)
SELECT
    %(tenant_id)s,
    %(run_id)s,
    chunk.currency,
    chunk.players,
    chunk.opened_wallets,
    chunk.transactions,
    chunk.legacy_available,
    chunk.legacy_held,
    chunk.snapshot_available,
    chunk.snapshot_pending,
    chunk.folded_available,
    chunk.folded_pending,
    chunk.open_withdrawals
FROM jsonb_to_recordset(%(totals)s) AS chunk (
    currency TEXT,
    players BIGINT,
    opened_wallets BIGINT,
    transactions BIGINT,
    legacy_available NUMERIC,
    legacy_held NUMERIC,
    snapshot_available NUMERIC,
    snapshot_pending NUMERIC,
    folded_available NUMERIC,
    folded_pending NUMERIC,
    open_withdrawals NUMERIC
)
ON CONFLICT ON CONSTRAINT census_totals_pkey DO UPDATE
SET
    players = total.players + excluded.players,
    opened_wallets = total.opened_wallets + excluded.opened_wallets,
    transactions = total.transactions + excluded.transactions,
    legacy_available = total.legacy_available + excluded.legacy_available,
    legacy_held = total.legacy_held + excluded.legacy_held,
    snapshot_available = total.snapshot_available + excluded.snapshot_available,
    snapshot_pending = total.snapshot_pending + excluded.snapshot_pending,
    folded_available = total.folded_available + excluded.folded_available,
    folded_pending = total.folded_pending + excluded.folded_pending,
    open_withdrawals = total.open_withdrawals + excluded.open_withdrawals;

-- name: add_accounts
-- Adds a chunk's part of the house accounts to the run's.
INSERT INTO census_accounts AS house (tenant_id, run_id, currency, account, balance)
SELECT
    %(tenant_id)s,
    %(run_id)s,
    chunk.currency,
    chunk.account,
    chunk.balance
FROM jsonb_to_recordset(%(accounts)s) AS chunk (currency TEXT, account TEXT, balance NUMERIC)
ON CONFLICT ON CONSTRAINT census_accounts_pkey DO UPDATE
SET balance = house.balance + excluded.balance;

-- name: add_classes
-- Adds how many differences of each class a chunk had.
INSERT INTO census_classes AS known (tenant_id, run_id, class, differences, amount)
SELECT
    %(tenant_id)s,
    %(run_id)s,
    chunk.class,
    chunk.differences,
    chunk.amount
FROM jsonb_to_recordset(%(classes)s) AS chunk (class TEXT, differences BIGINT, amount NUMERIC)
ON CONFLICT ON CONSTRAINT census_classes_pkey DO UPDATE
SET
    differences = known.differences + excluded.differences,
    amount = known.amount + excluded.amount;

-- name: insert_differences
-- Keeps differences after those that the run has of their class, as long as there is a place.
INSERT INTO census_differences (
    tenant_id, run_id, class, place, player_id, currency, wallet_version, reference, amount, evidence, found_at
)
SELECT
    %(tenant_id)s,
    %(run_id)s,
    numbered.class,
    numbered.place,
    numbered.player_id,
    numbered.currency,
    numbered.wallet_version,
    numbered.reference,
    numbered.amount,
    numbered.evidence,
    clock_timestamp()
FROM (
    SELECT
        chunk.*,
        row_number() OVER (
            PARTITION BY chunk.class
            ORDER BY chunk.player_id, chunk.currency, chunk.wallet_version, chunk.reference
        )
        + coalesce((
            SELECT max(kept.place)
            FROM census_differences AS kept
            WHERE kept.tenant_id = %(tenant_id)s AND kept.run_id = %(run_id)s AND kept.class = chunk.class
        ), 0) AS place
    FROM jsonb_to_recordset(%(differences)s) AS chunk (
        class TEXT,
        player_id UUID,
        currency TEXT,
        wallet_version BIGINT,
        reference UUID,
        amount NUMERIC,
        evidence JSONB
    )
) AS numbered
WHERE numbered.place <= %(places)s;

-- name: list_zero_sums
-- Currencies in which players and house do not add up to nothing.
SELECT
    total.currency,
    total.snapshot_available + total.snapshot_pending AS players,
    coalesce(house.balance, 0) AS house
FROM census_totals AS total
LEFT JOIN (
    SELECT
        account.currency,
        sum(account.balance) AS balance
    FROM census_accounts AS account
    WHERE account.tenant_id = %(tenant_id)s AND account.run_id = %(run_id)s
    GROUP BY account.currency
) AS house USING (currency)
WHERE
    total.tenant_id = %(tenant_id)s
    AND total.run_id = %(run_id)s
    AND total.snapshot_available + total.snapshot_pending + coalesce(house.balance, 0) <> 0
ORDER BY total.currency
LIMIT 1000;

-- name: list_totals
-- The sums of a run, by currency.
SELECT
    total.currency,
    total.players,
    total.opened_wallets,
    total.transactions,
    total.legacy_available,
    total.legacy_held,
    total.snapshot_available,
    total.snapshot_pending,
    total.folded_available,
    total.folded_pending,
    total.open_withdrawals
FROM census_totals AS total
WHERE total.tenant_id = %(tenant_id)s AND total.run_id = %(run_id)s
ORDER BY total.currency
LIMIT 1000;

-- name: list_accounts
-- The house accounts of a run.
SELECT
    house.currency,
    house.account,
    house.balance
FROM census_accounts AS house
WHERE house.tenant_id = %(tenant_id)s AND house.run_id = %(run_id)s
ORDER BY house.currency, house.account
LIMIT 1000;

-- name: list_classes
-- The classes of which a run found something.
SELECT
    known.class,
    known.differences,
    known.amount
FROM census_classes AS known
WHERE known.tenant_id = %(tenant_id)s AND known.run_id = %(run_id)s AND known.differences > 0
ORDER BY known.class
LIMIT 100;

-- name: list_differences
-- The differences that a run kept, the first of each class first.
SELECT
    kept.class,
    kept.place,
    kept.player_id,
    kept.currency,
    kept.wallet_version,
    kept.reference,
    kept.amount,
    kept.evidence
FROM census_differences AS kept
WHERE kept.tenant_id = %(tenant_id)s AND kept.run_id = %(run_id)s
ORDER BY kept.class, kept.place
LIMIT %(limit)s;

-- name: finish_run
-- Ends a run with its verdict.
UPDATE census_runs AS run
SET
    state = CASE
        WHEN EXISTS (
            SELECT
            FROM census_classes AS known
            WHERE known.tenant_id = run.tenant_id AND known.run_id = run.id AND known.differences > 0
        ) THEN 'differences'
        ELSE 'clean'
    END,
    finished_at = clock_timestamp(),
    progressed_at = clock_timestamp()
WHERE run.tenant_id = %(tenant_id)s AND run.id = %(run_id)s AND run.state = 'running'
RETURNING run.state;

-- name: delete_old_runs
-- Removes runs that began before a time, but never a tenant's newest clean one: what it knows is still the newest word.
DELETE FROM census_runs AS run
WHERE
    run.started_at < %(started_before)s
    AND run.state <> 'running'
    AND EXISTS (
        SELECT
        FROM census_runs AS newer
        WHERE newer.tenant_id = run.tenant_id AND newer.id > run.id AND newer.state IN (run.state, 'clean')
    );

-- name: list_metrics
-- Of every tenant: when its last clean census began, and the differences by class that the last finished one counted.
SELECT
    tenant.id,
    (
        SELECT max(run.started_at)
        FROM census_runs AS run
        WHERE run.tenant_id = tenant.id AND run.state = 'clean'
    ) AS clean_at,
    (
        SELECT coalesce(jsonb_object_agg(known.class, known.differences), '{}')
        FROM census_classes AS known
        WHERE
            known.tenant_id = tenant.id
            AND known.run_id = (
                SELECT run.id
                FROM census_runs AS run
                WHERE run.tenant_id = tenant.id AND run.state IN ('clean', 'differences')
                ORDER BY run.id DESC
                LIMIT 1
            )
    ) AS differences
FROM tenants AS tenant
WHERE tenant.id > %(after_id)s AND NOT tenant.is_sandbox
ORDER BY tenant.id
LIMIT %(limit)s;
