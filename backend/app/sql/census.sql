-- name: find_tenant
-- Whether there is such a tenant.
SELECT tenant.slug
FROM tenants AS tenant
WHERE tenant.id = %(tenant_id)s;

-- name: list_tenants
-- Tenants in the order of their ids, without the sandbox.
SELECT tenant.id
FROM tenants AS tenant
WHERE tenant.id > %(after_id)s AND NOT tenant.is_sandbox
ORDER BY tenant.id
LIMIT %(limit)s;

-- name: keep_to_ranges
-- For this transaction: the statement reads ranges of indexes and joins what it read by hashing, whatever the statistics
-- say. A nested loop over two ranges, chosen for a tenant that looked small, would never end for one that is not.
SELECT
    set_config('enable_seqscan', 'off', TRUE),
    set_config('enable_nestloop', 'off', TRUE),
    set_config('work_mem', '64MB', TRUE),
    set_config('max_parallel_workers_per_gather', '0', TRUE),
    set_config('lock_timeout', '5s', TRUE),
    set_config('statement_timeout', %(timeout_ms)s::TEXT, TRUE);

-- name: find_chunk_end
-- The last of so many players from an id on; none when there are fewer, and the chunk then reaches to the end of all ids.
SELECT player.id
FROM players AS player
WHERE player.tenant_id = %(tenant_id)s AND player.id >= %(first_id)s
ORDER BY player.id
LIMIT 1
OFFSET %(players_before)s;

-- name: read_chunk
-- Judges everything that a tenant has in a range of player ids, both ends included, in one statement and hence in one
-- snapshot of the database: what a deed writes together is seen together or not at all. Also what belongs to no player of
-- the tenant is in some range. The rules stand here once more, in words of their own; nothing of the writer's is asked but
-- which mode the tenant is in. Sums are NUMERIC, so that nothing that stands in a row can overflow.
WITH mode AS MATERIALIZED (
    SELECT
        tenant_mode.arbiter,
        tenant_mode.epoch,
        tenant_mode.shadow_write
    FROM tenant_modes AS tenant_mode
    WHERE tenant_mode.tenant_id = %(tenant_id)s
),

entry AS MATERIALIZED (
    SELECT
        stored.player_id,
        stored.currency,
        stored.wallet_version,
        stored.type,
        stored.amount,
        stored.debit_account,
        stored.credit_account,
        stored.available_after,
        stored.pending_after,
        stored.legacy_available_after,
        stored.legacy_held_after,
        stored.arbiter = 'ledger' AS is_by_ledger,
        stored.epoch,
        stored.reference,
        stored.idempotency_key,
        stored.recorded_at,
        -- Nothing is subtracted from an amount but itself, and the smallest BIGINT has no opposite.
        CASE WHEN stored.credit_account = 'player:available' THEN stored.amount ELSE 0 END
        - CASE WHEN stored.debit_account = 'player:available' THEN greatest(stored.amount, -9223372036854775807) ELSE 0 END
            AS available_change,
        CASE WHEN stored.credit_account IN ('player:held', 'player:in_transit') THEN stored.amount ELSE 0 END
        - CASE
            WHEN stored.debit_account IN ('player:held', 'player:in_transit')
                THEN greatest(stored.amount, -9223372036854775807)
            ELSE 0
        END AS pending_change,
        stored.type
        || ' ' || CASE
            WHEN stored.debit_account = 'psp:' || stored.provider || ':clearing' THEN 'psp' ELSE stored.debit_account
        END
        || ' ' || CASE
            WHEN stored.credit_account = 'psp:' || stored.provider || ':clearing' THEN 'psp' ELSE stored.credit_account
        END AS meaning
    FROM ledger_transactions AS stored
    WHERE stored.tenant_id = %(tenant_id)s AND stored.player_id BETWEEN %(first_id)s AND %(last_id)s
),

-- The running fold: what each row should say is what all rows up to it add up to.
running AS (
    SELECT
        entry.*,
        row_number() OVER wallet AS position,
        lead(entry.wallet_version) OVER wallet IS NULL AS is_last,
        lag(entry.epoch) OVER wallet AS epoch_before,
        sum(entry.available_change) OVER wallet AS available_folded,
        sum(entry.pending_change) OVER wallet AS pending_folded
    FROM entry
    WINDOW wallet AS (
        PARTITION BY entry.player_id, entry.currency ORDER BY entry.wallet_version ROWS UNBOUNDED PRECEDING
    )
),

judged AS (
    SELECT
        running.player_id,
        running.currency,
        running.wallet_version,
        running.is_last,
        running.available_change,
        running.pending_change,
        running.legacy_available_after,
        running.legacy_held_after,
        running.recorded_at,
        running.wallet_version <> running.position AS is_gap,
        running.available_after <> running.available_folded
        OR running.pending_after <> running.pending_folded
        OR running.amount <= 0
        -- Which transfers there are.
        OR running.meaning NOT IN (
            'opening_balance house:opening player:available',
            'opening_balance house:opening player:held',
            'opening_balance player:available house:opening',
            'opening_balance player:held house:opening',
            'deposit_captured psp player:available',
            'deposit_refunded player:available psp',
            'deposit_refunded house:returns psp',
            'withdraw_requested player:available player:held',
            'withdraw_rejected player:held player:available',
            'withdraw_cancelled player:held player:available',
            'withdraw_failed player:held player:available',
            'withdraw_dispatched player:held player:in_transit',
            'withdraw_paid player:in_transit psp',
            'payout_failed player:in_transit player:held',
            'withdraw_returned psp house:returns',
            'withdraw_returned house:returns player:available',
            'backfill_adjustment house:adjustment player:available',
            'backfill_adjustment player:available house:adjustment',
            'backfill_adjustment house:adjustment player:held',
            'backfill_adjustment player:held house:adjustment',
            'manual_adjustment house:adjustment player:available',
            'manual_adjustment player:available house:adjustment',
            'clearing_adjustment psp house:adjustment',
            'clearing_adjustment house:adjustment psp'
        )
        -- Flips only ever count up, and nobody can have been judged by one that has not come. A rollback that did not wait for
        -- its fence may be overtaken by a call that was judged before it.
        OR running.epoch > (SELECT mode.epoch FROM mode)
        OR (
            running.epoch < running.epoch_before
            AND NOT EXISTS (
                SELECT
                FROM arbiter_changes AS change
                WHERE
                    change.tenant_id = %(tenant_id)s
                    AND change.epoch = running.epoch_before
                    AND NOT change.is_fenced
            )
        )
        OR CASE running.type
            -- An opening brings the ledger to where the legacy column stands, once for each part of the balance.
            WHEN 'opening_balance' THEN
                running.available_after <> running.legacy_available_after
                OR (
                    (running.debit_account = 'player:held' OR running.credit_account = 'player:held')
                    AND running.pending_after <> running.legacy_held_after
                )
                OR running.idempotency_key <> CASE
                    WHEN running.debit_account = 'player:held' OR running.credit_account = 'player:held'
                        THEN 'opening:v1:held'
                    ELSE 'opening:v1:available'
                END
            WHEN 'backfill_adjustment' THEN FALSE
            -- Where the ledger decides, the legacy column follows it.
            ELSE
                running.is_by_ledger
                AND (
                    running.legacy_available_after <> running.available_after
                    OR running.legacy_held_after <> running.pending_after
                )
        END AS is_misfit,
        -- Who decides does not let anybody take what is not there. Openings and adjustments carry over what is.
        running.type NOT IN ('opening_balance', 'backfill_adjustment')
        AND (
            (
                running.available_change < 0
                AND CASE WHEN running.is_by_ledger THEN running.available_after ELSE running.legacy_available_after END < 0
            )
            OR (
                running.pending_change < 0
                AND CASE WHEN running.is_by_ledger THEN running.pending_after ELSE running.legacy_held_after END < 0
            )
        ) AS is_overdrawn
    FROM running
),

fold AS (
    SELECT
        judged.player_id,
        judged.currency,
        count(*) AS transactions,
        max(judged.wallet_version) AS version,
        sum(judged.available_change) AS available,
        sum(judged.pending_change) AS pending,
        max(judged.legacy_available_after) FILTER (WHERE judged.is_last) AS legacy_available,
        max(judged.legacy_held_after) FILTER (WHERE judged.is_last) AS legacy_held,
        max(judged.recorded_at) FILTER (WHERE judged.is_last) AS recorded_at,
        min(judged.wallet_version) AS first_version,
        min(judged.wallet_version) FILTER (WHERE judged.is_gap) AS gap_version,
        min(judged.wallet_version) FILTER (WHERE judged.is_misfit) AS misfit_version,
        count(*) FILTER (WHERE judged.is_misfit) AS misfits,
        min(judged.wallet_version) FILTER (WHERE judged.is_overdrawn) AS overdrawn_version
    FROM judged
    GROUP BY judged.player_id, judged.currency
),

movement AS MATERIALIZED (
    SELECT
        stored.player_id,
        stored.currency,
        stored.type,
        stored.amount,
        stored.idempotency_key,
        stored.reference,
        stored.provider,
        stored.provider_event_id,
        stored.legacy_available_after,
        stored.legacy_held_after,
        stored.recorded_at,
        stored.id
    FROM legacy_movements AS stored
    WHERE stored.tenant_id = %(tenant_id)s AND stored.player_id BETWEEN %(first_id)s AND %(last_id)s
),

last_movement AS (
    SELECT DISTINCT ON (movement.player_id, movement.currency)
        movement.player_id,
        movement.currency,
        movement.legacy_available_after,
        movement.legacy_held_after,
        movement.recorded_at
    FROM movement
    ORDER BY movement.player_id, movement.currency, movement.recorded_at DESC, movement.id DESC
),

withdrawal AS MATERIALIZED (
    SELECT
        stored.id,
        stored.player_id,
        stored.currency,
        stored.amount,
        stored.state,
        stored.method,
        stored.idempotency_key,
        -- Those whose money is held or on its way.
        stored.state IN ('requested', 'awaiting_second_approval', 'approved', 'processing', 'failed') AS is_open
    FROM withdrawals AS stored
    WHERE stored.tenant_id = %(tenant_id)s AND stored.player_id BETWEEN %(first_id)s AND %(last_id)s
),

open_withdrawals AS (
    SELECT
        withdrawal.player_id,
        withdrawal.currency,
        sum(withdrawal.amount) AS amount,
        count(*) AS withdrawals
    FROM withdrawal
    WHERE withdrawal.is_open
    GROUP BY withdrawal.player_id, withdrawal.currency
),

-- What was written for each deposit and withdrawal, on both sides or on the legacy side only.
told AS (
    SELECT
        deed.player_id,
        deed.currency,
        deed.reference,
        count(*) FILTER (WHERE deed.type = 'deposit_captured') AS captures,
        sum(deed.amount) FILTER (WHERE deed.type = 'deposit_captured') AS captured,
        max(deed.idempotency_key) FILTER (WHERE deed.type = 'deposit_captured') AS capture_key,
        count(*) FILTER (WHERE deed.type = 'withdraw_requested') AS requests,
        sum(deed.amount) FILTER (WHERE deed.type = 'withdraw_requested') AS requested,
        max(deed.idempotency_key) FILTER (WHERE deed.type = 'withdraw_requested') AS request_key,
        count(*) FILTER (WHERE deed.type IN ('withdraw_rejected', 'withdraw_cancelled', 'withdraw_failed')) AS releases,
        sum(deed.amount) FILTER (WHERE deed.type = 'withdraw_rejected') AS rejected,
        sum(deed.amount) FILTER (WHERE deed.type IN ('withdraw_cancelled', 'withdraw_failed')) AS cancelled,
        count(*) FILTER (WHERE deed.type = 'withdraw_paid') AS payments,
        sum(deed.amount) FILTER (WHERE deed.type = 'withdraw_paid') AS paid,
        count(*) FILTER (WHERE deed.type = 'withdraw_returned') AS returns
    FROM (
        SELECT
            entry.player_id,
            entry.currency,
            entry.reference,
            entry.type,
            entry.amount,
            entry.idempotency_key
        FROM entry
        WHERE entry.reference IS NOT NULL
        UNION ALL
        SELECT
            movement.player_id,
            movement.currency,
            movement.reference,
            movement.type,
            movement.amount,
            movement.idempotency_key
        FROM movement
        WHERE movement.reference IS NOT NULL
    ) AS deed
    GROUP BY deed.player_id, deed.currency, deed.reference
),

wallet AS (
    SELECT
        player_id,
        currency,
        player.legacy_available,
        player.legacy_held,
        player.player_id IS NOT NULL AS is_player,
        snapshot.available,
        snapshot.pending,
        snapshot.version,
        snapshot.player_id IS NOT NULL AS is_wallet,
        coalesce(snapshot.is_opened, FALSE) AS is_opened,
        coalesce(fold.transactions, 0) AS transactions,
        coalesce(fold.available, 0) AS available_folded,
        coalesce(fold.pending, 0) AS pending_folded,
        coalesce(fold.version, 0) AS version_folded,
        fold.first_version,
        fold.gap_version,
        fold.misfit_version,
        fold.misfits,
        fold.overdrawn_version,
        -- What the last deed left in the legacy column; a wallet that was opened at nothing has no row that says so.
        coalesce(
            CASE
                WHEN last_movement.recorded_at > fold.recorded_at OR fold.recorded_at IS NULL
                    THEN last_movement.legacy_available_after
                ELSE fold.legacy_available
            END,
            0
        ) AS legacy_available_left,
        coalesce(
            CASE
                WHEN last_movement.recorded_at > fold.recorded_at OR fold.recorded_at IS NULL
                    THEN last_movement.legacy_held_after
                ELSE fold.legacy_held
            END,
            0
        ) AS legacy_held_left,
        coalesce(open_withdrawals.amount, 0) AS open_amount,
        coalesce(open_withdrawals.withdrawals, 0) AS open_count,
        mode.arbiter,
        mode.shadow_write
    FROM (
        SELECT
            stored.id AS player_id,
            stored.currency::TEXT AS currency,
            stored.balance_real_available AS legacy_available,
            stored.balance_real_held AS legacy_held
        FROM players AS stored
        WHERE stored.tenant_id = %(tenant_id)s AND stored.id BETWEEN %(first_id)s AND %(last_id)s
    ) AS player
    FULL JOIN (
        SELECT
            stored.player_id,
            stored.currency,
            stored.balance_real_available AS available,
            stored.balance_real_pending AS pending,
            stored.version,
            stored.opened_at IS NOT NULL AS is_opened
        FROM wallet_balances AS stored
        WHERE stored.tenant_id = %(tenant_id)s AND stored.player_id BETWEEN %(first_id)s AND %(last_id)s
    ) AS snapshot USING (player_id, currency)
    FULL JOIN fold USING (player_id, currency)
    FULL JOIN open_withdrawals USING (player_id, currency)
    LEFT JOIN last_movement USING (player_id, currency)
    CROSS JOIN mode
),

flagged AS MATERIALIZED (
    SELECT
        wallet.*,
        wallet.is_player AND wallet.shadow_write AND NOT wallet.is_opened AS is_missing,
        wallet.is_player AND wallet.shadow_write AND wallet.is_opened
        AND wallet.legacy_available <> wallet.available AS is_available_diff,
        wallet.is_player AND wallet.shadow_write AND wallet.is_opened
        AND wallet.legacy_held <> wallet.pending AS is_pending_diff,
        coalesce(wallet.available, 0) <> wallet.available_folded
        OR coalesce(wallet.pending, 0) <> wallet.pending_folded
        OR coalesce(wallet.version, 0) <> wallet.version_folded AS is_fold_diff,
        wallet.gap_version IS NOT NULL AS is_gap,
        wallet.misfit_version IS NOT NULL AS is_misfit,
        NOT wallet.is_player AND wallet.transactions > 0 AS is_stray_row,
        NOT wallet.is_player AND wallet.is_wallet AS is_stray_wallet,
        -- An enforced column that equals the snapshot has been put right, whatever the last deed left.
        wallet.is_player AND wallet.is_opened
        AND (
            wallet.legacy_available <> wallet.legacy_available_left
            OR wallet.legacy_held <> wallet.legacy_held_left
        )
        AND NOT (
            wallet.arbiter = 'ledger'
            AND wallet.legacy_available = wallet.available
            AND wallet.legacy_held = wallet.pending
        ) AS is_drift,
        wallet.is_wallet AND wallet.shadow_write AND wallet.is_opened
        AND wallet.pending <> wallet.open_amount AS is_open_diff,
        wallet.overdrawn_version IS NOT NULL
        OR (
            wallet.is_player
            AND CASE wallet.arbiter
                WHEN 'ledger' THEN least(wallet.available, wallet.pending) < 0
                ELSE least(wallet.legacy_available, wallet.legacy_held) < 0
            END
        ) IS TRUE AS is_negative
    FROM wallet
),

-- One line for each thing that is wrong. `amount` is its size in minor units.
found AS (
    SELECT
        found.class,
        flagged.player_id,
        flagged.currency,
        found.wallet_version,
        NULL::UUID AS reference,
        found.amount,
        found.evidence
    FROM flagged
    CROSS JOIN LATERAL (VALUES
        (
            'missing_wallet',
            flagged.is_missing,
            NULL::BIGINT,
            abs(flagged.legacy_available::NUMERIC) + abs(flagged.legacy_held::NUMERIC),
            '{}'::JSONB
        ),
        (
            'available_diff',
            flagged.is_available_diff,
            NULL,
            abs(flagged.legacy_available::NUMERIC - flagged.available),
            '{}'
        ),
        ('pending_diff', flagged.is_pending_diff, NULL, abs(flagged.legacy_held::NUMERIC - flagged.pending), '{}'),
        (
            'fold_diff',
            flagged.is_fold_diff,
            -- The first row that the snapshot does not know of, if it is a row that is too much.
            CASE
                WHEN coalesce(flagged.version, 0) < flagged.version_folded
                    THEN greatest(coalesce(flagged.version, 0) + 1, flagged.first_version)
            END,
            abs(coalesce(flagged.available, 0) - flagged.available_folded)
            + abs(coalesce(flagged.pending, 0) - flagged.pending_folded),
            '{}'
        ),
        ('version_gap', flagged.is_gap, flagged.gap_version, 0, '{}'),
        ('injected_row', flagged.is_misfit, flagged.misfit_version, 0, jsonb_build_object('rows', flagged.misfits)),
        (
            'stray_row',
            flagged.is_stray_row,
            flagged.first_version,
            abs(flagged.available_folded) + abs(flagged.pending_folded),
            '{}'
        ),
        (
            'stray_wallet',
            flagged.is_stray_wallet,
            NULL,
            abs(flagged.available::NUMERIC) + abs(flagged.pending::NUMERIC),
            '{}'
        ),
        (
            'legacy_drift',
            flagged.is_drift,
            CASE WHEN flagged.version_folded > 0 THEN flagged.version_folded END,
            abs(flagged.legacy_available::NUMERIC - flagged.legacy_available_left)
            + abs(flagged.legacy_held::NUMERIC - flagged.legacy_held_left),
            jsonb_build_object(
                'legacy_available_left', flagged.legacy_available_left, 'legacy_held_left', flagged.legacy_held_left
            )
        ),
        ('open_withdrawals', flagged.is_open_diff, NULL, abs(flagged.pending - flagged.open_amount), '{}'),
        (
            'negative_arbiter',
            flagged.is_negative,
            flagged.overdrawn_version,
            0,
            jsonb_build_object('arbiter', flagged.arbiter)
        )
    ) AS found (class, is_found, wallet_version, amount, evidence)
    WHERE
        (
            flagged.is_missing OR flagged.is_available_diff OR flagged.is_pending_diff OR flagged.is_fold_diff
            OR flagged.is_gap OR flagged.is_misfit OR flagged.is_stray_row OR flagged.is_stray_wallet
            OR flagged.is_drift OR flagged.is_open_diff OR flagged.is_negative
        )
        AND found.is_found

    UNION ALL

    -- Money came in for a deposit exactly when it says so, once, under the player's key; and for nothing else that has a
    -- reference.
    SELECT
        'deposit_diff',
        coalesce(deposit.player_id, told.player_id),
        coalesce(deposit.currency, told.currency),
        NULL,
        coalesce(deposit.id, told.reference),
        abs(coalesce(deposit.amount, 0) - coalesce(told.captured, 0)),
        jsonb_build_object(
            'state', deposit.state, 'amount', deposit.amount, 'captures', coalesce(told.captures, 0),
            'captured', coalesce(told.captured, 0)
        )
    FROM (
        SELECT
            stored.id,
            stored.player_id,
            stored.currency,
            stored.amount,
            stored.state,
            stored.idempotency_key
        FROM deposits AS stored
        WHERE stored.tenant_id = %(tenant_id)s AND stored.player_id BETWEEN %(first_id)s AND %(last_id)s
    ) AS deposit
    FULL JOIN told
        ON told.player_id = deposit.player_id AND told.currency = deposit.currency AND told.reference = deposit.id
    WHERE
        CASE
            WHEN deposit.state IN ('completed', 'refunded') THEN
                told.captures IS DISTINCT FROM 1
                OR told.captured <> deposit.amount
                OR told.capture_key <> deposit.idempotency_key
            ELSE told.captures > 0
        END

    UNION ALL

    -- A withdrawal was held for, and ended, as its state says; a legacy hold was placed before there was a ledger. Nothing
    -- is held for a withdrawal that is not there.
    SELECT
        'withdrawal_diff',
        coalesce(withdrawal.player_id, told.player_id),
        coalesce(withdrawal.currency, told.currency),
        NULL,
        coalesce(withdrawal.id, told.reference),
        abs(coalesce(withdrawal.amount, told.requested)),
        jsonb_build_object(
            'state', withdrawal.state, 'amount', withdrawal.amount, 'method', withdrawal.method,
            'requested', coalesce(told.requested, 0), 'rejected', coalesce(told.rejected, 0),
            'cancelled', coalesce(told.cancelled, 0), 'paid', coalesce(told.paid, 0)
        )
    FROM withdrawal
    FULL JOIN told
        ON told.player_id = withdrawal.player_id
        AND told.currency = withdrawal.currency
        AND told.reference = withdrawal.id
    WHERE
        CASE WHEN withdrawal.id IS NULL THEN told.requests > 0 ELSE (
            withdrawal.method <> 'legacy_hold'
            AND (
                told.requests IS DISTINCT FROM 1
                OR told.requested <> withdrawal.amount
                OR told.request_key <> withdrawal.idempotency_key
            )
        )
        OR CASE withdrawal.state
            WHEN 'rejected' THEN told.releases IS DISTINCT FROM 1 OR told.rejected IS DISTINCT FROM withdrawal.amount
            WHEN 'cancelled' THEN told.releases IS DISTINCT FROM 1 OR told.cancelled IS DISTINCT FROM withdrawal.amount
            WHEN 'paid' THEN
                told.payments IS DISTINCT FROM 1
                OR told.paid <> withdrawal.amount
                OR told.releases > 0
                OR told.returns > 0
            WHEN 'returned' THEN told.payments IS DISTINCT FROM 1 OR told.returns IS NOT DISTINCT FROM 0
            ELSE told.releases > 0 OR told.payments > 0
        END END

    UNION ALL

    -- One key and one provider event have one effect, also across the tables that can hold one.
    SELECT
        'duplicate_effect',
        twice.player_id,
        twice.currency,
        twice.wallet_version,
        twice.reference,
        twice.amount,
        jsonb_build_object('type', twice.type, 'key', twice.key, 'in', twice.tables)
    FROM (
        SELECT
            movement.player_id,
            movement.currency,
            other.wallet_version,
            movement.reference,
            movement.amount,
            movement.type,
            movement.idempotency_key AS key,
            'legacy_movements, ledger_transactions' AS tables
        FROM movement
        CROSS JOIN LATERAL (
            SELECT stored.wallet_version
            FROM ledger_transactions AS stored
            WHERE
                stored.tenant_id = %(tenant_id)s
                AND stored.player_id = movement.player_id
                AND stored.type = movement.type
                AND stored.idempotency_key = movement.idempotency_key
            LIMIT 1
        ) AS other
        UNION ALL
        SELECT
            movement.player_id,
            movement.currency,
            other.wallet_version,
            movement.reference,
            movement.amount,
            movement.type,
            movement.provider || ' ' || movement.provider_event_id,
            'legacy_movements, ledger_transactions'
        FROM movement
        CROSS JOIN LATERAL (
            SELECT stored.wallet_version
            FROM ledger_transactions AS stored
            WHERE stored.provider = movement.provider AND stored.provider_event_id = movement.provider_event_id
            LIMIT 1
        ) AS other
        WHERE movement.provider_event_id IS NOT NULL
        UNION ALL
        -- What was refused stays refused.
        SELECT
            refusal.player_id,
            refusal.currency,
            other.wallet_version,
            refusal.reference,
            refusal.amount,
            refusal.type,
            refusal.idempotency_key,
            'ledger_refusals, ' || other.place
        FROM ledger_refusals AS refusal
        CROSS JOIN LATERAL (
            (
                SELECT
                    stored.wallet_version,
                    'ledger_transactions' AS place
                FROM ledger_transactions AS stored
                WHERE
                    stored.tenant_id = %(tenant_id)s
                    AND stored.player_id = refusal.player_id
                    AND stored.type = refusal.type
                    AND stored.idempotency_key = refusal.idempotency_key
                LIMIT 1
            )
            UNION ALL
            (
                SELECT
                    NULL,
                    'legacy_movements'
                FROM legacy_movements AS stored
                WHERE
                    stored.tenant_id = %(tenant_id)s
                    AND stored.player_id = refusal.player_id
                    AND stored.type = refusal.type
                    AND stored.idempotency_key = refusal.idempotency_key
                LIMIT 1
            )
        ) AS other
        WHERE refusal.tenant_id = %(tenant_id)s AND refusal.player_id BETWEEN %(first_id)s AND %(last_id)s
    ) AS twice
),

placed AS (
    SELECT
        found.*,
        row_number() OVER (
            PARTITION BY found.class ORDER BY found.player_id, found.currency, found.wallet_version, found.reference
        ) AS place
    FROM found
)

SELECT
    (SELECT mode.shadow_write FROM mode) AS sides_compared,
    (
        SELECT coalesce(jsonb_agg(total), '[]')
        FROM (
            SELECT
                flagged.currency,
                count(*) FILTER (WHERE flagged.is_player) AS players,
                count(*) FILTER (WHERE flagged.is_opened) AS opened_wallets,
                sum(flagged.transactions) AS transactions,
                coalesce(sum(flagged.legacy_available), 0) AS legacy_available,
                coalesce(sum(flagged.legacy_held), 0) AS legacy_held,
                coalesce(sum(flagged.available), 0) AS snapshot_available,
                coalesce(sum(flagged.pending), 0) AS snapshot_pending,
                sum(flagged.available_folded) AS folded_available,
                sum(flagged.pending_folded) AS folded_pending,
                sum(flagged.open_amount) AS open_withdrawals
            FROM flagged
            GROUP BY flagged.currency
        ) AS total
    ) AS totals,
    (
        SELECT coalesce(jsonb_agg(house), '[]')
        FROM (
            SELECT
                leg.currency,
                leg.account,
                sum(leg.amount) AS balance
            FROM (
                SELECT
                    pair.currency,
                    side.account,
                    side.amount
                FROM (
                    SELECT
                        entry.currency,
                        entry.debit_account,
                        entry.credit_account,
                        sum(entry.amount) AS amount
                    FROM entry
                    GROUP BY entry.currency, entry.debit_account, entry.credit_account
                ) AS pair
                CROSS JOIN LATERAL (VALUES (pair.credit_account, pair.amount), (pair.debit_account, -pair.amount))
                    AS side (account, amount)
            ) AS leg
            WHERE leg.account NOT LIKE 'player:%%'
            GROUP BY leg.currency, leg.account
        ) AS house
    ) AS accounts,
    (
        SELECT coalesce(jsonb_agg(total), '[]')
        FROM (
            SELECT
                placed.class,
                count(*) AS differences,
                sum(placed.amount) AS amount,
                jsonb_agg(
                    jsonb_build_object(
                        'player_id', placed.player_id, 'currency', placed.currency,
                        'wallet_version', placed.wallet_version, 'reference', placed.reference,
                        'amount', placed.amount, 'evidence', placed.evidence
                    )
                    ORDER BY placed.place
                ) FILTER (WHERE placed.place <= %(samples)s) AS samples
            FROM placed
            GROUP BY placed.class
        ) AS total
    ) AS classes;

-- name: find_evidence
-- All that is known of one wallet and, where one is meant, of one row with what the rows up to it add up to; for a person.
SELECT
    jsonb_build_object(
        'player', (
            SELECT jsonb_build_object(
                'tenant_id', player.tenant_id, 'currency', player.currency,
                'legacy_available', player.balance_real_available, 'legacy_held', player.balance_real_held
            )
            FROM players AS player
            WHERE player.id = %(player_id)s
        ),
        'wallet', (
            SELECT jsonb_build_object(
                'available', wallet.balance_real_available, 'pending', wallet.balance_real_pending,
                'version', wallet.version, 'opened_at', wallet.opened_at
            )
            FROM wallet_balances AS wallet
            WHERE
                wallet.tenant_id = %(tenant_id)s
                AND wallet.player_id = %(player_id)s
                AND wallet.currency = %(currency)s
        ),
        'folded', (
            SELECT jsonb_build_object(
                'transactions', count(*),
                'version', coalesce(max(entry.wallet_version), 0),
                'available', coalesce(sum(
                    (entry.credit_account = 'player:available')::INTEGER * entry.amount::NUMERIC
                    - (entry.debit_account = 'player:available')::INTEGER * entry.amount::NUMERIC
                ), 0),
                'pending', coalesce(sum(
                    (entry.credit_account IN ('player:held', 'player:in_transit'))::INTEGER * entry.amount::NUMERIC
                    - (entry.debit_account IN ('player:held', 'player:in_transit'))::INTEGER * entry.amount::NUMERIC
                ), 0)
            )
            FROM ledger_transactions AS entry
            WHERE
                entry.tenant_id = %(tenant_id)s
                AND entry.player_id = %(player_id)s
                AND entry.currency = %(currency)s
                -- Up to the row that is meant, or all of them.
                AND entry.wallet_version <= coalesce(%(wallet_version)s::BIGINT, 9223372036854775807)
        ),
        'open_withdrawals', (
            SELECT jsonb_build_object('count', count(*), 'amount', coalesce(sum(withdrawal.amount), 0))
            FROM withdrawals AS withdrawal
            WHERE
                withdrawal.tenant_id = %(tenant_id)s
                AND withdrawal.player_id = %(player_id)s
                AND withdrawal.currency = %(currency)s
                AND withdrawal.state IN ('requested', 'awaiting_second_approval', 'approved', 'processing', 'failed')
        ),
        'transaction', (
            SELECT jsonb_build_object(
                'id', entry.id, 'wallet_version', entry.wallet_version, 'type', entry.type,
                'debit_account', entry.debit_account, 'credit_account', entry.credit_account, 'amount', entry.amount,
                'available_after', entry.available_after, 'pending_after', entry.pending_after,
                'legacy_available_after', entry.legacy_available_after, 'legacy_held_after', entry.legacy_held_after,
                'arbiter', entry.arbiter, 'epoch', entry.epoch, 'reference', entry.reference,
                'idempotency_key', entry.idempotency_key, 'provider', entry.provider,
                'provider_event_id', entry.provider_event_id, 'recorded_at', entry.recorded_at
            )
            FROM ledger_transactions AS entry
            WHERE
                entry.tenant_id = %(tenant_id)s
                AND entry.player_id = %(player_id)s
                AND entry.currency = %(currency)s
                AND entry.wallet_version = %(wallet_version)s
        )
    ) AS evidence;

-- name: observe_load
-- What else goes on in this database: sessions at work, and those that have waited for a lock for long. Waits are in
-- pg_locks, which everybody may read; what others are at is shown for sessions of the same role only.
SELECT
    count(*) FILTER (WHERE session.state = 'active') AS active,
    count(*) FILTER (
        WHERE EXISTS (
            SELECT
            FROM pg_locks AS wanted
            WHERE
                wanted.pid = session.pid
                AND NOT wanted.granted
                AND wanted.waitstart < clock_timestamp() - INTERVAL '500 ms'
        )
    ) AS blocked
FROM pg_stat_activity AS session
WHERE
    session.datname = current_database()
    AND session.pid <> pg_backend_pid()
    AND coalesce(session.backend_type, 'client backend') = 'client backend';
