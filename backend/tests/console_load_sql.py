"""The statements of console_load.py: what a tenant has after years, and what a fleet has, in bulk and in order.

Ids are made for the time of their row, as the service makes them: lists are in the order of ids. `loaded`,
`asked_for` and `staff` number the tenant's players, withdrawals and admins, so that rows can be dealt out among them.
"""

from typing import Final

ID_AT: Final = """CREATE OR REPLACE FUNCTION pg_temp.id_at(at TIMESTAMPTZ) RETURNS UUID LANGUAGE SQL VOLATILE AS $$
    SELECT encode(overlay(set_byte(uuid_send(gen_random_uuid()), 6, 112 + floor(random() * 16)::INTEGER)
    PLACING substring(int8send(floor(extract(EPOCH FROM at) * 1000)::BIGINT) FROM 3) FROM 1 FOR 6), 'hex')::UUID $$"""

_PEOPLE: Final = (
    """INSERT INTO players (id, tenant_id, email, username, currency, balance_real_available, created_at)
    SELECT pg_temp.id_at(at), %(tenant_id)s, 'p' || n || '-' || %(mark)s || '@example.com',
    'Player ' || (n %% 977) || ' of ' || n, (ARRAY['USD', 'USD', 'USD', 'EUR', 'TRY'])[1 + n %% 5], 1000, at
    FROM generate_series(1, %(players)s) AS n, LATERAL (SELECT now() - n * INTERVAL '1 minute' AS at) AS moment""",
    """CREATE TEMPORARY TABLE loaded ON COMMIT PRESERVE ROWS AS
    SELECT id, currency, row_number() OVER () - 1 AS n FROM players WHERE tenant_id = %(tenant_id)s""",
    "CREATE UNIQUE INDEX ON loaded (n)",
    "ANALYZE loaded",
    """INSERT INTO admins (id, tenant_id, email, password_hash, role)
    SELECT pg_temp.id_at(now()), %(tenant_id)s, role || '-' || %(mark)s || '@example.com', 'none', role
    FROM unnest(ARRAY['finance', 'approver', 'recon', 'viewer']) AS role""",
    """CREATE TEMPORARY TABLE staff ON COMMIT PRESERVE ROWS AS
    SELECT id, email, row_number() OVER (ORDER BY email) - 1 AS n FROM admins WHERE tenant_id = %(tenant_id)s""",
)

# A twentieth of the ledger is one player's.
_MONEY: Final = (
    """INSERT INTO ledger_transactions (id, tenant_id, player_id, wallet_version, amount, available_after,
    pending_after, legacy_available_after, legacy_held_after, reference, occurred_at, recorded_at, epoch, currency,
    type, debit_account, credit_account, arbiter, idempotency_key, request_hash)
    SELECT pg_temp.id_at(at), %(tenant_id)s, loaded.id, made.version, 10, 10 * made.version, 0, 0, 0,
    gen_random_uuid(), at, at, 0, loaded.currency, 'deposit_captured', 'psp:mockpsp:clearing', 'player:available',
    'legacy', 'k' || made.n, ''
    FROM (
        SELECT n, CASE WHEN n %% 20 = 0 THEN 0 ELSE 1 + n %% (%(players)s - 1) END AS player,
        CASE WHEN n %% 20 = 0 THEN 1 + n / 20 ELSE 1 + n / (%(players)s - 1) END AS version
        FROM generate_series(0, %(transactions)s - 1) AS n
    ) AS made INNER JOIN loaded ON loaded.n = made.player,
    LATERAL (SELECT now() - (%(transactions)s - made.n) * (INTERVAL '90 days' / %(transactions)s) AS at) AS moment""",
    """INSERT INTO wallet_balances (tenant_id, player_id, currency, balance_real_available, version, opened_at)
    SELECT %(tenant_id)s, loaded.id, loaded.currency, 1000, coalesce(last.version, 0), now()
    FROM loaded LEFT JOIN (
        SELECT player_id, max(wallet_version) AS version FROM ledger_transactions WHERE tenant_id = %(tenant_id)s
        GROUP BY player_id
    ) AS last ON last.player_id = loaded.id""",
    """INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key,
    request_hash, created_at, updated_at, first_approved_by, approvals_needed)
    SELECT pg_temp.id_at(at), %(tenant_id)s, loaded.id, 100 + made.n %% 9973, loaded.currency, made.state,
    CASE WHEN made.n %% 9 = 0 THEN 'card' ELSE 'bank' END, 'TR00', 'w' || made.n, '', at, at, %(tenant_id)s,
    CASE made.state WHEN 'awaiting_second_approval' THEN 2 ELSE 1 END
    FROM (
        SELECT n, CASE WHEN n %% 50 = 0 THEN 'requested' WHEN n %% 50 = 1 THEN 'approved'
        WHEN n %% 500 = 2 THEN 'failed' WHEN n %% 50 = 3 THEN 'rejected' WHEN n %% 500 = 4 THEN 'processing'
        WHEN n %% 500 = 5 THEN 'awaiting_second_approval' WHEN n %% 500 = 6 THEN 'returned'
        WHEN n %% 100 = 7 THEN 'cancelled' ELSE 'paid' END AS state
        FROM generate_series(1, %(withdrawals)s) AS n
    ) AS made INNER JOIN loaded ON loaded.n = made.n %% %(players)s,
    LATERAL (SELECT now() - made.n * (INTERVAL '90 days' / %(withdrawals)s) AS at) AS moment""",
    """CREATE TEMPORARY TABLE asked_for ON COMMIT PRESERVE ROWS AS
    SELECT id, player_id, state, created_at, row_number() OVER (ORDER BY created_at DESC) - 1 AS n
    FROM withdrawals WHERE tenant_id = %(tenant_id)s""",
    "CREATE UNIQUE INDEX ON asked_for (n)",
    "ANALYZE asked_for",
    """INSERT INTO deposits (id, tenant_id, player_id, amount, currency, state, method, provider, provider_ref,
    next_check_at, idempotency_key, request_hash, created_at, updated_at)
    SELECT pg_temp.id_at(at), %(tenant_id)s, loaded.id, 500, loaded.currency, CASE WHEN made.n %% 999 = 0
    THEN 'pending_provider' ELSE 'completed' END, 'card', 'mockpsp', 'in-' || %(mark)s || made.n,
    CASE WHEN made.n %% 999 = 0 THEN now() END,
    'd' || made.n, '', at, at
    FROM generate_series(1, %(withdrawals)s) AS made (n) INNER JOIN loaded ON loaded.n = made.n %% %(players)s,
    LATERAL (SELECT now() - made.n * (INTERVAL '90 days' / %(withdrawals)s) AS at) AS moment""",
    """INSERT INTO payout_attempts (tenant_id, player_id, withdrawal_id, number, provider, account_id, amount, currency,
    state, provider_ref, created_at, state_at, next_check_at)
    SELECT tenant_id, player_id, id, 1, 'mockpsp', 'loaded-' || %(mark)s, amount, currency, made.state, 'ref-' || id,
    created_at, created_at, CASE WHEN made.state IN ('unknown', 'pending') THEN now() END
    FROM withdrawals, LATERAL (
        SELECT CASE withdrawals.state WHEN 'processing' THEN CASE hashtext(id::TEXT) %% 2 WHEN 0 THEN 'unknown'
        ELSE 'pending' END ELSE withdrawals.state END AS state
    ) AS made WHERE tenant_id = %(tenant_id)s AND withdrawals.state IN ('paid', 'failed', 'returned', 'processing')""",
    """INSERT INTO ledger_mismatches (tenant_id, player_id, currency, class, legacy_available, legacy_held,
    ledger_available, ledger_pending, arbiter, first_seen_at, last_seen_at)
    SELECT %(tenant_id)s, id, currency, class, 1, 0, 0, 0, 'legacy', at - INTERVAL '1 day', at
    FROM loaded CROSS JOIN unnest(ARRAY['available_diff', 'pending_diff', 'missing_wallet']) AS class,
    LATERAL (SELECT now() - n * (INTERVAL '90 days' / %(players)s) AS at) AS moment""",
)

# Of a delivery as many bytes as of a real one: a page that reads wide rows and shows little of them is slow by that.
_PROVIDER: Final = (
    """INSERT INTO psp_accounts (account_id, tenant_id, provider) SELECT 'loaded-' || %(mark)s, %(tenant_id)s,
    'mockpsp'""",
    """INSERT INTO psp_events (id, provider, account_id, provider_event_id, signature_status, signature_result, state,
    body, body_size, body_sha256, headers, received_at, next_attempt_at, event_type, effect, tenant_id, tx_id)
    SELECT pg_temp.id_at(at), 'mockpsp', 'loaded-' || %(mark)s, 'e' || made.n, made.signature,
    CASE made.signature WHEN 'valid' THEN 'valid' ELSE 'mismatch' END, made.state,
    convert_to('{"id": "e' || made.n || '", "data": "' || repeat(md5(made.n::TEXT), 10) || '"}', 'UTF8'), 350,
    sha256(made.n::TEXT::BYTEA), '{"content-type": "application/json", "user-agent": "a provider"}', at,
    CASE made.state WHEN 'pending' THEN now() + INTERVAL '1 year' END,
    CASE WHEN made.n %% 40 = 0 THEN 'payout.failed' WHEN made.n %% 400 = 1 THEN 'payout.returned'
    ELSE 'payout.paid' END, CASE made.state WHEN 'applied' THEN 'applied' END, %(tenant_id)s, asked_for.id
    FROM (
        SELECT n, CASE WHEN n %% 700 = 0 THEN 'dead' WHEN n %% 900 = 1 THEN 'quarantined' WHEN n %% 1500 = 2
        THEN 'pending' WHEN n %% 50 = 3 THEN 'ignored' ELSE 'applied' END AS state,
        CASE WHEN n %% 97 = 0 THEN 'unverified' ELSE 'valid' END AS signature
        FROM generate_series(1, %(events)s) AS n
    ) AS made INNER JOIN asked_for ON asked_for.n = made.n %% %(withdrawals)s,
    LATERAL (SELECT now() - made.n * (INTERVAL '90 days' / %(events)s) AS at) AS moment""",
    """INSERT INTO psp_statement_items (provider, account_id, item_id, tenant_id, provider_ref, kind, status,
    status_class, amount, currency, occurred_at, copies, transaction_id, rule, changed_at)
    SELECT 'mockpsp', 'loaded-' || %(mark)s, 'i' || n, %(tenant_id)s, 'r' || n, 'deposit', 'captured', 'success', 10,
    'USD', at, 1, CASE WHEN n %% 50 <> 0 THEN gen_random_uuid() END, CASE WHEN n %% 50 <> 0 THEN 'event' END, at
    FROM generate_series(1, %(statement_items)s) AS n,
    LATERAL (SELECT now() - n * (INTERVAL '90 days' / %(statement_items)s) AS at) AS moment""",
)

# Many do the same, and one person never approves: that person's approvals are looked for in vain.
_AUDIT: Final = (
    """INSERT INTO audit_events (id, tenant_id, actor_kind, actor_id, actor_label, action, object_kind, object_id,
    reason, state_before, state_after, recorded_at)
    SELECT pg_temp.id_at(at), %(tenant_id)s, 'admin', staff.id,
    CASE staff.n WHEN 1 THEN 'somebody@example.com' ELSE staff.email END, made.action, 'withdrawal',
    asked_for.id::TEXT, 'as agreed', '{"state": "requested", "version": 1}', '{"state": "approved", "version": 2}', at
    FROM (
        SELECT n, n %% 4 AS person, CASE WHEN n %% 4 = 2 THEN 'withdrawal.rejected' WHEN n %% 3 = 0
        THEN 'withdrawal.dispatched' ELSE 'withdrawal.approved' END AS action
        FROM generate_series(1, %(audit_events)s) AS n
    ) AS made INNER JOIN staff ON staff.n = made.person INNER JOIN asked_for ON asked_for.n = made.n %% %(withdrawals)s,
    LATERAL (SELECT now() - made.n * (INTERVAL '90 days' / %(audit_events)s) AS at) AS moment""",
)

_RECONCILIATION: Final = (
    """INSERT INTO reconciliation_runs (id, tenant_id, provider, status, is_window_asked, is_full, is_dry_run,
    is_scheduled, started_by, created_at, started_at, finished_at, window_start, window_end, is_feed_complete, counts)
    SELECT pg_temp.id_at(at), %(tenant_id)s, 'mockpsp', CASE WHEN n %% 20 = 0 THEN 'partial' WHEN n %% 50 = 1
    THEN 'failed' ELSE 'completed' END, FALSE, n %% 24 = 0, FALSE, TRUE, 'somebody@example.com', at, at, at,
    at - INTERVAL '1 day', at, TRUE, '{"psp_items": 1000, "ledger_items": 1000, "matched": 998}'
    FROM generate_series(1, %(runs)s) AS n,
    LATERAL (SELECT now() - n * (INTERVAL '90 days' / %(runs)s) AS at) AS moment""",
    """INSERT INTO reconciliation_balances (tenant_id, provider, account_id, currency, day, psp_items, psp_net,
    ledger_transactions, ledger_net, explained_net, run_id)
    SELECT %(tenant_id)s, 'mockpsp', 'loaded-' || %(mark)s, 'USD', current_date - n, 10, 100, 10, 100, 0,
    (SELECT id FROM reconciliation_runs WHERE tenant_id = %(tenant_id)s LIMIT 1) FROM generate_series(1, 90) AS n""",
    """INSERT INTO reconciliation_findings (id, provider, tenant_id, player_id, tx_id, provider_event_id, provider_ref,
    finding_type, severity, status, message, evidence, evidence_hash, fingerprint, run_id, resolution_code,
    resolved_by, resolved_at, assigned_to, created_at, updated_at, last_seen_at)
    SELECT pg_temp.id_at(at), 'mockpsp', %(tenant_id)s, asked_for.player_id,
    CASE WHEN n.n %% 3 = 0 THEN asked_for.id END, 'e' || n.n, 'r' || n.n, (ARRAY['missing_in_ledger', 'missing_in_psp',
    'amount_mismatch', 'currency_mismatch', 'status_mismatch', 'duplicate_in_psp', 'duplicate_in_ledger',
    'paid_after_release', 'returned_after_paid', 'stale_in_transit', 'orphan_webhook', 'duplicate_event_body_differs',
    'tenant_mismatch', 'balance_drift', 'ledger_invariant', 'feed_anomaly'])[1 + n.n %% 16],
    (ARRAY['critical', 'high', 'medium', 'low'])[1 + n.n / 16 %% 4],
    CASE WHEN is_open THEN 'OPEN' ELSE 'RESOLVED' END, 'the provider says 1.00 USD and the ledger 2.00 USD',
    '{"ours_amount": "2.00", "theirs_amount": "1.00", "ours_currency": "USD", "theirs_currency": "USD"}', '',
    decode(md5(%(mark)s || n.n), 'hex'), run.id, CASE WHEN NOT is_open THEN 'TIMING' END,
    CASE WHEN NOT is_open THEN staff.id END, CASE WHEN NOT is_open THEN at END,
    CASE WHEN n.n %% 7 < 5 THEN staff.id END, at, at, at
    FROM generate_series(1, %(findings)s) AS n (n) INNER JOIN asked_for ON asked_for.n = n.n %% %(withdrawals)s
    INNER JOIN staff ON staff.n = 2 INNER JOIN (
        SELECT id, row_number() OVER (ORDER BY id DESC) - 1 AS n FROM reconciliation_runs
        WHERE tenant_id = %(tenant_id)s
    ) AS run ON run.n = n.n %% %(runs)s,
    LATERAL (SELECT n.n / 64 %% 10 = 0 AS is_open,
    now() - n.n * (INTERVAL '90 days' / %(findings)s) AS at) AS made""",
    """INSERT INTO ledger_adjustments (id, tenant_id, player_id, currency, player_amount, clearing_amount, reason,
    status, proposed_at, proposed_by, decided_at, decided_by)
    SELECT pg_temp.id_at(at), %(tenant_id)s, loaded.id, loaded.currency, 100, 0, 'why', made.status, at, one.id,
    CASE WHEN made.status <> 'proposed' THEN at END, CASE WHEN made.status <> 'proposed' THEN another.id END
    FROM (
        SELECT n, CASE n %% 9 WHEN 0 THEN 'proposed' WHEN 1 THEN 'rejected' ELSE 'applied' END AS status
        FROM generate_series(1, %(adjustments)s) AS n
    ) AS made INNER JOIN loaded ON loaded.n = made.n %% %(players)s INNER JOIN staff AS one ON one.n = 0
    INNER JOIN staff AS another ON another.n = 1,
    LATERAL (SELECT now() - made.n * (INTERVAL '90 days' / %(adjustments)s) AS at) AS moment""",
)

_MONITOR: Final = (
    """INSERT INTO evidence_buckets (tenant_id, stream, minute, instance, epoch, arbiter, flush_number, n, x,
    flushed_at)
    SELECT %(tenant_id)s, stream, date_trunc('minute', now()) - n * INTERVAL '1 minute', 1, 0, 'legacy', 1, 10,
    (n %% 100 = 0)::INTEGER, now()
    FROM generate_series(1, %(days)s * 1440) AS n,
    unnest(ARRAY['t1_disputed', 't1_overpaid', 't1_refused', 't3_mismatch']) AS stream""",
    """INSERT INTO evidence_subjects (tenant_id, stream, minute, epoch, arbiter, subject, currency, events, amount)
    SELECT tenant_id, stream, minute, epoch, arbiter, 's' || extract(MINUTE FROM minute), 'USD', 1, 1
    FROM evidence_buckets WHERE tenant_id = %(tenant_id)s AND x > 0""",
    """INSERT INTO delivery_buckets (provider, minute, instance, result, is_credible, flush_number, n, flushed_at)
    SELECT provider, date_trunc('minute', now()) - n * INTERVAL '1 minute', 1, 'valid', TRUE, 1, 5, now()
    FROM generate_series(1, %(days)s * 1440) AS n, unnest(ARRAY['mockpsp', 'another', 'third']) AS provider
    ON CONFLICT DO NOTHING""",
    """INSERT INTO monitor_decisions (subject_kind, subject, tenant_id, trigger, verdict_before, verdict, actions,
    is_automatic, is_rollback, evidence, thresholds, detector_version, lease_token, decided_at)
    SELECT 'tenant', %(tenant_id)s::UUID::TEXT, %(tenant_id)s, 'T3', 'ok', 'light', '{}', FALSE, FALSE,
    '{"sentences": {"en": "seen", "tr": "görüldü"}}', '{}', '1', 1, now() - n * INTERVAL '1 hour'
    FROM generate_series(1, %(days)s * 24) AS n""",
    """INSERT INTO monitor_verdicts (subject_kind, subject, trigger, tenant_id, verdict, since, evaluated_at, latches,
    assessments, sentences, actions, score)
    SELECT kind, CASE kind WHEN 'tenant' THEN %(tenant_id)s::UUID::TEXT ELSE 'mockpsp' END, trigger,
    CASE kind WHEN 'tenant' THEN %(tenant_id)s::UUID END, 'light', now() - INTERVAL '1 day', now(), '{}',
    jsonb_build_array(jsonb_build_object('stream', stream, 'verdict', 'light')), '{"en": "seen", "tr": "görüldü"}',
    '{}', 1
    FROM (VALUES ('tenant', 'T1', 't1_disputed'), ('tenant', 'T3', 't3_mismatch'), ('provider', 'T2', 't2_rejected'))
    AS seen (kind, trigger, stream)
    ON CONFLICT DO NOTHING""",
    """INSERT INTO census_runs (id, tenant_id, state, is_scheduled, started_by, started_at, progressed_at, finished_at)
    SELECT pg_temp.id_at(at), %(tenant_id)s, 'clean', TRUE, 'monitor', at, at, at
    FROM generate_series(1, 3000) AS n, LATERAL (SELECT now() - n * INTERVAL '1 hour' AS at) AS moment""",
    """INSERT INTO census_totals (tenant_id, run_id, currency, players, opened_wallets, transactions, legacy_available,
    legacy_held, snapshot_available, snapshot_pending, folded_available, folded_pending, open_withdrawals)
    SELECT tenant_id, id, 'USD', %(players)s, %(players)s, 1, 1, 1, 1, 1, 1, 1, 1
    FROM census_runs WHERE tenant_id = %(tenant_id)s""",
)

_ROLLOUT: Final = (
    """INSERT INTO arbiter_changes (tenant_id, kind, arbiter_before, arbiter, epoch, reason, actor_kind, actor_label,
    is_automatic, is_fenced, fence_waited_ms, changed_at)
    SELECT %(tenant_id)s, 'rehearsal', CASE n %% 2 WHEN 0 THEN 'legacy' ELSE 'ledger' END::ARBITER_SIDE,
    CASE n %% 2 WHEN 0 THEN 'ledger' ELSE 'legacy' END::ARBITER_SIDE, 1000000 + n, 'a load', 'system', 'a load', FALSE,
    TRUE, 1, now() - (3000 - n) * INTERVAL '1 minute'
    FROM generate_series(1, 2000) AS n""",
    """INSERT INTO rollout_holds (kind, tenant_id, reason, placed_by, placed_at, lifted_at, lifted_by, lift_reason)
    SELECT 'hold', %(tenant_id)s, 'a load', 'a load', now(), now(), 'a load', 'a load'
    FROM generate_series(1, 2000) AS n""",
    """INSERT INTO backfill_runs (id, tenant_id, mode, state, phase, actor_kind, actor_label, runner, batch_size,
    rows_max, arbiter, epoch, players_total, errors, error_counts, started_at, finished_at)
    SELECT pg_temp.id_at(at), %(tenant_id)s, 'open', 'completed', 'done', 'operator', 'a load', 'a load', 1000, 0,
    'legacy', 0, %(players)s, 1000, '{"NEGATIVE_BALANCE": 1000}', at, at
    FROM generate_series(1, 3000) AS n, LATERAL (SELECT now() - n * INTERVAL '30 minutes' AS at) AS moment""",
    """INSERT INTO backfill_errors (run_id, player_id, code, currency, legacy_available, legacy_held, ledger_available)
    SELECT run.id, loaded.id, CASE loaded.n %% 2 WHEN 0 THEN 'NEGATIVE_BALANCE' ELSE 'DIFFERS' END, loaded.currency,
    -1, 0, 0
    FROM (SELECT id FROM backfill_runs WHERE tenant_id = %(tenant_id)s ORDER BY id DESC LIMIT 50) AS run, loaded
    WHERE loaded.n < %(rejects)s""",
    """INSERT INTO backfill_deferred (run_id, player_id)
    SELECT run_id, player_id FROM backfill_errors WHERE code = 'DIFFERS' ON CONFLICT DO NOTHING""",
    """INSERT INTO backfill_requests (id, tenant_id, is_dry_run, is_forced, state, actor_kind, actor_label, asked_at,
    finished_at)
    SELECT pg_temp.id_at(at), %(tenant_id)s, TRUE, FALSE, 'completed', 'admin', 'a load', at, at
    FROM generate_series(1, 3000) AS n, LATERAL (SELECT now() - n * INTERVAL '31 minutes' AS at) AS moment""",
    "DROP TABLE loaded, asked_for, staff",
)

TENANT: Final = (ID_AT, *_PEOPLE, *_MONEY, *_PROVIDER, *_AUDIT, *_RECONCILIATION, *_MONITOR, *_ROLLOUT)

# Tenants with a little of everything: what a page asks for each of them it asks so many times.
FLEET: Final = (
    ID_AT,
    """INSERT INTO tenants (slug, name, base_currency, flags)
    SELECT 'fleet-' || n, 'Fleet ' || n, 'USD',
    CASE WHEN n %% 4 = 0 THEN '{"ledger_enforce_override": true}'::JSONB ELSE '{}' END
    FROM generate_series(1, %(tenants)s) AS n""",
    """INSERT INTO players (id, tenant_id, email, username, currency, balance_real_available)
    SELECT pg_temp.id_at(now()), tenant.id, 'p' || n || '@' || tenant.slug || '.example.com', 'Player ' || n, 'USD', 10
    FROM tenants AS tenant, generate_series(1, 50) AS n WHERE tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO wallet_balances (tenant_id, player_id, currency, balance_real_available, version, opened_at)
    SELECT player.tenant_id, player.id, 'USD', 10, 0, now()
    FROM players AS player
    INNER JOIN tenants AS tenant ON tenant.id = player.tenant_id AND tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key,
    request_hash, created_at, updated_at, first_approved_by)
    SELECT pg_temp.id_at(at), player.tenant_id, player.id, 100 + (random() * 9900)::INTEGER, 'USD',
    CASE n WHEN 0 THEN 'requested' ELSE 'paid' END, 'bank', 'TR00', 'w' || n, '', at, at, player.id
    FROM players AS player INNER JOIN tenants AS tenant ON tenant.id = player.tenant_id AND tenant.slug LIKE 'fleet-%%',
    generate_series(0, 4) AS n, LATERAL (SELECT now() - random() * INTERVAL '90 days' AS at) AS moment""",
    """INSERT INTO audit_events (id, tenant_id, actor_kind, actor_label, action, object_kind, object_id, recorded_at)
    SELECT pg_temp.id_at(made.created_at), made.tenant_id, 'admin', 'somebody@example.com', 'withdrawal.approved',
    'withdrawal', made.id::TEXT, made.created_at
    FROM withdrawals AS made INNER JOIN tenants AS tenant ON tenant.id = made.tenant_id
    WHERE made.state = 'paid' AND tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO reconciliation_findings (id, provider, tenant_id, finding_type, severity, message, evidence,
    evidence_hash, fingerprint, created_at)
    SELECT pg_temp.id_at(at), 'mockpsp', tenant.id, 'amount_mismatch', 'high', 'differs', '{}', '',
    decode(md5(tenant.id::TEXT || n), 'hex'), at
    FROM tenants AS tenant, generate_series(1, 20) AS n,
    LATERAL (SELECT now() - random() * INTERVAL '90 days' AS at) AS moment WHERE tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO psp_accounts (account_id, tenant_id, provider)
    SELECT tenant.slug, tenant.id, 'mockpsp' FROM tenants AS tenant WHERE tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO evidence_buckets (tenant_id, stream, minute, instance, epoch, arbiter, flush_number, n, x,
    flushed_at)
    SELECT tenant.id, stream, date_trunc('minute', now()) - n * INTERVAL '15 minutes', 1, 0, 'legacy', 1, 10,
    (n %% 100 = 0)::INTEGER, now()
    FROM tenants AS tenant, generate_series(1, 14 * 96) AS n, unnest(ARRAY['t1_disputed', 't3_mismatch']) AS stream
    WHERE tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO monitor_verdicts (subject_kind, subject, trigger, tenant_id, verdict, since, evaluated_at, latches,
    assessments, sentences, actions, score)
    SELECT 'tenant', tenant.id::TEXT, trigger, tenant.id, 'light', now() - INTERVAL '1 day', now(), '{}', '[]',
    '{"en": "seen", "tr": "görüldü"}', '{}', 1
    FROM tenants AS tenant, unnest(ARRAY['T1', 'T3']) AS trigger WHERE tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO monitor_decisions (subject_kind, subject, tenant_id, trigger, verdict_before, verdict, actions,
    is_automatic, is_rollback, evidence, thresholds, detector_version, lease_token, decided_at)
    SELECT 'tenant', tenant.id::TEXT, tenant.id, 'T3', 'ok', 'light', '{}', FALSE, FALSE,
    '{"sentences": {"en": "seen", "tr": "görüldü"}}', '{}', '1', 1, now() - n * INTERVAL '1 day'
    FROM tenants AS tenant, generate_series(1, 30) AS n WHERE tenant.slug LIKE 'fleet-%%'""",
    """INSERT INTO census_runs (id, tenant_id, state, is_scheduled, started_by, started_at, progressed_at, finished_at)
    SELECT pg_temp.id_at(at), tenant.id, 'clean', TRUE, 'monitor', at, at, at
    FROM tenants AS tenant, generate_series(1, 30) AS n, LATERAL (SELECT now() - n * INTERVAL '1 day' AS at) AS moment
    WHERE tenant.slug LIKE 'fleet-%%'""",
)
