-- name: insert_run
-- Asks for a run; nothing when one of the tenant and provider is not finished.
INSERT INTO reconciliation_runs (
    parent_id, tenant_id, provider, is_window_asked, is_full, is_dry_run, is_scheduled, file, started_by,
    started_by_id, window_start, window_end, created_at
)
VALUES (
    %(parent_id)s, %(tenant_id)s, %(provider)s, %(is_window_asked)s, %(is_full)s, %(is_dry_run)s, %(is_scheduled)s,
    %(file)s, %(started_by)s, %(started_by_id)s, %(window_start)s, %(window_end)s, %(now)s
)
ON CONFLICT (tenant_id, provider) WHERE status IN ('queued', 'running') DO NOTHING
RETURNING id;

-- name: find_open_run
-- The run of a tenant and provider that is not finished.
SELECT run.id
FROM reconciliation_runs AS run
WHERE
    run.tenant_id IS NOT DISTINCT FROM %(tenant_id)s
    AND run.provider = %(provider)s
    AND run.status IN ('queued', 'running');

-- name: find_run
-- One run of a tenant, or of any when tenant_id is NULL.
SELECT
    run.id,
    run.number,
    run.parent_id,
    run.tenant_id,
    run.provider,
    run.status,
    run.is_window_asked,
    run.is_full,
    run.is_dry_run,
    run.is_scheduled,
    run.file,
    run.started_by,
    run.window_start,
    run.window_end,
    run.cutoff,
    run.is_feed_complete,
    run.feed,
    run.counts,
    run.control_totals,
    run.resumes,
    run.error,
    run.created_at,
    run.started_at,
    run.finished_at
FROM reconciliation_runs AS run
WHERE run.id = %(run_id)s AND (%(tenant_id)s::UUID IS NULL OR run.tenant_id = %(tenant_id)s);

-- name: list_runs
-- Runs of a tenant, or all when tenant_id is NULL; newest first, from before a run.
SELECT
    run.id,
    run.number,
    run.parent_id,
    run.tenant_id,
    run.provider,
    run.status,
    run.is_window_asked,
    run.is_full,
    run.is_dry_run,
    run.is_scheduled,
    run.file,
    run.started_by,
    run.window_start,
    run.window_end,
    run.cutoff,
    run.is_feed_complete,
    run.feed,
    run.counts,
    run.control_totals,
    run.resumes,
    run.error,
    run.created_at,
    run.started_at,
    run.finished_at
FROM reconciliation_runs AS run
WHERE
    (%(tenant_id)s::UUID IS NULL OR run.tenant_id = %(tenant_id)s)
    AND (%(asked_tenant_id)s::UUID IS NULL OR run.tenant_id = %(asked_tenant_id)s)
    AND (%(provider)s::TEXT IS NULL OR run.provider = %(provider)s)
    AND (%(status)s::TEXT IS NULL OR run.status = %(status)s)
    AND (%(before_id)s::UUID IS NULL OR run.id < %(before_id)s)
ORDER BY run.id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count_runs
-- How many runs match.
SELECT count(*)
FROM reconciliation_runs AS run
WHERE
    (%(tenant_id)s::UUID IS NULL OR run.tenant_id = %(tenant_id)s)
    AND (%(asked_tenant_id)s::UUID IS NULL OR run.tenant_id = %(asked_tenant_id)s)
    AND (%(provider)s::TEXT IS NULL OR run.provider = %(provider)s)
    AND (%(status)s::TEXT IS NULL OR run.status = %(status)s);

-- name: list_parts
-- The runs that an order to run all tenants has led to so far.
SELECT
    part.id,
    part.tenant_id,
    part.status,
    part.counts
FROM reconciliation_runs AS part
WHERE part.parent_id = %(run_id)s AND part.tenant_id > %(after_id)s
ORDER BY part.tenant_id
LIMIT %(limit)s;

-- name: try_lock_run
-- Makes the run this session's, unless it is another's.
SELECT pg_try_advisory_lock(%(namespace)s, %(number)s);

-- name: unlock_run
-- Gives it back.
SELECT pg_advisory_unlock(%(namespace)s, %(number)s);

-- name: begin_run
-- Says that somebody works on the run, since when, and on which window. A run that was begun before is resumed.
UPDATE reconciliation_runs
SET
    status = 'running',
    window_start = %(window_start)s,
    window_end = %(window_end)s,
    started_at = coalesce(started_at, %(now)s),
    progressed_at = clock_timestamp(),
    resumes = resumes + CASE WHEN status = 'running' THEN 1 ELSE 0 END
WHERE id = %(run_id)s AND tenant_id IS NOT DISTINCT FROM %(tenant_id)s AND status IN ('queued', 'running');

-- name: save_feed
-- How far the feed was read, together with its lines.
UPDATE reconciliation_runs
SET
    feed = %(feed)s,
    progressed_at = clock_timestamp()
WHERE id = %(run_id)s AND tenant_id = %(tenant_id)s AND status = 'running';

-- name: finish_run
-- The outcome.
UPDATE reconciliation_runs
SET
    status = %(status)s,
    cutoff = %(cutoff)s,
    is_feed_complete = %(is_feed_complete)s,
    counts = %(counts)s,
    control_totals = %(control_totals)s,
    error = %(error)s,
    finished_at = clock_timestamp(),
    progressed_at = clock_timestamp()
WHERE id = %(run_id)s AND tenant_id IS NOT DISTINCT FROM %(tenant_id)s AND status IN ('queued', 'running');

-- name: delete_lines
-- The run's lines have served.
DELETE FROM psp_statement_lines WHERE run_id = %(run_id)s;

-- name: copy_lines
-- Lines of a feed, in this order of columns.
COPY psp_statement_lines (
    run_id, account_id, item_id, provider_ref, reference, kind, status, status_class, amount, currency, occurred_at
) FROM STDIN;

-- name: find_reach
-- How far the tenant and provider were compared; and since when something of ours that is missing there.
SELECT
    reach.covered_from,
    reach.covered_until,
    reach.ledger_until,
    reach.balanced_until,
    (
        SELECT min(unmatched.occurred_at)
        FROM reconciliation_unmatched AS unmatched
        WHERE
            unmatched.tenant_id = %(tenant_id)s
            AND unmatched.provider = %(provider)s
            AND unmatched.occurred_at > %(missing_since)s
    ) AS oldest_missing_at
FROM reconciliation_reach AS reach
WHERE reach.tenant_id = %(tenant_id)s AND reach.provider = %(provider)s;

-- name: save_reach
-- The same, after a run.
INSERT INTO reconciliation_reach (tenant_id, provider, covered_from, covered_until, ledger_until, balanced_until)
VALUES (
    %(tenant_id)s, %(provider)s, %(covered_from)s, %(covered_until)s, %(ledger_until)s, %(balanced_until)s
)
ON CONFLICT ON CONSTRAINT reconciliation_reach_pkey DO UPDATE
SET
    covered_from = excluded.covered_from,
    covered_until = excluded.covered_until,
    ledger_until = excluded.ledger_until,
    balanced_until = excluded.balanced_until;

-- name: list_accounts
-- A tenant's accounts at a provider, from after one.
SELECT account.account_id
FROM psp_accounts AS account
WHERE account.tenant_id = %(tenant_id)s AND account.provider = %(provider)s AND account.account_id > %(after_id)s
ORDER BY account.account_id
LIMIT %(limit)s;

-- name: tenant_exists
-- Whether there is such a tenant.
SELECT FROM tenants WHERE id = %(tenant_id)s;

-- name: list_tenants
-- Tenants with an account at the provider, from after one.
SELECT DISTINCT account.tenant_id
FROM psp_accounts AS account
WHERE account.provider = %(provider)s AND account.tenant_id > %(after_id)s
ORDER BY account.tenant_id
LIMIT %(limit)s;

-- name: list_due
-- Tenants of a provider whose last run began too long ago, the longest waiting first; and whether a full one is due. Whoever
-- has a run that is not finished waits for it.
SELECT
    account.tenant_id,
    last_full.at IS NULL OR last_full.at < %(full_before)s AS is_full_due
FROM (SELECT DISTINCT each.tenant_id FROM psp_accounts AS each WHERE each.provider = %(provider)s) AS account
CROSS JOIN LATERAL (
    SELECT max(run.created_at) AS at
    FROM reconciliation_runs AS run
    WHERE
        run.tenant_id = account.tenant_id
        AND run.provider = %(provider)s
        AND NOT run.is_dry_run
        AND NOT run.is_window_asked
) AS last
CROSS JOIN LATERAL (
    SELECT max(run.created_at) AS at
    FROM reconciliation_runs AS run
    WHERE
        run.tenant_id = account.tenant_id
        AND run.provider = %(provider)s
        AND run.status = 'completed'
        AND run.is_full
        AND NOT run.is_dry_run
) AS last_full
WHERE
    (last.at IS NULL OR last.at < %(due_before)s)
    AND NOT EXISTS (
        SELECT
        FROM reconciliation_runs AS unfinished
        WHERE
            unfinished.tenant_id = account.tenant_id
            AND unfinished.provider = %(provider)s
            AND unfinished.status IN ('queued', 'running')
    )
ORDER BY last.at NULLS FIRST, account.tenant_id
LIMIT %(limit)s;

-- name: list_idle
-- Runs that are not finished and on which nobody has written lately.
SELECT run.id
FROM reconciliation_runs AS run
WHERE run.status IN ('queued', 'running') AND coalesce(run.progressed_at, run.created_at) < %(before)s
ORDER BY run.id
LIMIT %(limit)s;

-- name: list_last_successes
-- When each tenant and provider were last compared completely.
SELECT
    account.tenant_id,
    account.provider,
    last.finished_at
FROM (SELECT DISTINCT each.tenant_id, each.provider FROM psp_accounts AS each) AS account
LEFT JOIN LATERAL (
    SELECT run.finished_at
    FROM reconciliation_runs AS run
    WHERE
        run.tenant_id = account.tenant_id
        AND run.provider = account.provider
        AND run.status = 'completed'
        AND NOT run.is_dry_run
    ORDER BY run.finished_at DESC
    LIMIT 1
) AS last ON TRUE
WHERE (account.tenant_id, account.provider) > (%(after_id)s, %(after_provider)s)
ORDER BY account.tenant_id, account.provider
LIMIT %(limit)s;

-- name: list_balances
-- What both sides moved by account, currency and day, the newest day first.
SELECT
    balance.account_id,
    balance.currency,
    balance.day,
    balance.psp_items,
    balance.psp_net,
    balance.ledger_transactions,
    balance.ledger_net,
    balance.explained_net
FROM reconciliation_balances AS balance
WHERE balance.tenant_id = %(tenant_id)s AND balance.provider = %(provider)s
ORDER BY balance.day DESC, balance.account_id, balance.currency
LIMIT %(limit)s OFFSET %(offset)s;

-- name: find_payment
-- The deposit or attempt that a finding is about, as far as it can be asked about.
SELECT
    payment.kind,
    payment.player_id,
    payment.attempt,
    payment.amount,
    payment.currency,
    payment.is_open
FROM (
    SELECT
        'deposit' AS kind,
        deposit.player_id,
        0 AS attempt,
        deposit.amount,
        deposit.currency,
        deposit.state = 'pending_provider' AS is_open
    FROM deposits AS deposit
    WHERE deposit.id = %(tx_id)s AND deposit.tenant_id = %(tenant_id)s
    UNION ALL
    SELECT
        'payout',
        attempt.player_id,
        attempt.number,
        attempt.amount,
        attempt.currency,
        attempt.next_check_at IS NOT NULL
    FROM payout_attempts AS attempt
    WHERE attempt.withdrawal_id = %(tx_id)s AND attempt.tenant_id = %(tenant_id)s
) AS payment
ORDER BY payment.attempt DESC
LIMIT 1;
