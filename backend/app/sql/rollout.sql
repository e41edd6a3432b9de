-- name: find_tenant_id
-- The tenant of an id or a slug, as somebody typed it.
SELECT tenant.id
FROM tenants AS tenant
WHERE tenant.slug = %(name)s OR tenant.id::TEXT = lower(%(name)s);

-- name: find_mode
-- Who decides for a tenant, since which flip, and which level says so.
SELECT
    tenant.slug,
    mode.arbiter,
    mode.epoch,
    mode.shadow_write,
    mode.enforce_source,
    (tenant.flags ->> 'ledger_enforce_override')::BOOLEAN AS override
FROM tenants AS tenant
INNER JOIN tenant_modes AS mode ON mode.tenant_id = tenant.id
WHERE tenant.id = %(tenant_id)s;

-- name: find_default_arbiter
-- Whether a tenant with nothing of its own would be enforced.
SELECT
    NOT level.is_killed
    AND coalesce(level.global_value, level.environment_value, level.default_value) AS is_enforced
FROM flag_levels AS level
WHERE level.flag = 'ledger_enforce_balance';

-- name: keep_short
-- For this transaction: no statement and no silence of ours keeps a tenant's money waiting for long.
SELECT
    set_config('lock_timeout', '1s', TRUE),
    set_config('statement_timeout', %(timeout_ms)s::TEXT, TRUE),
    set_config('idle_in_transaction_session_timeout', %(timeout_ms)s::TEXT, TRUE);

-- name: lock_control
-- Keeps everybody else from changing flags, or with is_alone false only those who change many tenants' flags.
SELECT rollout_control_v1(%(is_alone)s, TRUE);

-- name: enter_fence
-- What keep_short, lock_control and take_fences do, for one tenant, in this order and in one round trip; whether the fence
-- came.
SELECT
    set_config('lock_timeout', '1s', TRUE),
    set_config('statement_timeout', %(timeout_ms)s::TEXT, TRUE),
    set_config('idle_in_transaction_session_timeout', %(timeout_ms)s::TEXT, TRUE),
    rollout_control_v1(FALSE, TRUE),
    cardinality(rollout_fence_v1(ARRAY[%(tenant_id)s::UUID], %(budget_ms)s)) = 1 AS is_fenced;

-- name: take_fences
-- Takes the fences of tenants as far as they come within the budget; whose did.
SELECT rollout_fence_v1(%(tenant_ids)s, %(budget_ms)s) AS tenant_ids;

-- name: find_enforced
-- Whose arbiter is the ledger now.
SELECT rollout_enforced_v1() AS tenant_ids;

-- name: list_fence_holders
-- Sessions that keep a tenant's fence, the oldest transaction first.
SELECT
    held.pid,
    session.application_name,
    session.xact_start
FROM pg_locks AS held
INNER JOIN tenants AS tenant ON tenant.number::OID = held.objid
LEFT JOIN pg_stat_activity AS session ON session.pid = held.pid
WHERE
    held.locktype = 'advisory'
    AND held.classid = 4711001
    AND held.granted
    AND held.pid <> pg_backend_pid()
    AND tenant.id = %(tenant_id)s
ORDER BY session.xact_start NULLS FIRST, held.pid
LIMIT 5;

-- name: attest_players
-- Count and sums of the sides of these players of a tenant, by currency, and the first that do not fit.
SELECT
    attested.currency,
    attested.players,
    attested.unopened,
    attested.differing,
    attested.legacy_available,
    attested.legacy_held,
    attested.snapshot_available,
    attested.snapshot_pending,
    attested.ledger_available,
    attested.ledger_pending,
    attested.unopened_ids,
    attested.differing_ids
FROM rollout_attest_v1(%(tenant_id)s, %(player_ids)s) AS attested;

-- name: attest_tenant
-- The same for the players of a tenant in the order of their ids, from after one and at most so many; the last of them.
WITH page AS MATERIALIZED (
    SELECT player.id
    FROM players AS player
    WHERE player.tenant_id = %(tenant_id)s AND (%(after_id)s::UUID IS NULL OR player.id > %(after_id)s)
    ORDER BY player.id
    LIMIT %(limit)s
)

SELECT
    attested.currency,
    attested.players,
    attested.unopened,
    attested.differing,
    attested.legacy_available,
    attested.legacy_held,
    attested.snapshot_available,
    attested.snapshot_pending,
    attested.ledger_available,
    attested.ledger_pending,
    attested.unopened_ids,
    attested.differing_ids,
    (SELECT page.id FROM page ORDER BY page.id DESC LIMIT 1) AS last_id
FROM rollout_attest_v1(%(tenant_id)s, ARRAY(SELECT page.id FROM page)) AS attested;

-- name: find_touch_floors
-- The smallest ids that rows can have which a snapshot taken after this statement does not see. Ids begin with the moment at
-- which they were made. An entry that is not seen is of a call that holds the tenant's fence now, or of one that takes it
-- later; so no entry is older than the oldest transaction that holds it. Whose beginning is not shown to us, since it is
-- another role's, is given a margin. A player may be inserted before the fence is taken, and gets the margin always.
SELECT
    floors.entry_floor,
    floors.player_floor
FROM (
    SELECT
        least(
            clock_timestamp(),
            min(coalesce(session.xact_start, clock_timestamp() - %(margin)s::INTERVAL))
        ) - INTERVAL '10 milliseconds' AS entries_since,
        clock_timestamp() - %(margin)s::INTERVAL AS players_since
    FROM pg_locks AS held
    INNER JOIN tenants AS tenant ON tenant.number::OID = held.objid
    LEFT JOIN pg_stat_activity AS session ON session.pid = held.pid
    WHERE held.locktype = 'advisory' AND held.classid = 4711001 AND held.granted AND tenant.id = %(tenant_id)s
) AS moment
CROSS JOIN LATERAL (
    SELECT
        (lpad(to_hex(floor(extract(EPOCH FROM moment.entries_since) * 1000)::BIGINT), 12, '0') || repeat('0', 20))::UUID
            AS entry_floor,
        (lpad(to_hex(floor(extract(EPOCH FROM moment.players_since) * 1000)::BIGINT), 12, '0') || repeat('0', 20))::UUID
            AS player_floor
) AS floors;

-- name: find_touched
-- Players of a tenant whose wallets were written, or who came into being, since their floors; is_cut: there were too many rows to
-- read them all. Read off the index of ids, whosever rows they are: that costs what was written since, not what there is.
WITH entry AS MATERIALIZED (
    SELECT
        stored.tenant_id,
        stored.player_id
    FROM ledger_transactions AS stored
    WHERE stored.id >= %(entry_floor)s
    ORDER BY stored.id
    LIMIT %(limit)s
),

newcomer AS MATERIALIZED (
    SELECT stored.id
    FROM players AS stored
    WHERE stored.tenant_id = %(tenant_id)s AND stored.id >= %(player_floor)s
    ORDER BY stored.id DESC
    LIMIT %(limit)s
)

SELECT
    (SELECT count(*) FROM entry) = %(limit)s OR (SELECT count(*) FROM newcomer) = %(limit)s AS is_cut,
    ARRAY(
        SELECT entry.player_id FROM entry WHERE entry.tenant_id = %(tenant_id)s
        UNION
        SELECT newcomer.id FROM newcomer
    ) AS player_ids;

-- name: enforce
-- Makes the ledger the arbiter; a row only when it was not before.
SELECT
    change.id,
    change.tenant_id,
    change.arbiter_before,
    change.arbiter,
    change.epoch,
    change.reason,
    change.attestation,
    change.is_fenced,
    change.fence_waited_ms,
    change.changed_at
FROM rollout_enforce_v1(
    %(tenant_id)s, %(kind)s, %(override)s, %(expires_at)s, %(reason)s, %(actor)s, %(facts)s, %(attestation)s
) AS change;

-- name: roll_back
-- Makes the legacy column the arbiter, of one tenant or of all; a row for each whose arbiter it was not before.
SELECT
    change.id,
    change.tenant_id,
    change.arbiter_before,
    change.arbiter,
    change.epoch,
    change.reason,
    change.attestation,
    change.is_fenced,
    change.fence_waited_ms,
    change.changed_at
FROM rollout_rollback_v1(%(tenant_id)s, %(kind)s, %(override)s, %(reason)s, %(actor)s, %(facts)s) AS change;

-- name: settle
-- Notes for all tenants whose arbiter is another one than before, by a flag that was changed in this transaction.
SELECT
    change.id,
    change.tenant_id,
    change.arbiter_before,
    change.arbiter,
    change.epoch,
    change.reason,
    change.attestation,
    change.is_fenced,
    change.fence_waited_ms,
    change.changed_at
FROM rollout_settle_v1(%(before)s, %(reason)s, %(actor)s, %(facts)s, %(budget_ms)s) AS change;

-- name: list_changes
-- The flips of a tenant, newest first.
SELECT
    change.id,
    change.tenant_id,
    change.arbiter_before,
    change.arbiter,
    change.epoch,
    change.reason,
    change.attestation,
    change.is_fenced,
    change.fence_waited_ms,
    change.changed_at
FROM arbiter_changes AS change
WHERE change.tenant_id = %(tenant_id)s AND change.kind <> 'rehearsal'
ORDER BY change.epoch DESC
LIMIT %(limit)s;

-- name: list_mismatch_players
-- Wallets of a tenant that were seen to differ since a time, the latest first.
SELECT
    mismatch.player_id,
    mismatch.currency,
    mismatch.class,
    mismatch.legacy_available,
    mismatch.legacy_held,
    mismatch.ledger_available,
    mismatch.ledger_pending,
    mismatch.occurrences,
    mismatch.last_seen_at
FROM ledger_mismatches AS mismatch
WHERE mismatch.tenant_id = %(tenant_id)s AND mismatch.last_seen_at >= %(since)s
ORDER BY mismatch.last_seen_at DESC, mismatch.player_id, mismatch.class
LIMIT %(limit)s;

-- name: list_tenant_ids
-- Tenants by number, from after one: one tenant, or all of them when tenant_id is NULL.
SELECT
    tenant.id,
    tenant.number
FROM tenants AS tenant
WHERE (%(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s) AND tenant.number > %(after_number)s
ORDER BY tenant.number
LIMIT %(limit)s
OFFSET %(offset)s;

-- name: count_tenants
-- How many list_tenant_ids could show.
SELECT count(*) AS total
FROM tenants AS tenant
WHERE %(tenant_id)s::UUID IS NULL OR tenant.id = %(tenant_id)s;

-- name: list_enforced_by
-- Tenants that a level enforces, by number.
SELECT mode.tenant_id
FROM tenant_modes AS mode
WHERE mode.arbiter = 'ledger' AND mode.enforce_source = %(source)s
ORDER BY mode.number
LIMIT %(limit)s;

-- name: list_balances
-- What the last finished census of each tenant that is not enforced summed up, by currency; the base of waves.
SELECT
    mode.tenant_id,
    tenant.slug,
    mode.number,
    total.currency,
    total.players,
    total.legacy_available + total.legacy_held AS balance,
    mode.arbiter
FROM tenant_modes AS mode
INNER JOIN tenants AS tenant ON tenant.id = mode.tenant_id
LEFT JOIN LATERAL (
    SELECT run.id
    FROM census_runs AS run
    WHERE run.tenant_id = mode.tenant_id AND run.state IN ('clean', 'differences')
    ORDER BY run.id DESC
    LIMIT 1
) AS run ON TRUE
LEFT JOIN census_totals AS total ON total.tenant_id = mode.tenant_id AND total.run_id = run.id
WHERE mode.number > %(after_number)s
ORDER BY mode.number, total.currency
LIMIT %(limit)s;
