-- name: list_fleet
-- Tenants by number, from after one: one tenant, or all of them but the sandbox when tenant_id is NULL.
SELECT
    tenant.id,
    tenant.number
FROM tenants AS tenant
WHERE
    CASE WHEN %(tenant_id)s::UUID IS NULL THEN NOT tenant.is_sandbox ELSE tenant.id = %(tenant_id)s END
    AND tenant.number > %(after_number)s
ORDER BY tenant.number
LIMIT %(limit)s;

-- name: find_tenant
-- One tenant by its id: what it is called, and who decides.
SELECT
    tenant.name,
    mode.arbiter,
    mode.epoch
FROM tenants AS tenant
INNER JOIN tenant_modes AS mode ON mode.tenant_id = tenant.id
WHERE tenant.id = %(tenant_id)s;

-- name: find_monitor
-- One row: when the monitor looked at everything last, how many seconds ago, and how its last self-test ended.
SELECT
    lease.evaluated_at,
    extract(EPOCH FROM clock_timestamp() - lease.evaluated_at)::FLOAT8 AS age_seconds,
    test.outcome,
    test.finished_at
FROM monitor_lease AS lease
LEFT JOIN LATERAL (
    SELECT
        done.outcome,
        done.finished_at
    FROM monitor_selftests AS done
    ORDER BY done.id DESC
    LIMIT 1
) AS test ON TRUE
WHERE lease.id = 1;

-- name: list_evidence
-- Of each tenant, in the order asked: what its gates ask about decisions since a time (nothing where that is NULL), the
-- verdicts that stand or began lately, and mismatches hour by hour.
SELECT
    total.decisions,
    total.disputed,
    (
        SELECT count(DISTINCT named.subject)
        FROM evidence_subjects AS named
        WHERE named.tenant_id = asked.id AND named.stream = 't1_disputed' AND named.minute >= asked.since
    ) AS disputed_players,
    total.overpaid,
    total.comparisons,
    total.mismatches,
    ARRAY(
        SELECT decision.verdict
        FROM monitor_decisions AS decision
        WHERE
            decision.subject_kind = 'tenant'
            AND decision.subject = asked.id::TEXT
            AND decision.decided_at >= %(verdicts_since)s
        UNION
        SELECT kept.verdict
        FROM monitor_verdicts AS kept
        WHERE kept.tenant_id = asked.id
    ) AS verdicts,
    ARRAY(
        SELECT
            (
                SELECT coalesce(sum(seen.x), 0)::BIGINT
                FROM evidence_buckets AS seen
                WHERE
                    seen.tenant_id = asked.id
                    AND seen.stream = 't3_mismatch'
                    AND seen.minute >= hour.at
                    AND seen.minute < hour.at + INTERVAL '1 hour'
            )
        FROM generate_series(%(first_hour)s::TIMESTAMPTZ, %(last_hour)s::TIMESTAMPTZ, INTERVAL '1 hour') AS hour (at)
        ORDER BY hour.at
    ) AS mismatches_by_hour
FROM unnest(%(tenant_ids)s::UUID[], %(since)s::TIMESTAMPTZ[]) WITH ORDINALITY AS asked (id, since, place)
CROSS JOIN LATERAL (
    SELECT
        coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't1_disputed'), 0)::BIGINT AS decisions,
        coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't1_disputed'), 0)::BIGINT AS disputed,
        coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't1_overpaid'), 0)::BIGINT AS overpaid,
        coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't3_mismatch'), 0)::BIGINT AS comparisons,
        coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't3_mismatch'), 0)::BIGINT AS mismatches
    FROM evidence_buckets AS kept
    WHERE
        kept.tenant_id = asked.id
        AND kept.stream IN ('t1_disputed', 't1_overpaid', 't3_mismatch')
        AND kept.minute >= asked.since
) AS total
ORDER BY asked.place
LIMIT %(limit)s;

-- name: list_standing
-- What stands for tenants: their own verdicts, and those of each provider that they have an account at.
SELECT
    asked.id AS tenant_id,
    kept.subject_kind,
    kept.subject,
    kept.trigger,
    kept.verdict,
    kept.since,
    kept.evaluated_at,
    kept.acknowledged_at,
    kept.acknowledged_by,
    kept.sentences,
    kept.actions,
    ARRAY(
        SELECT jsonb_build_array(one.assessment ->> 'stream', one.assessment ->> 'verdict')
        FROM jsonb_array_elements(kept.assessments) AS one (assessment)
    ) AS streams
FROM unnest(%(tenant_ids)s::UUID[]) AS asked (id)
INNER JOIN monitor_verdicts AS kept
    ON kept.tenant_id = asked.id
    OR (
        kept.subject_kind = 'provider'
        AND EXISTS (
            SELECT
            FROM psp_accounts AS account
            WHERE account.tenant_id = asked.id AND account.provider = kept.subject
        )
    )
ORDER BY asked.id, kept.trigger, kept.subject
LIMIT %(limit)s;

-- name: find_standing
-- One verdict of a tenant, or of anybody when tenant_id is NULL, as it stands; with what its subject is called.
SELECT
    kept.tenant_id,
    kept.subject_kind,
    kept.subject,
    kept.trigger,
    kept.verdict,
    kept.since,
    kept.evaluated_at,
    kept.acknowledged_at,
    kept.acknowledged_by,
    kept.sentences,
    kept.actions,
    ARRAY(
        SELECT jsonb_build_array(one.assessment ->> 'stream', one.assessment ->> 'verdict')
        FROM jsonb_array_elements(kept.assessments) AS one (assessment)
    ) AS streams,
    coalesce(tenant.name, kept.subject) AS name
FROM monitor_verdicts AS kept
LEFT JOIN tenants AS tenant ON tenant.id = kept.tenant_id
WHERE
    kept.subject_kind = %(subject_kind)s
    AND kept.subject = %(subject)s
    AND kept.trigger = %(trigger)s
    AND (%(tenant_id)s::UUID IS NULL OR kept.tenant_id = %(tenant_id)s);

-- name: find_hold
-- One hold of a tenant, or of anybody and of the fleet when tenant_id is NULL; also one that is over. reasons: as the
-- monitor's decision has them in each language, for a hold that it led to.
SELECT
    hold.id,
    hold.kind,
    hold.tenant_id,
    hold.reason,
    hold.placed_by,
    hold.placed_at,
    hold.ends_at,
    hold.decision_id,
    (
        SELECT planned.hold -> 'reasons'
        FROM monitor_decisions AS decision
        CROSS JOIN LATERAL jsonb_array_elements(decision.actions -> 'holds') AS planned (hold)
        WHERE decision.id = hold.decision_id AND planned.hold ->> 'kind' = hold.kind
        LIMIT 1
    ) AS reasons,
    tenant.name AS tenant_name,
    hold.lifted_at,
    hold.lifted_by,
    hold.lift_reason
FROM rollout_holds AS hold
LEFT JOIN tenants AS tenant ON tenant.id = hold.tenant_id
WHERE hold.id = %(hold_id)s AND (%(tenant_id)s::UUID IS NULL OR hold.tenant_id = %(tenant_id)s);

-- name: list_steps
-- A tenant's decisions and comparisons in steps of time. both_refused: what the arbiter refused for funds and the other side
-- would have refused too; disputed: the sides came to different answers, whichever of them decided.
SELECT
    step.at,
    step.decisions,
    greatest(step.refused - step.refused_alone, 0) AS both_refused,
    step.disputed,
    step.comparisons,
    step.mismatches
FROM (
    SELECT
        date_bin(%(step)s::INTERVAL, kept.minute, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS at,
        coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't1_disputed'), 0)::BIGINT AS decisions,
        coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't1_refused'), 0)::BIGINT AS refused,
        coalesce(
            sum(kept.x) FILTER (
                WHERE
                (kept.stream = 't1_disputed' AND kept.arbiter = 'ledger')
                OR (kept.stream = 't1_overpaid' AND kept.arbiter = 'legacy')
            ),
            0
        )::BIGINT AS refused_alone,
        coalesce(sum(kept.x) FILTER (WHERE kept.stream IN ('t1_disputed', 't1_overpaid')), 0)::BIGINT AS disputed,
        coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't3_mismatch'), 0)::BIGINT AS comparisons,
        coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't3_mismatch'), 0)::BIGINT AS mismatches
    FROM evidence_buckets AS kept
    WHERE
        kept.tenant_id = %(tenant_id)s
        AND kept.stream IN ('t1_disputed', 't1_overpaid', 't1_refused', 't3_mismatch')
        AND kept.minute >= %(since)s
    GROUP BY 1
) AS step
ORDER BY step.at
LIMIT %(limit)s;

-- name: list_delivery_steps
-- Deliveries of the providers that a tenant has accounts at, in steps of time; of all tenants, since a provider signs for all.
SELECT
    date_bin(%(step)s::INTERVAL, kept.minute, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS at,
    sum(kept.n)::BIGINT AS deliveries,
    coalesce(sum(kept.n) FILTER (WHERE kept.result <> 'valid'), 0)::BIGINT AS rejected
FROM delivery_buckets AS kept
WHERE
    kept.provider = ANY(
        ARRAY(SELECT DISTINCT account.provider FROM psp_accounts AS account WHERE account.tenant_id = %(tenant_id)s)
    )
    AND kept.minute >= %(since)s
GROUP BY 1
ORDER BY 1
LIMIT %(limit)s;

-- name: list_sums
-- What the last finished censuses of a tenant summed up on each side, by currency, the newest first.
SELECT
    run.finished_at,
    total.currency,
    total.players,
    total.opened_wallets,
    (total.legacy_available + total.legacy_held)::BIGINT AS legacy,
    (total.snapshot_available + total.snapshot_pending)::BIGINT AS snapshot,
    (total.folded_available + total.folded_pending)::BIGINT AS folded
FROM (
    SELECT
        finished.id,
        finished.finished_at
    FROM census_runs AS finished
    WHERE finished.tenant_id = %(tenant_id)s AND finished.state IN ('clean', 'differences')
    ORDER BY finished.id DESC
    LIMIT %(runs)s
) AS run
INNER JOIN census_totals AS total ON total.tenant_id = %(tenant_id)s AND total.run_id = run.id
ORDER BY run.finished_at DESC, total.players DESC, total.currency
LIMIT %(limit)s;

-- name: list_events
-- What happened to a tenant on its way, the latest first: flips and rehearsals, holds, flags, and what the monitor decided.
SELECT
    event.at,
    event.kind,
    event.name,
    event.actor,
    event.reason,
    event.detail
FROM (
    (
        SELECT
            made.changed_at AS at,
            'change' AS kind,
            CASE made.kind WHEN 'rehearsal' THEN 'rehearsal' ELSE made.arbiter::TEXT END AS name,
            made.actor_label AS actor,
            made.reason,
            jsonb_build_object(
                'epoch', made.epoch, 'is_fenced', made.is_fenced, 'waited_ms', made.fence_waited_ms,
                'waived', made.waived_gates, 'is_automatic', made.is_automatic, 'decision_id', made.decision_id
            ) AS detail
        FROM arbiter_changes AS made
        WHERE made.tenant_id = %(tenant_id)s AND (made.kind <> 'rehearsal' OR made.arbiter = 'legacy')
        ORDER BY made.epoch DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT
            hold.placed_at,
            'hold',
            hold.kind,
            hold.placed_by,
            hold.reason,
            jsonb_build_object('ends_at', hold.ends_at, 'decision_id', hold.decision_id)
        FROM rollout_holds AS hold
        WHERE hold.tenant_id = %(tenant_id)s
        ORDER BY hold.id DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT
            lifted.lifted_at,
            'lift',
            lifted.kind,
            lifted.lifted_by,
            lifted.lift_reason,
            '{}'::JSONB
        FROM (
            SELECT hold.*
            FROM rollout_holds AS hold
            WHERE hold.tenant_id = %(tenant_id)s
            ORDER BY hold.id DESC
            LIMIT %(limit)s
        ) AS lifted
        WHERE lifted.lifted_at IS NOT NULL
    )
    UNION ALL
    (
        SELECT
            changed.recorded_at,
            'flag',
            changed.object_id,
            changed.actor_label,
            coalesce(changed.reason, ''),
            jsonb_build_object('value', changed.state_after -> 'value')
        FROM audit_events AS changed
        WHERE
            changed.object_kind = 'flag'
            AND changed.object_id IN ('ledger_shadow_write', 'ledger_balance_mismatch_log')
            AND changed.tenant_id = %(tenant_id)s
        ORDER BY changed.id DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT
            decision.decided_at,
            'verdict',
            decision.verdict,
            '',
            '',
            jsonb_build_object(
                'trigger', decision.trigger, 'before', decision.verdict_before, 'is_rollback', decision.is_rollback,
                'sentences', decision.evidence -> 'sentences', 'decision_id', decision.id,
                'hold_id', (
                    SELECT hold.id
                    FROM rollout_holds AS hold
                    WHERE
                        hold.tenant_id = %(tenant_id)s
                        AND hold.lifted_at IS NULL
                        AND (hold.ends_at IS NULL OR hold.ends_at > clock_timestamp())
                        AND hold.decision_id = decision.id
                    LIMIT 1
                )
            )
        FROM monitor_decisions AS decision
        WHERE decision.subject_kind = 'tenant' AND decision.subject = %(tenant_id)s::UUID::TEXT
        ORDER BY decision.decided_at DESC, decision.id DESC
        LIMIT %(limit)s
    )
) AS event
ORDER BY event.at DESC
LIMIT %(limit)s;
