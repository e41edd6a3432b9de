"""A tenant with a long past, made by SQL in bulk, for looking at: not a sound ledger."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from backend.tests.factories import Owner

# Every table that grows with use; a page must never read one of them from end to end.
GROWING: Final = (
    "players",
    "wallet_balances",
    "ledger_transactions",
    "ledger_mismatches",
    "withdrawals",
    "deposits",
    "payout_attempts",
    "psp_events",
    "reconciliation_findings",
    "reconciliation_runs",
    "ledger_adjustments",
    "audit_events",
    "evidence_buckets",
    "evidence_subjects",
    "delivery_buckets",
    "monitor_decisions",
    "census_runs",
    "census_totals",
    "arbiter_changes",
    "rollout_holds",
    "backfill_runs",
    "backfill_requests",
    "console_sessions",
)

_STATEMENTS: Final = (
    """INSERT INTO players (id, tenant_id, email, username, currency, balance_real_available, created_at)
    SELECT gen_random_uuid(), %(tenant_id)s, 'p' || n || '-' || %(mark)s || '@example.com',
    'Player ' || (n %% 977) || ' of ' || n, 'USD', 1000, now() - n * INTERVAL '1 minute'
    FROM generate_series(1, %(players)s) AS n""",
    """CREATE TEMPORARY TABLE loaded ON COMMIT PRESERVE ROWS AS
    SELECT id, row_number() OVER () - 1 AS n FROM players WHERE tenant_id = %(tenant_id)s""",
    "CREATE UNIQUE INDEX ON loaded (n)",
    "ANALYZE loaded",
    """INSERT INTO wallet_balances (tenant_id, player_id, currency, balance_real_available, version, opened_at)
    SELECT %(tenant_id)s, id, 'USD', 1000, %(transactions)s / %(players)s, now() FROM loaded""",
    """INSERT INTO ledger_transactions (id, tenant_id, player_id, wallet_version, amount, available_after,
    pending_after, legacy_available_after, legacy_held_after, reference, occurred_at, recorded_at, epoch, currency,
    type, debit_account, credit_account, arbiter, idempotency_key, request_hash)
    SELECT gen_random_uuid(), %(tenant_id)s, loaded.id, 1 + made.n / %(players)s, 10,
    10 * (1 + made.n / %(players)s), 0, 0, 0,
    gen_random_uuid(), at, at, 0, 'USD', 'deposit_captured', 'psp:mockpsp:clearing', 'player:available', 'legacy',
    'k' || made.n, ''
    FROM generate_series(0, %(transactions)s - 1) AS made (n) INNER JOIN loaded ON loaded.n = made.n %% %(players)s,
    LATERAL (SELECT now() - (%(transactions)s - made.n) * INTERVAL '1 second' AS at) AS moment""",
    """INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key,
    request_hash, created_at, updated_at, first_approved_by)
    SELECT gen_random_uuid(), %(tenant_id)s, loaded.id, 100 + made.n %% 9973, 'USD',
    CASE WHEN made.n %% 50 = 0 THEN 'requested' WHEN made.n %% 50 = 1 THEN 'approved'
    WHEN made.n %% 500 = 2 THEN 'failed'
    WHEN made.n %% 50 = 3 THEN 'rejected' ELSE 'paid' END,
    CASE WHEN made.n %% 9 = 0 THEN 'card' ELSE 'bank' END, 'TR00', 'w' || made.n, '',
    at, at, %(tenant_id)s
    FROM generate_series(1, %(withdrawals)s) AS made (n) INNER JOIN loaded ON loaded.n = made.n %% %(players)s,
    LATERAL (SELECT now() - made.n * INTERVAL '1 minute' AS at) AS moment""",
    """INSERT INTO deposits (id, tenant_id, player_id, amount, currency, state, method, provider, provider_ref,
    next_check_at, idempotency_key, request_hash, created_at, updated_at)
    SELECT gen_random_uuid(), %(tenant_id)s, loaded.id, 500, 'USD', CASE WHEN made.n %% 999 = 0 THEN 'pending_provider'
    ELSE 'completed' END, 'card', 'mockpsp', 'in-' || %(mark)s || made.n,
    CASE WHEN made.n %% 999 = 0 THEN now() END, 'd' || made.n, '', at, at
    FROM generate_series(1, %(withdrawals)s) AS made (n) INNER JOIN loaded ON loaded.n = made.n %% %(players)s,
    LATERAL (SELECT now() - made.n * INTERVAL '1 minute' AS at) AS moment""",
    """INSERT INTO payout_attempts (tenant_id, player_id, withdrawal_id, number, provider, account_id, amount, currency,
    state, provider_ref, created_at, state_at, next_check_at)
    SELECT tenant_id, player_id, id, 1, 'mockpsp', 'acc', amount, currency,
    CASE WHEN hashtext(id::TEXT) %% 500 = 0 THEN 'unknown' ELSE 'paid' END, 'ref-' || id, created_at, created_at,
    CASE WHEN hashtext(id::TEXT) %% 500 = 0 THEN now() END
    FROM withdrawals WHERE tenant_id = %(tenant_id)s AND state IN ('paid', 'failed')""",
    """INSERT INTO psp_events (id, provider, account_id, provider_event_id, signature_status, signature_result, state,
    body, body_size, body_sha256, headers, received_at, tenant_id, tx_id)
    SELECT gen_random_uuid(), 'mockpsp', 'acc', 'e' || id, 'valid', 'valid',
    CASE WHEN hashtext(id::TEXT) %% 700 = 0 THEN 'dead' ELSE 'applied' END, '', 0, '', '{}', created_at, tenant_id, id
    FROM withdrawals WHERE tenant_id = %(tenant_id)s AND state = 'paid'""",
    """INSERT INTO audit_events (tenant_id, actor_kind, actor_label, action, object_kind, object_id)
    SELECT tenant_id, 'admin', 'somebody@example.com', 'withdrawal.approved', 'withdrawal', id::TEXT
    FROM withdrawals WHERE tenant_id = %(tenant_id)s AND state <> 'requested'""",
    """INSERT INTO reconciliation_findings (id, provider, tenant_id, finding_type, severity, status, message, evidence,
    evidence_hash, fingerprint, resolved_at)
    SELECT gen_random_uuid(), 'mockpsp', %(tenant_id)s, 'amount_mismatch', 'high',
    CASE WHEN n %% 100 = 0 THEN 'OPEN' ELSE 'RESOLVED' END, 'differs', '{}', '', decode(md5(%(mark)s || n), 'hex'),
    CASE WHEN n %% 100 <> 0 THEN now() END
    FROM generate_series(1, %(findings)s) AS n""",
    """INSERT INTO reconciliation_runs (tenant_id, provider, status, is_window_asked, is_full, is_dry_run, is_scheduled,
    started_by, created_at, finished_at)
    SELECT %(tenant_id)s, 'mockpsp', 'completed', FALSE, FALSE, FALSE, TRUE, 'somebody@example.com',
    now() - n * INTERVAL '1 hour', now()
    FROM generate_series(1, %(players)s) AS n""",
    """INSERT INTO admins (id, tenant_id, email, password_hash, role)
    VALUES (gen_random_uuid(), %(tenant_id)s, 'finance-' || %(mark)s || '@example.com', 'none', 'finance')""",
    """INSERT INTO ledger_adjustments (tenant_id, player_id, currency, player_amount, clearing_amount, reason, status,
    proposed_at, proposed_by)
    SELECT %(tenant_id)s, id, 'USD', 100, 0, 'why', 'proposed', now(),
    (SELECT id FROM admins WHERE tenant_id = %(tenant_id)s LIMIT 1)
    FROM loaded""",
    """INSERT INTO ledger_mismatches (tenant_id, player_id, currency, class, legacy_available, legacy_held,
    ledger_available, ledger_pending, arbiter, first_seen_at, last_seen_at)
    SELECT %(tenant_id)s, id, 'USD', 'available_diff', 1, 0, 0, 0, 'legacy', now() - n * INTERVAL '1 hour',
    now() - n * INTERVAL '1 hour' FROM loaded""",
    """INSERT INTO evidence_buckets (tenant_id, stream, minute, instance, epoch, arbiter, flush_number, n, x,
    flushed_at)
    SELECT %(tenant_id)s, stream, date_trunc('minute', now()) - n * INTERVAL '1 minute', 1, 0, 'legacy', 1, 10,
    (n %% 100 = 0)::INTEGER, now()
    FROM generate_series(1, 14 * 1440) AS n,
    unnest(ARRAY['t1_disputed', 't1_overpaid', 't1_refused', 't3_mismatch']) AS stream""",
    """INSERT INTO evidence_subjects (tenant_id, stream, minute, epoch, arbiter, subject, currency, events, amount)
    SELECT tenant_id, stream, minute, epoch, arbiter, 's' || extract(MINUTE FROM minute), 'USD', 1, 1
    FROM evidence_buckets WHERE tenant_id = %(tenant_id)s AND x > 0""",
    """INSERT INTO delivery_buckets (provider, minute, instance, result, is_credible, flush_number, n, flushed_at)
    SELECT provider, date_trunc('minute', now()) - n * INTERVAL '1 minute', 1, 'valid', TRUE, 1, 5, now()
    FROM generate_series(1, 7 * 1440) AS n, unnest(ARRAY['mockpsp', 'another', 'third']) AS provider""",
    """INSERT INTO psp_accounts (account_id, tenant_id, provider) SELECT 'loaded-' || %(mark)s, %(tenant_id)s,
    'mockpsp'""",
    """INSERT INTO monitor_verdicts (subject_kind, subject, trigger, tenant_id, verdict, since, evaluated_at, latches,
    assessments, sentences, actions, score)
    SELECT 'tenant', %(tenant_id)s::UUID::TEXT, 'T3', %(tenant_id)s, 'high', now(), now(), '{}', '[]',
    '{"en": "seen", "tr": "görüldü"}', '{}', 1""",
    """INSERT INTO monitor_decisions (subject_kind, subject, tenant_id, trigger, verdict_before, verdict, actions,
    is_automatic, is_rollback, evidence, thresholds, detector_version, lease_token, decided_at)
    SELECT 'tenant', %(tenant_id)s::UUID::TEXT, %(tenant_id)s, 'T3', 'ok', 'light', '{}', FALSE, FALSE,
    '{"sentences": {"en": "seen", "tr": "görüldü"}}', '{}', '1', 1, now() - n * INTERVAL '1 hour'
    FROM generate_series(1, 2000) AS n""",
    """INSERT INTO census_runs (tenant_id, state, is_scheduled, started_by, started_at, progressed_at, finished_at)
    SELECT %(tenant_id)s, 'clean', TRUE, 'monitor', at, at, at
    FROM generate_series(1, 3000) AS n, LATERAL (SELECT now() - n * INTERVAL '1 hour' AS at) AS moment""",
    """INSERT INTO census_totals (tenant_id, run_id, currency, players, opened_wallets, transactions, legacy_available,
    legacy_held, snapshot_available, snapshot_pending, folded_available, folded_pending, open_withdrawals)
    SELECT tenant_id, id, 'USD', %(players)s, %(players)s, 1, 1, 1, 1, 1, 1, 1, 1
    FROM census_runs WHERE tenant_id = %(tenant_id)s""",
    """INSERT INTO arbiter_changes (tenant_id, kind, arbiter_before, arbiter, epoch, reason, actor_kind, actor_label,
    is_automatic, is_fenced, fence_waited_ms, changed_at)
    SELECT %(tenant_id)s, 'rehearsal', CASE n %% 2 WHEN 0 THEN 'legacy' ELSE 'ledger' END::ARBITER_SIDE,
    CASE n %% 2 WHEN 0 THEN 'ledger' ELSE 'legacy' END::ARBITER_SIDE, 1000000 + n, 'a load', 'system', 'a load', FALSE,
    TRUE, 1, now() - (3000 - n) * INTERVAL '1 minute'
    FROM generate_series(1, 2000) AS n""",
    """INSERT INTO rollout_holds (kind, tenant_id, reason, placed_by, placed_at, lifted_at, lifted_by, lift_reason)
    SELECT 'hold', %(tenant_id)s, 'a load', 'a load', now(), now(), 'a load', 'a load'
    FROM generate_series(1, 2000) AS n""",
    """INSERT INTO backfill_runs (tenant_id, mode, state, phase, actor_kind, actor_label, runner, batch_size, rows_max,
    arbiter, epoch, players_total, finished_at)
    SELECT %(tenant_id)s, 'open', 'completed', 'done', 'operator', 'a load', 'a load', 1000, 0, 'legacy', 0, 1, now()
    FROM generate_series(1, 3000) AS n""",
    """INSERT INTO backfill_requests (tenant_id, is_dry_run, is_forced, state, actor_kind, actor_label, finished_at)
    SELECT %(tenant_id)s, TRUE, FALSE, 'completed', 'admin', 'a load', now() FROM generate_series(1, 3000) AS n""",
    "DROP TABLE loaded",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A loaded tenant, and somebody and something in it."""

    tenant_id: UUID
    player_id: UUID
    withdrawal_id: UUID
    finding_id: UUID
    run_id: UUID
    adjustment_id: UUID
    event_id: UUID
    hold_id: UUID
    backfill_id: UUID


async def load(
    owner: Owner, tenant_id: UUID, *, players: int, withdrawals: int, transactions: int, findings: int = 30_000
) -> Load:
    """Fill a tenant; then the planner's statistics are fresh."""
    values = {
        "tenant_id": tenant_id,
        "mark": uuid4().hex,
        "players": players,
        "withdrawals": withdrawals,
        "transactions": transactions,
        "findings": findings,
    }
    for statement in _STATEMENTS:
        given = {name: value for name, value in values.items() if f"%({name})s" in statement}
        await owner.execute(statement, given or None)
    for table in GROWING:
        await owner.execute(f"ANALYZE {table}")
    cursor = await owner.execute(
        "SELECT player_id, id, "
        "(SELECT id FROM reconciliation_findings WHERE tenant_id = %(tenant_id)s AND status = 'OPEN' LIMIT 1), "
        "(SELECT id FROM reconciliation_runs WHERE tenant_id = %(tenant_id)s LIMIT 1), "
        "(SELECT id FROM ledger_adjustments WHERE tenant_id = %(tenant_id)s LIMIT 1), "
        "(SELECT id FROM psp_events WHERE tenant_id = %(tenant_id)s AND state = 'applied' LIMIT 1), "
        "(SELECT id FROM rollout_holds WHERE tenant_id = %(tenant_id)s LIMIT 1), "
        "(SELECT id FROM backfill_runs WHERE tenant_id = %(tenant_id)s LIMIT 1) "
        "FROM withdrawals WHERE tenant_id = %(tenant_id)s AND state = 'paid' LIMIT 1",
        {"tenant_id": tenant_id},
    )
    row = await cursor.fetchone()
    assert row is not None
    player_id, withdrawal_id, finding_id, run_id, adjustment_id, event_id, hold_id, backfill_id = row
    return Load(
        tenant_id=tenant_id,
        player_id=player_id,
        withdrawal_id=withdrawal_id,
        finding_id=finding_id,
        run_id=run_id,
        adjustment_id=adjustment_id,
        event_id=event_id,
        hold_id=hold_id,
        backfill_id=backfill_id,
    )
