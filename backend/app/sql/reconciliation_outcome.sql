-- name: count_found
-- How many differences of each type the run found.
SELECT
    found.finding_type,
    count(DISTINCT found.subject) AS findings
FROM found_findings AS found
GROUP BY found.finding_type;

-- name: add_found
-- A difference that concerns the feed itself.
INSERT INTO found_findings (finding_type, subject, facts, evidence)
VALUES (%(finding_type)s, %(subject)s, %(facts)s, %(evidence)s);

-- name: fold_floods
-- Makes one finding about the feed of each type that there are too many of, with a sample.
WITH sample AS (
    SELECT
        found.finding_type,
        count(*) OVER (PARTITION BY found.finding_type) AS findings,
        row_number() OVER (PARTITION BY found.finding_type ORDER BY found.subject) AS place,
        found.subject
    FROM found_findings AS found
    WHERE found.finding_type = ANY(%(flooded)s)
),

folded AS (
    INSERT INTO found_findings (finding_type, subject, facts, evidence)
    SELECT
        'feed_anomaly',
        'feed:' || sample.finding_type,
        sample.finding_type,
        jsonb_build_object(
            'of', sample.finding_type, 'findings', max(sample.findings),
            'sample', jsonb_agg(sample.subject ORDER BY sample.place)
        )
    FROM sample
    WHERE sample.place <= %(sample_size)s
    GROUP BY sample.finding_type
)

DELETE FROM found_findings AS found
WHERE found.finding_type = ANY(%(flooded)s);

-- name: count_changes
-- Of what was found: how much is new, how much opens again, how much is known.
SELECT
    found.finding_type,
    count(*) FILTER (WHERE known.id IS NULL) AS opened,
    count(*) FILTER (
        WHERE NOT finding_stays_v1(known, sha256(convert_to(found.facts, 'UTF8')))
    ) AS reopened,
    count(*) AS findings
FROM (
    SELECT DISTINCT ON (each.finding_type, each.subject)
        each.finding_type,
        each.subject,
        each.facts
    FROM found_findings AS each
    ORDER BY each.finding_type, each.subject, each.facts
) AS found
LEFT JOIN reconciliation_findings AS known
    ON known.fingerprint = sha256(
        convert_to(
            concat_ws(
                E'\x1f',
                CASE found.finding_type WHEN 'ledger_invariant' THEN 'ledger' ELSE %(provider)s END,
                %(tenant_id)s::UUID, found.finding_type, found.subject
            ),
            'UTF8'
        )
    )
GROUP BY found.finding_type;

-- name: audit_reopened
-- Writes down which resolved findings will open again. Runs before they are written.
INSERT INTO audit_events (
    tenant_id, actor_kind, actor_label, action, object_kind, object_id, reason, state_before, state_after
)
SELECT DISTINCT
    known.tenant_id,
    'system',
    'reconciliation',
    'finding.reopened',
    'finding',
    known.id::TEXT,
    'seen again, and not as it was',
    jsonb_build_object('status', 'RESOLVED', 'resolution_code', known.resolution_code),
    jsonb_build_object('status', 'OPEN', 'run_id', %(run_id)s::UUID)
FROM (
    SELECT DISTINCT ON (each.finding_type, each.subject)
        each.finding_type,
        each.subject,
        each.facts
    FROM found_findings AS each
    ORDER BY each.finding_type, each.subject, each.facts
) AS found
INNER JOIN reconciliation_findings AS known
    ON known.fingerprint = sha256(
        convert_to(
            concat_ws(
                E'\x1f',
                CASE found.finding_type WHEN 'ledger_invariant' THEN 'ledger' ELSE %(provider)s END,
                %(tenant_id)s::UUID, found.finding_type, found.subject
            ),
            'UTF8'
        )
    )
WHERE NOT finding_stays_v1(known, sha256(convert_to(found.facts, 'UTF8')));

-- name: open_findings
-- Writes what was found: what is known is brought up to date, and opens again when it says something else than when it was
-- resolved, or when it had only gone by itself.
WITH described AS (
    SELECT
        catalogue.finding_type,
        catalogue.severity,
        catalogue.message
    FROM unnest(%(types)s::TEXT[], %(severities)s::TEXT[], %(messages)s::TEXT[])
        AS catalogue (finding_type, severity, message)
),

found AS (
    SELECT DISTINCT ON (each.finding_type, each.subject)
        each.*,
        CASE each.finding_type WHEN 'ledger_invariant' THEN 'ledger' ELSE %(provider)s END AS provider
    FROM found_findings AS each
    ORDER BY each.finding_type, each.subject, each.facts
)

INSERT INTO reconciliation_findings AS finding (
    id, provider, tenant_id, player_id, tx_id, provider_event_id, provider_ref, finding_type, severity, message,
    evidence, evidence_hash, fingerprint, run_id, account_id, item_id, transaction_id, created_at, updated_at,
    last_seen_at
)
SELECT
    uuid_v7(),
    found.provider,
    %(tenant_id)s,
    found.player_id,
    found.tx_id,
    found.provider_event_id,
    found.provider_ref,
    found.finding_type,
    described.severity,
    described.message,
    jsonb_strip_nulls(found.evidence),
    sha256(convert_to(found.facts, 'UTF8')),
    sha256(
        convert_to(
            concat_ws(E'\x1f', found.provider, %(tenant_id)s::UUID, found.finding_type, found.subject), 'UTF8'
        )
    ),
    %(run_id)s,
    found.account_id,
    found.item_id,
    found.transaction_id,
    %(now)s,
    %(now)s,
    %(now)s
FROM found
INNER JOIN described ON found.finding_type = described.finding_type
-- In one order, so that two who write the same ones do not wait for each other in a circle.
ORDER BY 13
ON CONFLICT ON CONSTRAINT reconciliation_findings_fingerprint_key DO UPDATE
SET
    severity = excluded.severity,
    message = excluded.message,
    evidence = excluded.evidence,
    evidence_hash = excluded.evidence_hash,
    player_id = coalesce(excluded.player_id, finding.player_id),
    tx_id = coalesce(excluded.tx_id, finding.tx_id),
    provider_event_id = coalesce(excluded.provider_event_id, finding.provider_event_id),
    provider_ref = coalesce(excluded.provider_ref, finding.provider_ref),
    run_id = excluded.run_id,
    account_id = coalesce(excluded.account_id, finding.account_id),
    item_id = coalesce(excluded.item_id, finding.item_id),
    transaction_id = coalesce(excluded.transaction_id, finding.transaction_id),
    status = CASE WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.status ELSE 'OPEN' END,
    resolution_code = CASE
        WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolution_code
    END,
    resolution_note = CASE
        WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolution_note
    END,
    resolved_by = CASE WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolved_by END,
    resolved_at = CASE WHEN finding_stays_v1(finding, excluded.evidence_hash) THEN finding.resolved_at END,
    occurrences = finding.occurrences + 1,
    last_seen_at = excluded.last_seen_at,
    updated_at = CASE
        WHEN finding.evidence_hash = excluded.evidence_hash AND finding_stays_v1(finding, excluded.evidence_hash)
            THEN finding.updated_at
        ELSE excluded.updated_at
    END;

-- name: clear_findings
-- Resolves what is not so any more, only after a complete feed. What a run does not look at again it does not clear.
WITH gone AS (
    SELECT
        finding.id,
        CASE
            WHEN finding.finding_type = 'orphan_webhook' AND EXISTS (
                SELECT
                FROM found_findings AS found
                WHERE found.provider_ref = finding.provider_ref AND found.item_id IS NOT NULL
            )
                THEN 'MERGED'
            ELSE 'AUTO_CLEARED'
        END AS resolution_code
    FROM reconciliation_findings AS finding
    WHERE
        finding.tenant_id = %(tenant_id)s
        AND finding.provider IN (%(provider)s, 'ledger')
        AND finding.status = 'OPEN'
        AND finding.finding_type <> ALL(%(flooded)s)
        AND CASE
            WHEN finding.provider = 'ledger'
                THEN EXISTS (
                    SELECT
                    FROM census_runs AS run
                    WHERE
                        run.tenant_id = %(tenant_id)s
                        AND run.state IN ('clean', 'differences')
                        AND run.started_at > finding.created_at
                )
            WHEN finding.finding_type = 'balance_drift'
                THEN (finding.evidence ->> 'day')::DATE >= %(from_day)s
                AND (finding.evidence ->> 'day')::DATE < %(until_day)s
            WHEN finding.finding_type = 'feed_anomaly'
                THEN NOT %(is_window_asked)s OR finding.evidence ->> 'of' IS NULL
            WHEN finding.item_id IS NOT NULL THEN TRUE
            WHEN finding.finding_type = 'missing_in_psp' AND finding.transaction_id IS NOT NULL
                THEN NOT EXISTS (
                    SELECT
                    FROM reconciliation_unmatched AS unmatched
                    WHERE
                        unmatched.tenant_id = %(tenant_id)s
                        AND unmatched.provider = %(provider)s
                        AND unmatched.transaction_id = finding.transaction_id
                )
                OR EXISTS (SELECT FROM found_findings AS found WHERE found.transaction_id = finding.transaction_id)
            WHEN finding.transaction_id IS NOT NULL THEN TRUE
            WHEN finding.finding_type IN ('stale_in_transit', 'ledger_invariant')
                THEN NOT EXISTS (
                    SELECT
                    FROM payout_attempts AS attempt
                    WHERE attempt.withdrawal_id = finding.tx_id AND attempt.next_check_at IS NOT NULL
                )
            WHEN finding.finding_type = 'orphan_webhook'
                THEN EXISTS (
                    SELECT
                    FROM found_findings AS found
                    WHERE found.provider_ref = finding.provider_ref AND found.item_id IS NOT NULL
                )
                OR EXISTS (
                    SELECT
                    FROM psp_statement_items AS item
                    WHERE
                        item.provider = %(provider)s
                        AND item.provider_ref = finding.provider_ref
                        AND item.tenant_id = %(tenant_id)s
                        AND item.transaction_id IS NOT NULL
                )
                OR EXISTS (
                    SELECT
                    FROM psp_events AS event
                    WHERE
                        event.provider = %(provider)s
                        AND event.account_id = ANY(%(account_ids)s)
                        AND event.provider_event_id = finding.provider_event_id
                        AND event.signature_status = 'valid'
                        AND event.state = 'applied'
                        AND event.effect <> 'orphan'
                )
            WHEN finding.finding_type IN ('amount_mismatch', 'currency_mismatch', 'status_mismatch', 'missing_in_psp')
                THEN EXISTS (
                    SELECT
                    FROM ledger_transactions AS entry
                    INNER JOIN psp_statement_items AS item ON entry.id = item.transaction_id
                    WHERE
                        entry.reference = finding.tx_id
                        AND entry.tenant_id = %(tenant_id)s
                        AND entry.type IN ('deposit_captured', 'withdraw_paid')
                )
            ELSE FALSE
        END
        AND NOT EXISTS (
            SELECT
            FROM found_findings AS found
            WHERE
                finding.fingerprint = sha256(
                    convert_to(
                        concat_ws(
                            E'\x1f',
                            CASE found.finding_type WHEN 'ledger_invariant' THEN 'ledger' ELSE %(provider)s END,
                            %(tenant_id)s::UUID, found.finding_type, found.subject
                        ),
                        'UTF8'
                    )
                )
        )
),

cleared AS (
    UPDATE reconciliation_findings AS finding
    SET
        status = 'RESOLVED',
        resolution_code = gone.resolution_code,
        resolution_note = NULL,
        resolved_by = NULL,
        resolved_at = %(now)s,
        updated_at = %(now)s,
        run_id = %(run_id)s
    FROM gone
    WHERE finding.id = gone.id AND finding.tenant_id = %(tenant_id)s AND finding.status = 'OPEN'
    RETURNING finding.id, finding.finding_type, finding.resolution_code
),

audited AS (
    INSERT INTO audit_events (
        tenant_id, actor_kind, actor_label, action, object_kind, object_id, reason, state_before, state_after
    )
    SELECT
        %(tenant_id)s,
        'system',
        'reconciliation',
        'finding.resolved',
        'finding',
        cleared.id::TEXT,
        'the run did not find it any more',
        jsonb_build_object('status', 'OPEN'),
        jsonb_build_object(
            'status', 'RESOLVED', 'resolution_code', cleared.resolution_code, 'run_id', %(run_id)s::UUID
        )
    FROM cleared
)

SELECT
    cleared.finding_type,
    count(*) AS findings
FROM cleared
GROUP BY cleared.finding_type;
