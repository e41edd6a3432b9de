-- name: propose_adjustment
-- Writes a proposal.
SELECT
    proposed.code,
    proposed.adjustment_id
FROM adjustment_propose_v1(
    p_tenant_id => %(tenant_id)s,
    p_player_id => %(player_id)s,
    p_finding_id => %(finding_id)s,
    p_player_amount => %(player_amount)s,
    p_clearing_amount => %(clearing_amount)s,
    p_provider => %(provider)s,
    p_closes_kind => %(closes_kind)s,
    p_closes_id => %(closes_id)s,
    p_closes_attempt => %(closes_attempt)s,
    p_reason => %(reason)s,
    p_admin_id => %(admin_id)s
) AS proposed;

-- name: decide_adjustment
-- Approves and carries out, or rejects.
SELECT
    decided.code,
    decided.detail
FROM adjustment_decide_v1(
    p_tenant_id => %(tenant_id)s,
    p_adjustment_id => %(adjustment_id)s,
    p_admin_id => %(admin_id)s,
    p_is_approved => %(is_approved)s,
    p_note => %(note)s
) AS decided;

-- name: find_adjustment
-- One adjustment of a tenant, or of any when tenant_id is NULL.
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
    adjustment.decision_note
FROM ledger_adjustments AS adjustment
WHERE
    adjustment.id = %(adjustment_id)s AND (%(tenant_id)s::UUID IS NULL OR adjustment.tenant_id = %(tenant_id)s);

-- name: list_adjustments
-- Adjustments of a tenant, or all when tenant_id is NULL; newest first, from before one.
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
    adjustment.decision_note
FROM ledger_adjustments AS adjustment
WHERE
    (%(tenant_id)s::UUID IS NULL OR adjustment.tenant_id = %(tenant_id)s)
    AND (%(status)s::TEXT IS NULL OR adjustment.status = %(status)s)
    AND (%(finding_id)s::UUID IS NULL OR adjustment.finding_id = %(finding_id)s)
    AND (%(before_id)s::UUID IS NULL OR adjustment.id < %(before_id)s)
ORDER BY adjustment.id DESC
LIMIT %(limit)s OFFSET %(offset)s;

-- name: count_adjustments
-- How many adjustments match.
SELECT count(*)
FROM ledger_adjustments AS adjustment
WHERE
    (%(tenant_id)s::UUID IS NULL OR adjustment.tenant_id = %(tenant_id)s)
    AND (%(status)s::TEXT IS NULL OR adjustment.status = %(status)s)
    AND (%(finding_id)s::UUID IS NULL OR adjustment.finding_id = %(finding_id)s);

-- name: find_currency
-- The currency of a player of the tenant.
SELECT player.currency
FROM players AS player
WHERE player.id = %(player_id)s AND player.tenant_id = %(tenant_id)s;
