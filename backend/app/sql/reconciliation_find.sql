-- name: find_pair_differences
-- Pairs whose two sides do not say the same; one finding each, the first that applies.
INSERT INTO found_findings
SELECT
    pair.finding_type,
    CASE
        WHEN our.kind IN ('deposit', 'refund') AND our.tx_id IS NOT NULL THEN 'deposit:' || our.tx_id
        WHEN our.reference LIKE 'wd\_%%' THEN our.reference || ' ' || their.provider_ref
        ELSE 'item:' || their.account_id || ':' || their.item_id
    END,
    CASE
        WHEN pair.finding_type = 'status_mismatch' THEN concat_ws(E'\x1f', pair.our_class, their.status_class)
        ELSE concat_ws(E'\x1f', our.amount, our.currency, their.amount, their.currency)
    END,
    jsonb_build_object(
        'ours_kind', our.kind, 'ours_status', pair.our_class, 'ours_amount_minor', our.amount,
        'ours_currency', our.currency, 'ours_reference', our.reference, 'ours_occurred_at', our.occurred_at,
        'theirs_kind', their.kind, 'theirs_status', their.status_class, 'theirs_word', their.status,
        'theirs_amount_minor', their.amount, 'theirs_currency', their.currency,
        'theirs_reference', their.reference, 'theirs_occurred_at', their.occurred_at, 'account_id', their.account_id,
        'matched_by', pair.rule
    ),
    our.player_id,
    our.tx_id,
    their.item_id,
    their.provider_ref,
    their.account_id,
    their.item_id,
    our.transaction_id
FROM their_items AS their
INNER JOIN item_pairs AS made ON their.account_id = made.account_id AND their.item_id = made.item_id
INNER JOIN our_items AS our ON made.transaction_id = our.transaction_id
CROSS JOIN LATERAL (
    SELECT
        made.rule,
        CASE WHEN our.kind IN ('deposit', 'payout') THEN 'success' ELSE 'reversed' END AS our_class,
        CASE
            WHEN their.currency <> our.currency THEN 'currency_mismatch'
            WHEN
                their.kind <> our.kind
                OR their.status_class <> CASE WHEN our.kind IN ('deposit', 'payout') THEN 'success' ELSE 'reversed' END
                THEN 'status_mismatch'
            WHEN their.amount <> our.amount THEN 'amount_mismatch'
        END AS finding_type
) AS pair
WHERE pair.finding_type IS NOT NULL;

-- name: find_repeated_lines
-- Items that one feed listed more than once: the provider says that it moved the money as often.
INSERT INTO found_findings
SELECT
    'duplicate_in_psp',
    'item:' || their.account_id || ':' || their.item_id,
    concat_ws(E'\x1f', their.amount, their.currency, their.copies),
    jsonb_build_object(
        'theirs_kind', their.kind, 'theirs_status', their.status_class, 'theirs_amount_minor', their.amount,
        'theirs_currency', their.currency, 'theirs_reference', their.reference,
        'theirs_occurred_at', their.occurred_at, 'account_id', their.account_id, 'listed', their.copies
    ),
    our.player_id,
    our.tx_id,
    their.item_id,
    their.provider_ref,
    their.account_id,
    their.item_id,
    our.transaction_id
FROM their_items AS their
LEFT JOIN item_pairs AS made ON their.account_id = made.account_id AND their.item_id = made.item_id
LEFT JOIN our_items AS our ON made.transaction_id = our.transaction_id
WHERE their.copies > 1;

-- name: find_their_leftovers
-- What the provider moved and nothing of ours was found for. What it is depends on what we know of the payment.
WITH leftover AS MATERIALIZED (
    SELECT
        their.*,
        CASE
            WHEN their.reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN their.reference::UUID
            WHEN their.reference ~ '^wd_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_[1-9][0-9]{0,4}$'
                THEN substr(their.reference, 4, 36)::UUID
        END AS named_id,
        CASE
            WHEN their.reference ~ '^wd_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_[1-9][0-9]{0,4}$'
                THEN substr(their.reference, 41)::INTEGER
        END AS named_attempt,
        CASE their.kind
            WHEN 'deposit' THEN 'deposit_captured'
            WHEN 'refund' THEN 'deposit_refunded'
            WHEN 'payout' THEN 'withdraw_paid'
            WHEN 'return' THEN 'withdraw_returned'
        END AS type
    FROM their_items AS their
    WHERE
        their.status_class IN ('success', 'reversed')
        AND NOT EXISTS (
            SELECT
            FROM item_pairs AS pair
            WHERE pair.account_id = their.account_id AND pair.item_id = their.item_id
        )
),

known AS (
    SELECT
        leftover.*,
        payment.tenant_id,
        payment.player_id,
        payment.tx_id,
        payment.name,
        payment.payment_amount,
        payment.payment_currency,
        payment.state,
        payment.payment_ref,
        -- Another tenant booked this very movement.
        EXISTS (
            SELECT
            FROM ledger_transactions AS entry
            WHERE
                entry.provider = %(provider)s
                AND entry.provider_event_id = leftover.item_id
                AND entry.tenant_id <> %(tenant_id)s
        ) AS is_foreign,
        -- The payment is in our books: this is another one like it.
        EXISTS (
            SELECT
            FROM ledger_transactions AS entry
            WHERE
                entry.tenant_id = %(tenant_id)s
                AND entry.provider = %(provider)s
                AND entry.reference = payment.tx_id
                AND entry.type = leftover.type
                AND (leftover.kind IN ('deposit', 'refund') OR split_part(entry.idempotency_key, '~', 1) = payment.name)
        )
        OR EXISTS (
            SELECT
            FROM psp_statement_items AS sibling
            WHERE
                sibling.provider = %(provider)s
                AND sibling.provider_ref = leftover.provider_ref
                AND sibling.tenant_id = %(tenant_id)s
                AND sibling.kind = leftover.kind
                AND sibling.transaction_id IS NOT NULL
        ) AS is_booked,
        row_number() OVER (
            PARTITION BY leftover.kind, coalesce(payment.name, leftover.account_id || ' ' || leftover.provider_ref)
            ORDER BY leftover.occurred_at, leftover.account_id, leftover.item_id
        ) AS place
    FROM leftover
    LEFT JOIN LATERAL (
        SELECT found.*
        FROM (
            SELECT
                1 AS preference,
                deposit.tenant_id,
                deposit.player_id,
                deposit.id AS tx_id,
                deposit.id::TEXT AS name,
                deposit.amount AS payment_amount,
                deposit.currency AS payment_currency,
                deposit.state,
                deposit.provider_ref AS payment_ref
            FROM deposits AS deposit
            WHERE
                leftover.kind IN ('deposit', 'refund')
                AND leftover.named_attempt IS NULL
                AND deposit.id = leftover.named_id
                AND deposit.provider = %(provider)s
            UNION ALL
            SELECT
                2,
                deposit.tenant_id,
                deposit.player_id,
                deposit.id,
                deposit.id::TEXT,
                deposit.amount,
                deposit.currency,
                deposit.state,
                deposit.provider_ref
            FROM deposits AS deposit
            WHERE
                leftover.kind IN ('deposit', 'refund')
                AND deposit.provider = %(provider)s
                AND deposit.provider_ref = leftover.provider_ref
            UNION ALL
            SELECT
                1,
                attempt.tenant_id,
                attempt.player_id,
                attempt.withdrawal_id,
                'wd_' || attempt.withdrawal_id || '_' || attempt.number,
                attempt.amount,
                attempt.currency,
                attempt.state,
                attempt.provider_ref
            FROM payout_attempts AS attempt
            WHERE
                leftover.kind IN ('payout', 'return')
                AND attempt.withdrawal_id = leftover.named_id
                AND attempt.number = leftover.named_attempt
                AND attempt.provider = %(provider)s
            UNION ALL
            SELECT
                2,
                attempt.tenant_id,
                attempt.player_id,
                attempt.withdrawal_id,
                'wd_' || attempt.withdrawal_id || '_' || attempt.number,
                attempt.amount,
                attempt.currency,
                attempt.state,
                attempt.provider_ref
            FROM payout_attempts AS attempt
            WHERE
                leftover.kind IN ('payout', 'return')
                AND attempt.provider = %(provider)s
                AND attempt.provider_ref = leftover.provider_ref
        ) AS found
        ORDER BY found.preference, found.tx_id, found.name
        LIMIT 1
    ) AS payment ON TRUE
),

typed AS (
    SELECT
        known.*,
        CASE
            WHEN known.is_foreign OR known.tenant_id <> %(tenant_id)s THEN 'tenant_mismatch'
            WHEN (known.is_booked OR known.place > 1) AND known.kind = 'refund' AND known.amount < known.payment_amount
                THEN 'amount_mismatch'
            WHEN known.is_booked OR known.place > 1 THEN 'duplicate_in_psp'
            WHEN known.payment_currency <> known.currency THEN 'currency_mismatch'
            WHEN known.payment_amount <> known.amount THEN 'amount_mismatch'
            WHEN known.kind = 'payout' AND known.state = 'failed' THEN 'paid_after_release'
            WHEN known.kind = 'deposit' AND known.state = 'failed' THEN 'status_mismatch'
            WHEN known.kind IN ('refund', 'return') AND known.state IN ('completed', 'paid') THEN 'returned_after_paid'
            ELSE 'missing_in_ledger'
        END AS finding_type
    FROM known
)

INSERT INTO found_findings
SELECT
    typed.finding_type,
    CASE
        WHEN typed.finding_type IN ('amount_mismatch', 'currency_mismatch', 'status_mismatch', 'paid_after_release')
            THEN
                CASE
                    WHEN typed.kind IN ('deposit', 'refund') THEN 'deposit:' || typed.tx_id
                    ELSE typed.name || ' ' || typed.provider_ref
                END
        WHEN typed.finding_type = 'duplicate_in_psp' AND typed.provider_ref <> typed.payment_ref
            THEN
                CASE WHEN typed.kind IN ('deposit', 'refund') THEN 'deposit:' ELSE '' END
                || typed.name || ' ' || typed.provider_ref
        ELSE 'item:' || typed.account_id || ':' || typed.item_id
    END,
    CASE typed.finding_type
        WHEN 'amount_mismatch'
            THEN concat_ws(E'\x1f', typed.payment_amount, typed.payment_currency, typed.amount, typed.currency)
        WHEN 'currency_mismatch'
            THEN concat_ws(E'\x1f', typed.payment_amount, typed.payment_currency, typed.amount, typed.currency)
        WHEN 'status_mismatch' THEN concat_ws(E'\x1f', 'failed', typed.status_class)
        ELSE concat_ws(E'\x1f', typed.amount, typed.currency)
    END,
    jsonb_build_object(
        'theirs_kind', typed.kind, 'theirs_status', typed.status_class, 'theirs_word', typed.status,
        'theirs_amount_minor', typed.amount, 'theirs_currency', typed.currency, 'theirs_reference', typed.reference,
        'theirs_occurred_at', typed.occurred_at, 'account_id', typed.account_id
    )
    || CASE
        -- Of another tenant's payment nothing is told.
        WHEN typed.finding_type = 'tenant_mismatch' OR typed.tx_id IS NULL THEN '{}'::JSONB
        ELSE
            jsonb_build_object(
                'ours_reference', typed.name, 'ours_state', typed.state, 'ours_amount_minor', typed.payment_amount,
                'ours_currency', typed.payment_currency, 'ours_provider_ref', typed.payment_ref
            )
    END,
    CASE WHEN typed.finding_type <> 'tenant_mismatch' THEN typed.player_id END,
    CASE WHEN typed.finding_type <> 'tenant_mismatch' THEN typed.tx_id END,
    typed.item_id,
    typed.provider_ref,
    typed.account_id,
    typed.item_id,
    NULL
FROM typed
WHERE
    -- A webhook may still be on its way.
    typed.finding_type NOT IN ('missing_in_ledger', 'returned_after_paid')
    OR typed.occurred_at <= %(missing_in_ledger_before)s;

-- name: find_our_leftovers
-- What we booked and the provider does not list. Until when it would have is null where the feed is not complete.
WITH leftover AS MATERIALIZED (
    SELECT
        our.*,
        EXISTS (
            SELECT
            FROM psp_statement_items AS sibling
            WHERE
                sibling.provider = %(provider)s
                AND sibling.tenant_id = %(tenant_id)s
                AND sibling.provider_ref = our.provider_ref
                AND sibling.kind = our.kind
                AND sibling.transaction_id IS NOT NULL
        )
        OR EXISTS (
            SELECT
            FROM provider_movements AS other
            INNER JOIN psp_statement_items AS claiming ON other.transaction_id = claiming.transaction_id
            WHERE
                other.tenant_id = %(tenant_id)s
                AND other.provider = %(provider)s
                AND other.tx_id = our.tx_id
                AND other.name = our.reference
                AND other.kind = our.kind
                AND other.transaction_id <> our.transaction_id
        ) AS is_duplicate
    FROM our_items AS our
    WHERE
        NOT our.is_again
        AND NOT EXISTS (SELECT FROM item_pairs AS pair WHERE pair.transaction_id = our.transaction_id)
)

INSERT INTO found_findings
SELECT
    CASE WHEN leftover.is_duplicate THEN 'duplicate_in_ledger' ELSE 'missing_in_psp' END,
    CASE
        WHEN leftover.is_duplicate OR leftover.tx_id IS NULL OR leftover.reference IS NULL
            THEN 'transaction:' || leftover.transaction_id
        WHEN leftover.kind = 'deposit' THEN 'deposit:' || leftover.tx_id
        WHEN leftover.kind = 'refund' THEN 'deposit:' || leftover.tx_id || ' refund'
        WHEN leftover.kind = 'return' THEN leftover.reference || ' return'
        ELSE leftover.reference
    END,
    concat_ws(E'\x1f', leftover.amount, leftover.currency),
    jsonb_build_object(
        'ours_kind', leftover.kind, 'ours_amount_minor', leftover.amount, 'ours_currency', leftover.currency,
        'ours_reference', leftover.reference, 'ours_provider_ref', leftover.provider_ref,
        'ours_provider_event_id', leftover.provider_event_id, 'ours_occurred_at', leftover.occurred_at,
        'ours_recorded_at', leftover.recorded_at
    ),
    leftover.player_id,
    leftover.tx_id,
    leftover.provider_event_id,
    leftover.provider_ref,
    NULL,
    NULL,
    leftover.transaction_id
FROM leftover
WHERE
    leftover.is_duplicate
    OR (
        leftover.recorded_at <= %(missing_in_psp_before)s::TIMESTAMPTZ
        AND (
            (
                leftover.occurred_at >= %(window_start)s
                AND leftover.occurred_at < least(%(window_end)s, %(missing_in_psp_before)s::TIMESTAMPTZ)
            )
            OR (
                leftover.occurred_at >= %(covered_from)s
                AND leftover.occurred_at < least(%(covered_until)s, %(missing_in_psp_before)s::TIMESTAMPTZ)
            )
        )
    );

-- name: find_stale_attempts
-- Payouts that have been open for longer than any provider takes.
INSERT INTO found_findings
SELECT
    'stale_in_transit',
    'wd_' || attempt.withdrawal_id || '_' || attempt.number,
    concat_ws(E'\x1f', attempt.amount, attempt.currency),
    jsonb_build_object(
        'ours_reference', 'wd_' || attempt.withdrawal_id || '_' || attempt.number, 'ours_state', attempt.state,
        'ours_amount_minor', attempt.amount, 'ours_currency', attempt.currency, 'ours_created_at', attempt.created_at
    ),
    attempt.player_id,
    attempt.withdrawal_id,
    NULL,
    attempt.provider_ref,
    attempt.account_id,
    NULL,
    NULL
FROM payout_attempts AS attempt
WHERE
    attempt.next_check_at IS NOT NULL
    AND attempt.tenant_id = %(tenant_id)s
    AND attempt.provider = %(provider)s
    AND attempt.created_at < %(stale_before)s;

-- name: find_orphans
-- Deliveries that the provider signed and nobody could apply.
INSERT INTO found_findings
SELECT
    'orphan_webhook',
    'event:' || event.account_id || ':' || event.provider_event_id,
    event.state,
    jsonb_build_object(
        'event', event.id, 'event_state', event.state, 'event_type', event.event_type, 'attempts', event.attempts,
        'last_error', event.last_error, 'account_id', event.account_id, 'received_at', event.received_at
    ),
    NULL,
    event.tx_id,
    event.provider_event_id,
    NULL,
    event.account_id,
    NULL,
    NULL
FROM psp_events AS event
WHERE
    event.state IN ('dead', 'quarantined')
    AND event.signature_status = 'valid'
    AND event.provider = %(provider)s
    AND event.account_id = ANY(%(account_ids)s)
    AND event.received_at < %(orphan_before)s;

-- name: find_invariants
-- What the last finished census of the tenant found wrong within the ledger itself. The two sides of a migration are not
-- the ledger's matter.
INSERT INTO found_findings
SELECT
    'ledger_invariant',
    concat_ws(':', 'census', difference.class, difference.player_id, difference.currency, difference.reference),
    concat_ws(E'\x1f', difference.class, difference.amount, difference.wallet_version),
    jsonb_build_object(
        'class', difference.class, 'currency', difference.currency, 'amount_minor', difference.amount,
        'wallet_version', difference.wallet_version, 'reference', difference.reference, 'census', difference.run_id
    ),
    difference.player_id,
    difference.reference,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL
FROM census_differences AS difference
WHERE
    difference.tenant_id = %(tenant_id)s
    AND difference.run_id = (
        SELECT run.id
        FROM census_runs AS run
        WHERE run.tenant_id = %(tenant_id)s AND run.state IN ('clean', 'differences')
        ORDER BY run.started_at DESC, run.id DESC
        LIMIT 1
    )
    AND difference.class NOT IN ('missing_wallet', 'available_diff', 'pending_diff', 'legacy_drift');

-- name: write_balances
-- What both sides moved on each day, net, and what the differences that were found one by one explain. Every leg that we
-- booked is counted from the books themselves, and on the day and account of the item that it is matched with.
WITH psp AS (
    SELECT
        item.account_id,
        item.currency,
        (item.occurred_at AT TIME ZONE 'UTC')::DATE AS day,
        count(*) AS items,
        sum(CASE WHEN item.kind IN ('deposit', 'return') THEN item.amount ELSE -item.amount END) AS net,
        coalesce(
            sum(CASE WHEN item.kind IN ('deposit', 'return') THEN item.amount ELSE -item.amount END)
            FILTER (WHERE item.transaction_id IS NULL),
            0
        ) AS unmatched_net
    FROM psp_statement_items AS item
    WHERE
        item.tenant_id = %(tenant_id)s
        AND item.provider = %(provider)s
        AND item.gone_at IS NULL
        AND item.status_class IN ('success', 'reversed')
        AND item.occurred_at >= %(from_day)s::DATE::TIMESTAMP AT TIME ZONE 'UTC'
        AND item.occurred_at < %(until_day)s::DATE::TIMESTAMP AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3
),

leg AS (
    SELECT
        coalesce(item.account_id, '') AS account_id,
        movement.currency,
        (coalesce(item.occurred_at, movement.occurred_at) AT TIME ZONE 'UTC')::DATE AS day,
        CASE WHEN movement.kind IN ('deposit', 'return') THEN movement.amount ELSE -movement.amount END AS net
    FROM provider_movements AS movement
    LEFT JOIN LATERAL (
        SELECT leg.id
        FROM ledger_transactions AS leg
        WHERE
            movement.kind = 'refund'
            AND leg.reference = movement.tx_id
            AND leg.type = 'deposit_refunded'
            AND leg.journal_id IS NOT DISTINCT FROM movement.journal_id
        ORDER BY leg.id
        LIMIT 1
    ) AS first_leg ON movement.kind = 'refund'
    LEFT JOIN psp_statement_items AS item
        ON item.transaction_id = coalesce(first_leg.id, movement.transaction_id)
    WHERE
        movement.tenant_id = %(tenant_id)s
        AND movement.provider = %(provider)s
        AND movement.transaction_id > %(ledger_from)s
),

ledger AS (
    SELECT
        leg.account_id,
        leg.currency,
        leg.day,
        count(*) AS transactions,
        sum(leg.net) AS net
    FROM leg
    WHERE leg.day >= %(from_day)s AND leg.day < %(until_day)s
    GROUP BY leg.account_id, leg.currency, leg.day
),

-- What the run itself holds unmatched of ours: it has to be the same as what the books show to be.
waiting AS (
    SELECT
        '' AS account_id,
        unmatched.currency,
        (unmatched.occurred_at AT TIME ZONE 'UTC')::DATE AS day,
        sum(CASE WHEN unmatched.kind IN ('deposit', 'return') THEN unmatched.amount ELSE -unmatched.amount END) AS net
    FROM reconciliation_unmatched AS unmatched
    WHERE
        unmatched.tenant_id = %(tenant_id)s
        AND unmatched.provider = %(provider)s
        AND unmatched.occurred_at >= %(from_day)s::DATE::TIMESTAMP AT TIME ZONE 'UTC'
        AND unmatched.occurred_at < %(until_day)s::DATE::TIMESTAMP AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3
),

-- Pairs that differ, by what was found and is known of them.
pair AS (
    SELECT
        item.account_id,
        item.day,
        side.currency,
        sum(side.net) AS net
    FROM (
        SELECT DISTINCT
            stored.account_id,
            stored.item_id,
            (stored.occurred_at AT TIME ZONE 'UTC')::DATE AS day,
            stored.status_class,
            stored.kind,
            stored.amount,
            stored.currency,
            stored.transaction_id
        FROM psp_statement_items AS stored
        INNER JOIN (
            SELECT
                finding.account_id,
                finding.item_id
            FROM reconciliation_findings AS finding
            WHERE finding.tenant_id = %(tenant_id)s AND finding.provider = %(provider)s AND finding.item_id IS NOT NULL
            UNION
            SELECT
                found.account_id,
                found.item_id
            FROM found_findings AS found
        ) AS noted ON stored.account_id = noted.account_id AND stored.item_id = noted.item_id
        WHERE
            stored.tenant_id = %(tenant_id)s
            AND stored.provider = %(provider)s
            AND stored.transaction_id IS NOT NULL
            AND stored.gone_at IS NULL
    ) AS item
    CROSS JOIN LATERAL (
        SELECT
            item.currency,
            CASE WHEN item.kind IN ('deposit', 'return') THEN item.amount ELSE -item.amount END AS net
        WHERE item.status_class IN ('success', 'reversed')
        UNION ALL
        SELECT
            movement.currency,
            CASE WHEN movement.kind IN ('deposit', 'return') THEN -movement.amount ELSE movement.amount END
        FROM provider_movements AS movement
        WHERE
            movement.tenant_id = %(tenant_id)s
            AND movement.provider = %(provider)s
            AND movement.transaction_id = item.transaction_id
            AND (movement.kind <> 'refund' OR movement.journal_id IS NULL)
        UNION ALL
        SELECT
            leg.currency,
            leg.amount
        FROM ledger_transactions AS first_leg
        INNER JOIN ledger_transactions AS leg
            ON first_leg.reference = leg.reference AND first_leg.journal_id = leg.journal_id
        WHERE
            first_leg.id = item.transaction_id
            AND first_leg.tenant_id = %(tenant_id)s
            AND first_leg.type = 'deposit_refunded'
            AND leg.type = 'deposit_refunded'
    ) AS side
    WHERE item.day >= %(from_day)s AND item.day < %(until_day)s
    GROUP BY item.account_id, item.day, side.currency
),

cell AS (
    SELECT account_id, currency, day, items, net AS psp_net, 0 AS transactions, 0 AS ledger_net, unmatched_net AS explained
    FROM psp
    UNION ALL
    SELECT account_id, currency, day, 0, 0, transactions, net, 0
    FROM ledger
    UNION ALL
    SELECT account_id, currency, day, 0, 0, 0, 0, -net
    FROM waiting
    UNION ALL
    SELECT account_id, currency, day, 0, 0, 0, 0, net
    FROM pair
)

INSERT INTO reconciliation_balances (
    tenant_id, provider, account_id, currency, day, psp_items, psp_net, ledger_transactions, ledger_net, explained_net,
    run_id
)
SELECT
    %(tenant_id)s,
    %(provider)s,
    cell.account_id,
    cell.currency,
    cell.day,
    sum(cell.items),
    sum(cell.psp_net),
    sum(cell.transactions),
    sum(cell.ledger_net),
    sum(cell.explained),
    %(run_id)s
FROM cell
GROUP BY cell.account_id, cell.currency, cell.day
ON CONFLICT ON CONSTRAINT reconciliation_balances_pkey DO UPDATE
SET
    psp_items = excluded.psp_items,
    psp_net = excluded.psp_net,
    ledger_transactions = excluded.ledger_transactions,
    ledger_net = excluded.ledger_net,
    explained_net = excluded.explained_net,
    run_id = excluded.run_id;

-- name: find_drift
-- Days on which what differs is not what the findings explain.
INSERT INTO found_findings
SELECT
    'balance_drift',
    concat_ws(':', 'balance', balance.account_id, balance.currency, balance.day),
    concat_ws(E'\x1f', balance.psp_net - balance.ledger_net - balance.explained_net),
    jsonb_build_object(
        'account_id', balance.account_id, 'currency', balance.currency, 'day', balance.day,
        'theirs_net_minor', balance.psp_net, 'ours_net_minor', balance.ledger_net,
        'explained_minor', balance.explained_net,
        'unexplained_minor', balance.psp_net - balance.ledger_net - balance.explained_net
    ),
    NULL,
    NULL,
    NULL,
    NULL,
    balance.account_id,
    NULL,
    NULL
FROM reconciliation_balances AS balance
WHERE
    balance.tenant_id = %(tenant_id)s
    AND balance.provider = %(provider)s
    AND balance.run_id = %(run_id)s
    AND balance.psp_net - balance.ledger_net <> balance.explained_net;
