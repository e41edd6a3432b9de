-- name: list_open_kinds
-- What is open by type and severity, since when, and how much of it nobody looks after; of a tenant or of all when
-- tenant_id is NULL. In each tenant counted only so far.
SELECT
    finding.finding_type,
    finding.severity,
    count(*) AS findings,
    count(*) FILTER (WHERE finding.assigned_to IS NULL) AS unassigned,
    min(finding.created_at) AS oldest_at,
    bool_or(finding.place >= %(counted_max)s) AS is_cut
FROM tenants AS tenant
CROSS JOIN LATERAL (
    SELECT
        opened.*,
        row_number() OVER () AS place
    FROM (
        SELECT
            candidate.finding_type,
            candidate.severity,
            candidate.assigned_to,
            candidate.created_at
        FROM reconciliation_findings AS candidate
        WHERE candidate.tenant_id = tenant.id AND candidate.status = 'OPEN'
        ORDER BY candidate.severity, candidate.created_at
        LIMIT %(counted_max)s
    ) AS opened
) AS finding
WHERE %(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s
GROUP BY finding.finding_type, finding.severity
ORDER BY finding.finding_type, finding.severity
LIMIT 100;

-- name: list_findings
-- Findings that a filter lets through among the newest of a tenant, or of all when tenant_id is NULL; from before one.
SELECT
    finding.id,
    finding.provider,
    finding.tenant_id,
    finding.player_id,
    finding.tx_id,
    finding.provider_event_id,
    finding.provider_ref,
    finding.finding_type,
    finding.severity,
    finding.status,
    finding.message,
    finding.evidence,
    finding.run_id,
    finding.resolution_code,
    finding.resolution_note,
    finding.resolved_by,
    finding.resolved_at,
    finding.assigned_to,
    finding.occurrences,
    finding.account_id,
    finding.item_id,
    finding.transaction_id,
    finding.created_at,
    finding.updated_at,
    finding.last_seen_at
FROM (
    SELECT candidate.*
    FROM reconciliation_findings AS candidate
    WHERE
        (%(tenant_id)s::UUID IS NULL OR candidate.tenant_id = %(tenant_id)s)
        AND (%(status)s::TEXT IS NULL OR candidate.status = %(status)s)
        AND (%(tx_id)s::UUID IS NULL OR candidate.tx_id = %(tx_id)s)
        AND (%(run_id)s::UUID IS NULL OR candidate.run_id = %(run_id)s)
        AND (%(before_id)s::UUID IS NULL OR candidate.id < %(before_id)s)
    ORDER BY candidate.id DESC
    LIMIT %(looked_at_max)s
) AS finding
WHERE
    (%(provider)s::TEXT IS NULL OR finding.provider = %(provider)s)
    AND (%(finding_type)s::TEXT IS NULL OR finding.finding_type = %(finding_type)s)
    AND (%(severity)s::TEXT IS NULL OR finding.severity = %(severity)s)
    AND (%(player_id)s::UUID IS NULL OR finding.player_id = %(player_id)s)
    AND (%(assigned_to)s::UUID IS NULL OR finding.assigned_to = %(assigned_to)s)
    AND (NOT %(is_unassigned)s OR finding.assigned_to IS NULL)
    AND (%(created_before)s::TIMESTAMPTZ IS NULL OR finding.created_at < %(created_before)s)
ORDER BY finding.id DESC
LIMIT %(limit)s;

-- name: count_findings
-- How many findings of those that list_findings looks through match, and the last of these when there may be more.
SELECT
    count(*) FILTER (
        WHERE
            (%(provider)s::TEXT IS NULL OR finding.provider = %(provider)s)
            AND (%(finding_type)s::TEXT IS NULL OR finding.finding_type = %(finding_type)s)
            AND (%(severity)s::TEXT IS NULL OR finding.severity = %(severity)s)
            AND (%(player_id)s::UUID IS NULL OR finding.player_id = %(player_id)s)
            AND (%(assigned_to)s::UUID IS NULL OR finding.assigned_to = %(assigned_to)s)
            AND (NOT %(is_unassigned)s OR finding.assigned_to IS NULL)
            AND (%(created_before)s::TIMESTAMPTZ IS NULL OR finding.created_at < %(created_before)s)
    ) AS matching,
    -- In the order in which they are read anyway: nothing has to be sorted.
    (array_agg(finding.id ORDER BY finding.id DESC))[%(looked_at_max)s::INTEGER] AS oldest_id
FROM (
    SELECT candidate.*
    FROM reconciliation_findings AS candidate
    WHERE
        (%(tenant_id)s::UUID IS NULL OR candidate.tenant_id = %(tenant_id)s)
        AND (%(status)s::TEXT IS NULL OR candidate.status = %(status)s)
        AND (%(tx_id)s::UUID IS NULL OR candidate.tx_id = %(tx_id)s)
        AND (%(run_id)s::UUID IS NULL OR candidate.run_id = %(run_id)s)
        AND (%(before_id)s::UUID IS NULL OR candidate.id < %(before_id)s)
    ORDER BY candidate.id DESC
    LIMIT %(looked_at_max)s
) AS finding;

-- name: list_names
-- What tenants and admins are called, by their ids.
SELECT
    tenant.id,
    tenant.name
FROM tenants AS tenant
WHERE tenant.id = ANY(%(ids)s)
UNION ALL
SELECT
    admin.id,
    admin.email
FROM admins AS admin
WHERE admin.id = ANY(%(ids)s)
ORDER BY id
LIMIT %(limit)s;

-- name: find_context
-- One finding's surroundings: tenant, people, and the payment of ours that it is about.
SELECT
    tenant.name AS tenant_name,
    player.username,
    player.email,
    player.currency,
    assigned.email AS assigned_email,
    resolver.email AS resolved_email,
    CASE WHEN deposit.id IS NOT NULL THEN 'deposit' WHEN withdrawal.id IS NOT NULL THEN 'payout' END AS payment_kind,
    coalesce(deposit.state, withdrawal.state) AS payment_state,
    coalesce(deposit.amount, withdrawal.amount) AS payment_amount,
    coalesce(deposit.currency, withdrawal.currency) AS payment_currency,
    coalesce(deposit.provider_ref, withdrawal.provider_ref) AS payment_ref,
    coalesce(deposit.created_at, withdrawal.created_at) AS payment_created_at,
    coalesce(deposit.updated_at, withdrawal.updated_at) AS payment_updated_at,
    coalesce(
        deposit.state = 'pending_provider',
        EXISTS (
            SELECT
            FROM payout_attempts AS attempt
            WHERE
                attempt.withdrawal_id = finding.tx_id
                AND attempt.tenant_id = finding.tenant_id
                AND attempt.next_check_at IS NOT NULL
        )
    ) AS is_payment_open
FROM reconciliation_findings AS finding
INNER JOIN tenants AS tenant ON finding.tenant_id = tenant.id
LEFT JOIN players AS player ON finding.player_id = player.id AND finding.tenant_id = player.tenant_id
LEFT JOIN admins AS assigned ON finding.assigned_to = assigned.id
LEFT JOIN admins AS resolver ON finding.resolved_by = resolver.id
LEFT JOIN deposits AS deposit ON finding.tx_id = deposit.id AND finding.tenant_id = deposit.tenant_id
LEFT JOIN withdrawals AS withdrawal ON finding.tx_id = withdrawal.id AND finding.tenant_id = withdrawal.tenant_id
WHERE finding.id = %(finding_id)s AND finding.tenant_id = %(tenant_id)s;

-- name: list_events
-- Deliveries of the provider that belong to a finding: named by it, of its event, or about its payment.
SELECT
    event.id,
    event.provider,
    event.account_id,
    event.provider_event_id,
    event.signature_status,
    event.signature_result,
    event.state,
    event.event_type,
    event.effect,
    event.detail,
    event.received_at,
    event.applied_at
FROM (
    SELECT named.id FROM psp_events AS named WHERE named.id = ANY(%(event_ids)s::UUID[])
    UNION
    SELECT about.id FROM psp_events AS about WHERE about.tx_id = %(tx_id)s::UUID
    UNION
    SELECT same.id
    FROM psp_events AS same
    WHERE
        same.signature_status = 'valid'
        AND same.provider = %(provider)s
        AND same.account_id = ANY(
            ARRAY(
                SELECT account.account_id
                FROM psp_accounts AS account
                WHERE account.tenant_id = %(tenant_id)s AND account.provider = %(provider)s
            ) || ARRAY['', %(account_id)s]
        )
        AND same.provider_event_id = %(provider_event_id)s
) AS found
INNER JOIN psp_events AS event ON found.id = event.id
WHERE event.tenant_id = %(tenant_id)s
ORDER BY event.id DESC
LIMIT %(limit)s;

-- name: list_assignable
-- Active admins of a tenant who may look after findings.
SELECT
    admin.id,
    admin.email
FROM admins AS admin
WHERE admin.tenant_id = %(tenant_id)s AND admin.is_active AND admin.role = ANY(%(roles)s)
ORDER BY admin.email
LIMIT %(limit)s;

-- name: list_adjustments
-- Adjustments of a tenant, or all when tenant_id is NULL, the newest first, with what people are called.
SELECT
    adjustment.id,
    adjustment.tenant_id,
    adjustment.player_id,
    adjustment.finding_id,
    adjustment.currency,
    adjustment.player_amount,
    adjustment.clearing_amount,
    adjustment.provider,
    adjustment.closes_kind,
    adjustment.closes_id,
    adjustment.closes_attempt,
    adjustment.reason,
    adjustment.status,
    adjustment.proposed_by,
    adjustment.proposed_at,
    adjustment.decided_by,
    adjustment.decided_at,
    adjustment.decision_note,
    tenant.name,
    player.username,
    proposer.email,
    decider.email
FROM ledger_adjustments AS adjustment
INNER JOIN tenants AS tenant ON adjustment.tenant_id = tenant.id
INNER JOIN players AS player ON adjustment.player_id = player.id
INNER JOIN admins AS proposer ON adjustment.proposed_by = proposer.id
LEFT JOIN admins AS decider ON adjustment.decided_by = decider.id
WHERE
    (%(tenant_id)s::UUID IS NULL OR adjustment.tenant_id = %(tenant_id)s)
    AND (%(adjustment_id)s::UUID IS NULL OR adjustment.id = %(adjustment_id)s)
    AND (%(finding_id)s::UUID IS NULL OR adjustment.finding_id = %(finding_id)s)
    AND (%(status)s::TEXT IS NULL OR adjustment.status = %(status)s)
    AND (%(before_id)s::UUID IS NULL OR adjustment.id < %(before_id)s)
ORDER BY adjustment.id DESC
LIMIT %(limit)s;
