-- name: take_number
-- A number for a process that counts and is not in the register.
SELECT nextval('service_instances_number_seq')::INTEGER;

-- name: flush
-- Adds what a process counted since its last flush; nothing when this flush was added before. The process's row is locked
-- first, so a flush that is sent again while the first try is still under way waits for it and then finds its number.
WITH taken AS (
    INSERT INTO evidence_flushes AS known (
        instance, flush_number, app_version, clock_skew_seconds, dropped, flushed_at
    )
    VALUES (
        %(instance)s,
        %(flush_number)s,
        %(app_version)s,
        %(clock_skew_seconds)s,
        %(dropped)s,
        clock_timestamp()
    )
    ON CONFLICT (instance) DO UPDATE
    SET
        flush_number = excluded.flush_number,
        app_version = excluded.app_version,
        clock_skew_seconds = excluded.clock_skew_seconds,
        dropped = known.dropped + excluded.dropped,
        flushed_at = excluded.flushed_at
    WHERE known.flush_number < excluded.flush_number
    RETURNING
        known.instance,
        known.flush_number,
        known.flushed_at
),

buckets AS (
    INSERT INTO evidence_buckets AS kept (
        tenant_id, stream, minute, instance, epoch, arbiter, flush_number, n, x, flushed_at
    )
    SELECT
        counted.tenant_id,
        counted.stream,
        counted.minute,
        taken.instance,
        counted.epoch,
        counted.arbiter,
        taken.flush_number,
        counted.n,
        counted.x,
        taken.flushed_at
    FROM jsonb_to_recordset(%(buckets)s::JSONB) AS counted (
        tenant_id UUID, stream TEXT, minute TIMESTAMPTZ, epoch INTEGER, arbiter TEXT, n BIGINT, x BIGINT
    )
    CROSS JOIN taken
    ON CONFLICT ON CONSTRAINT evidence_buckets_pkey DO UPDATE
    SET
        flush_number = excluded.flush_number,
        n = kept.n + excluded.n,
        x = kept.x + excluded.x,
        flushed_at = excluded.flushed_at
),

subjects AS (
    INSERT INTO evidence_subjects AS kept (
        tenant_id, stream, minute, epoch, arbiter, subject, currency, events, amount
    )
    SELECT
        counted.tenant_id,
        counted.stream,
        counted.minute,
        counted.epoch,
        counted.arbiter,
        counted.subject,
        counted.currency,
        counted.events,
        counted.amount
    FROM jsonb_to_recordset(%(subjects)s::JSONB) AS counted (
        tenant_id UUID, stream TEXT, minute TIMESTAMPTZ, epoch INTEGER, arbiter TEXT, subject TEXT, currency TEXT,
        events BIGINT, amount BIGINT
    )
    CROSS JOIN taken
    -- Two processes that flush the same players at once take their rows in one order.
    ORDER BY counted.tenant_id, counted.stream, counted.minute, counted.subject, counted.currency
    ON CONFLICT ON CONSTRAINT evidence_subjects_pkey DO UPDATE
    SET
        events = kept.events + excluded.events,
        amount = kept.amount + excluded.amount
),

deliveries AS (
    INSERT INTO delivery_buckets AS kept (
        provider, minute, instance, result, is_credible, flush_number, n, flushed_at
    )
    SELECT
        counted.provider,
        counted.minute,
        taken.instance,
        counted.result,
        counted.is_credible,
        taken.flush_number,
        counted.n,
        taken.flushed_at
    FROM jsonb_to_recordset(%(deliveries)s::JSONB) AS counted (
        provider TEXT, minute TIMESTAMPTZ, result TEXT, is_credible BOOLEAN, n BIGINT
    )
    CROSS JOIN taken
    ON CONFLICT ON CONSTRAINT delivery_buckets_pkey DO UPDATE
    SET
        flush_number = excluded.flush_number,
        n = kept.n + excluded.n,
        flushed_at = excluded.flushed_at
),

delivery_players AS (
    INSERT INTO delivery_subjects AS kept (provider, minute, subject, tenant_id, events)
    SELECT
        counted.provider,
        counted.minute,
        counted.subject,
        counted.tenant_id,
        counted.events
    FROM jsonb_to_recordset(%(delivery_subjects)s::JSONB) AS counted (
        provider TEXT, minute TIMESTAMPTZ, subject TEXT, tenant_id UUID, events BIGINT
    )
    CROSS JOIN taken
    ORDER BY counted.provider, counted.minute, counted.subject
    ON CONFLICT ON CONSTRAINT delivery_subjects_pkey DO UPDATE SET events = kept.events + excluded.events
)

SELECT
    clock_timestamp() AS now,
    EXISTS (SELECT FROM taken) AS is_new;

-- name: find_claimed
-- Whose payments deliveries name, in the order asked: payments of ours at that provider that are open, or were until a short
-- time ago. The ids of others, and of payments settled long ago, prove nothing about who sent them.
SELECT
    found.tenant_id,
    found.player_id
FROM unnest(
    %(providers)s::TEXT[], %(deposit_ids)s::UUID[], %(withdrawal_ids)s::UUID[], %(provider_refs)s::TEXT[]
) WITH ORDINALITY AS named (provider, deposit_id, withdrawal_id, provider_ref, place)
LEFT JOIN LATERAL (
    (
        SELECT
            deposit.tenant_id,
            deposit.player_id
        FROM deposits AS deposit
        WHERE
            deposit.id = named.deposit_id
            AND deposit.provider = named.provider
            AND (deposit.state = 'pending_provider' OR deposit.updated_at > %(settled_after)s)
        LIMIT 1
    )
    UNION ALL
    (
        SELECT
            deposit.tenant_id,
            deposit.player_id
        FROM deposits AS deposit
        WHERE
            deposit.provider = named.provider
            AND deposit.provider_ref = named.provider_ref
            AND (deposit.state = 'pending_provider' OR deposit.updated_at > %(settled_after)s)
        ORDER BY deposit.created_at DESC, deposit.id DESC
        LIMIT 1
    )
    UNION ALL
    (
        SELECT
            attempt.tenant_id,
            attempt.player_id
        FROM payout_attempts AS attempt
        WHERE
            attempt.withdrawal_id = named.withdrawal_id
            AND attempt.provider = named.provider
            AND (attempt.next_check_at IS NOT NULL OR attempt.state_at > %(settled_after)s)
        ORDER BY attempt.number DESC
        LIMIT 1
    )
    LIMIT 1
) AS found ON TRUE
ORDER BY named.place;

-- name: list_buckets
-- A tenant's minutes of all streams under one arbiter, all processes together, and when the last of them was flushed. Of the
-- time before recent_since only minutes in which the sides disagreed: of a quiet one nothing is asked so long after.
SELECT
    kept.stream,
    kept.minute,
    sum(kept.n)::BIGINT AS n,
    sum(kept.x)::BIGINT AS x,
    max(kept.flushed_at) AS flushed_at
FROM (
    SELECT recent.*
    FROM evidence_buckets AS recent
    WHERE
        recent.tenant_id = %(tenant_id)s
        AND recent.stream IN ('t1_disputed', 't1_overpaid', 't1_refused', 't3_mismatch')
        AND recent.minute >= %(recent_since)s
        AND recent.minute < %(until)s
    UNION ALL
    SELECT older.*
    FROM (
        SELECT DISTINCT disagreed.minute
        FROM evidence_buckets AS disagreed
        WHERE
            disagreed.tenant_id = %(tenant_id)s
            AND disagreed.minute >= %(since)s
            AND disagreed.minute < %(recent_since)s
            AND disagreed.x > 0
            AND disagreed.stream <> 't1_refused'
    ) AS disagreed
    INNER JOIN evidence_buckets AS older
        ON older.tenant_id = %(tenant_id)s
        AND older.stream IN ('t1_disputed', 't1_overpaid', 't1_refused', 't3_mismatch')
        AND older.minute = disagreed.minute
) AS kept
WHERE kept.epoch = %(epoch)s AND kept.arbiter = %(arbiter)s
GROUP BY kept.stream, kept.minute
ORDER BY kept.stream, kept.minute
LIMIT %(limit)s;

-- name: list_day_totals
-- How much was counted in a time that is not read minute by minute.
SELECT
    kept.stream,
    sum(kept.n)::BIGINT AS n
FROM evidence_buckets AS kept
WHERE
    kept.tenant_id = %(tenant_id)s
    AND kept.stream IN ('t1_disputed', 't3_mismatch')
    AND kept.minute >= %(since)s
    AND kept.minute < %(recent_since)s
    AND kept.epoch = %(epoch)s
    AND kept.arbiter = %(arbiter)s
GROUP BY kept.stream
ORDER BY kept.stream
LIMIT 10;

-- name: list_subjects
-- Who is behind x in a tenant under one arbiter, minute by minute.
SELECT
    kept.stream,
    kept.minute,
    kept.subject
FROM evidence_subjects AS kept
WHERE
    kept.tenant_id = %(tenant_id)s
    AND kept.minute >= %(since)s
    AND kept.minute < %(until)s
    AND kept.epoch = %(epoch)s
    AND kept.arbiter = %(arbiter)s
ORDER BY kept.stream, kept.minute, kept.subject
LIMIT %(limit)s;

-- name: list_swept
-- Opened wallets that censuses found to differ, minute by minute, as far as they are named.
SELECT
    date_trunc('minute', known.found_at) AS minute,
    known.player_id::TEXT AS subject
FROM census_differences AS known
WHERE
    known.tenant_id = %(tenant_id)s
    AND known.class IN ('available_diff', 'pending_diff')
    AND known.player_id IS NOT NULL
    AND known.found_at >= %(since)s
    AND known.found_at < %(until)s
GROUP BY minute, known.player_id
ORDER BY minute, subject
LIMIT %(limit)s;

-- name: list_delivery_buckets
-- A provider's minutes: deliveries, of these not verified, and those of which anybody may be the sender.
SELECT
    kept.minute,
    coalesce(sum(kept.n) FILTER (WHERE kept.is_credible), 0)::BIGINT AS credible,
    coalesce(sum(kept.n) FILTER (WHERE kept.is_credible AND kept.result <> 'valid'), 0)::BIGINT AS rejected,
    coalesce(sum(kept.n) FILTER (WHERE NOT kept.is_credible), 0)::BIGINT AS noise,
    max(kept.flushed_at) AS flushed_at
FROM delivery_buckets AS kept
WHERE kept.provider = %(provider)s AND kept.minute >= %(since)s AND kept.minute < %(until)s
GROUP BY kept.minute
ORDER BY kept.minute
LIMIT %(limit)s;

-- name: list_delivery_subjects
-- Whose payments a provider's rejected deliveries named, minute by minute.
SELECT
    kept.minute,
    kept.subject
FROM delivery_subjects AS kept
WHERE kept.provider = %(provider)s AND kept.minute >= %(since)s AND kept.minute < %(until)s
ORDER BY kept.minute, kept.subject
LIMIT %(limit)s;

-- name: list_delivery_results
-- What was wrong with a provider's deliveries.
SELECT
    kept.result,
    kept.is_credible,
    sum(kept.n)::BIGINT AS n
FROM delivery_buckets AS kept
WHERE kept.provider = %(provider)s AND kept.minute >= %(since)s
GROUP BY kept.result, kept.is_credible
ORDER BY n DESC, kept.result, kept.is_credible
LIMIT %(limit)s;

-- name: list_providers
-- The providers of which deliveries came in.
SELECT kept.provider
FROM delivery_buckets AS kept
WHERE kept.minute >= %(since)s AND kept.minute < %(until)s
GROUP BY kept.provider
ORDER BY kept.provider
LIMIT %(limit)s;

-- name: find_totals
-- What a tenant's gates ask for: decisions since then and what was found in them. Minutes with traffic are those in which
-- both sides were compared.
SELECT
    coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't1_disputed'), 0)::BIGINT AS decisions,
    coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't1_disputed'), 0)::BIGINT AS disputed,
    coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't1_overpaid'), 0)::BIGINT AS overpaid,
    coalesce(sum(kept.n) FILTER (WHERE kept.stream = 't3_mismatch'), 0)::BIGINT AS comparisons,
    coalesce(sum(kept.x) FILTER (WHERE kept.stream = 't3_mismatch'), 0)::BIGINT AS mismatches,
    count(DISTINCT kept.minute)::BIGINT AS traffic_minutes,
    min(kept.minute) AS first_minute,
    max(kept.minute) AS last_minute
FROM evidence_buckets AS kept
WHERE
    kept.tenant_id = %(tenant_id)s
    AND kept.minute >= %(since)s;

-- name: count_subjects
-- How many players stand behind a stream's x.
SELECT count(DISTINCT kept.subject)
FROM evidence_subjects AS kept
WHERE
    kept.tenant_id = %(tenant_id)s
    AND kept.stream = %(stream)s
    AND kept.minute >= %(since)s;

-- name: list_top_players
-- Who is behind x most, and by how much money.
SELECT
    kept.subject,
    kept.stream,
    kept.currency,
    sum(kept.events)::BIGINT AS events,
    count(*) AS minutes,
    sum(kept.amount)::BIGINT AS amount,
    min(kept.minute) AS first_minute,
    max(kept.minute) AS last_minute
FROM evidence_subjects AS kept
WHERE
    kept.tenant_id = %(tenant_id)s
    AND kept.minute >= %(since)s
    AND kept.stream <> 't1_refused'
GROUP BY kept.subject, kept.stream, kept.currency
ORDER BY events DESC, kept.subject, kept.stream, kept.currency
LIMIT %(limit)s;

-- name: list_series
-- A tenant's streams in steps of time, whoever was the arbiter. What three streams have in common stands in the first.
SELECT
    kept.stream,
    date_bin(%(step)s::INTERVAL, kept.minute, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS at,
    sum(kept.n)::BIGINT AS n,
    sum(kept.x)::BIGINT AS x
FROM evidence_buckets AS kept
WHERE kept.tenant_id = %(tenant_id)s AND kept.minute >= %(since)s
GROUP BY kept.stream, at
ORDER BY kept.stream, at
LIMIT %(limit)s;

-- name: list_classes
-- Mismatches of a tenant by class: wallets, how often they were seen, and how far apart the sides are in all.
SELECT
    seen.class,
    count(*) AS wallets,
    sum(seen.occurrences)::BIGINT AS occurrences,
    sum(
        abs(seen.legacy_available - seen.ledger_available) + abs(seen.legacy_held - seen.ledger_pending)
    )::BIGINT AS amount
FROM ledger_mismatches AS seen
WHERE seen.tenant_id = %(tenant_id)s AND seen.last_seen_at >= %(since)s
GROUP BY seen.class
ORDER BY wallets DESC, seen.class
LIMIT 10;

-- name: list_instances
-- What each process counted of a stream, and the release that it runs.
SELECT
    kept.instance,
    coalesce(flushed.app_version, '') AS app_version,
    kept.stream,
    sum(kept.n)::BIGINT AS n,
    sum(kept.x)::BIGINT AS x
FROM evidence_buckets AS kept
LEFT JOIN evidence_flushes AS flushed ON flushed.instance = kept.instance
WHERE kept.tenant_id = %(tenant_id)s AND kept.minute >= %(since)s
GROUP BY kept.instance, flushed.app_version, kept.stream
ORDER BY kept.instance, kept.stream
LIMIT %(limit)s;

-- name: list_top_tenants
-- Which tenants are behind a stream's x most.
SELECT
    kept.tenant_id,
    tenant.slug,
    sum(kept.x)::BIGINT AS x
FROM evidence_buckets AS kept
INNER JOIN tenants AS tenant ON tenant.id = kept.tenant_id
WHERE kept.minute >= %(since)s AND kept.stream = %(stream)s AND NOT tenant.is_sandbox
GROUP BY kept.tenant_id, tenant.slug
HAVING sum(kept.x) > 0
ORDER BY x DESC, kept.tenant_id
LIMIT %(limit)s;

-- name: find_surroundings
-- Whether some registered process has not flushed for a while, and how far off the worst clock is. Alive is who holds the
-- lock of its number.
SELECT
    coalesce(
        bool_or(coalesce(flushed.flushed_at, instance.started_at) < clock_timestamp() - %(silent_for)s::INTERVAL), FALSE
    ) AS is_blind,
    coalesce(max(abs(flushed.clock_skew_seconds)), 0) AS clock_skew_seconds
FROM service_instances AS instance
LEFT JOIN evidence_flushes AS flushed ON flushed.instance = instance.number
WHERE EXISTS (
    SELECT
    FROM pg_locks AS held
    WHERE
        held.locktype = 'advisory'
        AND held.database = (SELECT current.oid FROM pg_database AS current WHERE current.datname = current_database())
        AND held.classid = %(lock_namespace)s::INTEGER::OID
        AND held.objid = instance.number::OID
);

-- name: prune_buckets
-- Removes some of the oldest minutes.
DELETE FROM evidence_buckets AS kept
WHERE kept.ctid IN (
    SELECT old.ctid
    FROM evidence_buckets AS old
    WHERE old.minute < %(before)s
    ORDER BY old.minute
    LIMIT %(limit)s
);

-- name: prune_subjects
-- Removes some of the oldest players behind x.
DELETE FROM evidence_subjects AS kept
WHERE kept.ctid IN (
    SELECT old.ctid
    FROM evidence_subjects AS old
    WHERE old.minute < %(before)s
    ORDER BY old.minute
    LIMIT %(limit)s
);

-- name: prune_deliveries
-- Removes some of the oldest minutes of deliveries.
DELETE FROM delivery_buckets AS kept
WHERE kept.ctid IN (
    SELECT old.ctid
    FROM delivery_buckets AS old
    WHERE old.minute < %(before)s
    ORDER BY old.minute
    LIMIT %(limit)s
);

-- name: prune_delivery_subjects
-- Removes some of the oldest players whose payments deliveries named.
DELETE FROM delivery_subjects AS kept
WHERE kept.ctid IN (
    SELECT old.ctid
    FROM delivery_subjects AS old
    WHERE old.minute < %(before)s
    ORDER BY old.minute
    LIMIT %(limit)s
);

-- name: prune_flushes
-- Removes what is known of processes that are gone for long.
DELETE FROM evidence_flushes AS flushed WHERE flushed.flushed_at < %(before)s;
