-- name: find_usual
-- What was found to be usual for a tenant under this arbiter, and when.
SELECT
    kept.baseline,
    kept.found_at
FROM monitor_baselines AS kept
WHERE
    kept.tenant_id = %(tenant_id)s
    AND kept.stream = %(stream)s
    AND kept.epoch = %(epoch)s
    AND kept.arbiter = %(arbiter)s;

-- name: keep_usual
-- Keeps what was found to be usual, in the place of what was found before.
INSERT INTO monitor_baselines (tenant_id, stream, epoch, arbiter, found_at, n, x, baseline)
VALUES (%(tenant_id)s, %(stream)s, %(epoch)s, %(arbiter)s, %(found_at)s, %(n)s, %(x)s, %(baseline)s)
ON CONFLICT (tenant_id, stream, epoch, arbiter) DO UPDATE
SET
    found_at = excluded.found_at,
    n = excluded.n,
    x = excluded.x,
    baseline = excluded.baseline;

-- name: count_refusals
-- Decisions of a tenant by hour of the week, of these refused by the arbiter, and on how many days that hour had any.
SELECT
    ((extract(ISODOW FROM kept.minute AT TIME ZONE 'UTC')::INTEGER - 1) * 24)
    + extract(HOUR FROM kept.minute AT TIME ZONE 'UTC')::INTEGER AS hour,
    coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't1_disputed'), 0)::BIGINT AS n,
    coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't1_refused'), 0)::BIGINT AS x,
    count(DISTINCT (kept.minute AT TIME ZONE 'UTC')::DATE)::INTEGER AS days
FROM evidence_buckets AS kept
WHERE
    kept.tenant_id = %(tenant_id)s
    AND kept.minute >= %(since)s
    AND kept.minute < %(until)s
    AND kept.stream IN ('t1_disputed', 't1_refused')
GROUP BY hour
ORDER BY hour;

-- name: count_rejections
-- The same of a provider's deliveries: those of senders that are to be believed, and of these not verified.
SELECT
    ((extract(ISODOW FROM kept.minute AT TIME ZONE 'UTC')::INTEGER - 1) * 24)
    + extract(HOUR FROM kept.minute AT TIME ZONE 'UTC')::INTEGER AS hour,
    sum(kept.n)::BIGINT AS n,
    coalesce(sum(kept.n) FILTER (WHERE kept.result <> 'valid'), 0)::BIGINT AS x,
    count(DISTINCT (kept.minute AT TIME ZONE 'UTC')::DATE)::INTEGER AS days
FROM delivery_buckets AS kept
WHERE
    kept.provider = %(provider)s
    AND kept.is_credible
    AND kept.minute >= %(since)s
    AND kept.minute < %(until)s
GROUP BY hour
ORDER BY hour;

-- name: find_pool
-- What is usual for all tenants together, as it was found for each of them lately.
SELECT
    coalesce(sum(kept.n), 0)::BIGINT AS n,
    coalesce(sum(kept.x), 0)::BIGINT AS x
FROM monitor_baselines AS kept
INNER JOIN tenants AS tenant ON tenant.id = kept.tenant_id
WHERE kept.stream = 't1_refused' AND kept.found_at >= %(since)s AND NOT tenant.is_sandbox;

-- name: list_control
-- The last hour of tenants whose legacy column decides, each with what is usual for it: what happens to them is not done
-- by enforcing.
SELECT
    recent.n,
    recent.x,
    usual.n AS usual_n,
    usual.x AS usual_x
FROM (
    SELECT
        kept.tenant_id,
        coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't1_disputed'), 0)::BIGINT AS n,
        coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't1_refused'), 0)::BIGINT AS x
    FROM evidence_buckets AS kept
    WHERE
        kept.minute >= %(since)s
        AND kept.minute < %(until)s
        AND kept.arbiter = 'legacy'
        AND kept.stream IN ('t1_disputed', 't1_refused')
    GROUP BY kept.tenant_id
) AS recent
INNER JOIN tenant_modes AS mode ON mode.tenant_id = recent.tenant_id AND mode.arbiter = 'legacy'
INNER JOIN monitor_baselines AS usual
    ON usual.tenant_id = recent.tenant_id
    AND usual.stream = 't1_refused'
    AND usual.epoch = mode.epoch
    AND usual.arbiter = 'legacy'
INNER JOIN tenants AS tenant ON tenant.id = recent.tenant_id AND NOT tenant.is_sandbox
WHERE usual.n > 0
ORDER BY recent.tenant_id
LIMIT %(limit)s;
